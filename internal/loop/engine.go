// Package loop moves bytes between sockets and connections. On Linux each loop
// is one goroutine over epoll that owns its connections; elsewhere, and under
// the build tag portable, goroutines per connection feed the same single owner.
//
// A loop never blocks but while it waits for events: handshakes, password
// hashing, the disk and HTTP run elsewhere and come back through the shard's
// inbox. Nothing here knows MQTT.
package loop

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/midgemq/midge/internal/conn"
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/transport"
)

// ConnectionsPerLoop is how many connections open before a further loop takes
// its share: one loop that is not saturated needs less CPU per message than two.
const ConnectionsPerLoop = 256

// Clock reads the broker's monotonic time line. The zero instant means "none"
// everywhere, so it starts later.
type Clock struct {
	start  time.Time
	offset atomic.Int64
	slow   time.Duration // see Slow; 0: not at all
}

// epoch is where the time line begins: thirty years from its zero, so that what
// a store kept of the time before the start is not below it, and far enough from
// the end for the longest expiry, 136 years.
const epoch = 30 * 365 * 24 * 3600 * record.Second

// NewClock starts a time line.
func NewClock() *Clock { return &Clock{start: time.Now()} }

// Now reads it. Any goroutine.
func (c *Clock) Now() record.Instant {
	d := time.Since(c.start)
	if c.slow != 0 {
		d /= c.slow
	}
	return record.Instant(d) + epoch + record.Instant(c.offset.Load())
}

// Advance moves it forward, for tests that do not wait. Follow it with a wake of
// every loop.
func (c *Clock) Advance(d time.Duration) { c.offset.Add(int64(d)) }

// Slow makes one second of the time line last n, for tests whose seconds are those
// of Advance, however long the machine takes between. Before the loops start.
func (c *Clock) Slow(n int) { c.slow = time.Duration(n) }

// Bound is a listening socket with what its connections get.
type Bound struct {
	*transport.Listener
	Settings *hub.Listener
}

// Engine runs the loops of one broker.
type Engine struct {
	// immutable
	hub   *hub.Hub
	clock *Clock
	loops []*Loop
	share int // connections before a further loop takes part

	limit  atomic.Int64 // global_max_connections, 0: none
	forced atomic.Int64 // batches between two moves, for tests; 0: only by load
	open   atomic.Int64
	rate   rate
	wg     sync.WaitGroup
}

// New makes n loops and their shards. globalLimit bounds open connections over
// all listeners, 0: none; share is usually ConnectionsPerLoop.
func New(h *hub.Hub, clock *Clock, n, globalLimit, share int) (*Engine, error) {
	e := &Engine{hub: h, clock: clock, share: share}
	e.SetLimit(globalLimit)
	for range n {
		l, err := newLoop(e)
		if err != nil {
			e.Close()
			return nil, err
		}
		e.loops = append(e.loops, l)
	}
	return e, nil
}

// MoveEvery has each loop move one of its connections to another every n batches,
// whatever the load, for tests; 0: only by load. Any goroutine.
func (e *Engine) MoveEvery(n int) { e.forced.Store(int64(n)) }

// SetLimit bounds open connections over all listeners from now on; those that
// are open stay. Any goroutine.
func (e *Engine) SetLimit(n int) { e.limit.Store(int64(n)) }

// SetRate bounds new connections per second and address from now on, 0: no
// limit. Any goroutine.
func (e *Engine) SetRate(perSecond int) { e.rate.set(perSecond) }

// Start runs the loops.
func (e *Engine) Start() {
	for _, l := range e.loops {
		e.wg.Add(1)
		go func() {
			defer e.wg.Done()
			l.run()
		}()
	}
}

// Listen takes connections from b. After Start.
func (e *Engine) Listen(b Bound) error { return e.loops[0].listen(b) }

// StopListening closes the listeners.
func (e *Engine) StopListening() { e.loops[0].closeListeners() }

// Open returns the number of open connections. Any goroutine.
func (e *Engine) Open() int64 { return e.open.Load() }

// Close ends the loops: listeners and connections are closed without a word, so
// whoever wants wills and DISCONNECT sees to them before. It waits until every
// goroutine has ended.
func (e *Engine) Close() {
	for _, l := range e.loops {
		l.stop()
	}
	e.wg.Wait()
}

// pick chooses the loop of a new connection.
func (e *Engine) pick() *Loop {
	n := e.open.Load()
	active := min(len(e.loops), 1+int(n)/e.share)
	best := e.loops[0]
	for _, l := range e.loops[1:active] {
		if l.count.Load() < best.count.Load() {
			best = l
		}
	}
	return best
}

// admit applies the limits on connections and tells the log of one that may go
// on; false: close the socket.
func (e *Engine) admit(b *Bound, from conn.Origin) bool {
	if b.PeerIsClient() && !e.rate.allow(from.Addr(), e.clock.Now()) {
		e.hub.Log.DeniedRate(from.String())
		return false
	}
	n := e.open.Add(1)
	k := b.Settings.Count(1)
	all, own := e.limit.Load(), int64(b.Settings.Now().MaxConnections)
	if (all > 0 && n > all) || (own > 0 && k > own) {
		e.open.Add(-1)
		b.Settings.Count(-1)
		e.hub.Log.DeniedMaxConnections(from.String())
		return false
	}
	if b.Announced() && e.hub.Log.ConnectionsEnabled() {
		e.hub.Log.NewConnection(from.String(), b.Settings.Port)
	}
	return true
}

// origin is where a connection comes from that the listener has accepted.
func (b *Bound) origin(peer netip.AddrPort) conn.Origin {
	if peer.IsValid() {
		return conn.Origin{AddrPort: peer}
	}
	return conn.Origin{Text: b.Peer(peer)}
}
