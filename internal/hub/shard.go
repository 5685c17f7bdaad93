package hub

import (
	"sync"
	"sync/atomic"

	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/router"
	"github.com/midgemq/midge/internal/session"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/mqtt"
)

const (
	// cacheEntries bounds the per-loop cache topic -> subscribers.
	cacheEntries = 1 << 15
	cacheBytes   = 16 << 20
	// cacheSweep is how many entries a loop looks at per second for stale ones.
	cacheSweep = 256
	// outboxNow is how much one batch may gather for other loops before it is
	// handed over.
	outboxNow = 512
	// inboxLimit is the weight of mail that may wait for a loop before others hold
	// back: one for each letter and one for each KiB of payload in it.
	inboxLimit = 1 << 14
)

// Shard is one loop's part of the hub: the sessions it owns and the batch it
// works on. Everything but the inbox belongs to the loop.
type Shard struct {
	// immutable
	Hub  *Hub
	ID   int
	wake func()

	// owned by the loop
	Count  Counters
	now    record.Instant
	cache  *router.Cache[*Client]
	fx     []*session.Effects
	codes  []byte
	props  []byte
	batch  *store.Batch
	gates  []Link // connections that hold something for the open ticket
	held   []heldGates
	ticket uint64
	frames frames
	// view is the message being routed while it still belongs to the read buffer.
	view     record.Message
	outbox   [][]mail
	outN     int
	sessions Wheel[*Client]
	links    Wheel[Timed]
	retained Wheel[expiring]
	dropping map[*Client][session.NumDrops]uint64
	dropLog  record.Instant
	debug    bool
	swept    record.Instant
	unkept   bool // a commit of the message being routed failed

	// guarded by mu
	mu sync.Mutex
	// waiting is the weight of the inbox, for other loops
	waiting atomic.Int64
	inbox   []mail
	spare   []mail
	closed  bool
}

type heldGates struct {
	ticket uint64
	links  []Link
}

// expiring is a retained message that has a message expiry.
type expiring struct {
	topic string
	seq   uint64
}

type mailKind uint8

const (
	mailDeliver mailKind = iota + 1
	mailFunc
	mailRelease
)

// mail is what one loop has for another.
type mail struct {
	c      *Client
	msg    *record.Message
	fn     func()
	d      session.Delivery
	seq    uint64
	ticket uint64
	at     record.Instant // when it was routed
	kind   mailKind
}

// Counters are a loop's own counts, read through Post. They start with the
// broker and only grow.
type Counters struct {
	BytesReceived, BytesSent               uint64
	PacketsReceived, PacketsSent           uint64
	PublishReceived, PublishSent           uint64
	PublishBytesReceived, PublishBytesSent uint64
	Sockets, Connects, Connected           uint64
	PublishDropped                         uint64
	Drops                                  [session.NumDrops]uint64
	OutBytes, OutPackets                   int64
	// Ends counts the connections that ended, by cause.
	Ends [logging.NumCauses]uint64
	// PubcompMissing counts subscribers that were found to owe PUBCOMPs.
	PubcompMissing uint64
}

// AddShard adds a loop's shard. wake must make that loop call Turn soon; it may
// be called from any goroutine and must not block.
func (h *Hub) AddShard(wake func()) *Shard {
	sh := &Shard{
		Hub: h, ID: len(h.Shards), wake: wake,
		cache: router.NewCache(h.Tree, cacheEntries, cacheBytes), batch: new(store.Batch),
		dropping: make(map[*Client][session.NumDrops]uint64), ticket: 1,
	}
	h.Shards = append(h.Shards, sh)
	return sh
}

// Now is the clock reading of this batch.
func (sh *Shard) Now() record.Instant { return sh.now }

// Begin starts a batch with one clock reading.
func (sh *Shard) Begin(now record.Instant) {
	sh.now = now
	sh.debug = sh.Hub.Log.Enabled(logging.Debug)
}

