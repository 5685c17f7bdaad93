// Producer publishes a random number from 0 to 50 every five seconds, and whether it is there:
//
//	go run ./examples/producer -server mqtt://localhost -id p1
//
// The number goes to random_numbers/p1 with QoS 0, retained: who comes later sees the last one. The status goes to status/p1
// with QoS 1, retained: "here", and "gone" by the program itself at its end or by its will if it had no time for that.
package main

import (
	"context"
	"flag"
	"log"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
)

func main() {
	server := flag.String("server", "mqtt://localhost", "URL of the broker")
	id := flag.String("id", "p1", "client identifier")
	interval := flag.Duration("interval", 5*time.Second, "time between two numbers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := produce(ctx, *server, *id, *interval); err != nil {
		log.Fatal(err)
	}
}

func produce(ctx context.Context, server, id string, interval time.Duration) error {
	status := mqtt.Message{Topic: "status/" + id, Payload: []byte("here"), QoS: mqtt.AtLeastOnce, Retain: true}
	connected := make(chan struct{}, 1)
	c, err := client.Connect(ctx, client.Options{
		Servers: []string{server}, ClientID: id,
		Will:      &client.Will{Topic: status.Topic, Payload: []byte("gone"), QoS: mqtt.AtLeastOnce, Retain: true},
		OnConnect: func(client.ConnectInfo) { notify(connected) },
	})
	if err != nil {
		return err
	}
	defer c.Close()

	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-connected: // the will has said "gone" when the connection before was lost
			if _, err := c.PublishAsync(ctx, status); err != nil {
				return err
			}
		case <-tick.C:
			number := strconv.Itoa(rand.IntN(51))
			m := mqtt.Message{Topic: "random_numbers/" + id, Payload: []byte(number), Retain: true}
			if err := c.Publish(ctx, m); err != nil {
				log.Print(err) // without a connection a number is lost: that is what QoS 0 means
			}
		case <-ctx.Done():
			bye, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			status.Payload = []byte("gone")
			return c.Publish(bye, status)
		}
	}
}

// notify leaves a note, unless there is one.
func notify(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
