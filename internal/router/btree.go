package router

import "slices"

// Sizes of B+ tree nodes. 63 entries of 32 bytes and the two other fields fill a size class of 2,048 bytes when M is a pointer.
const (
	leafMax  = 63
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

// leaf holds entries in ascending order of topic; leaves are linked in the same order.
type leaf[M any] struct {
	n     int
	next  *leaf[M]
	items [leafMax]entry[M]
}

// inner has n children; keys[i] is above every topic in child i and at most the first one in child i+1. The children are leaves or
// inner nodes, the same on one height.
type inner[M any] struct {
	n    int
	keys [innerMax - 1]string
	kids [innerMax]child[M]
}

type child[M any] struct {
	in *inner[M]
	lf *leaf[M]
}

// btree is a B+ tree from topic names to messages. Its height is logarithmic, and no function here recurses.
type btree[M any] struct {
	top    child[M]
	height int // inner levels above the leaves
	n      int
}

// path is the way from the top to a leaf: the inner nodes and which child was taken.
type path[M any] [maxHeight]struct {
	in *inner[M]
	i  int
}

// search gives the first place in the leaf whose topic is not below key.
func (l *leaf[M]) search(key string, from int) int {
	lo, hi := from, l.n
	for lo < hi {
		if mid := int(uint(lo+hi) / 2); l.items[mid].topic < key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// route gives the child that holds key.
func (n *inner[M]) route(key string) int {
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
func (t *btree[M]) seek(key string, p *path[M]) *leaf[M] {
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

func (t *btree[M]) get(key string) *entry[M] {
	l := t.seek(key, nil)
	if l == nil {
		return nil
	}
	if i := l.search(key, 0); i < l.n && l.items[i].topic == key {
		return &l.items[i]
	}
	return nil
}

// set stores an entry and gives the one it displaced. The topic of an entry that is there already is kept, the new one let go.
func (t *btree[M]) set(e entry[M]) (old entry[M], had bool) {
	var p path[M]
	l := t.seek(e.topic, &p)
	if l == nil {
		l = new(leaf[M])
		t.top.lf = l
	}
	i := l.search(e.topic, 0)
	if i < l.n && l.items[i].topic == e.topic {
		old = l.items[i]
		e.topic = old.topic
		l.items[i] = e
		return old, true
	}
	t.n++
	if l.n == leafMax {
		right := l.split(i)
		t.grow(&p, right.items[0].topic, child[M]{lf: right})
		if i > l.n { // at i == l.n it is below right's first topic and belongs to the left
			l, i = right, i-l.n
		}
	}
	copy(l.items[i+1:l.n+1], l.items[i:l.n])
	l.items[i] = e
	l.n++
	return old, false
}

// split moves the upper half of a full leaf to a new one behind it. If the next entry goes to the very end, nearly all stay: topics
// that arrive in order would otherwise leave every leaf half empty.
func (l *leaf[M]) split(at int) *leaf[M] {
	keep := leafMax / 2
	if at == leafMax && l.next == nil {
		keep = leafMax - 1
	}
	r := &leaf[M]{next: l.next}
	r.n = copy(r.items[:], l.items[keep:l.n])
	clear(l.items[keep:l.n])
	l.n, l.next = keep, r
	return r
}

// grow adds a child behind the one that the path took, splitting inner nodes upwards as needed.
func (t *btree[M]) grow(p *path[M], key string, c child[M]) {
	for h := t.height - 1; h >= 0; h-- {
		n, i := p[h].in, p[h].i
		if n.n < innerMax {
			n.insert(i, key, c)
			return
		}
		// The left half keeps keys below middle, the right those above; the middle one goes up.
		const half = innerMax / 2
		r := &inner[M]{n: innerMax - half}
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
		key, c = up, child[M]{in: r}
	}
	top := &inner[M]{n: 2}
	top.keys[0] = key
	top.kids[0], top.kids[1] = t.top, c
	t.top = child[M]{in: top}
	t.height++
}

// insert adds key and child c behind child i; there must be room.
func (n *inner[M]) insert(i int, key string, c child[M]) {
	copy(n.keys[i+1:n.n], n.keys[i:n.n-1])
	copy(n.kids[i+2:n.n+1], n.kids[i+1:n.n])
	n.keys[i], n.kids[i+1] = key, c
	n.n++
}

// remove takes child i+1 and the key before it out.
func (n *inner[M]) remove(i int) {
	copy(n.keys[i:], n.keys[i+1:n.n-1])
	copy(n.kids[i+1:], n.kids[i+2:n.n])
	n.n--
	n.keys[n.n-1], n.kids[n.n] = "", child[M]{}
}

// del removes an entry and gives it back.
func (t *btree[M]) del(key string) (old entry[M], had bool) {
	var p path[M]
	l := t.seek(key, &p)
	if l == nil {
		return old, false
	}
	i := l.search(key, 0)
	if i == l.n || l.items[i].topic != key {
		return old, false
	}
	old = l.items[i]
	copy(l.items[i:], l.items[i+1:l.n])
	l.n--
	l.items[l.n] = entry[M]{}
	t.n--
	t.shrink(&p, l.n < leafMin)
	return old, true
}

// shrink restores the minimum fill along the path, from the leaf upwards.
func (t *btree[M]) shrink(p *path[M], short bool) {
	for h := t.height - 1; h >= 0 && short; h-- {
		n, i := p[h].in, p[h].i
		if i == n.n-1 {
			i-- // the last child is joined with the one before it
		}
		if h == t.height-1 {
			n.joinLeaves(i)
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
func (n *inner[M]) joinLeaves(i int) {
	a, b := n.kids[i].lf, n.kids[i+1].lf
	if a.n+b.n <= leafMax*3/4 {
		copy(a.items[a.n:], b.items[:b.n])
		a.n += b.n
		a.next = b.next
		n.remove(i)
		return
	}
	half := (a.n + b.n) / 2
	if k := a.n - half; k > 0 {
		copy(b.items[k:b.n+k], b.items[:b.n])
		copy(b.items[:k], a.items[half:a.n])
		clear(a.items[half:a.n])
		a.n, b.n = half, b.n+k
	} else {
		k = -k
		copy(a.items[a.n:], b.items[:k])
		copy(b.items[:], b.items[k:b.n])
		clear(b.items[b.n-k : b.n])
		a.n, b.n = half, b.n-k
	}
	n.keys[i] = b.items[0].topic
}

// joinInner is joinLeaves for children that are inner nodes.
func (n *inner[M]) joinInner(i int) {
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

func (n *inner[M]) fill(kids []child[M], keys []string) {
	n.n = len(kids)
	clear(n.kids[copy(n.kids[:], kids):])
	clear(n.keys[copy(n.keys[:], keys):])
}
