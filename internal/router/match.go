package router

import "strings"

// Result is what Match found. It belongs to the caller, who uses it again for the next Match; a result that a Cache gave is
// read-only.
type Result[S comparable] struct {
	Plain  []Match[S]  // one entry for each matching subscription, in no order; a subscriber with overlapping filters is in it repeatedly
	Groups []*Group[S] // one of whose members gets the message, each served on its own

	walk  *frontier
	loose bool // see Cache.Done
}

// frontier is the scratch memory of a walk: the nodes that agree with the topic so far, and those that agree with one level more.
type frontier struct{ now, next []uint32 }

// Reset empties the result and keeps its memory.
func (r *Result[S]) Reset() {
	clear(r.Plain) // a dropped session must not stay reachable
	clear(r.Groups)
	r.Plain, r.Groups = r.Plain[:0], r.Groups[:0]
}

// Match replaces the content of r by the subscriptions that match topic. It allocates only when r has to grow.
//
// The work is at most one step for each node of the tree whose filter so far agrees with the topic; each such node exists because
// somebody subscribed, so the number of subscriptions a client may have is the bound to set on hostile ones.
func (t *Tree[S]) Match(topic string, r *Result[S]) {
	r.Reset()
	if r.walk == nil {
		r.walk = new(frontier)
	}
	w := r.walk
	t.mu.RLock()
	defer t.mu.RUnlock()
	if id := t.exact.find(topic); id != 0 {
		r.add(&t.exact.filters.at(id).spot)
	}
	if t.nodes.live == 1 {
		return // no filter has a wildcard
	}
	// A first-level wildcard does not match a topic that begins with '$' [MQTT-4.7.2-1].
	system := topic != "" && topic[0] == '$'
	w.now = append(w.now[:0], root)
	for more := true; more && len(w.now) > 0; {
		var name string
		name, topic, more = strings.Cut(topic, "/")
		level, sought := uint32(0), false
		w.next = w.next[:0]
		for _, id := range w.now {
			n := t.nodes.at(id)
			if !system {
				if n.hash != 0 {
					r.add(&t.nodes.at(n.hash).spot)
				}
				if n.plus != 0 {
					w.next = append(w.next, n.plus)
				}
			}
			if n.named == 0 {
				continue
			}
			if !sought {
				level, sought = t.names.find(name), true
			}
			if level != 0 {
				if kid := t.kid(id, level); kid != 0 {
					w.next = append(w.next, kid)
				}
			}
		}
		w.now, w.next = w.next, w.now
		system = false
	}
	for _, id := range w.now {
		n := t.nodes.at(id)
		r.add(&n.spot)
		if n.hash != 0 { // '#' includes its parent level
			r.add(&t.nodes.at(n.hash).spot)
		}
	}
}

func (r *Result[S]) add(n *spot[S]) {
	if n.single() {
		r.Plain = append(r.Plain, n.first())
	}
	if e := n.more; e != nil {
		r.Plain = append(r.Plain, e.subs...)
		r.Groups = append(r.Groups, e.groups...)
	}
}
