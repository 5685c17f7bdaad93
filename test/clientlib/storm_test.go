package clientlib

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
)

// breaker closes the connections it has made, at random moments.
type breaker struct {
	addr string
	mu   sync.Mutex
	open []net.Conn
}

func (b *breaker) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", b.addr)
	if err == nil {
		b.mu.Lock()
		b.open = append(b.open, nc)
		b.mu.Unlock()
	}
	return nc, err
}

func (b *breaker) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, nc := range b.open {
		nc.Close()
	}
	b.open = nil
}

// Many goroutines publish, subscribe, receive and answer from inside handlers through one client whose connection is cut again and
// again. Everything ends, nothing is lost, QoS 2 comes once.
//
// covers: 5:4.3.2-3 5:4.3.3-3
func TestStorm(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *broker) {
		sub := connect(t, options(b.addr, mqtt.V5, "storm-sub"))
		r := collect(t, sub, "storm/#", 2)
		br := &breaker{addr: b.addr}
		o := options(b.addr, mqtt.V5, "storm")
		o.Dial, o.SessionExpiry, o.Handlers = br.dial, time.Hour, 3
		c := connect(t, o)
		ctx := within(t)

		var answered atomic.Int64
		err := c.Handle(ctx, "ask/+", 1, func(m *client.Message) {
			if err := c.Publish(ctx, mqtt.Message{Topic: "answer", Payload: m.Payload, QoS: 1}); err == nil {
				answered.Add(1)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		var cuts sync.WaitGroup
		cuts.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(1+rand.IntN(30)) * time.Millisecond):
					br.cut()
				}
			}
		})
		const workers, messages = 20, 60
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := range messages {
					p := fmt.Sprintf("%d-%d", w, i)
					q := mqtt.QoS(1 + i%2)
					if err := c.Publish(ctx, mqtt.Message{Topic: fmt.Sprintf("storm/%d", w), Payload: []byte(p), QoS: q}); err != nil {
						t.Errorf("%s: %v", p, err)
					}
					if i%10 == 0 {
						filter := fmt.Sprintf("extra/%d", w)
						if err := c.Handle(ctx, filter, 1, func(*client.Message) {}); err != nil {
							t.Errorf("subscribe %s: %v", filter, err)
						}
						if err := c.Unsubscribe(ctx, filter); err != nil {
							t.Errorf("unsubscribe %s: %v", filter, err)
						}
						if err := c.Publish(ctx, mqtt.Message{Topic: "ask/x", Payload: []byte(p), QoS: 1}); err != nil {
							t.Errorf("ask: %v", err)
						}
					}
				}
			})
		}
		wg.Wait()
		close(stop)
		cuts.Wait()
		for w := range workers {
			for i := range messages {
				p := fmt.Sprintf("%d-%d", w, i)
				r.waitFor(t, p)
				if n := r.times(p); i%2 == 1 && n != 1 {
					t.Errorf("%s of QoS 2 came %d times", p, n)
				}
			}
		}
		if answered.Load() == 0 {
			t.Error("no handler could publish")
		}
		if err := c.Flush(ctx); err != nil && !errors.Is(err, client.ErrClosed) {
			t.Error(err)
		}
	})
}
