package router

import (
	"hash/maphash"
	"math/bits"
	"unsafe"
)

// Cache remembers what topics matched. It belongs to one goroutine, usually an event loop: devices repeat their topics, so nearly
// every message finds its recipients here without touching the tree's lock.
//
// A result that was given out is never changed, so it can be read as long as the caller likes, also while others subscribe and while
// the cache is asked for other topics.
type Cache[S comparable] struct {
	tree       *Tree[S]
	entries    map[string]*cached[S]
	all        []*cached[S] // the same entries, to choose one at random
	maxEntries int
	maxBytes   int
	bytes      int
	rand       uint64
	swept      int
	scratch    Result[S]
	seen       []uint32     // beyond atOnce: a part of the hash of topics that were asked for in vain
	loose      []*Result[S] // results that are not remembered, to be used again
	missed     bool         // see Large
	touched    uint32       // keeps the compiler from leaving the reads of Ahead out
}

// cached is one remembered topic.
type cached[S comparable] struct {
	res   Result[S] // never changed: it has been given out
	gen   uint64    // of the tree, at which res was right
	topic string
	place uint32 // in all
	used  bool   // since eviction last looked at it
}

// entryBytes is what one entry costs beside its topic and its matches: the struct, its places in map and slice.
const entryBytes = 192

// maxCachedTopic is the longest topic remembered, in bytes. Hostile topics of 65,535 bytes would otherwise push all others out.
const maxCachedTopic = 1024

// maxScratch is how many matches of scratch memory are kept for topics that do not need it.
const maxScratch = 4096

// atOnce is how many topics are remembered at first sight.
const atOnce = 4096

// evictionTries is how many entries eviction looks at for one that was not used lately.
const evictionTries = 4

// NewCache gives a cache for tree that holds at most entries topics and about bytes bytes, of which 16 go to each match when S is a
// pointer. The newest result is kept even if it is larger than that alone.
func NewCache[S comparable](tree *Tree[S], entries, bytes int) *Cache[S] {
	return &Cache[S]{
		tree:       tree,
		entries:    make(map[string]*cached[S]),
		maxEntries: max(entries, 1),
		maxBytes:   bytes,
		rand:       tree.seed | 1, // xorshift needs a state that is not zero
	}
}

// Lookup gives the subscriptions that match topic, as Tree.Match does, in a read-only result; give it back with Done. It does not
// allocate when the topic is remembered and nothing that matches it was changed, nor for a topic that is not worth remembering.
// topic is not kept.
//
// Once there are 4,096 topics in the cache another is remembered when it is asked for a second time: messages to random ones of a million topics would
// otherwise pay, each, for an entry that goes before it is used.
//
// A change in the tree does not empty the cache. Each entry carries the generation at which it was right, and when asked for after
// at most recentLen changes it is checked against these filters alone: while thousands of clients subscribe to topics of their own,
// the results of other topics stay.
func (c *Cache[S]) Lookup(topic []byte) *Result[S] {
	e := c.entries[string(topic)]
	if e == nil {
		c.missed = true
		if len(c.all) >= min(c.maxEntries, atOnce) && !c.again(topic) {
			r := c.take()
			c.tree.Match(unsafe.String(unsafe.SliceData(topic), len(topic)), r)
			return r
		}
		return c.miss(string(topic))
	}
	e.used = true
	if e.gen != c.tree.Generation() {
		e = c.refresh(e)
	}
	return &e.res
}

// Done gives a result back. One that is remembered stays as it is and may be read on; any other must not be touched afterwards. A
// result that is never given back costs its memory once, no more.
func (c *Cache[S]) Done(r *Result[S]) {
	if !r.loose {
		return
	}
	r.Reset() // else sessions that are gone stay reachable
	if cap(r.Plain) <= maxScratch {
		c.loose = append(c.loose, r)
	}
}

// take gives an empty result that is not remembered.
func (c *Cache[S]) take() *Result[S] {
	if n := len(c.loose) - 1; n >= 0 {
		r := c.loose[n]
		c.loose = c.loose[:n]
		return r
	}
	return &Result[S]{loose: true}
}

