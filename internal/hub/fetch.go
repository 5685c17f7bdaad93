package hub

import (
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/session"
)

// drainPage is how many entries of a session that ends are read at a time.
const drainPage = 256

// starving waits for the horizon to reach from, and for a batch of its own loop.
type starving struct {
	from   uint64
	settle uint64
	run    func(top uint64)
}

// fetch reads the next entries of a stored queue. A read sees what is completely
// stored, in the order of sequence numbers, so it may go no further than to where
// nothing is missing any more: see horizon.
func (sh *Shard) fetch(c *Client) {
	if c.shard.Load() != sh {
		// It is leaving, and what it would read may be announced at its new loop
		// already, where that is held.
		c.unread = true
		return
	}
	c.fetching++
	if sh.Hub.immediate {
		sh.read(c, ^uint64(0)-1)
		return
	}
	from, _ := c.S.QueueFrom()
	key := c.S.Key()
	sh.starve(starving{from, c.settle, func(top uint64) {
		if !c.ended && c.S.Key() == key {
			sh.read(c, top)
		} else {
			c.fetching--
		}
	}})
}

func (sh *Shard) starve(s starving) {
	sh.starved = append(sh.starved, s)
	sh.hungry.Store(true)
}

// feedStarved starts the reads that have become possible. Called in each turn.
func (sh *Shard) feedStarved() {
	if len(sh.starved) == 0 {
		return
	}
	top := sh.Hub.horizon()
	k := 0
	for _, s := range sh.starved {
		if s.from > top || s.settle != 0 && sh.waits(s.settle) {
			sh.starved[k] = s
			k++
			continue
		}
		// What was sent here up to this moment has to be worked on first: it says
		// which of the entries are counted already.
		sh.Post(func() { s.run(top) })
	}
	clear(sh.starved[k:])
	sh.starved = sh.starved[:k]
	sh.hungry.Store(k > 0)
}

// read asks the store for entries up to top.
func (sh *Shard) read(c *Client, top uint64) {
	from, limit := c.S.QueueFrom()
	key := c.S.Key()
	take := func(es []record.Queued, err error) {
		c.fetching--
		if c.S.Key() != key || c.ended {
			return // another session under this id by now
		}
		if err != nil {
			sh.Hub.Log.Error("Error: unable to read the queue of %s: %v.", c.ID, err)
			c.S.ReadFailed()
			c.reread = true
			c.timerAt = sh.now + rereadAfter
			sh.sessions.Add(c.timerAt, c)
			return
		}
		upTo := top
		if n := len(es); n == limit {
			upTo = min(top, es[n-1].Seq)
		}
		for len(es) > 0 && es[len(es)-1].Seq > top {
			es = es[:len(es)-1]
		}
		fx := sh.fxFor(c)
		c.S.Refill(es, from, upTo, sh.now, fx)
		sh.apply(c, fx)
		sh.putFX(fx)
	}
	if sh.Hub.immediate {
		sh.Hub.Store.ReadQueue(key, from, limit, take)
		return
	}
	sh.Hub.Store.ReadQueue(key, from, limit, func(es []record.Queued, err error) {
		sh.Post(func() { take(es, err) })
	})
}

// drainFrom hands on what a session that ends has in the store for shared
// subscriptions, page by page, each page in one batch with its removal, and
// deletes the session when nothing is left.
func (sh *Shard) drainFrom(c *Client, key record.SessionKey, from uint64, end record.Op) {
	if sh.Hub.immediate {
		sh.drain(c, key, from, end)
		return
	}
	sh.starve(starving{sh.Hub.seq.Load(), c.last, func(uint64) { sh.drain(c, key, from, end) }})
}

func (sh *Shard) drain(c *Client, key record.SessionKey, from uint64, end record.Op) {
	take := func(es []record.Queued, err error) {
		if err != nil {
			sh.Hub.Log.Error("Error: unable to read the queue of %s, which has ended: %v.", c.ID, err)
		}
		for i := range es {
			if e := &es[i]; e.Group != "" {
				sh.handOn(c, e)
				sh.persist(record.Op{Kind: record.Dequeue, Key: key, Seq: e.Seq})
			}
		}
		if err == nil && len(es) == drainPage {
			sh.drain(c, key, es[len(es)-1].Seq+1, end)
			return
		}
		sh.persist(end)
	}
	if sh.Hub.immediate {
		sh.Hub.Store.ReadQueue(key, from, drainPage, take)
		return
	}
	sh.Hub.Store.ReadQueue(key, from, drainPage, func(es []record.Queued, err error) {
		sh.Post(func() { take(es, err) })
	})
}

// refused counts a message that another loop did not store because the session
// was at its limit.
func (sh *Shard) refused(c *Client, noRoom bool) {
	if c.ended {
		return
	}
	if noRoom {
		c.S.CountDrop(session.DropTotalBytes)
		sh.countDrop(c, session.DropTotalBytes, 1)
		return
	}
	fx := sh.getFX()
	c.S.Refused(fx)
	sh.apply(c, fx)
	sh.putFX(fx)
}
