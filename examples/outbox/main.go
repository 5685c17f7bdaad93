// Command outbox publishes the lines of its standard input with QoS 2 through a file: a line is said to be saved once it is in the
// file, and a later run sends what this one could not. The broker may be away all the while. One goroutine reads and publishes.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/client/outbox"
	"github.com/midgemq/midge/mqtt"
)

func main() {
	server := flag.String("server", "mqtt://127.0.0.1:1883", "the broker")
	file := flag.String("file", "outbox.midge", "the outbox")
	topic := flag.String("topic", "lines", "where the lines go")
	wait := flag.Duration("wait", 10*time.Second, "how long to wait at the end for the broker to take everything")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *server, *file, *topic, *wait, os.Stdin); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, server, file, topic string, wait time.Duration, lines io.Reader) error {
	store, err := outbox.Open(file, outbox.Options{
		Damaged: func(n int64) { log.Printf("%d bytes of %s were damaged and are kept in %s.damaged", n, file, file) },
	})
	if err != nil {
		return err
	}
	c, err := client.New(client.Options{
		Servers:       []string{server},
		ClientID:      "outbox-example",
		SessionExpiry: 24 * time.Hour, // the broker remembers what is under way
		Store:         store,
	})
	if err != nil {
		return err
	}
	defer c.Close()
	if n := len(c.Pending()); n > 0 {
		fmt.Println("left by an earlier run:", n)
	}
	c.Start()
	in := bufio.NewScanner(lines)
	for in.Scan() {
		p, err := c.PublishAsync(ctx, mqtt.Message{Topic: topic, Payload: in.Bytes(), QoS: mqtt.ExactlyOnce})
		if err != nil {
			return err
		}
		if err := p.Saved(ctx); err != nil {
			return err
		}
		fmt.Println("saved:", in.Text())
	}
	if err := in.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if err := c.Flush(ctx); err != nil {
		fmt.Println("still in the outbox:", len(c.Pending()))
		return nil
	}
	fmt.Println("all delivered")
	return nil
}
