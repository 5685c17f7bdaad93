package behaviour

import (
	"fmt"
	"io"
	"syscall"
	"testing/synctest"
	"time"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/store/memstore"
	"github.com/midgemq/midge/internal/testkit/sim"
	"github.com/midgemq/midge/internal/testkit/target"
	"github.com/midgemq/midge/mqtt"
)

// simShards is two, so that connections are moved to where their session is and
// messages cross from one loop's part of the hub to the other's.
const simShards = 2

// simTarget is the broker's engine without sockets, loops and clock. It runs
// inside a synctest bubble, where waiting for the goroutines that authenticate
// is exact.
type simTarget struct {
	opts  broker.Options
	auth  *testAuth
	store *memstore.Store
	e     *sim.Engine
	pipes []*simPipe
	// moving has connections change their shard all the time.
	moving bool
}

func newSim(cfg target.Config) (target.Target, error) { return newSimOf(cfg, false) }

// newMoving is the same with three shards and connections that move from one to
// the next all the time: nothing of that may show.
func newMoving(cfg target.Config) (target.Target, error) { return newSimOf(cfg, true) }

func newSimOf(cfg target.Config, moving bool) (target.Target, error) {
	o, a, err := options(cfg, 1883)
	if err != nil {
		return nil, err
	}
	s := &simTarget{opts: o, auth: a, store: memstore.New(), moving: moving}
	s.start()
	return s, nil
}

func (s *simTarget) start() {
	o := s.opts
	shards := simShards
	if s.moving {
		shards++
	}
	s.e = sim.New(broker.HubConfig(&o), broker.Settings(&o, o.Config.Listeners[0]), logging.Discard(), s.store, shards)
	if s.moving {
		s.e.MoveEvery(2)
	}
	s.pipes = nil
}

func (s *simTarget) Name() string      { return "sim" }
func (s *simTarget) Synchronous() bool { return true }

// settle works until neither the engine nor a goroutine it started has anything
// left to do.
func (s *simTarget) settle() {
	for {
		s.e.Settle()
		synctest.Wait()
		pending := false
		for _, sh := range s.e.Hub.Shards {
			pending = pending || sh.Pending()
		}
		if !pending {
			return
		}
	}
}

func (s *simTarget) Open() (target.Pipe, error) {
	p := &simPipe{t: s, p: s.e.Open(nil)}
	s.pipes = append(s.pipes, p)
	return p, nil
}

func (s *simTarget) Advance(d time.Duration) error {
	s.e.Advance(d)
	s.settle()
	return nil
}

// onAll runs f in a batch of every shard.
func (s *simTarget) onAll(f func(*hub.Shard)) {
	for _, sh := range s.e.Hub.Shards {
		sh.Post(func() { f(sh) })
	}
	s.settle()
}

// Control implements target.Controller.
func (s *simTarget) Control(words []string) error {
	id, code, ref, ok, err := disconnectRule(words)
	if err != nil {
		return err
	}
	if !ok {
		return s.auth.add(words)
	}
	c := s.e.Hub.Find(id)
	if c == nil {
		return fmt.Errorf("no client %s", id)
	}
	c.Post(func(*hub.Shard) { c.Disconnect(code, ref) })
	s.settle()
	return nil
}

// Restart implements target.Restarter: an orderly stop, and a new engine on what
// the store kept.
func (s *simTarget) Restart() error {
	s.onAll((*hub.Shard).PublishWills)
	s.onAll(func(sh *hub.Shard) { sh.KickAll(mqtt.ServerShuttingDown) })
	if err := s.Close(); err != nil {
		return err
	}
	s.store.Reopen()
	s.start()
	return nil
}

func (s *simTarget) Close() error {
	for _, p := range s.pipes {
		if err := p.Close(); err != nil {
			return err
		}
	}
	for _, sh := range s.e.Hub.Shards {
		sh.Close()
	}
	return s.store.Close()
}

// simPipe adapts a simulated connection to the contract of scripts.
type simPipe struct {
	t    *simTarget
	p    *sim.Pipe
	done bool // the script has closed its direction
}

func (p *simPipe) Send(b []byte) error {
	if p.done || p.p.Closed() {
		return io.ErrClosedPipe
	}
	p.p.Feed(b)
	p.t.settle()
	return nil
}

func (p *simPipe) Recv(time.Duration) ([]byte, error) {
	b := p.p.Output()
	switch {
	case len(b) > 0:
		return b, nil
	case p.p.Over():
		return nil, io.EOF
	}
	return nil, target.ErrQuiet
}

func (p *simPipe) CloseWrite() error { return p.hangup(nil) }

func (p *simPipe) Close() error { return p.hangup(syscall.ECONNRESET) }

// Stall implements target.Staller: the simulated socket takes no more bytes, or
// any number again.
func (p *simPipe) Stall(on bool) {
	limit := -1
	if on {
		limit = 0
	}
	p.p.Limit(limit)
	p.t.settle()
}

func (p *simPipe) hangup(err error) error {
	if !p.done {
		p.done = true
		p.p.Hangup(err)
		p.t.settle()
	}
	return nil
}
