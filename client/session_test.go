package client_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/client/outbox"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// publishAsync accepts a message or ends the test.
func publishAsync(t *testing.T, c *client.Client, payload string, q mqtt.QoS) *client.Publication {
	t.Helper()
	h, err := c.PublishAsync(t.Context(), mqtt.Message{Topic: "topic", Payload: []byte(payload), QoS: q})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func lasting(s *peers, v mqtt.Version) client.Options {
	o := s.options(v)
	o.SessionExpiry = time.Hour
	o.TopicAliases = -1
	return o
}

// acceptLasting takes the first connection of a session that lasts; 3.x begins it with a connection of its own.
func acceptLasting(t *testing.T, s *peers, v mqtt.Version) *peer {
	t.Helper()
	if v != mqtt.V5 {
		p, k := s.accept(v, false, nil)
		if !k.CleanStart {
			t.Error("the old session is not ended first")
		}
		expect[*packet.Disconnect](p)
		p.nc.Close()
	}
	p, _ := s.accept(v, false, nil)
	return p
}

// covers: 5:4.4.0-1 3:4.4.0-1 5:3.3.1-1
func TestResendInResumedSession(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		s := newPeers(t)
		c, err := client.New(lasting(s, v))
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		defer c.Close()
		p := acceptLasting(t, s, v)
		if err := c.WaitConnected(t.Context()); err != nil {
			t.Fatal(err)
		}
		var handles []*client.Publication
		for i, q := range []mqtt.QoS{1, 2, 2, 1} {
			handles = append(handles, publishAsync(t, c, string(rune('a'+i)), q))
		}
		var ids []uint16
		for i, q := range []mqtt.QoS{1, 2, 2, 1} {
			ids = append(ids, p.publish("topic", string(rune('a'+i)), q).PacketID)
		}
		p.send(ack(packet.PUBREC, ids[1]))
		p.ackOf(packet.PUBREL, ids[1])
		p.nc.Close()

		p, k := s.accept(v, true, nil)
		defer p.nc.Close()
		if k.CleanStart {
			t.Error("clean start in a session that lasts")
		}
		a := p.publish("topic", "a", 1)
		p.ackOf(packet.PUBREL, ids[1])
		d := p.publish("topic", "c", 2)
		e := p.publish("topic", "d", 1)
		for i, k := range map[int]*packet.Publish{0: a, 2: d, 3: e} {
			if !k.Dup || k.PacketID != ids[i] {
				t.Errorf("resent %+v, want DUP and identifier %d", k, ids[i])
			}
		}
		p.send(ack(packet.PUBCOMP, ids[1]), ack(packet.PUBACK, ids[0]), ack(packet.PUBREC, ids[2]), ack(packet.PUBACK, ids[3]))
		p.ackOf(packet.PUBREL, ids[2])
		p.send(ack(packet.PUBCOMP, ids[2]))
		for i, h := range handles {
			if err := h.Wait(t.Context()); err != nil {
				t.Errorf("message %d: %v", i, err)
			}
		}
	})
}

// covers: 5:3.2.2-5 E193
func TestSessionLost(t *testing.T) {
	for _, tc := range []struct {
		policy     client.SessionLoss
		again      []string
		unknownOne bool
		unknownTwo bool
	}{
		{client.RequeueQoS1, []string{"one"}, false, true},
		{client.RequeueAll, []string{"one", "two"}, false, false},
		{client.FailAll, nil, true, true},
	} {
		bubble(t, func(t *testing.T) {
			s := newPeers(t)
			o := lasting(s, mqtt.V5)
			o.AfterSessionLoss = tc.policy
			c, p := connected(t, s, o, mqtt.V5, nil)
			one, two := publishAsync(t, c, "one", 1), publishAsync(t, c, "two", 2)
			p.publish("topic", "one", 1)
			p.publish("topic", "two", 2)
			p.nc.Close()
			p, _ = s.accept(mqtt.V5, false, nil)
			defer p.nc.Close()
			for _, want := range tc.again {
				k := expect[*packet.Publish](p)
				if string(k.Payload) != want || k.Dup {
					t.Errorf("sent again: %q DUP %v, want %q as new", k.Payload, k.Dup, want)
				}
				if k.QoS == 1 {
					p.send(ack(packet.PUBACK, k.PacketID))
				} else {
					p.send(ack(packet.PUBREC, k.PacketID))
					p.ackOf(packet.PUBREL, k.PacketID)
					p.send(ack(packet.PUBCOMP, k.PacketID))
				}
			}
			for _, x := range []struct {
				h    *client.Publication
				fail bool
			}{{one, tc.unknownOne}, {two, tc.unknownTwo}} {
				err := x.h.Wait(t.Context())
				if x.fail != errors.Is(err, client.ErrSessionLost) || x.fail != (client.OutcomeOf(err) == client.Unknown) {
					t.Errorf("policy %d: %v", tc.policy, err)
				}
			}
			p.quiet()
		})
	}
}

