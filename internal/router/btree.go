package router

import (
	"hash/maphash"
	"slices"
)

// Sizes of B+ tree nodes. 124 numbers of 4 bytes and the two other fields fill a size class of 512 bytes.
const (
	leafMax  = 124
	leafMin  = leafMax / 4
	innerMax = 64 // children
	innerMin = innerMax / 4
)

// maxHeight is the number of inner levels a path may have. With at least innerMin children in all but the first node, 16 levels
// are more than any memory holds.
const maxHeight = 16

// entry is one retained message.
type entry[M any] struct {
	topic string
	msg   M
	seq   uint64
}

// btree is a B+ tree of topic names, with a hash table beside it. The entries lie in a slab; both hold their numbers. The hash table
// is for the topics that are there already, by far the most common question: in the tree it would cost a dozen cache misses, under
// the lock. Its height is logarithmic, and no function here recurses.
type btree[M any] struct {
	items  slab[entry[M]]
	seed   maphash.Seed // random, so that nobody can prepare topics that collide
	index  table
	top    child
	height int // inner levels above the leaves
}

// leaf holds the numbers of entries in ascending order of topic; leaves are linked in the same order.
type leaf struct {
	n    int
	next *leaf
	ids  [leafMax]uint32
}

// inner has n children; keys[i] is above every topic in child i and at most the first one in child i+1. The children are leaves or
// inner nodes, the same on one height.
type inner struct {
	n    int
	keys [innerMax - 1]string
	kids [innerMax]child
}

type child struct {
	in *inner
	lf *leaf
}

// path is the way from the top to a leaf: the inner nodes and which child was taken.
type path [maxHeight]struct {
	in *inner
	i  int
}

// topic gives the name of entry i of a leaf.
func (t *btree[M]) topic(l *leaf, i int) string { return t.items.at(l.ids[i]).topic }

