package device_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/client/device"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/testkit/target"
	"github.com/midgemq/midge/mqtt"
)

const patience = 5 * time.Minute

// startMidge starts a broker in this process, again with another port when somebody took the first.
func startMidge(dir string) (addr string, stop func() error, err error) {
	for range 5 {
		var port int
		if port, err = target.FreePort(); err != nil {
			return "", nil, err
		}
		file := filepath.Join(dir, "midge.conf")
		text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nsys_interval 0\n", port)
		if err = os.WriteFile(file, []byte(text), 0o600); err != nil {
			return "", nil, err
		}
		var o broker.Options
		if o.Config, err = config.Load(config.Args{Files: []string{file}}, nil); err != nil {
			return "", nil, err
		}
		var b *broker.Broker
		if b, err = broker.New(o); err != nil {
			return "", nil, err
		}
		if err = b.Start(); err == nil {
			return b.Addresses()[0], func() error {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				return b.Close(ctx)
			}, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return "", nil, err
}

// eachBroker runs a test with midge and with Mosquitto, in 3.1.1 and 5.0.
func eachBroker(t *testing.T, f func(t *testing.T, e *env)) {
	for _, name := range []string{"midge", "mosquitto"} {
		for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
			t.Run(fmt.Sprintf("%s/%v", name, v), func(t *testing.T) {
				e := &env{t: t, v: v}
				if name == "midge" {
					addr, stop, err := startMidge(t.TempDir())
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() {
						if err := stop(); err != nil {
							t.Error(err)
						}
					})
					e.addr = addr
				} else {
					// A listener of the test's own, opened before the target's, tells the address.
					port, err := target.FreePort()
					if err != nil {
						t.Fatal(err)
					}
					e.addr = fmt.Sprintf("127.0.0.1:%d", port)
					listener := fmt.Sprintf("listener %d 127.0.0.1", port)
					b, err := target.Mosquitto(target.Config{Dir: t.TempDir(), Lines: []string{listener}})
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() {
						if err := b.Close(); err != nil {
							t.Error(err)
						}
					})
				}
				var cancel context.CancelFunc
				e.ctx, cancel = context.WithTimeout(context.Background(), patience)
				t.Cleanup(cancel)
				f(t, e)
			})
		}
	}
}

// env is one broker of one test.
type env struct {
	t    *testing.T
	ctx  context.Context
	v    mqtt.Version
	addr string
}

func (e *env) options(id string) client.Options {
	return client.Options{
		Servers: []string{"mqtt://" + e.addr}, ClientID: id, Version: e.v,
		Backoff: client.Backoff{Min: time.Millisecond, Max: 20 * time.Millisecond},
	}
}

func (e *env) device(o device.Options) *device.Device {
	e.t.Helper()
	d, err := device.Connect(e.ctx, o)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { d.Close(e.ctx) })
	return d
}

// watch subscribes with a client of its own and returns what comes.
func (e *env) watch(filter string) <-chan *client.Message {
	e.t.Helper()
	c, err := client.Connect(e.ctx, e.options(""))
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { c.Close() })
	ch, err := c.Channel(e.ctx, client.Subscription{Filter: filter, QoS: mqtt.AtLeastOnce})
	if err != nil {
		e.t.Fatal(err)
	}
	return ch
}

// want expects the next message.
func (e *env) want(ch <-chan *client.Message, topic, payload string, retain bool) {
	e.t.Helper()
	select {
	case m := <-ch:
		if m == nil {
			e.t.Fatalf("the channel ended, want %s %q", topic, payload)
		}
		if m.Topic != topic || string(m.Payload) != payload || m.Retain != retain {
			e.t.Fatalf("got %s %q retain %t, want %s %q retain %t", m.Topic, m.Payload, m.Retain, topic, payload, retain)
		}
	case <-e.ctx.Done():
		e.t.Fatalf("no message, want %s %q", topic, payload)
	}
}

// wantSet expects messages in any order: the client library promises order for
// each topic, not among topics. Each is a topic below "laser/", a blank, payload.
func (e *env) wantSet(ch <-chan *client.Message, list []string) {
	e.t.Helper()
	open := make(map[string]int)
	for _, w := range list {
		open["laser/"+w]++
	}
	for range list {
		select {
		case m := <-ch:
			if m == nil {
				e.t.Fatalf("the channel ended, want %v", open)
			}
			k := m.Topic + " " + string(m.Payload)
			if open[k] == 0 || m.Retain {
				e.t.Fatalf("got %s retain %t, want %v", k, m.Retain, open)
			}
			open[k]--
		case <-e.ctx.Done():
			e.t.Fatalf("no message, want %v", open)
		}
	}
}

// cuttable are connections that a test can cut.
type cuttable struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cuttable) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, addr)
	if err == nil {
		c.mu.Lock()
		c.conns = append(c.conns, nc)
		c.mu.Unlock()
	}
	return nc, err
}

func (c *cuttable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, nc := range c.conns {
		nc.Close()
	}
	c.conns = nil
}
