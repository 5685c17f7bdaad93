package behaviour

import (
	"fmt"
	"io"
	"syscall"
	"testing/synctest"
	"time"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/conn"
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store/memstore"
	"github.com/midgemq/midge/internal/testkit/target"
)

// simTarget is the broker's engine without sockets, loops and clock: one shard
// whose turns this target takes itself. It runs inside a synctest bubble, where
// waiting for the goroutines that authenticate is exact.
type simTarget struct {
	opts  broker.Options
	auth  *testAuth
	store *memstore.Store
	hub   *hub.Hub
	shard *hub.Shard
	env   *conn.Env
	set   *hub.Listener
	now   record.Instant
	dirty []*simSock
	woken chan struct{}
	socks []*simSock
	n     int
}

// readSize is the loop's read buffer: larger sends arrive in several batches.
const readSize = 64 << 10

func newSim(cfg target.Config) (target.Target, error) {
	o, a, err := options(cfg, 1883)
	if err != nil {
		return nil, err
	}
	s := &simTarget{opts: o, auth: a, store: memstore.New(), now: 1000 * record.Second}
	return s, s.start()
}

func (s *simTarget) start() error {
	o := s.opts
	s.hub = hub.New(broker.HubConfig(&o), logging.Discard(), s.store)
	s.woken = make(chan struct{}, 1)
	s.shard = s.hub.AddShard(func() {
		select {
		case s.woken <- struct{}{}:
		default:
		}
	})
	s.env = conn.NewEnv(s.shard)
	s.set = broker.Settings(&o, o.Config.Listeners[0])
	s.socks = nil
	return s.hub.Restore(s.now)
}

func (s *simTarget) Name() string      { return "sim" }
func (s *simTarget) Synchronous() bool { return true }

// batch does what a loop does around the events of one wait.
func (s *simTarget) batch(f func()) {
	s.shard.Begin(s.now)
	f()
	s.settle()
	for {
		synctest.Wait()
		select {
		case <-s.woken:
			s.shard.Begin(s.now)
			s.settle()
			continue
		default:
		}
		if s.resumed() {
			continue
		}
		return
	}
}

func (s *simTarget) settle() {
	s.shard.Turn()
	s.shard.End()
	for i := 0; i < len(s.dirty); i++ {
		s.dirty[i].conn.Flush()
	}
	s.dirty = s.dirty[:0]
	s.shard.End()
}

// resumed gives connections that read again what they were sent meanwhile.
func (s *simTarget) resumed() bool {
	for _, k := range s.socks {
		if !k.paused && !k.closed && (len(k.unread) > 0 || k.eof && !k.told) {
			s.shard.Begin(s.now)
			k.read()
			s.settle()
			return true
		}
	}
	return false
}

func (s *simTarget) Open() (target.Pipe, error) {
	s.n++
	k := &simSock{t: s}
	s.socks = append(s.socks, k)
	s.set.Open.Add(1)
	s.batch(func() {
		k.conn = conn.New(s.env, k, s.set, fmt.Sprintf("127.0.0.1:%d", 40000+s.n), nil)
	})
	return simPipe{k}, nil
}

// maxSteps bounds how many timers one Advance goes through one by one.
const maxSteps = 20000

// Advance goes from timer to timer, as time does.
func (s *simTarget) Advance(d time.Duration) error {
	end := s.now + record.Instant(d)
	for range maxSteps {
		at, ok := s.shard.NextTimer()
		if !ok || at >= end {
			break
		}
		s.now = max(at, s.now)
		s.batch(func() {})
	}
	s.now = end
	s.batch(func() {})
	return nil
}

func (s *simTarget) Control(words []string) error {
	id, code, ok, err := disconnectRule(words)
	if err != nil {
		return err
	}
	if !ok {
		return s.auth.add(words)
	}
	c := s.hub.Find(id)
	if c == nil {
		return fmt.Errorf("no client %s", id)
	}
	s.batch(func() { c.Disconnect(code) })
	return nil
}

