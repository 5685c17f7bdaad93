// Command failover publishes a counter with QoS 1 to the first of several brokers that is there. When that one dies the client goes
// to the next; when the first is back, the client returns. No message is lost on the way. One goroutine publishes.
package main

import (
	"context"
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

func main() {
	servers := flag.String("servers", "mqtt://127.0.0.1:1883,mqtt://127.0.0.1:1884", "the brokers, best first")
	interval := flag.Duration("interval", time.Second, "time between messages")
	back := flag.Duration("back", 10*time.Second, "how often to look for the first broker")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, strings.Split(*servers, ","), *interval, *back); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, servers []string, interval, back time.Duration) error {
	c, err := client.New(client.Options{
		Servers:      servers,
		FailBack:     back,
		Backoff:      client.Backoff{Min: 50 * time.Millisecond, Max: time.Second},
		OnConnect:    func(i client.ConnectInfo) { fmt.Println("connected to", i.Server) },
		OnDisconnect: func(err error) { log.Print(err) },
		OnError:      func(err error) { log.Print(err) },
	})
	if err != nil {
		return err
	}
	c.Start()
	defer c.Close()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for n := 1; ; n++ {
		// The handle is not waited for: while no broker is there, messages queue.
		if _, err := c.PublishAsync(ctx, mqtt.Message{Topic: "counter", Payload: fmt.Append(nil, n), QoS: mqtt.AtLeastOnce}); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
