package pebblestore

import (
	"bytes"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
)

// refMin is from what size on a message for several queues is stored once and
// referred to. A smaller one is stored in each: a reference costs a record, a
// count and a look-up for every reader.
const refMin = 256

// request is a batch on its way.
type request struct {
	ops   []record.Op
	done  func(error)
	err   error // what it completes with instead of taking effect
	bytes int64
	level store.Level
	told  bool // has completed
}

// group is what is written at once: the batches that came while the one before
// it was being written. Its changes are gathered per session and written when it
// is complete, so that what began and ended within the group is not written.
type group struct {
	reqs    []request
	tasks   []task
	number  uint64
	changes int
	tick    bool
	applied bool
	barrier chan struct{} // not a group: closed when the finisher gets there
	level   store.Level
	b       *pebble.Batch
	in      *instance
	touched []*session
	shares  map[*record.Message]*share
	payload uint64
}

// share counts the queues of this group that a message is for.
type share struct {
	n   int
	ref uint64
}

// build carries the group's changes out in the committer's view and fills the
// batch. An error leaves both useless.
func (c *committer) build(g *group) error {
	for i := range g.reqs {
		ops := g.reqs[i].ops
		for j := range ops {
			if err := c.carryOut(g, &ops[j]); err != nil {
				return err
			}
		}
	}
	for _, x := range g.touched {
		if err := c.finish(g, x); err != nil {
			return err
		}
	}
	return c.putCommit(g)
}

func (c *committer) putCommit(g *group) error {
	now, wall := c.s.clock()
	v := record.Commit{Number: g.number, At: int64(now) + int64(c.s.shift), Wall: wall.UnixNano()}
	return c.set(g, keyCommit, record.FormCommit, func(b []byte) []byte { return record.AppendCommit(b, &v) })
}

// set writes a record.
func (c *committer) set(g *group, key []byte, f record.Form, body func([]byte) []byte) error {
	c.val = record.Seal(body(record.Begin(c.val[:0], f)), 0, key)
	return g.b.Set(key, c.val, nil)
}

func (c *committer) touch(g *group, x *session) {
	if !x.touched {
		x.touched = true
		x.used = c.tick
		g.touched = append(g.touched, x)
	}
}

func (c *committer) carryOut(g *group, op *record.Op) error {
	switch op.Kind {
	case record.PutSession:
		return c.putSession(g, op.Session)
	case record.PutRetained:
		m := op.Entry.Msg
		g.payload += uint64(m.Size())
		c.key = appendRetained(c.key[:0], m.Topic)
		return c.set(g, c.key, record.FormMessage, func(b []byte) []byte { return record.AppendMessage(b, m, c.s.shift) })
	case record.DeleteRetained:
		return g.b.Delete(appendRetained(c.key[:0], op.Filter), nil)
	default:
	}
	x, err := c.session(g, op.Key)
	if err != nil || x == nil {
		return err
	}
	switch op.Kind {
	case record.DeleteSession:
		return c.deleteSession(g, x)
	case record.Enqueue:
		return c.enqueue(g, x, &op.Entry)
	case record.PutInflight:
		return c.putInflight(g, x, op)
	case record.Dequeue:
		return c.dequeue(g, x, op.Seq)
	case record.PutInbound, record.DeleteInbound:
		return c.inbound(g, x, op.PacketID, op.Kind == record.PutInbound)
	default:
		return c.part(g, x, op)
	}
}

// part carries out changes that are one record of the session each.
func (c *committer) part(g *group, x *session, op *record.Op) error {
	x.written = true
	switch op.Kind {
	case record.PutSubscription:
		c.key = appendSub(c.key[:0], x.key, op.Sub.Filter)
		return c.set(g, c.key, record.FormSubscription, func(b []byte) []byte { return record.AppendSubscription(b, op.Sub) })
	case record.DeleteSubscription:
		return g.b.Delete(appendSub(c.key[:0], x.key, op.Filter), nil)
	case record.PutWill:
		c.key = appendPart(c.key[:0], x.key, partWill)
		return c.set(g, c.key, record.FormWill, func(b []byte) []byte { return record.AppendWill(b, op.Will, c.s.shift) })
	default: // DeleteWill: the others have been carried out
		return g.b.Delete(appendPart(c.key[:0], x.key, partWill), nil)
	}
}

