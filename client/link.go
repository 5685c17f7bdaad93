package client

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/midgemq/midge/client/outbox"
	"github.com/midgemq/midge/internal/flow"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// link is a Client's hold on one connection: what is to be written, and what was received and awaits its acknowledgement. A reading
// and a writing goroutine serve it.
type link struct {
	// Immutable.
	c    *Client
	conn *Conn
	dead chan struct{} // closed by the first failure
	wake chan struct{} // tells the writer, one token
	wg   sync.WaitGroup

	// Owned by the reading goroutine.
	pub packet.Publish
	pkt packet.Ack

	// Guarded by c.mu.
	out      []byte       // encoded and not yet written
	batch    *Publication // of the QoS 0 messages in out
	riders   []*outgoing  // QoS 0 messages in out that came through the queue
	idle     bool         // the writer waits for wake
	writing  bool
	closing  bool // DISCONNECT, or the end without it, is behind out: nothing follows [MQTT-3.14.4-1]
	stopped  bool
	err      error
	scratch  []byte
	aliases  map[string]uint16
	maxAlias int

	acks     ring[*Message] // received, in the order of arrival, PUBACK or PUBREC not sent [MQTT-4.6.0-2]
	unacked  int            // against the receive maximum of this side
	received []*Message     // of this batch, for the dispatcher

	keepAlive time.Duration
	timer     *time.Timer
	lastSent  time.Time
	lastRead  time.Time
	pinged    time.Time // PINGREQ without anything received since; zero: none
}

func newLink(c *Client, conn *Conn) *link {
	now := time.Now()
	l := &link{
		c: c, conn: conn, dead: make(chan struct{}), wake: make(chan struct{}, 1), maxAlias: conn.limits.aliases,
		keepAlive: conn.info.KeepAlive, lastSent: now, lastRead: now,
	}
	if l.maxAlias > 0 {
		l.aliases = make(map[string]uint16)
	}
	return l
}

// start begins to serve the connection. mu is held.
func (l *link) start() {
	l.wg.Add(2)
	go l.read()
	go l.write()
	if l.keepAlive > 0 {
		l.timer = time.AfterFunc(l.pingAfter(), l.tick)
	}
}

// wakeWriter tells the writer that there is output. mu is held.
func (l *link) wakeWriter() {
	if !l.idle {
		return
	}
	l.idle = false
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// fail ends the connection; the first cause counts.
func (l *link) fail(err error) {
	l.c.mu.Lock()
	first := !l.stopped
	if first {
		l.stopped, l.err = true, err
		if l.timer != nil {
			l.timer.Stop()
		}
	}
	l.c.mu.Unlock()
	if first {
		l.conn.fail(err)
		close(l.dead)
	}
}

// write sends what gathers in out: one write for all that came while the last one ran.
func (l *link) write() {
	defer l.wg.Done()
	c := l.c
	var spare []byte
	c.mu.Lock()
	for {
		for len(l.out) == 0 && !l.stopped && !l.closing {
			if c.flushed != nil && c.queued == 0 {
				c.signalFlushed()
			}
			l.idle = true
			c.mu.Unlock()
			select {
			case <-l.wake:
			case <-l.dead:
			}
			c.mu.Lock()
			l.idle = false
		}
		if l.stopped {
			c.mu.Unlock()
			return
		}
		buf, batch, riders, last := l.out, l.batch, l.riders, l.closing
		l.out, l.batch, l.riders, l.writing = spare[:0], nil, nil, true
		c.pump()
		if len(l.out) < maxOutput && c.queued < c.opts.MaxQueued {
			c.signalRoom()
		}
		c.mu.Unlock()
		err := l.conn.write(buf, last)
		if batch != nil {
			batch.complete(0, nil, writeError(err))
		}
		if err != nil {
			l.fail(err)
		} else if last {
			l.fail(ErrClosed)
		}
		if spare = buf; cap(spare) > 2*maxOutput {
			spare = nil // one large message must not pin its size
		}
		c.mu.Lock()
		l.writing = false
		l.lastSent = time.Now()
		for _, o := range riders {
			c.end(o, 0, nil, writeError(err))
		}
	}
}

func writeError(err error) error {
	if err == nil {
		return nil
	}
	return unknown("publish", err)
}

// read takes packets: all that one read of the socket brought are handled under one hold of mu.
func (l *link) read() {
	defer l.wg.Done()
	c := l.c
	for {
		first, body, err := l.conn.next()
		if err != nil {
			l.fail(readError(err))
			return
		}
		c.mu.Lock()
		l.lastRead, l.pinged = time.Now(), time.Time{}
		for ok := true; ok && err == nil; {
			if l.stopped {
				break
			}
			if err = c.handle(l, first, body); err == nil {
				first, body, ok, err = l.conn.parse()
			}
		}
		c.pump()
		messages := l.received
		l.received = nil
		c.mu.Unlock()
		if len(messages) > 0 {
			c.disp.push(messages)
			clear(messages)
		}
		c.mu.Lock()
		if l.received == nil {
			l.received = messages[:0]
		}
		stopped := l.stopped
		c.mu.Unlock()
		if err != nil {
			l.fail(err)
		}
		if err != nil || stopped {
			return
		}
		c.disp.waitRoom(l.dead)
	}
}

// readError says in this program's words that the connection is gone.
func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("connection closed by the server: %w", err)
	}
	return err
}