// covers: 5:3.2.2-4 E192
func TestSessionPresentUnasked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		c, err := client.New(s.options(mqtt.V5))
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		defer c.Close()
		p, _ := s.accept(mqtt.V5, true, nil)
		if code := p.closed(); code != int(mqtt.ProtocolError) {
			t.Errorf("DISCONNECT %d", code)
		}
		p, k := s.accept(mqtt.V5, false, nil)
		defer p.nc.Close()
		if !k.CleanStart {
			t.Error("second attempt without Clean Start")
		}
	})
}

// covers: 31:U31-20 5:U5-4.1-2
func TestResubscribe(t *testing.T) {
	for _, present := range []bool{false, true} {
		eachVersion(t, func(t *testing.T, v mqtt.Version) {
			s := newPeers(t)
			c, err := client.New(lasting(s, v))
			if err != nil {
				t.Fatal(err)
			}
			c.Start()
			defer c.Close()
			p := acceptLasting(t, s, v)
			go c.Handle(t.Context(), "a", 1, func(*client.Message) {})
			p.granted()
			go c.Handle(t.Context(), "b", 2, func(*client.Message) {})
			p.granted()
			p.nc.Close()
			p, _ = s.accept(v, present, nil)
			defer p.nc.Close()
			if present && v != mqtt.V31 {
				p.quiet()
				return
			}
			k := p.granted()
			var filters []string
			it, f := k.Filters(), packet.SubFilter{}
			for it.Next(&f) {
				filters = append(filters, string(f.Filter))
			}
			if !slices.Equal(filters, []string{"a", "b"}) {
				t.Errorf("subscribed again to %q", filters)
			}
		})
	}
}

// A subscription asked for without a connection is made with the next one, and the caller waits for its grant.
func TestSubscribeOffline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		c, err := client.New(s.options(mqtt.V5))
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		defer c.Close()
		done := make(chan error)
		go func() { done <- c.Handle(t.Context(), "a", 1, func(*client.Message) {}) }()
		p, _ := s.accept(mqtt.V5, false, nil)
		defer p.nc.Close()
		p.granted()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if code, ok := c.Granted("a"); !ok || code != 1 {
			t.Errorf("granted %v %v", code, ok)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = c.Handle(ctx, "b", 1, func(*client.Message) {})
		if client.OutcomeOf(err) != client.Unknown || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("unanswered: %v", err)
		}
	})
}

// covers: 5:U5-4.1-2 5:4.3.3-10
func TestOutboxSurvivesRestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := outbox.NewMemory()
		s := newPeers(t)
		o := lasting(s, mqtt.V5)
		o.Store = store
		c, p := connected(t, s, o, mqtt.V5, &mqtt.Properties{ReceiveMaximum: 3})
		for i, q := range []mqtt.QoS{1, 2, 2, 1} {
			h := publishAsync(t, c, string(rune('a'+i)), q)
			if err := h.Saved(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		var ids []uint16
		for i, q := range []mqtt.QoS{1, 2, 2} {
			ids = append(ids, p.publish("topic", string(rune('a'+i)), q).PacketID)
		}
		p.send(ack(packet.PUBREC, ids[1]))
		p.ackOf(packet.PUBREL, ids[1])
		go c.Handle(t.Context(), "in", 2, func(*client.Message) {})
		p.granted()
		p.send(&packet.Publish{Topic: []byte("in"), QoS: 2, PacketID: 77})
		p.ackOf(packet.PUBREC, 77)
		p.nc.Close()
		c.Close()

		o.Store = store
		c, err := client.New(o)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(c.Pending()); n != 4 {
			t.Errorf("%d messages after the restart, want 4", n)
		}
		handled := 0
		c.Start()
		defer c.Close()
		p, k := s.accept(mqtt.V5, true, nil)
		defer p.nc.Close()
		if k.CleanStart {
			t.Error("clean start although the store has a session")
		}
		if a := p.publish("topic", "a", 1); a.PacketID != ids[0] || !a.Dup {
			t.Errorf("%+v", a)
		}
		p.ackOf(packet.PUBREL, ids[1])
		if b := p.publish("topic", "c", 2); b.PacketID != ids[2] || !b.Dup {
			t.Errorf("%+v", b)
		}
		if d := p.publish("topic", "d", 1); d.Dup {
			t.Errorf("%+v", d)
		}
		// The repeat of a QoS 2 message taken in the earlier run is answered and not delivered.
		go c.Handle(t.Context(), "in", 2, func(*client.Message) { handled++ })
		p.granted()
		p.send(&packet.Publish{Topic: []byte("in"), QoS: 2, PacketID: 77, Dup: true})
		p.ackOf(packet.PUBREC, 77)
		p.send(ack(packet.PUBREL, 77))
		p.ackOf(packet.PUBCOMP, 77)
		if handled != 0 {
			t.Error("delivered twice")
		}
	})
}

