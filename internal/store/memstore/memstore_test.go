package memstore

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/storetest"
)

func open(testing.TB) store.Store { return New() }

func TestConformance(t *testing.T) { storetest.Run(t, open, nil) }

// TestConformanceReopened runs it with a restart within the process.
func TestConformanceReopened(t *testing.T) {
	storetest.Run(t, open, func(_ testing.TB, old store.Store) store.Store {
		s := old.(*Store)
		s.Reopen()
		return s
	})
}

func commit(t testing.TB, s *Store, ops ...record.Op) {
	t.Helper()
	s.Commit(&store.Batch{Ops: ops}, store.Flush, func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	})
}

func putSession(key record.SessionKey) record.Op {
	return record.Op{Kind: record.PutSession, Session: &record.Session{Key: key}}
}

func enqueue(key record.SessionKey, seq uint64, m *record.Message) record.Op {
	return record.Op{Kind: record.Enqueue, Key: key, Entry: record.Queued{Msg: m, Seq: seq}}
}

func dequeue(key record.SessionKey, seq uint64) record.Op {
	return record.Op{Kind: record.Dequeue, Key: key, Seq: seq}
}

func checkStats(t *testing.T, s *Store, when string, want Stats) {
	t.Helper()
	if got := s.Stats(); got != want {
		t.Errorf("%s: %+v, want %+v", when, got, want)
	}
}

// TestStats: a message counts once however many refer to it, until the last one
// that does is gone.
func TestStats(t *testing.T) {
	s := New()
	checkStats(t, s, "empty", Stats{})
	a := &record.Message{Topic: "a", Payload: make([]byte, 100), Seq: 1}
	b := &record.Message{Topic: "a", Payload: make([]byte, 7), Seq: 65} // the same shard as a
	commit(t, s, putSession(1), putSession(2), putSession(3))
	commit(t, s, enqueue(1, 1, a), enqueue(2, 1, a), enqueue(2, 2, a), enqueue(3, 1, b))
	commit(t, s, record.Op{Kind: record.PutRetained, Entry: record.Queued{Msg: a}})
	checkStats(t, s, "queued", Stats{Sessions: 3, Queued: 4, Retained: 1, Messages: 2, Bytes: 107})
	for state := range uint8(2) {
		commit(t, s, record.Op{Kind: record.PutInflight, Key: 2, Seq: 1, PacketID: 1, State: 1 + state})
		commit(t, s, record.Op{Kind: record.PutInflight, Key: 2, Seq: 99, PacketID: 2, State: 1}) // no such entry
		checkStats(t, s, "sent", Stats{Sessions: 3, Queued: 4, Inflight: 1, Retained: 1, Messages: 2, Bytes: 107})
	}
	commit(t, s, record.Op{Kind: record.PutInflight, Key: 3, Seq: 1, PacketID: 1, State: 1})
	checkStats(t, s, "another sent", Stats{Sessions: 3, Queued: 4, Inflight: 2, Retained: 1, Messages: 2, Bytes: 107})
	commit(t, s, enqueue(3, 1, b)) // the entry begins anew
	checkStats(t, s, "begun anew", Stats{Sessions: 3, Queued: 4, Inflight: 1, Retained: 1, Messages: 2, Bytes: 107})
	commit(t, s, record.Op{Kind: record.PutInflight, Key: 3, Seq: 1, PacketID: 1, State: 1}, dequeue(3, 1), enqueue(3, 2, b))
	checkStats(t, s, "another ended", Stats{Sessions: 3, Queued: 4, Inflight: 1, Retained: 1, Messages: 2, Bytes: 107})
	commit(t, s, enqueue(9, 1, &record.Message{Payload: make([]byte, 5)})) // no such session
	sub := record.Op{Kind: record.PutSubscription, Key: 2, Sub: &record.Subscription{Filter: "f"}}
	commit(t, s, sub, sub)
	checkStats(t, s, "in flight", Stats{Sessions: 3, Subscriptions: 1, Queued: 4, Inflight: 1, Retained: 1, Messages: 2, Bytes: 107})
	commit(t, s, dequeue(1, 1), dequeue(2, 2), dequeue(2, 2))
	checkStats(t, s, "some dequeued", Stats{Sessions: 3, Subscriptions: 1, Queued: 2, Inflight: 1, Retained: 1, Messages: 2, Bytes: 107})
	commit(t, s, record.Op{Kind: record.PutRetained, Entry: record.Queued{Msg: b}})
	checkStats(t, s, "replaced", Stats{Sessions: 3, Subscriptions: 1, Queued: 2, Inflight: 1, Retained: 1, Messages: 2, Bytes: 107})
	commit(t, s, record.Op{Kind: record.DeleteSession, Key: 2})
	checkStats(t, s, "session gone", Stats{Sessions: 2, Queued: 1, Retained: 1, Messages: 1, Bytes: 7})
	commit(t, s, enqueue(3, 2, a)) // replaces the entry
	checkStats(t, s, "entry replaced", Stats{Sessions: 2, Queued: 1, Retained: 1, Messages: 2, Bytes: 107})
	commit(t, s, record.Op{Kind: record.DeleteRetained, Filter: "a"}, dequeue(3, 2))
	checkStats(t, s, "all gone", Stats{Sessions: 2})
}

