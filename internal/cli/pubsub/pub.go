package pubsub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// reconnectWait is the time between attempts once a connection was lost.
const reconnectWait = time.Second

// Pub is midge pub: it returns the exit status.
func Pub(e *Env, args []string) int {
	o, status, done := begin(e, inPub, args)
	if done {
		return status
	}
	stop := make(chan struct{})
	defer close(stop)
	p := &publisher{env: e, o: o, messages: make(chan message)}
	var next func() ([]byte, error)
	if o.source == fromLines {
		next = lines(e.Stdin)
	} else {
		payload, err := o.payload(e)
		if err != nil {
			complain(e, o, err.Error())
			return exitFailed
		}
		next = o.repeated(payload, stop)
	}
	p.feed = func() { go feed(next, p.messages, stop) }
	d, err := newDialer(e, o)
	if err != nil {
		complain(e, o, err.Error())
		return exitFailed
	}
	defer d.closing()
	p.dialer = d
	return p.run()
}

// publisher sends the messages and waits for their acknowledgements. Its fields belong to the goroutine of run.
type publisher struct {
	env      *Env
	o        *options
	dialer   *dialer
	link     *link
	messages chan message
	feed     func()

	fed     bool
	ended   bool // the source is empty
	ids     ids
	waiting []*outgoing // QoS 1 and 2 without their last acknowledgement, in the order of sending
	aliased bool        // the broker knows the topic's alias on this connection
}

// outgoing is one message under way.
type outgoing struct {
	pb       *packet.Publish
	released bool // PUBREC has come
}

// run connects until the messages are delivered. Only with -l is a lost connection made again.
func (p *publisher) run() int {
	for first := true; ; first = false {
		l, err := p.dialer.open(context.Background())
		if err == nil {
			p.link, p.aliased = l, false
			status, done := p.serve()
			if done {
				return status
			}
		} else if text, status := connectFault(err); first || errors.As(err, new(*refusedError)) {
			complain(p.env, p.o, text)
			return status
		}
		time.Sleep(reconnectWait)
	}
}

// serve runs one connection; done is false when it was lost and another one is to be tried.
func (p *publisher) serve() (status int, done bool) {
	l := p.link
	if !p.fed {
		p.fed = true
		p.feed()
	} else if err := p.resend(); err != nil {
		return p.fail(err)
	}
	for {
		var messages chan message
		if p.mayTake() {
			messages = p.messages
		}
		ping, stop := l.pingTimer()
		var status int
		var done, again bool
		select {
		case in, ok := <-l.in:
			if !ok {
				stop()
				return p.fail(l.err)
			}
			status, done, again = p.packet(in)
			if !done && !again {
				l.next <- struct{}{}
			}
		case m := <-messages:
			status, done, again = p.message(m)
		case now := <-ping:
			if err := l.keepPing(now); err != nil {
				status, done = p.fail(err)
				again = !done
			}
		}
		stop()
		if done || again {
			return status, done
		}
	}
}

// mayTake reports whether another message may be sent. With --repeat the next one waits for the acknowledgement of the one before.
func (p *publisher) mayTake() bool {
	if p.ended {
		return false
	}
	if p.o.source != fromLines {
		return len(p.waiting) == 0
	}
	return len(p.waiting) < min(p.o.inflight, p.link.window)
}

// fail ends a connection that does not work any more. With -l, done is false: it is to be made again.
func (p *publisher) fail(err error) (status int, done bool) {
	if code, ok := disconnected(err); ok {
		p.link.debugf("Received DISCONNECT (%d)", code)
	}
	p.link.close()
	text, status := lostFault(err)
	if p.o.source == fromLines && (status == exitLost || status == exitKeepAlive) {
		return 0, false
	}
	complain(p.env, p.o, text)
	return status, true
}

// resend repeats on a new connection what was not acknowledged. A broker that has lost the session gets whole messages again; a QoS
// 2 message may then arrive twice, as with Mosquitto's library, rather than never.
func (p *publisher) resend() error {
	present := p.link.info.SessionPresent
	for _, w := range p.waiting {
		if w.released && present {
			p.link.debugf("Client %s sending PUBREL (m%d)", p.link.info.ClientID, w.pb.PacketID)
			if err := p.link.send(&packet.Ack{Type: packet.PUBREL, PacketID: w.pb.PacketID}); err != nil {
				return err
			}
			continue
		}
		w.released, w.pb.Dup = false, present
		w.pb.Topic, w.pb.Props = p.address()
		if err := p.sendPublish(w.pb); err != nil {
			return err
		}
	}
	return nil
}

// address is the topic and the properties of the next PUBLISH: behind the first one an alias stands for the topic.
func (p *publisher) address() ([]byte, packet.Props) {
	if p.o.version != mqtt.V5 {
		return []byte(p.o.topics[0]), nil
	}
	props := packet.AppendProperties(nil, packet.PUBLISH, &p.o.props.publish)
	if p.aliased {
		return nil, props
	}
	p.aliased = p.o.props.publish.TopicAlias != 0
	return []byte(p.o.topics[0]), props
}

func (p *publisher) sendPublish(pb *packet.Publish) error {
	debugPublish(p.link, pb)
	sent := *pb
	if sent.QoS == mqtt.AtMostOnce {
		sent.PacketID = 0
	}
	return p.link.send(&sent)
}

// debugPublish is the line about a PUBLISH that is sent.
func debugPublish(l *link, pb *packet.Publish) {
	topic := string(pb.Topic)
	if topic == "" {
		topic = "null"
	}
	l.debugf("Client %s sending PUBLISH (d%d, q%d, r%d, m%d, '%s', ... (%d bytes))",
		l.info.ClientID, bit(pb.Dup), pb.QoS, bit(pb.Retain), pb.PacketID, topic, len(pb.Payload))
}