// covers: 5:4.6.0-1 3:4.6.0-1 3:2.3.1-3
func TestResendOrderAcrossWrap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		o := lasting(s, mqtt.V5)
		c, p := connected(t, s, o, mqtt.V5, nil)
		// Move the identifiers near their end.
		const burst = 500
		for sent := 0; sent < 65530; sent += burst {
			n := min(burst, 65530-sent)
			go func() {
				for range n {
					c.PublishAsync(t.Context(), mqtt.Message{Topic: "topic", QoS: 1})
				}
			}()
			for range n {
				p.send(ack(packet.PUBACK, expect[*packet.Publish](p).PacketID))
			}
		}
		var ids []uint16
		for i := range 10 {
			publishAsync(t, c, string(rune('0'+i)), 1)
			ids = append(ids, expect[*packet.Publish](p).PacketID)
		}
		if ids[9] > ids[0] {
			t.Fatalf("identifiers %v do not wrap", ids)
		}
		p.nc.Close()
		p, _ = s.accept(mqtt.V5, true, nil)
		defer p.nc.Close()
		for i := range 10 {
			if k := p.publish("topic", string(rune('0'+i)), 1); k.PacketID != ids[i] {
				t.Errorf("message %d has identifier %d, had %d", i, k.PacketID, ids[i])
			}
		}
	})
}

// covers: 5:3.2.2-15 5:3.2.2-11 E196
func TestRefusedLocally(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		no := false
		c, p := connected(t, s, s.options(mqtt.V5), mqtt.V5, &mqtt.Properties{
			MaximumQoS: ptr(byte(0)), RetainAvailable: &no, MaximumPacketSize: 64, WildcardAvailable: &no, SharedAvailable: &no,
			SubscriptionIDAvailable: &no,
		})
		for name, m := range map[string]mqtt.Message{
			"QoS":    {Topic: "t", QoS: 1},
			"retain": {Topic: "t", Retain: true},
			"size":   {Topic: "t", Payload: make([]byte, 100)},
		} {
			if err := c.Publish(t.Context(), m); !client.SafeToRetry(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
		long := make([]byte, 70)
		for i := range long {
			long[i] = 'a'
		}
		for _, sub := range []client.Subscription{
			{Filter: "a/#"}, {Filter: "$share/g/a"}, {Filter: "a", ID: 5}, {Filter: string(long)},
		} {
			sub.Handler = func(*client.Message) {}
			if err := c.Subscribe(t.Context(), sub); !client.SafeToRetry(err) {
				t.Errorf("%q: %v", sub.Filter, err)
			}
		}
		p.quiet()
	})
}

// covers: 5:3.3.4-7 5:4.9.0-2 5:3.3.4-8
func TestSendWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		c, p := connected(t, s, s.options(mqtt.V5), mqtt.V5, &mqtt.Properties{ReceiveMaximum: 2})
		for i := range 10 {
			publishAsync(t, c, string(rune('0'+i)), mqtt.QoS(1+i%2))
		}
		one, two := p.publish("topic", "0", 1), p.publish("topic", "1", 2)
		p.quiet()
		go c.Handle(t.Context(), "x", 1, func(*client.Message) {})
		p.granted() // a full window holds up nothing else
		p.send(ack(packet.PUBREC, two.PacketID))
		p.ackOf(packet.PUBREL, two.PacketID)
		p.quiet()
		p.send(ack(packet.PUBCOMP, two.PacketID))
		p.publish("topic", "2", 1)
		p.send(ack(packet.PUBACK, one.PacketID))
		k := p.publish("topic", "3", 2)
		p.send(&packet.Ack{Type: packet.PUBREC, PacketID: k.PacketID, Code: mqtt.QuotaExceeded})
		p.publish("topic", "4", 1)
		p.quiet()
	})
}

// covers: 5:2.2.1-3 3:2.3.1-2 E197
func TestOnePoolOfIdentifiers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		c, p := connected(t, s, s.options(mqtt.V311), mqtt.V311, nil)
		seen := map[uint16]bool{}
		note := func(id uint16) {
			if id == 0 || seen[id] {
				t.Errorf("identifier %d is 0 or in use", id)
			}
			seen[id] = true
		}
		for i := range 5 {
			publishAsync(t, c, "x", mqtt.QoS(1+i%2))
			note(expect[*packet.Publish](p).PacketID)
			go c.Handle(t.Context(), "a", 1, func(*client.Message) {})
			note(expect[*packet.Subscribe](p).PacketID)
			go c.Unsubscribe(t.Context(), "a")
			note(expect[*packet.Unsubscribe](p).PacketID)
		}
	})
}