// again reports whether the topic has been asked for lately, and notes that it was now.
func (c *Cache[S]) again(topic []byte) bool {
	if c.seen == nil {
		c.seen = make([]uint32, 1<<bits.Len(uint(c.maxEntries)))
	}
	hash := maphash.Bytes(c.tree.exact.seed, topic)
	p := &c.seen[hash>>32&uint64(len(c.seen)-1)]
	was := *p
	*p = uint32(hash)
	return was == uint32(hash)
}

// refresh gives an entry that is right again: the same, or another in its place, as the old result may be in use.
func (c *Cache[S]) refresh(old *cached[S]) *cached[S] {
	if now, ok := c.tree.unchanged(old.topic, old.gen); ok {
		old.gen = now
		return old
	}
	e := c.match(old.topic)
	e.place, e.used = old.place, true
	c.entries[e.topic], c.all[e.place] = e, e
	c.bytes += e.size() - old.size()
	c.shrink(e)
	return e
}

func (c *Cache[S]) miss(topic string) *Result[S] {
	e := c.match(topic)
	if len(topic) > maxCachedTopic {
		return &e.res
	}
	if len(c.all) >= c.maxEntries {
		c.remove(c.victim(nil))
	}
	e.place = uint32(len(c.all))
	c.entries[topic] = e
	c.all = append(c.all, e)
	c.bytes += e.size()
	c.shrink(e)
	return &e.res
}

// match gives an entry with a result of its own size: entries live long, and the scratch result is as large as the largest ever was.
func (c *Cache[S]) match(topic string) *cached[S] {
	e := &cached[S]{gen: c.tree.Generation(), topic: topic} // before Match, so that the entry cannot pass for newer than it is
	s := &c.scratch
	c.tree.Match(topic, s)
	if len(s.Plain) > 0 {
		e.res.Plain = append(make([]Match[S], 0, len(s.Plain)), s.Plain...)
	}
	if len(s.Groups) > 0 {
		e.res.Groups = append(make([]*Group[S], 0, len(s.Groups)), s.Groups...)
	}
	s.Reset() // else sessions that are gone stay reachable
	if n := cap(s.Plain); n > maxScratch && len(e.res.Plain) < n/4 {
		s.Plain = nil
	}
	return e
}

func (e *cached[S]) size() int {
	return entryBytes + len(e.topic) + len(e.res.Plain)*int(unsafe.Sizeof(Match[S]{})) + len(e.res.Groups)*int(unsafe.Sizeof(uintptr(0)))
}

// shrink evicts until the bytes are kept to, sparing one entry.
func (c *Cache[S]) shrink(spare *cached[S]) {
	for c.bytes > c.maxBytes && len(c.all) > 1 {
		c.remove(c.victim(spare))
	}
}

// victim chooses the entry to go, other than spare: at random, with a second chance for those used since they were last looked at.
// Least-recently-used was rejected: devices report in cycles, and with one topic more than the cache holds, a cycle would find
// nothing in it; at random it still finds most.
func (c *Cache[S]) victim(spare *cached[S]) *cached[S] {
	var e *cached[S]
	for range evictionTries {
		c.rand ^= c.rand << 13
		c.rand ^= c.rand >> 7
		c.rand ^= c.rand << 17
		e = c.all[c.rand%uint64(len(c.all))]
		if e == spare {
			e = c.all[(int(e.place)+1)%len(c.all)]
		}
		if !e.used {
			break
		}
		e.used = false
	}
	return e
}

func (c *Cache[S]) remove(e *cached[S]) {
	last := len(c.all) - 1
	c.all[e.place] = c.all[last]
	c.all[e.place].place = e.place
	c.all[last] = nil
	c.all = c.all[:last]
	delete(c.entries, e.topic)
	c.bytes -= e.size()
}

// Sweep looks at the next n entries and forgets those whose matches may have changed. Without it an entry nobody asks for keeps
// sessions reachable that ended long ago; a loop calls it now and then when it is idle.
func (c *Cache[S]) Sweep(n int) {
	for range min(n, len(c.all)) {
		if c.swept >= len(c.all) {
			c.swept = 0
		}
		e := c.all[c.swept]
		if e.gen != c.tree.Generation() {
			now, ok := c.tree.unchanged(e.topic, e.gen)
			if !ok {
				c.remove(e) // the last entry takes its place and is looked at next
				continue
			}
			e.gen = now
		}
		c.swept++
	}
}

// Len gives the number of topics remembered and the bytes charged for them.
func (c *Cache[S]) Len() (entries, bytes int) { return len(c.all), c.bytes }
