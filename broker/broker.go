// Package broker is midge's broker as a library: New, Start, Close. It puts the
// parts together and owns the order in which they start and stop; everything
// else happens below it.
//
// A Broker's methods may be called from any goroutine. Nothing registers itself
// from an init function: what is not put together here is not part of the broker.
package broker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/loop"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/memstore"
	"github.com/midgemq/midge/internal/tlsconf"
	"github.com/midgemq/midge/mqtt"
)

// The contract for what decides about clients and topics; see the methods' own
// documentation for which may block.
type (
	// Policy is the composition of back ends a broker asks.
	Policy = auth.Policy
	// Authenticator decides on user name and password.
	Authenticator = auth.Authenticator
	// Authorizer decides on topics.
	Authorizer = auth.Authorizer
	// Method is an enhanced authentication method of MQTT 5.
	Method = auth.Method
	// Exchange is one enhanced authentication under way.
	Exchange = auth.Exchange
	// Request is a CONNECT to decide on.
	Request = auth.Request
	// Decision is the answer to it.
	Decision = auth.Decision
	// ClientInfo is who asks.
	ClientInfo = auth.Client
	// Action is what a client wants to do with a topic.
	Action = auth.Action
)

const (
	// maxSubscriptions bounds one session's subscriptions: at about 300 bytes each
	// one client cannot take more than 30 MB with them.
	maxSubscriptions = 100_000
	// queueWindow is how many queued entries of a stored session are in memory.
	queueWindow = 128
	// stopWait is how long Close waits for last packets to be written and read.
	stopWait = time.Second
)

// Options is what New needs.
type Options struct {
	// Config is a parsed configuration; nil: the defaults, local clients only.
	Config *config.Config
	// Logger writes the log; nil: none.
	Logger *logging.Logger
	// Version goes into $SYS/broker/version.
	Version string
	// Policy decides on rights; the zero value lets in whom allow_anonymous lets
	// in.
	Policy Policy
	// MaxQoS, when not nil, is the highest QoS the broker supports.
	MaxQoS *mqtt.QoS
	// NoWildcards, NoShared and NoSubscriptionIDs switch features off, and MQTT 5
	// clients are told.
	NoWildcards, NoShared, NoSubscriptionIDs bool
	// ResponseInfo is given to clients that request response information.
	ResponseInfo string
	// ConnectionsPerLoop is how many connections open before a further event loop
	// takes its share; 0: 256.
	ConnectionsPerLoop int
	// Store keeps sessions and messages; nil: on disk with persistence, else in
	// memory. The broker closes it.
	Store store.Store
	// AsMosquitto: the program was called mosquitto, so persistence_file is written
	// also when the option is not.
	AsMosquitto bool

	// control takes what is published below $CONTROL; set by New.
	control func(*auth.Client, string, []byte)
}

// Broker is one running broker.
type Broker struct {
	// immutable
	opts    Options
	cfg     *config.Config
	log     *logging.Logger
	hub     *hub.Hub
	engine  *loop.Engine
	clock   *loop.Clock
	store   store.Store
	mem     *memstore.Store // store, when it is in memory
	disk    *disk           // what belongs to store, when it is on disk
	started time.Time
	api     *api
	stop    context.CancelFunc
	done    context.Context
	wg      sync.WaitGroup

	current atomic.Pointer[config.Config] // what Reload put in force; cfg is what New was given

	reloading   sync.Mutex // one reload at a time; guards reloadSteps
	reloadSteps []reloadStep

	memory memoryWatch

	sysInterval atomic.Int64  // sys_interval in seconds
	sysWake     chan struct{} // it has changed

	doors  doors
	guards *guards

	mu     sync.Mutex
	bound  []loop.Bound
	closed bool
}

// New makes a broker that is not started: it restores what the store kept and
// opens nothing.
func New(o Options) (*Broker, error) {
	if o.Config == nil {
		o.Config = config.Default()
	}
	if o.Logger == nil {
		o.Logger = logging.Discard()
	}
	if o.ConnectionsPerLoop == 0 {
		o.ConnectionsPerLoop = loop.ConnectionsPerLoop
	}
	b := &Broker{opts: o, cfg: o.Config, log: o.Logger, store: o.Store, clock: loop.NewClock(), started: time.Now()}
	b.doors = doors{b: b, sources: make(map[string]*tlsconf.Source)}
	b.current.Store(b.cfg)
	b.sysWake = make(chan struct{}, 1)
	b.sysInterval.Store(int64(b.cfg.SysInterval))
	b.api = newAPI(b)
	b.opts.control = b.api.request
	b.guards = newGuards(b)
	table, err := b.guards.build(b.cfg)
	if err != nil {
		return nil, err
	}
	if err := b.openStore(); err != nil {
		return nil, err
	}
	b.hub = hub.New(HubConfig(&b.opts), o.Logger, b.store)
	b.guards.put(b.cfg, table)
	n := o.Config.Loops
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	if b.engine, err = loop.New(b.hub, b.clock, n, o.Config.GlobalMaxConnections, o.ConnectionsPerLoop); err != nil {
		return nil, fmt.Errorf("start event loops: %w", err)
	}
	b.engine.SetRate(o.Config.Guard.MaxConnectionRate)
	if err := b.hub.Restore(b.clock.Now()); err != nil {
		b.engine.Close()
		return nil, fmt.Errorf("restore sessions: %w", err)
	}
	b.done, b.stop = context.WithCancel(context.Background())
	b.startDisk()
	b.onReload("options", b.reloadOptions)
	b.onReload("security", b.guards.reload)
	return b, nil
}

