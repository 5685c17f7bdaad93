package pubsub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// Sub is midge sub: it returns the exit status.
func Sub(e *Env, args []string) int {
	o, status, done := begin(e, inSub, args)
	if done {
		return status
	}
	d, err := newDialer(e, o)
	if err != nil {
		complain(e, o, err.Error())
		return exitFailed
	}
	defer d.closing()
	s := &subscriber{receiver: receiver{env: e, o: o, dialer: d}, printer: newPrinter(e, o)}
	s.receiver.listen()
	defer s.receiver.deafen()
	return s.run()
}

// receiver is what sub and rr share: the connection, the end by signal or time, and the way of a message of any QoS up to take.
type receiver struct {
	env     *Env
	o       *options
	dialer  *dialer
	link    *link
	signals chan os.Signal
	timeout <-chan time.Time

	ids      ids
	halfway  map[uint16]*packet.Publish // QoS 2 between PUBLISH and PUBREL
	stopTime func()
}

// listen begins to wait for signals and for the end of -W.
func (r *receiver) listen() {
	r.signals = make(chan os.Signal, 1)
	signal.Notify(r.signals, syscall.SIGINT, syscall.SIGTERM)
	r.stopTime = func() {}
	if r.o.timeout > 0 {
		t := time.NewTimer(r.o.timeout)
		r.timeout, r.stopTime = t.C, func() { t.Stop() }
	}
}

func (r *receiver) deafen() {
	signal.Stop(r.signals)
	r.stopTime()
}

// Ways in which waiting for a connection ends early.
var (
	errSignal  = errors.New("signal")
	errTimeout = errors.New("time is over")
)

// open connects, unless a signal or the end of -W comes first.
func (r *receiver) open() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	type result struct {
		link *link
		err  error
	}
	opened := make(chan result, 1)
	go func() {
		l, err := r.dialer.open(ctx)
		opened <- result{l, err}
	}()
	var why error
	select {
	case got := <-opened:
		return r.opened(got.link, got.err)
	case <-r.signals:
		why = errSignal
	case <-r.timeout:
		why = errTimeout
	}
	cancel()
	if got := <-opened; got.link != nil {
		got.link.close()
	}
	return why
}

func (r *receiver) opened(l *link, err error) error {
	if err != nil {
		return err
	}
	if r.halfway == nil || !l.info.SessionPresent {
		r.halfway = make(map[uint16]*packet.Publish)
	}
	r.link = l
	return nil
}

// publish acknowledges a message and gives it to take when it is there for good: QoS 2 at PUBREL. The acknowledgement leaves when
// take is done with the message: nothing is acknowledged that was not printed.
func (r *receiver) publish(p *packet.Publish, take func(*packet.Publish) (int, bool)) (status int, done bool, err error) {
	l := r.link
	l.debugf("Client %s received PUBLISH (d%d, q%d, r%d, m%d, '%s', ... (%d bytes))",
		l.info.ClientID, bit(p.Dup), p.QoS, bit(p.Retain), p.PacketID, p.Topic, len(p.Payload))
	if p.QoS == mqtt.ExactlyOnce {
		r.halfway[p.PacketID] = owned(p)
		l.debugf("Client %s sending PUBREC (m%d, rc%d)", l.info.ClientID, p.PacketID, 0)
		return 0, false, l.send(&packet.Ack{Type: packet.PUBREC, PacketID: p.PacketID})
	}
	if p.QoS == mqtt.AtMostOnce {
		status, done = take(p)
		return status, done, nil
	}
	l.debugf("Client %s sending PUBACK (m%d, rc%d)", l.info.ClientID, p.PacketID, 0)
	return r.taken(&packet.Ack{Type: packet.PUBACK, PacketID: p.PacketID}, p, take)
}

// owned copies a packet out of the connection's buffer.
func owned(p *packet.Publish) *packet.Publish {
	c := *p
	c.Topic = append([]byte(nil), p.Topic...)
	c.Props = append(packet.Props(nil), p.Props...)
	c.Payload = append([]byte(nil), p.Payload...)
	return &c
}

// release ends the exchange of a QoS 2 message.
func (r *receiver) release(a *packet.Ack, take func(*packet.Publish) (int, bool)) (status int, done bool, err error) {
	l := r.link
	l.debugf("Client %s received PUBREL (Mid: %d)", l.info.ClientID, a.PacketID)
	l.debugf("Client %s sending PUBCOMP (m%d)", l.info.ClientID, a.PacketID)
	p := r.halfway[a.PacketID]
	delete(r.halfway, a.PacketID)
	return r.taken(&packet.Ack{Type: packet.PUBCOMP, PacketID: a.PacketID}, p, take)
}

