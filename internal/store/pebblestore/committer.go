package pebblestore

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
)

const (
	// maxGroupChanges bounds a group, so that the first of many batches does not
	// wait for the last.
	maxGroupChanges = 1 << 14
	// tickEvery is how often the committer looks for queues to tidy up and
	// sessions to forget.
	tickEvery = 5 * time.Second
	// forgetAfter is after how many ticks without use the committer forgets what it
	// knows of a session.
	forgetAfter = 4
	// checkpointTicks is how often the time is written when nothing else is.
	checkpointTicks = 6
)

// committer turns batches into groups. It has one goroutine, which alone touches
// its fields.
type committer struct {
	s        *Store
	in       *instance
	sessions map[record.SessionKey]*session
	refs     refs
	number   uint64 // of the last group that was handed to Pebble
	key, val []byte

	tick     uint64
	tickDue  time.Time
	written  uint64    // tick of the last group
	unsynced time.Time // since when a completed change below Flush waits for a sync
	interval time.Duration
	current  *group // is being applied
}

// begin reads what the committer needs from a new instance. With first it also
// checks the schema and sets the time line.
func (c *committer) begin(first bool) error {
	c.sessions = make(map[record.SessionKey]*session)
	c.unsynced = time.Time{}
	v := c.s.view(c.in.db)
	if first {
		if err := c.schema(v); err != nil {
			return err
		}
	}
	var last record.Commit
	found, err := v.get(keyCommit, record.FormCommit, func(b []byte) error { return record.ParseCommit(b, &last) })
	if err != nil {
		return err
	}
	c.number = last.Number
	if first {
		c.s.confirmed.Store(last.Number)
	}
	if first && found {
		now, wall := c.s.clock()
		at := last.At
		if gap := wall.Sub(time.Unix(0, last.Wall)); gap > 0 && gap <= maxGap {
			at += int64(gap)
		}
		c.s.shift = record.Shift(at - int64(now))
	}
	return c.beginRefs()
}

// schema refuses a newer store and marks a new one.
func (c *committer) schema(v *view) error {
	var found uint32
	have, err := v.get(keySchema, record.FormSchema, func(b []byte) (err error) { found, err = record.ParseSchema(b); return err })
	switch {
	case err != nil:
		return err
	case have && found > Schema:
		return &SchemaError{Found: found, Supported: Schema}
	case have && found == Schema:
		return nil
	}
	value := record.Seal(record.AppendSchema(record.Begin(nil, record.FormSchema), Schema), 0, keySchema)
	return c.in.db.Set(keySchema, value, pebble.Sync)
}

// session gives what is known of a session; nil: there is none.
func (c *committer) session(g *group, k record.SessionKey) (*session, error) {
	if x := c.sessions[k]; x != nil {
		if x.absent {
			return nil, nil
		}
		c.touch(g, x)
		return x, nil
	}
	v := c.s.view(c.in.db)
	have, err := v.exists(k)
	if err != nil || !have {
		return nil, err
	}
	x := &session{key: k}
	if err := c.read(v, x); err != nil {
		return nil, err
	}
	c.sessions[k] = x
	c.touch(g, x)
	return x, nil
}

// read makes a session's state from the store.
func (c *committer) read(v *view, x *session) (err error) {
	if x.cur, err = v.cursor(x.key); err != nil {
		return err
	}
	x.known = x.cur.Head
	if x.cur.Purged < x.cur.Head {
		x.dead, x.deadOwn = 1, true // at least; what lies there is not looked at
	}
	from := x.cur.Head
	if len(x.cur.Below) > 0 {
		from = min(from, x.cur.Below[0])
	}
	records, err := v.flights(x.key, from)
	if err != nil {
		return err
	}
	err = v.sentEntries(x.key, &x.cur, records, func(seq uint64, f record.Flight, own bool) {
		x.flights = append(x.flights, flight{ent: ent{seq: seq}, order: f.Order, id: f.PacketID, state: f.State, own: own})
	})
	if err != nil {
		return err
	}
	slices.SortFunc(x.flights, func(a, b flight) int { return cmp.Compare(a.seq, b.seq) })
	n := 0
	for _, f := range x.flights {
		e, ok, err := v.head(x.key, f.seq)
		if err != nil {
			return err
		}
		if ok { // else its entry is gone or damaged
			f.ref, f.size = e.Ref, e.Size
			x.flights[n] = f
			n++
		}
	}
	x.flights = x.flights[:n]
	for _, seq := range x.cur.Below {
		if _, sent := x.findFlight(seq); sent {
			continue
		}
		e, ok, err := v.head(x.key, seq)
		if err != nil {
			return err
		}
		if ok {
			x.run = append(x.run, ent{seq: seq, ref: e.Ref, size: e.Size})
		}
	}
	x.cur.Below = nil
	return nil
}