// Start opens the listeners and runs the loops. The first $SYS update is made
// before a listener is open, as clients expect it to be there.
func (b *Broker) Start() error {
	opened, err := b.doors.open()
	if err != nil {
		b.engine.Start()
		b.engine.Close()
		b.doors.close()
		return err
	}
	b.engine.Start()
	b.startSys()
	b.watchMemory(b.cfg.MemoryLimit)
	b.mu.Lock()
	b.bound = opened
	b.mu.Unlock()
	for _, o := range opened {
		if err := b.engine.Listen(o); err != nil {
			return fmt.Errorf("listen on port %d: %w", o.Settings.Port, err)
		}
	}
	b.log.PublishTo(b.publishLog)
	return b.startAPI()
}

// Addresses returns where the broker listens, in the order of the
// configuration.
func (b *Broker) Addresses() (a []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.bound {
		a = append(a, l.Where())
	}
	return a
}

// Publish publishes a message as the broker itself; no right is asked for. The
// message must not be changed afterwards.
func (b *Broker) Publish(topic string, payload []byte, q mqtt.QoS, retain bool) error {
	if err := mqtt.CheckTopicName(topic); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	m := &record.Message{Topic: topic, Payload: payload, QoS: q, Retain: retain}
	sh := b.hub.Shards[0]
	if !sh.Post(func() { sh.Publish(m) }) {
		return errClosed
	}
	return nil
}

var errClosed = errors.New("broker is closed")

// Close ends the broker. The order: no new connections; the wills of everybody,
// while those who want them are still there; DISCONNECT 0x8B; what is written is
// given a moment to leave; the loops; the store, which completes what it was
// given.
func (b *Broker) Close(ctx context.Context) error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	b.mu.Unlock()
	b.log.PublishTo(nil)
	b.stop()
	b.api.close()
	b.wg.Wait()
	b.engine.StopListening()
	b.hub.Freeze()                       // no client may be missed by what follows
	b.onAll(ctx, func(sh *hub.Shard) {}) // those under way between loops have arrived
	b.onAll(ctx, func(sh *hub.Shard) { sh.PublishWills() })
	b.onAll(ctx, func(sh *hub.Shard) {}) // wills for other loops have arrived
	b.onAll(ctx, func(sh *hub.Shard) { sh.KickAll(mqtt.ServerShuttingDown) })
	deadline := time.Now().Add(stopWait)
	for b.engine.Open() > 0 && time.Now().Before(deadline) && ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	b.engine.Close()
	b.guards.close()
	b.doors.close()
	if err := b.closeStore(ctx); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// onAll runs f on every loop and waits for it.
func (b *Broker) onAll(ctx context.Context, f func(*hub.Shard)) error {
	done := make(chan struct{}, len(b.hub.Shards))
	n := 0
	for _, sh := range b.hub.Shards {
		if sh.Post(func() { f(sh); done <- struct{}{} }) {
			n++
		}
	}
	for range n {
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// still runs f while every client stays with its loop.
func (b *Broker) still(ctx context.Context, f func() error) error {
	b.hub.Freeze()
	defer b.hub.Thaw()
	if err := b.onAll(ctx, func(*hub.Shard) {}); err != nil { // whoever is under way has arrived
		return err
	}
	return f()
}

// onAllStill is onAll while every client stays with its loop.
func (b *Broker) onAllStill(ctx context.Context, f func(*hub.Shard)) error {
	return b.still(ctx, func() error { return b.onAll(ctx, f) })
}

// MoveForTest has each loop move one of its connections to another every n
// batches, whatever the load.
func (b *Broker) MoveForTest(n int) { b.engine.MoveEvery(n) }

// SlowForTest makes one second of the broker's clock last n, before Start: time
// then is what AdvanceForTest says.
func (b *Broker) SlowForTest(n int) { b.clock.Slow(n) }

// AdvanceForTest moves the broker's clock forward and returns when what became
// due has been done.
func (b *Broker) AdvanceForTest(d time.Duration) {
	b.clock.Advance(d)
	// Timers run behind the mail of a turn, so the second round sees them done,
	// and the third what they sent to other loops.
	for range 3 {
		_ = b.onAll(context.Background(), func(*hub.Shard) {})
	}
}
