package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
)

// testOrderInBatch: changes of one batch take effect one after the other.
func testOrderInBatch(e *env) {
	e.commit(
		putSession(1),
		enqueue(1, 1), enqueue(1, 2), dequeue(1, 1), enqueue(1, 3), putInflight(1, 3, 1, 1), dequeue(1, 3),
		putSub(1, "a", 1), deleteSub(1, "a"), putSub(1, "a", 2), putSub(1, "b", 1), deleteSub(1, "b"),
		putInbound(1, 1), deleteInbound(1, 1), putInbound(1, 2), deleteInbound(1, 3), putInbound(1, 3),
		putWill(1, 1), deleteWill(1), putWill(1, 2),
		putRetained("a", 1), deleteRetained("a"), putRetained("a", 2), putRetained("b", 1), deleteRetained("b"),
	)
	e.check()
	e.commit(deleteWill(1), putSession(2), enqueue(2, 1), deleteSession(2), enqueue(2, 2), putSession(3), enqueue(3, 2))
	e.check()
	e.commit(append(append([]record.Op{deleteSession(3)}, everything(4)...), deleteSession(1))...)
	e.check()
}

func testEmptyBatch(e *env) {
	for _, level := range []store.Level{store.Interval, store.Write, store.Flush} {
		if err := submit(e.s, level, nil).wait(e); err != nil {
			e.Errorf("empty batch at level %d: %v", level, err)
		}
	}
	e.check()
}

// testAtomic: a batch with a change that cannot be carried out fails, and
// nothing of it is in force, neither what comes before nor what comes after.
func testAtomic(e *env) {
	e.commit(everything(1)...)
	e.commit(putRetained("kept", 1))
	around := func(bad record.Op) []record.Op {
		return []record.Op{
			putSession(2), enqueue(1, 8), dequeue(1, 2), putSub(1, "new", 1), deleteSub(1, "a/+"), putInflight(1, 3, 3, 1),
			putInbound(1, 99), deleteInbound(1, 20), deleteWill(1), putRetained("new", 1), deleteRetained("kept"),
			bad,
			enqueue(1, 9), deleteSession(1),
		}
	}
	e.refuse("a change of kind 0", around(record.Op{Key: 1})...)
	e.look("after kind 0", false)
	e.refuse("a change of unknown kind", around(record.Op{Key: 1, Kind: 255})...)
	e.look("after kind 255", false)
	for _, bad := range []struct {
		what string
		kind record.OpKind
	}{
		{"a session change without session", record.PutSession},
		{"a subscription change without subscription", record.PutSubscription},
		{"a queue entry without message", record.Enqueue},
		{"a retained change without message", record.PutRetained},
		{"a will change without will", record.PutWill},
	} {
		e.refuse(bad.what, around(record.Op{Key: 1, Kind: bad.kind})...)
		e.look("after "+bad.what, false)
	}
	e.check()
	e.commit(enqueue(1, 8), deleteSub(1, "a/+")) // the engine goes on
	e.check()
}

// testBatchReuse: the slice belongs to the broker again after the completion,
// the records that the changes point to stay the engine's.
func testBatchReuse(e *env) {
	e.commit(putSession(1), putSession(2))
	var b store.Batch
	seq := uint64(0)
	for round := range 100 {
		b.Ops = b.Ops[:0]
		for range 1 + round%5 {
			seq++
			b.Ops = append(b.Ops, enqueue(1, seq), putSub(1, fmt.Sprint(seq%9), 1), putRetained(fmt.Sprint(seq%7), seq))
		}
		e.m.apply(b.Ops)
		sent := slices.Clone(b.Ops)
		p := newPending("commit of a batch to be reused")
		e.s.Commit(&b, store.Write, func(err error) { p.complete(nil, err) })
		if err := p.wait(e); err != nil {
			e.Fatalf("commit: %v", err)
		}
		if !slices.Equal(b.Ops, sent) {
			e.Fatalf("the engine wrote into the batch: %v, was %v", b.Ops, sent)
		}
		for i := range b.Ops { // what stands here now must not get in
			b.Ops[i] = enqueue(2, 1000+seq)
		}
	}
	e.check()
}

