package client

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/midgemq/midge/client/internal/dial"
	"github.com/midgemq/midge/client/outbox"
	"github.com/midgemq/midge/internal/flow"
	"github.com/midgemq/midge/mqtt"
)

// Client keeps one MQTT session over as many connections as it takes. All its methods may be called from any goroutine, from
// handlers too.
//
// Everything that is the session's or the connection's state has one owner, the holder of mu. Whoever holds it does a bounded
// amount of work in memory and gives it back: under it nothing blocks, no socket or disk is touched and no code of the caller runs.
// That is why a handler can publish, subscribe and close. DESIGN.md beside this file has the list of goroutines.
type Client struct {
	// Immutable.
	opts   Options
	store  outbox.Store
	events events
	disp   *dispatcher
	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when run has ended

	dropped atomic.Uint64

	mu sync.Mutex
	// Guarded by mu.
	started bool
	err     error // why the client ended; nil while it works
	servers []dial.Server
	link    *link // nil while there is no connection
	online  chan struct{}
	bye     *goodbye

	clientID   string
	version    mqtt.Version
	everOnline bool
	attempt    error // of the last failed attempt to connect
	persistent bool  // a session may exist at the server

	sender    flow.Sender[exchange]
	resending bool
	backlog   ring[*outgoing]
	queued    int // messages accepted and not done
	queuedLen int // their bytes
	room      chan struct{}
	flushed   chan struct{}
	seq       uint64

	received flow.Receiver
	handling map[uint16]*Message // QoS 2 messages not yet acknowledged by PUBREC

	subs     subscriptions
	requests []*request // waiting for a connection
	replies  replies
	reauth   *reauth

	persist persister
}

// exchange is what a packet identifier stands for: one of the two.
type exchange struct {
	out *outgoing
	req *request
}

// goodbye is how the last connection is to end.
type goodbye struct {
	code  mqtt.ReasonCode
	props *mqtt.Properties
}

