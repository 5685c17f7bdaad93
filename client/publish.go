package client

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/midgemq/midge/client/outbox"
	"github.com/midgemq/midge/internal/flow"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// outgoing is one accepted message on its way. Its fields belong to the holder of Client.mu, except for the embedded handle.
type outgoing struct {
	Publication
	topic   string
	payload []byte
	props   []byte // encoded, without topic alias and message expiry
	seq     uint64
	expires time.Time // zero: never
	qos     mqtt.QoS
	retain  bool
	sent    bool // it has left on some connection
	durable bool // the store has it
}

func (o *outgoing) size() int { return len(o.topic) + len(o.payload) + len(o.props) }

// Publish sends a message and waits until it is delivered as far as its QoS promises: written to the network (0), acknowledged by
// PUBACK (1) or PUBCOMP (2). The error is nil or an *Error, which says whether the message may have arrived. When the context ends
// before the message was sent, the message is withdrawn, unless a Store has it.
func (c *Client) Publish(ctx context.Context, m mqtt.Message) error {
	p, err := c.PublishAsync(ctx, m)
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
		return p.Err()
	case <-ctx.Done():
		return c.withdraw(ctx, p)
	}
}

// PublishAsync accepts a message and returns at once, with a handle that tells the outcome. Topic and payload may be reused when it
// returns; Dup and PacketID are ignored. The error means that the message was not accepted. The context bounds the wait for room
// (Options.WhenFull) and nothing else.
func (c *Client) PublishAsync(ctx context.Context, m mqtt.Message) (*Publication, error) {
	if err := checkMessage(&m); err != nil {
		return nil, notSent("publish", err)
	}
	if m.QoS == mqtt.AtMostOnce {
		return c.publishNow(ctx, &m)
	}
	return c.accept(ctx, &m)
}

func checkMessage(m *mqtt.Message) error {
	if err := mqtt.CheckTopicName(m.Topic); err != nil {
		return fmt.Errorf("topic %q: %w", m.Topic[:min(len(m.Topic), 100)], err)
	}
	if !m.QoS.Valid() {
		return fmt.Errorf("QoS %d is not 0, 1 or 2", m.QoS)
	}
	if m.Properties == nil {
		return nil
	}
	if len(m.Properties.SubscriptionIDs) > 0 {
		return fmt.Errorf("a client sends no subscription identifier in PUBLISH [MQTT-3.3.4-6]")
	}
	if m.Properties.TopicAlias != 0 {
		return fmt.Errorf("topic aliases are the client's affair")
	}
	return packet.CheckProperties(packet.PUBLISH, m.Properties)
}

// publishNow encodes a QoS 0 message straight into the output.
func (c *Client) publishNow(ctx context.Context, m *mqtt.Message) (*Publication, error) {
	c.mu.Lock()
	for {
		l := c.link
		switch {
		case c.err != nil || c.bye != nil:
			err := c.err
			c.mu.Unlock()
			return nil, closedWith("publish", err)
		case l == nil && !c.opts.QueueQoS0:
			c.mu.Unlock()
			return nil, notSent("publish", ErrNotConnected)
		case l == nil:
			c.mu.Unlock()
			return c.accept(ctx, m)
		case len(l.out) < maxOutput:
			return l.publishNow(m) // unlocks
		}
		if err := c.waitRoom(ctx); err != nil {
			return nil, err
		}
	}
}

// waitRoom waits for room, or does not, as the options say. mu is held before and, unless there is an error, after.
func (c *Client) waitRoom(ctx context.Context) error {
	if c.opts.WhenFull == RejectNew || c.opts.WhenFull == DropOldest {
		c.mu.Unlock()
		return notSent("publish", ErrQueueFull)
	}
	if c.room == nil {
		c.room = make(chan struct{})
	}
	room := c.room
	c.mu.Unlock()
	select {
	case <-room:
		c.mu.Lock()
		return nil
	case <-ctx.Done():
		return ended(ctx, "publish", NotSent)
	}
}

