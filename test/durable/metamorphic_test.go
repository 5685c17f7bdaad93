package durable

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/session"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/memstore"
	"github.com/midgemq/midge/internal/store/pebblestore"
	"github.com/midgemq/midge/internal/testkit/rawmqtt"
	"github.com/midgemq/midge/internal/testkit/sim"
	"github.com/midgemq/midge/mqtt"
)

// step is one thing that a client does, or a restart.
type step struct {
	kind   string
	client int
	filter string
	qos    byte
	retain bool
	text   string
}

func (s step) String() string {
	return fmt.Sprintf("%s client=%d %s qos=%d retain=%t %s", s.kind, s.client, s.filter, s.qos, s.retain, s.text)
}

const people = 5

// plan makes a random list of steps. Restarts stand between them with some
// probability; in a broker that is not restarted they are ends of all
// connections. Retained messages have QoS 0, so that none waits for a window when
// the broker ends; with shared, whose turn it is in a group matters, which no
// broker remembers over a restart.
func plan(rng *rand.Rand, n int, shared bool) (steps []step) {
	filters := []string{"a/b", "a/+", "#", "b/#", "b/c"}
	if shared {
		filters = append(filters, "$share/g/a/#")
	}
	topics := []string{"a/b", "a/c", "b/c", "b/d"}
	for i := range n {
		s := step{client: rng.IntN(people), text: fmt.Sprint("m", i)}
		switch k := rng.IntN(100); {
		case k < 12:
			s.kind = "connect"
		case k < 17:
			s.kind = "drop"
		case k < 27:
			s.kind, s.filter, s.qos = "subscribe", filters[rng.IntN(len(filters))], byte(rng.IntN(3))
		case k < 31:
			s.kind, s.filter = "unsubscribe", filters[rng.IntN(len(filters))]
		case k < 75:
			s.kind, s.filter, s.qos, s.retain = "publish", topics[rng.IntN(len(topics))], byte(rng.IntN(3)), rng.IntN(6) == 0
			if s.retain {
				s.qos = 0
				if rng.IntN(4) == 0 {
					s.text = ""
				}
			}
		case k < 80:
			s.kind = "release"
		case k < 94:
			s.kind = "acknowledge"
		default:
			s.kind = "restart"
		}
		steps = append(steps, s)
	}
	// In the end everybody takes everything.
	for c := range people {
		steps = append(steps, step{kind: "connect", client: c})
	}
	for range 400 {
		for c := range people {
			steps = append(steps, step{kind: "acknowledge", client: c})
		}
	}
	return steps
}

// counted knows how many calls an engine has not answered.
type counted struct {
	store.Store
	open atomic.Int64
}

func (c *counted) Commit(b *store.Batch, l store.Level, done func(error)) {
	c.open.Add(1)
	c.Store.Commit(b, l, func(err error) { done(err); c.open.Add(-1) })
}

func (c *counted) ReadQueue(key record.SessionKey, from uint64, max int, done func([]record.Queued, error)) {
	c.open.Add(1)
	c.Store.ReadQueue(key, from, max, func(q []record.Queued, err error) { done(q, err); c.open.Add(-1) })
}

// broker is one candidate.
type broker struct {
	t       *testing.T
	shards  int
	open    func() store.Store
	restart bool // restarts are real
	st      *counted
	e       *sim.Engine
	people  [people]person
}

// person is one client: it remembers what an MQTT client has to.
type person struct {
	pipe  *sim.Pipe
	level byte
	id    uint16
	buf   []byte
	// toAck are messages that it was given and has not acknowledged.
	toAck []rawmqtt.Packet
	// open are its own QoS 2 messages before PUBREL.
	open []rawmqtt.Packet
	recd map[uint16]bool
}

func (b *broker) start() {
	b.st = &counted{Store: b.open()}
	cfg := &hub.Config{
		Rules: session.Rules{
			MaxInflight: 2, MaxSubscriptions: 100, QueueWindow: 3, Unload: !b.st.Immediate(),
		},
		RetainAvailable: true, AllowDuplicates: true, MaxOutput: 1 << 20, Level: store.Flush, AssignedID: func() string { return "x" }, ConnectTimeout: 30 * record.Second,
	}
	l := &hub.Listener{AllowAnonymous: true, MaxQoS: mqtt.ExactlyOnce, MaxTopicAlias: 10}
	b.e = sim.New(cfg, l, logging.Discard(), b.st, b.shards)
	b.settle()
}