// New makes a client and loads its Store; it does not connect yet.
func New(o Options) (*Client, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if len(o.Servers) == 0 {
		return nil, errors.New("option Servers: none given")
	}
	c := &Client{opts: o, store: o.Store, done: make(chan struct{}), online: make(chan struct{}), handling: map[uint16]*Message{}}
	for _, s := range o.Servers {
		srv, err := dial.ParseServer(s)
		if err != nil {
			return nil, err
		}
		c.servers = append(c.servers, srv)
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.disp = newDispatcher(&c.opts, &c.dropped)
	c.subs.init()
	if h := o.DefaultHandler; h != nil {
		c.subs.fallback = []*receiver{{handler: h, manual: o.ManualAck}}
	}
	c.version = orVersion(o.Version, mqtt.V5)
	c.clientID = o.ClientID
	c.persistent = o.Resume
	c.persist.init(c)
	if c.store != nil {
		state, err := c.store.Load()
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		c.restore(state)
		c.mu.Unlock()
	}
	return c, nil
}

// Connect makes a client, starts it and waits for the first connection. Unreachable servers are tried again until the context
// ends; a refusal that trying again cannot mend is returned at once. On error the client is closed.
func Connect(ctx context.Context, o Options) (*Client, error) {
	c, err := New(o)
	if err != nil {
		return nil, err
	}
	if err := c.Connect(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Start begins to connect, in the background and for as long as it takes. Calls after the first do nothing.
func (c *Client) Start() { c.start(false) }

func (c *Client) start(giveUp bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started || c.err != nil {
		return
	}
	c.started = true
	go c.run(giveUp)
}

// Connect starts the client and waits for a connection; see the function Connect for what it returns.
func (c *Client) Connect(ctx context.Context) error {
	c.start(true)
	c.mu.Lock()
	online := c.online
	c.mu.Unlock()
	select {
	case <-online:
		return nil
	case <-c.done:
		return c.closedError("connect")
	case <-ctx.Done():
		c.Close()
		c.mu.Lock()
		last := c.attempt
		c.mu.Unlock()
		return notSent("connect", errors.Join(context.Cause(ctx), last))
	}
}

// WaitConnected waits until there is a connection.
func (c *Client) WaitConnected(ctx context.Context) error {
	c.mu.Lock()
	online := c.online
	c.mu.Unlock()
	select {
	case <-online:
		return nil
	case <-c.done:
		return c.closedError("connect")
	case <-ctx.Done():
		return ended(ctx, "connect", NotSent)
	}
}

// closedError is the error of an operation on a client that has ended.
func (c *Client) closedError(op string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return closedWith(op, c.err)
}

func closedWith(op string, err error) error {
	if err == nil || errors.Is(err, ErrClosed) {
		return notSent(op, ErrClosed)
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Op == op {
		return err
	}
	return notSent(op, errors.Join(ErrClosed, err))
}

// Connected reports whether there is a connection, and what its CONNACK said.
func (c *Client) Connected() (ConnectInfo, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == nil {
		return ConnectInfo{}, false
	}
	return c.link.conn.info, true
}

// Done is closed when the client has ended: by Close, or because it gave up. Err then tells why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns why the client ended, ErrClosed after Close, nil while it works.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Dropped returns how many received QoS 0 messages were dropped because the handlers stood still; see Options.MaxBacklog.
func (c *Client) Dropped() uint64 { return c.dropped.Load() }

// Flush waits until every message accepted so far is done.
func (c *Client) Flush(ctx context.Context) error {
	for {
		c.mu.Lock()
		if c.queued == 0 && (c.link == nil || len(c.link.out) == 0 && !c.link.writing) {
			c.mu.Unlock()
			return nil
		}
		if c.flushed == nil {
			c.flushed = make(chan struct{})
		}
		flushed := c.flushed
		c.mu.Unlock()
		select {
		case <-flushed:
		case <-c.done:
			return c.closedError("flush")
		case <-ctx.Done():
			return ended(ctx, "flush", Unknown)
		}
	}
}

// Close sends DISCONNECT, closes the connection and ends the client. The session lives on at the server as long as its expiry says.
// Messages not done end with an error that says whether they were sent; those in a Store go out in the next run. Close waits for
// the network to be closed, not for handlers.
func (c *Client) Close() error { return c.CloseWith(mqtt.NormalDisconnection, nil) }

// CloseWithWill is Close, except that the server publishes the will: it sends DISCONNECT with 0x04 in 5.0, and closes the
// connection without DISCONNECT before, for 3.x has no other way. What was accepted earlier still leaves first.
func (c *Client) CloseWithWill() error { return c.CloseWith(mqtt.DisconnectWithWill, nil) }

// CloseWith is Close with the reason code and properties of a DISCONNECT of 5.0: a Session Expiry of 0 ends the session, a code
// other than NormalDisconnection has the will published, with 3.x too (see CloseWithWill).
func (c *Client) CloseWith(code mqtt.ReasonCode, properties *mqtt.Properties) error {
	if err := checkDisconnect(code, properties); err != nil {
		return err
	}
	c.mu.Lock()
	if c.bye == nil {
		c.bye = &goodbye{code, properties}
	}
	started := c.started
	c.started = true
	c.mu.Unlock()
	c.cancel(ErrClosed)
	if !started {
		c.finish(ErrClosed)
		close(c.done)
	}
	<-c.done
	return nil
}

// finish ends the session's work; err is why. It runs once, last.
func (c *Client) finish(err error) {
	c.cancel(err)
	c.mu.Lock()
	c.err = err
	c.failEverything(err)
	c.mu.Unlock()
	c.persist.wait()
	c.disp.close()
	if c.store != nil {
		if cerr := c.store.Close(); cerr != nil {
			c.report(cerr)
		}
	}
}

// failEverything ends what waits. mu is held.
func (c *Client) failEverything(err error) {
	c.sender.All(func(_ uint16, _ flow.State, x exchange) bool {
		if x.out != nil {
			x.out.complete(0, nil, c.leftOver(x.out, err))
		}
		if x.req != nil {
			x.req.finish(unknown(x.req.op(), err))
		}
		return true
	})
	for c.backlog.len() > 0 {
		o := c.backlog.pop()
		o.complete(0, nil, c.leftOver(o, err))
	}
	c.queued, c.queuedLen = 0, 0
	for _, r := range c.requests {
		r.finish(notSent(r.op(), err))
	}
	c.requests = nil
	c.replies.fail(err)
	c.reauth.finish(unknown("authenticate", err))
	c.reauth = nil
	c.signalRoom()
	c.signalFlushed()
	c.subs.closeStreams(err)
}

// leftOver is the error of a message that the client leaves behind. One that is in the store is not lost and may be sent later.
func (c *Client) leftOver(o *outgoing, err error) error {
	if o.sent || c.store != nil {
		return unknown("publish", err)
	}
	return notSent("publish", err)
}

func (c *Client) signalRoom() {
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
}

func (c *Client) signalFlushed() {
	if c.flushed != nil {
		close(c.flushed)
		c.flushed = nil
	}
}

// report gives an error that has no other way to the program to OnError.
func (c *Client) report(err error) {
	if f := c.opts.OnError; f != nil {
		c.events.add(func() { f(err) })
	}
}

// events calls functions one after the other on a goroutine that lives while there are any.
type events struct {
	mu      sync.Mutex
	queue   []func()
	running bool
}

func (e *events) add(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue = append(e.queue, f)
	if !e.running {
		e.running = true
		go e.run()
	}
}

func (e *events) run() {
	for {
		e.mu.Lock()
		if len(e.queue) == 0 {
			e.running, e.queue = false, nil
			e.mu.Unlock()
			return
		}
		f := e.queue[0]
		e.queue = e.queue[1:]
		e.mu.Unlock()
		f()
	}
}