// pingAfter is the silence after which a PINGREQ is due: a tenth before the keep alive ends, for packets take time too.
func (l *link) pingAfter() time.Duration { return l.keepAlive - l.keepAlive/10 }

// tick looks after the keep alive [MQTT-3.1.2-20]. A PINGREQ goes out too when nothing has been received for that long although
// there was something to send: only an answer tells that the server is there.
func (l *link) tick() {
	c := l.c
	c.mu.Lock()
	if l.stopped || l.closing {
		c.mu.Unlock()
		return
	}
	now := time.Now()
	if !l.pinged.IsZero() {
		if now.Sub(l.pinged) >= c.opts.PingTimeout {
			c.mu.Unlock()
			l.fail(ErrKeepAlive)
			return
		}
		l.timer.Reset(c.opts.PingTimeout - now.Sub(l.pinged))
		c.mu.Unlock()
		return
	}
	due := l.lastSent
	if l.lastRead.Before(due) {
		due = l.lastRead
	}
	wait := due.Add(l.pingAfter()).Sub(now)
	if wait <= 0 {
		l.out = append(l.out, byte(packet.PINGREQ)<<4, 0)
		l.pinged = now
		l.wakeWriter()
		wait = min(c.opts.PingTimeout, l.pingAfter())
	}
	l.timer.Reset(wait)
	c.mu.Unlock()
}

// ack appends an acknowledgement. mu is held.
func (l *link) ack(t packet.Type, id uint16, code mqtt.ReasonCode) {
	if l.closing {
		return
	}
	l.out = packet.AppendAck(l.out, t, l.conn.v, id, code)
	if t == packet.PUBACK || t == packet.PUBCOMP || t == packet.PUBREC && code.IsError() {
		l.unacked = max(l.unacked-1, 0)
	}
	l.wakeWriter()
}

// appendPacket appends any other packet, or refuses it for its size. mu is held.
func (l *link) appendPacket(p packet.Packet) error {
	if l.closing || l.stopped {
		return net.ErrClosed
	}
	if n := p.Size(l.conn.v); n > l.conn.limits.maxPacket {
		return fmt.Errorf("%v of %d bytes, limit %d: %w [MQTT-3.2.2-15]", p.Kind(), n, l.conn.limits.maxPacket, ErrPacketTooLarge)
	}
	l.out = p.Append(l.out, l.conn.v)
	l.wakeWriter()
	return nil
}

