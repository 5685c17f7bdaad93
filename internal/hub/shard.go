package hub

import (
	"sync"
	"sync/atomic"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/router"
	"github.com/midgemq/midge/internal/session"
	"github.com/midgemq/midge/internal/store"
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
	// transit is what a client has for its shard while it is on its way to this
	// one; self is the shard itself, for its transit too.
	transit, self *Shard

	// owned by the loop
	Count  Counters
	now    record.Instant
	cache  *router.Cache[*Client]
	fx     []*session.Effects
	codes  []byte
	props  []byte
	mount  []byte
	open   openBatch
	held   []heldBatch // submitted, oldest first
	ticket uint64      // of the open batch
	// starved are reads that have to wait; stalled has publishers offer again what
	// could not be taken.
	starved []starving
	stalled []func()
	pending int64 // bytes in held
	unsaved map[string]struct{}
	passed  []passed
	frames  frames
	// routed is the message for which a member of a shared group is looked for;
	// ableFn is able, made once.
	routed *record.Message
	ableFn func(*Client) bool
	// view is the message being routed while it still belongs to the read buffer.
	view     record.Message
	ahead    []*Client // scratch memory of Ahead
	touched  byte      // keeps the compiler from leaving its reads out
	outbox   [][]mail
	outN     int
	hushed   int      // letters that need not wake their loop at once
	untold   []*Shard // loops that have such letters
	sessions Wheel[*Client]
	links    Wheel[Timed]
	// waitingFor are connections that have not been admitted yet.
	waitingFor waitingList
	// admission is one to be used again, see Recycle.
	admission *Admission
	retained  Wheel[expiring]
	look      router.Cursor[*record.Message] // scratch memory of startCursor
	dropping  map[*Client][session.NumDrops]uint64
	dropLog   record.Instant
	debug     bool
	swept     record.Instant
	unkept    bool // a commit of the message being routed failed
	queued    int64
	moving    moving
	rounds    int // how often all clients were looked at because rules changed

	// What other loops touch lies apart from what this one writes for each message.
	_ [cacheLine]byte

	// guarded by mu
	mu sync.Mutex
	// waiting is the weight of the inbox, for other loops
	waiting atomic.Int64
	// low is the lowest sequence number that this loop may have given to an entry
	// that is not committed; 0: none. hungry: it waits for others to get on.
	low    atomic.Uint64
	hungry atomic.Bool
	inbox  []mail
	spare  []mail
	closed bool
	_      [cacheLine]byte
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
	mailRefused
	// mailArrive brings a connection; fn is called also when the loop ends before.
	mailArrive
)

// mail is what one loop has for another.
type mail struct {
	c      *Client
	msg    *record.Message
	fn     func(*Shard)
	d      session.Delivery
	seq    uint64
	ticket uint64
	key    record.SessionKey // of the session whose queue has the entry; 0: none has
	at     record.Instant    // when it was routed
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
	// Moved counts the connections that went to another loop because this one was
	// busy.
	Moved uint64
	// PubcompMissing counts subscribers that were found to owe PUBCOMPs.
	PubcompMissing uint64
}

// AddShard adds a loop's shard. wake must make that loop call Turn soon; it may
// be called from any goroutine and must not block.
func (h *Hub) AddShard(wake func()) *Shard {
	sh := &Shard{
		Hub: h, ID: len(h.Shards), wake: wake,
		cache: router.NewCache(h.Tree, cacheEntries, cacheBytes), open: openBatch{Batch: new(store.Batch)},
		dropping: make(map[*Client][session.NumDrops]uint64), ticket: 1,
	}
	sh.ableFn = sh.able
	sh.self, sh.transit = sh, &Shard{Hub: h, ID: sh.ID, self: sh}
	h.Shards = append(h.Shards, sh)
	return sh
}

// Now is the clock reading of this batch.
func (sh *Shard) Now() record.Instant { return sh.now }

// Begin starts a batch with one clock reading.
func (sh *Shard) Begin(now record.Instant) {
	sh.now = now
	sh.debug = sh.Hub.Log.Enabled(logging.Debug)
	sh.beginBatch()
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
		sh.mailIn(&in[i])
	}
	clear(in)
	if cap(in) > 1<<16 {
		in = nil
	}
	sh.mu.Lock()
	sh.spare = in[:0]
	sh.mu.Unlock()
	sh.waitingFor.advance(sh.now, func(l Timed) { l.Timer(sh, sh.now) })
	sh.links.Advance(sh.now, func(l Timed) { l.Timer(sh, sh.now) })
	sh.sessions.Advance(sh.now, sh.sessionDue)
	sh.retained.Advance(sh.now, sh.retainedDue)
	sh.logDrops()
	sh.feedStarved()
	sh.saveUnsaved()
	if sh.now-sh.swept >= record.Second {
		// Stale entries would keep ended sessions from the collector.
		sh.swept = sh.now
		sh.cache.Sweep(cacheSweep)
	}
}

