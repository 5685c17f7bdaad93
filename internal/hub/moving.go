package hub

import "slices"

// A connection that moves to another loop takes its session along. What other
// loops have sent to the old one must be worked on there, and what they send
// afterwards must wait at the new one, or messages of one publisher would
// overtake each other [MQTT-4.6.0-5]:
//
//  1. Depart: the connection is not read from any more, and the client's shard is
//     the transit of the new loop. Whoever routes to it from now on sends there,
//     where it is held. The old loop still owns the session and works on what
//     comes.
//  2. Fence: a letter to every other loop, which answers through its outbox, and
//     so behind all that it had for the old loop and with all taken that the
//     connection has published there.
//  3. Ship: once all have answered and nothing of the session waits for the disk
//     on the old loop, the client goes over in one letter.
//  4. arrive: the new loop owns it, delivers what was held, and reads again.
//
// Nothing of the session is copied, and no step of it runs meanwhile but on the
// loop that owns it.

// Mover is the connection of a client that moves, as the loops see it.
type Mover interface {
	// Still reports whether nothing of the connection waits on the old loop. On
	// that loop.
	Still() bool
	// Leave lets go of the connection on the old loop; false: it has ended
	// meanwhile and stays there.
	Leave(to *Shard) bool
	// Arrive takes the connection on its new loop; it is not read from before
	// Continue.
	Arrive()
	Continue()
	// Abandon closes what is nobody's any more: the new loop has ended.
	Abandon()
}

// moving is what a shard knows of clients that come and go. Owned by the loop.
type moving struct {
	leaving []*departure
	// coming are clients that have not arrived, with what was sent to them; held is
	// the weight of all of it.
	coming map[*Client][]mail
	held   int64
}

type departure struct {
	c     *Client
	to    *Shard
	m     Mover
	fence *fence // nil: not sent yet
	// passed goes along: what came late for the client there comes late here.
	passed []passed
}

// fence counts the loops that have not answered.
type fence struct{ missing int }

// Owns reports whether the client's session belongs to this loop now. On the
// loop.
func (sh *Shard) Owns(c *Client) bool {
	home := c.shard.Load()
	return home == sh || home.self != sh && sh.isLeaving(c)
}

func (sh *Shard) isLeaving(c *Client) bool {
	for _, d := range sh.moving.leaving {
		if d.c == c {
			return true
		}
	}
	return false
}

// Shard returns the shard that owns the client or is about to. Any goroutine.
func (c *Client) Shard() *Shard { return c.shard.Load().self }

// Post has f run on the loop that owns the client, wherever it moves meanwhile.
// Any goroutine. It reports false when that loop has ended.
func (c *Client) Post(f func(*Shard)) bool {
	return c.Shard().put(mail{kind: mailFunc, c: c, fn: f})
}

// Await has f run, on this loop, when the client of that id has arrived here. Nothing
// is done when it is not on its way.
func (sh *Shard) Await(id string, f func()) {
	if c := sh.Hub.Find(id); c != nil && c.shard.Load() == sh.transit {
		sh.hold(&mail{kind: mailFunc, c: c, fn: func(*Shard) { f() }})
		return
	}
	sh.Post(f)
}

// Hand brings a connection: f runs on the loop in its next turn, or with ended
// when the loop ends before. It reports false after Close. Any goroutine.
func (sh *Shard) Hand(f func(ended bool)) bool {
	return sh.put(mail{kind: mailArrive, fn: func(on *Shard) { f(on == nil) }})
}

// mailIn works on one letter.
func (sh *Shard) mailIn(m *mail) {
	if m.c != nil && m.c.shard.Load() != sh && !sh.isLeaving(m.c) {
		sh.misplaced(m)
		return
	}
	switch m.kind {
	case mailDeliver:
		sh.deliverMail(m)
	case mailFunc, mailArrive:
		m.fn(sh)
	case mailRelease:
		sh.release(m.ticket)
	case mailRefused:
		sh.refused(m.c, m.d.NoRoom)
	}
}

// misplaced is for letters to a client that this loop does not own.
func (sh *Shard) misplaced(m *mail) {
	if home := m.c.shard.Load(); home == sh.transit {
		sh.hold(m)
	} else {
		// Only what did not come from a loop: for that the fence has seen to.
		home.self.put(*m)
	}
}

// hold keeps a letter until its client has arrived.
func (sh *Shard) hold(m *mail) {
	if sh.moving.coming == nil {
		sh.moving.coming = make(map[*Client][]mail)
	}
	sh.moving.coming[m.c] = append(sh.moving.coming[m.c], *m)
	w := weight1(m)
	sh.moving.held += w
	sh.waiting.Add(w)
}

