// Failover counts, and goes on counting when the broker it uses goes away:
//
//	go run ./examples/failover -servers mqtt://localhost:1883,mqtt://localhost:1884
//
// The first broker is used when it answers, the second when not. Numbers that nobody has acknowledged are sent again, to the
// broker that takes over. When the first is back, the program returns to it.
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
	servers := flag.String("servers", "mqtt://localhost:1883,mqtt://localhost:1884", "URLs of the brokers, the preferred one first")
	interval := flag.Duration("interval", time.Second, "time between two numbers")
	failBack := flag.Duration("failback", 30*time.Second, "how often to look whether the first broker is back")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := count(ctx, strings.Split(*servers, ","), *interval, *failBack); err != nil {
		log.Fatal(err)
	}
}

func count(ctx context.Context, servers []string, interval, failBack time.Duration) error {
	c, err := client.Connect(ctx, client.Options{
		Servers: servers, FailBack: failBack,
		Backoff:          client.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second},
		AfterSessionLoss: client.RequeueQoS1, // the other broker has another session
		OnConnect:        func(i client.ConnectInfo) { fmt.Println("connected to", i.Server) },
		OnDisconnect:     func(err error) { fmt.Println("disconnected:", err) },
	})
	if err != nil {
		return err
	}
	defer c.Close()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for n := 0; ; n++ {
		m := mqtt.Message{Topic: "failover/count", Payload: []byte(strconv.Itoa(n)), QoS: mqtt.AtLeastOnce}
		if err := c.Publish(ctx, m); ctx.Err() != nil {
			return nil
		} else if err != nil {
			return err
		}
		fmt.Println("acknowledged", n)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
