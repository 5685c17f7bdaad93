package router

import (
	"fmt"
	"slices"
	"testing"
)

func TestCacheHitDoesNotAllocate(t *testing.T) {
	tree := New[*int]()
	for i := range 100 {
		tree.Subscribe(fmt.Sprintf("dev/%d/temp", i), new(int), Options{})
	}
	tree.Subscribe("dev/+/temp", new(int), Options{})
	c := NewCache(tree, 1000, 1<<20)
	topic := []byte("dev/42/temp")
	first := c.Lookup(topic)
	if n := testing.AllocsPerRun(100, func() {
		if c.Lookup(topic) != first {
			t.Fatal("the entry was not found again")
		}
	}); n != 0 {
		t.Errorf("a hit allocates %v times", n)
	}
	other, s := "a/filter/elsewhere", new(int)
	if n := testing.AllocsPerRun(100, func() {
		tree.Subscribe(other, s, Options{})
		if c.Lookup(topic) != first {
			t.Fatal("the entry was lost to a change that does not match it")
		}
		tree.Unsubscribe(other, s)
		c.Lookup(topic)
	}); n > 3 { // the names of the new levels
		t.Errorf("a change that does not match, and back, allocates %v times", n)
	}
	var r Result[*int]
	tree.Match("dev/42/temp", &r)
	if n := testing.AllocsPerRun(100, func() { tree.Match("dev/42/temp", &r) }); n != 0 {
		t.Errorf("a match into a used result allocates %v times", n)
	}
	_, g := newTestGroup(t, 1, 2, 3)
	if n := testing.AllocsPerRun(100, func() { g.Pick(func(i int) bool { return i == 2 }) }); n != 0 {
		t.Errorf("a pick allocates %v times", n)
	}
}

// A result in use stays as it was, whatever happens to the tree and the cache.
func TestCachedResultIsImmutable(t *testing.T) {
	tree := New[int]()
	c := NewCache(tree, 2, 1<<20)
	tree.Subscribe("a", 1, Options{})
	old := c.Lookup([]byte("a"))
	for i := 2; i < 50; i++ {
		tree.Subscribe("a", i, Options{})
		if n := len(c.Lookup([]byte("a")).Plain); n != i {
			t.Fatalf("%d matches, want %d", n, i)
		}
		c.Lookup(fmt.Append(nil, "other", i))
	}
	if len(old.Plain) != 1 || old.Plain[0].Sub != 1 {
		t.Errorf("the old result became %v", old.Plain)
	}
	if old == c.Lookup([]byte("a")) {
		t.Error("a result was reused")
	}
}

func TestCacheFollowsChanges(t *testing.T) {
	tree := New[int]()
	c := NewCache(tree, 100, 1<<20)
	look := func(topic string, want ...int) *Result[int] {
		t.Helper()
		r := c.Lookup([]byte(topic))
		var got []int
		for _, m := range r.Plain {
			got = append(got, m.Sub)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("topic %q: %v, want %v", topic, got, want)
		}
		return r
	}
	look("a/b")
	tree.Subscribe("a/+", 1, Options{})
	first := look("a/b", 1)
	for i := range recentLen {
		tree.Subscribe(fmt.Sprint("x/", i), 2, Options{})
	}
	if look("a/b", 1) != first {
		t.Error("changes elsewhere made the entry new")
	}
	for i := range recentLen + 1 {
		tree.Unsubscribe(fmt.Sprint("x/", i), 2)
		tree.Subscribe(fmt.Sprint("y/", i), 2, Options{})
	}
	if look("a/b", 1) == first {
		t.Error("more changes than are remembered left the entry as it was")
	}
	tree.Subscribe("#", 3, Options{})
	look("a/b", 1, 3)
	tree.Unsubscribe("a/+", 1)
	look("a/b", 3)
	look("$SYS/x")
	long := "a/" + string(make([]byte, maxRecentFilter))
	was := look("a/b", 3)
	tree.Subscribe(long, 4, Options{})
	if look("a/b", 3) == was {
		t.Error("a filter too long to be remembered left the entry as it was")
	}
	look(long, 3, 4)
	// Joining a group that exists changes no result: it is the same group.
	tree.SubscribeShared("g", "a/b", 1, Options{})
	r := look("a/b", 3)
	tree.SubscribeShared("g", "a/b", 2, Options{})
	if look("a/b", 3) != r || r.Groups[0].Len() != 2 {
		t.Error("a second member changed the result")
	}
	tree.UnsubscribeShared("g", "a/b", 1)
	tree.UnsubscribeShared("g", "a/b", 2)
	if n := len(look("a/b", 3).Groups); n != 0 {
		t.Errorf("%d groups left, want none", n)
	}
}

