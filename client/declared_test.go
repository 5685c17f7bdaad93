package client_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// What is declared before Connect is there for the first message of a resumed session, and is asked for once there is a connection.
func TestDeclaredBeforeConnect(t *testing.T) {
	for _, present := range []bool{false, true} {
		eachVersion(t, func(t *testing.T, v mqtt.Version) {
			s := newPeers(t)
			o := lasting(s, v)
			o.Resume = true
			c, err := client.New(o)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			handled := make(chan string, 4)
			if err := c.Handle(ctx, "h", 1, func(m *client.Message) { handled <- string(m.Payload) }); err != nil {
				t.Fatal(err)
			}
			st, err := c.Stream(ctx, client.Subscription{Filter: "s", QoS: 1})
			if err != nil {
				t.Fatal(err)
			}
			ch, err := c.Channel(t.Context(), client.Subscription{Filter: "c", QoS: 1})
			if err != nil {
				t.Fatal(err)
			}
			c.Start()
			p := s.next(v)
			expect[*packet.Connect](p)
			connack := (&packet.Connack{SessionPresent: present && v != mqtt.V31}).Append(nil, v)
			for i, topic := range []string{"h", "s", "c"} { // in one write with CONNACK
				connack = inbound(topic, topic, 1, uint16(i+1)).Append(connack, v)
			}
			go p.nc.Write(connack)
			asked := 0
			for asked < 3 {
				k, err := p.read()
				if err != nil {
					t.Fatal(err)
				}
				if k, ok := k.(*packet.Subscribe); ok {
					asked += k.Len()
					p.send(&packet.Suback{PacketID: k.PacketID, Codes: make([]byte, k.Len())})
				}
			}
			go func() { // acknowledgements
				for {
					if _, err := p.frame(); err != nil {
						return
					}
				}
			}()
			if got := <-handled; got != "h" {
				t.Errorf("handler got %q", got)
			}
			if m, err := st.Next(ctx); err != nil || string(m.Payload) != "s" {
				t.Errorf("stream got %v, %v", m, err)
			}
			if m := <-ch; string(m.Payload) != "c" {
				t.Errorf("channel got %q", m.Payload)
			}
			synctest.Wait()
			for _, f := range []string{"h", "s", "c"} {
				if _, ok := c.Granted(f); !ok {
					t.Errorf("%q is not granted", f)
				}
			}
			p.nc.Close()
		})
	}
}

// A declaration that the server refuses has nobody waiting for the answer: OnError gets it.
func TestDeclaredAndRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		o := s.options(mqtt.V5)
		errs := make(chan error, 1)
		o.OnError = func(err error) { errs <- err }
		c, err := client.New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		st, err := c.Stream(ctx, client.Subscription{Filter: "s", QoS: 1})
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		p, _ := s.accept(mqtt.V5, false, nil)
		defer p.nc.Close()
		k := expect[*packet.Subscribe](p)
		p.send(&packet.Suback{PacketID: k.PacketID, Codes: []byte{0x87}})
		if code, ok := client.ReasonOf(<-errs); !ok || code != mqtt.NotAuthorized {
			t.Errorf("reported %v %v", code, ok)
		}
		if _, err := st.Next(ctx); client.OutcomeOf(err) != client.Refused {
			t.Errorf("the stream ended with %v", err)
		}
	})
}

// The server refuses a filter that it has granted before: the earlier subscription stands, here as there.
func TestRepeatedFilterRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		c, p := connected(t, s, lasting(s, mqtt.V5), mqtt.V5, nil)
		got := make(chan string, 4)
		subscribe(t, c, p, client.Subscription{Filter: "a", QoS: 1, Handler: func(*client.Message) { got <- "first" }})
		done := make(chan error, 1)
		again := func() {
			done <- c.Handle(t.Context(), "a", 2, func(*client.Message) { got <- "second" })
		}
		go again()
		k := expect[*packet.Subscribe](p)
		p.send(&packet.Suback{PacketID: k.PacketID, Codes: []byte{0x87}})
		if err := <-done; client.OutcomeOf(err) != client.Refused {
			t.Fatalf("refused subscription: %v", err)
		}
		if code, ok := c.Granted("a"); !ok || code != 1 {
			t.Errorf("granted %v %v", code, ok)
		}
		p.send(inbound("a", "x", 0, 0))
		synctest.Wait()
		if len(got) != 1 || <-got != "first" {
			t.Error("the first handler is gone")
		}
		// Refused on a connection on which the earlier one has not been made yet: it is made now.
		p.nc.Close()
		synctest.Wait()
		go again()
		p, _ = s.accept(mqtt.V5, false, nil)
		defer p.nc.Close()
		k = expect[*packet.Subscribe](p)
		p.send(&packet.Suback{PacketID: k.PacketID, Codes: []byte{0x87}})
		if err := <-done; client.OutcomeOf(err) != client.Refused {
			t.Fatalf("refused subscription: %v", err)
		}
		it, f := p.granted().Filters(), packet.SubFilter{}
		if !it.Next(&f) || string(f.Filter) != "a" || f.Options.QoS() != 1 {
			t.Errorf("made again: %q QoS %d", f.Filter, f.Options.QoS())
		}
	})
}

// A copy for a subscription that is being withdrawn is for nobody else: the other subscriptions have their own copies.
func TestWithdrawnIdentifier(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		o := s.options(mqtt.V5)
		o.SubscriptionIDs = true
		c, p := connected(t, s, o, mqtt.V5, nil)
		got := make(chan string, 10)
		ids := map[string]uint32{}
		for _, f := range []string{"a/#", "a/+"} {
			done := make(chan error, 1)
			go func() { done <- c.Handle(t.Context(), f, 1, func(*client.Message) { got <- f }) }()
			ids[f], _ = p.granted().Props.Uint(packet.PropSubscriptionID)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		go c.Unsubscribe(t.Context(), "a/#") //nolint:errcheck // unanswered
		expect[*packet.Unsubscribe](p)
		for i, f := range []string{"a/#", "a/+"} {
			k := inbound("a/b", "x", 1, uint16(i+1))
			k.Props = packet.AppendUint(nil, packet.PropSubscriptionID, ids[f])
			p.send(k)
			p.ackOf(packet.PUBACK, uint16(i+1))
		}
		if len(got) != 1 {
			t.Errorf("%d deliveries, want one", len(got))
		}
	})
}