// search gives the first place in the leaf, not before from, whose topic is not below key.
func (t *btree[M]) search(l *leaf, key string, from int) int {
	lo, hi := from, l.n
	for lo < hi {
		if mid := int(uint(lo+hi) / 2); t.topic(l, mid) < key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// route gives the child that holds key.
func (n *inner) route(key string) int {
	lo, hi := 0, n.n-1
	for lo < hi {
		if mid := int(uint(lo+hi) / 2); n.keys[mid] <= key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// seek gives the leaf in which key is or belongs, and the way to it when p is not nil. The leaf is nil in an empty tree.
func (t *btree[M]) seek(key string, p *path) *leaf {
	c := t.top
	for h := range t.height {
		i := c.in.route(key)
		if p != nil {
			p[h].in, p[h].i = c.in, i
		}
		c = c.in.kids[i]
	}
	return c.lf
}

// find gives the number of a topic's entry, or 0.
func (t *btree[M]) find(topic string) uint32 {
	return t.lookup(maphash.String(t.seed, topic), topic)
}

func (t *btree[M]) lookup(hash uint64, topic string) uint32 {
	p := t.index.probe(hash)
	for id := p.next(); id != 0; id = p.next() {
		if t.items.at(id).topic == topic {
			return id
		}
	}
	return 0
}

// set stores an entry and gives the one it displaced. The topic of an entry that is there already is kept, the new one let go.
func (t *btree[M]) set(e entry[M]) (old entry[M], had bool) {
	hash := maphash.String(t.seed, e.topic)
	if id := t.lookup(hash, e.topic); id != 0 {
		at := t.items.at(id)
		old = *at
		at.msg, at.seq = e.msg, e.seq
		return old, true
	}
	id := t.items.alloc()
	*t.items.at(id) = e
	t.index.insert(hash, id)
	var p path
	l := t.seek(e.topic, &p)
	if l == nil {
		l = new(leaf)
		t.top.lf = l
	}
	i := t.search(l, e.topic, 0)
	if l.n == leafMax {
		right := l.split(i)
		t.grow(&p, t.topic(right, 0), child{lf: right})
		if i > l.n { // at i == l.n it is below right's first topic and belongs to the left
			l, i = right, i-l.n
		}
	}
	copy(l.ids[i+1:l.n+1], l.ids[i:l.n])
	l.ids[i] = id
	l.n++
	return old, false
}

// split moves the upper half of a full leaf to a new one behind it. If the next entry goes to the very end, nearly all stay: topics
// that arrive in order would otherwise leave every leaf half empty.
func (l *leaf) split(at int) *leaf {
	keep := leafMax / 2
	if at == leafMax && l.next == nil {
		keep = leafMax - 1
	}
	r := &leaf{next: l.next}
	r.n = copy(r.ids[:], l.ids[keep:l.n])
	l.n, l.next = keep, r
	return r
}

// grow adds a child behind the one that the path took, splitting inner nodes upwards as needed.
func (t *btree[M]) grow(p *path, key string, c child) {
	for h := t.height - 1; h >= 0; h-- {
		n, i := p[h].in, p[h].i
		if n.n < innerMax {
			n.insert(i, key, c)
			return
		}
		// The left half keeps keys below middle, the right those above; the middle one goes up.
		const half = innerMax / 2
		r := &inner{n: innerMax - half}
		up := n.keys[half-1]
		copy(r.keys[:], n.keys[half:])
		copy(r.kids[:], n.kids[half:])
		clear(n.keys[half-1:])
		clear(n.kids[half:])
		n.n = half
		if i < half {
			n.insert(i, key, c)
		} else {
			r.insert(i-half, key, c)
		}
		key, c = up, child{in: r}
	}
	top := &inner{n: 2}
	top.keys[0] = key
	top.kids[0], top.kids[1] = t.top, c
	t.top = child{in: top}
	t.height++
}

// insert adds key and child c behind child i; there must be room.
func (n *inner) insert(i int, key string, c child) {
	copy(n.keys[i+1:n.n], n.keys[i:n.n-1])
	copy(n.kids[i+2:n.n+1], n.kids[i+1:n.n])
	n.keys[i], n.kids[i+1] = key, c
	n.n++
}

// remove takes child i+1 and the key before it out.
func (n *inner) remove(i int) {
	copy(n.keys[i:], n.keys[i+1:n.n-1])
	copy(n.kids[i+1:], n.kids[i+2:n.n])
	n.n--
	n.keys[n.n-1], n.kids[n.n] = "", child{}
}

// del removes an entry and gives it back.
func (t *btree[M]) del(topic string) (old entry[M], had bool) {
	hash := maphash.String(t.seed, topic)
	id := t.lookup(hash, topic)
	if id == 0 {
		return old, false
	}
	var p path
	l := t.seek(topic, &p)
	i := t.search(l, topic, 0)
	copy(l.ids[i:], l.ids[i+1:l.n])
	l.n--
	old = *t.items.at(id)
	t.index.remove(hash, id)
	t.items.release(id)
	t.shrink(&p, l.n < leafMin)
	return old, true
}

// shrink restores the minimum fill along the path, from the leaf upwards.
func (t *btree[M]) shrink(p *path, short bool) {
	for h := t.height - 1; h >= 0 && short; h-- {
		n, i := p[h].in, p[h].i
		if i == n.n-1 {
			i-- // the last child is joined with the one before it
		}
		if h == t.height-1 {
			t.joinLeaves(n, i)
		} else {
			n.joinInner(i)
		}
		short = n.n < innerMin
	}
	switch {
	case t.height > 0 && t.top.in.n == 1:
		t.top = t.top.in.kids[0]
		t.height--
	case t.height == 0 && t.top.lf.n == 0:
		t.top.lf = nil
	}
}

// joinLeaves makes one leaf of children i and i+1, or, if that would be nearly full, spreads their entries evenly.
func (t *btree[M]) joinLeaves(n *inner, i int) {
	a, b := n.kids[i].lf, n.kids[i+1].lf
	if a.n+b.n <= leafMax*3/4 {
		copy(a.ids[a.n:], b.ids[:b.n])
		a.n += b.n
		a.next = b.next
		n.remove(i)
		return
	}
	half := (a.n + b.n) / 2
	if k := a.n - half; k > 0 {
		copy(b.ids[k:], b.ids[:b.n])
		copy(b.ids[:k], a.ids[half:a.n])
	} else {
		copy(a.ids[a.n:], b.ids[:-k])
		copy(b.ids[:], b.ids[-k:b.n])
	}
	a.n, b.n = half, a.n+b.n-half
	n.keys[i] = t.topic(b, 0)
}

// joinInner is joinLeaves for children that are inner nodes.
func (n *inner) joinInner(i int) {
	a, b := n.kids[i].in, n.kids[i+1].in
	kids := slices.Concat(a.kids[:a.n], b.kids[:b.n])
	keys := slices.Concat(a.keys[:a.n-1], n.keys[i:i+1], b.keys[:b.n-1])
	if len(kids) <= innerMax*3/4 {
		a.fill(kids, keys)
		n.remove(i)
		return
	}
	half := len(kids) / 2
	a.fill(kids[:half], keys[:half-1])
	b.fill(kids[half:], keys[half:])
	n.keys[i] = keys[half-1]
}

func (n *inner) fill(kids []child, keys []string) {
	n.n = len(kids)
	clear(n.kids[copy(n.kids[:], kids):])
	clear(n.keys[copy(n.keys[:], keys):])
}
