package hub

import (
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/session"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/mqtt"
)

const (
	// maxPending is how many bytes of changes a loop may have submitted and not
	// seen completed before it takes no more messages that have to be kept: memory
	// is bounded by it when the disk is slow.
	maxPending = 16 << 20
	// opBytes is what a change counts besides its payload.
	opBytes = 64
	// rereadAfter is when a queue that could not be read is tried again.
	rereadAfter = record.Second
)

// openBatch is what the present turn changes.
type openBatch struct {
	*store.Batch
	// level is how durable it has to be: the strongest of what waits for it.
	level store.Level
	// first is the lowest sequence number its entries may have.
	first uint64
	// links hold something until it is durable.
	links []Link
	// fresh are clients whose session it creates.
	fresh []*Client
}

// heldBatch is one that was submitted.
type heldBatch struct {
	ticket uint64
	first  uint64
	bytes  int64
	links  []Link
}

// beginBatch notes from which sequence number on this turn may store entries.
func (sh *Shard) beginBatch() {
	if sh.Hub.immediate || len(sh.open.Ops) > 0 {
		return
	}
	sh.open.first = sh.Hub.seq.Load() + 1
	sh.setLow()
}

func (sh *Shard) setLow() {
	if len(sh.held) > 0 {
		sh.low.Store(sh.held[0].first)
	} else {
		sh.low.Store(sh.open.first)
	}
}

// endBatch follows the submission: whatever is in no held batch is complete.
func (sh *Shard) endBatch() {
	if sh.queued != 0 {
		sh.Hub.queued.Add(sh.queued)
		sh.queued = 0
	}
	if !sh.Hub.immediate && len(sh.held) == 0 {
		sh.low.Store(0)
	}
}

// horizon is a sequence number up to which every queue entry is completely
// stored and on its way to, or with, the loop of its session. The global number
// is read first: whoever takes a lower one afterwards has said so before.
func (h *Hub) horizon() uint64 {
	top := h.seq.Load()
	for _, sh := range h.Shards {
		if low := sh.low.Load(); low != 0 && low <= top {
			top = low - 1
		}
	}
	return top
}

// commit submits what the batch changed. An engine that answers at once is given
// each step's changes before the step's packets leave (see apply), so this is
// for the others: their packets wait in the connections under the batch's ticket.
func (sh *Shard) commit() {
	o := &sh.open
	if len(o.Ops) == 0 {
		return
	}
	b, t, level := o.Batch, sh.ticket, o.level
	var size int64
	b.Lazy = level == store.Interval && len(o.links) == 0 && len(o.fresh) == 0
	for i := range b.Ops {
		b.Lazy = b.Lazy && b.Ops[i].Kind == record.Dequeue
		size += opBytes
		if m := b.Ops[i].Entry.Msg; m != nil {
			size += int64(len(m.Payload))
		}
	}
	sh.pending += size
	sh.held = append(sh.held, heldBatch{ticket: t, first: o.first, bytes: size, links: o.links})
	for _, c := range o.fresh {
		// Not before: a change from another loop must not come ahead of the session.
		c.stored.Store(uint64(c.S.Key()))
	}
	*o = openBatch{Batch: sh.Hub.getBatch(), first: sh.Hub.seq.Load() + 1}
	sh.ticket++
	sh.Hub.Store.Commit(b, level, func(err error) {
		sh.Hub.putBatch(b)
		if err != nil {
			sh.Post(func() { sh.failed(t, err) })
			return
		}
		sh.put(mail{kind: mailRelease, ticket: t})
	})
}

func (h *Hub) getBatch() *store.Batch { return h.batches.Get().(*store.Batch) }

func (h *Hub) putBatch(b *store.Batch) {
	clear(b.Ops)
	if cap(b.Ops) > 1<<14 {
		b.Ops = nil
	}
	b.Ops = b.Ops[:0]
	h.batches.Put(b)
}

// release lets out what waited for this commit and the ones before it.
func (sh *Shard) release(ticket uint64) {
	n := 0
	for n < len(sh.held) && sh.held[n].ticket <= ticket {
		b := &sh.held[n]
		sh.pending -= b.bytes
		for _, l := range b.links {
			l.Release(ticket)
		}
		n++
	}
	sh.settled(n)
}

// failed ends the connections that wait for a commit that did not happen: an
// acknowledgement that cannot be kept is never sent.
func (sh *Shard) failed(ticket uint64, err error) {
	sh.Hub.Log.Error("Error: unable to store: %v. Connections that wait for it are closed.", err)
	n := 0
	for n < len(sh.held) && sh.held[n].ticket <= ticket {
		b := &sh.held[n]
		sh.pending -= b.bytes
		for _, l := range b.links {
			l.Kick(End{Code: mqtt.ImplementationSpecific, Reason: logging.ReasonImplementation, Text: "unable to store"})
		}
		n++
	}
	sh.settled(n)
}

// settled takes the first n held batches off.
func (sh *Shard) settled(n int) {
	if n == 0 {
		return
	}
	k := copy(sh.held, sh.held[n:])
	clear(sh.held[k:])
	sh.held = sh.held[:k]
	sh.setLow()
	if len(sh.stalled) > 0 && sh.pending < maxPending/2 {
		list := sh.stalled
		sh.stalled = nil
		for _, again := range list {
			again()
		}
	}
	for _, o := range sh.Hub.Shards {
		if o != sh && o.hungry.Load() {
			o.Post(func() {}) // its turn looks again
		}
	}
}