// testCompletionOrder: completions of one key come once each, in the order of
// the commits, at whatever levels.
func testCompletionOrder(e *env) {
	e.commit(putSession(1), putSession(2))
	const n = 400
	var mu sync.Mutex
	var order []int // of those with changes: an empty batch has no key and so no place
	completed := 0
	all := newPending(fmt.Sprintf("%d commits in a row", n))
	batches := make([]store.Batch, n)
	for i := range n {
		seq := uint64(i + 1)
		batches[i].Ops = []record.Op{enqueue(1, seq), enqueue(2, seq)}
		if i%10 == 9 {
			batches[i].Ops = nil
		}
		e.m.apply(batches[i].Ops)
		e.s.Commit(&batches[i], []store.Level{store.Flush, store.Interval, store.Write, store.Interval}[i%4], func(err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				e.Errorf("commit %d: %v", i, err)
			}
			if i%10 != 9 {
				order = append(order, i)
			}
			if completed++; completed == n {
				all.complete(nil, nil)
			}
		})
	}
	if err := all.wait(e); err != nil {
		e.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.IsSorted(order) || len(slices.Compact(slices.Clone(order))) != n-n/10 {
		e.Errorf("completions came in the order %v", order)
	}
	e.check()
}

// probeCommit and probeRead exist to be found on the stack.
//
//go:noinline
func probeCommit(s store.Store, b *store.Batch, done func(error)) { s.Commit(b, store.Flush, done) }

//go:noinline
func probeRead(s store.Store, done func([]record.Queued, error)) { s.ReadQueue(1, 0, 10, done) }

// insideProbe reports whether the caller runs inside one of the two.
func insideProbe() bool {
	pcs := make([]uintptr, 200)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, ".probeCommit") || strings.HasSuffix(f.Function, ".probeRead") {
			return true
		}
		if !more {
			return false
		}
	}
}

// testCompletionPlace: completions run inside the call exactly when Immediate
// says so.
func testCompletionPlace(e *env) {
	want := e.s.Immediate()
	for range 50 {
		var inside, readInside bool
		c := newPending("commit")
		probeCommit(e.s, &store.Batch{Ops: []record.Op{putSession(1)}}, func(err error) {
			inside = insideProbe()
			c.complete(nil, err)
		})
		if err := c.wait(e); err != nil {
			e.Fatalf("commit: %v", err)
		}
		r := newPending("read")
		probeRead(e.s, func(q []record.Queued, err error) {
			readInside = insideProbe()
			r.complete(q, err)
		})
		if err := r.wait(e); err != nil {
			e.Fatalf("read: %v", err)
		}
		if inside != want || readInside != want {
			e.Fatalf("Immediate is %t, but completion inside Commit: %t, inside ReadQueue: %t", want, inside, readInside)
		}
	}
	if e.s.Immediate() != want {
		e.Errorf("Immediate changed its mind")
	}
	if !want {
		return
	}
	// Inside the call the loop may want more at once.
	var got []record.Queued
	e.s.Commit(&store.Batch{Ops: []record.Op{enqueue(1, 1)}}, store.Flush, func(error) {
		e.s.Commit(&store.Batch{Ops: []record.Op{enqueue(1, 2)}}, store.Flush, func(error) {
			e.s.ReadQueue(1, 0, 10, func(q []record.Queued, _ error) { got = q })
		})
	})
	if len(got) != 2 {
		e.Errorf("a read inside two completions gave %d entries, want 2", len(got))
	}
}

// testLevels: every level completes and can be read at once; after an orderly
// end all of it is there.
func testLevels(e *env) {
	e.commit(putSession(1))
	for i, level := range []store.Level{store.Interval, store.Write, store.Flush, store.Write, store.Interval} {
		ops := []record.Op{enqueue(1, uint64(i+1)), putInbound(1, uint16(i+1))}
		if err := submit(e.s, level, ops).wait(e); err != nil {
			e.Fatalf("commit at level %d: %v", level, err)
		}
		e.m.apply(ops)
		e.checkRead(1, 0, 10)
	}
	e.check()
}

