package crash

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// base is what all clients share: a persistent session, and a goroutine that
// connects again whenever the connection is gone.
type base struct {
	w      *world
	id     string
	level  byte
	known  bool // a CONNACK has come once, so the session must be there
	wanted atomic.Bool
	idle   chan struct{} // closed while no goroutine runs
	mu     sync.Mutex
	link   *link
}

func newBase(w *world, id string, level byte) base {
	idle := make(chan struct{})
	close(idle)
	return base{w: w, id: id, level: level, idle: idle}
}

// start keeps the client connected until stop; serve works on one connection.
func (b *base) start(serve func(*link)) {
	b.wanted.Store(true)
	idle := make(chan struct{})
	b.idle = idle
	go func() {
		defer close(idle)
		for b.wanted.Load() {
			if b.w.held.Load() {
				time.Sleep(time.Millisecond)
				continue
			}
			l, err := dial(b.w.addr, b.id, b.level, false)
			if err != nil {
				time.Sleep(3 * time.Millisecond)
				continue
			}
			if b.known && !l.present {
				b.w.differ(difference{client: b.id, what: session})
			}
			b.known = true
			b.mu.Lock()
			b.link = l
			b.mu.Unlock()
			if b.wanted.Load() {
				serve(l)
			}
			b.mu.Lock()
			b.link = nil
			b.mu.Unlock()
			l.close()
		}
	}()
}

// stop ends the connection, in order or not, and waits.
func (b *base) stop(politely bool) {
	b.wanted.Store(false)
	b.mu.Lock()
	l := b.link
	b.mu.Unlock()
	if l != nil {
		if politely {
			_ = l.send(&rawmqtt.Packet{Type: rawmqtt.DISCONNECT})
		}
		l.close()
	}
	<-b.idle
}

func (b *base) connected() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.link != nil
}

// sent is a message without its last acknowledgement.
type sent struct {
	n        int
	id       uint16
	received bool // PUBREC has come
}

// publisher sends numbered messages on one topic of its own, and on a
// connection that ended sends again what was not acknowledged.
type publisher struct {
	base
	topic  string
	qos    byte
	retain func(n int) (topic, payload string) // nil: numbers on topic
	paused atomic.Bool

	m        sync.Mutex
	extra    int // messages to send although paused
	inflight []sent
	next     int
	nextID   uint16
	acked    atomic.Int64
}

const window = 20

func (p *publisher) run() { p.start(p.serve) }

func (p *publisher) packet(s sent, dup bool) *rawmqtt.Packet {
	k := &rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: p.qos << 1, ID: s.id, Topic: p.topic, Payload: []byte(strconv.Itoa(s.n) + padding(s.n))}
	if p.retain != nil {
		t, v := p.retain(s.n)
		k.Topic, k.Payload = t, []byte(v)
		k.Flags |= 1
	}
	if dup {
		k.Flags |= 8
	}
	return k
}

func (p *publisher) serve(l *link) {
	p.m.Lock()
	for _, s := range p.inflight {
		if s.received {
			_ = l.ack(rawmqtt.PUBREL, s.id)
		} else {
			_ = l.send(p.packet(s, true))
		}
	}
	p.m.Unlock()
	over := make(chan struct{})
	go p.feed(l, over)
	defer func() { <-over }()
	defer l.close()
	for {
		k, err := l.read()
		if err != nil {
			return
		}
		p.take(l, k)
	}
}

// feed sends new messages while there is room in the window.
func (p *publisher) feed(l *link, over chan struct{}) {
	defer close(over)
	for {
		var batch []*rawmqtt.Packet
		p.m.Lock()
		for (p.extra > 0 || !p.paused.Load()) && len(p.inflight) < window && len(batch) < 5 {
			p.extra = max(p.extra-1, 0)
			p.next++
			p.nextID = p.nextID%60000 + 1
			s := sent{n: p.next, id: p.nextID}
			p.inflight = append(p.inflight, s)
			batch = append(batch, p.packet(s, false))
		}
		p.m.Unlock()
		if l.send(batch...) != nil {
			return
		}
		time.Sleep(time.Millisecond)
		if !p.wanted.Load() {
			return
		}
		p.mu.Lock()
		gone := p.link != l
		p.mu.Unlock()
		if gone {
			return
		}
		if len(batch) == 0 {
			// Finds out about an end that nothing else would tell.
			if l.send(&rawmqtt.Packet{Type: rawmqtt.PINGREQ}) != nil {
				return
			}
		}
	}
}

