package conn_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/store/memstore"
	"github.com/midgemq/midge/internal/testkit/rawmqtt"
	"github.com/midgemq/midge/internal/testkit/sim"
)

// longest is the longest payload of these tests in bytes.
const longest = 250 << 10

// peer is one client of a simulated broker.
type peer struct {
	*sim.Pipe
	version byte
	in      []byte // read and not taken apart yet
	next    [2]int // number of the next message from each publisher
}

// TestLongMessages has subscribers, that read little by little, on two loops
// between which connections move, given messages whose buffers are handed on and
// lent again. Whatever lies ready to be lent is overwritten all the time: a buffer
// that somebody still reads from would show.
func TestLongMessages(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { testLongMessages(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func testLongMessages(t *testing.T, r *rand.Rand) {
	e := engine(1+r.IntN(2), func(c *hub.Config) { c.MaxOutput, c.MaxOutputPackets = 0, 0 }) // nothing is dropped
	if r.IntN(2) == 0 {
		e.MoveEvery(3)
	}
	var subs []*peer
	for i, v := range []byte{rawmqtt.V311, rawmqtt.V5, rawmqtt.V311, rawmqtt.V311, rawmqtt.V5} {
		s := open(e, v, fmt.Sprintf("s%d", i))
		s.Feed((&rawmqtt.Packet{Type: rawmqtt.SUBSCRIBE, Flags: 2, ID: 1, Filters: []rawmqtt.Filter{{Filter: "long/#", Options: 0}}}).Encode(v))
		subs = append(subs, s)
	}
	pubs := []*peer{open(e, rawmqtt.V311, "p0"), open(e, rawmqtt.V5, "p1")}
	sent, waiting := [2]int{}, [2][]byte{}
	for range 150 {
		k := r.IntN(2)
		if len(waiting[k]) == 0 {
			for range 1 + r.IntN(3) {
				waiting[k] = append(waiting[k], message(r, pubs[k].version, k, sent[k])...)
				sent[k]++
			}
		}
		n := min(len(waiting[k]), r.IntN(200<<10))
		pubs[k].Feed(waiting[k][:n])
		waiting[k] = waiting[k][n:]
		scribble()
		s := subs[r.IntN(len(subs))]
		s.Limit(r.IntN(600 << 10))
		s.check(t)
		scribble()
	}
	for k, p := range pubs {
		p.Feed(waiting[k])
	}
	for i, s := range subs {
		s.Limit(-1)
		s.check(t)
		if s.next != sent || len(s.in) > 0 {
			t.Errorf("subscriber %d has %d messages and %d bytes, %d were sent", i, s.next, len(s.in), sent)
		}
	}
	if sent[0]+sent[1] < 50 {
		t.Errorf("only %d messages were sent", sent)
	}
}

// TestLongMessageWaits: a message that the hub cannot take now is offered again
// whole.
func TestLongMessageWaits(t *testing.T) {
	e := engine(1, func(c *hub.Config) { c.Refuse, c.Rules.MaxQueued = true, 1 })
	const v = rawmqtt.V311
	connect := (&rawmqtt.Packet{Type: rawmqtt.CONNECT, Connect: &rawmqtt.Connect{Name: "MQTT", Level: v, ClientID: "s"}}).Encode(v)
	s := &peer{Pipe: e.Open(nil), version: v}
	s.Feed(connect)
	s.Feed((&rawmqtt.Packet{Type: rawmqtt.SUBSCRIBE, Flags: 2, ID: 1, Filters: []rawmqtt.Filter{{Filter: "long/#", Options: 1}}}).Encode(v))
	s.Hangup(nil)
	p := open(e, v, "p")
	p.Output()
	for n := range 3 {
		m := &rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: 2, ID: uint16(n + 1), Topic: "long/0", Payload: content(0, n, longest)}
		p.Feed(m.Encode(v))
		scribble()
	}
	if got := len(p.Output()); got != 4 {
		t.Fatalf("%d bytes of acknowledgements have come, want one PUBACK", got)
	}
	s = &peer{Pipe: e.Open(nil), version: v}
	s.Feed(connect)
	for range 30 {
		e.Advance(time.Second / 10)
		scribble()
		s.check(t)
	}
	if s.next[0] != 3 || len(p.Output()) != 8 {
		t.Errorf("%d messages have come, want 3, each acknowledged", s.next[0])
	}
}

// engine is a broker with shards loops and a configuration that set changes.
func engine(shards int, set func(*hub.Config)) *sim.Engine {
	c := config.Default()
	c.Listeners = []*config.Listener{{Address: "127.0.0.1", Protocol: config.MQTT, Versions: config.AllVersions, AllowAnonymous: true}}
	o := broker.Options{Config: c, Version: "test"}
	cfg := broker.HubConfig(&o)
	set(cfg)
	return sim.New(cfg, broker.Settings(&o, c.Listeners[0]), logging.Discard(), memstore.New(), shards)
}

func open(e *sim.Engine, v byte, id string) *peer {
	p := &peer{Pipe: e.Open(nil), version: v}
	p.Feed((&rawmqtt.Packet{Type: rawmqtt.CONNECT, Connect: &rawmqtt.Connect{Name: "MQTT", Level: v, ClientID: id, Clean: true}}).Encode(v))
	return p
}

// message is number n of publisher k: the numbers and a text made of them.
func message(r *rand.Rand, v byte, k, n int) []byte {
	size := r.IntN(longest)
	if r.IntN(4) == 0 {
		size = r.IntN(200)
	}
	p := &rawmqtt.Packet{Type: rawmqtt.PUBLISH, Topic: fmt.Sprintf("long/%d", k), Payload: content(k, n, size)}
	switch r.IntN(6) {
	case 0:
		p.Flags, p.ID = 2, uint16(n+1) // QoS 1, whose message is copied
	case 1:
		p.Flags = 1 // retained
	}
	return p.Encode(v)
}

func content(k, n, size int) []byte {
	b := binary.BigEndian.AppendUint32([]byte{byte(k)}, uint32(n))
	var text [256]byte // one period
	for i := range text {
		text[i] = byte(i*(2*n+1) + k)
	}
	return append(b, bytes.Repeat(text[:], size/len(text)+1)[:size]...)
}

// scribble overwrites buffers that lie ready to be lent.
func scribble() {
	for n := hub.LeaseFrom; n < 2*longest; n += 8 << 10 {
		if l := hub.Borrow(n); l != nil {
			b := l.Buffer()
			b = b[:cap(b)]
			for n := copy(b, "spoilt"); n < len(b); n *= 2 {
				copy(b[n:], b[:n])
			}
			l.Release()
		}
	}
}

// check takes what has come and looks at each message.
func (p *peer) check(t *testing.T) {
	t.Helper()
	p.in = append(p.in, p.Output()...)
	for len(p.in) > 0 {
		raw, rest, err := rawmqtt.Split(p.in)
		if errors.Is(err, rawmqtt.ErrShort) {
			return
		}
		if err != nil {
			t.Fatalf("what came cannot be read: %v", err)
		}
		k, err := rawmqtt.Decode(p.version, raw, true)
		if err != nil {
			t.Fatalf("what came cannot be read: %v", err)
		}
		p.in = rest
		if k.Type != rawmqtt.PUBLISH {
			continue
		}
		from := int(k.Payload[0])
		if want := content(from, p.next[from], len(k.Payload)-5); !bytes.Equal(k.Payload, want) {
			t.Fatalf("message %d of publisher %d is not what was sent", p.next[from], from)
		}
		p.next[from]++
	}
}