// testLazy: a lazy batch completes though nothing follows, and before what
// follows.
func testLazy(e *env) {
	e.commit(putSession(1))
	for seq := uint64(1); seq <= 6; seq++ {
		op := []record.Op{enqueue(1, seq)}
		lazy := submitBatch(e.s, store.Level(seq%3), store.Batch{Ops: op, Lazy: true})
		e.m.apply(op)
		if seq%2 == 0 {
			op = []record.Op{dequeue(1, seq)}
			if err := submit(e.s, store.Flush, op).wait(e); err != nil {
				e.Fatalf("commit behind a lazy one: %v", err)
			}
			select {
			case <-lazy.arrived:
			default:
				e.Errorf("batch %d completed before the lazy one it follows", seq)
			}
			e.m.apply(op)
		}
		if err := lazy.wait(e); err != nil {
			e.Fatalf("lazy commit: %v", err)
		}
	}
	e.check()
}

// testClose: Close leaves nothing outstanding, and what completed without error
// is in force after it; later calls fail with ErrClosed.
func testClose(e *env) {
	e.commit(putSession(1))
	var commits []*pending
	var ops []record.Op
	for seq := range uint64(50) {
		op := enqueue(1, seq+1)
		ops = append(ops, op)
		commits = append(commits, submit(e.s, store.Level(seq%3), []record.Op{op}))
	}
	r := newPending("read before Close")
	e.s.ReadQueue(1, 0, 100, r.complete)
	e.closed = true
	if err := e.s.Close(); err != nil {
		e.Fatalf("close: %v", err)
	}
	// A commit may be failed only with ErrClosed, and then it and, on the same
	// key, those after it had no effect.
	var failed error
	for i, p := range commits {
		err := p.wait(e)
		switch {
		case err == nil && failed == nil:
			e.m.apply(ops[i : i+1])
		case err == nil:
			e.Errorf("commit %d completed after an earlier one failed: %v", i, failed)
		case !errors.Is(err, store.ErrClosed):
			e.Errorf("commit %d: %v, want ErrClosed", i, err)
		}
		failed = errors.Join(failed, err)
	}
	if err := r.wait(e); err != nil && !errors.Is(err, store.ErrClosed) {
		e.Errorf("read before Close: %v", err)
	}
	if err := submit(e.s, store.Interval, []record.Op{enqueue(1, 100)}).wait(e); !errors.Is(err, store.ErrClosed) {
		e.Errorf("commit after Close: %v, want ErrClosed", err)
	}
	late := newPending("read after Close")
	e.s.ReadQueue(1, 0, 100, late.complete)
	if err := late.wait(e); !errors.Is(err, store.ErrClosed) || len(late.entries) != 0 {
		e.Errorf("read after Close: %d entries and %v, want ErrClosed", len(late.entries), err)
	}
	if e.reopen != nil {
		e.s = e.reopen(e.TB, e.s)
		e.closed = false
		e.look("reopened", true)
	}
}

// testConcurrent: several loops, each with keys of its own, at once. Under the
// race detector it also shows what the engine shares without a lock.
func testConcurrent(e *env) {
	const loops, keysEach = 6, 3
	models := make([]*model, loops)
	var wg sync.WaitGroup
	for i := range loops {
		g := newGenerator(rand.New(rand.NewPCG(uint64(i), 1)), record.SessionKey(1+i*1000), keysEach, fmt.Sprintf("loop%d/", i))
		models[i] = g.m
		wg.Go(func() {
			var outstanding []*pending
			for range 150 {
				ops := g.batch()
				outstanding = append(outstanding, submit(e.s, store.Level(g.r.IntN(3)), ops))
				if len(outstanding) < 8 && g.r.IntN(4) > 0 {
					continue
				}
				for _, p := range outstanding {
					if !await(e, p) {
						return
					}
				}
				outstanding = outstanding[:0]
				for key, x := range g.m.sessions {
					p := newPending("read")
					e.s.ReadQueue(key, 0, 20, p.complete)
					if !await(e, p) {
						return
					}
					if !slices.Equal(entriesText(p.entries, false), entriesText(x.waiting(0, 20), false)) {
						e.Errorf("loop %d: queue of session %d differs while others commit", i, key)
						return
					}
				}
			}
			for _, p := range outstanding {
				await(e, p)
			}
		})
	}
	wg.Wait()
	if e.Failed() {
		e.FailNow()
	}
	for _, m := range models {
		for k, x := range m.sessions {
			e.m.sessions[k] = x
		}
		for t, r := range m.retained {
			e.m.retained[t] = r
		}
	}
	e.check()
}
