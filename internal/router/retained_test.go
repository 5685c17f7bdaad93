package router

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/midgemq/midge/mqtt"
)

// collect visits everything, chunk entries at a time.
func collect[M any](c *Cursor[M], chunk int) (topics []string) {
	for done := false; !done; {
		done = c.Next(chunk, func(topic string, _ M) bool {
			topics = append(topics, topic)
			return true
		})
	}
	return topics
}

// covers: 5:3.3.1-5 3:3.3.1-6
func TestRetainedReplaces(t *testing.T) {
	r := NewRetained[string]()
	for i, topic := range []string{"a/1", "a/2", "a", "a/1/b", "a/1", "a/2"} {
		old, had := r.Set(topic, fmt.Sprint("v", i), uint64(i))
		if had != (i >= 4) || had && old != fmt.Sprint("v", map[int]int{4: 0, 5: 1}[i]) {
			t.Errorf("set %q displaced %q, %v", topic, old, had)
		}
	}
	if r.Len() != 4 {
		t.Errorf("%d topics, want 4", r.Len())
	}
	got := map[string]string{}
	r.Cursor("a/+", 10).Next(10, func(topic, m string) bool { got[topic] = m; return true })
	if want := map[string]string{"a/1": "v4", "a/2": "v5"}; !maps.Equal(got, want) {
		t.Errorf("a/+ selects %v, want the last of each: %v", got, want)
	}
	if m, ok := r.Get("a/1"); !ok || m != "v4" {
		t.Errorf("a/1 is %q, %v", m, ok)
	}
	if _, ok := r.Get("a/1/"); ok {
		t.Error("a/1/ exists")
	}
}

func TestRetainedDelete(t *testing.T) {
	r := NewRetained[int]()
	r.Set("a", 1, 1)
	r.Set("a/b", 2, 2)
	if _, had := r.Delete("a/"); had {
		t.Error("a/ was deleted")
	}
	if _, had := r.DeleteIf("a", func(m int) bool { return m == 2 }); had {
		t.Error("a was deleted although the condition is false")
	}
	if old, had := r.DeleteIf("a", func(m int) bool { return m == 1 }); !had || old != 1 {
		t.Errorf("deleting a gave %d, %v", old, had)
	}
	if _, had := r.DeleteIf("a", func(int) bool { t.Error("asked about nothing"); return true }); had {
		t.Error("a was deleted twice")
	}
	if old, had := r.Delete("a/b"); !had || old != 2 || r.Len() != 0 {
		t.Errorf("deleting a/b gave %d, %v; %d left", old, had, r.Len())
	}
	if got := collect(r.Walk(), 1); len(got) != 0 {
		t.Errorf("an empty index has %v", got)
	}
}

// Whatever the chunk, the filter and the content: the cursor selects what mqtt.Match says, once each, in order.
func TestCursorAgainstReference(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 1))
	for round := range 60 {
		index, topics := NewRetained[int](), map[string]bool{}
		for range r.IntN(3000) {
			topic := randomTopic(r)
			topics[topic] = true
			index.Set(topic, 0, 0)
		}
		sorted := slices.Sorted(maps.Keys(topics))
		if got := collect(index.Walk(), 1+r.IntN(50)); !slices.Equal(got, sorted) {
			t.Fatalf("round %d: walk gives %d topics, want %d", round, len(got), len(sorted))
		}
		for range 60 {
			filter := randomFilter(r)
			if r.IntN(4) == 0 && len(sorted) > 0 {
				filter = sorted[r.IntN(len(sorted))]
			}
			var want []string
			for _, topic := range sorted {
				if mqtt.Match(filter, topic) {
					want = append(want, topic)
				}
			}
			if none := index.None(filter, 0, new(Cursor[int])); none && len(want) > 0 {
				t.Fatalf("round %d filter %q: told that there is none of %q", round, filter, want)
			}
			if got := collect(index.Cursor(filter, 0), 1+r.IntN(20)); !slices.Equal(got, want) {
				t.Fatalf("round %d filter %q: got %q, want %q", round, filter, got, want)
			}
		}
	}
}

// None is sure of a few entries, gives up on many, and allocates nothing.
func TestNone(t *testing.T) {
	index := NewRetained[int]()
	for i := range 100 {
		index.Set(fmt.Sprintf("$SYS/broker/%d", i), 0, 1)
	}
	index.Set("a/b", 0, 1)
	index.Set("a/later", 0, 3)
	for i := range 1000 {
		index.Set(fmt.Sprintf("many/%d/x", i), 0, 1)
	}
	var scratch Cursor[int]
	for filter, want := range map[string]bool{
		"a/b": false, "a/+": false, "a/#": false, "a/c": true, "c/+/d": true, "b/#": true, "+/b": false, "a/later": true,
		"+/c/#": true, "many/+/y": false, "$SYS/broker/7": false, "$SYS/nothing/#": true, "": true,
	} {
		if got := index.None(filter, 2, &scratch); got != want {
			t.Errorf("none for %q: %v", filter, got)
		}
		if n := testing.AllocsPerRun(10, func() { index.None(filter, 2, &scratch) }); n != 0 {
			t.Errorf("asking for %q allocates %g times", filter, n)
		}
	}
}

