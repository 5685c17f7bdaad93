package clientlib

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
)

var versions = []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5}

// covers: 5:4.2.0-1 3:7.0.0-2
func TestEveryQoS(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *broker) {
		for _, v := range versions {
			pub, sub := connect(t, options(b.addr, v, "pub"+v.String())), connect(t, options(b.addr, v, "sub"+v.String()))
			for q := range mqtt.QoS(3) {
				topic := fmt.Sprintf("every/%v/%d", v, q)
				r := collect(t, sub, topic, q)
				var want []string
				for i := range 500 {
					p := fmt.Sprint(i)
					want = append(want, p)
					if _, err := pub.PublishAsync(within(t), mqtt.Message{Topic: topic, Payload: []byte(p), QoS: q}); err != nil {
						t.Fatal(err)
					}
				}
				if err := pub.Flush(within(t)); err != nil {
					t.Fatal(err)
				}
				r.waitFor(t, "499")
				if !slices.Equal(r.order, want) {
					t.Errorf("%v QoS %d: %d messages, want 500 in order", v, q, len(r.order))
				}
			}
		}
	})
}

func TestRetainedWillAndSession(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *broker) {
		for _, v := range versions {
			base := "rws" + v.String()
			pub := connect(t, options(b.addr, v, base+"-pub"))
			if err := pub.Publish(within(t), mqtt.Message{Topic: base + "/kept", Payload: []byte("kept"), QoS: 1, Retain: true}); err != nil {
				t.Fatal(err)
			}
			o := options(b.addr, v, base+"-sub")
			o.SessionExpiry = time.Hour
			sub := connect(t, o)
			collect(t, sub, base+"/#", 1).waitFor(t, "kept")
			sub.Close()

			// A will, from a connection that ends without DISCONNECT.
			o = options(b.addr, v, base+"-will")
			o.Will = &client.Will{Topic: base + "/will", Payload: []byte("gone"), QoS: 1}
			conn, err := client.DialConn(within(t), o)
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()

			// The session has kept the will for its subscriber.
			o = options(b.addr, v, base+"-sub")
			o.SessionExpiry, o.Resume = time.Hour, true
			r := &received{count: map[string]int{}}
			o.DefaultHandler = func(m *client.Message) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.count[string(m.Payload)]++
			}
			connect(t, o)
			r.waitFor(t, "gone")
		}
	})
}

func TestRequestAndResponse(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *broker) {
		server := connect(t, options(b.addr, mqtt.V5, "server"))
		ctx := within(t)
		if err := server.Handle(ctx, "double", 1, func(m *client.Message) {
			err := m.Respond(ctx, append(m.Payload, m.Payload...))
			// The last answer's acknowledgement may still be on its way when the test
			// ends: the asker has the answer by then.
			if err != nil && !errors.Is(err, client.ErrClosed) && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		asker := connect(t, options(b.addr, mqtt.V5, "asker"))
		for i := range 20 {
			p := fmt.Sprint(i)
			m, err := asker.Request(ctx, "double", []byte(p))
			if err != nil || string(m.Payload) != p+p {
				t.Fatalf("%v %v", m, err)
			}
		}
	})
}

func TestSharedSubscription(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *broker) {
		a, z := connect(t, options(b.addr, mqtt.V5, "a")), connect(t, options(b.addr, mqtt.V5, "z"))
		ra, rz := collect(t, a, "$share/g/s/#", 1), collect(t, z, "$share/g/s/#", 1)
		pub := connect(t, options(b.addr, mqtt.V5, "p"))
		for i := range 100 {
			if err := pub.Publish(within(t), mqtt.Message{Topic: "s/x", Payload: fmt.Append(nil, i), QoS: 1}); err != nil {
				t.Fatal(err)
			}
		}
		deadline := time.Now().Add(10 * time.Second)
		for i := range 100 {
			p := fmt.Sprint(i)
			for ra.times(p)+rz.times(p) == 0 && time.Now().Before(deadline) {
				time.Sleep(time.Millisecond)
			}
			if n := ra.times(p) + rz.times(p); n != 1 {
				t.Errorf("message %d came %d times", i, n)
			}
		}
		if len(ra.order) == 0 || len(rz.order) == 0 {
			t.Errorf("shared as %d and %d", len(ra.order), len(rz.order))
		}
	})
}
