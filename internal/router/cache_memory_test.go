package router

import (
	"fmt"
	"strings"
	"testing"
)

// TestCacheKeepsWhatIsUsed: a topic asked for between any two others stays, though there are ever new ones.
func TestCacheKeepsWhatIsUsed(t *testing.T) {
	const misses = 4000
	c := NewCache(New[int](), 64, 1<<20)
	last, lost := c.Lookup([]byte("hot")), 0
	for i := range misses {
		c.Lookup(fmt.Append(nil, "cold/", i))
		if r := c.Lookup([]byte("hot")); r != last {
			last = r
			lost++
		}
	}
	if lost > misses/64/3 { // without regard to use it would be about misses/64
		t.Errorf("lost %d times", lost)
	}
}

// TestCacheGrowsByRefresh: an entry that becomes large when it is made right again pushes others out.
func TestCacheGrowsByRefresh(t *testing.T) {
	tree := New[int]()
	const bytes = 10000
	c := NewCache(tree, 100, bytes)
	for i := range 20 {
		c.Lookup(fmt.Append(nil, "t/", i))
	}
	for i := range 500 {
		tree.Subscribe("t/0", i, Options{})
	}
	if r := c.Lookup([]byte("t/0")); len(r.Plain) != 500 {
		t.Fatalf("%d matches", len(r.Plain))
	}
	if n, b := c.Len(); b > bytes || n < 2 || n >= 20 || c.entries["t/0"] == nil {
		t.Errorf("%d entries, %d bytes", n, b)
	}
}

func TestLongestCachedTopic(t *testing.T) {
	c := NewCache(New[int](), 10, 1<<20)
	for n, want := range map[int]bool{maxCachedTopic: true, maxCachedTopic + 1: false} {
		topic := strings.Repeat("a", n)
		c.Lookup([]byte(topic))
		if (c.entries[topic] != nil) != want {
			t.Errorf("topic of %d bytes: remembered %t", n, c.entries[topic] != nil)
		}
	}
}

// TestScratchMemory: after a look-up the scratch result holds no session, and not the room of a crowd either once it is needed
// no more.
func TestScratchMemory(t *testing.T) {
	tree := New[*int]()
	for range maxScratch + 1 {
		tree.Subscribe("crowd", new(int), Options{})
	}
	tree.Subscribe("few", new(int), Options{})
	tree.SubscribeShared("g", "few", new(int), Options{})
	c := NewCache(tree, 10, 1<<20)
	for i, topic := range []string{"crowd", "few"} {
		c.Lookup([]byte(topic))
		for _, m := range c.scratch.Plain[:cap(c.scratch.Plain)] {
			if m.Sub != nil {
				t.Fatalf("a session is held after %q", topic)
			}
		}
		for _, g := range c.scratch.Groups[:cap(c.scratch.Groups)] {
			if g != nil {
				t.Fatalf("a group is held after %q", topic)
			}
		}
		if large := cap(c.scratch.Plain) > maxScratch; large != (i == 0) {
			t.Errorf("room for %d matches after %q", cap(c.scratch.Plain), topic)
		}
	}
}