// NextTimer is when Turn should run at the latest; ok false: no timer waits.
func (sh *Shard) NextTimer() (at record.Instant, ok bool) {
	for _, next := range [...]func() (record.Instant, bool){sh.waitingFor.due, sh.links.Next, sh.sessions.Next, sh.retained.Next} {
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
func (sh *Shard) Post(f func()) bool {
	return sh.put(mail{kind: mailFunc, fn: func(*Shard) { f() }})
}

func (sh *Shard) put(ms ...mail) bool {
	first, ok := sh.add(ms)
	if first {
		sh.wake()
	}
	return ok
}

// add puts mail into the inbox; first: the loop has to be woken for it.
func (sh *Shard) add(ms []mail) (first, ok bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.closed {
		return false, false
	}
	first = len(sh.inbox) == 0
	sh.inbox = append(sh.inbox, ms...)
	sh.waiting.Add(weight(ms))
	return first, true
}

func weight(ms []mail) (n int64) {
	for i := range ms {
		n += weight1(&ms[i])
	}
	return n
}

func weight1(m *mail) int64 {
	if m.msg != nil {
		return 1 + int64(len(m.msg.Payload)>>10)
	}
	return 1
}

// Congested reports whether another loop has more mail than it should: until it
// has caught up, the caller reads no messages from its own connections, so that
// a busy loop slows its publishers and memory stays bounded. It still works on
// its own mail, so two loops never wait for each other.
func (sh *Shard) Congested() bool {
	if sh.moving.held > inboxLimit {
		return true
	}
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
	in := sh.inbox
	sh.inbox = nil
	sh.mu.Unlock()
	for i := range in {
		if in[i].kind == mailArrive {
			in[i].fn(nil)
		}
	}
}

// End closes the batch: what it changed is committed, what was for other loops
// is handed over. The loop writes its dirty connections afterwards.
func (sh *Shard) End() {
	sh.commit()
	sh.post()
	sh.endBatch()
}

func (sh *Shard) post() {
	if sh.outN == 0 {
		return
	}
	for i, ms := range sh.outbox {
		if len(ms) > 0 {
			to := sh.Hub.Shards[i]
			first, _ := to.add(ms)
			switch {
			case first && len(ms) <= sh.hushed:
				sh.untold = append(sh.untold, to)
			case first:
				to.wake()
			}
			clear(ms)
			sh.outbox[i] = ms[:0]
		}
	}
	sh.outN = 0
}

// Hush has up to n letters of one batch for another loop not wake it. The caller
// asks Untold before it waits. 0, as at first: all mail wakes.
func (sh *Shard) Hush(n int) { sh.hushed = n }

// Untold calls f for each loop that may have mail for which nobody has woken it:
// f sees to the mail or has that loop do so.
func (sh *Shard) Untold(f func(*Shard)) {
	for i, o := range sh.untold {
		sh.untold[i] = nil
		if o.Pending() {
			f(o)
		}
	}
	sh.untold = sh.untold[:0]
}

func (sh *Shard) mailTo(to *Shard, m mail) {
	if to == sh.transit {
		sh.hold(&m)
		return
	}
	if sh.outbox == nil {
		sh.outbox = make([][]mail, len(sh.Hub.Shards))
	}
	sh.outbox[to.ID] = append(sh.outbox[to.ID], m)
	if sh.outN++; sh.outN >= outboxNow && len(sh.open.Ops) == 0 {
		sh.post()
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
	if c.rights.Load() != nil {
		fx.May = func(m *record.Message) bool { return sh.may(c, auth.Receive, m.Topic) }
	}
}

func (sh *Shard) putFX(fx *session.Effects) {
	fx.Reset()
	sh.fx = append(sh.fx, fx)
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
	if !sh.Owns(c) {
		return // it has moved, and its timers with it
	}
	c.timerAt = 0
	if c.ended {
		return
	}
	if c.reread {
		c.reread = false
		fx := sh.fxFor(c)
		c.S.Reread(sh.now, fx)
		sh.apply(c, fx)
		sh.putFX(fx)
	}
	if c.S.Online() {
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
