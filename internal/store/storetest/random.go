package storetest

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/mqtt"
)

// seedVariable repeats one random run: its value is the seed that a failed run
// printed.
const seedVariable = "STORETEST_SEED"

func seedFor(t testing.TB) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv(seedVariable); v != "" {
		var err error
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatalf("%s=%q: %v", seedVariable, v, err)
		}
	}
	t.Logf("repeat with %s=%d", seedVariable, seed)
	return seed
}

// testModel commits random batches and compares with the model all along.
func testModel(e *env) {
	g := newGenerator(rand.New(rand.NewPCG(seedFor(e), 2)), 1, 4, "")
	g.m = e.m
	for i := range 400 {
		ops := g.batch()
		if err := submit(e.s, store.Level(g.r.IntN(3)), ops).wait(e); err != nil {
			e.Fatalf("batch %d: %v", i, err)
		}
		key := g.key()
		e.checkRead(key, g.seq(key), g.r.IntN(30))
		if i%20 == 0 {
			e.look(fmt.Sprintf("batch %d", i), false)
		}
		if i%100 == 99 {
			e.check()
		}
	}
}

// testRestarts restarts between any two steps: what an engine knows beyond what
// it has stored must not matter.
func testRestarts(e *env) {
	if e.reopen == nil {
		return
	}
	g := newGenerator(rand.New(rand.NewPCG(seedFor(e), 3)), 1, 4, "")
	g.m = e.m
	for i := range 60 {
		ops := g.batch()
		if err := submit(e.s, store.Level(g.r.IntN(3)), ops).wait(e); err != nil {
			e.Fatalf("batch %d: %v", i, err)
		}
		if g.r.IntN(2) == 0 {
			e.restart()
			e.look(fmt.Sprintf("restarted after batch %d", i), true)
		}
	}
}

// await is wait for goroutines other than the test's own, where Fatal is not
// allowed.
func await(t testing.TB, p *pending) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.arrived:
	case <-timer.C:
		t.Errorf("%s: no completion within %v", p.what, patience)
		return false
	}
	if p.err != nil {
		t.Errorf("%s: %v", p.what, p.err)
	}
	return p.err == nil
}

// generator makes random batches a broker could send: keys are never used
// again, sequence numbers grow, identifiers in flight differ.
type generator struct {
	r *rand.Rand
	// m is what an engine holds once all batches that were made have completed.
	m      *model
	prefix string // of retained topics
	live   []record.SessionKey
	gone   []record.SessionKey
	next   record.SessionKey
	want   int
	seqs   map[record.SessionKey]uint64
	msgSeq uint64
	shared *record.Message
}

func newGenerator(r *rand.Rand, first record.SessionKey, sessions int, prefix string) *generator {
	return &generator{r: r, m: newModel(), prefix: prefix, next: first, want: sessions, seqs: map[record.SessionKey]uint64{}}
}

// adopt goes on from m, which a crash set back: sessions whose end was lost live
// on, those whose beginning was lost are gone. Without it the former would never
// end, and their number would grow with every crash.
func (g *generator) adopt(m *model) {
	for _, key := range g.live {
		if m.sessions[key] == nil {
			g.gone = append(g.gone, key)
		}
	}
	g.gone = slices.DeleteFunc(g.gone, func(key record.SessionKey) bool { return m.sessions[key] != nil })
	g.live = slices.Sorted(maps.Keys(m.sessions))
	g.m = m
}

// key is mostly a session that is there.
func (g *generator) key() record.SessionKey {
	if len(g.gone) > 0 && g.r.IntN(20) == 0 {
		return g.gone[g.r.IntN(len(g.gone))]
	}
	if len(g.live) == 0 {
		return g.next + 500 // never there
	}
	return g.live[g.r.IntN(len(g.live))]
}

// seq is mostly one that is or was in the queue.
func (g *generator) seq(key record.SessionKey) uint64 {
	if x := g.m.sessions[key]; x != nil && len(x.queue) > 0 && g.r.IntN(10) > 0 {
		return x.queue[g.r.IntN(len(x.queue))].Seq
	}
	return g.r.Uint64N(g.seqs[key] + 2)
}

