package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

func inbound(topic, payload string, q mqtt.QoS, id uint16) *packet.Publish {
	return &packet.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: q, PacketID: id}
}

// subscribe subscribes against a peer.
func subscribe(t *testing.T, c *client.Client, p *peer, sub client.Subscription) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- c.Subscribe(t.Context(), sub) }()
	p.granted()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// covers: 3:4.6.0-2 5:4.6.0-2 E194
func TestAcksInArrivalOrder(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		s := newPeers(t)
		c, p := connected(t, s, s.options(v), v, nil)
		release := make(chan struct{})
		var done atomic.Int32
		subscribe(t, c, p, client.Subscription{Filter: "t/+", QoS: 2, Handler: func(m *client.Message) {
			if m.Topic == "t/1" {
				<-release
			}
			done.Add(1)
		}})
		for i := range 5 {
			p.send(inbound(fmt.Sprintf("t/%d", i+1), "x", 1, uint16(i+1)))
		}
		p.quiet()
		if done.Load() != 4 {
			t.Errorf("%d handlers have ended beside the slow one, want 4", done.Load())
		}
		close(release)
		for i := range 5 {
			p.ackOf(packet.PUBACK, uint16(i+1))
		}
	})
}

// covers: 3:4.6.0-3 5:4.6.0-3
func TestPubrecsInArrivalOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		o := s.options(mqtt.V5)
		o.ManualAck = true
		c, p := connected(t, s, o, mqtt.V5, nil)
		got := make(chan *client.Message, 5)
		subscribe(t, c, p, client.Subscription{Filter: "#", QoS: 2, Handler: func(m *client.Message) { got <- m }})
		var messages []*client.Message
		for i := range 3 {
			p.send(inbound("t", "x", 2, uint16(i+1)))
			messages = append(messages, <-got)
		}
		messages[2].Ack()
		messages[1].Ack()
		p.quiet()
		messages[0].Ack()
		for i := range 3 {
			p.ackOf(packet.PUBREC, uint16(i+1))
		}
		if err := messages[0].Ack(); err != nil {
			t.Errorf("second Ack: %v", err)
		}
		p.send(inbound("t", "x", 1, 9))
		m := <-got
		if err := m.Reject(mqtt.ReasonCode(0x10)); err == nil {
			t.Error("rejected with a success")
		}
		m.Reject(mqtt.QuotaExceeded)
		if a := p.ackOf(packet.PUBACK, 9); a.Code != mqtt.QuotaExceeded {
			t.Errorf("PUBACK %v", a.Code)
		}
		p.send(inbound("t", "x", 1, 10))
		m = <-got
		p.nc.Close()
		p, _ = s.accept(mqtt.V5, false, nil)
		defer p.nc.Close()
		synctest.Wait()
		if err := m.Ack(); !errors.Is(err, client.ErrSessionLost) {
			t.Errorf("Ack after the connection: %v", err)
		}
	})
}

// covers: 3:4.6.0-4 5:4.6.0-4
func TestPubrelsFollowPubrecs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		c, p := connected(t, s, s.options(mqtt.V5), mqtt.V5, nil)
		var ids []uint16
		for range 3 {
			publishAsync(t, c, "x", 2)
			ids = append(ids, expect[*packet.Publish](p).PacketID)
		}
		for _, i := range []int{2, 0, 1} {
			p.send(ack(packet.PUBREC, ids[i]))
		}
		for _, i := range []int{2, 0, 1} {
			p.ackOf(packet.PUBREL, ids[i])
		}
	})
}

// covers: 3:4.5.0-2 5:4.5.0-2 3:U311-4.5.0-1
func TestUnsolicited(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		s := newPeers(t)
		_, p := connected(t, s, s.options(v), v, nil)
		p.send(inbound("never/asked", "x", 1, 5), inbound("never/asked", "x", 2, 6))
		p.ackOf(packet.PUBACK, 5)
		p.ackOf(packet.PUBREC, 6)
	})
}

