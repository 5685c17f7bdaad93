// Outbox publishes its arguments, one message each, and loses none of them when there is no broker or the program ends early:
//
//	go run ./examples/outbox -file /tmp/outbox one two three
//
// A message is on the disk before the program counts on it. What cannot be delivered within -wait stays in the file, and the
// next run, with or without arguments, delivers it first.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/client/outbox"
	"github.com/midgemq/midge/mqtt"
)

func main() {
	server := flag.String("server", "mqtt://localhost", "URL of the broker")
	id := flag.String("id", "outbox-example", "client identifier; the file belongs to its session")
	file := flag.String("file", "outbox", "where messages are kept")
	wait := flag.Duration("wait", 10*time.Second, "how long to try to deliver")
	flag.Parse()
	if err := send(*server, *id, *file, *wait, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

func send(server, id, file string, wait time.Duration, texts []string) error {
	store, err := outbox.Open(file, outbox.Options{Sync: outbox.SyncAlways})
	if err != nil {
		return err
	}
	defer store.Close()
	c, err := client.New(client.Options{
		Servers: []string{server}, ClientID: id, Store: store,
		Resume: true, SessionExpiry: client.Forever, // the session holds what makes QoS 2 exactly once
	})
	if err != nil {
		return err
	}
	defer c.Close()
	c.Start() // in the background: publishing does not wait for a connection

	all := c.Pending()
	fmt.Println("from earlier runs:", len(all))
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	for _, text := range texts {
		p, err := c.PublishAsync(ctx, mqtt.Message{Topic: "outbox/example", Payload: []byte(text), QoS: mqtt.ExactlyOnce})
		if err != nil {
			return err
		}
		if err := p.Saved(context.Background()); err != nil {
			return err
		}
		all = append(all, p)
	}
	delivered := 0
	for _, p := range all {
		err := p.Wait(ctx)
		select {
		case <-p.Done():
			if err != nil {
				return err // the broker refused it
			}
			delivered++
		default: // time is up
		}
	}
	fmt.Printf("delivered: %d, kept for the next run: %d\n", delivered, len(all)-delivered)
	return nil
}
