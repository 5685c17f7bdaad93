package memstore

import (
	"slices"
	"sort"
	"sync"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/mqtt"
)

// slot is one queue entry: 48 bytes.
type slot struct {
	msg   *record.Message // nil: removed, seq stays so that search works
	group string
	seq   uint64
	// order is the place among those in flight; 0: not in flight.
	order uint64
	subID uint32
	id    uint16
	state uint8
	flags uint8 // QoS, and retainFlag: one byte more would cost eight
}

const retainFlag = 0x80

func newSlot(v *record.Queued) slot {
	e := slot{msg: v.Msg, group: v.Group, seq: v.Seq, subID: v.SubID, flags: uint8(v.QoS)}
	if v.Retain {
		e.flags |= retainFlag
	}
	return e
}

func (e *slot) queued() record.Queued {
	return record.Queued{
		Msg: e.msg, Seq: e.seq, SubID: e.subID, QoS: mqtt.QoS(e.flags &^ retainFlag), Retain: e.flags&retainFlag != 0, Group: e.group,
	}
}

const (
	// segmentSize is how many slots a segment has at most: 12 KiB. What is done to
	// a whole segment (insertion in the middle, compaction) stays below a few
	// microseconds, and a long queue wastes at most two segments.
	segmentSize = 256
	// keepSlots is up to which capacity the last segment of an emptied queue is
	// kept: a default window of 20 grows to 42 slots and then runs without
	// allocation, filled and emptied; an idle session holds at most 2 KiB.
	keepSlots = 42
)

// segment is a run of slots in order of seq, removed ones among them. At least
// one is live, but for the only segment of an empty queue, which may be empty.
type segment struct {
	slots []slot
	live  int
}

func (g *segment) last() uint64 { return g.slots[len(g.slots)-1].seq }

// pool hands full-sized segments from drained queues to growing ones.
var pool = sync.Pool{New: func() any { return new([segmentSize]slot) }}

func (g *segment) free() {
	if cap(g.slots) == segmentSize {
		clear(g.slots)
		pool.Put((*[segmentSize]slot)(g.slots[:segmentSize]))
	}
	*g = segment{}
}

// compact moves the live slots together, in place.
func (g *segment) compact() {
	k := 0
	for i := range g.slots {
		if g.slots[i].msg != nil {
			if k != i {
				g.slots[k] = g.slots[i]
			}
			k++
		}
	}
	clear(g.slots[k:])
	g.slots = g.slots[:k]
}

// widen adds half of the capacity, not all of it: the slack counts where many
// sessions hold a few entries each.
func (g *segment) widen() {
	c := cap(g.slots)
	s := make([]slot, len(g.slots), min(segmentSize, c+max(1, c/2)))
	copy(s, g.slots)
	g.slots = s
}

// find gives the first position whose seq is not below the given one.
func (g *segment) find(seq uint64) int {
	// Entries mostly count up without gaps: then the distance is the position.
	if len(g.slots) > 0 && seq >= g.slots[0].seq {
		if d := seq - g.slots[0].seq; d < uint64(len(g.slots)) && g.slots[d].seq == seq {
			return int(d)
		}
	}
	return sort.Search(len(g.slots), func(i int) bool { return g.slots[i].seq >= seq })
}

// queue holds the entries of one session in order of seq. The zero value is
// empty. Append, removal and search take constant or logarithmic time wherever
// they hit. Guarded by its shard's lock.
type queue struct {
	segs     []segment
	live     int
	inflight int
	started  uint64 // the last order given
	last     uint64 // the highest seq ever
}

// segmentOf gives the first segment that may hold seq or a later one.
func (q *queue) segmentOf(seq uint64) int {
	if len(q.segs) == 0 || len(q.segs[0].slots) == 0 || q.segs[0].last() >= seq {
		return 0
	}
	return sort.Search(len(q.segs), func(i int) bool { return q.segs[i].last() >= seq })
}

// at gives the live slot of seq, or nil.
func (q *queue) at(seq uint64) (segIndex int, e *slot) {
	i := q.segmentOf(seq)
	if i >= len(q.segs) {
		return i, nil
	}
	g := &q.segs[i]
	if j := g.find(seq); j < len(g.slots) && g.slots[j].seq == seq && g.slots[j].msg != nil {
		return i, &g.slots[j]
	}
	return i, nil
}

// put adds an entry. An entry with the same seq is replaced: its message is
// returned with whether it was in flight.
func (q *queue) put(v *record.Queued) (old *record.Message, wasInflight bool) {
	e := newSlot(v)
	q.last = max(q.last, v.Seq)
	n := len(q.segs)
	if n == 0 || len(q.segs[n-1].slots) == 0 || v.Seq > q.segs[n-1].last() {
		q.push(e)
		return nil, false
	}
	i := q.segmentOf(v.Seq)
	g := &q.segs[i]
	j := g.find(v.Seq)
	if t := &g.slots[j]; t.seq == v.Seq {
		if old = t.msg; old != nil {
			wasInflight = t.order != 0
			q.count(g, t, -1)
		}
		*t = e
		q.count(g, t, +1)
		return old, wasInflight
	}
	q.insert(i, e)
	return nil, false
}