// refill reads the numbers of the next waiting entries. Those of the group under
// construction are not stored yet, or still stored although they are gone.
func (c *committer) refill(x *session) error {
	if x.known == everything {
		return nil
	}
	from, next := x.known, uint64(everything)
	var more []ent
	if !x.fresh {
		err := c.s.view(c.in.db).heads(x.key, from, math.MaxUint64, func(e *record.Entry) bool {
			if len(more) == runLength {
				next = e.Seq
				return false
			}
			_, gone := x.gone[e.Seq]
			if _, sent := x.findFlight(e.Seq); !gone && !sent && x.pending(e.Seq) == nil {
				more = append(more, ent{seq: e.Seq, ref: e.Ref, size: e.Size})
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	stored := len(more)
	for i := range x.pend {
		w := &x.pend[i]
		if _, sent := x.findFlight(w.e.Seq); !w.gone && !sent && w.e.Seq >= from && w.e.Seq < next {
			more = append(more, ent{seq: w.e.Seq, size: uint32(w.e.Msg.Size())})
		}
	}
	if len(more) > stored {
		slices.SortFunc(more, func(a, b ent) int { return cmp.Compare(a.seq, b.seq) })
		if len(more) > 2*runLength {
			next = more[2*runLength].seq
			more = more[:2*runLength]
		}
	}
	x.run = append(x.run, more...)
	x.known = next
	return nil
}

// stored reads what is known of one entry beyond the run.
func (c *committer) stored(x *session, seq uint64) (ent, bool, error) {
	if w := x.pending(seq); w != nil {
		return ent{seq: seq, size: uint32(w.e.Msg.Size())}, true, nil
	}
	if _, gone := x.gone[seq]; gone || x.fresh {
		return ent{}, false, nil
	}
	e, ok, err := c.s.view(c.in.db).head(x.key, seq)
	return ent{seq: seq, ref: e.Ref, size: e.Size}, ok, err
}

// run works until Close.
func (c *committer) run() {
	if !c.work() {
		close(c.s.ended)
	}
}

// replace goes on for a committer that was left behind inside of Pebble.
func (c *committer) replace() {
	c.applied(c.current, c.in.failed())
	c.run()
}

// work reports whether it was left behind; then it touches nothing any more.
func (c *committer) work() (left bool) {
	timer := time.NewTimer(tickEvery)
	defer timer.Stop()
	c.tickDue = time.Now().Add(c.s.o.tick)
	for {
		g, closing := c.next()
		if g != nil {
			if c.commit(g) {
				return true
			}
		}
		if c.broken() {
			if !c.outage() {
				c.last()
				return false
			}
			continue
		}
		if g != nil {
			continue
		}
		if closing {
			c.last()
			return false
		}
		timer.Reset(max(c.untilDue(), time.Millisecond))
		select {
		case <-c.s.wake:
		case <-c.in.dead:
		case <-timer.C:
		}
	}
}

func (c *committer) untilDue() time.Duration {
	d := time.Until(c.tickDue)
	if !c.unsynced.IsZero() {
		d = min(d, time.Until(c.unsynced.Add(c.interval)))
	}
	return d
}

// next takes what waits, up to what a group may hold; nil: nothing is to do.
func (c *committer) next() (g *group, closing bool) {
	s := c.s
	s.mu.Lock()
	n, changes, bytes := 0, 0, int64(0)
	now := time.Now()
	tick := !now.Before(c.tickDue)
	for (s.urgent || s.closing || len(s.tasks) > 0 || tick) && n < len(s.queue) {
		r := &s.queue[n]
		if n > 0 && (changes+len(r.ops) > maxGroupChanges || bytes+r.bytes > int64(s.o.MemTableBytes/4)) {
			break
		}
		changes += len(r.ops)
		bytes += r.bytes
		n++
	}
	reqs := s.queue[:n:n]
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue, s.urgent = nil, false
	}
	tasks := s.tasks
	s.tasks = nil
	closing = s.closing
	s.mu.Unlock()
	due := !c.unsynced.IsZero() && (closing || now.Sub(c.unsynced) >= c.interval)
	if n == 0 && len(tasks) == 0 && !tick && !due {
		return nil, closing
	}
	g = &group{reqs: reqs, tasks: tasks, shares: make(map[*record.Message]*share), changes: changes, tick: tick}
	for i := range reqs {
		g.level = max(g.level, reqs[i].level)
	}
	if due {
		g.level = store.Flush
	}
	if tick {
		c.tick++
		c.tickDue = now.Add(s.o.tick)
		tidy := c.tidyDue()
		if n == 0 && len(tasks) == 0 && !due && !tidy && c.tick-c.written < checkpointTicks {
			return nil, closing
		}
	}
	return g, closing
}

// tidyDue reports whether a queue wants to be purged, and forgets sessions that
// were not used for a while.
func (c *committer) tidyDue() (due bool) {
	for k, x := range c.sessions {
		idle := c.tick - x.used
		if idle >= 1 && x.dead > 0 {
			due = true
		} else if idle >= forgetAfter {
			delete(c.sessions, k)
		}
	}
	return due
}

// tidy purges queues that have come to rest.
func (c *committer) tidy(g *group) error {
	for _, x := range c.sessions {
		if c.tick-x.used >= 1 && x.dead > 0 {
			used := x.used
			c.touch(g, x)
			x.used = used
			if err := c.purge(g, x); err != nil {
				return err
			}
		}
	}
	return nil
}

// commit writes a group and sees that it is completed. After an error the
// instance is given up and the group is in doubt. left: see instance.apply.
func (c *committer) commit(g *group) (left bool) {
	c.number++
	g.number, g.in = c.number, c.in
	err := c.fill(g)
	if err == nil && g.b != nil {
		g.applied = true
		if g.level >= store.Flush {
			c.in.fence.flushing.Add(1)
		}
		c.current = g
		if left, err = c.in.apply(g.b); left {
			return true
		}
	}
	c.applied(g, err)
	return false
}

// applied follows the attempt to apply a group. When nothing else waits, its
// durability is awaited here: handing it to the finisher would wake a goroutine
// for nothing. What comes meanwhile makes one group, which the disk could not
// have begun before either.
func (c *committer) applied(g *group, err error) {
	s := c.s
	if err != nil {
		g.applied = false
		c.in.giveUp(err, false)
	}
	c.written = c.tick
	c.note(g)
	if s.behind.Load() == 0 && c.idle() {
		s.finishOne(g)
		return
	}
	s.behind.Add(1)
	s.finish <- g
}

// idle reports whether nothing is to be done at once.
func (c *committer) idle() bool {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.urgent && len(s.tasks) == 0 && !s.closing
}

// note remembers since when something waits for a sync.
func (c *committer) note(g *group) {
	switch {
	case g.level >= store.Flush:
		c.unsynced = time.Time{}
	case len(g.reqs) > 0:
		d := c.s.o.Interval
		if g.level == store.Write {
			d = max(d, tickEvery) // it would survive without
		}
		if c.unsynced.IsZero() || d < c.interval {
			c.interval = d
		}
		if c.unsynced.IsZero() {
			c.unsynced = time.Now()
		}
	}
}

// fill builds the batch of a group from the requests that can be carried out.
func (c *committer) fill(g *group) error {
	if err := c.in.failed(); err != nil {
		return err
	}
	for i := range g.reqs {
		if r := &g.reqs[i]; r.err == nil {
			if err := record.Check(r.ops); err != nil {
				r.err, r.ops = fmt.Errorf("commit: %w", err), nil
			}
		}
	}
	g.b = c.in.db.NewBatch()
	for i := range g.tasks {
		if err := c.doTask(g, &g.tasks[i]); err != nil {
			return err
		}
	}
	if g.tick {
		if err := c.tidy(g); err != nil {
			return err
		}
	}
	return c.build(g)
}

// finisher completes the groups in order while the committer prepares the next.
func (s *Store) finisher() {
	for g := range s.finish {
		if g.barrier != nil {
			close(g.barrier)
			continue
		}
		s.finishOne(g)
		s.behind.Add(-1)
	}
}

// finishOne waits for a group to become durable and completes it. A group that
// failed, and all behind it, go back to the committer.
func (s *Store) finishOne(g *group) {
	early := g.level < store.Write && g.applied && g.in.failed() == nil
	if early {
		// At store.Interval it need not even have been written; if that fails it
		// is tried again like the others.
		s.count.notDurable.Add(int64(len(g.reqs)))
		s.completeAll(g)
	}
	if err := g.wait(); err != nil {
		if early {
			s.count.notDurable.Add(-int64(len(g.reqs)))
		}
		g.in.giveUp(err, false)
		s.mu.Lock()
		s.doubt = append(s.doubt, g)
		s.mu.Unlock()
		return
	}
	s.confirm(g, early)
}

// wait blocks until the group is as durable as it should be.
func (g *group) wait() (err error) {
	if !g.applied {
		if err := g.in.failed(); err != nil {
			return err
		}
		return errors.New("not applied")
	}
	err = g.b.SyncWait()
	if g.level >= store.Flush {
		g.in.fence.flushing.Add(-1)
	}
	if err == nil {
		err = g.in.failed() // of an error of the log Pebble knows nothing
	}
	return err
}

// confirm completes a group; counted: it stands among what is not durable.
func (s *Store) confirm(g *group, counted bool) {
	s.confirmed.Store(g.number)
	if g.level >= store.Flush {
		s.mark.set(g.number) // before anybody is told: what was promised is below the mark
	}
	n := &s.count
	n.groups.Add(1)
	n.changes.Add(uint64(g.changes))
	n.payload.Add(g.payload)
	switch {
	case g.level >= store.Flush:
		n.notDurable.Store(0)
	case !counted:
		n.notDurable.Add(int64(len(g.reqs)))
	}
	if err := g.b.Close(); err != nil {
		s.tell(Event{Kind: Background, Err: err})
	}
	s.completeAll(g)
}

func (s *Store) completeAll(g *group) {
	for i := range g.reqs {
		s.complete(&g.reqs[i], g.reqs[i].err)
	}
}

// last ends the finisher and fails what is left.
func (c *committer) last() {
	s := c.s
	c.drain()
	s.mu.Lock()
	s.closed = true
	rest, doubt := s.queue, s.doubt
	s.queue, s.doubt, s.tasks = nil, nil, nil
	s.mu.Unlock()
	for _, g := range doubt {
		s.failAll(g.reqs, store.ErrClosed)
	}
	s.failAll(rest, store.ErrClosed)
	close(s.finish)
}

func (s *Store) failAll(reqs []request, err error) {
	for i := range reqs {
		switch r := &reqs[i]; {
		case r.told && r.err == nil:
			s.count.lost.Add(1)
		case r.err != nil:
			s.complete(r, r.err)
		default:
			s.complete(r, err)
		}
	}
}

// drain waits until the finisher has nothing left.
func (c *committer) drain() {
	g := &group{barrier: make(chan struct{})}
	c.s.finish <- g
	<-g.barrier
}

// broken reports whether the instance has to be replaced.
func (c *committer) broken() bool { return c.in.failed() != nil }
