package loop

import (
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/midgemq/midge/internal/record"
)

// When connections move. A loop that is busy for hotWindows in a row gives part
// of its work to the least busy one, if that is far enough below it. What it
// gives is at most half of the difference, so the two cannot change places, and
// at most maxShare; then it looks again for as long as the first time, with what
// it has moved counted in.
const (
	window     = record.Second
	hotWindows = 3
	// hot is the share of its time, in thousandths, above which a loop is busy.
	hot = 850
	// clearly is how far below it another must be.
	clearly = 250
	// maxShare bounds what moves at once, in thousandths of a loop's time.
	maxShare = 250
	// abreast is how many connections are between two loops at a time.
	abreast = 32
)

// meter measures how much of its time a loop works. A loop that waits for a
// processor counts as working: that, too, delays its connections. Owned by the
// loop but for what is atomic.
type meter struct {
	from  record.Instant // of the present window
	woke  record.Instant // 0: the loop is parked
	spent record.Instant // worked in this window

	// atomic, for other loops
	share  atomic.Int64 // of the last window, in thousandths
	closed atomic.Int64 // when that window ended
	parked atomic.Bool
}

// work says that the loop works at now, the begin of a batch. done: a window is
// over.
func (m *meter) work(now record.Instant) (done bool) {
	if m.woke == 0 {
		m.woke = now
		m.parked.Store(false)
	}
	if m.from == 0 {
		m.from = now
	}
	if now-m.from < window {
		return false
	}
	m.spent += now - m.woke
	m.woke = now
	m.share.Store(int64(m.spent * 1000 / (now - m.from)))
	m.closed.Store(int64(now))
	m.from, m.spent = now, 0
	return true
}

// park says that the loop waits from now on.
func (m *meter) park(now record.Instant) {
	if m.woke != 0 {
		m.spent += now - m.woke
		m.woke = 0
		m.parked.Store(true)
	}
}

// load is what others may take the share of now for: a loop that has closed no
// window lately has nothing to do, or is in the middle of a very long batch. Any
// goroutine.
func (m *meter) load(now record.Instant) int {
	if now-record.Instant(m.closed.Load()) > 2*window {
		if m.parked.Load() {
			return 0
		}
		return 1000
	}
	return int(m.share.Load())
}

// policy decides, once per window, whether a loop gives work away.
type policy struct {
	hot int // windows in a row
}

// step is asked at the end of a window with the loads of all loops, of which own
// is this one's index, in thousandths. It answers with the loop that shall take
// over and how much of this loop's time, in thousandths; to negative: nothing
// moves. measure: what connections cost should be counted from now on.
func (p *policy) step(loads []int, own int) (to, share int, measure bool) {
	if loads[own] < hot {
		p.hot = 0
		return -1, 0, false
	}
	if p.hot++; p.hot < hotWindows {
		return -1, 0, p.hot == hotWindows-1
	}
	p.hot = 0
	to = -1
	for i, l := range loads {
		if i != own && (to < 0 || l < loads[to]) {
			to = i
		}
	}
	if to < 0 || loads[own]-loads[to] < clearly {
		return -1, 0, false
	}
	return to, min((loads[own]-loads[to])/2, maxShare), false
}

// candidate is a connection with what it cost while it was measured.
type candidate struct {
	s    *sock
	cost uint32
}

// choose picks connections that together cost at most share thousandths of what
// all of them cost, of which total is the sum and load the loop's load in
// thousandths: the most expensive first, so that few move. One that is worth more
// than share stays, since it would only carry the trouble along.
func choose(list []candidate, total uint64, load, share int) []*sock {
	slices.SortFunc(list, func(a, b candidate) int { return cmp.Compare(b.cost, a.cost) })
	left := total * uint64(share) / uint64(max(load, 1))
	var out []*sock
	for _, c := range list {
		if n := uint64(c.cost); n > 0 && n <= left {
			left -= n
			out = append(out, c.s)
		}
	}
	return out
}

// balance is called at the begin of each batch.
func (l *Loop) balance(now record.Instant) {
	e := l.engine
	if len(e.loops) < 2 {
		return
	}
	if every := int(e.forced.Load()); every > 0 {
		l.force(every)
		return
	}
	if l.meter.work(now) {
		loads := make([]int, len(e.loops))
		for i, o := range e.loops {
			loads[i] = o.meter.load(now)
		}
		to, share, measure := l.policy.step(loads, l.shard.ID)
		if measure {
			l.each(func(s *sock) { s.cost = 0 })
		}
		if to >= 0 && e.loops[to].reserve(now) {
			l.give(e.loops[to], share, loads)
		}
	}
	l.depart()
}

// reserve lets one loop at a time give to this one, and no other before the load
// that it brings shows.
func (l *Loop) reserve(now record.Instant) bool {
	until := l.reserved.Load()
	return int64(now) >= until && l.reserved.CompareAndSwap(until, int64(now+hotWindows*window))
}

// give chooses what moves to another loop.
func (l *Loop) give(to *Loop, share int, loads []int) {
	var list []candidate
	var total uint64
	l.each(func(s *sock) {
		total += uint64(s.cost)
		if s.MayMove() {
			list = append(list, candidate{s, s.cost})
		}
	})
	l.going, l.goingTo = choose(list, total, loads[l.shard.ID], share), to
	if n := len(l.going); n > 0 {
		l.engine.hub.Log.Info("Event loop %d is %d%% busy, loop %d %d%%: %d connections move there.",
			l.shard.ID, loads[l.shard.ID]/10, to.shard.ID, loads[to.shard.ID]/10, n)
	}
}

// depart sends the next of those that were chosen off.
func (l *Loop) depart() {
	for len(l.going) > 0 && l.shard.Leaving() < abreast {
		s := l.going[0]
		l.going[0] = nil
		if l.going = l.going[1:]; len(l.going) == 0 {
			l.going = nil
		}
		if l.has(s) {
			l.leave(s, l.goingTo)
		}
	}
	l.shard.Fence()
}

// leave begins the move of one connection.
func (l *Loop) leave(s *sock, to *Loop) {
	if s.MayMove() && l.shard.Depart(s.Client(), to.shard, s) {
		s.halt()
	}
}

// force moves a connection every so many batches in which something was read, for
// tests: moves alone would go on for ever.
func (l *Loop) force(every int) {
	if !l.read {
		return
	}
	l.read = false
	if l.batches++; l.batches%every != 0 || l.shard.Leaving() >= abreast {
		return
	}
	// In turn, so that each has its share of moves.
	var all []*sock
	l.each(func(s *sock) { all = append(all, s) })
	if len(all) > 0 {
		n := l.batches / every
		to := l.engine.loops[(l.shard.ID+1+n%(len(l.engine.loops)-1))%len(l.engine.loops)]
		l.leave(all[n%len(all)], to)
	}
	l.shard.Fence()
}