// Turn works on what other loops and timers have for this one. Called in each
// batch, after Begin.
func (sh *Shard) Turn() {
	sh.mu.Lock()
	in := sh.inbox
	sh.inbox, sh.spare = sh.spare[:0], nil
	sh.mu.Unlock()
	defer sh.waiting.Add(-weight(in))
	for i := range in {
		m := &in[i]
		switch m.kind {
		case mailDeliver:
			sh.deliver(m.c, m.msg, m.d, m.seq, m.at)
		case mailFunc:
			m.fn()
		case mailRelease:
			sh.release(m.ticket)
		}
	}
	clear(in)
	if cap(in) > 1<<16 {
		in = nil
	}
	sh.mu.Lock()
	sh.spare = in[:0]
	sh.mu.Unlock()
	sh.links.Advance(sh.now, func(l Timed) { l.Timer(sh.now) })
	sh.sessions.Advance(sh.now, sh.sessionDue)
	sh.retained.Advance(sh.now, sh.retainedDue)
	sh.logDrops()
	if sh.now-sh.swept >= record.Second {
		// Stale entries would keep ended sessions from the collector.
		sh.swept = sh.now
		sh.cache.Sweep(cacheSweep)
	}
}

// NextTimer is when Turn should run at the latest; ok false: no timer waits.
func (sh *Shard) NextTimer() (at record.Instant, ok bool) {
	for _, next := range [...]func() (record.Instant, bool){sh.links.Next, sh.sessions.Next, sh.retained.Next} {
		if t, have := next(); have && (!ok || t < at) {
			at, ok = t, true
		}
	}
	if len(sh.dropping) > 0 && (!ok || sh.dropLog < at) {
		at, ok = sh.dropLog, true
	}
	return at, ok
}

// TimerFor asks for a call of l.Timer at the given instant. It cannot be taken
// back: Timer looks whether anything is due.
func (sh *Shard) TimerFor(l Timed, at record.Instant) { sh.links.Add(at, l) }

// Post has f run on the loop in its next turn. Any goroutine. It reports false
// after Close.
func (sh *Shard) Post(f func()) bool { return sh.put(mail{kind: mailFunc, fn: f}) }

func (sh *Shard) put(ms ...mail) bool {
	sh.mu.Lock()
	if sh.closed {
		sh.mu.Unlock()
		return false
	}
	first := len(sh.inbox) == 0
	sh.inbox = append(sh.inbox, ms...)
	sh.waiting.Add(weight(ms))
	sh.mu.Unlock()
	if first {
		sh.wake()
	}
	return true
}

func weight(ms []mail) (n int64) {
	for i := range ms {
		n++
		if m := ms[i].msg; m != nil {
			n += int64(len(m.Payload) >> 10)
		}
	}
	return n
}

// Congested reports whether another loop has more mail than it should: until it
// has caught up, the caller reads no messages from its own connections, so that
// a busy loop slows its publishers and memory stays bounded. It still works on
// its own mail, so two loops never wait for each other.
func (sh *Shard) Congested() bool {
	for _, o := range sh.Hub.Shards {
		if o != sh && o.waiting.Load() > inboxLimit {
			return true
		}
	}
	return false
}

// Pending reports whether mail waits. Any goroutine.
func (sh *Shard) Pending() bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return len(sh.inbox) > 0
}

// Close refuses further mail. The loop calls it when it ends.
func (sh *Shard) Close() {
	sh.mu.Lock()
	sh.closed = true
	sh.inbox = nil
	sh.mu.Unlock()
}

// End closes the batch: what it changed is committed, what was for other loops
// is handed over. The loop writes its dirty connections afterwards.
func (sh *Shard) End() {
	sh.commit()
	sh.post()
}

func (sh *Shard) post() {
	if sh.outN == 0 {
		return
	}
	for i, ms := range sh.outbox {
		if len(ms) > 0 {
			sh.Hub.Shards[i].put(ms...)
			clear(ms)
			sh.outbox[i] = ms[:0]
		}
	}
	sh.outN = 0
}