func (c *committer) putSession(g *group, v *record.Session) error {
	x, err := c.session(g, v.Key)
	if err != nil {
		return err
	}
	if x == nil {
		again := c.sessions[v.Key] != nil // deleted in this very group
		x = &session{key: v.Key, known: everything, inbound: map[byte]*page{}, fresh: !again, written: again}
		c.sessions[v.Key] = x
		c.touch(g, x)
	}
	x.written = true
	c.key = appendPart(c.key[:0], x.key, partSession)
	return c.set(g, c.key, record.FormSession, func(b []byte) []byte { return record.AppendSession(b, v, c.s.shift) })
}

// deleteSession deletes all that the session owns. Its parts are deleted one by
// one when they are few: many ranges slow every reader down.
func (c *committer) deleteSession(g *group, x *session) error {
	for i := range x.pend {
		if w := &x.pend[i]; !w.gone {
			c.unshare(g, w.e.Msg)
		}
	}
	if c.refs.any() && !x.fresh {
		c.releaseQueue(x)
	}
	prefix := appendSession(nil, spaceSession, x.key)
	if err := c.deleteParts(g, x, prefix); err != nil {
		return err
	}
	if !x.fresh && (x.cur.Count > 0 || len(x.flights) > 0 || x.dead > 0 || x.cur.Purged < x.cur.Head) {
		q := appendSession(nil, spaceQueue, x.key)
		if err := g.b.DeleteRange(q, after(q), nil); err != nil {
			return err
		}
	}
	x.absent = true
	return nil
}