func (b *broker) settle() {
	b.e.Settle()
	for b.st.open.Load() > 0 {
		time.Sleep(20 * time.Microsecond)
		b.e.Settle()
	}
	b.e.Settle()
}

func (b *broker) feed(p *person, ks ...rawmqtt.Packet) {
	for i := range ks {
		p.pipe.Feed(ks[i].Encode(p.level))
	}
	b.settle()
}

// do carries out one step and returns what the clients were given, by client.
func (b *broker) do(s step) (given [people][]string) {
	p := &b.people[s.client]
	connected := p.pipe != nil && !p.pipe.Over()
	switch {
	case s.kind == "restart":
		b.cut()
	case s.kind == "connect":
		b.connect(s.client)
	case !connected:
	case s.kind == "drop":
		p.pipe.Hangup(nil)
		p.pipe = nil
	case s.kind == "subscribe", s.kind == "unsubscribe":
		k := rawmqtt.Packet{Type: rawmqtt.SUBSCRIBE, Flags: 2, ID: p.next(), Filters: []rawmqtt.Filter{{Filter: s.filter, Options: s.qos}}}
		if s.kind == "unsubscribe" {
			k.Type = rawmqtt.UNSUBSCRIBE
		}
		b.feed(p, k)
	case s.kind == "publish":
		k := rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: s.qos << 1, Topic: s.filter, Payload: []byte(s.text)}
		if s.retain {
			k.Flags |= 1
		}
		if s.qos > 0 {
			k.ID = p.next()
		}
		if s.qos == 2 {
			if len(p.open) == 2 {
				return given
			}
			p.open = append(p.open, k)
		}
		b.feed(p, k)
	case s.kind == "release":
		for _, k := range p.open {
			b.feed(p, rawmqtt.Packet{Type: rawmqtt.PUBREL, Flags: 2, ID: k.ID})
		}
		p.open = nil
	case s.kind == "acknowledge":
		if len(p.toAck) > 0 {
			k := p.toAck[0]
			p.toAck = p.toAck[1:]
			b.feed(p, k)
		}
	}
	b.settle()
	for i := range b.people {
		given[i] = b.take(&b.people[i])
	}
	return given
}

func (p *person) next() uint16 {
	p.id = p.id%60000 + 1
	return p.id
}

// cut ends all connections at once, with or without the broker.
func (b *broker) cut() {
	for i := range b.people {
		p := &b.people[i]
		if p.pipe == nil {
			continue
		}
		if !b.restart {
			p.pipe.Hangup(nil)
		}
		p.pipe, p.toAck, p.buf = nil, nil, nil
	}
	if b.restart {
		if err := b.st.Close(); err != nil {
			b.t.Fatal(err)
		}
		b.start()
	}
}

func (b *broker) connect(i int) {
	p := &b.people[i]
	p.level = []byte{rawmqtt.V311, rawmqtt.V5}[i%2]
	if p.pipe != nil && !p.pipe.Over() {
		p.pipe.Hangup(nil)
		b.settle()
	}
	p.pipe, p.toAck, p.buf = b.e.Open(nil), nil, nil
	clean := i == people-1
	k := rawmqtt.Packet{Type: rawmqtt.CONNECT, Connect: &rawmqtt.Connect{Name: "MQTT", Level: p.level, Clean: clean, ClientID: fmt.Sprint("client", i)}}
	if p.level == rawmqtt.V5 && !clean {
		k.Props = rawmqtt.Props{{ID: 0x11, Num: 0xFFFFFFFF}}
	}
	if clean {
		p.open, p.recd = nil, nil
	}
	b.feed(p, k)
	for _, k := range p.open { // its PUBREC may have been lost
		k.Flags |= 8
		b.feed(p, k)
	}
}

