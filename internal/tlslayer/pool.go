package tlslayer

import (
	"container/list"
	"crypto/tls"
	"errors"
	"net"
	"runtime"
	"sync"
	"time"
)

// Pool bounds the handshakes of a broker: how many compute at a time, and how
// many may be under way. Those that have begun go before new ones, so that a
// crowd that comes back at once is served one after the other and never is half
// done all over. Any goroutine may use it.
type Pool struct {
	// immutable
	maxBegun int
	patience time.Duration

	wg sync.WaitGroup

	mu       sync.Mutex
	free     int             // places to compute in
	begun    int             // neither done nor failed
	resuming []chan struct{} // begun, the client has answered
	starting []*Server       // the client has spoken, nothing has begun
	waiting  *list.List      // of *handshake, begun, the oldest first
	looking  bool            // a timer calls look
	closed   bool
}

// MaxBegun is the default number of handshakes that have begun. Each holds about
// 30 KB, so it bounds what peers that stop in the middle can take.
const MaxBegun = 2000

// patience is how long a client may keep a handshake waiting that others would
// like to have the room of. A machine with thousands of clients that has them all
// come back at once answers the last of 2,000 within two seconds.
const patience = 5 * time.Second

// Errors that end a handshake from this side.
var (
	errCrowded = errors.New("too many handshakes are waiting for their clients")
	errStopped = errors.New("the broker shuts down")
)

// NewPool returns a pool in which at most computing handshakes use a processor
// at a time; 0 means half of the processors, so that connected clients are
// served meanwhile. maxBegun bounds those under way, 0 means MaxBegun: further
// ones wait until one is over, or until its client has let one wait for so long
// that it is ended for another.
func NewPool(computing, maxBegun int) *Pool {
	if computing <= 0 {
		computing = max(1, runtime.NumCPU()/2)
	}
	if maxBegun <= 0 {
		maxBegun = MaxBegun
	}
	return &Pool{free: computing, maxBegun: maxBegun, patience: patience, waiting: list.New()}
}

// Close ends all handshakes and returns when their goroutines are gone.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.starting = nil
	for e := p.waiting.Front(); e != nil; e = e.Next() {
		e.Value.(*handshake).abort(errStopped)
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// Waiting returns how many handshakes wait for their client, and how many for
// a place to compute in.
func (p *Pool) Waiting() (clients, places int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting.Len(), len(p.starting) + len(p.resuming)
}

// start begins the handshake of s as soon as there is a place.
func (p *Pool) start(s *Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.starting = append(p.starting, s)
		p.nextLocked()
	}
}

// nextLocked gives free places to those who are next.
func (p *Pool) nextLocked() {
	for p.free > 0 {
		if len(p.resuming) > 0 {
			p.free--
			close(p.resuming[0])
			p.resuming = p.resuming[1:]
			continue
		}
		if len(p.starting) == 0 || !p.roomLocked() {
			return
		}
		s := p.starting[0]
		p.starting[0] = nil
		p.starting = p.starting[1:]
		if s.hs.alive() {
			p.free--
			p.runLocked(s)
		}
	}
}

// roomLocked tells whether one more may begin, for which it ends the one that has
// waited longest for its client if that is too long.
func (p *Pool) roomLocked() bool {
	if p.begun < p.maxBegun {
		return true
	}
	e := p.waiting.Front()
	if e == nil {
		return false // they compute, and are over soon
	}
	oldest := e.Value.(*handshake)
	if left := p.patience - time.Since(oldest.since); left > 0 {
		if !p.looking {
			p.looking = true
			time.AfterFunc(left, p.look)
		}
		return false
	}
	p.waiting.Remove(e)
	oldest.abort(errCrowded)
	return true
}

// look is called when a handshake may have waited too long for its client.
func (p *Pool) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looking = false
	p.nextLocked()
}

func (p *Pool) runLocked(s *Server) {
	p.begun++
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		hs := s.hs
		conn := tls.Server((*shim)(s), s.cfg)
		s.conn = conn
		err := conn.Handshake()
		hs.finish(err)
		p.mu.Lock()
		p.begun--
		p.free++
		p.nextLocked()
		p.mu.Unlock()
		s.wake()
	}()
}

// wait gives the place away until the client's bytes or the end of the handshake
// have come, and returns when there is one again.
func (p *Pool) wait(hs *handshake) {
	p.mu.Lock()
	if p.closed {
		hs.abort(errStopped)
	}
	hs.since = time.Now()
	e := p.waiting.PushBack(hs)
	p.free++
	p.nextLocked()
	p.mu.Unlock()
	<-hs.ready
	turn := make(chan struct{})
	p.mu.Lock()
	p.waiting.Remove(e)
	p.resuming = append(p.resuming, turn)
	p.nextLocked()
	p.mu.Unlock()
	<-turn
}

// handshake is what the owner of a connection and the goroutine of its handshake
// share, for as long as that goes on.
type handshake struct {
	ready chan struct{} // holds a value when there may be something to read
	since time.Time     // it has waited for its client, the last time; guarded by the pool

	mu      sync.Mutex
	in, out []byte
	err     error
	ended   error // why no more is to be read
	done    bool
}

func newHandshake(first []byte) *handshake {
	return &handshake{ready: make(chan struct{}, 1), in: append([]byte(nil), first...)}
}

// poke wakes a goroutine that waits for bytes.
func (h *handshake) poke() {
	select {
	case h.ready <- struct{}{}:
	default:
	}
}

func (h *handshake) full() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.in) >= enough && !h.done
}

func (h *handshake) alive() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ended == nil
}

// abort ends the handshake the next time it wants to read.
func (h *handshake) abort(why error) {
	h.mu.Lock()
	if h.ended == nil {
		h.ended = why
	}
	h.mu.Unlock()
	h.poke()
}

func (h *handshake) finish(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err, h.done = err, true
	if err != nil && h.ended != nil && !errors.Is(h.ended, net.ErrClosed) {
		h.err = h.ended
	}
}

// read is the shim's Read during the handshake.
func (h *handshake) read(p *Pool, b []byte) (int, error) {
	for {
		h.mu.Lock()
		n, err := copy(b, h.in), h.ended
		h.in = h.in[:copy(h.in, h.in[n:])]
		h.mu.Unlock()
		switch {
		case err != nil:
			return 0, err
		case n > 0:
			return n, nil
		}
		p.wait(h)
	}
}

// write is the shim's Write during the handshake.
func (h *handshake) write(b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.out = append(h.out, b...)
}