// taken has a message taken and acknowledges it. What take says counts, once the acknowledgement is on its way.
func (r *receiver) taken(ack *packet.Ack, p *packet.Publish, take func(*packet.Publish) (int, bool)) (status int, done bool, err error) {
	link := r.link
	link.before = func() error { return link.send(ack) }
	if p != nil {
		status, done = take(p)
	}
	err = link.flush()
	if done {
		return status, true, nil
	}
	return 0, false, err
}

// subscriber prints messages over one connection after the other. Its fields belong to the goroutine of run.
type subscriber struct {
	receiver
	printer *printer

	greeted bool // a CONNACK was received at least once
	count   int
	ignore  bool   // no message counts any more, an acknowledgement is waited for
	clearID uint16 // of the last PUBLISH of --remove-retained; 0: none
	cleared bool   // it was acknowledged
	subID   uint16 // of the SUBSCRIBE without SUBACK
	rate    <-chan time.Time
}

// run connects until something ends the program. Only the first connection may fail for good.
func (s *subscriber) run() int {
	if s.o.messageRate {
		t := time.NewTicker(time.Second)
		defer t.Stop()
		s.rate = t.C
	}
	for {
		err := s.open()
		switch {
		case err == nil:
			s.greeted = true
			if status, done := s.serve(); done {
				return status
			}
		case errors.Is(err, errSignal) && s.greeted:
			return exitOK
		case errors.Is(err, errSignal):
			return exitNoConnack
		case errors.Is(err, errTimeout):
			return timedOut(s.env, s.o, s.greeted)
		default:
			if text, status := connectFault(err); !s.greeted || errors.As(err, new(*refusedError)) {
				complain(s.env, s.o, text)
				return status
			}
		}
		if status, done := s.pause(); done {
			return status
		}
	}
}

// pause waits before the next attempt.
func (s *subscriber) pause() (status int, done bool) {
	t := time.NewTimer(reconnectWait)
	defer t.Stop()
	select {
	case <-t.C:
		return 0, false
	case <-s.signals:
		return exitOK, true
	case <-s.timeout:
		return timedOut(s.env, s.o, s.greeted), true
	}
}

// serve runs one connection; done is false when it was lost and another one is to be tried.
func (s *subscriber) serve() (status int, done bool) {
	l := s.link
	if err := s.subscribe(); err != nil {
		return s.lost(err)
	}
	for {
		ping, stop := l.pingTimer()
		select {
		case in, ok := <-l.in:
			if !ok {
				stop()
				return s.lost(l.err)
			}
			status, done, err := s.packet(in)
			if done || err != nil {
				stop()
				if err != nil {
					return s.lost(err)
				}
				return status, true
			}
			l.next <- struct{}{}
		case now := <-ping:
			if err := l.keepPing(now); err != nil {
				return s.lost(err)
			}
		case <-s.rate:
			if err := s.printer.printRate(); err != nil {
				stop()
				l.disconnect(mqtt.NormalDisconnection)
				return exitFailed, true
			}
		case <-s.signals:
			stop()
			l.disconnect(mqtt.DisconnectWithWill)
			return exitOK, true
		case <-s.timeout:
			stop()
			l.disconnect(mqtt.NormalDisconnection)
			return timedOut(s.env, s.o, s.greeted), true
		}
		stop()
	}
}

func (s *subscriber) lost(err error) (status int, done bool) {
	if code, ok := disconnected(err); ok {
		s.link.debugf("Received DISCONNECT (%d)", code)
	}
	s.link.close()
	return 0, false
}

func (s *subscriber) packet(in packet.Packet) (status int, done bool, err error) {
	l := s.link
	if l.control(in) {
		return 0, false, nil
	}
	switch in := in.(type) {
	case *packet.Suback:
		status, done = s.subscribed(in)
		return status, done, nil
	case *packet.Unsuback:
		l.debugf("Client %s received UNSUBACK", l.info.ClientID)
		return 0, false, nil
	case *packet.Publish:
		return s.publish(in, s.take)
	case *packet.Ack:
		if in.Type == packet.PUBREL {
			return s.release(in, s.take)
		}
		debugAck(l, in)
		if in.PacketID == s.clearID {
			s.cleared = true
			if s.ignore {
				l.disconnect(mqtt.NormalDisconnection)
				return exitOK, true, nil
			}
		}
	}
	return 0, false, nil
}

