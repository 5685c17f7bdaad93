package pubsub

import (
	"errors"
	"fmt"
	"time"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// RR is midge rr: it returns the exit status.
func RR(e *Env, args []string) int {
	o, status, done := begin(e, inRR, args)
	if done {
		return status
	}
	payload, err := o.payload(e)
	if err != nil {
		complain(e, o, err.Error())
		return exitFailed
	}
	d, err := newDialer(e, o)
	if err != nil {
		complain(e, o, err.Error())
		return exitFailed
	}
	defer d.closing()
	r := &requester{receiver: receiver{env: e, o: o, dialer: d}, printer: newPrinter(e, o), payload: payload}
	r.receiver.listen()
	defer r.receiver.deafen()
	return r.run()
}

// requester subscribes, publishes the request and prints the first response.
type requester struct {
	receiver
	printer *printer
	payload []byte
	sent    time.Time
	greeted bool
}

func (r *requester) run() int {
	err := r.open()
	switch {
	case err == nil:
		r.greeted = true
		return r.serve()
	case errors.Is(err, errSignal):
		return exitNoConnack
	case errors.Is(err, errTimeout):
		return timedOut(r.env, r.o, r.greeted)
	}
	text, status := connectFault(err)
	if refused, ok := errors.AsType[*refusedError](err); ok && r.o.version != mqtt.V5 {
		text = refusal(r.o.version, refused.code)
	}
	complain(r.env, r.o, text)
	return status
}

func (r *requester) serve() int {
	l := r.link
	if err := r.subscribe(); err != nil {
		return r.lost(err)
	}
	for {
		ping, stop := l.pingTimer()
		select {
		case in, ok := <-l.in:
			if !ok {
				stop()
				return r.lost(l.err)
			}
			status, done, err := r.packet(in)
			if err != nil {
				stop()
				return r.lost(err)
			}
			if done {
				stop()
				return status
			}
			l.next <- struct{}{}
		case now := <-ping:
			if err := l.keepPing(now); err != nil {
				return r.lost(err)
			}
		case <-r.signals:
			stop()
			l.disconnect(mqtt.DisconnectWithWill)
			return exitOK
		case <-r.timeout:
			stop()
			l.disconnect(mqtt.NormalDisconnection)
			return timedOut(r.env, r.o, r.greeted)
		}
		stop()
	}
}

func (r *requester) lost(err error) int {
	if code, ok := disconnected(err); ok {
		r.link.debugf("Received DISCONNECT (%d)", code)
	}
	r.link.close()
	text, status := lostFault(err)
	complain(r.env, r.o, text)
	return status
}

func (r *requester) subscribe() error {
	p := &packet.Subscribe{PacketID: r.ids.next()}
	opts := r.o.subOptions()
	if r.o.version == mqtt.V5 {
		p.Props = packet.AppendProperties(nil, packet.SUBSCRIBE, &r.o.props.subscribe)
	}
	p.AddFilter(r.o.responseTopic, opts)
	debugSubscribe(r.link, p.PacketID, r.o.responseTopic, opts)
	return r.link.send(p)
}

func (r *requester) packet(in packet.Packet) (status int, done bool, err error) {
	l := r.link
	if l.control(in) {
		return 0, false, nil
	}
	switch in := in.(type) {
	case *packet.Suback:
		return r.subscribed(in)
	case *packet.Publish:
		return r.publish(in, r.take)
	case *packet.Ack:
		if in.Type == packet.PUBREL {
			return r.release(in, r.take)
		}
		debugAck(l, in)
		if in.Code.IsError() {
			complain(r.env, r.o, fmt.Sprintf("Warning: Publish %d failed: %s.", in.PacketID, in.Code))
			if text, ok := in.Props.Bytes(packet.PropReasonString); ok {
				complain(r.env, r.o, string(text))
			}
		} else if in.Type == packet.PUBREC {
			l.debugf("Client %s sending PUBREL (m%d)", l.info.ClientID, in.PacketID)
			return 0, false, l.send(&packet.Ack{Type: packet.PUBREL, PacketID: in.PacketID})
		}
	}
	return 0, false, nil
}

// subscribed publishes the request, now that the response cannot be missed.
func (r *requester) subscribed(p *packet.Suback) (status int, done bool, err error) {
	l := r.link
	l.debugf("Client %s received SUBACK", l.info.ClientID)
	if len(p.Codes) > 0 && p.Codes[0] >= 0x80 {
		complain(r.env, r.o, mqtt.ReasonCode(p.Codes[0]).String())
		l.disconnect(mqtt.NormalDisconnection)
		return exitOK, true, nil
	}
	pb := &packet.Publish{QoS: r.o.qos, Topic: []byte(r.o.topics[0]), PacketID: r.ids.next(), Payload: r.payload}
	if r.o.version == mqtt.V5 {
		props := r.o.props.publish
		props.ResponseTopic = r.o.responseTopic
		pb.Props = packet.AppendProperties(nil, packet.PUBLISH, &props)
	}
	debugPublish(l, pb)
	sent := *pb
	sent.PacketID = sentID(pb)
	r.sent = time.Now()
	return 0, false, l.send(&sent)
}

// take prints the response and ends, without a line about its goodbye, as Mosquitto's tool does. A message that was there
// before the request is not one.
func (r *requester) take(p *packet.Publish) (status int, done bool) {
	if r.sent.IsZero() || r.o.noRetained && p.Retain {
		return 0, false
	}
	took := time.Since(r.sent)
	err := r.printer.print(p)
	if err == nil && r.o.latency {
		_, err = fmt.Fprintf(r.env.Stdout, "Latency: %s\n", latency(took))
	}
	if err != nil {
		r.link.before = nil // what was not printed is not acknowledged
		r.link.leave(mqtt.NormalDisconnection)
		complain(r.env, r.o, "Error: "+systemText(err))
		return exitFailed, true
	}
	r.link.leave(mqtt.NormalDisconnection)
	return exitOK, true
}

// latency is a length of time in the unit that suits it.
func latency(d time.Duration) string {
	switch {
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d)
	case d < time.Millisecond:
		return fmt.Sprintf("%.3f µs", float64(d)/1e3)
	case d < time.Second:
		return fmt.Sprintf("%.3f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%d.%09d s", d/time.Second, d%time.Second)
}
