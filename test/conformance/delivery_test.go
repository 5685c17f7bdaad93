package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/memstore"
	"github.com/midgemq/midge/internal/testkit/rawmqtt"
	"github.com/midgemq/midge/internal/testkit/sim"
)

// rig is an engine without sockets, with its log and the store of the test's
// choice.
type rig struct {
	t   *testing.T
	e   *sim.Engine
	log bytes.Buffer
}

func newRig(t *testing.T, st store.Store, change func(*config.Config)) *rig {
	t.Helper()
	r := &rig{t: t}
	log, err := logging.New(logging.Options{Types: logging.Default, Dest: logging.ToStderr, Stderr: &r.log})
	if err != nil {
		t.Fatal(err)
	}
	r.e = engine(log, st, 1, change)
	return r
}

func engine(log *logging.Logger, st store.Store, loops int, change func(*config.Config)) *sim.Engine {
	c := config.Default()
	c.Listeners = []*config.Listener{{
		Address: "127.0.0.1", Protocol: config.MQTT, Versions: config.AllVersions, AllowAnonymous: true,
		MaxTopicAlias: 10, MaxTopicAliasBroker: 10,
	}}
	if change != nil {
		change(c)
	}
	o := broker.Options{Config: c, Version: "test"}
	return sim.New(broker.HubConfig(&o), broker.Settings(&o, c.Listeners[0]), log, st, loops)
}

// peer is one client of a rig. Everything the broker sends it is judged.
type peer struct {
	r     *rig
	p     *sim.Pipe
	v     byte
	check *rawmqtt.Checker
	name  string
	queue []*rawmqtt.Packet
}

// connect opens a connection whose session, if it is to be kept, lasts.
func (r *rig) connect(v byte, id string, clean bool, props ...rawmqtt.Prop) *peer {
	r.t.Helper()
	c := &peer{r: r, p: r.e.Open(nil), v: v, check: rawmqtt.NewChecker(v), name: id}
	name := "MQTT"
	if v == rawmqtt.V31 {
		name = "MQIsdp"
	}
	if v == rawmqtt.V5 && !clean {
		props = append(props, rawmqtt.Prop{ID: 0x11, Num: 1000})
	}
	c.send(&rawmqtt.Packet{Type: rawmqtt.CONNECT, Props: props, Connect: &rawmqtt.Connect{Name: name, Level: v, Clean: clean, ClientID: id}})
	return c
}

// open is connect where CONNACK comes at once.
func (r *rig) open(v byte, id string, clean bool, props ...rawmqtt.Prop) *peer {
	r.t.Helper()
	c := r.connect(v, id, clean, props...)
	if p := c.next(); p.Type != rawmqtt.CONNACK || p.Reason != 0 {
		r.t.Fatalf("%s: %s came instead of CONNACK", id, rawmqtt.TypeName(p.Type))
	}
	return c
}

func (c *peer) send(ps ...*rawmqtt.Packet) {
	c.r.t.Helper()
	var b []byte
	for _, p := range ps {
		if p.Flags == 0 {
			p.Flags = rawmqtt.FixedFlags(p.Type)
		}
		c.check.Sent(p)
		b = append(b, p.Encode(c.v)...)
	}
	c.p.Feed(b)
}

func (c *peer) ack(t byte, id uint16) *rawmqtt.Packet { return &rawmqtt.Packet{Type: t, ID: id} }

func (c *peer) publish(topic, payload string, qos byte, id uint16, props ...rawmqtt.Prop) *rawmqtt.Packet {
	return &rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: qos << 1, Topic: topic, Payload: []byte(payload), ID: id, Props: props}
}

func (c *peer) subscribe(filter string, qos byte) {
	c.r.t.Helper()
	c.send(&rawmqtt.Packet{Type: rawmqtt.SUBSCRIBE, ID: 65000, Filters: []rawmqtt.Filter{{Filter: filter, Options: qos}}})
}

// read takes what the broker has written so far.
func (c *peer) read() {
	c.r.t.Helper()
	for b := c.p.Output(); len(b) > 0; {
		raw, rest, err := rawmqtt.Split(b)
		if err != nil || raw == nil {
			c.r.t.Fatalf("%s: broken output % X: %v", c.name, b[:min(len(b), 20)], err)
		}
		p, err := c.check.Received(raw)
		if err != nil {
			c.r.t.Fatalf("%s: % X: %v", c.name, raw[:min(len(raw), 20)], err)
		}
		c.queue = append(c.queue, p)
		b = rest
	}
}