// finish ends in order when nothing is left to do.
func (p *publisher) finish() (status int, done bool) {
	if !p.ended || len(p.waiting) > 0 {
		return 0, false
	}
	p.link.disconnect(mqtt.NormalDisconnection)
	return exitOK, true
}

func (p *publisher) message(m message) (status int, done, again bool) {
	if m.err != nil {
		p.ended = true
		if !errors.Is(m.err, errDone) {
			complain(p.env, p.o, m.err.Error())
			p.link.disconnect(mqtt.NormalDisconnection)
			return exitFailed, true, false
		}
		status, done = p.finish()
		return status, done, false
	}
	if wrong := p.tooMuch(m.payload); wrong != "" {
		complain(p.env, p.o, wrong)
		p.link.disconnect(mqtt.NormalDisconnection)
		return exitFailed, true, false
	}
	pb := &packet.Publish{QoS: p.o.qos, Retain: p.o.retain, PacketID: p.ids.next(), Payload: m.payload}
	pb.Topic, pb.Props = p.address()
	if pb.QoS > mqtt.AtMostOnce {
		p.waiting = append(p.waiting, &outgoing{pb: pb})
	}
	if err := p.sendPublish(pb); err != nil {
		status, done = p.fail(err)
		return status, done, !done
	}
	if pb.QoS == mqtt.AtMostOnce {
		p.report(pb, mqtt.Success, "")
	}
	return 0, false, false
}

// tooMuch says why the broker would close the connection over a message of this length, from what its CONNACK told; empty means that
// it fits.
func (p *publisher) tooMuch(payload []byte) string {
	c := p.link.info.Properties
	if c == nil {
		return ""
	}
	if c.MaximumQoS != nil && byte(p.o.qos) > *c.MaximumQoS {
		return "Error: Message QoS not supported on broker, try a lower QoS."
	}
	if c.RetainAvailable != nil && !*c.RetainAvailable && p.o.retain {
		return "Error: Retained messages are not supported by the broker."
	}
	props := len(packet.AppendProperties(nil, packet.PUBLISH, &p.o.props.publish))
	size := packet.PublishSize(p.o.version, len(p.o.topics[0]), p.o.qos, props, len(payload))
	if c.MaximumPacketSize != 0 && size > int(c.MaximumPacketSize) {
		return fmt.Sprintf("Error: Message payload is too large, the broker takes packets of %d bytes.", c.MaximumPacketSize)
	}
	if a := p.o.props.publish.TopicAlias; a > c.TopicAliasMaximum {
		return fmt.Sprintf("Error: Topic alias %d is too large, the broker takes %d.", a, c.TopicAliasMaximum)
	}
	return ""
}

func (p *publisher) packet(in packet.Packet) (status int, done, again bool) {
	if p.link.control(in) {
		return 0, false, false
	}
	a, ok := in.(*packet.Ack)
	if !ok {
		return 0, false, false
	}
	return p.acknowledged(a)
}

// debugAck is the line about an acknowledgement of a message that was sent.
func debugAck(l *link, a *packet.Ack) {
	if a.Type == packet.PUBREC {
		l.debugf("Client %s received PUBREC (Mid: %d)", l.info.ClientID, a.PacketID)
		return
	}
	l.debugf("Client %s received %s (Mid: %d, RC:%d)", l.info.ClientID, a.Type, a.PacketID, a.Code)
}

func (p *publisher) acknowledged(a *packet.Ack) (status int, done, again bool) {
	l := p.link
	debugAck(l, a)
	i := slices.IndexFunc(p.waiting, func(w *outgoing) bool { return w.pb.PacketID == a.PacketID })
	if i < 0 {
		return 0, false, false
	}
	w := p.waiting[i]
	if a.Type == packet.PUBREC && !a.Code.IsError() {
		w.released = true
		l.debugf("Client %s sending PUBREL (m%d)", l.info.ClientID, a.PacketID)
		if err := l.send(&packet.Ack{Type: packet.PUBREL, PacketID: a.PacketID}); err != nil {
			status, done = p.fail(err)
			return status, done, !done
		}
		return 0, false, false
	}
	reason, _ := a.Props.Bytes(packet.PropReasonString)
	if a.Code.IsError() {
		complain(p.env, p.o, fmt.Sprintf("Warning: Publish %d failed: %s.", a.PacketID, a.Code))
		if len(reason) > 0 {
			complain(p.env, p.o, string(reason))
		}
	}
	p.report(w.pb, a.Code, string(reason))
	p.waiting = slices.Delete(p.waiting, i, i+1)
	status, done = p.finish()
	return status, done, false
}

// report prints what became of a message, with --json.
func (p *publisher) report(pb *packet.Publish, code mqtt.ReasonCode, reason string) {
	if !p.o.json {
		return
	}
	line, err := json.Marshal(struct {
		Topic      string `json:"topic"`
		QoS        int    `json:"qos"`
		Retain     bool   `json:"retain"`
		PayloadLen int    `json:"payloadlen"`
		MID        uint16 `json:"mid,omitempty"`
		Code       byte   `json:"reason-code"`
		Reason     string `json:"reason"`
		Text       string `json:"reason-string,omitempty"`
	}{p.o.topics[0], int(pb.QoS), pb.Retain, len(pb.Payload), sentID(pb), byte(code), code.String(), reason})
	if err == nil {
		fmt.Fprintf(p.env.Stdout, "%s\n", line)
	}
}

// sentID is the identifier as it travelled: none with QoS 0.
func sentID(pb *packet.Publish) uint16 {
	if pb.QoS == mqtt.AtMostOnce {
		return 0
	}
	return pb.PacketID
}
