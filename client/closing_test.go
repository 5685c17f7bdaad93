package client_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// stream opens a stream against a peer.
func stream(t *testing.T, c *client.Client, p *peer, filter string) *client.Stream {
	t.Helper()
	type result struct {
		s   *client.Stream
		err error
	}
	done := make(chan result)
	go func() {
		s, err := c.Stream(t.Context(), client.Subscription{Filter: filter, QoS: 1})
		done <- result{s, err}
	}()
	p.granted()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.s
}

// Another goroutine than the reading one closes the stream; the race detector watches, and every message is acknowledged.
func TestStreamClosedWhileRead(t *testing.T) {
	for range 20 {
		bubble(t, func(t *testing.T) {
			s := newPeers(t)
			c, p := connected(t, s, s.options(mqtt.V5), mqtt.V5, nil)
			st := stream(t, c, p, "s")
			first, ended := make(chan struct{}), make(chan error)
			go func() {
				for n := 0; ; n++ {
					if _, err := st.Next(t.Context()); err != nil {
						ended <- err
						return
					}
					if n == 0 {
						close(first)
					}
				}
			}()
			const messages = 5
			go func() {
				<-first
				st.Close()
			}()
			var b []byte
			for i := range messages {
				b = inbound("s", "x", 1, uint16(i+1)).Append(b, mqtt.V5)
			}
			go p.nc.Write(b)
			if err := <-ended; !errors.Is(err, client.ErrClosed) {
				t.Errorf("the reader got %v", err)
			}
			next, withdrawn := uint16(1), false
			for next <= messages || !withdrawn {
				k, err := p.read()
				if err != nil {
					t.Fatal(err)
				}
				switch k := k.(type) {
				case *packet.Ack:
					if k.PacketID != next {
						t.Fatalf("PUBACK %d, want %d", k.PacketID, next)
					}
					next++
				case *packet.Unsubscribe:
					withdrawn = true
				default:
					t.Fatalf("got %v", k.Kind())
				}
			}
		})
	}
}

// A message on its way to a stream that ends in the meantime is acknowledged: kept back, it would keep back all behind it.
func TestMessageForEndedStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		o := s.options(mqtt.V5)
		o.Handlers = 1
		c, p := connected(t, s, o, mqtt.V5, nil)
		release := make(chan struct{})
		subscribe(t, c, p, client.Subscription{Filter: "slow", QoS: 1, Handler: func(*client.Message) { <-release }})
		st := stream(t, c, p, "s")
		p.send(inbound("slow", "x", 1, 1), inbound("s", "x", 1, 2))
		synctest.Wait()
		st.Close()
		expect[*packet.Unsubscribe](p)
		close(release)
		p.ackOf(packet.PUBACK, 1)
		p.ackOf(packet.PUBACK, 2)
	})
}

// A channel whose context ends with a message in hand does not hold up the acknowledgements of the connection.
func TestChannelEndsWithMessageInHand(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		c, p := connected(t, s, s.options(mqtt.V5), mqtt.V5, nil)
		ctx, cancel := context.WithCancel(t.Context())
		go c.Channel(ctx, client.Subscription{Filter: "c", QoS: 1}) //nolint:errcheck // the packets tell
		p.granted()
		p.send(inbound("c", "x", 1, 1), inbound("c", "y", 1, 2))
		synctest.Wait()
		cancel()
		for id := uint16(1); id <= 2; {
			k, err := p.read()
			if err != nil {
				t.Fatal(err)
			}
			if a, ok := k.(*packet.Ack); ok {
				if a.PacketID != id {
					t.Fatalf("PUBACK %d, want %d", a.PacketID, id)
				}
				id++
			}
		}
	})
}

// A client that wants its will published says so: with DISCONNECT 0x04 in 5.0, by closing without DISCONNECT before. What was
// accepted earlier still leaves.
//
// covers: 5:U5-3.14.2-2
func TestCloseWithWill(t *testing.T) {
	for _, busy := range []bool{false, true} {
		eachVersion(t, func(t *testing.T, v mqtt.Version) { closeWithWill(t, v, busy) })
	}
}

func closeWithWill(t *testing.T, v mqtt.Version, busy bool) {
	s := newPeers(t)
	o := s.options(v)
	o.Will = &client.Will{Topic: "w", Payload: []byte("gone")}
	c, p := connected(t, s, o, v, nil)
	if busy {
		publishAsync(t, c, "last words", 0)
	}
	done := make(chan error)
	go func() { done <- c.CloseWithWill() }()
	if busy {
		p.publish("topic", "last words", 0)
	}
	want := -1
	if v == mqtt.V5 {
		want = int(mqtt.DisconnectWithWill)
	}
	if code := p.closed(); code != want {
		t.Errorf("DISCONNECT %d, want %d (-1: none)", code, want)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestConnDisconnectWithWill(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		s := newPeers(t)
		go func() {
			p, _ := s.accept(v, false, nil)
			want := -1
			if v == mqtt.V5 {
				want = int(mqtt.DisconnectWithWill)
			}
			if code := p.closed(); code != want {
				t.Errorf("DISCONNECT %d, want %d (-1: none)", code, want)
			}
		}()
		conn, err := client.DialConn(t.Context(), s.options(v))
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Disconnect(mqtt.DisconnectWithWill, nil); err != nil {
			t.Error(err)
		}
		synctest.Wait()
	})
}
