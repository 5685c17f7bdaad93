// Request shows request and response, a service that adds numbers up and its caller:
//
//	go run ./examples/request -serve
//	go run ./examples/request 1 2 3.5
//
// Response topic and correlation data (MQTT 5) are made by the library. Several processes with -serve share the work, as their
// subscription is a shared one.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
)

const topic = "services/sum"

func main() {
	server := flag.String("server", "mqtt://localhost", "URL of the broker")
	service := flag.Bool("serve", false, "answer requests")
	timeout := flag.Duration("timeout", 10*time.Second, "how long to wait for the answer")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c, err := client.Connect(ctx, client.Options{Servers: []string{*server}, Version: mqtt.V5})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if *service {
		err = serve(ctx, c)
	} else {
		err = ask(ctx, c, *timeout, flag.Args())
	}
	if err != nil {
		log.Print(err)
		c.Close()
		os.Exit(1)
	}
}

func serve(ctx context.Context, c *client.Client) error {
	err := c.Handle(ctx, "$share/workers/"+topic, mqtt.AtLeastOnce, func(m *client.Message) {
		var numbers []float64
		answer := "not an array of numbers"
		if err := json.Unmarshal(m.Payload, &numbers); err == nil {
			sum := 0.0
			for _, n := range numbers {
				sum += n
			}
			answer = fmt.Sprint(sum)
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

func ask(ctx context.Context, c *client.Client, timeout time.Duration, numbers []string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := c.Request(ctx, topic, []byte("["+strings.Join(numbers, ",")+"]"))
	if err != nil {
		return err
	}
	fmt.Printf("%s\n", answer.Payload)
	return nil
}