// take reads what a client was sent and returns the messages among it.
func (b *broker) take(p *person) (got []string) {
	if p.pipe == nil {
		return nil
	}
	p.buf = append(p.buf, p.pipe.Output()...)
	for len(p.buf) > 0 {
		raw, rest, err := rawmqtt.Split(p.buf)
		if err != nil {
			b.t.Fatal(err)
		}
		p.buf = rest
		k, err := rawmqtt.Decode(p.level, raw, true)
		if err != nil {
			b.t.Fatal(err)
		}
		switch k.Type {
		case rawmqtt.CONNACK:
			got = append(got, fmt.Sprintf("connack present=%t", k.SessionPresent))
		case rawmqtt.PUBLISH:
			got = append(got, b.message(p, k))
		case rawmqtt.PUBREL:
			delete(p.recd, k.ID)
			p.toAck = append(p.toAck, rawmqtt.Packet{Type: rawmqtt.PUBCOMP, ID: k.ID})
		}
	}
	// Order is that of each QoS; retained messages of one subscription come in any.
	qos := func(s string) string {
		if strings.HasPrefix(s, "retained") {
			return s
		}
		_, q, _ := strings.Cut(s, "qos=")
		return strings.TrimSuffix(strings.TrimSuffix(q, " dup=true"), " dup=false")
	}
	slices.SortStableFunc(got, func(x, y string) int { return strings.Compare(qos(x), qos(y)) })
	return got
}

func (b *broker) message(p *person, k *rawmqtt.Packet) string {
	what := "message"
	if k.Retain() {
		what = "retained"
	}
	switch k.QoS() {
	case 1:
		p.toAck = append(p.toAck, rawmqtt.Packet{Type: rawmqtt.PUBACK, ID: k.ID})
	case 2:
		p.toAck = append(p.toAck, rawmqtt.Packet{Type: rawmqtt.PUBREC, ID: k.ID})
		if p.recd == nil {
			p.recd = map[uint16]bool{}
		}
		if p.recd[k.ID] && !k.Dup() {
			b.t.Errorf("identifier %d is used for another message before PUBREL", k.ID)
		}
		p.recd[k.ID] = true
	}
	return fmt.Sprintf("%s %s %q qos=%d dup=%t", what, k.Topic, k.Payload, k.QoS(), k.Dup())
}

// TestMetamorphic: memory, disk, disk with restarts; one loop and two. SEED
// repeats one list of steps, PLANS says how many lists.
func TestMetamorphic(t *testing.T) {
	plans := 12
	if s := os.Getenv("PLANS"); s != "" {
		plans, _ = strconv.Atoi(s)
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
		plans = 1
	}
	for i := range plans {
		t.Run(fmt.Sprint(seed+uint64(i)), func(t *testing.T) { compare(t, seed+uint64(i)) })
	}
}

func compare(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	shared := rng.IntN(3) == 0
	steps := plan(rng, 250, shared)
	onDisk := func(fs vfs.FS) func() store.Store {
		start := time.Now().Add(-time.Hour)
		return func() store.Store {
			st, err := pebblestore.Open("store", pebblestore.Options{
				FS: fs, CacheBytes: 1 << 20, MemTableBytes: 256 << 10,
				Clock: func() (record.Instant, time.Time) { n := time.Now(); return record.Instant(n.Sub(start)), n },
			})
			if err != nil {
				t.Fatal(err)
			}
			return st
		}
	}
	mem := func() store.Store { return memstore.New() }
	names := []string{"memory", "memory, two loops", "disk, two loops", "disk, two loops, restarts"}
	brokers := []*broker{
		{t: t, shards: 1, open: mem},
		{t: t, shards: 2, open: mem},
		{t: t, shards: 2, open: onDisk(vfs.NewMem())},
		{t: t, shards: 2, open: onDisk(vfs.NewMem()), restart: true},
	}
	if shared {
		brokers = brokers[:3]
	}
	for _, b := range brokers {
		b.start()
	}
	keep := 25 // lines of history in a failure
	if os.Getenv("SEED") != "" {
		keep = len(steps)
	}
	var history []string
	for n, s := range steps {
		first := brokers[0].do(s)
		history = append(history, fmt.Sprintf("%d: %v -> %v", n, s, first))
		for i, b := range brokers[1:] {
			given := b.do(s)
			for c := range given {
				if !slices.Equal(given[c], first[c]) {
					t.Fatalf("step %d, client %d, %s:\n got %q\nwant %q\n\nSEED=%d\n%s", n, c, names[i+1], given[c], first[c], seed, strings.Join(history[max(0, len(history)-keep):], "\n"))
				}
			}
		}
	}
	for _, b := range brokers {
		if err := b.st.Close(); err != nil {
			t.Error(err)
		}
	}
}