// publishNow appends a QoS 0 PUBLISH to the output. mu is held; it is released.
func (l *link) publishNow(m *mqtt.Message) (*Publication, error) {
	c := l.c
	props := l.scratch[:0]
	if m.Properties != nil {
		props = packet.AppendProperties(props, packet.PUBLISH, m.Properties)
		l.scratch = props
	}
	if err := l.checkPublish(m.QoS, m.Retain, len(m.Topic), len(props), len(m.Payload)); err != nil {
		c.mu.Unlock()
		return nil, notSent("publish", err)
	}
	l.appendPublish(packet.PublishFirst(0, false, m.Retain), m.Topic, 0, props, m.Payload)
	if l.batch == nil {
		l.batch = new(Publication)
	}
	p := l.batch
	l.wakeWriter()
	c.mu.Unlock()
	return p, nil
}

// accept takes a message into the queue: QoS 1 and 2, and QoS 0 without a connection.
func (c *Client) accept(ctx context.Context, m *mqtt.Message) (*Publication, error) {
	o := &outgoing{topic: m.Topic, qos: m.QoS, retain: m.Retain}
	if m.Properties != nil {
		props := *m.Properties
		if props.MessageExpiry != nil {
			o.expires = time.Now().Add(time.Duration(*props.MessageExpiry) * time.Second)
			props.MessageExpiry = nil
		}
		o.props = packet.AppendProperties(nil, packet.PUBLISH, &props)
	}
	c.mu.Lock()
	size := len(m.Topic) + len(m.Payload) + len(o.props)
	if size > mqtt.MaxPacket-64 {
		c.mu.Unlock()
		return nil, notSent("publish", fmt.Errorf("%d bytes: %w", size, ErrPacketTooLarge))
	}
	for c.queued >= c.opts.MaxQueued || c.queued > 0 && c.queuedLen+size > c.opts.MaxQueuedBytes {
		if c.opts.WhenFull == DropOldest && c.dropOldest() {
			continue
		}
		if err := c.waitRoom(ctx); err != nil {
			return nil, err
		}
	}
	if c.err != nil || c.bye != nil {
		err := c.err
		c.mu.Unlock()
		return nil, closedWith("publish", err)
	}
	if l := c.link; l != nil {
		if err := l.checkPublish(o.qos, o.retain, len(o.topic), len(o.props), len(m.Payload)); err != nil {
			c.mu.Unlock()
			return nil, notSent("publish", err)
		}
	}
	o.payload = c.keep(m.Payload)
	c.seq++
	o.seq = c.seq
	c.queued++
	c.queuedLen += o.size()
	if c.store != nil && o.qos > 0 {
		c.saveMessage(o)
	} else {
		c.backlog.push(o)
		c.pump()
	}
	c.mu.Unlock()
	return &o.Publication, nil
}

// keep copies a payload, for the caller may reuse it.
func (c *Client) keep(b []byte) []byte { return bytes.Clone(b) }

// saveMessage hands a message to the store; with room in the window it gets its identifier in the same commit. mu is held.
func (c *Client) saveMessage(o *outgoing) {
	stored := &outbox.Message{
		Seq: o.seq, QoS: o.qos, Retain: o.retain, Topic: o.topic, Payload: o.payload, Properties: o.props,
	}
	if !o.expires.IsZero() {
		left := uint32(max(time.Until(o.expires)/time.Second, 0))
		stored.Properties = packet.AppendUint(bytes.Clone(o.props), packet.PropMessageExpiry, left)
	}
	if l := c.link; l != nil && !c.resending && c.backlog.len() == 0 && c.sender.Free() > 0 && !l.closing {
		if id, ok := c.sender.Start(awaiting(o.qos), exchange{out: o}); ok {
			stored.ID = id
			c.persist.add(outbox.Change{Kind: outbox.PutMessage, Seq: o.seq, ID: id, Message: stored}, gate{kind: gateSend, link: l, out: o, id: id})
			return
		}
	}
	c.backlog.push(o)
	c.persist.add(outbox.Change{Kind: outbox.PutMessage, Seq: o.seq, Message: stored}, gate{kind: gateSaved, out: o})
}

