package memstore

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/midgemq/midge/internal/record"
)

func TestSlotSize(t *testing.T) {
	if n := unsafe.Sizeof(slot{}); n != 48 {
		t.Errorf("a slot has %d bytes, 48 were meant", n)
	}
}

// checkQueue asserts what the search relies on.
func checkQueue(t *testing.T, q *queue) {
	t.Helper()
	live, inflight := 0, 0
	var last uint64
	first := true
	for i := range q.segs {
		g := &q.segs[i]
		n := 0
		for j := range g.slots {
			e := &g.slots[j]
			if !first && e.seq <= last {
				t.Fatalf("segment %d slot %d: seq %d after %d", i, j, e.seq, last)
			}
			first, last = false, e.seq
			switch {
			case e.msg != nil:
				n++
				if e.order != 0 {
					inflight++
				}
			case *e != slot{seq: e.seq}:
				t.Fatalf("segment %d slot %d: removed, but holds %+v", i, j, *e)
			}
		}
		if n != g.live {
			t.Fatalf("segment %d: %d live, counted %d", i, n, g.live)
		}
		if n == 0 && (len(q.segs) > 1 || len(g.slots) > 0) {
			t.Fatalf("segment %d of %d stays without live slots", i, len(q.segs))
		}
		if cap(g.slots) > segmentSize {
			t.Fatalf("segment %d has capacity %d", i, cap(g.slots))
		}
		for _, e := range g.slots[len(g.slots):cap(g.slots)] {
			if e.msg != nil || e.group != "" {
				t.Fatalf("segment %d keeps a message alive behind its end", i)
			}
		}
		live += n
	}
	if live != q.live || inflight != q.inflight {
		t.Fatalf("%d live and %d in flight, counted %d and %d", live, inflight, q.live, q.inflight)
	}
}

func checkAgainst(t *testing.T, q *queue, want map[uint64]record.Queued, flying map[uint64]bool) {
	t.Helper()
	checkQueue(t, q)
	var waiting []record.Queued
	for _, seq := range slices.Sorted(maps.Keys(want)) {
		if !flying[seq] {
			waiting = append(waiting, want[seq])
		}
	}
	if got := q.read(0, 1<<30); !slices.Equal(got, waiting) {
		t.Fatalf("read gave %d entries, want %d", len(got), len(waiting))
	}
	if q.live != len(want) || q.inflight != len(flying) {
		t.Fatalf("live %d, in flight %d, want %d, %d", q.live, q.inflight, len(want), len(flying))
	}
}

