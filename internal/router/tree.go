package router

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/midgemq/midge/mqtt"
)

// Options are what a subscription asks for beside its filter. Two subscriptions with equal options are interchangeable.
type Options struct {
	QoS               mqtt.QoS // the granted one
	NoLocal           bool     // [MQTT-3.8.3-3]
	RetainAsPublished bool     // [MQTT-3.3.1-12]
	ID                uint32   // Subscription Identifier, 1 to 268,435,455; 0: none
}

// Match is one matching subscription.
type Match[S comparable] struct {
	Sub S
	Options
}

// Tree holds the subscriptions of all sessions. Any goroutine may call any method; each is one short critical section.
type Tree[S comparable] struct {
	gen   atomic.Uint64
	large atomic.Bool // there are at least largeFrom filters without wildcards
	seed  uint64      // random, so that nobody can prepare filters that collide

	mu     sync.RWMutex
	exact  exact[S] // filters without wildcards
	nodes  slab[node[S]]
	kids   table // (parent, level) → child
	names  levels
	plain  int
	shared int
	recent [recentLen]change // what the last generations changed, by generation modulo recentLen
}

// recentLen is how many changes a cached result may lag behind and still be judged by looking at them one by one. Judging this many
// costs about as much as matching again.
const recentLen = 32

// maxRecentFilter is the longest filter kept in recent, in bytes; a longer one counts as matching everything. It bounds what 32
// filters of 65,535 bytes would hold on to.
const maxRecentFilter = 512

// change is one changed filter. The buffer is reused, so noting a change allocates nothing in the long run.
type change struct {
	filter []byte
	any    bool // too long to be kept: take it to match every topic
}

// New gives an empty tree.
func New[S comparable]() *Tree[S] {
	t := &Tree[S]{seed: maphash.String(maphash.MakeSeed(), "")}
	t.names.seed = maphash.MakeSeed()
	t.exact.seed = t.names.seed
	if t.nodes.alloc() != root {
		panic("router: first node is not the root")
	}
	return t
}

// Subscribe adds a plain subscription, or replaces its options when s has one with the same filter [MQTT-3.8.4-3]; existed says
// which. The strings given to this and the other methods are not kept.
func (t *Tree[S]) Subscribe(filter string, s S, o Options) (existed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	existed, changed := t.place(filter).set(Match[S]{s, o})
	if !existed {
		t.plain++
	}
	if changed {
		t.noteLocked(filter)
	}
	return existed
}

// SubscribeShared makes s a member of the group that "$share/group/filter" names, or replaces its options. A session is a member
// once, however often it subscribes.
func (t *Tree[S]) SubscribeShared(group, filter string, s S, o Options) (existed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.place(filter)
	g := n.group(group)
	if g == nil {
		g = newGroup[S](group, filter)
		n.addGroup(g)
		existed = g.add(Match[S]{s, o})
		t.noteLocked(filter)
	} else {
		existed = g.add(Match[S]{s, o}) // results hold the group, not its members, so they stay right
	}
	if !existed {
		t.shared++
	}
	return existed
}

// Unsubscribe removes the subscription of s with exactly this filter [MQTT-3.10.4-1] and reports whether there was one.
func (t *Tree[S]) Unsubscribe(filter string, s S) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	id, n := t.spot(filter)
	if id == 0 || !n.unset(s) {
		return false
	}
	t.plain--
	t.vacate(filter, id)
	t.noteLocked(filter)
	return true
}

// UnsubscribeShared ends the membership of s and reports whether there was one. The last member to leave ends the group.
func (t *Tree[S]) UnsubscribeShared(group, filter string, s S) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	id, n := t.spot(filter)
	if id == 0 {
		return false
	}
	g := n.group(group)
	if g == nil {
		return false
	}
	left, ok := g.remove(s)
	if !ok {
		return false
	}
	t.shared--
	if left == 0 {
		n.dropGroup(g)
		t.vacate(filter, id)
		t.noteLocked(filter)
	}
	return true
}

// Generation grows with every change that can alter what Match gives. Read it before Match: the result is then never older than
// that generation.
func (t *Tree[S]) Generation() uint64 { return t.gen.Load() }

// Counts gives the number of plain subscriptions and of memberships in shared groups.
func (t *Tree[S]) Counts() (plain, shared int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.plain, t.shared
}

// noteLocked records that the matches of filter have changed.
func (t *Tree[S]) noteLocked(filter string) {
	gen := t.gen.Load() + 1
	c := &t.recent[gen%recentLen]
	c.any = len(filter) > maxRecentFilter
	if !c.any {
		c.filter = append(c.filter[:0], filter...)
	}
	t.gen.Store(gen)
}

