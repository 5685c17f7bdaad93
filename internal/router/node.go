package router

import (
	"slices"

	"github.com/midgemq/midge/mqtt"
)

// root is the number of the tree's first node, which stands for no level.
const root = 1

// indexFrom is the number of subscriptions on one node from which an index is kept; below it a scan of at most 512 bytes is faster.
// The index goes when fewer than indexUntil are left, so that it does not come and go with every change.
const (
	indexFrom  = 33
	indexUntil = 16
)

// node is one level of one or more filters with wildcards. 48 bytes when S is a pointer; see the package comment for why it has no
// child list.
type node[S comparable] struct {
	parent uint32
	level  uint32 // number of the level's name; 0 for the root, "+" and "#"
	plus   uint32 // child "+"
	hash   uint32 // child "#"
	named  uint32 // how many other children there are
	spot[S]
}

// spot holds the subscriptions of one filter. 24 bytes when S is a pointer: sub, id, qos and flags are the only plain subscription,
// if there is just one; otherwise all are in more.
type spot[S comparable] struct {
	sub   S
	id    uint32
	qos   mqtt.QoS
	flags uint8
	more  *nodeExt[S]
}

const (
	spotSingle = 1 << iota
	spotNoLocal
	spotRetainAsPublished
)

func (n *spot[S]) single() bool { return n.flags&spotSingle != 0 }

// first gives the only plain subscription.
func (n *spot[S]) first() Match[S] {
	return Match[S]{n.sub, Options{QoS: n.qos, NoLocal: n.flags&spotNoLocal != 0, RetainAsPublished: n.flags&spotRetainAsPublished != 0, ID: n.id}}
}

func (n *spot[S]) setFirst(m Match[S]) {
	n.sub, n.id, n.qos, n.flags = m.Sub, m.ID, m.QoS, spotSingle
	if m.NoLocal {
		n.flags |= spotNoLocal
	}
	if m.RetainAsPublished {
		n.flags |= spotRetainAsPublished
	}
}

func (n *spot[S]) clearFirst() {
	var none S
	n.sub, n.id, n.qos, n.flags = none, 0, 0, 0
}

// bare reports whether there is no subscription.
func (n *spot[S]) bare() bool { return !n.single() && n.more == nil }

// nodeExt is what only few filters have: two or more plain subscriptions, or shared groups.
type nodeExt[S comparable] struct {
	subs   []Match[S]
	at     map[S]uint32 // place in subs; nil for short lists
	groups []*Group[S]
	byName map[string]*Group[S] // nil for few groups
}

// bare reports whether nothing needs the node.
func (n *node[S]) bare() bool {
	return n.plus == 0 && n.hash == 0 && n.named == 0 && n.spot.bare()
}

// set adds or replaces a plain subscription.
func (n *spot[S]) set(m Match[S]) (existed, changed bool) {
	switch {
	case n.single() && n.sub == m.Sub:
		changed = n.first() != m
		n.setFirst(m)
		return true, changed
	case !n.single() && (n.more == nil || len(n.more.subs) == 0):
		n.setFirst(m)
		return false, true
	}
	if n.more == nil {
		n.more = new(nodeExt[S])
	}
	e := n.more
	if n.single() {
		e.subs = append(make([]Match[S], 0, 2), n.first())
		n.clearFirst()
	}
	if i, ok := e.find(m.Sub); ok {
		changed = e.subs[i] != m
		e.subs[i] = m
		return true, changed
	}
	e.subs = append(e.subs, m)
	switch {
	case e.at != nil:
		e.at[m.Sub] = uint32(len(e.subs) - 1)
	case len(e.subs) >= indexFrom:
		e.reindex()
	}
	return false, true
}

// unset removes a plain subscription.
func (n *spot[S]) unset(s S) bool {
	if n.single() {
		if n.sub != s {
			return false
		}
		n.clearFirst()
		return true
	}
	e := n.more
	if e == nil {
		return false
	}
	i, ok := e.find(s)
	if !ok {
		return false
	}
	last := len(e.subs) - 1
	e.subs[i] = e.subs[last]
	e.subs[last] = Match[S]{}
	e.subs = e.subs[:last]
	if e.at != nil {
		e.at[e.subs[min(i, last-1)].Sub] = uint32(min(i, last-1))
		delete(e.at, s)
	}
	e.shrink()
	if last == 1 {
		n.setFirst(e.subs[0])
		e.subs = nil
	}
	n.trim()
	return true
}

// shrink gives back memory after a crowd has left; Go's slices and maps keep it otherwise.
func (e *nodeExt[S]) shrink() {
	if e.at != nil && len(e.subs) < indexUntil {
		e.at = nil
	}
	if cap(e.subs) > 2*indexFrom && len(e.subs) < cap(e.subs)/4 {
		e.subs = append(make([]Match[S], 0, cap(e.subs)/2), e.subs...)
		if e.at != nil {
			e.reindex()
		}
	}
}

func (e *nodeExt[S]) reindex() {
	e.at = make(map[S]uint32, len(e.subs)+len(e.subs)/4)
	for i := range e.subs {
		e.at[e.subs[i].Sub] = uint32(i)
	}
}

func (e *nodeExt[S]) find(s S) (int, bool) {
	if e.at != nil {
		i, ok := e.at[s]
		return int(i), ok
	}
	for i := range e.subs {
		if e.subs[i].Sub == s {
			return i, true
		}
	}
	return 0, false
}

// group gives the filter's shared group of that name, or nil.
func (n *spot[S]) group(name string) *Group[S] {
	e := n.more
	if e == nil {
		return nil
	}
	if e.byName != nil {
		return e.byName[name]
	}
	for _, g := range e.groups {
		if g.name() == name {
			return g
		}
	}
	return nil
}

func (n *spot[S]) addGroup(g *Group[S]) {
	if n.more == nil {
		n.more = new(nodeExt[S])
	}
	e := n.more
	g.place = len(e.groups)
	e.groups = append(e.groups, g)
	switch {
	case e.byName != nil:
		e.byName[g.name()] = g
	case len(e.groups) >= indexFrom:
		e.byName = make(map[string]*Group[S], 2*indexFrom)
		for _, g := range e.groups {
			e.byName[g.name()] = g
		}
	}
}

func (n *spot[S]) dropGroup(g *Group[S]) {
	e := n.more
	last := len(e.groups) - 1
	e.groups[g.place] = e.groups[last]
	e.groups[g.place].place = g.place
	e.groups[last] = nil
	e.groups = e.groups[:last]
	if cap(e.groups) > 2*indexFrom && last < cap(e.groups)/4 {
		e.groups = slices.Clone(e.groups)
	}
	if delete(e.byName, g.name()); last < indexUntil {
		e.byName = nil
	}
	n.trim()
}

// trim drops the extension when nothing is in it any more.
func (n *spot[S]) trim() {
	if e := n.more; e != nil && len(e.subs) == 0 && len(e.groups) == 0 {
		n.more = nil
	}
}