// subscribe asks for all filters in one packet, and withdraws those of -U one by one, as Mosquitto's tool does.
func (s *subscriber) subscribe() error {
	l := s.link
	if len(s.o.topics) > 0 {
		p := &packet.Subscribe{PacketID: s.ids.next()}
		s.subID = p.PacketID
		opts := s.o.subOptions()
		if s.o.version == mqtt.V5 {
			p.Props = packet.AppendProperties(nil, packet.SUBSCRIBE, &s.o.props.subscribe)
		}
		for _, t := range s.o.topics {
			p.AddFilter(t, opts)
			debugSubscribe(l, p.PacketID, t, opts)
		}
		if err := l.send(p); err != nil {
			return err
		}
	}
	for _, t := range s.o.unsubscribe {
		p := &packet.Unsubscribe{PacketID: s.ids.next()}
		p.AddFilter(t)
		if s.o.version == mqtt.V5 {
			p.Props = packet.AppendProperties(nil, packet.UNSUBSCRIBE, &s.o.props.unsubscribe)
		}
		l.debugf("Client %s sending UNSUBSCRIBE (Mid: %d, Topic: %s)", l.info.ClientID, p.PacketID, t)
		if err := l.send(p); err != nil {
			return err
		}
	}
	return nil
}

// subOptions are the subscription options; before 5.0 there is the QoS alone.
func (o *options) subOptions() packet.SubOptions {
	if o.version != mqtt.V5 {
		return packet.MakeSubOptions(o.qos, false, false, 0)
	}
	return packet.MakeSubOptions(o.qos, false, o.retainAsPublished, o.retainHandling)
}

func debugSubscribe(l *link, id uint16, filter string, opts packet.SubOptions) {
	l.debugf("Client %s sending SUBSCRIBE (Mid: %d, Topic: %s, QoS: %d, Options: 0x%02x)",
		l.info.ClientID, id, filter, opts.QoS(), byte(opts)&^3)
}

func (s *subscriber) subscribed(p *packet.Suback) (status int, done bool) {
	l := s.link
	l.debugf("Client %s received SUBACK", l.info.ClientID)
	if p.PacketID != s.subID {
		return 0, false
	}
	granted := len(p.Codes) == 0
	codes := make([]string, len(p.Codes))
	for i, code := range p.Codes {
		codes[i] = strconv.Itoa(int(code))
		granted = granted || code < 0x80
	}
	l.debugf("Subscribed (mid: %d): %s", p.PacketID, strings.Join(codes, ", "))
	if !granted {
		complain(s.env, s.o, "All subscription requests were denied.")
	}
	if !granted || s.o.exitAfter {
		l.disconnect(mqtt.NormalDisconnection)
		return exitOK, true
	}
	return 0, false
}

// take prints one message and decides whether it was the last. An output that takes nothing more ends the program.
func (s *subscriber) take(p *packet.Publish) (status int, done bool) {
	if s.ignore {
		return 0, false
	}
	if s.o.retainedOnly && !p.Retain {
		return s.enough()
	}
	topic := string(p.Topic)
	if s.o.noRetained && p.Retain || s.left(topic) {
		return 0, false
	}
	if s.o.removeRetained && p.Retain {
		s.remove(topic)
	}
	if err := s.printer.print(p); err != nil {
		complain(s.env, s.o, fmt.Sprintf("Error: %s", systemText(err)))
		s.link.before = nil // what was not printed is not acknowledged
		s.link.disconnect(mqtt.NormalDisconnection)
		return exitFailed, true
	}
	s.count++
	if s.o.count > 0 && s.count >= s.o.count {
		return s.enough()
	}
	return 0, false
}

// enough ends the program, once the broker has acknowledged what --remove-retained sent.
func (s *subscriber) enough() (status int, done bool) {
	s.ignore = true
	if s.clearID != 0 && !s.cleared {
		return 0, false
	}
	s.link.disconnect(mqtt.NormalDisconnection)
	return exitOK, true
}

// remove has the broker forget a retained message. An error shows at the next packet.
func (s *subscriber) remove(topic string) {
	s.clearID, s.cleared = s.ids.next(), false
	pb := &packet.Publish{QoS: mqtt.AtLeastOnce, Retain: true, PacketID: s.clearID, Topic: []byte(topic)}
	debugPublish(s.link, pb)
	_ = s.link.send(pb)
}

// left reports whether -T leaves the topic out.
func (s *subscriber) left(topic string) bool {
	for _, f := range s.o.filterOut {
		if mqtt.Match(f, topic) {
			return true
		}
	}
	return false
}