func (sh *Shard) mailTo(to *Shard, m mail) {
	if sh.outbox == nil {
		sh.outbox = make([][]mail, len(sh.Hub.Shards))
	}
	sh.outbox[to.ID] = append(sh.outbox[to.ID], m)
	if sh.outN++; sh.outN >= outboxNow && len(sh.batch.Ops) == 0 {
		sh.post()
	}
}

// commit submits what the batch changed. An engine that answers at once is given
// each step's changes before the step's packets leave (see apply), so this is
// for the others: their packets wait in the connections under the batch's ticket.
func (sh *Shard) commit() {
	if len(sh.batch.Ops) == 0 {
		return
	}
	b, t := sh.batch, sh.ticket
	sh.batch = new(store.Batch)
	sh.ticket++
	sh.held = append(sh.held, heldGates{ticket: t, links: sh.gates})
	sh.gates = nil
	sh.Hub.Store.Commit(b, sh.Hub.Cfg().Level, func(err error) {
		if err != nil {
			sh.Post(func() { sh.failed(t, err) })
			return
		}
		sh.put(mail{kind: mailRelease, ticket: t})
	})
}

// release lets out what waited for this commit and the ones before it.
func (sh *Shard) release(ticket uint64) {
	for len(sh.held) > 0 && sh.held[0].ticket <= ticket {
		for _, l := range sh.held[0].links {
			l.Release(ticket)
		}
		sh.held[0].links = nil
		sh.held = sh.held[1:]
	}
}

// failed ends the connections that wait for a commit that did not happen: an
// acknowledgement that cannot be kept is never sent.
func (sh *Shard) failed(ticket uint64, err error) {
	sh.Hub.Log.Error("Error: unable to store: %v. Connections that wait for it are closed.", err)
	for len(sh.held) > 0 && sh.held[0].ticket <= ticket {
		for _, l := range sh.held[0].links {
			l.Kick(End{Code: mqtt.ImplementationSpecific, Reason: logging.ReasonImplementation, Text: "unable to store"})
		}
		sh.held = sh.held[1:]
	}
}

func (sh *Shard) getFX() *session.Effects {
	if n := len(sh.fx); n > 0 {
		fx := sh.fx[n-1]
		sh.fx = sh.fx[:n-1]
		return fx
	}
	return new(session.Effects)
}

// fxFor is getFX for steps of c that may send what has waited.
func (sh *Shard) fxFor(c *Client) *session.Effects {
	fx := sh.getFX()
	sh.guard(c, fx)
	return fx
}

func (sh *Shard) guard(c *Client, fx *session.Effects) {
	if c.who != nil {
		fx.May = func(m *record.Message) bool { return sh.mayReceive(c, m) }
	}
}

func (sh *Shard) putFX(fx *session.Effects) {
	fx.Reset()
	sh.fx = append(sh.fx, fx)
}