// covers: 5:U5-3.8.4-1 3:U311-3.8.4-1 31:U31-26
func TestMessageBeforeSuback(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		s := newPeers(t)
		c, p := connected(t, s, s.options(v), v, nil)
		got := make(chan string, 1)
		done := make(chan error)
		go func() {
			done <- c.Handle(t.Context(), "t", 1, func(m *client.Message) { got <- string(m.Payload) })
		}()
		k := expect[*packet.Subscribe](p)
		p.send(inbound("t", "early", 0, 0), &packet.Suback{PacketID: k.PacketID, Codes: []byte{1}})
		if m := <-got; m != "early" {
			t.Errorf("got %q", m)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A handler publishes, subscribes and closes; nothing stops.
//
// covers: E195
func TestClientInsideHandler(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		o := s.options(mqtt.V5)
		o.Handlers, o.TopicAliases = 1, -1
		c, p := connected(t, s, o, mqtt.V5, nil)
		closed := make(chan error, 1)
		errs := make(chan error, 2)
		subscribe(t, c, p, client.Subscription{Filter: "in", QoS: 1, Handler: func(m *client.Message) {
			errs <- c.Publish(t.Context(), mqtt.Message{Topic: "out", QoS: 2})
			errs <- c.Handle(t.Context(), "more", 0, func(*client.Message) {})
			closed <- c.Close()
		}})
		p.send(inbound("in", "x", 1, 1))
		k := p.publish("out", "", 2)
		p.send(ack(packet.PUBREC, k.PacketID))
		p.ackOf(packet.PUBREL, k.PacketID)
		p.send(ack(packet.PUBCOMP, k.PacketID))
		p.granted()
		if err := errors.Join(<-errs, <-errs); err != nil {
			t.Error(err)
		}
		p.closed()
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

// With the backlog full and the only handler waiting for an acknowledgement, reading goes on after a second; QoS 0 beyond the limit
// is dropped and counted.
func TestFullBacklogDoesNotDeadlock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		o := s.options(mqtt.V5)
		o.MaxBacklog, o.Handlers, o.TopicAliases = 4, 1, -1
		c, p := connected(t, s, o, mqtt.V5, nil)
		errs := make(chan error, 20)
		subscribe(t, c, p, client.Subscription{Filter: "in", Handler: func(m *client.Message) {
			errs <- c.Publish(t.Context(), mqtt.Message{Topic: "out", QoS: 1})
		}})
		var id uint16
		for i := range 10 {
			p.send(inbound("in", "x", 0, 0))
			if i == 0 {
				id = p.publish("out", "", 1).PacketID
			}
		}
		p.send(ack(packet.PUBACK, id))
		for range 3 {
			p.send(ack(packet.PUBACK, p.publish("out", "", 1).PacketID))
		}
		p.quiet()
		if err := <-errs; err != nil {
			t.Error(err)
		}
		if n := c.Dropped(); n < 5 || n > 6 {
			t.Errorf("%d dropped, want the 5 or 6 that came above the limit", n)
		}
	})
}

func TestOrderPerTopic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		c, p := connected(t, s, s.options(mqtt.V311), mqtt.V311, nil)
		var mu sync.Mutex
		got := map[string][]string{}
		var running, most atomic.Int32
		subscribe(t, c, p, client.Subscription{Filter: "#", Handler: func(m *client.Message) {
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			<-time.After(time.Millisecond) // the bubble's time: other goroutines run
			mu.Lock()
			got[m.Topic] = append(got[m.Topic], string(m.Payload))
			mu.Unlock()
			running.Add(-1)
		}})
		for i := range 200 {
			p.send(inbound(fmt.Sprintf("t%d", i%20), fmt.Sprintf("%03d", i), 0, 0))
		}
		for {
			synctest.Wait()
			mu.Lock()
			n := 0
			for _, list := range got {
				n += len(list)
			}
			mu.Unlock()
			if n == 200 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		for topic, list := range got {
			if !slices.IsSorted(list) {
				t.Errorf("%s: %q", topic, list)
			}
		}
		if n := most.Load(); n != 8 {
			t.Errorf("%d handlers at once, want 8", n)
		}
	})
}