// next is the next packet; there must be one.
func (c *peer) next() *rawmqtt.Packet {
	c.r.t.Helper()
	c.read()
	if len(c.queue) == 0 {
		c.r.t.Fatalf("%s: a packet is awaited and none has come", c.name)
	}
	p := c.queue[0]
	c.queue = c.queue[1:]
	return p
}

// want checks type and identifier of the next packet and returns it.
func (c *peer) want(t byte, id uint16) *rawmqtt.Packet {
	c.r.t.Helper()
	p := c.next()
	if p.Type != t || p.ID != id {
		c.r.t.Fatalf("%s: %s %d came instead of %s %d", c.name, rawmqtt.TypeName(p.Type), p.ID, rawmqtt.TypeName(t), id)
	}
	return p
}

// quiet proves that nothing waits to be read.
func (c *peer) quiet(when string) {
	c.r.t.Helper()
	c.read()
	if len(c.queue) > 0 {
		c.r.t.Fatalf("%s: %s: %s %d came", c.name, when, rawmqtt.TypeName(c.queue[0].Type), c.queue[0].ID)
	}
}

// missing is the count of subscribers found to owe PUBCOMPs.
func (r *rig) missing() uint64 { return r.e.Hub.Shards[0].Count.PubcompMissing }

// floodQoS1 has p publish n numbered QoS 1 messages from first on, acknowledged.
func floodQoS1(p *peer, topic string, first, n int) {
	p.r.t.Helper()
	for done := 0; done < n; {
		k := min(n-done, 20)
		var ps []*rawmqtt.Packet
		for i := range k {
			ps = append(ps, p.publish(topic, fmt.Sprint(first+done+i), 1, uint16(i+1)))
		}
		p.send(ps...)
		for i := range k {
			p.want(rawmqtt.PUBACK, uint16(i+1))
		}
		done += k
	}
}

// TestIdentifiersWrap has a subscriber take 65,530 messages, so that the next
// ten go across the end of the identifiers, and resumes it.
// covers: E081 3:4.6.0-1 5:2.2.1-4
func TestIdentifiersWrap(t *testing.T) {
	for _, v := range []byte{rawmqtt.V31, rawmqtt.V311, rawmqtt.V5} {
		t.Run(fmt.Sprint(v), func(t *testing.T) {
			r := newRig(t, memstore.New(), nil)
			s := r.open(v, "s", false)
			s.subscribe("t", 1)
			s.want(rawmqtt.SUBACK, 65000)
			p := r.open(v, "p", true)
			id := uint16(0)
			for range 65530 / 10 {
				floodQoS1(p, "t", 0, 10)
				var acks []*rawmqtt.Packet
				for range 10 {
					id++
					s.want(rawmqtt.PUBLISH, id)
					acks = append(acks, s.ack(rawmqtt.PUBACK, id))
				}
				s.send(acks...)
			}
			floodQoS1(p, "t", 0, 10)
			ids := []uint16{65531, 65532, 65533, 65534, 65535, 1, 2, 3, 4, 5}
			for i, id := range ids {
				if m := s.want(rawmqtt.PUBLISH, id); string(m.Payload) != fmt.Sprint(i) || m.Dup() {
					t.Fatalf("identifier %d: payload %s, DUP %t", id, m.Payload, m.Dup())
				}
			}
			s.p.Hangup(errors.New("cut"))
			s = r.open(v, "s", false)
			for i, id := range ids {
				if m := s.want(rawmqtt.PUBLISH, id); string(m.Payload) != fmt.Sprint(i) || !m.Dup() {
					t.Fatalf("resent identifier %d: payload %s, DUP %t", id, m.Payload, m.Dup())
				}
			}
			s.quiet("after what was resent")
		})
	}
}

