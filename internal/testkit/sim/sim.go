// Package sim runs the whole broker engine, sessions, hub and connections,
// without sockets, goroutines or a real clock: bytes are fed by hand, answers are
// there when Feed returns, and time moves when Advance says so.
//
// It is for tests and belongs to one goroutine. Each batch's read buffer is
// overwritten afterwards, so that anything that kept a view of it shows.
package sim

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/midgemq/midge/internal/conn"
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/wsproto"
)

// Engine is one simulated broker.
type Engine struct {
	Hub      *hub.Hub
	Listener *hub.Listener
	envs     []*conn.Env
	dirty    []*Pipe
	now      record.Instant
	next     int
	n        int
	pipes    []*Pipe
	every    int // Settles between two moves, 0: none
	settled  int
}

// New makes an engine with the given number of shards; connections are spread
// over them in turn, so that with two of them sessions move.
func New(cfg *hub.Config, l *hub.Listener, log *logging.Logger, st store.Store, shards int) *Engine {
	e := &Engine{Hub: hub.New(cfg, log, st), Listener: l, now: record.Second}
	for range shards {
		e.envs = append(e.envs, conn.NewEnv(e.Hub.AddShard(func() {})))
	}
	for _, env := range e.envs {
		env.Shard.Begin(e.now)
	}
	if err := e.Hub.Restore(e.now); err != nil {
		panic(fmt.Sprintf("sim: restore: %v", err))
	}
	return e
}

// Now is the simulated time.
func (e *Engine) Now() record.Instant { return e.now }

// maxSteps bounds how many timers one Advance goes through one by one; years are
// jumped over.
const maxSteps = 20000

// Advance moves the time on in steps of a tenth of a second, working on what is
// due in each.
func (e *Engine) Advance(d time.Duration) {
	end := e.now + record.Instant(d)
	for n := 0; e.now < end; n++ {
		if n == maxSteps {
			e.now = end
			e.Settle()
			return
		}
		step := min(end-e.now, record.Second/10)
		if at, ok := e.nextTimer(); !ok || at > end {
			step = end - e.now
		} else if at > e.now {
			step = min(at-e.now, end-e.now)
		}
		e.now += step
		e.Settle()
	}
}

func (e *Engine) nextTimer() (at record.Instant, ok bool) {
	for _, env := range e.envs {
		if t, have := env.Shard.NextTimer(); have && (!ok || t < at) {
			at, ok = t, true
		}
	}
	return at, ok
}

// MoveEvery has one of the connections move to another shard in every n-th
// Settle.
func (e *Engine) MoveEvery(n int) { e.every = n }

// Moved returns how many connections have moved.
func (e *Engine) Moved() (n uint64) {
	for _, env := range e.envs {
		n += env.Shard.Count.Moved
	}
	return n
}

// depart begins the move of the next connection that can.
func (e *Engine) depart() {
	if e.settled++; e.every == 0 || e.settled%e.every != 0 || len(e.envs) < 2 {
		return
	}
	for i := range e.pipes {
		p := e.pipes[(e.settled/e.every+i)%len(e.pipes)]
		if p.closed || !p.MayMove() {
			continue
		}
		from := p.Env().Shard
		to := e.envs[(from.ID+1+e.settled%(len(e.envs)-1))%len(e.envs)].Shard
		from.Begin(e.now)
		if from.Depart(p.Client(), to, p) {
			p.Halt()
			from.Fence()
		}
		from.End()
		return
	}
}

// Settle runs turns until no shard has anything left for another.
func (e *Engine) Settle() {
	e.depart()
	for quiet := 0; quiet < 2; {
		before := len(e.dirty)
		for _, env := range e.envs {
			env.Shard.Begin(e.now)
			env.Shard.Turn()
			env.Shard.End()
		}
		busy := e.flush() || before > 0
		for _, env := range e.envs {
			env.Shard.Ship()
		}
		busy = e.pending() || busy
		if busy {
			quiet = 0
		} else {
			quiet++
		}
	}
}

func (e *Engine) pending() bool {
	for _, env := range e.envs {
		if env.Shard.Pending() {
			return true
		}
	}
	return false
}

func (e *Engine) flush() (any bool) {
	for len(e.dirty) > 0 {
		list := e.dirty
		e.dirty = nil
		for _, p := range list {
			p.Flush()
			any = true
		}
	}
	return any
}