// covers: 5:3.2.2-17 5:3.3.2-9 5:3.3.2-7
func TestAliasesOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		c, p := connected(t, s, lasting(s, mqtt.V5), mqtt.V5, &mqtt.Properties{TopicAliasMaximum: 3})
		_ = c
		p.nc.Close()
	})
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		o := s.options(mqtt.V5)
		o.SessionExpiry = time.Hour
		c, p := connected(t, s, o, mqtt.V5, &mqtt.Properties{TopicAliasMaximum: 3})
		send := func(topic string, q mqtt.QoS) (string, uint32) {
			t.Helper()
			if _, err := c.PublishAsync(t.Context(), mqtt.Message{Topic: topic, QoS: q}); err != nil {
				t.Fatal(err)
			}
			k := expect[*packet.Publish](p)
			n, _ := k.Props.Uint(packet.PropTopicAlias)
			return string(k.Topic), n
		}
		for i := range 10 {
			topic := fmt.Sprintf("topic/%d", i)
			name, n := send(topic, 0)
			if name != topic || n != uint32((i+1)*b2i(i < 3)) {
				t.Errorf("first use of %s: %q alias %d", topic, name, n)
			}
		}
		if name, n := send("topic/1", 1); name != "" || n != 2 {
			t.Errorf("second use: %q alias %d", name, n)
		}
		p.nc.Close()
		p, _ = s.accept(mqtt.V5, true, nil) // a server without aliases now: the queued message regains its topic (E103)
		defer p.nc.Close()
		if k := p.publish("topic/1", "", 1); k.Props.Has(packet.PropTopicAlias) {
			t.Error("alias on a connection that has none")
		}
	})
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// covers: 5:3.2.2-18 5:3.3.2-10 5:U5-3.3.2.3.4-4
func TestAliasesIn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		o := s.options(mqtt.V5)
		o.TopicAliases = 2
		got := make(chan string, 10)
		o.DefaultHandler = func(m *client.Message) { got <- m.Topic }
		c, p := connected(t, s, o, mqtt.V5, nil)
		send := func(topic string, alias uint32) string {
			k := inbound(topic, "x", 0, 0)
			k.Props = packet.AppendUint(nil, packet.PropTopicAlias, alias)
			p.send(k)
			return <-got
		}
		for i, step := range []struct {
			topic string
			alias uint32
			want  string
		}{{"a", 1, "a"}, {"b", 2, "b"}, {"", 1, "a"}, {"c", 1, "c"}, {"", 1, "c"}, {"", 2, "b"}} {
			if topic := send(step.topic, step.alias); topic != step.want {
				t.Errorf("step %d: %q, want %q", i, topic, step.want)
			}
		}
		publishAsync(t, c, "x", 0)
		if k := p.publish("topic", "x", 0); k.Props.Has(packet.PropTopicAlias) {
			t.Error("alias although the server takes none")
		}
	})
}

func TestRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		c, p := connected(t, s, s.options(mqtt.V5), mqtt.V5, nil)
		type answer struct {
			text string
			err  error
		}
		answers := make(chan answer, 3)
		ask := func(payload string) {
			m, err := c.Request(t.Context(), "service", []byte(payload))
			a := answer{err: err}
			if m != nil {
				a.text = string(m.Payload)
			}
			answers <- a
		}
		go ask("1")
		sub := p.granted()
		it, f := sub.Filters(), packet.SubFilter{}
		it.Next(&f)
		first := p.publish("service", "1", 1)
		go ask("2")
		second := p.publish("service", "2", 1)
		reply := func(to *packet.Publish, text string) {
			topic, _ := to.Props.Bytes(packet.PropResponseTopic)
			if string(topic) != string(f.Filter) || !strings.HasPrefix(string(topic), "midge/reply/c1/") {
				t.Errorf("response topic %q, subscribed %q", topic, f.Filter)
			}
			corr, _ := to.Props.Bytes(packet.PropCorrelationData)
			p.send(ack(packet.PUBACK, to.PacketID))
			p.send(&packet.Publish{Topic: topic, Payload: []byte(text), Props: packet.AppendBytes(nil, packet.PropCorrelationData, corr)})
		}
		reply(second, "two")
		if a := <-answers; a.text != "two" || a.err != nil {
			t.Errorf("%+v", a)
		}
		reply(first, "one")
		if a := <-answers; a.text != "one" || a.err != nil {
			t.Errorf("%+v", a)
		}
		go ask("3")
		k := p.publish("service", "3", 1)
		p.send(&packet.Ack{Type: packet.PUBACK, PacketID: k.PacketID, Code: mqtt.NoMatchingSubscribers})
		if a := <-answers; client.OutcomeOf(a.err) != client.Refused {
			t.Errorf("nobody there: %v", a.err)
		}
	})
}

func TestStreamsAndIterators(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		c, p := connected(t, s, s.options(mqtt.V5), mqtt.V5, nil)
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan string)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for m := range c.Messages(ctx, "s/#") {
				got <- string(m.Payload)
			}
		}()
		p.granted()
		p.send(inbound("s/a", "1", 1, 1), inbound("s/b", "2", 1, 2))
		if m := <-got; m != "1" {
			t.Errorf("got %q", m)
		}
		if m := <-got; m != "2" {
			t.Errorf("got %q", m)
		}
		p.ackOf(packet.PUBACK, 1)
		p.ackOf(packet.PUBACK, 2)
		cancel()
		u := expect[*packet.Unsubscribe](p)
		p.send(&packet.Unsuback{PacketID: u.PacketID, Codes: []byte{0}})
		<-ended

		done := make(chan (<-chan *client.Message), 1)
		ctx, cancel = context.WithCancel(t.Context())
		go func() {
			ch, err := c.Channel(ctx, client.Subscription{Filter: "c", QoS: 1})
			if err != nil {
				t.Error(err)
			}
			done <- ch
		}()
		p.granted()
		ch := <-done
		p.send(inbound("c", "x", 1, 3))
		if m := <-ch; string(m.Payload) != "x" {
			t.Errorf("%+v", m)
		}
		p.ackOf(packet.PUBACK, 3)
		cancel()
		expect[*packet.Unsubscribe](p)
		if _, open := <-ch; open {
			t.Error("the channel is open after its context")
		}
	})
}