// Freeze lets no client change its loop until Thaw: moves that have begun stop
// where they are, so that who asks each loop for its clients misses none and gets
// none twice. What is under way between two loops has arrived when every loop has
// worked on its mail once. Any goroutine.
func (h *Hub) Freeze() { h.frozen.Add(1) }

// Thaw ends a Freeze.
func (h *Hub) Thaw() {
	h.frozen.Add(-1)
	for _, sh := range h.Shards {
		sh.Post(func() {}) // its turn looks again
	}
}

// Depart begins to move a client with its connection. The caller has stopped
// reading from the connection, and calls Fence when it has named all that go
// now. false: it stays, as also while its queue is being read. On the loop, inside
// a batch.
func (sh *Shard) Depart(c *Client, to *Shard, m Mover) bool {
	if to == sh || c.shard.Load() != sh || c.ended || c.fetching > 0 || c.reread || sh.Hub.frozen.Load() != 0 {
		return false
	}
	c.shard.Store(to.transit)
	sh.moving.leaving = append(sh.moving.leaving, &departure{c: c, to: to, m: m})
	return true
}

// Leaving returns how many clients have departed and are not gone yet.
func (sh *Shard) Leaving() int { return len(sh.moving.leaving) }

// Fence follows the last Depart.
func (sh *Shard) Fence() {
	var f *fence
	for _, d := range sh.moving.leaving {
		if d.fence == nil {
			if f == nil {
				f = &fence{missing: len(sh.Hub.Shards) - 1}
			}
			d.fence = f
		}
	}
	if f == nil {
		return
	}
	for _, o := range sh.Hub.Shards {
		if o != sh {
			sh.mailTo(o, mail{kind: mailFunc, fn: func(o *Shard) {
				o.mailTo(sh, mail{kind: mailFunc, fn: func(*Shard) { f.missing-- }})
			}})
		}
	}
}

// Ship lets those go that may. Called behind End and the flush of each batch.
func (sh *Shard) Ship() {
	if sh.Hub.frozen.Load() != 0 {
		return
	}
	list := sh.moving.leaving
	k := 0
	for _, d := range list {
		if d.fence == nil || d.fence.missing > 0 || !sh.quiet(d.c) || !d.m.Still() {
			list[k] = d
			k++
			continue
		}
		sh.ship(d)
	}
	clear(list[k:])
	sh.moving.leaving = list[:k]
}

// quiet reports whether nothing of the session waits for the store: tickets and
// reads are this loop's.
func (sh *Shard) quiet(c *Client) bool {
	return c.fetching == 0 && !c.reread && (c.last == 0 || !sh.waits(c.last)) && (c.settle == 0 || !sh.waits(c.settle))
}

func (sh *Shard) ship(d *departure) {
	connected := uint64(0)
	if d.c.link != nil {
		connected = 1
	}
	sh.Count.Connected -= connected
	carried := d.m.Leave(d.to)
	if carried {
		sh.Count.Moved++
	}
	rounds := sh.rounds
	sh.passed = slices.DeleteFunc(sh.passed, func(p passed) bool {
		if p.c == d.c {
			d.passed = append(d.passed, p)
		}
		return p.c == d.c
	})
	arrive := func(ended bool) {
		if !ended {
			d.to.Count.Connected += connected
			d.to.arrive(d, carried, rounds)
		} else if carried {
			d.m.Abandon()
		}
	}
	if !d.to.Hand(arrive) {
		arrive(true)
	}
}

// arrive makes the client this loop's. rounds is how often the old loop had
// looked at all of its clients because rules changed.
func (sh *Shard) arrive(d *departure, carried bool, rounds int) {
	c := d.c
	c.timerAt, c.last, c.settle = 0, 0, 0
	sh.passed = append(sh.passed, d.passed...)
	if carried {
		d.m.Arrive()
	}
	c.shard.Store(sh)
	held := sh.moving.coming[c]
	delete(sh.moving.coming, c)
	if !c.ended {
		if rounds < sh.rounds {
			c.S.Follow(&sh.Hub.Cfg().Rules)
			sh.review(c)
		}
		sh.schedule(c)
	}
	for i := range held {
		w := weight1(&held[i])
		sh.moving.held -= w
		sh.waiting.Add(-w)
		sh.mailIn(&held[i])
	}
	if c.unread {
		c.unread = false
		if !c.ended {
			sh.fetch(c)
		}
	}
	if carried {
		d.m.Continue()
	}
}