func (p *publisher) take(l *link, k *packet) {
	p.m.Lock()
	defer p.m.Unlock()
	i := -1
	for j := range p.inflight {
		if p.inflight[j].id == k.id {
			i = j
			break
		}
	}
	// PUBREL sent again may be unknown by now: its PUBCOMP was on the way.
	if k.code >= 0x80 && k.kind != rawmqtt.DISCONNECT && (k.kind != rawmqtt.PUBCOMP || k.code != 0x92) {
		p.w.fail("%s: packet type %d with code 0x%02X for message %d", p.id, k.kind, k.code, k.id)
		return
	}
	switch k.kind {
	case rawmqtt.PUBACK, rawmqtt.PUBCOMP:
		if i < 0 {
			return // answer to what was sent again
		}
		p.acked.Add(1)
		p.inflight = append(p.inflight[:i], p.inflight[i+1:]...)
	case rawmqtt.PUBREC:
		if i >= 0 {
			p.inflight[i].received = true
		}
		_ = l.ack(rawmqtt.PUBREL, k.id)
	}
}

func (p *publisher) waiting() int {
	p.m.Lock()
	defer p.m.Unlock()
	return len(p.inflight) + p.extra
}

// oneMore sends a message although the publisher is paused.
func (p *publisher) oneMore() {
	p.m.Lock()
	defer p.m.Unlock()
	p.extra++
}

func (p *publisher) last() int {
	p.m.Lock()
	defer p.m.Unlock()
	return p.next
}

// subscriber remembers the last number of each publisher. Numbers come without a
// gap; with QoS 2 none comes twice.
type subscriber struct {
	base
	qos     byte
	limited bool // messages may be missing: queue limits are on

	m      sync.Mutex
	got    map[string]int   // by topic: last number
	count  map[string]int   // by topic: messages, repeats left out
	open   map[uint16]*link // QoS 2 exchanges that PUBREL has not ended, and where PUBLISH came last
	subbed bool
	suback chan struct{}
	acks   atomic.Int64 // of subscriptions
}

func newSubscriber(w *world, id string, level, qos byte) *subscriber {
	return &subscriber{
		base: newBase(w, id, level), qos: qos, got: map[string]int{}, count: map[string]int{},
		open: map[uint16]*link{}, suback: make(chan struct{}),
	}
}

func (s *subscriber) run() { s.start(s.serve) }

func (s *subscriber) subscribe(l *link) {
	_ = l.send(&rawmqtt.Packet{Type: rawmqtt.SUBSCRIBE, Flags: 2, ID: 1, Filters: []rawmqtt.Filter{{Filter: "p/#", Options: s.qos}}})
}

func (s *subscriber) serve(l *link) {
	if !l.present {
		s.m.Lock()
		clear(s.open)
		s.m.Unlock()
	}
	if !s.subbed || !l.present {
		s.subscribe(l)
	}
	for {
		k, err := l.read()
		if err != nil {
			return
		}
		switch k.kind {
		case rawmqtt.SUBACK:
			if !s.subbed {
				s.subbed = true
				close(s.suback)
			}
			s.acks.Add(1)
		case rawmqtt.PUBLISH:
			s.take(l, k)
		case rawmqtt.PUBREL:
			s.m.Lock()
			delete(s.open, k.id)
			s.m.Unlock()
			_ = l.ack(rawmqtt.PUBCOMP, k.id)
		}
	}
}