// TestAllIdentifiersInUse leaves 65,535 messages unacknowledged: no identifier
// is doubled or 0, and those that are freed are used again.
// covers: 3:2.3.1-4 5:2.2.1-4 5:4.3.3-1
func TestAllIdentifiersInUse(t *testing.T) {
	for _, v := range []byte{rawmqtt.V311, rawmqtt.V5} {
		t.Run(fmt.Sprint(v), func(t *testing.T) {
			r := newRig(t, memstore.New(), func(c *config.Config) { c.MaxInflightMessages, c.MaxQueuedMessages = 0, 0 })
			var props []rawmqtt.Prop
			if v == rawmqtt.V5 {
				props = []rawmqtt.Prop{{ID: 0x21, Num: 65535}}
			}
			s := r.open(v, "s", false, props...)
			s.subscribe("t", 1)
			s.want(rawmqtt.SUBACK, 65000)
			p := r.open(v, "p", true)
			floodQoS1(p, "t", 1, 65535)
			for i := 1; i <= 65535; i++ {
				s.want(rawmqtt.PUBLISH, uint16(i))
			}
			floodQoS1(p, "t", 65536, 2)
			s.quiet("with every identifier in use")
			for _, id := range []uint16{40000, 17} {
				s.send(s.ack(rawmqtt.PUBACK, id))
				s.want(rawmqtt.PUBLISH, id)
			}
			s.quiet("behind the two that were freed")
			s.p.Hangup(errors.New("cut"))
			s = r.open(v, "s", false, props...)
			for i := 1; i <= 65535; i++ {
				if i == 17 || i == 40000 {
					continue
				}
				if m := s.want(rawmqtt.PUBLISH, uint16(i)); string(m.Payload) != fmt.Sprint(i) {
					t.Fatalf("identifier %d was resent with payload %s", i, m.Payload)
				}
			}
			for i, id := range []uint16{40000, 17} {
				if m := s.want(rawmqtt.PUBLISH, id); string(m.Payload) != fmt.Sprint(65536+i) {
					t.Fatalf("identifier %d was resent with payload %s", id, m.Payload)
				}
			}
			s.quiet("after what was resent")
		})
	}
}

// owing makes a subscriber that has sent PUBREC for n messages and no PUBCOMP.
func owing(r *rig, v byte, n int) (s, p *peer) {
	r.t.Helper()
	s = r.open(v, "s", false)
	s.subscribe("t", 2)
	s.want(rawmqtt.SUBACK, 65000)
	p = r.open(v, "p", true)
	for i := 1; i <= n; i++ {
		p.send(p.publish("t", "x", 2, uint16(i)))
		p.want(rawmqtt.PUBREC, uint16(i))
		p.send(p.ack(rawmqtt.PUBREL, uint16(i)))
		p.want(rawmqtt.PUBCOMP, uint16(i))
		s.want(rawmqtt.PUBLISH, uint16(i))
		s.send(s.ack(rawmqtt.PUBREC, uint16(i)))
		s.want(rawmqtt.PUBREL, uint16(i))
	}
	return s, p
}

// TestPubcompMissing: a subscriber that never completes QoS 2 is counted and
// named once per connection; before 5.0 deliveries go on, with 5.0 they stop.
// covers: E093
func TestPubcompMissing(t *testing.T) {
	const window = 4
	for _, v := range []byte{rawmqtt.V31, rawmqtt.V311, rawmqtt.V5} {
		t.Run(fmt.Sprint(v), func(t *testing.T) {
			r := newRig(t, memstore.New(), func(c *config.Config) { c.MaxInflightMessages = window })
			s, p := owing(r, v, window)
			line := fmt.Sprintf("Client s has not completed %d QoS 2 messages", window)
			r.e.Advance(9 * time.Second)
			floodQoS1(p, "t", 0, 1)
			if r.missing() != 0 || bytes.Contains(r.log.Bytes(), []byte("has not completed")) {
				t.Fatalf("reported after 9 s: %s", r.log.String())
			}
			r.e.Advance(2 * time.Second)
			floodQoS1(p, "t", 1, 1)
			if r.missing() != 1 || !bytes.Contains(r.log.Bytes(), []byte(line)) {
				t.Fatalf("after 11 s: count %d, log:\n%s", r.missing(), r.log.String())
			}
			r.e.Advance(time.Minute)
			floodQoS1(p, "t", 2, 1)
			if n := bytes.Count(r.log.Bytes(), []byte("has not completed")); r.missing() != 1 || n != 1 {
				t.Fatalf("reported %d times, logged %d times on one connection", r.missing(), n)
			}
			if v == rawmqtt.V5 {
				s.quiet("with the quota used up")
				s.send(s.ack(rawmqtt.PUBCOMP, 3))
			}
			if m := s.want(rawmqtt.PUBLISH, window+1); string(m.Payload) != "0" {
				t.Fatalf("payload %s after the PUBCOMPs that are missing", m.Payload)
			}
		})
	}
}