func awaiting(q mqtt.QoS) flow.State {
	if q == mqtt.ExactlyOnce {
		return flow.AwaitPubrec
	}
	return flow.AwaitPuback
}

// dropOldest ends the oldest message that has not been sent. mu is held.
func (c *Client) dropOldest() bool {
	o, ok := c.backlog.removeFirst(func(o *outgoing) bool { return !o.sent })
	if ok {
		c.end(o, 0, nil, notSent("publish", ErrDropped))
	}
	return ok
}

// withdraw takes a message back whose caller waits no longer.
func (c *Client) withdraw(ctx context.Context, p *Publication) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.store == nil {
		if o, ok := c.backlog.removeFirst(func(o *outgoing) bool { return &o.Publication == p && !o.sent }); ok {
			err := ended(ctx, "publish", NotSent)
			c.end(o, 0, nil, err)
			return err
		}
	}
	select {
	case <-p.Done():
		return p.Err()
	default:
		return ended(ctx, "publish", Unknown)
	}
}

// end completes a message that is in no queue any more. mu is held.
func (c *Client) end(o *outgoing, reason mqtt.ReasonCode, props *mqtt.Properties, err error) {
	c.queued--
	c.queuedLen -= o.size()
	if c.store != nil && o.qos > 0 {
		c.persist.add(outbox.Change{Kind: outbox.DeleteMessage, Seq: o.seq}, gate{})
	}
	o.complete(reason, props, err)
	// Waiters come back when a quarter is free, not one by one: the batches they make are larger.
	if c.room != nil && c.queued <= c.opts.MaxQueued-max(c.opts.MaxQueued/4, 1) && c.queuedLen <= c.opts.MaxQueuedBytes/4*3 {
		c.signalRoom()
	}
	if c.queued == 0 {
		c.signalFlushed()
	}
}

// pump sends what the window and the output have room for. mu is held.
func (c *Client) pump() {
	l := c.link
	if l == nil || l.closing {
		return
	}
	if c.resending {
		if c.resending = !c.sender.Resend(l.resend); c.resending {
			return
		}
	}
	for c.backlog.len() > 0 && len(l.out) < maxOutput {
		o := *c.backlog.front()
		if c.store != nil && o.qos > 0 && !o.durable || o.qos > 0 && c.sender.Free() <= 0 {
			return
		}
		c.backlog.pop()
		c.send(l, o)
	}
}

// send starts the delivery of a message. mu is held.
func (c *Client) send(l *link, o *outgoing) {
	if !o.expires.IsZero() && !time.Now().Before(o.expires) {
		c.end(o, 0, nil, notSent("publish", ErrExpired))
		return
	}
	if err := l.checkPublish(o.qos, o.retain, len(o.topic), len(o.props)+5, len(o.payload)); err != nil {
		c.end(o, 0, nil, notSent("publish", err))
		return
	}
	if o.qos == mqtt.AtMostOnce {
		l.transmit(o, 0)
		if l.batch == nil {
			l.batch = new(Publication)
		}
		l.riders = append(l.riders, o)
		return
	}
	id, ok := c.sender.Start(awaiting(o.qos), exchange{out: o})
	if !ok {
		c.backlog.pushFront(o)
		return
	}
	if c.store == nil {
		l.transmit(o, id)
		return
	}
	assign := outbox.Change{Kind: outbox.AssignID, Seq: o.seq, ID: id}
	if o.qos == mqtt.ExactlyOnce {
		c.persist.add(assign, gate{kind: gateSend, link: l, out: o, id: id})
		return
	}
	// A QoS 1 message that comes again under another identifier is a repeat like any other: no need to wait.
	c.persist.add(assign, gate{})
	l.transmit(o, id)
}