// covers: E120
func TestCursorAmongChanges(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 1))
	for round := range 200 {
		index, now := NewRetained[uint64](), uint64(0)
		before, changed := map[string]bool{}, map[string]bool{}
		for range r.IntN(1500) {
			topic := randomTopic(r)
			now++
			index.Set(topic, now, now)
			before[topic] = true
		}
		filter, start := randomFilter(r), now
		c, seen := index.Cursor(filter, start), map[string]bool{}
		for done := false; !done; {
			done = c.Next(1+r.IntN(10), func(topic string, m uint64) bool {
				if seen[topic] || !mqtt.Match(filter, topic) || m > start {
					t.Fatalf("round %d filter %q: visited %q (seen %v, seq %d, start %d)", round, filter, topic, seen[topic], m, start)
				}
				seen[topic] = true
				return r.IntN(5) > 0
			})
			for range r.IntN(60) {
				topic := randomTopic(r)
				changed[topic] = true
				if r.IntN(2) == 0 {
					now++
					index.Set(topic, now, now)
				} else {
					index.Delete(topic)
				}
			}
		}
		for topic := range before {
			if !changed[topic] && mqtt.Match(filter, topic) != seen[topic] {
				t.Fatalf("round %d filter %q: %q was there all the time, visited %v", round, filter, topic, seen[topic])
			}
		}
		if !c.Next(1, func(string, uint64) bool { t.Error("visited after the end"); return true }) {
			t.Error("a complete visit went on")
		}
	}
}

// A selective filter must not look at every topic: the number of entries examined is bounded by the number of places it can jump to.
func TestCursorIsSelective(t *testing.T) {
	index := NewRetained[int]()
	for dev := range 200 {
		for prop := range 100 {
			index.Set(fmt.Sprintf("a/%d/p%d/x", dev, prop), 1, 1)
		}
		index.Set(fmt.Sprintf("a/%d/b", dev), 1, 1)
		index.Set(fmt.Sprintf("$SYS/%d/x", dev), 1, 1)
	}
	for filter, want := range map[string]struct{ found, chunks int }{
		"a/+/b":     {200, 80},
		"a/+/p7/x":  {200, 80},
		"a/+/p7/#":  {200, 80},
		"a/17/#":    {101, 14},
		"a/17/p5/x": {1, 1},
		"a/17/p5":   {0, 1},
		"+/17/b":    {1, 2},
		"b/#":       {0, 1},
		"+/+/nope":  {0, 80},
		"a/+/p99/+": {200, 80},
		"$SYS/+/x":  {200, 30},
		"#":         {200 * 101, 2600},
	} {
		c, found, chunks := index.Cursor(filter, 1), 0, 0
		for done := false; !done; chunks++ {
			done = c.Next(8, func(string, int) bool { found++; return true }) // examines at most 64 entries
		}
		if found != want.found || chunks > want.chunks {
			t.Errorf("filter %q: %d found in %d chunks, want %d in at most %d", filter, found, chunks, want.found, want.chunks)
		}
	}
}

func TestCursorSkipsNewer(t *testing.T) {
	index := NewRetained[string]()
	index.Set("a", "old", 1)
	index.Set("b", "old", 2)
	c := index.Cursor("#", 2)
	index.Set("b", "new", 3)
	index.Set("c", "new", 4)
	if got := collect(c, 1); !slices.Equal(got, []string{"a"}) {
		t.Errorf("visited %v, want only what is as old as the cursor", got)
	}
	if got := collect(index.Cursor("#", 4), 0); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("visited %v, want all", got)
	}
	if got := collect(index.Cursor("", 4), 1); len(got) != 0 {
		t.Errorf("an empty filter selects %v", got)
	}
}

func zeroFrom(a [innerMax]child, n int) [innerMax]child {
	clear(a[n:])
	return a
}

func zeroKeysFrom(a [innerMax - 1]string, n int) [innerMax - 1]string {
	clear(a[n:])
	return a
}

// A visit that was complete stays so, whatever is set later.
func TestCursorEnds(t *testing.T) {
	for name, end := range map[string]struct {
		filter string
		topics []string
	}{
		"empty index":        {"#", nil},
		"last entry":         {"#", []string{"a"}},
		"nothing behind":     {"a", []string{"a", "b"}},
		"no entry to go to":  {"b/+/x", []string{"b/1/y"}},
		"nothing so far":     {"z", []string{"a"}},
		"no text can follow": {"a/b", []string{"a/c", "a/d"}},
	} {
		index := NewRetained[int]()
		for _, topic := range end.topics {
			index.Set(topic, 1, 1)
		}
		c := index.Cursor(end.filter, 9)
		collect(c, 5)
		for _, topic := range []string{"a", "a/b", "b/2/x", "z", "zz"} {
			index.Set(topic, 1, 1)
		}
		if got := collect(c, 5); len(got) != 0 {
			t.Errorf("%s: filter %q visited %q after its end", name, end.filter, got)
		}
	}
}

