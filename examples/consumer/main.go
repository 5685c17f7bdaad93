// Command consumer prints the running average of the numbers that all producers publish, their status, and how many clients the broker
// has. Its session stays at the broker while the program is away. Handlers run on the client's goroutines; a lock guards the average.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
)

func main() {
	server := flag.String("server", "mqtt://127.0.0.1:1883", "the broker")
	id := flag.String("id", "consumer", "client identifier: the name of the session")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *server, *id); err != nil {
		log.Fatal(err)
	}
}

// average is the running average of what has come.
type average struct {
	mu  sync.Mutex
	sum float64
	n   int
}

func (a *average) add(m *client.Message) {
	v, err := strconv.ParseFloat(string(m.Payload), 64)
	if err != nil {
		log.Printf("%s: not a number: %q", m.Topic, m.Payload)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sum += v
	a.n++
	fmt.Printf("%s: %v, average of %d: %.2f\n", m.Topic, v, a.n, a.sum/float64(a.n))
}

func show(m *client.Message) { fmt.Printf("%s: %s\n", m.Topic, m.Payload) }

func run(ctx context.Context, server, id string) error {
	c, err := client.Connect(ctx, client.Options{
		Servers:       []string{server},
		ClientID:      id,
		Resume:        true,
		SessionExpiry: 24 * time.Hour,
		// What waited in the session may come before the subscriptions below are declared.
		DefaultHandler: show,
		OnDisconnect:   func(err error) { log.Print(err) },
	})
	if err != nil {
		return err
	}
	defer c.Close()
	if i, ok := c.Connected(); ok && i.SessionPresent {
		fmt.Println("session resumed")
	}
	var a average
	err = c.Subscribe(ctx,
		client.Subscription{Filter: "random_numbers/+", QoS: mqtt.AtMostOnce, Handler: a.add},
		client.Subscription{Filter: "status/+", QoS: mqtt.AtLeastOnce, Handler: show},
		client.Subscription{Filter: "$SYS/broker/clients/connected", Handler: show},
	)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-c.Done():
		return c.Err()
	}
}