// Restart implements target.Restarter: an orderly stop, and a new engine on what
// the store kept.
func (s *simTarget) Restart() error {
	s.batch(s.shard.PublishWills)
	s.batch(func() { s.shard.KickAll(0x8B) })
	s.shard.Close()
	if err := s.store.Close(); err != nil {
		return err
	}
	s.store.Reopen()
	return s.start()
}

func (s *simTarget) Close() error {
	for _, k := range s.socks {
		if err := (simPipe{k}).Close(); err != nil {
			return err
		}
	}
	s.shard.Close()
	return s.store.Close()
}

// simSock is both ends of one connection: conn.Socket for the engine and
// target.Pipe for the script.
type simSock struct {
	t       *simTarget
	conn    *conn.Conn
	unread  []byte // sent by the script, not read by the engine
	out     []byte // written by the engine, not received by the script
	paused  bool
	eof     bool // the script has closed its direction
	told    bool // and the engine has been told
	reset   bool
	closing bool // the engine has closed its direction
	closed  bool
}

// Write implements conn.Socket; this peer takes everything.
func (k *simSock) Write(bufs [][]byte) (n int, err error) {
	for _, b := range bufs {
		k.out = append(k.out, b...)
		n += len(b)
	}
	return n, nil
}

// Dirty implements conn.Socket.
func (k *simSock) Dirty() { k.t.dirty = append(k.t.dirty, k) }

// Pause implements conn.Socket.
func (k *simSock) Pause() { k.paused = true }

// Resume implements conn.Socket.
func (k *simSock) Resume() { k.paused = false }

// Move implements conn.Socket; there is one shard only.
func (k *simSock) Move(*hub.Shard, func(*conn.Env)) { panic("move within a single shard") }

// read gives the engine what the script has sent. The buffer is poisoned
// afterwards: whatever still points into it shows.
func (k *simSock) read() {
	for len(k.unread) > 0 && !k.paused && !k.closed {
		n := min(len(k.unread), readSize)
		buf := append([]byte(nil), k.unread[:n]...)
		k.unread = k.unread[n:]
		k.conn.Input(buf)
		for i := range buf {
			buf[i] = 0xDD
		}
		if len(k.unread) > 0 {
			k.t.settle()
			k.t.shard.Begin(k.t.now)
		}
	}
	if k.eof && len(k.unread) == 0 && !k.told && !k.paused && !k.closed {
		k.told = true
		if k.reset {
			k.conn.EOF(syscall.ECONNRESET)
			return
		}
		k.conn.EOF(nil)
	}
}

// Send implements target.Pipe.
func (k *simSock) Send(b []byte) error {
	if k.eof {
		return io.ErrClosedPipe
	}
	k.unread = append(k.unread, b...)
	k.t.batch(k.read)
	return nil
}

// Recv implements target.Pipe.
func (k *simSock) Recv(time.Duration) ([]byte, error) {
	switch {
	case len(k.out) > 0:
		b := k.out
		k.out = nil
		return b, nil
	case k.closing || k.closed:
		return nil, io.EOF
	}
	return nil, target.ErrQuiet
}

// simPipe separates the two Close and CloseWrite methods that both contracts
// call by the same name.
type simPipe struct{ *simSock }

// CloseWrite implements target.Pipe: the script ends its direction.
func (p simPipe) CloseWrite() error {
	p.eof = true
	p.t.batch(p.read)
	return nil
}

// Close implements target.Pipe: the connection is gone at once.
func (p simPipe) Close() error {
	p.eof, p.reset, p.paused = true, true, false
	p.t.batch(p.read)
	return nil
}

// CloseWrite implements conn.Socket: the engine ends its direction.
func (k *simSock) CloseWrite() {
	k.closing = true
	k.paused = false
}

// Close implements conn.Socket.
func (k *simSock) Close() { k.closed = true }