// TestStatsManySubscriptions crosses from slice to map and back.
func TestStatsManySubscriptions(t *testing.T) {
	s := New()
	commit(t, s, putSession(1))
	for i := range 3 * fewSubs {
		for range 2 {
			commit(t, s, record.Op{Kind: record.PutSubscription, Key: 1, Sub: &record.Subscription{Filter: fmt.Sprint(i)}})
			checkStats(t, s, "added", Stats{Sessions: 1, Subscriptions: i + 1})
		}
	}
	for i := range 3 * fewSubs {
		for range 2 {
			commit(t, s, record.Op{Kind: record.DeleteSubscription, Key: 1, Filter: fmt.Sprint(i)})
			checkStats(t, s, "removed", Stats{Sessions: 1, Subscriptions: 3*fewSubs - i - 1})
		}
	}
}

// TestRefusal: the error says which change was wrong and why.
func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		op   record.Op
		want string
	}{
		{record.Op{}, "change 2 of 2 (kind 0): unknown kind"},
		{record.Op{Kind: 200}, "change 2 of 2 (kind 200): unknown kind"},
		{record.Op{Kind: record.PutSession}, "no session"},
		{record.Op{Kind: record.PutSubscription}, "no subscription"},
		{record.Op{Kind: record.Enqueue}, "no message"},
		{record.Op{Kind: record.PutRetained}, "no message"},
		{record.Op{Kind: record.PutWill}, "no will message"},
		{record.Op{Kind: record.PutWill, Will: &record.Will{}}, "no will message"},
		{record.Op{Kind: record.PutInflight}, "packet identifier 0"},
		{record.Op{Kind: record.PutInbound}, "packet identifier 0"},
		{record.Op{Kind: record.DeleteInbound}, "packet identifier 0"},
	} {
		s := New()
		var got error
		s.Commit(&store.Batch{Ops: []record.Op{putSession(1), c.op}}, store.Flush, func(err error) { got = err })
		if got == nil || !strings.Contains(got.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.op, got, c.want)
		}
		checkStats(t, s, c.want, Stats{})
	}
}

// TestSharedQueue: several loops may enqueue to one session, as publishers on
// different loops do, and none of their entries is lost or out of place.
func TestSharedQueue(t *testing.T) {
	s := New()
	commit(t, s, putSession(1), putSession(2))
	const loops, each = 8, 2000
	var next struct {
		sync.Mutex
		seq uint64
	}
	var wg sync.WaitGroup
	for range loops {
		wg.Go(func() {
			for range each {
				next.Lock()
				next.seq++
				seq := next.seq
				next.Unlock() // so another loop may commit a later number first
				m := &record.Message{Seq: seq}
				s.Commit(&store.Batch{Ops: []record.Op{enqueue(1, seq, m), enqueue(2, seq, m)}}, store.Flush, func(err error) {
					if err != nil {
						t.Error(err)
					}
				})
				s.ReadQueue(1, seq, 3, func(q []record.Queued, _ error) {
					if len(q) == 0 || q[0].Seq != seq {
						t.Errorf("own entry %d not found: %v", seq, q)
					}
				})
			}
		})
	}
	wg.Wait()
	for key := record.SessionKey(1); key <= 2; key++ {
		s.ReadQueue(key, 0, loops*each+1, func(q []record.Queued, _ error) {
			if len(q) != loops*each {
				t.Fatalf("session %d: %d entries, want %d", key, len(q), loops*each)
			}
			for i, e := range q {
				if e.Seq != uint64(i+1) || e.Msg.Seq != e.Seq {
					t.Fatalf("session %d: place %d holds %d", key, i, e.Seq)
				}
			}
		})
	}
	checkStats(t, s, "after all", Stats{Sessions: 2, Queued: 2 * loops * each, Messages: loops * each})
}