// count keeps the sums when a slot comes (+1) or goes (-1).
func (q *queue) count(g *segment, e *slot, d int) {
	g.live += d
	q.live += d
	if e.order != 0 {
		q.inflight += d
	}
}

// push appends at the tail.
func (q *queue) push(e slot) {
	if len(q.segs) == 0 {
		q.segs = append(q.segs, segment{})
	}
	g := &q.segs[len(q.segs)-1]
	if len(g.slots) == cap(g.slots) {
		g = q.grow(g)
	}
	g.slots = append(g.slots, e)
	q.count(g, &e, +1)
}

// grow makes room for one slot at the tail. Compaction is worth it only when
// half of the slots come free; else a nearly full segment is copied each time.
func (q *queue) grow(g *segment) *segment {
	c := cap(g.slots)
	switch {
	case c > 0 && 2*g.live <= c:
		g.compact()
	case c < segmentSize:
		g.widen()
	default:
		q.segs = append(q.segs, segment{slots: pool.Get().(*[segmentSize]slot)[:0]})
		g = &q.segs[len(q.segs)-1]
	}
	return g
}

// insert puts an entry that came out of order, as two loops may enqueue to one
// session, into segment i.
func (q *queue) insert(i int, e slot) {
	g := &q.segs[i]
	if len(g.slots) == segmentSize {
		if g.live < segmentSize {
			g.compact()
		} else {
			half := segment{slots: slices.Clone(g.slots[segmentSize/2:]), live: segmentSize / 2}
			clear(g.slots[segmentSize/2:])
			g.slots, g.live = g.slots[:segmentSize/2], segmentSize/2
			q.segs = slices.Insert(q.segs, i+1, half)
			g = &q.segs[i]
			if e.seq > g.last() {
				g = &q.segs[i+1]
			}
		}
	}
	if len(g.slots) == cap(g.slots) {
		g.widen()
	}
	g.slots = slices.Insert(g.slots, g.find(e.seq), e)
	q.count(g, &e, +1)
}

// setInflight marks an entry and reports whether it was not in flight before.
// The place in the order of sending is that of the first call.
func (q *queue) setInflight(seq uint64, id uint16, state uint8) bool {
	_, e := q.at(seq)
	if e == nil {
		return false
	}
	e.id, e.state = id, state
	if e.order != 0 {
		return false
	}
	q.started++
	e.order = q.started
	q.inflight++
	return true
}

// remove takes an entry out, wherever it stands.
func (q *queue) remove(seq uint64) (m *record.Message, wasInflight bool) {
	i, e := q.at(seq)
	if e == nil {
		return nil, false
	}
	g := &q.segs[i]
	m, wasInflight = e.msg, e.order != 0
	q.count(g, e, -1)
	*e = slot{seq: seq}
	last := len(q.segs) - 1
	switch {
	case g.live == 0 && last == 0 && cap(g.slots) <= keepSlots:
		g.slots = g.slots[:0]
	case g.live == 0:
		g.free()
		switch {
		case last == 0:
			q.segs = nil
		case i == 0:
			q.segs = q.segs[1:]
		default:
			q.segs = slices.Delete(q.segs, i, i+1)
		}
	case i > 0 && i < last && cap(g.slots) > 16 && 8*g.live <= cap(g.slots):
		// An entry that stays stuck must not hold a whole segment, of which there may
		// be many. The first and the last segment are on their way out or to be filled.
		g.compact()
		kept := segment{slots: slices.Clone(g.slots), live: g.live}
		g.free()
		*g = kept
	}
	return m, wasInflight
}

// read copies up to max entries from seq on that are not in flight.
func (q *queue) read(from uint64, max int) []record.Queued {
	n := min(max, q.live-q.inflight)
	if n <= 0 {
		return nil
	}
	var out []record.Queued
	for i := q.segmentOf(from); i < len(q.segs); i++ {
		g := &q.segs[i]
		j := 0
		if g.slots[0].seq < from {
			j = g.find(from)
		}
		for ; j < len(g.slots); j++ {
			e := &g.slots[j]
			if e.msg == nil || e.order != 0 {
				continue
			}
			if out == nil {
				out = make([]record.Queued, 0, min(n, segmentSize))
			}
			if out = append(out, e.queued()); len(out) == n {
				return out
			}
		}
	}
	return out
}

// each calls f for every entry in order of seq.
func (q *queue) each(f func(*slot)) {
	for i := range q.segs {
		for j := range q.segs[i].slots {
			if e := &q.segs[i].slots[j]; e.msg != nil {
				f(e)
			}
		}
	}
}

// release gives the memory back; the queue is empty after it.
func (q *queue) release() {
	for i := range q.segs {
		q.segs[i].free()
	}
	*q = queue{}
}
