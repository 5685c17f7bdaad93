// Command request is a service that squares numbers, with -serve, and its caller without: request and response of MQTT 5.0. Requests
// may come at the same time; each handler runs on one of the client's goroutines.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
)

const topic = "services/square"

func main() {
	server := flag.String("server", "mqtt://127.0.0.1:1883", "the broker")
	serving := flag.Bool("serve", false, "be the service")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := func() error { return ask(ctx, *server, flag.Args()) }
	if *serving {
		run = func() error { return serve(ctx, *server) }
	}
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, server string) error {
	c, err := client.Connect(ctx, client.Options{Servers: []string{server}, Version: mqtt.V5})
	if err != nil {
		return err
	}
	defer c.Close()
	err = c.Handle(ctx, topic, mqtt.AtLeastOnce, func(m *client.Message) {
		answer := "not a number"
		if n, err := strconv.ParseFloat(string(m.Payload), 64); err == nil {
			answer = strconv.FormatFloat(n*n, 'g', -1, 64)
		}
		if err := m.Respond(ctx, []byte(answer)); err != nil {
			log.Print(err)
		}
	})
	if err != nil {
		return err
	}
	fmt.Println("serving")
	<-ctx.Done()
	return nil
}

func ask(ctx context.Context, server string, numbers []string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := client.Connect(ctx, client.Options{Servers: []string{server}, Version: mqtt.V5})
	if err != nil {
		return err
	}
	defer c.Close()
	for _, n := range numbers {
		m, err := c.Request(ctx, topic, []byte(n))
		if err != nil {
			return err
		}
		fmt.Printf("%s: %s\n", n, m.Payload)
	}
	return nil
}