// resend repeats an exchange on a new connection: PUBLISH with DUP if it had been sent [MQTT-3.3.1-1], or PUBREL alone
// [MQTT-4.3.3-6]. mu is held.
func (l *link) resend(id uint16, st flow.State, x exchange) {
	if st == flow.AwaitPubcomp {
		l.ack(packet.PUBREL, id, mqtt.Success)
		return
	}
	l.transmit(x.out, id)
}

// transmit appends PUBLISH to the output. mu is held.
func (l *link) transmit(o *outgoing, id uint16) {
	props := o.props
	if !o.expires.IsZero() && l.conn.v == mqtt.V5 {
		// At least a second: a message that was sent before does not expire at its sender [MQTT-4.3.3-7].
		left := uint32(max((time.Until(o.expires)+time.Second-1)/time.Second, 1))
		props = packet.AppendUint(append(l.scratch[:0], props...), packet.PropMessageExpiry, left)
		l.scratch = props
	}
	l.appendPublish(packet.PublishFirst(o.qos, o.sent, o.retain), o.topic, id, props, o.payload)
	o.sent = true
	l.wakeWriter()
}

// checkPublish judges a message by what the server announced, before anything of it is sent (E196).
func (l *link) checkPublish(q mqtt.QoS, retain bool, topic, props, payload int) error {
	lim := &l.conn.limits
	if retain && !lim.retain {
		return fmt.Errorf("retained messages: %w [MQTT-3.2.2-14]", ErrNotSupported)
	}
	if q > lim.maxQoS {
		return fmt.Errorf("QoS %d, the server's maximum is %d: %w [MQTT-3.2.2-11]", q, lim.maxQoS, ErrNotSupported)
	}
	if topic+props+payload+16 > lim.maxPacket { // the exact size only where it matters
		if size := packet.PublishSize(l.conn.v, topic, q, props, payload); size > lim.maxPacket {
			return fmt.Errorf("%d bytes, limit %d: %w [MQTT-3.2.2-15]", size, lim.maxPacket, ErrPacketTooLarge)
		}
	}
	return nil
}

// minAliasTopic is the shortest topic worth an alias: the property itself takes three bytes.
const minAliasTopic = 5

// appendPublish encodes a PUBLISH, by alias where the server allows it. Numbers are handed out once per connection, first come
// first served: replacing them would cost more than it saves when topics are many.
func (l *link) appendPublish(first byte, topic string, id uint16, props, payload []byte) {
	v := l.conn.v
	if l.maxAlias > 0 && len(topic) >= minAliasTopic {
		n, known := l.aliases[topic]
		if !known && len(l.aliases) < l.maxAlias &&
			packet.PublishSize(v, len(topic), mqtt.QoS(first>>1&3), len(props)+3, len(payload)) <= l.conn.limits.maxPacket {
			n = uint16(len(l.aliases) + 1)
			l.aliases[topic] = n
		}
		if n != 0 {
			alias := [3]byte{byte(packet.PropTopicAlias), byte(n >> 8), byte(n)}
			if known {
				topic = ""
			}
			l.out = packet.AppendPublishHeader(l.out, first, v, topic, id, len(payload), props, alias[:])
			l.out = append(l.out, payload...)
			return
		}
	}
	l.out = packet.AppendPublishHeader(l.out, first, v, topic, id, len(payload), props)
	l.out = append(l.out, payload...)
}

// Pending returns the handles of all messages accepted and not done, oldest first; after a restart those of the Store are among
// them.
func (c *Client) Pending() []*Publication {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*Publication
	c.sender.All(func(_ uint16, _ flow.State, x exchange) bool {
		if x.out != nil {
			list = append(list, &x.out.Publication)
		}
		return true
	})
	for i := range c.backlog.n {
		list = append(list, &c.backlog.items[(c.backlog.head+i)&(len(c.backlog.items)-1)].Publication)
	}
	return list
}
