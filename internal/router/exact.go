package router

import (
	"hash/maphash"
	"strings"
)

// exact holds the filters without wildcards. Each matches one topic only, which is the filter itself, so one look-up of the whole
// topic finds it: what lies scattered in a large broker is touched three times (slot, entry, text), however many levels a topic has,
// where a walk through the tree touches it three times for each level.
type exact[S comparable] struct {
	seed    maphash.Seed // random, so that nobody can prepare filters that collide
	filters slab[whole[S]]
	index   table
}

// whole is one filter without wildcards. 40 bytes when S is a pointer, beside the text, which belongs to the subscription as well.
type whole[S comparable] struct {
	filter string
	spot[S]
}

// wild reports whether a filter belongs into the tree of levels.
func wild(filter string) bool {
	return strings.IndexByte(filter, '+') >= 0 || strings.IndexByte(filter, '#') >= 0
}

// find gives the number of a filter, or 0.
func (x *exact[S]) find(filter string) uint32 {
	if x.filters.live == 0 {
		return 0
	}
	return x.lookup(maphash.String(x.seed, filter), filter)
}

func (x *exact[S]) lookup(hash uint64, filter string) uint32 {
	p := x.index.probe(hash)
	for id := p.next(); id != 0; id = p.next() {
		if x.filters.at(id).filter == filter {
			return id
		}
	}
	return 0
}

// make gives the number of a filter, adding it where it is missing.
func (x *exact[S]) make(filter string) uint32 {
	hash := maphash.String(x.seed, filter)
	id := x.lookup(hash, filter)
	if id == 0 {
		id = x.filters.alloc()
		x.filters.at(id).filter = filter
		x.index.insert(hash, id)
	}
	return id
}

// prune removes a filter that nobody has.
func (x *exact[S]) prune(id uint32) {
	if l := x.filters.at(id); l.spot.bare() {
		x.index.remove(maphash.String(x.seed, l.filter), id)
		x.filters.release(id)
	}
}

// aheadMax is how many topics Cache.Ahead looks at together.
const aheadMax = 16

// Ahead reads what Lookup of up to 16 topics will read of filters without wildcards, and appends who has them, as far as somebody
// has one alone. In a large broker every one of these reads waits for memory; made one behind the other, by message, a message
// waits for all of its own, and made here, where none depends on the one before, the waits overlap. It changes nothing, and who is
// subscribed when the message is routed is found out then.
func (c *Cache[S]) Ahead(topics [][]byte, to []S) []S {
	x := &c.tree.exact
	var ids [aheadMax]uint32
	var hash [aheadMax]uint64
	topics = topics[:min(len(topics), aheadMax)]
	for i, topic := range topics {
		hash[i] = maphash.Bytes(x.seed, topic)
	}
	c.tree.mu.RLock()
	defer c.tree.mu.RUnlock()
	// No branch depends on what is read here, so the processor need not wait for one to begin the next.
	var sum uint32
	for i := range topics {
		if p := x.index.probe(hash[i]); len(p.slots) > 0 {
			sum += p.slots[p.i&uint32(len(p.slots)-1)].id
		}
	}
	for i := range topics {
		p := x.index.probe(hash[i])
		ids[i] = p.next()
	}
	for i := range topics {
		if ids[i] == 0 {
			continue
		}
		w := x.filters.at(ids[i])
		if n := len(w.filter); n > 0 {
			sum += uint32(w.filter[n-1])
		}
		if w.single() {
			to = append(to, w.sub)
		}
	}
	c.touched = sum
	return to
}

// Large reports whether Ahead is worth its while: there are so many filters without wildcards that the caches of the processor do
// not hold them, and the topics that were looked up since it said so last were not all remembered.
func (c *Cache[S]) Large() bool {
	if !c.missed || !c.tree.large.Load() {
		return false
	}
	c.missed = false
	return true
}

// largeFrom is that number: 16,384 filters and their sessions are some 10 MB.
const largeFrom = 1 << 14