func TestCacheIsBounded(t *testing.T) {
	tree := New[int]()
	for i := range 1000 {
		tree.Subscribe("wide", i, Options{})
	}
	tree.Subscribe("#", 0, Options{})
	const entries, bytes = 50, 50000
	c := NewCache(tree, entries, bytes)
	check := func(topic string, want int) {
		t.Helper()
		if n := len(c.Lookup([]byte(topic)).Plain); n != want {
			t.Fatalf("topic of %d bytes: %d matches, want %d", len(topic), n, want)
		}
		n, b := c.Len()
		sum := 0
		for _, e := range c.all {
			sum += e.size()
			if c.entries[e.topic] != e || c.all[e.place] != e {
				t.Fatal("map and list differ")
			}
		}
		if n > entries || n != len(c.entries) || b > bytes || b != sum {
			t.Fatalf("%d entries, %d in map, %d bytes, %d counted", n, len(c.entries), b, sum)
		}
	}
	for i := range 500 {
		check(fmt.Sprint("t/", i), 1)
		check("wide", 1001+i)
		tree.Subscribe("wide", 1000+i, Options{})
		check("wide", 1002+i)
		check(string(make([]byte, 900)), 1)
	}
	check(string(make([]byte, 60000)), 1)
	if n, _ := c.Len(); n < entries/4 {
		t.Errorf("only %d entries left", n)
	}
	small := NewCache(tree, 10, 1) // smaller than any entry: the newest one stays
	for i := range 40 {
		topic := fmt.Append(nil, "t/", i)
		if a, b := small.Lookup(topic), small.Lookup(topic); a != b {
			t.Error("the newest entry did not stay")
		}
		if n, _ := small.Len(); n != 1 {
			t.Errorf("%d entries, want 1", n)
		}
	}
}

// A cycle of topics somewhat longer than the cache must still find many of them.
func TestCacheSurvivesCycles(t *testing.T) {
	tree := New[int]()
	tree.Subscribe("#", 1, Options{})
	c := NewCache(tree, 1000, 1<<20)
	hits := 0
	for range 10 {
		hits = 0
		for i := range 1200 {
			topic := fmt.Append(nil, "t/", i)
			if c.entries[string(topic)] != nil {
				hits++
			}
			c.Lookup(topic)
		}
	}
	if hits < 480 {
		t.Errorf("%d hits in 1200, want at least 480", hits)
	}
}

func TestSweepForgetsStale(t *testing.T) {
	tree := New[int]()
	c := NewCache(tree, 100, 1<<20)
	for i := range 20 {
		tree.Subscribe(fmt.Sprint("t/", i), i, Options{})
	}
	for i := range 20 {
		c.Lookup(fmt.Append(nil, "t/", i))
	}
	for i := range 10 {
		tree.Unsubscribe(fmt.Sprint("t/", i), i)
	}
	for range 10 {
		c.Sweep(7)
	}
	if n, _ := c.Len(); n != 10 {
		t.Errorf("%d entries left, want the 10 that are still right", n)
	}
	for i := range 20 {
		if got, want := len(c.Lookup(fmt.Append(nil, "t/", i)).Plain), i/10; got != want {
			t.Errorf("topic t/%d: %d matches, want %d", i, got, want)
		}
	}
}