// waits reports whether a batch is not known to be durable.
func (sh *Shard) waits(ticket uint64) bool {
	if len(sh.held) > 0 {
		return ticket >= sh.held[0].ticket
	}
	return ticket >= sh.ticket && len(sh.open.Ops) > 0
}

// apply carries out what a step of c asked for: persist, then send. Messages
// that the step publishes itself are routed last; nobody waits for them.
func (sh *Shard) apply(c *Client, fx *session.Effects) { sh.applyAt(c, fx, c.level) }

// applyAt is apply for a step whose acknowledgement has a level of its own.
func (sh *Shard) applyAt(c *Client, fx *session.Effects, level store.Level) {
	kept := sh.keepOps(c, fx, level)
	if l := c.link; l != nil && len(fx.Sends) > 0 {
		sh.sendAll(c, l, fx.Sends, kept)
	}
	for why, n := range fx.Drops {
		if n > 0 {
			sh.countDrop(c, session.Drop(why), uint64(n))
		}
	}
	if fx.Stalled > 0 {
		sh.Count.PubcompMissing++
		sh.Hub.Log.Warning("Client %s has not completed %d QoS 2 messages: PUBREC came, PUBCOMP did not.", c.ID, fx.Stalled)
	}
	sh.account(c)
	if fx.NeedQueue {
		sh.fetch(c)
	}
	for _, w := range fx.Publish {
		sh.publishWill(c, w)
	}
	for i := range fx.Handed {
		sh.handOn(c, &fx.Handed[i])
	}
}

// account keeps the sum of what waits in all queues, and what other loops need to
// know of this one.
func (sh *Shard) account(c *Client) {
	b := c.S.QueuedBytes()
	sh.queued += b - c.counted
	c.counted = b
	live := c.live.Load()
	if full := c.S.Full(); full != (live&liveFull != 0) {
		c.live.Store(live ^ liveFull)
	}
	if sh.Hub.Cfg().Rules.MaxQueuedAge > 0 && !c.S.Online() && !c.ended {
		sh.schedule(c) // a limit of age
	}
}

// keepOps adds a step's changes to the batch; an engine that answers at once has
// them now. false: they are not kept, so nothing that depends on them may leave
// and the connection ends.
func (sh *Shard) keepOps(c *Client, fx *session.Effects, level store.Level) bool {
	if len(fx.Ops) == 0 {
		return true
	}
	sh.open.Ops = append(sh.open.Ops, fx.Ops...)
	if !sh.Hub.immediate {
		c.last = sh.ticket
		if sh.open.level < level && (len(fx.Publish) > 0 || depends(fx.Sends)) {
			sh.open.level = level
		}
		return true
	}
	err := sh.commitNow()
	if err != nil && c.link != nil {
		c.Later(c.link, End{Code: mqtt.ImplementationSpecific, Reason: logging.ReasonImplementation, Text: "unable to store"})
	}
	return err == nil
}

// depends reports whether one of the packets promises what is in its batch. A
// QoS 1 PUBLISH does not: its message is durable, or in a batch that has to be,
// and its packet identifier only spares a second delivery.
func depends(sends []session.Send) bool {
	for i := range sends {
		if s := &sends[i]; gated(s) && (s.Type != publish || s.QoS > 1) {
			return true
		}
	}
	return false
}

// raise makes the open batch at least this durable.
func (sh *Shard) raise(l store.Level) { sh.open.level = max(sh.open.level, l) }

// commitNow commits the batch if the engine answers at once.
func (sh *Shard) commitNow() (err error) {
	if !sh.Hub.immediate {
		return nil
	}
	sh.Hub.Store.Commit(sh.open.Batch, store.Flush, func(e error) { err = e })
	clear(sh.open.Ops)
	sh.open.Ops = sh.open.Ops[:0]
	if err != nil {
		sh.unkept = true
		sh.Hub.Log.Error("Error: unable to store: %v.", err)
	}
	return err
}

// sendAll hands packets to a connection. Those that promise something wait for
// the last batch in which the session or what it published changed: also when
// it is asked again, on another connection, before that batch is durable.
func (sh *Shard) sendAll(c *Client, l Link, sends []session.Send, kept bool) {
	var gate uint64
	if c.last != 0 && sh.waits(c.last) {
		gate = c.last
		sh.gateUnder(gate, l)
	}
	for i := range sends {
		s := &sends[i]
		switch {
		case !gated(s):
			l.Send(s, 0)
		case kept:
			if held := l.Send(s, gate); !held && s.Type == puback {
				c.S.Acked()
			}
		}
	}
}

// gateUnder enters a connection with a batch.
func (sh *Shard) gateUnder(ticket uint64, l Link) {
	list := &sh.open.links
	if ticket != sh.ticket {
		list = &sh.held[ticket-sh.held[0].ticket].links
	}
	if n := len(*list); n == 0 || (*list)[n-1] != l {
		*list = append(*list, l)
	}
}

// gated reports whether a packet has to wait for the commit of its batch.
func gated(s *session.Send) bool {
	return s.Type != pingresp && (s.Type != publish || s.QoS > 0)
}