// TestPubcompPatience: a subscriber that sends PUBCOMPs, be they late, is not
// reported, nor one that is away or has just been asked again.
func TestPubcompPatience(t *testing.T) {
	r := newRig(t, memstore.New(), nil)
	s, p := owing(r, rawmqtt.V311, 6)
	for id := uint16(1); id < 6; id++ {
		r.e.Advance(8 * time.Second)
		s.send(s.ack(rawmqtt.PUBCOMP, id))
		floodQoS1(p, "t", 0, 1)
	}
	if r.missing() != 0 {
		t.Fatal("reported although a PUBCOMP came every 8 s")
	}
	s.p.Hangup(errors.New("cut"))
	r.e.Advance(time.Minute)
	floodQoS1(p, "t", 0, 1)
	if r.missing() != 0 {
		t.Fatal("reported while it was away")
	}
	s = r.open(rawmqtt.V311, "s", false)
	floodQoS1(p, "t", 0, 1)
	if r.missing() != 0 {
		t.Fatal("reported as soon as it was back")
	}
	r.e.Advance(11 * time.Second)
	floodQoS1(p, "t", 0, 1)
	if r.missing() != 1 {
		t.Fatalf("count %d, want 1, 11 s after PUBREL was sent again", r.missing())
	}
	s.send(s.ack(rawmqtt.PUBCOMP, 6))
}

// slowStore completes a commit only when it is told to, as an engine on disk
// does. Reads see what is complete.
type slowStore struct {
	*memstore.Store
	waiting []func(error)
	through bool
}

func (s *slowStore) Immediate() bool { return false }

func (s *slowStore) Commit(b *store.Batch, l store.Level, done func(error)) {
	run := func(fail error) {
		if fail != nil {
			done(fail)
			return
		}
		s.Store.Commit(b, l, done)
	}
	if s.through {
		run(nil)
		return
	}
	s.waiting = append(s.waiting, run)
}

// release completes what waits, or fails it.
func (s *slowStore) release(r *rig, fail error) {
	for len(s.waiting) > 0 {
		list := s.waiting
		s.waiting = nil
		for _, run := range list {
			run(fail)
		}
		r.e.Settle()
	}
}

// durable makes an engine on a slow store with a stored subscriber and a
// publisher, both connected.
func durable(t *testing.T) (st *slowStore, r *rig, s, p *peer) {
	t.Helper()
	st = &slowStore{Store: memstore.New(), through: true}
	r = newRig(t, st, nil)
	s = r.connect(rawmqtt.V5, "s", false, rawmqtt.Prop{ID: 0x22, Num: 5})
	r.e.Settle()
	s.want(rawmqtt.CONNACK, 0)
	s.subscribe("t", 2)
	r.e.Settle()
	s.want(rawmqtt.SUBACK, 65000)
	p = r.connect(rawmqtt.V5, "p", false)
	r.e.Settle()
	p.want(rawmqtt.CONNACK, 0)
	st.through = false
	return st, r, s, p
}

// TestAcknowledgedWhenSafe: neither PUBACK nor PUBREC leaves before the commit,
// nor does the delivery; what needs no commit is not held up.
// covers: E084 5:4.3.2-4 5:4.3.3-8
func TestAcknowledgedWhenSafe(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		t.Run(fmt.Sprint(qos), func(t *testing.T) {
			st, r, s, p := durable(t)
			answer := []byte{0, rawmqtt.PUBACK, rawmqtt.PUBREC}[qos]
			p.send(p.publish("t", "safe", qos, 7))
			p.quiet("before the commit")
			s.quiet("before the commit")
			if len(st.waiting) == 0 {
				t.Fatal("nothing was committed")
			}
			p.send(&rawmqtt.Packet{Type: rawmqtt.PINGREQ})
			p.want(rawmqtt.PINGRESP, 0)
			p.send(p.publish("t", "now", 0, 0))
			if m := s.want(rawmqtt.PUBLISH, 0); string(m.Payload) != "now" {
				t.Fatalf("payload %s", m.Payload)
			}
			st.release(r, nil)
			p.want(answer, 7)
			if m := s.want(rawmqtt.PUBLISH, 1); string(m.Payload) != "safe" || m.QoS() != qos {
				t.Fatalf("payload %s at QoS %d", m.Payload, m.QoS())
			}
			p.quiet("at the end")
			s.quiet("at the end")
		})
	}
}