// How full the leaves are decides what a topic costs.
func TestLeavesAreFull(t *testing.T) {
	const n = 20000
	order := rand.New(rand.NewPCG(6, 6)).Perm(n)
	for name, want := range map[string]float64{"in order": 0.98, "at random": 0.62} {
		tree := &NewRetained[int]().tree
		for i := range n {
			if name == "at random" {
				i = order[i]
			}
			tree.set(entry[int]{topic: fmt.Sprintf("t/%06d", i)})
		}
		leaves := 0
		for l := tree.seek("", nil); l != nil; l = l.next {
			leaves++
		}
		if fill := float64(n) / float64(leaves*leafMax); fill < want {
			t.Errorf("%s: leaves are %.2f full, want %.2f", name, fill, want)
		}
	}
}

// check walks the B+ tree and holds its rules.
func (t *btree[M]) check(tb testing.TB) {
	tb.Helper()
	if t.top == (child{}) {
		if t.items.live != 0 || t.height != 0 {
			tb.Fatalf("no nodes but %d entries, height %d", t.items.live, t.height)
		}
		return
	}
	type part struct {
		c      child
		lo, hi string
	}
	level := []part{{t.top, "", ""}}
	for h := range t.height {
		var below []part
		for _, p := range level {
			n := p.c.in
			if n == nil || p.c.lf != nil || n.n < 2 || h > 0 && n.n < innerMin || n.n > innerMax {
				tb.Fatalf("bad inner node at height %d", t.height-h)
			}
			if n.kids != zeroFrom(n.kids, n.n) || n.keys != zeroKeysFrom(n.keys, n.n-1) {
				tb.Fatalf("an inner node of %d children keeps what it no longer has", n.n)
			}
			lo := p.lo
			for i := range n.n {
				hi := p.hi
				if i < n.n-1 {
					hi = n.keys[i]
				}
				below = append(below, part{n.kids[i], lo, hi})
				lo = hi
			}
		}
		level = below
	}
	total, last, next := 0, "", level[0].c.lf
	for i, p := range level {
		l := p.c.lf
		if l == nil || l != next || t.height > 0 && l.n == 0 {
			tb.Fatalf("leaf %d is missing, empty or not linked", i)
		}
		next = l.next
		for j := range l.n {
			s := t.topic(l, j)
			if t.find(s) != l.ids[j] {
				tb.Fatalf("leaf %d: the hash table does not know %q", i, s)
			}
			if total > 0 && s <= last || s < p.lo || p.hi != "" && s >= p.hi {
				tb.Fatalf("leaf %d: %q out of place", i, s)
			}
			last = s
			total++
		}
	}
	if total != t.items.live || next != nil {
		tb.Fatalf("%d entries, want %d", total, t.items.live)
	}
}

func TestBTreeAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	tree := &NewRetained[int]().tree
	m := map[string]int{}
	const top = 12000 // enough for three heights
	phases := []int{90, 10, 80, 50, 5}
	for phase, adds := range phases {
		for step := range 2 * top {
			key := fmt.Sprint("ret/", r.IntN(top))
			if phase == 2 && step < top {
				key = fmt.Sprintf("seq/%06d", step) // in order, as at a restart
			}
			want, had := m[key]
			var got entry[int]
			var ok bool
			if r.IntN(100) < adds {
				got, ok = tree.set(entry[int]{key, step, 0})
				m[key] = step
			} else {
				got, ok = tree.del(key)
				delete(m, key)
			}
			if ok != had || had && got.msg != want {
				t.Fatalf("phase %d key %q: got %d, %v; want %d, %v", phase, key, got.msg, ok, want, had)
			}
			if step%500 == 0 {
				tree.check(t)
			}
		}
		if phase == 0 && tree.height < 2 {
			t.Fatalf("height %d, too low to test anything", tree.height)
		}
	}
	for key, want := range m {
		if id := tree.find(key); id == 0 || tree.items.at(id).msg != want {
			t.Fatalf("%q is missing or wrong", key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		tree.del(key)
	}
	tree.check(t)
	if tree.find("x") != 0 || tree.items.live != 0 || tree.top != (child{}) {
		t.Error("the tree is not empty")
	}
}

func TestFixedPrefix(t *testing.T) {
	for filter, want := range map[string]string{
		"#": "", "+": "", "+/a": "", "a/#": "a", "a/b/+/c": "a/b", "a/b": "a/b", "/#": "", "/+": "", "//+": "/", "a/+/#": "a",
	} {
		if got := fixedPrefix(filter); got != want || !strings.HasPrefix(filter, got) {
			t.Errorf("filter %q: %q, want %q", filter, got, want)
		}
	}
}