// Pipe is one connection; its methods that a test calls are Feed, Output, EOF,
// Closed, Ended and Limit.
type Pipe struct {
	conn.Conn
	e      *Engine
	out    []byte
	fed    int
	space  int // bytes the simulated socket still takes; negative: no limit
	paused bool
	wclose bool
	closed bool
}

// Open makes a connection as from a client that has just been accepted.
func (e *Engine) Open(layer wsproto.Layer) *Pipe {
	e.n++
	env := e.envs[e.next%len(e.envs)]
	e.next++
	env.Shard.Begin(e.now)
	p := &Pipe{e: e, space: -1}
	e.pipes = append(e.pipes, p)
	e.Listener.Open.Add(1)
	p.Init(env, p, e.Listener, conn.Origin{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(40000+e.n))}, layer)
	e.Settle()
	return p
}

// Feed gives the broker bytes and returns when everything that follows from them
// has been done. Every other time it reads into the connection's own buffer, where
// that is wanted.
func (p *Pipe) Feed(b []byte) {
	p.fed++
	for len(b) > 0 && !p.closed {
		n := min(len(b), 64<<10)
		p.Env().Shard.Begin(p.e.now)
		if tail := p.Tail(); tail != nil && p.fed%2 == 0 {
			n = copy(tail, b)
			p.Filled(n)
			p.Env().Shard.End()
		} else {
			buf := append(make([]byte, 0, n), b[:n]...)
			p.Input(buf)
			p.Env().Shard.End()
			for i := range buf {
				buf[i] = 0xA5
			}
		}
		p.e.Settle()
		b = b[n:]
	}
}

// Hangup is the end of the client's direction, with or without an error.
func (p *Pipe) Hangup(err error) {
	if p.closed {
		return
	}
	p.Env().Shard.Begin(p.e.now)
	p.EOF(err)
	p.Env().Shard.End()
	p.e.Settle()
}

// Output takes what the broker has written.
func (p *Pipe) Output() []byte {
	b := p.out
	p.out = nil
	return b
}

// Over reports whether the broker has ended its direction or the connection.
func (p *Pipe) Over() bool { return p.wclose || p.closed }

// Limit lets the simulated socket take n more bytes; negative: any number. What
// waited is written as far as it fits.
func (p *Pipe) Limit(n int) {
	p.space = n
	if n != 0 && !p.closed {
		p.Env().Shard.Begin(p.e.now)
		p.Writable()
		p.Env().Shard.End()
		p.e.Settle()
	}
}

// Write implements conn.Socket.
func (p *Pipe) Write(bufs [][]byte) (n int, err error) {
	for _, b := range bufs {
		if p.space >= 0 && len(b) > p.space {
			b = b[:p.space]
		}
		p.out = append(p.out, b...)
		n += len(b)
		if p.space >= 0 {
			p.space -= len(b)
		}
	}
	return n, nil
}

// Dirty implements conn.Socket.
func (p *Pipe) Dirty() { p.e.dirty = append(p.e.dirty, p) }

// Pause implements conn.Socket. Feed does not obey it: a test that feeds a
// paused connection plays the kernel's buffer.
func (p *Pipe) Pause() { p.paused = true }

// Resume implements conn.Socket.
func (p *Pipe) Resume() { p.paused = false }

// CloseWrite implements conn.Socket.
func (p *Pipe) CloseWrite() { p.wclose = true }

// Close implements conn.Socket.
func (p *Pipe) Close() { p.closed = true }

// Move implements conn.Socket.
func (p *Pipe) Move(to *hub.Shard, then func(*conn.Env)) {
	p.Rehome(p.e.envs[to.ID])
	to.Post(func() { then(p.e.envs[to.ID]) })
}

// Leave implements hub.Mover.
func (p *Pipe) Leave(to *hub.Shard) bool {
	if !p.Conn.Open() {
		return false
	}
	p.Rehome(p.e.envs[to.ID])
	return true
}

// Arrive implements hub.Mover.
func (p *Pipe) Arrive() { p.Settle() }

// Continue implements hub.Mover.
func (p *Pipe) Continue() { p.Proceed() }

// Abandon implements hub.Mover.
func (p *Pipe) Abandon() { p.closed = true }