// TestWholeBatchesSeen: a reader on another goroutine never finds half a batch,
// whether it looks at queues or at whole sessions.
func TestWholeBatchesSeen(t *testing.T) {
	s := New()
	const key = 5
	commit(t, s, putSession(key))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for seq := uint64(1); ; seq += 2 {
			select {
			case <-stop:
				return
			default:
			}
			m := &record.Message{Seq: seq}
			commit(t, s, enqueue(key, seq, m), enqueue(key, seq+1, m))
			commit(t, s, dequeue(key, seq), dequeue(key, seq+1))
		}
	})
	for range 20000 {
		s.ReadQueue(key, 0, 10, func(q []record.Queued, _ error) {
			if len(q)%2 != 0 {
				t.Fatalf("%d entries of batches of two", len(q))
			}
		})
	}
	for range 2000 {
		err := s.LoadSessions(func(v *store.Saved) error {
			if v.Queued%2 != 0 {
				return fmt.Errorf("%d entries of batches of two", v.Queued)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
}

func TestLoadAfterClose(t *testing.T) {
	s := New()
	commit(t, s, putSession(1))
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.LoadSessions(func(*store.Saved) error { t.Error("called"); return nil }); !errors.Is(err, store.ErrClosed) {
		t.Errorf("LoadSessions: %v", err)
	}
	if err := s.LoadRetained(func(*record.Message) error { return nil }); !errors.Is(err, store.ErrClosed) {
		t.Errorf("LoadRetained: %v", err)
	}
}

// TestMemory: queued entries cost at most 100 bytes each beyond the message,
// in one long queue or in many short ones.
func TestMemory(t *testing.T) {
	const n = 200_000
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	msgs := make([]record.Message, n)
	for i := range msgs {
		msgs[i].Seq = uint64(i)
	}
	for _, sessions := range []int{1, 1000, 20_000} {
		s := New()
		for k := range sessions {
			commit(t, s, putSession(record.SessionKey(k+1)))
		}
		before := heap()
		for i := range msgs {
			commit(t, s, enqueue(record.SessionKey(i%sessions+1), uint64(i/sessions+1), &msgs[i]))
		}
		each := float64(heap()-before) / n
		if each > 100 {
			t.Errorf("%d sessions: %.1f bytes for each entry, want at most 100", sessions, each)
		}
		for k := range sessions {
			commit(t, s, record.Op{Kind: record.DeleteSession, Key: record.SessionKey(k + 1)})
		}
		checkStats(t, s, "emptied", Stats{})
		runtime.KeepAlive(s)
		t.Logf("%d sessions: %.1f bytes for each entry", sessions, each)
	}
	runtime.KeepAlive(msgs)
}

// window commits what one QoS 1 delivery takes, with a number of others under
// way, and returns the function that does the next.
func window(t testing.TB, s *Store, keys, size int) func() {
	var msgs [256]record.Message
	for i := range msgs {
		msgs[i].Seq = uint64(i)
	}
	for k := range keys {
		commit(t, s, putSession(record.SessionKey(k+1)))
	}
	b := &store.Batch{Ops: make([]record.Op, 0, 4)}
	done := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	n := uint64(0)
	return func() {
		key, seq := record.SessionKey(n%uint64(keys)+1), n/uint64(keys)+1
		n++
		b.Ops = append(b.Ops[:0], enqueue(key, seq, &msgs[n%256]))
		s.Commit(b, store.Interval, done)
		b.Ops = append(b.Ops[:0], record.Op{Kind: record.PutInflight, Key: key, Seq: seq, PacketID: uint16(seq | 1), State: 1})
		s.Commit(b, store.Interval, done)
		if seq > uint64(size) {
			b.Ops = append(b.Ops[:0], dequeue(key, seq-uint64(size)))
			s.Commit(b, store.Interval, done)
		}
	}
}

// TestSteadyAllocations: traffic through windows of any size allocates nothing.
// The steps are one run, as an average would be rounded down to none; a few
// segments may be made anew when the collector empties their pool.
func TestSteadyAllocations(t *testing.T) {
	for _, size := range []int{0, 1, 20, 1000, 5000} {
		step := window(t, New(), 1, size)
		run := func() {
			for range 4 * (size + 500) {
				step()
			}
		}
		run()
		most := 0.0
		if size > segmentSize {
			most = float64(size / 50)
		}
		if n := testing.AllocsPerRun(3, run); n > most {
			t.Errorf("window of %d: %v allocations in %d steps", size, n, 4*(size+500))
		}
	}
}

// TestBurstAllocations: a queue that is filled with a default window and emptied
// again and again allocates nothing, and one that was long keeps nothing.
func TestBurstAllocations(t *testing.T) {
	s := New()
	commit(t, s, putSession(1))
	ops := make([]record.Op, 1)
	b := &store.Batch{}
	m := &record.Message{}
	done := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	seq := uint64(0)
	burst := func(n int) {
		for i := range n {
			ops[0] = enqueue(1, seq+uint64(i), m)
			b.Ops = ops
			s.Commit(b, store.Write, done)
		}
		for range n {
			ops[0] = dequeue(1, seq)
			b.Ops = ops
			s.Commit(b, store.Write, done)
			seq++
		}
	}
	burst(20)
	if n := testing.AllocsPerRun(1, func() {
		for range 100 {
			burst(20)
		}
	}); n != 0 {
		t.Errorf("%v allocations in 100 bursts of 20", n)
	}
	for _, n := range []int{100, 1000} {
		burst(n)
		q := &s.shards[shardOf(1)].sessions[1].queue
		if q.live != 0 || len(q.segs) != 0 {
			t.Errorf("%d segments kept after %d entries came and went", len(q.segs), n)
		}
	}
}

func BenchmarkDelivery(b *testing.B) {
	for _, keys := range []int{1, 10000} {
		b.Run(fmt.Sprintf("sessions=%d", keys), func(b *testing.B) {
			b.ReportAllocs()
			step := window(b, New(), keys, 20)
			for b.Loop() {
				step()
			}
		})
	}
}

// BenchmarkReadQueue reads twenty entries far inside a queue of a million.
func BenchmarkReadQueue(b *testing.B) {
	s := New()
	commit(b, s, putSession(1))
	m := &record.Message{}
	const n = 1_000_000
	for seq := uint64(1); seq <= n; seq++ {
		commit(b, s, enqueue(1, seq, m))
	}
	for seq := uint64(1000); seq < n-1000; seq++ {
		commit(b, s, dequeue(1, seq))
	}
	b.ReportAllocs()
	for b.Loop() {
		s.ReadQueue(1, 990, 20, func(q []record.Queued, _ error) {
			if len(q) != 20 {
				b.Fatalf("%d entries", len(q))
			}
		})
	}
}

func BenchmarkFanOut(b *testing.B) {
	s := New()
	const n = 1000
	batch, undo := &store.Batch{}, &store.Batch{}
	for k := range n {
		commit(b, s, putSession(record.SessionKey(k+1)))
		batch.Ops = append(batch.Ops, enqueue(record.SessionKey(k+1), 1, nil))
		undo.Ops = append(undo.Ops, dequeue(record.SessionKey(k+1), 1))
	}
	done := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	m := &record.Message{}
	b.ReportAllocs()
	for b.Loop() {
		for i := range batch.Ops {
			batch.Ops[i].Entry.Msg = m
		}
		s.Commit(batch, store.Write, done)
		s.Commit(undo, store.Write, done)
	}
}
