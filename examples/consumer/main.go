// Consumer prints the numbers of all producers with their running average, who is there, and how many clients are connected:
//
//	go run ./examples/consumer -server mqtt://localhost -id c1
//
// Its session is persistent: what is published with QoS 1 while the program is away, as the status is, the broker keeps for the
// next run. Of the numbers, which have QoS 0, only the last one of each producer is there, because it is retained.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
)

func main() {
	server := flag.String("server", "mqtt://localhost", "URL of the broker")
	id := flag.String("id", "c1", "client identifier, the name of the session")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := consume(ctx, *server, *id); err != nil {
		log.Fatal(err)
	}
}

func consume(ctx context.Context, server, id string) error {
	var a average
	c, err := client.Connect(ctx, client.Options{
		Servers: []string{server}, ClientID: id,
		Resume: true, SessionExpiry: 24 * time.Hour,
		Handlers:       1,      // one message at a time, so that the average needs no lock
		DefaultHandler: a.take, // what the broker has kept comes at once, before Subscribe
	})
	if err != nil {
		return err
	}
	defer c.Close()
	err = c.Subscribe(ctx,
		client.Subscription{Filter: "random_numbers/+", QoS: mqtt.AtLeastOnce, Handler: a.take},
		client.Subscription{Filter: "status/+", QoS: mqtt.AtLeastOnce, Handler: a.take},
		client.Subscription{Filter: "$SYS/broker/clients/connected", Handler: a.take},
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

// average is the running average of all numbers.
type average struct {
	sum, count float64
}

func (a *average) take(m *client.Message) {
	kind, producer, _ := strings.Cut(m.Topic, "/")
	switch kind {
	case "random_numbers":
		n, err := strconv.ParseFloat(string(m.Payload), 64)
		if err != nil {
			log.Printf("%s: %v", m.Topic, err)
			return
		}
		a.sum += n
		a.count++
		fmt.Printf("%s: %v, average of %v: %.2f\n", producer, n, a.count, a.sum/a.count)
	case "status":
		fmt.Printf("%s is %s\n", producer, m.Payload)
	default:
		fmt.Printf("%s clients are connected\n", m.Payload)
	}
}