func (c *committer) deleteParts(g *group, x *session, prefix []byte) error {
	const few = 256
	if !x.written {
		var keys [][]byte
		err := scan(c.in.db, prefix, after(prefix), func(k, _ []byte) (bool, error) {
			keys = append(keys, slices.Clone(k))
			return len(keys) <= few, nil
		})
		if err != nil {
			return err
		}
		if len(keys) <= few {
			for _, k := range keys {
				if err := g.b.Delete(k, nil); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return g.b.DeleteRange(prefix, after(prefix), nil)
}

func (c *committer) enqueue(g *group, x *session, e *record.Queued) error {
	if e.Seq <= x.cur.Last {
		if err := c.dequeue(g, x, e.Seq); err != nil {
			return err // there is none mostly; one that is there is replaced
		}
	}
	if e.Seq < x.cur.Head && x.cur.Purged == x.cur.Head {
		x.cur.Head, x.cur.Purged = e.Seq, e.Seq
	}
	if len(x.pend) == 0 || e.Seq < x.pendMin {
		x.pendMin = e.Seq
	}
	x.pendMax = max(x.pendMax, e.Seq)
	x.pend = append(x.pend, waiting{e: *e})
	delete(x.gone, e.Seq)
	x.cur.Last = max(x.cur.Last, e.Seq)
	x.cur.Count++
	x.cur.Bytes += uint64(e.Msg.Size())
	x.addRun(ent{seq: e.Seq, size: uint32(e.Msg.Size())})
	x.cursor = true
	g.payload += uint64(e.Msg.Size())
	if m := e.Msg; len(m.Payload)+len(m.Topic)+len(m.Props) >= refMin {
		sh := g.shares[m]
		if sh == nil {
			sh = new(share)
			g.shares[m] = sh
		}
		sh.n++
	}
	return nil
}

func (c *committer) unshare(g *group, m *record.Message) {
	if sh := g.shares[m]; sh != nil {
		sh.n--
	}
}

// take removes a waiting entry from the view; ok false: there is none.
func (c *committer) take(x *session, seq uint64) (e ent, ok bool, err error) {
	i, ok := findEnt(x.run, seq)
	if !ok && seq >= x.known && seq <= x.cur.Last {
		if err = c.refill(x); err != nil {
			return e, false, err
		}
		i, ok = findEnt(x.run, seq)
	}
	switch {
	case ok:
		e = x.run[i]
		if i == 0 {
			x.run = x.run[1:]
		} else {
			x.run = slices.Delete(x.run, i, i+1)
		}
	case seq >= x.known && seq <= x.cur.Last:
		if e, ok, err = c.stored(x, seq); err != nil || !ok {
			return e, false, err
		}
	default:
		return e, false, nil
	}
	x.cur.Count -= min(x.cur.Count, 1)
	x.cur.Bytes -= min(x.cur.Bytes, uint64(e.size))
	x.cursor = true
	return e, true, nil
}

func (c *committer) putInflight(g *group, x *session, op *record.Op) error {
	i, found := x.findFlight(op.Seq)
	if !found {
		e, ok, err := c.take(x, op.Seq)
		if err != nil || !ok {
			return err
		}
		x.cur.Order++
		x.flights = slices.Insert(x.flights, i, flight{ent: e, order: x.cur.Order})
	}
	f := &x.flights[i]
	f.id, f.state = op.PacketID, op.State
	if x.pending(op.Seq) != nil {
		x.cur.Sent = max(x.cur.Sent, op.Seq)
		return nil // it goes into the entry
	}
	f.own, x.written = true, true
	c.key = appendFlightKey(c.key[:0], x.key, op.Seq)
	v := record.Flight{Order: f.order, PacketID: f.id, State: f.state}
	return c.set(g, c.key, record.FormFlight, func(b []byte) []byte { return record.AppendFlight(b, &v) })
}

// dequeue takes an entry out: by moving the head when it is the first, and by
// deleting it when it is not.
func (c *committer) dequeue(g *group, x *session, seq uint64) error {
	var e ent
	own := false
	if i, ok := x.findFlight(seq); ok {
		e, own = x.flights[i].ent, x.flights[i].own
		if i == 0 {
			x.flights = x.flights[1:]
		} else {
			x.flights = slices.Delete(x.flights, i, i+1)
		}
	} else {
		var err error
		if e, ok, err = c.take(x, seq); err != nil || !ok {
			return err
		}
	}
	x.cursor = true
	if w := x.pending(seq); w != nil {
		w.gone = true
		c.unshare(g, w.e.Msg)
		x.advance()
		return nil
	}
	if e.ref != 0 {
		if err := c.unref(g, e.ref); err != nil {
			return err
		}
	}
	if seq >= x.cur.Head {
		if x.known <= seq && x.lowest() == x.known {
			x.setGone(seq) // it is still stored, and refill must not find it
			if err := c.refill(x); err != nil {
				return err
			}
		}
		if x.lowest() > seq {
			delete(x.gone, seq)
			if x.dead++; len(x.deadSeqs) == x.dead-1 && x.dead <= fewDead {
				x.deadSeqs = append(x.deadSeqs, seq)
			}
			x.deadBytes += int64(e.size)
			x.deadOwn = x.deadOwn || own
			x.advance()
			return nil
		}
	}
	x.setGone(seq)
	if own {
		x.written = true
		if err := g.b.Delete(appendFlightKey(c.key[:0], x.key, seq), nil); err != nil {
			return err
		}
	}
	return g.b.Delete(appendQueue(c.key[:0], x.key, seq), nil)
}

func (c *committer) inbound(g *group, x *session, id uint16, put bool) error {
	if x.inbound == nil {
		var err error
		if x.inbound, err = readInbound(c.in.db, x.key, c.s.damaged); err != nil {
			return err
		}
	}
	n := byte(id >> 8)
	p := x.inbound[n]
	if p == nil {
		if !put {
			return nil
		}
		p = new(page)
		x.inbound[n] = p
	}
	if put {
		p.set(id)
	} else {
		p.clear(id)
	}
	if bytes.IndexByte(x.pages, n) < 0 {
		x.pages = append(x.pages, n)
	}
	return nil
}

// finish writes what the group gathered for one session.
func (c *committer) finish(g *group, x *session) error {
	if x.absent {
		delete(c.sessions, x.key)
		return nil
	}
	for _, n := range x.pages {
		p := x.inbound[n]
		c.key = appendInbound(c.key[:0], x.key, n)
		var err error
		if p.empty() {
			delete(x.inbound, n)
			err = g.b.Delete(c.key, nil)
		} else {
			err = c.set(g, c.key, record.FormInbound, func(b []byte) []byte { return append(b, p[:]...) })
		}
		if err != nil {
			return err
		}
	}
	if len(x.pages) > 0 {
		x.pages = x.pages[:0]
	}
	if x.dead >= purgeCount || x.deadBytes >= purgeBytes {
		if err := c.purge(g, x); err != nil {
			return err
		}
	}
	if x.cursor {
		if err := c.putCursor(g, x); err != nil {
			return err
		}
	}
	for i := range x.pend {
		if w := &x.pend[i]; !w.gone {
			if err := c.putEntry(g, x, &w.e); err != nil {
				return err
			}
		}
	}
	clear(x.pend)
	if cap(x.pend) > runLength {
		x.pend = nil
	}
	x.pend, x.gone, x.pendMin, x.pendMax = x.pend[:0], nil, 0, 0
	x.touched, x.fresh, x.written, x.cursor = false, false, false, false
	return nil
}

func (c *committer) putCursor(g *group, x *session) error {
	x.cur.Below = x.below()
	if len(x.cur.Below) > maxBelow {
		if err := c.purge(g, x); err != nil {
			return err
		}
		x.cur.Head, x.cur.Purged, x.cur.Below = x.cur.Below[0], x.cur.Below[0], nil
	}
	c.key = appendPart(c.key[:0], x.key, partCursor)
	err := c.set(g, c.key, record.FormCursor, func(b []byte) []byte { return record.AppendCursor(b, &x.cur) })
	x.cur.Below = nil
	return err
}

func (c *committer) putEntry(g *group, x *session, q *record.Queued) error {
	e := record.Entry{Queued: *q, Size: uint32(q.Msg.Size())}
	if i, ok := x.findFlight(q.Seq); ok {
		f := &x.flights[i]
		e.Order, e.PacketID, e.State = f.order, f.id, f.state
	}
	if sh := g.shares[q.Msg]; sh != nil && sh.n > 1 {
		if sh.ref == 0 {
			sh.ref = c.refs.add(sh.n)
			c.key = appendMessageKey(c.key[:0], sh.ref)
			if err := c.set(g, c.key, record.FormMessage, func(b []byte) []byte { return record.AppendMessage(b, q.Msg, c.s.shift) }); err != nil {
				return err
			}
		}
		e.Ref = sh.ref
		x.setRef(q.Seq, sh.ref)
	}
	c.key = appendQueue(c.key[:0], x.key, q.Seq)
	return c.set(g, c.key, record.FormEntry, func(b []byte) []byte { return record.AppendEntry(b, &e, c.s.shift) })
}

// purge deletes what lies dead below the head.
func (c *committer) purge(g *group, x *session) error {
	del := c.purgeRanges
	if len(x.deadSeqs) == x.dead {
		del = c.purgeFew
	}
	if err := del(g, x); err != nil {
		return err
	}
	x.cur.Purged = x.cur.Head
	x.dead, x.deadBytes, x.deadOwn, x.deadSeqs = 0, 0, false, nil
	x.cursor, x.written = true, true
	return nil
}

func (c *committer) purgeFew(g *group, x *session) error {
	for _, seq := range x.deadSeqs {
		_, waits := findEnt(x.run, seq)
		if _, sent := x.findFlight(seq); waits || sent {
			continue // queued again under its number
		}
		if err := g.b.Delete(appendQueue(c.key[:0], x.key, seq), nil); err != nil {
			return err
		}
		if !x.deadOwn {
			continue
		}
		if err := g.b.Delete(appendFlightKey(c.key[:0], x.key, seq), nil); err != nil {
			return err
		}
	}
	return nil
}

// purgeRanges deletes in ranges between the entries that came late.
func (c *committer) purgeRanges(g *group, x *session) error {
	from := x.cur.Purged
	for _, seq := range append(x.below(), x.cur.Head) {
		if seq > from {
			if err := g.b.DeleteRange(appendQueue(nil, x.key, from), appendQueue(nil, x.key, seq), nil); err != nil {
				return err
			}
			if x.deadOwn {
				if err := g.b.DeleteRange(appendFlightKey(nil, x.key, from), appendFlightKey(nil, x.key, seq), nil); err != nil {
					return err
				}
			}
		}
		from = max(from, seq+1)
	}
	return nil
}