// lastWrite is how long what was queued before a DISCONNECT may take to leave: a server that does not read must not hold up the end.
const lastWrite = 5 * time.Second

// disconnect puts DISCONNECT, or nothing if the will of 3.x is to be published, at the end of the output; the writer closes the
// connection behind it. mu is held.
func (l *link) disconnect(g *goodbye) {
	if l.closing || l.stopped {
		return
	}
	l.out = l.conn.appendDisconnect(l.out, g.code, g.props)
	l.closing = true
	l.conn.nc.SetWriteDeadline(time.Now().Add(lastWrite)) //nolint:errcheck // a connection that cannot is gone
	l.wakeWriter()
}

// attach makes conn the client's connection: in-flight state is resumed or, if the server has lost it, settled.
func (c *Client) attach(conn *Conn) *link {
	c.persist.wait() // what was assigned on the last connection is in the store before it is repeated
	l := newLink(c, conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	// 3.1 does not say whether the session is there. It is taken to be when it was asked for; subscriptions are made again.
	resumed := conn.info.SessionPresent || conn.v == mqtt.V31 && c.persistent
	if !resumed {
		c.loseSession()
	}
	c.clientID, c.version, c.everOnline = conn.info.ClientID, conn.v, true
	c.persistent = conn.limits.sessionExpiry > 0
	if c.store != nil && c.persistent {
		c.persist.add(outbox.Change{Kind: outbox.SetSession, ClientID: c.clientID}, gate{})
	}
	c.sender.Reset(min(conn.limits.receiveMaximum, c.opts.MaxInflight), conn.v != mqtt.V5)
	c.resending = true
	c.link = l
	if c.bye != nil {
		l.disconnect(c.bye)
	}
	c.resubscribe(l, resumed && conn.v != mqtt.V31)
	c.replies.begin(c)
	c.pump()
	l.start()
	close(c.online)
	if f := c.opts.OnConnect; f != nil {
		info := conn.info
		c.events.add(func() { f(info) })
	}
	return l
}

// detach gives the connection up: what stays behind on it is settled or waits for the next one.
func (c *Client) detach(l *link) error {
	l.wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = nil
	c.online = make(chan struct{})
	if l.batch != nil {
		l.batch.complete(0, nil, notSent("publish", l.err))
	}
	for _, o := range l.riders {
		c.end(o, 0, nil, notSent("publish", l.err))
	}
	c.sender.Drop(func(_ uint16, _ flow.State, x exchange) bool {
		if x.req != nil {
			c.requests = append(c.requests, x.req)
		}
		return x.req != nil
	})
	c.reauth.finish(unknown("authenticate", l.err))
	c.reauth = nil
	c.signalRoom() // those who wait for room in the output of this connection
	c.signalFlushed()
	err := l.err
	if f := c.opts.OnDisconnect; f != nil {
		c.events.add(func() { f(err) })
	}
	return err
}

// loseSession settles what was under way in a session that the server does not have: nothing is sent again under its old
// identifier [MQTT-3.2.2-5]. What had not left yet is simply sent anew. mu is held.
func (c *Client) loseSession() {
	var again []*outgoing
	c.sender.Drop(func(_ uint16, _ flow.State, x exchange) bool {
		if o := x.out; o != nil {
			if !o.sent || c.mayRequeue(o) {
				again = append(again, o)
			} else {
				c.end(o, 0, nil, unknown("publish", ErrSessionLost))
			}
		}
		return true
	})
	for i := len(again) - 1; i >= 0; i-- {
		o := again[i]
		o.sent = false
		if c.store != nil {
			c.persist.add(outbox.Change{Kind: outbox.AssignID, Seq: o.seq}, gate{})
		}
		c.backlog.pushFront(o)
	}
	c.received = flow.Receiver{}
	clear(c.handling)
	c.subs.loseSession()
	if c.store != nil && c.persistent {
		c.persist.add(outbox.Change{Kind: outbox.ClearSession}, gate{})
	}
}
