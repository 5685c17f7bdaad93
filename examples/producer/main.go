// Command producer publishes a random number from 0 to 50 every few seconds, with QoS 0 and retained, and its own status with QoS 1
// and retained. The status turns to "gone" by the will when the program ends without a goodbye, and by the program when it says one.
// One goroutine publishes; the client's own goroutines do the rest.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/signal"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
)

func main() {
	server := flag.String("server", "mqtt://127.0.0.1:1883", "the broker")
	id := flag.String("id", "producer", "name of this producer: the last level of its topics")
	interval := flag.Duration("interval", 5*time.Second, "time between numbers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *server, *id, *interval); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, server, id string, interval time.Duration) error {
	status := mqtt.Message{Topic: "status/" + id, QoS: mqtt.AtLeastOnce, Retain: true}
	var c *client.Client
	c, err := client.New(client.Options{
		Servers:  []string{server},
		ClientID: id,
		Will:     &client.Will{Topic: status.Topic, Payload: []byte("gone"), QoS: status.QoS, Retain: true},
		// After each connection: the will may have been published since the last one.
		OnConnect: func(client.ConnectInfo) {
			m := status
			m.Payload = []byte("online")
			if err := c.Publish(ctx, m); err != nil {
				log.Print(err)
			}
		},
		OnDisconnect: func(err error) { log.Print(err) },
	})
	if err != nil {
		return err
	}
	c.Start()
	defer c.Close()

	if err := c.WaitConnected(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		number := rand.IntN(51)
		err := c.Publish(ctx, mqtt.Message{Topic: "random_numbers/" + id, Payload: fmt.Append(nil, number), Retain: true})
		switch {
		case err == nil:
			fmt.Println("published", number)
		case !errors.Is(err, client.ErrNotConnected): // without a connection the next number will do
			log.Print(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			bye, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			status.Payload = []byte("gone")
			return c.Publish(bye, status)
		}
	}
}
