package session

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/midgemq/midge/internal/record"
)

func (t *subscriptions) check(tb testing.TB) {
	tb.Helper()
	n := t.len()
	if t == nil {
		return
	}
	if t.index == nil && n >= indexFrom || t.index != nil && n < indexUntil {
		tb.Fatalf("index of %d present: %v", n, t.index != nil)
	}
	if cap(t.list) > 5*max(n, indexFrom) {
		tb.Fatalf("room for %d kept for %d", cap(t.list), n)
	}
	if t.index == nil {
		return
	}
	used := 0
	for _, v := range t.index.slots {
		if v != 0 {
			used++
		}
	}
	if used != n || len(t.index.slots) > 32 && len(t.index.slots) > 20*n {
		tb.Fatalf("%d of %d slots used for %d", used, len(t.index.slots), n)
	}
	for i, p := range t.list {
		if t.find(p.Filter) != i {
			tb.Fatalf("%s is at %d, found at %d", p.Filter, i, t.find(p.Filter))
		}
	}
}

// TestSubscriptionTable holds the table against a map, while it grows and shrinks
// across the sizes at which it changes its form.
func TestSubscriptionTable(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 3))
		var table subscriptions
		want := map[string]*record.Subscription{}
		space := []int{10, 40, 400, 3000}[seed]
		for step := range 30000 {
			filter := fmt.Sprint("f/", r.IntN(space))
			if r.IntN(10) < 3+4*(step/3000%2) {
				p := &record.Subscription{Filter: filter, ID: uint32(step)}
				table.put(p)
				want[filter] = p
			} else {
				_, had := want[filter]
				if table.remove(filter) != had {
					t.Fatalf("seed %d step %d: removing %s gave %v", seed, step, filter, !had)
				}
				delete(want, filter)
			}
			probe := fmt.Sprint("f/", r.IntN(space))
			i := table.find(probe)
			if p := want[probe]; (p != nil) != (i >= 0) || p != nil && table.list[i] != p {
				t.Fatalf("seed %d step %d: %s is found at %d, want %v", seed, step, probe, i, p)
			}
			if table.len() != len(want) {
				t.Fatalf("%d, want %d", table.len(), len(want))
			}
			if step%100 == 0 {
				table.check(t)
			}
		}
	}
}

func BenchmarkSubscriptionTable(b *testing.B) {
	filters := make([]string, 100_000)
	for i := range filters {
		filters[i] = fmt.Sprint("site/", i, "/cmd")
	}
	b.ReportAllocs()
	for b.Loop() {
		var t subscriptions
		for i := range filters {
			t.put(&record.Subscription{Filter: filters[i]})
		}
		for i := range filters {
			if !t.remove(filters[i]) {
				b.Fatal("lost")
			}
		}
	}
}
