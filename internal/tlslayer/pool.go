package tlslayer

import (
	"container/list"
	"crypto/tls"
	"errors"
	"net"
	"runtime"
	"sync"
)

// Pool bounds the handshakes of a broker: how many compute at a time, and how
// many may wait for their client. Those that have begun go before new ones, so
// that a crowd that comes back at once is served one after the other and never
// is half done all over. Any goroutine may use it.
type Pool struct {
	// immutable
	maxWaiting int

	wg sync.WaitGroup

	mu       sync.Mutex
	free     int             // places to compute in
	resuming []chan struct{} // begun, the client has answered
	starting []*Server       // the client has spoken, nothing has begun
	waiting  *list.List      // of *handshake, begun, the oldest first
	closed   bool
}

// MaxWaiting is the default number of handshakes that wait for their client. Each
// holds about 30 KB, so it bounds what peers that stop in the middle can take.
const MaxWaiting = 2000

// Errors that end a handshake from this side.
var (
	errCrowded = errors.New("too many handshakes are waiting for their clients")
	errStopped = errors.New("the broker shuts down")
)

// NewPool returns a pool in which at most computing handshakes use a processor
// at a time; 0 means half of the processors, so that connected clients are
// served meanwhile. maxWaiting bounds those that wait for their client, 0 means
// MaxWaiting: the one that has waited longest is ended for one more.
func NewPool(computing, maxWaiting int) *Pool {
	if computing <= 0 {
		computing = max(1, runtime.NumCPU()/2)
	}
	if maxWaiting <= 0 {
		maxWaiting = MaxWaiting
	}
	return &Pool{free: computing, maxWaiting: maxWaiting, waiting: list.New()}
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
	switch {
	case p.closed:
	case p.free > 0:
		p.free--
		p.runLocked(s)
	default:
		p.starting = append(p.starting, s)
	}
}

func (p *Pool) runLocked(s *Server) {
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		hs := s.hs
		conn := tls.Server((*shim)(s), s.cfg)
		s.conn = conn
		err := conn.Handshake()
		hs.finish(err)
		p.release()
		s.wake()
	}()
}

// release gives the place to whoever is next.
func (p *Pool) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.resuming) > 0 {
		close(p.resuming[0])
		p.resuming = p.resuming[1:]
		return
	}
	for len(p.starting) > 0 {
		s := p.starting[0]
		p.starting[0] = nil
		p.starting = p.starting[1:]
		if s.hs.alive() {
			p.runLocked(s)
			return
		}
	}
	p.free++
}

// resume waits for a place.
func (p *Pool) resume() {
	p.mu.Lock()
	if p.free > 0 {
		p.free--
		p.mu.Unlock()
		return
	}
	turn := make(chan struct{})
	p.resuming = append(p.resuming, turn)
	p.mu.Unlock()
	<-turn
}

// wait gives the place away until the client's bytes or the end of the handshake
// have come.
func (p *Pool) wait(hs *handshake) {
	p.mu.Lock()
	if p.closed {
		hs.abort(errStopped)
	}
	e := p.waiting.PushBack(hs)
	if p.waiting.Len() > p.maxWaiting {
		p.waiting.Front().Value.(*handshake).abort(errCrowded)
	}
	p.mu.Unlock()
	p.release()
	<-hs.ready
	p.mu.Lock()
	p.waiting.Remove(e)
	p.mu.Unlock()
	p.resume()
}

// handshake is what the owner of a connection and the goroutine of its handshake
// share, for as long as that goes on.
type handshake struct {
	ready chan struct{} // holds a value when there may be something to read

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