// TestRetainedBehindSuback: retained messages wait for a SUBACK that waits for its
// commit, whatever their QoS; live ones of QoS 0 do not.
func TestRetainedBehindSuback(t *testing.T) {
	st, r, s, p := durable(t)
	st.through = true
	for i := range byte(3) {
		m := p.publish("kept/"+string('0'+rune(i)), "r", i, uint16(10+i))
		m.Flags |= 1
		p.send(m)
		r.e.Settle()
	}
	p.want(rawmqtt.PUBACK, 11)
	p.want(rawmqtt.PUBREC, 12)
	st.through = false
	s.subscribe("kept/#", 2)
	s.quiet("before the commit")
	p.send(p.publish("t", "live", 0, 0))
	if m := s.want(rawmqtt.PUBLISH, 0); string(m.Payload) != "live" {
		t.Fatalf("payload %s", m.Payload)
	}
	st.release(r, nil)
	s.want(rawmqtt.SUBACK, 65000)
	for range 3 {
		if m := s.next(); m.Type != rawmqtt.PUBLISH || string(m.Payload) != "r" {
			t.Fatalf("%s %s in place of a retained message", rawmqtt.TypeName(m.Type), m.Payload)
		}
		st.release(r, nil)
	}
}

// TestNotAcknowledgedWhenLost: a commit that fails ends the connection without
// an acknowledgement, and the repeat is taken as the first.
// covers: 3:4.8.0-2 E084
func TestNotAcknowledgedWhenLost(t *testing.T) {
	st, r, s, p := durable(t)
	p.send(p.publish("t", "lost", 1, 7))
	st.release(r, errors.New("disk full"))
	if m := p.next(); m.Type != rawmqtt.DISCONNECT || m.Reason < 0x80 {
		t.Fatalf("%s 0x%02X came instead of DISCONNECT", rawmqtt.TypeName(m.Type), m.Reason)
	}
	if !p.p.Over() {
		t.Fatal("the connection is open")
	}
	if !bytes.Contains(r.log.Bytes(), []byte("disk full")) {
		t.Fatalf("the log does not say why:\n%s", r.log.String())
	}
	st.through = true
	st.release(r, nil)
	p.p.Hangup(nil)
	s.p.Hangup(nil)
	r.e.Settle()
	s = r.connect(rawmqtt.V5, "s", false)
	r.e.Settle()
	s.want(rawmqtt.CONNACK, 0)
	q := r.connect(rawmqtt.V5, "p", false)
	r.e.Settle()
	q.want(rawmqtt.CONNACK, 0)
	m := q.publish("t", "lost", 1, 7)
	m.Flags |= 8
	q.send(m)
	r.e.Settle()
	q.want(rawmqtt.PUBACK, 7)
	for got := false; ; {
		s.read()
		if len(s.queue) == 0 {
			if !got {
				t.Fatal("the repeat was not delivered")
			}
			break
		}
		m := s.next() // always: "got ||" in front of it would leave the rest unread
		got = got || string(m.Payload) == "lost"
	}
}

// TestAliasNotHeldBack: an alias is not defined in a packet that waits for a
// commit, because QoS 0 passes it and would use the alias before.
// covers: E108 5:3.3.2-11
func TestAliasNotHeldBack(t *testing.T) {
	st, r, s, p := durable(t)
	p.send(p.publish("t", "held", 1, 7))
	p.send(p.publish("t", "passes", 0, 0))
	if m := s.want(rawmqtt.PUBLISH, 0); m.Topic != "t" || string(m.Payload) != "passes" {
		t.Fatalf("topic %q payload %s", m.Topic, m.Payload)
	}
	st.release(r, nil)
	if m := s.want(rawmqtt.PUBLISH, 1); m.Topic != "t" || string(m.Payload) != "held" {
		t.Fatalf("topic %q payload %s", m.Topic, m.Payload)
	}
}
