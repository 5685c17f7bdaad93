package router

import (
	"sync"

	"github.com/midgemq/midge/mqtt"
)

// Group is one shared subscription: the sessions that subscribed to the same "$share/name/filter". Each message goes to one of
// them. Any goroutine may call any method.
type Group[S comparable] struct {
	key     string // immutable: the whole filter
	nameLen int    // immutable
	place   int    // among the groups of its node; guarded by the tree's lock

	mu      sync.Mutex
	members []member[S]
	at      map[S]uint32 // place in members; nil for small groups
	turn    uint32       // place of the member that is next; meaningless when there is none
}

// member is linked with its neighbours in a ring, in order of joining. The ring, not the place in the slice, is the order of
// turns: so leaving is O(1) and nobody loses or gains a turn by it.
type member[S comparable] struct {
	Match[S]
	before, after uint32
}

func newGroup[S comparable](name, filter string) *Group[S] {
	return &Group[S]{key: mqtt.SharePrefix + name + "/" + filter, nameLen: len(name)}
}

// Key gives the whole filter, "$share/name/filter", which identifies the group [MQTT-4.8.2-1].
func (g *Group[S]) Key() string { return g.key }

func (g *Group[S]) name() string {
	return g.key[len(mqtt.SharePrefix) : len(mqtt.SharePrefix)+g.nameLen]
}

// Len gives the number of members.
func (g *Group[S]) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.members)
}

// Pick chooses the member that gets the next message, in turns: the first whose turn it is and for which online is true; if online
// is true for none, the member whose turn it is. ok is false only if the group has no member left. online is called with the group
// locked: it must be quick and must not call the group or the tree. nil takes everybody to be online. Finding the one member that
// is online among n that are not costs n calls.
func (g *Group[S]) Pick(online func(S) bool) (m Match[S], ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.members) == 0 {
		return m, false
	}
	i := g.turn
	for range g.members {
		if online == nil || online(g.members[i].Sub) {
			return g.take(i), true
		}
		i = g.members[i].after
	}
	return g.take(g.turn), true
}

// PickOther is Pick among all members but one, for a message that this one did not acknowledge. ok is false if there is no other.
func (g *Group[S]) PickOther(not S, online func(S) bool) (m Match[S], ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i, spare := g.turn, -1
	for range g.members {
		if s := g.members[i].Sub; s != not {
			if online == nil || online(s) {
				return g.take(i), true
			}
			if spare < 0 {
				spare = int(i)
			}
		}
		i = g.members[i].after
	}
	if spare < 0 {
		return m, false
	}
	return g.take(uint32(spare)), true
}

func (g *Group[S]) take(i uint32) Match[S] {
	g.turn = g.members[i].after
	return g.members[i].Match
}

// add makes a session a member, the last in the present round, or replaces its options.
func (g *Group[S]) add(m Match[S]) (existed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i, ok := g.findLocked(m.Sub); ok {
		g.members[i].Match = m
		return true
	}
	i := uint32(len(g.members))
	if i == 0 {
		g.members = append(g.members, member[S]{Match: m})
		g.turn = 0
		return false
	}
	last := g.members[g.turn].before
	g.members = append(g.members, member[S]{Match: m, before: last, after: g.turn})
	g.members[last].after = i
	g.members[g.turn].before = i
	switch {
	case g.at != nil:
		g.at[m.Sub] = i
	case len(g.members) >= indexFrom:
		g.reindexLocked()
	}
	return false
}

// remove ends a membership and gives how many are left.
func (g *Group[S]) remove(s S) (left int, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i, ok := g.findLocked(s)
	if !ok {
		return len(g.members), false
	}
	gone := g.members[i]
	g.members[gone.before].after = gone.after
	g.members[gone.after].before = gone.before
	if g.turn == i {
		g.turn = gone.after
	}
	delete(g.at, s)
	last := uint32(len(g.members) - 1)
	if i != last {
		g.moveLocked(last, i)
	}
	g.members[last] = member[S]{}
	g.members = g.members[:last]
	g.shrinkLocked()
	return int(last), true
}

// moveLocked moves a member to a free place; its place in the ring stays.
func (g *Group[S]) moveLocked(from, to uint32) {
	m := g.members[from]
	if m.after == from { // alone in the ring
		m.before, m.after = to, to
	}
	g.members[to] = m
	g.members[m.before].after = to
	g.members[m.after].before = to
	if g.turn == from {
		g.turn = to
	}
	if g.at != nil {
		g.at[m.Sub] = to
	}
}

func (g *Group[S]) shrinkLocked() {
	if g.at != nil && len(g.members) < indexUntil {
		g.at = nil
	}
	if cap(g.members) > 2*indexFrom && len(g.members) < cap(g.members)/4 {
		g.members = append(make([]member[S], 0, cap(g.members)/2), g.members...)
		if g.at != nil {
			g.reindexLocked()
		}
	}
}

func (g *Group[S]) reindexLocked() {
	g.at = make(map[S]uint32, len(g.members)+len(g.members)/4)
	for i := range g.members {
		g.at[g.members[i].Sub] = uint32(i)
	}
}

func (g *Group[S]) findLocked(s S) (uint32, bool) {
	if g.at != nil {
		i, ok := g.at[s]
		return i, ok
	}
	for i := range g.members {
		if g.members[i].Sub == s {
			return uint32(i), true
		}
	}
	return 0, false
}