// TestQueueRandom drives one queue through long runs of mixed operations,
// entries out of order and repeated ones among them, which the broker's order of
// commits makes rare and so other tests hardly reach.
func TestQueueRandom(t *testing.T) {
	for seed := range uint64(5) {
		r := rand.New(rand.NewPCG(seed, 7))
		var q queue
		want := map[uint64]record.Queued{}
		flying := map[uint64]bool{}
		tail := uint64(1)
		put := func(seq uint64) {
			v := record.Queued{Msg: &record.Message{Seq: r.Uint64()}, Seq: seq, SubID: r.Uint32(), QoS: 1, Retain: r.IntN(2) == 0}
			if r.IntN(3) == 0 {
				v.Group = "g"
			}
			old, was := q.put(&v)
			if old != want[seq].Msg || was != flying[seq] {
				t.Fatalf("seed %d: put over %d gave %v %t, want %v %t", seed, seq, old, was, want[seq].Msg, flying[seq])
			}
			want[seq] = v
			delete(flying, seq)
		}
		remove := func(seq uint64) {
			old, was := q.remove(seq)
			if old != want[seq].Msg || was != flying[seq] {
				t.Fatalf("seed %d: remove %d gave %v %t, want %v %t", seed, seq, old, was, want[seq].Msg, flying[seq])
			}
			delete(want, seq)
			delete(flying, seq)
		}
		// The mix changes from filling to emptying and back.
		for step := range 30000 {
			fill := 3 + 5*(step/4000%2)
			switch k := r.IntN(16); {
			case k < fill:
				tail += 1 + r.Uint64N(8)/7
				put(tail)
			case k == fill:
				put(1 + r.Uint64N(tail))
			case k < fill+3:
				seq := 1 + r.Uint64N(tail)
				_, there := want[seq]
				if got := q.setInflight(seq, 1, 1); got != (there && !flying[seq]) {
					t.Fatalf("seed %d: setInflight %d: %t", seed, seq, got)
				}
				if there {
					flying[seq] = true
				}
			case k < fill+6 && len(q.segs) > 0 && len(q.segs[0].slots) > 0:
				remove(q.segs[0].slots[r.IntN(len(q.segs[0].slots))].seq)
			default:
				remove(1 + r.Uint64N(tail))
			}
			if step%997 == 0 {
				checkAgainst(t, &q, want, flying)
				from, n := r.Uint64N(tail+2), r.IntN(40)
				var page []record.Queued
				for _, seq := range slices.Sorted(maps.Keys(want)) {
					if seq >= from && !flying[seq] && len(page) < n {
						page = append(page, want[seq])
					}
				}
				if got := q.read(from, n); !slices.Equal(got, page) {
					t.Fatalf("seed %d: read(%d, %d) gave %d entries, want %d", seed, from, n, len(got), len(page))
				}
			}
		}
		for _, seq := range slices.Collect(maps.Keys(want)) {
			remove(seq)
		}
		checkAgainst(t, &q, want, flying)
		if n := len(q.segs); n > 1 || n == 1 && cap(q.segs[0].slots) > keepSlots {
			t.Errorf("seed %d: an emptied queue keeps %d segments", seed, n)
		}
	}
}

// TestQueueStuck: entries that stay while all others leave hold little memory.
func TestQueueStuck(t *testing.T) {
	var q queue
	m := &record.Message{}
	const n = 100000
	for seq := uint64(1); seq <= n; seq++ {
		q.put(&record.Queued{Msg: m, Seq: seq})
	}
	for seq := uint64(1); seq <= n; seq++ {
		if seq%segmentSize != 7 {
			q.remove(seq)
		}
	}
	checkQueue(t, &q)
	slots := 0
	for i := range q.segs {
		slots += cap(q.segs[i].slots)
	}
	if most := 2*segmentSize + 32*q.live; slots > most {
		t.Errorf("%d stuck entries hold %d slots, want at most %d", q.live, slots, most)
	}
	if got := q.read(n/2, 3); len(got) != 3 || got[0].Seq != n/2+7+(segmentSize-n/2%segmentSize)%segmentSize {
		t.Errorf("read among stuck entries gave %+v", got)
	}
}

// TestQueueOutOfOrder fills a queue backwards and crosswise, so that segments
// are split and inserted into.
func TestQueueOutOfOrder(t *testing.T) {
	const n = 5000
	backwards := func(i uint64) uint64 { return n - i }
	crosswise := func(i uint64) uint64 { return i*1237%n + 1 } // 1237 and n have no common factor
	for name, seqOf := range map[string]func(uint64) uint64{"backwards": backwards, "crosswise": crosswise} {
		var q queue
		m := &record.Message{}
		for i := range uint64(n) {
			if old, _ := q.put(&record.Queued{Msg: m, Seq: seqOf(i)}); old != nil {
				t.Fatalf("%s: %d was there", name, seqOf(i))
			}
		}
		checkQueue(t, &q)
		for i, e := range q.read(0, n) {
			if e.Seq != uint64(i+1) {
				t.Fatalf("%s: place %d holds %d", name, i, e.Seq)
			}
		}
		if len(q.segs) > 2*n/segmentSize+2 {
			t.Errorf("%s: %d segments for %d entries", name, len(q.segs), n)
		}
	}
}
