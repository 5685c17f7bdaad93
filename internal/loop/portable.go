//go:build !linux || portable

package loop

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/midgemq/midge/internal/conn"
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/transport"
)

const (
	readBuffer = 16 << 10
	// writeBuffer is how much a connection's writer holds, in place of a socket
	// that says when it would block.
	writeBuffer = 64 << 10
	// batchEvents bounds one batch.
	batchEvents = 256
)

// Loop is one event loop: a single goroutine owns its connections, as with
// epoll; reading and writing goroutines only carry bytes to and from it.
type Loop struct {
	// immutable
	engine *Engine
	shard  *hub.Shard
	env    *conn.Env
	events chan event
	wake   chan struct{}
	done   chan struct{}

	// owned by the loop
	socks     map[*sock]struct{}
	listeners []*Bound
	dirty     []*sock
	moves     []func()
	// early is what readers and writers say of connections that are on their way.
	early     map[*sock][]event
	policy    policy
	going     []*sock // chosen to move to goingTo
	goingTo   *Loop
	batches   int  // for tests that force moves
	read      bool // something was, since force looked
	accepting sync.WaitGroup
	carrying  sync.WaitGroup

	// atomic
	meter    meter // its atomics
	count    atomic.Int64
	reserved atomic.Int64 // until when no other loop may give connections
	closing  atomic.Bool
}

type eventKind uint8

const (
	evInput eventKind = iota
	evEOF
	evWritable
	evAccept
)

type event struct {
	s    *sock
	b    []byte
	err  error
	bind *Bound
	c    transport.Stream
	peer netip.AddrPort
	kind eventKind
}

// sock is one connection with its two goroutines.
type sock struct {
	conn.Conn
	c      transport.Stream
	taken  chan struct{} // the loop is done with the reader's buffer
	closed bool          // owned by the loop
	cost   uint32        // reads and writes since they were last counted
	paused bool
	held   *event // input that came while paused

	loop atomic.Pointer[Loop]

	mu      sync.Mutex
	wbuf    []byte
	short   bool // the loop was told less than it gave
	halfway bool // CloseWrite is due when wbuf is empty
	ended   bool
	work    *sync.Cond
}

func newLoop(e *Engine) (*Loop, error) {
	l := &Loop{
		engine: e, events: make(chan event, batchEvents), wake: make(chan struct{}, 1), done: make(chan struct{}),
		socks: make(map[*sock]struct{}), early: make(map[*sock][]event),
	}
	l.shard = e.hub.AddShard(l.wakeUp)
	l.env = conn.NewEnv(l.shard)
	return l, nil
}

// wakeUp makes the loop take a turn. Any goroutine.
func (l *Loop) wakeUp() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// send gives the loop an event; false: the loop has ended.
func (l *Loop) send(e event) bool {
	select {
	case l.events <- e:
		return true
	case <-l.done:
		return false
	}
}

func (l *Loop) listen(b Bound) error {
	started := make(chan struct{})
	if !l.shard.Post(func() {
		l.listeners = append(l.listeners, &b)
		l.accepting.Add(1)
		go func() {
			defer l.accepting.Done()
			l.acceptAll(&b)
		}()
		close(started)
	}) {
		return os.ErrClosed
	}
	<-started
	return nil
}

func (l *Loop) acceptAll(b *Bound) {
	for {
		c, peer, err := b.Accept()
		switch {
		case err == nil:
			if !l.send(event{kind: evAccept, bind: b, c: c, peer: peer}) {
				_ = c.Close()
				return
			}
		case errors.Is(err, transport.ErrRefused), errors.Is(err, transport.ErrExhausted):
			if b.OutOfSockets(time.Now()) {
				l.engine.hub.Log.OutOfSockets()
			}
			select {
			case <-l.done:
				return
			case <-time.After(transport.ExhaustedPause):
			}
		case errors.Is(err, transport.ErrNoneWaiting):
		default:
			return
		}
	}
}

func (l *Loop) closeListeners() {
	done := make(chan struct{})
	if l.shard.Post(func() { l.dropListeners(); close(done) }) {
		<-done
	}
}

func (l *Loop) dropListeners() {
	for _, b := range l.listeners {
		_ = b.Listener.Close()
	}
	l.listeners = nil
}

func (l *Loop) stop() {
	l.closing.Store(true)
	l.wakeUp()
}

func (l *Loop) run() {
	sh := l.shard
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		var first *event
		l.meter.park(l.engine.clock.Now())
		select {
		case e := <-l.events:
			first = &e
		case <-l.wake:
		case <-timer.C:
		}
		sh.Begin(l.engine.clock.Now())
		if first != nil {
			l.event(first)
		}
	more:
		for range batchEvents {
			select {
			case e := <-l.events:
				l.event(&e)
			default:
				break more
			}
		}
		if l.closing.Load() {
			l.shut()
			return
		}
		sh.Turn()
		l.balance(sh.Now())
		sh.End()
		for i := 0; i < len(l.dirty); i++ {
			if s := l.dirty[i]; s != nil {
				s.Flush()
			}
		}
		clear(l.dirty)
		l.dirty = l.dirty[:0]
		sh.End()
		for i, move := range l.moves {
			l.moves[i] = nil
			move()
		}
		l.moves = l.moves[:0]
		sh.Ship()
		d := time.Hour
		if at, ok := sh.NextTimer(); ok {
			d = max(time.Duration(at-l.engine.clock.Now()), time.Millisecond)
		}
		timer.Reset(d)
	}
}

