package session

import (
	"hash/maphash"
	"slices"

	"github.com/midgemq/midge/internal/record"
)

// subscriptions are those of one session by filter; nil: none. Most sessions have
// one or two: a list of pointers costs them 40 bytes, a map of Go 250. The
// records are shared with a store that keeps them in memory.
type subscriptions struct {
	list  []*record.Subscription
	index *subIndex // nil for short lists
}

// subIndex finds places in a long list: an open-addressing hash table of 5 to 10
// bytes for each.
type subIndex struct {
	seed  maphash.Seed // random, so that nobody can prepare filters that collide
	slots []uint32     // place plus one; 0: free; a power of two
}

// From indexFrom subscriptions on there is an index, until fewer than indexUntil
// are left.
const (
	indexFrom  = 17
	indexUntil = 8
)

func (t *subscriptions) len() int {
	if t == nil {
		return 0
	}
	return len(t.list)
}

// find gives the place of a filter, -1 for none.
func (t *subscriptions) find(filter string) int {
	if t == nil {
		return -1
	}
	if t.index == nil {
		return slices.IndexFunc(t.list, func(p *record.Subscription) bool { return p.Filter == filter })
	}
	return int(t.index.slots[t.slot(filter)]) - 1
}

// slot gives where in the index a filter is, or else the free slot where it
// belongs.
func (t *subscriptions) slot(filter string) uint32 {
	x := t.index
	mask := uint32(len(x.slots) - 1)
	i := x.home(filter) & mask
	for x.slots[i] != 0 && t.list[x.slots[i]-1].Filter != filter {
		i = (i + 1) & mask
	}
	return i
}

func (x *subIndex) home(filter string) uint32 { return uint32(maphash.String(x.seed, filter)) }

// put adds or replaces.
func (t *subscriptions) put(p *record.Subscription) {
	if i := t.find(p.Filter); i >= 0 {
		t.list[i] = p
		return
	}
	if n := len(t.list); n == cap(t.list) {
		// By a half: the slack counts where many sessions have a few each.
		t.list = append(make([]*record.Subscription, 0, n+max(1, n/2)), t.list...)
	}
	t.list = append(t.list, p)
	switch n := len(t.list); {
	case t.index != nil && 5*n <= 4*len(t.index.slots):
		t.index.slots[t.slot(p.Filter)] = uint32(n)
	case n >= indexFrom:
		t.reindex()
	}
}

// reindex makes the index anew, at a load of 0.4.
func (t *subscriptions) reindex() {
	size := 32
	for 5*len(t.list) > 2*size {
		size *= 2
	}
	if t.index == nil {
		t.index = &subIndex{seed: maphash.MakeSeed()}
	}
	t.index.slots = make([]uint32, size)
	for i, p := range t.list {
		t.index.slots[t.slot(p.Filter)] = uint32(i) + 1
	}
}

// remove reports whether the filter was there. The last of the list takes its
// place.
func (t *subscriptions) remove(filter string) bool {
	i := t.find(filter)
	if i < 0 {
		return false
	}
	last := len(t.list) - 1
	if t.index != nil {
		t.free(t.slot(filter))
		if i != last {
			t.index.slots[t.slot(t.list[last].Filter)] = uint32(i) + 1
		}
	}
	t.list[i] = t.list[last]
	t.list[last] = nil
	t.list = t.list[:last]
	if t.index != nil && last < indexUntil {
		t.index = nil
	}
	if cap(t.list) > 2*indexFrom && last < cap(t.list)/4 {
		t.list = append(make([]*record.Subscription, 0, cap(t.list)/2), t.list...)
		if t.index != nil {
			t.reindex()
		}
	}
	return true
}

// free empties a slot; entries behind it move up, so that no walk ends too early.
func (t *subscriptions) free(hole uint32) {
	s := t.index.slots
	mask := uint32(len(s) - 1)
	for i := (hole + 1) & mask; s[i] != 0; i = (i + 1) & mask {
		home := t.index.home(t.list[s[i]-1].Filter) & mask
		if (i-home)&mask >= (i-hole)&mask {
			s[hole] = s[i]
			hole = i
		}
	}
	s[hole] = 0
}
