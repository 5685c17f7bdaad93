package storetest

import (
	"errors"
	"math"
	"slices"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
)

func testReadFrom(e *env) {
	e.checkRead(1, 0, 10) // no such session: no entries, no error
	e.commit(putSession(1), putSession(2))
	e.checkRead(1, 0, 10)
	for _, seq := range []uint64{10, 11, 12, 20, 30, 31, 40} {
		e.commit(enqueue(1, seq))
	}
	e.commit(enqueue(2, 15))
	all := func() {
		e.Helper()
		for _, from := range []uint64{0, 1, 9, 10, 11, 12, 13, 19, 20, 21, 30, 31, 39, 40, 41, 1 << 40, math.MaxUint64} {
			for _, max := range []int{0, 1, 2, 3, 7, 8, 1000, math.MaxInt32} {
				e.checkRead(1, from, max)
			}
		}
	}
	all()
	e.commit(putInflight(1, 10, 1, 1)) // in flight at the head
	all()
	e.commit(putInflight(1, 30, 2, 1)) // and in the middle
	all()
	e.commit(putInflight(1, 40, 3, 2)) // and at the tail
	all()
	e.commit(dequeue(1, 10), dequeue(1, 20))
	all()
	e.commit(putInflight(1, 11, 4, 1), putInflight(1, 12, 5, 1), putInflight(1, 31, 6, 1)) // nothing waits
	all()
	e.commit(enqueue(1, 41))
	all()
	e.check()
}

// testReadLong: a long queue, read and emptied from the head, with entries that
// stay stuck and others that leave out of order.
func testReadLong(e *env) {
	const n = 3000
	e.commit(putSession(1))
	for seq := uint64(1); seq <= n; seq += 100 {
		e.commit(enqueueAll(1, seq, seq+99)...)
	}
	e.look("filled", false)
	next := uint64(1)
	for round := 0; next < n-200; round++ {
		page := read(e, e.s, 1, next, 50)
		if want := e.m.sessions[1].waiting(next, 50); !slices.Equal(entriesText(page, e.restarted), entriesText(want, e.restarted)) {
			e.Fatalf("page from %d differs: %d entries, want %d", next, len(page), len(want))
		}
		var ops []record.Op
		for i, q := range page {
			ops = append(ops, putInflight(1, q.Seq, uint16(q.Seq), 1))
			if i%10 != round%10 { // a tenth is never acknowledged
				ops = append(ops, dequeue(1, q.Seq))
			}
		}
		slices.Reverse(ops[len(ops)/2:]) // acknowledgements in another order
		ops = inflightFirst(ops)
		e.commit(ops...)
		next = page[len(page)-1].Seq + 1
	}
	e.check()
	var ops []record.Op
	for _, q := range e.m.sessions[1].queue {
		ops = append(ops, dequeue(1, q.Seq))
	}
	e.commit(ops...)
	e.check()
	e.commit(enqueueAll(1, n+1, n+20)...)
	e.check()
}

// inflightFirst keeps a batch sensible: sent before acknowledged.
func inflightFirst(ops []record.Op) []record.Op {
	slices.SortStableFunc(ops, func(a, b record.Op) int { return int(a.Kind) - int(b.Kind) })
	return ops
}

// testReadAfterCommit: a read sees every batch that completed before it.
func testReadAfterCommit(e *env) {
	e.commit(putSession(1))
	for seq := uint64(1); seq <= 200; seq++ {
		e.commit(enqueue(1, seq))
		e.checkRead(1, seq, 10)
		switch seq % 4 {
		case 0:
			e.commit(dequeue(1, seq-1))
		case 1:
			e.commit(putInflight(1, seq, uint16(seq), 1))
		}
		e.checkRead(1, 0, 10)
	}
	e.check()
}

// testReadOwned: what a read gave belongs to the caller; nothing that happens
// later changes it, and changing it changes nothing.
func testReadOwned(e *env) {
	e.commit(putSession(1))
	e.commit(enqueueAll(1, 1, 40)...)
	first := read(e, e.s, 1, 0, 10)
	before := entriesText(first, false)
	second := read(e, e.s, 1, 11, 10)
	for seq := uint64(1); seq <= 40; seq++ {
		e.commit(dequeue(1, seq), enqueue(1, 100+seq))
	}
	read(e, e.s, 1, 0, 10)
	compare(e, "a page after later changes", entriesText(first, false), before)
	for i := range second {
		second[i] = record.Queued{}
	}
	compare(e, "a page after another was written to", entriesText(first, false), before)
	third := read(e, e.s, 1, 0, 10)
	for i := range third {
		third[i] = record.Queued{}
	}
	e.check()
}

// testLoadErrors: the callback's error ends the walk and comes back.
func testLoadErrors(e *env) {
	e.commit(append(everything(1), everything(2)...)...)
	e.commit(putRetained("a", 1), putRetained("b", 2))
	stop := errors.New("stop here")
	calls := 0
	err := e.s.LoadSessions(func(*store.Saved) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		e.Errorf("LoadSessions: %v after %d calls, want the callback's error after 1", err, calls)
	}
	calls = 0
	err = e.s.LoadRetained(func(*record.Message) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		e.Errorf("LoadRetained: %v after %d calls, want the callback's error after 1", err, calls)
	}
	e.check()
}

// testLoadOwned: the callback owns what it is given.
func testLoadOwned(e *env) {
	e.commit(append(everything(1), everything(2)...)...)
	err := e.s.LoadSessions(func(v *store.Saved) error {
		v.Session = record.Session{}
		clear(v.Subs)
		clear(v.Inflight)
		clear(v.Inbound)
		*v.Will = record.Will{}
		return nil
	})
	if err != nil {
		e.Fatalf("LoadSessions: %v", err)
	}
	e.check()
}