func (s *subscriber) take(l *link, k *packet) {
	num, _, _ := strings.Cut(k.payload, " ")
	n, err := strconv.Atoi(num)
	if err != nil || !s.limited && k.payload != num+padding(n) {
		s.w.fail("%s: payload %q on %s", s.id, k.payload, k.topic)
		return
	}
	s.m.Lock()
	defer s.m.Unlock()
	ack := byte(rawmqtt.PUBACK)
	if k.qos == 2 {
		ack = rawmqtt.PUBREC
		repeat := s.open[k.id] != nil
		s.open[k.id] = l
		if repeat {
			_ = l.ack(ack, k.id)
			return
		}
	}
	last := s.got[k.topic]
	switch {
	case n == last+1, s.limited && n > last:
		s.got[k.topic] = n
		s.count[k.topic]++
	case n > last:
		for missing := last + 1; missing < n; missing++ {
			s.w.differ(difference{client: s.id, what: message, topic: k.topic, n: missing})
		}
		s.got[k.topic] = n
	case k.qos == 2:
		s.w.differ(difference{client: s.id, what: twice, topic: k.topic, n: n})
	default:
		s.w.repeats.Add(1)
	}
	_ = l.ack(ack, k.id)
}

// behind is how many messages of the given topic are still to come.
func (s *subscriber) behind(topic string, last int) int {
	s.m.Lock()
	defer s.m.Unlock()
	return last - s.got[topic]
}

// orphans forgets the exchanges that the broker knows nothing of any more, and is
// false while others are still under way.
func (s *subscriber) orphans() bool {
	s.mu.Lock()
	l := s.link
	s.mu.Unlock()
	s.m.Lock()
	defer s.m.Unlock()
	for _, at := range s.open {
		if at == l {
			return false
		}
	}
	clear(s.open)
	return true
}

// changer subscribes and unsubscribes, and knows what it was told.
type changer struct {
	base
	topics int
	paused atomic.Bool

	m       sync.Mutex
	state   []int8 // by topic: 1 subscribed, 0 not, -1 open
	seen    map[string]bool
	endings chan string
	ready   atomic.Bool // the sentinel's topic is subscribed
}

func (c *changer) topic(k int) string { return fmt.Sprintf("c/%s/%d", c.id, k) }
func (c *changer) run()               { c.start(c.serve) }

func (c *changer) serve(l *link) {
	if !l.present {
		c.ready.Store(false)
	}
	acks := make(chan *packet, 1)
	over := make(chan struct{})
	go c.change(l, acks, over)
	defer func() { <-over }()
	defer close(acks)
	defer l.close()
	for {
		k, err := l.read()
		if err != nil {
			return
		}
		switch k.kind {
		case rawmqtt.SUBACK, rawmqtt.UNSUBACK:
			acks <- k
		case rawmqtt.PUBLISH:
			_ = l.ack(rawmqtt.PUBACK, k.id)
			c.m.Lock()
			c.seen[k.payload] = true
			c.m.Unlock()
			if strings.HasSuffix(k.topic, "/end") {
				select {
				case c.endings <- k.payload:
				default:
				}
			}
		}
	}
}

func (c *changer) change(l *link, acks chan *packet, over chan struct{}) {
	defer close(over)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	id := uint16(0)
	ask := func(filter string, sub bool) bool {
		id++
		p := &rawmqtt.Packet{Type: rawmqtt.UNSUBSCRIBE, Flags: 2, ID: id, Filters: []rawmqtt.Filter{{Filter: filter, Options: 1}}}
		if sub {
			p.Type = rawmqtt.SUBSCRIBE
		}
		if l.send(p) != nil {
			return false
		}
		a, ok := <-acks
		if ok && a.code >= 0x80 {
			c.w.fail("%s: %s refused with 0x%02X", c.id, filter, a.code)
		}
		return ok
	}
	if !c.ready.Load() {
		if !ask(fmt.Sprintf("c/%s/end", c.id), true) {
			return
		}
		c.ready.Store(true)
	}
	for {
		if !c.wanted.Load() {
			return
		}
		if c.paused.Load() {
			time.Sleep(time.Millisecond)
			if l.send(&rawmqtt.Packet{Type: rawmqtt.PINGREQ}) != nil {
				return
			}
			continue
		}
		k := rng.IntN(c.topics)
		c.m.Lock()
		sub := c.state[k] != 1
		if c.state[k] < 0 {
			sub = rng.IntN(2) == 0
		}
		c.state[k] = -1
		c.m.Unlock()
		if !ask(c.topic(k), sub) {
			return
		}
		c.m.Lock()
		c.state[k] = 0
		if sub {
			c.state[k] = 1
		}
		c.m.Unlock()
	}
}
