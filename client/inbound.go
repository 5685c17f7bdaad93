package client

import (
	"context"
	"errors"
	"sync"

	"github.com/midgemq/midge/client/outbox"
	"github.com/midgemq/midge/internal/flow"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// Message is a received message. It belongs to the program, which may keep it; what it points to is shared by all handlers of the
// message and must not be changed.
type Message struct {
	mqtt.Message

	c     *Client
	entry *topicEntry
	to    []*receiver
	link  *link // it came on; changed for a QoS 2 message that comes again
	// Guarded by Client.mu.
	waiting int // receivers that have not acknowledged
	acked   bool
	code    mqtt.ReasonCode
}

// handle takes one packet of the server. mu is held.
func (c *Client) handle(l *link, first byte, body []byte) error {
	v := l.conn.v
	switch t := packet.Type(first >> 4); t {
	case packet.PUBLISH:
		if err := l.pub.Decode(v, first, body); err != nil {
			return decodeError(err)
		}
		return c.receive(l, &l.pub)
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		if err := l.pkt.Decode(v, first, body); err != nil {
			return decodeError(err)
		}
		if err := l.conn.checkProblem(t, l.pkt.Props); err != nil {
			return err
		}
		return c.acknowledge(l, &l.pkt)
	case packet.PINGRESP:
		var p packet.Pingresp
		if err := p.Decode(v, first, body); err != nil {
			return decodeError(err)
		}
		return nil
	default: // rare ones, below
	}
	p, err := l.conn.decode(first, body)
	if err != nil {
		return err
	}
	switch p := p.(type) {
	case *packet.Suback:
		return c.suback(p.PacketID, p.Codes, p.Props)
	case *packet.Unsuback:
		return c.unsuback(p.PacketID, p.Codes, p.Props, v)
	case *packet.Auth:
		return c.authPacket(l, p)
	}
	return violation(mqtt.ProtocolError, "%v at this point", p.Kind())
}

// receive takes a PUBLISH. mu is held.
func (c *Client) receive(l *link, p *packet.Publish) error {
	topic := p.Topic
	if p.PropSet.Has(packet.PropTopicAlias) {
		var err error
		if topic, err = l.conn.resolve(p); err != nil {
			return err
		}
	}
	if p.QoS > 0 {
		if l.unacked++; l.conn.v == mqtt.V5 && l.unacked > int(c.opts.ReceiveMaximum) {
			return violation(mqtt.ReceiveMaximumExceeded, "%d unacknowledged messages, %d allowed [U5-3.3.4-4]", l.unacked, c.opts.ReceiveMaximum)
		}
	}
	if p.QoS == mqtt.ExactlyOnce && !c.received.Accept(p.PacketID) {
		c.repeated(l, p.PacketID)
		return nil
	}
	entry := c.subs.topic(topic)
	m := c.subs.newMessage()
	m.c, m.link, m.entry = c, l, entry
	m.Topic, m.QoS, m.Retain, m.Dup, m.PacketID = entry.topic, p.QoS, p.Retain, p.Dup, p.PacketID
	m.Payload = c.subs.copyPayload(p.Payload)
	if len(p.Props) > 0 {
		m.Properties = p.Props.Parse()
		m.Properties.TopicAlias = 0 // this connection's affair
	}
	withdrawn := false
	m.to = entry.receivers
	if m.Properties != nil && len(m.Properties.SubscriptionIDs) > 0 {
		m.to, withdrawn = c.subs.byID(entry, m.Properties.SubscriptionIDs)
	}
	if len(m.to) == 0 && c.opts.DefaultHandler != nil && !withdrawn {
		m.to = c.subs.fallback
	}
	m.waiting = len(m.to)
	if p.QoS > 0 {
		l.acks.push(m)
		if p.QoS == mqtt.ExactlyOnce {
			c.handling[p.PacketID] = m
		}
	}
	if len(m.to) == 0 {
		m.acked = true // not wanted, but acknowledged [MQTT-4.5.0-2]
		c.drainAcks(l)
		return nil
	}
	entry.under.Add(1)
	l.received = append(l.received, m)
	return nil
}

// repeated answers a QoS 2 PUBLISH that has been taken before: no second delivery [MQTT-4.3.3-10]. While its handler still works
// the PUBREC follows when that ends. mu is held.
func (c *Client) repeated(l *link, id uint16) {
	m := c.handling[id]
	if m == nil {
		m = &Message{c: c, acked: true}
		m.PacketID, m.QoS = id, mqtt.ExactlyOnce
	} else if m.link == l {
		return // its place in the order is taken
	}
	m.link = l
	l.acks.push(m)
	c.drainAcks(l)
}

// drainAcks sends the acknowledgements that are due, in the order of arrival, up to the first message still at work. mu is held.
func (c *Client) drainAcks(l *link) {
	for l.acks.len() > 0 && (*l.acks.front()).acked {
		m := l.acks.pop()
		if m.QoS == mqtt.AtLeastOnce {
			l.ack(packet.PUBACK, m.PacketID, m.code)
			continue
		}
		delete(c.handling, m.PacketID)
		switch {
		case m.code.IsError() && l.conn.v == mqtt.V5:
			c.received.Pubrel(m.PacketID)
			l.ack(packet.PUBREC, m.PacketID, m.code)
		case c.store != nil:
			c.persist.add(outbox.Change{Kind: outbox.AddReceived, ID: m.PacketID}, gate{kind: gatePubrec, link: l, id: m.PacketID})
		default:
			l.ack(packet.PUBREC, m.PacketID, mqtt.Success)
		}
	}
}

// Ack acknowledges a message that was received with manual acknowledgement, on behalf of one of its handlers; the last of them
// counts. It may be called from any goroutine, and does nothing for QoS 0 and for a second call of the only handler.
// Acknowledgements leave in the order in which the messages came, so one message kept back keeps back those behind it.
//
// The error is ErrSessionLost when the connection on which a QoS 1 message came is gone: the server will send it again.
func (m *Message) Ack() error { return m.settle(mqtt.Success) }

// Reject is Ack with a reason code of 0x80 or above: the server of 5.0 is told that the message was not taken and does not send it
// again. Servers of 3.x get an acknowledgement like any other.
func (m *Message) Reject(code mqtt.ReasonCode) error {
	if !packet.CodeAllowed(packet.PUBACK, false, code) || !code.IsError() {
		return errors.New("reject: " + code.String() + " is no reason to refuse a message")
	}
	return m.settle(code)
}

func (m *Message) settle(code mqtt.ReasonCode) error {
	if m.QoS == mqtt.AtMostOnce {
		return nil
	}
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.settleLocked(code)
}

func (m *Message) settleLocked(code mqtt.ReasonCode) error {
	if m.acked {
		return nil
	}
	if code.IsError() {
		m.code = code
	}
	if m.waiting--; m.waiting > 0 {
		return nil
	}
	m.acked = true
	if m.link != m.c.link || m.link == nil {
		if m.QoS == mqtt.ExactlyOnce && m.c.handling[m.PacketID] == m {
			delete(m.c.handling, m.PacketID) // PUBREC follows when the server repeats the message
			return nil
		}
		return ErrSessionLost
	}
	m.c.drainAcks(m.link)
	return nil
}

// ackAll acknowledges messages whose handlers have ended.
func (c *Client) ackAll(messages []*Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range messages {
		m.settleLocked(mqtt.Success) //nolint:errcheck // the server sends it again
	}
}

// acknowledge takes PUBACK, PUBREC, PUBREL or PUBCOMP. mu is held.
func (c *Client) acknowledge(l *link, p *packet.Ack) error {
	id := p.PacketID
	switch p.Type {
	case packet.PUBREL:
		c.release(l, id)
		return nil
	case packet.PUBACK:
		x, r := c.sender.Puback(id)
		return c.finished(l, p, x, r)
	case packet.PUBCOMP:
		x, r := c.sender.Pubcomp(id)
		return c.finished(l, p, x, r)
	default: // PUBREC, below
	}
	x, r := c.sender.Pubrec(id, p.Code.IsError())
	switch r {
	case flow.Advanced:
		x.out.noteReason(p)
		if c.store != nil {
			c.persist.add(outbox.Change{Kind: outbox.ReleaseMessage, Seq: x.out.seq}, gate{kind: gatePubrel, link: l, id: id})
		} else {
			l.ack(packet.PUBREL, id, mqtt.Success)
		}
		return nil
	case flow.Repeated:
		l.ack(packet.PUBREL, id, mqtt.Success)
		return nil
	case flow.Unknown:
		// The state is gone here, so the exchange is over: PUBREL lets the server forget it too [MQTT-3.6.2-1].
		l.ack(packet.PUBREL, id, mqtt.PacketIDNotFound)
		return nil
	default:
		return c.finished(l, p, x, r)
	}
}

// release takes PUBREL. mu is held.
func (c *Client) release(l *link, id uint16) {
	switch known := c.received.Pubrel(id); {
	case !known:
		l.ack(packet.PUBCOMP, id, mqtt.PacketIDNotFound)
	case c.store != nil:
		// Before PUBCOMP: a new message under this identifier would pass for a repeat after a restart.
		c.persist.add(outbox.Change{Kind: outbox.RemoveReceived, ID: id}, gate{kind: gatePubcomp, link: l, id: id})
	default:
		l.ack(packet.PUBCOMP, id, mqtt.Success)
	}
}

// finished ends a delivery. An acknowledgement of something unknown is left alone, as after a lost connection; one of the wrong
// kind is a fault. mu is held.
func (c *Client) finished(_ *link, p *packet.Ack, x exchange, r flow.Result) error {
	switch r {
	case flow.Wrong:
		return violation(mqtt.ProtocolError, "%v for packet identifier %d, which awaits another acknowledgement", p.Type, p.PacketID)
	case flow.Finished:
		o := x.out
		reason, props, err := p.Code, p.Props.Parse(), error(nil)
		if p.Type == packet.PUBCOMP {
			reason, props = o.reason, o.props5() // PUBCOMP only says that the exchange is over
		}
		if reason.IsError() {
			err = &Error{Op: "publish", Outcome: Refused, Code: reason, Properties: props}
		}
		c.end(o, reason, props, err)
	default: // unknown: an answer that comes late
	}
	return nil
}

// noteReason keeps what PUBREC said until PUBCOMP comes.
func (o *outgoing) noteReason(p *packet.Ack) {
	if p.Code == 0 && len(p.Props) == 0 {
		return
	}
	o.mu.Lock()
	o.reason, o.Publication.props = p.Code, p.Props.Parse()
	o.mu.Unlock()
}

func (o *outgoing) props5() *mqtt.Properties { return o.Publication.props }

// reauth is a re-authentication under way.
type reauth struct {
	exchange AuthExchange
	once     sync.Once
	done     chan struct{}
	err      error
}

// finish ends it; the first cause counts.
func (r *reauth) finish(err error) {
	if r != nil {
		r.once.Do(func() {
			r.err = err
			close(r.done)
		})
	}
}

// Reauthenticate proves the client's identity again on the living connection, by the method of Options.Auth [MQTT-4.12.1-1].
func (c *Client) Reauthenticate(ctx context.Context) error {
	if c.opts.Auth == nil {
		return notSent("authenticate", errors.New("option Auth is not set [MQTT-4.12.0-7]"))
	}
	r := &reauth{exchange: c.opts.Auth.Begin(ctx), done: make(chan struct{})}
	data, err := r.exchange.Start()
	if err != nil {
		return notSent("authenticate", err)
	}
	props := packet.AppendString(nil, packet.PropAuthMethod, c.opts.Auth.Name())
	if data != nil {
		props = packet.AppendBytes(props, packet.PropAuthData, data)
	}
	c.mu.Lock()
	switch {
	case c.link == nil:
		err = ErrNotConnected
	case c.link.conn.v != mqtt.V5:
		err = ErrNotSupported
	case c.reauth != nil:
		err = errors.New("a re-authentication is under way")
	default:
		if err = c.link.appendPacket(&packet.Auth{Code: mqtt.Reauthenticate, Props: props}); err == nil {
			c.reauth = r
		}
	}
	c.mu.Unlock()
	if err != nil {
		return notSent("authenticate", err)
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ended(ctx, "authenticate", Unknown)
	}
}

// authPacket takes an AUTH of the server. The exchange's methods are the program's or SCRAM's; they run outside mu, and the answer
// comes back.
func (c *Client) authPacket(l *link, p *packet.Auth) error {
	r := c.reauth
	if r == nil || p.Code != mqtt.ContinueAuthentication && p.Code != mqtt.Success {
		return violation(mqtt.ProtocolError, "AUTH with %v at this point [5:4.12.0-7]", p.Code)
	}
	method := c.opts.Auth.Name()
	if m, _ := p.Props.Bytes(packet.PropAuthMethod); string(m) != method {
		return violation(mqtt.ProtocolError, "AUTH of method %q in an exchange by %q [5:4.12.0-5]", m, method)
	}
	props := append(packet.Props(nil), p.Props...)
	if p.Code == mqtt.Success {
		c.reauth = nil
		go func() {
			var data []byte
			if d, ok := props.Bytes(packet.PropAuthData); ok {
				data = append([]byte{}, d...)
			}
			err := r.exchange.Finish(data)
			if err != nil {
				err = &Error{Op: "authenticate", Outcome: Unknown, Err: err}
				l.fail(&ProtocolError{Code: mqtt.UnspecifiedError, Err: err})
			}
			r.finish(err)
		}()
		return nil
	}
	go func() {
		response, err := authResponse(props, method, r.exchange)
		if err == nil {
			c.mu.Lock()
			err = l.appendPacket(response)
			c.mu.Unlock()
		}
		if err != nil {
			l.fail(err)
		}
	}()
	return nil
}