func (g *generator) message() *record.Message {
	if g.shared != nil && g.r.IntN(3) == 0 {
		return g.shared
	}
	g.msgSeq++
	g.shared = message(fmt.Sprintf("topic/%d", g.r.IntN(20)), g.msgSeq)
	if g.r.IntN(3) == 0 { // large enough that an engine may share it among queues
		g.shared.Payload = bytes.Repeat(g.shared.Payload, 1+g.r.IntN(100))
	}
	g.shared.QoS = mqtt.QoS(g.r.IntN(3))
	return g.shared
}

func (g *generator) batch() []record.Op {
	var ops []record.Op
	if len(g.live) < g.want && g.r.IntN(3) == 0 || len(g.live) == 0 {
		ops = append(ops, putSession(g.next))
		g.m.apply(ops)
		g.live = append(g.live, g.next)
		g.next++
	}
	for range g.r.IntN(12) {
		more := g.op()
		g.m.apply(more)
		ops = append(ops, more...)
	}
	return ops
}

func (g *generator) op() []record.Op {
	key := g.key()
	filter := fmt.Sprintf("f/%d", g.r.IntN(15))
	id := uint16(1 + g.r.IntN(40))
	switch g.r.IntN(24) {
	case 0:
		if i := g.r.IntN(4 * g.want); i < len(g.live) { // a session lives for a while
			key = g.live[i]
			g.live = append(g.live[:i], g.live[i+1:]...)
			g.gone = append(g.gone, key)
			return []record.Op{deleteSession(key)}
		}
		return nil
	case 1:
		return g.putSessionAgain(key)
	case 2, 3:
		s := putSub(key, filter, mqtt.QoS(g.r.IntN(3)))
		s.Sub.ID, s.Sub.NoLocal = g.r.Uint32N(5), g.r.IntN(2) == 0
		return []record.Op{s}
	case 4:
		return []record.Op{deleteSub(key, filter)}
	case 5:
		return []record.Op{putInbound(key, id)}
	case 6:
		return []record.Op{deleteInbound(key, id)}
	case 7:
		return []record.Op{putWill(key, g.r.Uint64N(9))}
	case 8:
		return []record.Op{deleteWill(key)}
	case 9:
		return []record.Op{putRetained(g.prefix+filter, g.r.Uint64N(1000))}
	case 10:
		return []record.Op{deleteRetained(g.prefix + filter)}
	case 11, 12, 13, 14:
		return g.inflight(key)
	case 15, 16, 17:
		return []record.Op{dequeue(key, g.seq(key))}
	default:
		return g.enqueue()
	}
}

func (g *generator) putSessionAgain(key record.SessionKey) []record.Op {
	if g.m.sessions[key] == nil {
		return nil // a key is not used again
	}
	op := putSession(key)
	op.Session.Expiry = g.r.Uint32()
	op.Session.Disconnected = record.Instant(g.r.Int64N(1000))
	return []record.Op{op}
}

// enqueue queues one message to some sessions, often with gaps in the order.
func (g *generator) enqueue() []record.Op {
	m := g.message()
	var ops []record.Op
	for range 1 + g.r.IntN(3) {
		key := g.key()
		g.seqs[key] += 1 + g.r.Uint64N(40)/36
		op := enqueueMsg(key, g.seqs[key], m)
		op.Entry.SubID, op.Entry.Retain = g.r.Uint32N(3), g.r.IntN(2) == 0
		if g.r.IntN(5) == 0 {
			op.Entry.Group = "$share/g/topic/#"
		}
		ops = append(ops, op)
	}
	return ops
}

// inflight sends a waiting entry or moves one on that is in flight.
func (g *generator) inflight(key record.SessionKey) []record.Op {
	x := g.m.sessions[key]
	if x == nil || len(x.queue) == 0 {
		return nil
	}
	e := x.queue[g.r.IntN(min(len(x.queue), 20))]
	if e.flight {
		return []record.Op{putInflight(key, e.Seq, e.id, 3)}
	}
	id := uint16(1 + g.r.IntN(65535))
	for _, f := range x.flights {
		if f.id == id {
			return nil
		}
	}
	return []record.Op{putInflight(key, e.Seq, id, uint8(1+g.r.IntN(2)))}
}