// TestCacheRemembersAtSecondSight: once there are enough, what is asked for once costs no entry and no allocation, and what is asked for
// again is remembered.
func TestCacheRemembersAtSecondSight(t *testing.T) {
	const entries = 64
	tree := New[*int]()
	topics := make([][]byte, 1<<14)
	for i := range topics {
		topics[i] = fmt.Append(nil, "t/", i)
		tree.Subscribe(string(topics[i]), new(int), Options{})
	}
	c := NewCache(tree, entries, 1<<20)
	for _, topic := range topics[:entries] {
		c.Lookup(topic)
	}
	i, remembered := entries, 0
	if n := testing.AllocsPerRun(len(topics)-2*entries, func() {
		r := c.Lookup(topics[i])
		if len(r.Plain) != 1 {
			t.Fatalf("%d matches", len(r.Plain))
		}
		if c.entries[string(topics[i])] != nil {
			remembered++
		}
		c.Done(r)
		i++
	}); n != 0 {
		t.Errorf("a topic that is seen once allocates %v times", n)
	}
	if remembered > 0 {
		t.Errorf("%d topics remembered at first sight", remembered)
	}
	for _, m := range c.loose[0].Plain[:cap(c.loose[0].Plain)] {
		if m.Sub != nil {
			t.Error("a session is held after Done")
		}
	}
	c.Done(c.Lookup(topics[0]))
	c.Done(c.Lookup([]byte("new")))
	first := c.Lookup([]byte("new"))
	c.Done(first)
	if c.Lookup([]byte("new")) != first || c.entries["new"] == nil {
		t.Error("a topic was not remembered at second sight")
	}
	// Results that are in use at once are different ones.
	a, b := c.Lookup(topics[100]), c.Lookup(topics[101])
	if a == b || a.Plain[0] == b.Plain[0] {
		t.Error("two results in use are one")
	}
}

// TestAhead: who has a filter alone is found, nothing is changed, and it is asked for only where there are many.
func TestAhead(t *testing.T) {
	tree := New[int]()
	c := NewCache(tree, 10, 1<<20)
	for i := range largeFrom {
		c.missed = true
		if c.Large() {
			t.Fatalf("large with %d filters", i)
		}
		tree.Subscribe(fmt.Sprint("t/", i), i, Options{})
	}
	if !c.Large() {
		t.Fatalf("not large with %d filters", largeFrom)
	}
	if c.Large() {
		t.Error("asked to look ahead though nothing was missed")
	}
	c.Done(c.Lookup([]byte("t/1")))
	if !c.Large() {
		t.Error("not asked to look ahead though something was missed")
	}
	c.Done(c.Lookup([]byte("t/1")))
	if c.Large() {
		t.Error("asked to look ahead for what is remembered")
	}
	tree.Subscribe("t/3", -1, Options{}) // not alone any more
	tree.Subscribe("t/+", -2, Options{})
	var topics [][]byte
	for _, i := range []int{1, 2, 3, largeFrom, 4} {
		topics = append(topics, fmt.Append(nil, "t/", i))
	}
	if got := c.Ahead(topics, nil); !slices.Equal(got, []int{1, 2, 4}) {
		t.Errorf("%v", got)
	}
	if got := c.Ahead(slices.Repeat(topics[:1], 2*aheadMax), nil); len(got) != aheadMax {
		t.Errorf("%d of %d", len(got), aheadMax)
	}
	if n, _ := c.Len(); n != 1 {
		t.Errorf("%d entries", n)
	}
	c.missed = true
	tree.Unsubscribe("t/7", 7)
	if c.Large() {
		t.Error("still large")
	}
	if got := c.Ahead([][]byte{[]byte("t/7"), nil}, nil); len(got) != 0 {
		t.Errorf("%v", got)
	}
}