// apply carries out what a step of c asked for: persist, then send. Messages
// that the step publishes itself are routed last; nobody waits for them.
func (sh *Shard) apply(c *Client, fx *session.Effects) {
	kept := sh.keepOps(c, fx.Ops)
	if l := c.link; l != nil && len(fx.Sends) > 0 {
		sh.sendAll(l, fx.Sends, kept)
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

// keepOps adds a step's changes to the batch; an engine that answers at once has
// them now. false: they are not kept, so nothing that depends on them may leave
// and the connection ends.
func (sh *Shard) keepOps(c *Client, ops []record.Op) bool {
	if len(ops) == 0 {
		return true
	}
	sh.batch.Ops = append(sh.batch.Ops, ops...)
	err := sh.commitNow()
	if err != nil && c.link != nil {
		sh.Later(c.link, End{Code: mqtt.ImplementationSpecific, Reason: logging.ReasonImplementation, Text: "unable to store"})
	}
	return err == nil
}

// commitNow commits the batch if the engine answers at once.
func (sh *Shard) commitNow() (err error) {
	if !sh.Hub.Store.Immediate() {
		return nil
	}
	sh.Hub.Store.Commit(sh.batch, sh.Hub.Cfg().Level, func(e error) { err = e })
	clear(sh.batch.Ops)
	sh.batch.Ops = sh.batch.Ops[:0]
	if err != nil {
		sh.unkept = true
		sh.Hub.Log.Error("Error: unable to store: %v.", err)
	}
	return err
}

// sendAll hands packets to a connection, those that depend on the batch under its
// ticket.
func (sh *Shard) sendAll(l Link, sends []session.Send, kept bool) {
	var gate uint64
	if len(sh.batch.Ops) > 0 {
		gate = sh.ticket
		sh.gates = append(sh.gates, l)
	}
	for i := range sends {
		s := &sends[i]
		switch {
		case !gated(s):
			l.Send(s, 0)
		case kept:
			l.Send(s, gate)
		}
	}
}

// gated reports whether a packet has to wait for the commit of its batch.
func gated(s *session.Send) bool {
	return s.Type != pingresp && (s.Type != publish || s.QoS > 0)
}

// fetch reads the next entries of a stored queue.
func (sh *Shard) fetch(c *Client) {
	from, limit := c.S.QueueFrom()
	key := c.S.Key()
	take := func(es []record.Queued, err error) {
		if c.S.Key() != key || c.ended {
			return // another session under this id by now
		}
		if err != nil {
			sh.Hub.Log.Error("Error: unable to read the queue of %s: %v.", c.ID, err)
		}
		fx := sh.fxFor(c)
		c.S.Refill(es, sh.now, fx)
		sh.apply(c, fx)
		sh.putFX(fx)
	}
	if sh.Hub.Store.Immediate() {
		sh.Hub.Store.ReadQueue(key, from, limit, take)
		return
	}
	sh.Hub.Store.ReadQueue(key, from, limit, func(es []record.Queued, err error) {
		sh.Post(func() { take(es, err) })
	})
}

// countDrop counts a drop for the broker and for the once-a-minute log line.
func (sh *Shard) countDrop(c *Client, why session.Drop, n uint64) {
	sh.Count.Drops[why] += n
	sh.Count.PublishDropped += n
	if !c.warned && c.link != nil {
		c.warned = true
		sh.Hub.Log.Dropping(c.ID)
	}
	if len(sh.dropping) == 0 {
		sh.dropLog = sh.now + 60*record.Second
	}
	d := sh.dropping[c]
	d[why] += n
	sh.dropping[c] = d
}

// logDrops writes, once a minute, who lost how much by which limit.
func (sh *Shard) logDrops() {
	if len(sh.dropping) == 0 || sh.now < sh.dropLog {
		return
	}
	for c, d := range sh.dropping {
		for why, n := range d {
			if n > 0 {
				sh.Hub.Log.Notice("Dropped %d messages for client %s in the last minute: %s.", n, c.ID, session.Drop(why))
			}
		}
	}
	clear(sh.dropping)
}

// schedule enters the session's next deadline into the wheel.
func (sh *Shard) schedule(c *Client) {
	due := c.S.Due()
	if due == 0 || (c.timerAt != 0 && c.timerAt <= due) {
		return
	}
	c.timerAt = due
	sh.sessions.Add(due, c)
}

func (sh *Shard) sessionDue(c *Client) {
	c.timerAt = 0
	if c.ended || c.S.Online() {
		return
	}
	fx := sh.getFX()
	ended := c.S.Timer(sh.now, fx)
	sh.apply(c, fx)
	sh.putFX(fx)
	if ended {
		sh.Hub.expired.Add(1)
		sh.Hub.Log.Expired(c.ID)
		sh.end(c)
		return
	}
	sh.schedule(c)
}