// unchanged reports whether what matched topic at generation since still does at generation now. A false answer may be wrong, a
// true one never.
func (t *Tree[S]) unchanged(topic string, since uint64) (now uint64, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	now = t.gen.Load()
	if now-since > recentLen {
		return now, false
	}
	for g := since + 1; g <= now; g++ {
		c := &t.recent[g%recentLen]
		// The view of the buffer ends with the lock, under which no writer can touch it.
		if c.any || mqtt.Match(unsafe.String(unsafe.SliceData(c.filter), len(c.filter)), topic) {
			return now, false
		}
	}
	return now, true
}

func (t *Tree[S]) hashKid(parent, level uint32) uint64 {
	x := (uint64(parent)<<32 | uint64(level)) ^ t.seed
	x = (x ^ x>>32) * 0xd6e8feb86659fd93
	x = (x ^ x>>32) * 0xd6e8feb86659fd93
	return x ^ x>>32
}

// kid gives the child of a node for a level that is no wildcard, or 0.
func (t *Tree[S]) kid(parent, level uint32) uint32 {
	p := t.kids.probe(t.hashKid(parent, level))
	for id := p.next(); id != 0; id = p.next() {
		if n := t.nodes.at(id); n.parent == parent && n.level == level {
			return id
		}
	}
	return 0
}

// place gives the place of a filter, made where there was none.
func (t *Tree[S]) place(filter string) *spot[S] {
	if wild(filter) {
		return &t.nodes.at(t.make(filter)).spot
	}
	id := t.exact.make(filter)
	if t.exact.filters.live >= largeFrom && !t.large.Load() {
		t.large.Store(true)
	}
	return &t.exact.filters.at(id).spot
}

// spot gives the place of a filter and its number, which is 0 where there is none.
func (t *Tree[S]) spot(filter string) (uint32, *spot[S]) {
	if !wild(filter) {
		id := t.exact.find(filter)
		if id == 0 {
			return 0, nil
		}
		return id, &t.exact.filters.at(id).spot
	}
	id := t.find(filter)
	if id == 0 {
		return 0, nil
	}
	return id, &t.nodes.at(id).spot
}

// vacate gives a place back when nobody has its filter any more.
func (t *Tree[S]) vacate(filter string, id uint32) {
	if wild(filter) {
		t.prune(id)
	} else {
		t.exact.prune(id)
		if t.exact.filters.live < largeFrom && t.large.Load() {
			t.large.Store(false)
		}
	}
}

// find gives the node of a filter, or 0.
func (t *Tree[S]) find(filter string) uint32 {
	id := uint32(root)
	for more := true; more && id != 0; {
		var name string
		name, filter, more = strings.Cut(filter, "/")
		switch name {
		case "+":
			id = t.nodes.at(id).plus
		case "#":
			id = t.nodes.at(id).hash
		default:
			level := t.names.find(name)
			if level == 0 {
				return 0
			}
			id = t.kid(id, level)
		}
	}
	return id
}

// make gives the node of a filter, adding what is missing.
func (t *Tree[S]) make(filter string) uint32 {
	id := uint32(root)
	for more := true; more; {
		var name string
		name, filter, more = strings.Cut(filter, "/")
		switch n := t.nodes.at(id); name {
		case "+":
			if n.plus == 0 {
				n.plus = t.add(id, 0)
			}
			id = n.plus
		case "#":
			if n.hash == 0 {
				n.hash = t.add(id, 0)
			}
			id = n.hash
		default:
			level, kid := t.names.find(name), uint32(0)
			if level != 0 {
				kid = t.kid(id, level)
			}
			if kid == 0 {
				level = t.names.take(name)
				kid = t.add(id, level)
				t.kids.insert(t.hashKid(id, level), kid)
				n.named++
			}
			id = kid
		}
	}
	return id
}

func (t *Tree[S]) add(parent, level uint32) uint32 {
	id := t.nodes.alloc()
	n := t.nodes.at(id)
	n.parent, n.level = parent, level
	return id
}

// prune removes a node that nothing needs any more, and then its parents as far as the same is true of them.
func (t *Tree[S]) prune(id uint32) {
	for id != root {
		n := t.nodes.at(id)
		if !n.bare() {
			return
		}
		parent := t.nodes.at(n.parent)
		switch {
		case parent.plus == id:
			parent.plus = 0
		case parent.hash == id:
			parent.hash = 0
		default:
			parent.named--
			t.kids.remove(t.hashKid(n.parent, n.level), id)
			t.names.drop(n.level)
		}
		up := n.parent
		t.nodes.release(id)
		id = up
	}
}