func (l *Loop) event(e *event) {
	s := e.s
	if s != nil {
		if at := s.loop.Load(); at != l {
			// The connection has moved meanwhile.
			moved := *e
			l.carrying.Add(1)
			go func() {
				defer l.carrying.Done()
				at.send(moved)
			}()
			return
		}
		if _, here := l.socks[s]; !here && !s.closed {
			l.early[s] = append(l.early[s], *e)
			return
		}
	}
	switch e.kind {
	case evAccept:
		l.accepted(e)
	case evInput:
		if s.paused && !s.closed {
			held := *e
			s.held = &held
			return
		}
		if !s.closed {
			s.cost++
			l.read = true
			s.Input(e.b)
		}
		s.taken <- struct{}{}
	case evEOF:
		s.EOF(e.err)
	case evWritable:
		if !s.closed {
			s.Writable()
		}
	}
}

func (l *Loop) accepted(e *event) {
	from := e.bind.origin(e.peer)
	if !l.engine.admit(e.bind, from) {
		_ = e.c.Close()
		return
	}
	to := l.engine.pick()
	to.count.Add(1)
	s := &sock{c: e.c, taken: make(chan struct{}, 1)}
	s.work = sync.NewCond(&s.mu)
	s.loop.Store(to)
	b, peer := e.bind, e.peer
	start := func() {
		to.socks[s] = struct{}{}
		s.Init(to.env, s, b.Settings, from, b.NewLayer(peer))
		to.engine.wg.Add(2)
		go s.reader()
		go s.writer()
	}
	if to == l {
		start()
	} else if !to.shard.Post(start) {
		_ = e.c.Close()
	}
}

func (s *sock) reader() {
	e := s.loop.Load().engine
	defer e.wg.Done()
	buf := make([]byte, readBuffer)
	for {
		n, err := s.c.Read(buf)
		if n > 0 {
			if !s.loop.Load().send(event{s: s, kind: evInput, b: buf[:n]}) {
				return
			}
			<-s.taken
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			s.loop.Load().send(event{s: s, kind: evEOF, err: err})
			return
		}
	}
}

func (s *sock) writer() {
	e := s.loop.Load().engine
	defer e.wg.Done()
	var out []byte
	for {
		s.mu.Lock()
		for len(s.wbuf) == 0 && !s.ended && !s.halfway {
			s.work.Wait()
		}
		out, s.wbuf = s.wbuf, out[:0]
		half, ended := s.halfway, s.ended
		if len(out) == 0 {
			s.halfway = false
		}
		tell := s.short
		s.short = false
		s.mu.Unlock()
		if ended {
			return
		}
		if len(out) == 0 && half {
			_ = s.c.CloseWrite()
			continue
		}
		if _, err := s.c.Write(out); err != nil {
			s.loop.Load().send(event{s: s, kind: evEOF, err: err})
			return
		}
		if tell && !s.loop.Load().send(event{s: s, kind: evWritable}) {
			return
		}
	}
}

// Write implements conn.Socket.
func (s *sock) Write(bufs [][]byte) (n int, err error) {
	s.cost++
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range bufs {
		room := writeBuffer - len(s.wbuf)
		if len(b) > room {
			s.wbuf = append(s.wbuf, b[:room]...)
			n += room
			s.short = true
			break
		}
		s.wbuf = append(s.wbuf, b...)
		n += len(b)
	}
	s.work.Signal()
	return n, nil
}

// Blocked output is reported by the writer, so nothing is armed here.

// Dirty implements conn.Socket.
func (s *sock) Dirty() {
	l := s.loop.Load()
	l.dirty = append(l.dirty, s)
}

// Pause implements conn.Socket.
func (s *sock) Pause() { s.paused = true }

// Resume implements conn.Socket.
func (s *sock) Resume() {
	s.paused = false
	if h := s.held; h != nil {
		s.held = nil
		// In a turn of its own: Resume is called in the middle of a step.
		l := s.loop.Load()
		l.shard.Post(func() { l.event(h) })
	}
}

// CloseWrite implements conn.Socket.
func (s *sock) CloseWrite() {
	s.Resume()
	s.mu.Lock()
	s.halfway = true
	s.work.Signal()
	s.mu.Unlock()
}

// Close implements conn.Socket.
func (s *sock) Close() {
	if s.closed {
		return
	}
	s.closed = true
	l := s.loop.Load()
	delete(l.socks, s)
	l.count.Add(-1)
	l.engine.open.Add(-1)
	s.end()
}

func (s *sock) end() {
	s.mu.Lock()
	s.ended = true
	s.work.Signal()
	s.mu.Unlock()
	_ = s.c.Close()
	if s.held != nil {
		s.held = nil
		s.taken <- struct{}{}
	}
}

// Move implements conn.Socket. The hand-over waits for the end of the batch: the
// connection is in the middle of a step, and after it nothing here may touch it.
func (s *sock) Move(to *hub.Shard, then func(*conn.Env)) {
	l := s.loop.Load()
	l.moves = append(l.moves, func() { s.move(to, then) })
}

func (s *sock) move(to *hub.Shard, then func(*conn.Env)) {
	if s.closed {
		return
	}
	from := s.loop.Load()
	delete(from.socks, s)
	from.count.Add(-1)
	target := from.engine.loops[to.ID]
	target.count.Add(1)
	s.Rehome(target.env)
	s.loop.Store(target)
	if !to.Hand(func(ended bool) {
		if ended {
			s.Abandon()
			return
		}
		target.seat(s)
		then(target.env)
		target.late(s)
	}) {
		s.Abandon()
	}
}

func (l *Loop) shut() {
	l.shard.Close()
	l.dropListeners()
	close(l.done)
	for s := range l.socks {
		s.closed = true
		l.engine.open.Add(-1)
		s.end()
		select {
		case s.taken <- struct{}{}:
		default:
		}
	}
	l.accepting.Wait()
	l.carrying.Wait()
}