func TestSubscriptionIdentifiers(t *testing.T) {
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
		// The server sends one copy for each subscription; each handler gets its own.
		for _, f := range []string{"a/+", "a/#"} {
			k := inbound("a/b", "x", 0, 0)
			k.Props = packet.AppendUint(nil, packet.PropSubscriptionID, ids[f])
			p.send(k)
			if g := <-got; g != f {
				t.Errorf("handler of %q, want %q", g, f)
			}
		}
		p.quiet()
		if len(got) != 0 {
			t.Error("delivered to more than the subscription that caused it")
		}
	})
}

func TestRefusedSubscription(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		c, p := connected(t, s, s.options(mqtt.V5), mqtt.V5, nil)
		done := make(chan error)
		h := func(*client.Message) {}
		go func() {
			done <- c.Subscribe(t.Context(), client.Subscription{Filter: "good", Handler: h}, client.Subscription{Filter: "bad", Handler: h})
		}()
		k := expect[*packet.Subscribe](p)
		p.send(&packet.Suback{PacketID: k.PacketID, Codes: []byte{0, 0x87}})
		err := <-done
		var e *client.Error
		if !errors.As(err, &e) || e.Filter != "bad" || e.Code != mqtt.NotAuthorized || e.Outcome != client.Refused {
			t.Errorf("%v", err)
		}
		if _, ok := c.Granted("good"); !ok {
			t.Error("one bad filter took the good one with it (E128)")
		}
		if _, ok := c.Granted("bad"); ok {
			t.Error("the refused filter is kept")
		}
	})
}

func TestQueuePolicies(t *testing.T) {
	for _, policy := range []client.FullPolicy{client.WaitForRoom, client.RejectNew, client.DropOldest} {
		bubble(t, func(t *testing.T) {
			s := newPeers(t)
			o := s.options(mqtt.V5)
			o.MaxQueued, o.WhenFull = 2, policy
			c, err := client.New(o)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			first := publishAsync(t, c, "1", 1)
			publishAsync(t, c, "2", 1)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err = c.PublishAsync(ctx, mqtt.Message{Topic: "topic", QoS: 1})
			switch policy {
			case client.WaitForRoom:
				if !errors.Is(err, context.DeadlineExceeded) || !client.SafeToRetry(err) {
					t.Errorf("wait: %v", err)
				}
			case client.RejectNew:
				if !errors.Is(err, client.ErrQueueFull) || !client.SafeToRetry(err) {
					t.Errorf("reject: %v", err)
				}
			case client.DropOldest:
				if err != nil || !errors.Is(first.Err(), client.ErrDropped) {
					t.Errorf("drop: %v, first %v", err, first.Err())
				}
			}
			if err := c.Publish(t.Context(), mqtt.Message{Topic: "zero"}); !errors.Is(err, client.ErrNotConnected) {
				t.Errorf("QoS 0 without a connection: %v", err)
			}
		})
	}
}

func TestExpiryWhileOffline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		c, err := client.New(lasting(s, mqtt.V5))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		put := func(expiry uint32) *client.Publication {
			h, err := c.PublishAsync(t.Context(), mqtt.Message{
				Topic: "t", QoS: 1, Payload: fmt.Appendf(nil, "%d", expiry), Properties: &mqtt.Properties{MessageExpiry: &expiry},
			})
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		short, long := put(5), put(60)
		<-time.After(20 * time.Second) // the bubble's time
		c.Start()
		p, _ := s.accept(mqtt.V5, false, nil)
		defer p.nc.Close()
		k := p.publish("t", "60", 1)
		if left, _ := k.Props.Uint(packet.PropMessageExpiry); left != 40 {
			t.Errorf("%d s left, want 40", left)
		}
		if err := short.Wait(t.Context()); !errors.Is(err, client.ErrExpired) || !client.SafeToRetry(err) {
			t.Errorf("expired: %v", err)
		}
		p.send(ack(packet.PUBACK, k.PacketID))
		if err := long.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
