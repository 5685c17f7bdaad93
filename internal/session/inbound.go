package session

import (
	"github.com/midgemq/midge/internal/flow"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// Verdict is what a step decided about a PUBLISH from the client.
type Verdict uint8

// Verdicts.
const (
	// Route: pass it on, then call Published.
	Route Verdict = iota
	// Settled: nothing to route; the answer, if any, is in the effects.
	Settled
	// Exceeded: the client is above the receive maximum it was told; the
	// connection ends with DISCONNECT 0x93 [U5-3.3.4-3].
	Exceeded
)

// Publish takes a PUBLISH of the client. refuse is why it may not be published
// (not authorised, quota, size), or Success; every check that could stop it is
// made before, so that a positive PUBREC is never followed by a loss
// [U5-4.3.3-1].
func (s *Session) Publish(id uint16, q mqtt.QoS, refuse mqtt.ReasonCode, reason string, fx *Effects) Verdict {
	if q == mqtt.AtMostOnce {
		if refuse.IsError() {
			return Settled
		}
		return Route
	}
	if q == mqtt.ExactlyOnce && s.in != nil && s.in.Has(id) {
		// A repeat before PUBREL: answered, not delivered, whatever DUP says and
		// whatever it contains [MQTT-4.3.3-10].
		s.in.Repeated(id)
		if s.recvMax > 0 && s.unacked() > int(s.recvMax) {
			return Exceeded
		}
		fx.ack(packet.PUBREC, id, mqtt.Success, "")
		return Settled
	}
	if s.recvMax > 0 && s.unacked() >= int(s.recvMax) {
		return Exceeded
	}
	v5 := s.rec.Version == mqtt.V5
	if refuse.IsError() {
		switch {
		case q == mqtt.AtLeastOnce && v5:
			s.pendingQ1++
			fx.ack(packet.PUBACK, id, refuse, reason)
		case q == mqtt.AtLeastOnce:
			s.pendingQ1++
			fx.ack(packet.PUBACK, id, mqtt.Success, "")
		case v5:
			// The identifier is free at once [MQTT-4.3.3-9].
			fx.ack(packet.PUBREC, id, refuse, reason)
		default:
			// MQTT 3 has no way to refuse: acknowledged and discarded [MQTT-3.3.5-2].
			s.accept(id, fx)
			fx.ack(packet.PUBREC, id, mqtt.Success, "")
		}
		return Settled
	}
	if q == mqtt.ExactlyOnce {
		s.accept(id, fx)
	} else {
		s.pendingQ1++
	}
	return Route
}

// unacked is how much of the receive maximum is in use on this connection.
func (s *Session) unacked() int {
	n := int(s.pendingQ1)
	if s.in != nil {
		n += s.in.Used()
	}
	return n
}

func (s *Session) accept(id uint16, fx *Effects) {
	if s.in == nil {
		s.in = new(flow.Receiver)
	}
	s.in.Accept(id)
	if s.persistent {
		fx.Ops = append(fx.Ops, record.Op{Kind: record.PutInbound, Key: s.rec.Key, PacketID: id})
	}
}

// Published follows the routing of a QoS 1 or 2 message: the acknowledgement,
// which leaves after the commit. matched is how many sessions got it.
func (s *Session) Published(id uint16, q mqtt.QoS, matched int, fx *Effects) {
	switch q {
	case mqtt.AtLeastOnce:
		code := mqtt.Success
		if matched == 0 && s.rec.Version == mqtt.V5 {
			code = mqtt.NoMatchingSubscribers // [U5-3.4.2-2]
		}
		fx.ack(packet.PUBACK, id, code, "")
	case mqtt.ExactlyOnce:
		fx.ack(packet.PUBREC, id, mqtt.Success, "")
	default: // the others need nothing
	}
}

// Acked tells that the PUBACK of a QoS 1 message has left, which gives its place
// in the receive maximum back.
func (s *Session) Acked() {
	if s.pendingQ1 > 0 {
		s.pendingQ1--
	}
}

// Pubrel takes a PUBREL: always answered, with 0x92 where the identifier is not
// known [MQTT-4.3.3-11] [MQTT-3.7.2-1].
func (s *Session) Pubrel(id uint16, fx *Effects) {
	code := mqtt.Success
	switch {
	case s.in != nil && s.in.Pubrel(id):
		if s.persistent {
			fx.Ops = append(fx.Ops, record.Op{Kind: record.DeleteInbound, Key: s.rec.Key, PacketID: id})
		}
	case s.rec.Version == mqtt.V5:
		code = mqtt.PacketIDNotFound
	}
	fx.ack(packet.PUBCOMP, id, code, "")
}

// InUse reports whether a QoS 2 exchange of the client has this identifier, so
// that a SUBSCRIBE or UNSUBSCRIBE must not [MQTT-2.2.1-3].
func (s *Session) InUse(id uint16) bool { return s.in != nil && s.in.Has(id) }

// Pingreq answers at once, however full the windows are [MQTT-3.12.4-1].
func (s *Session) Pingreq(fx *Effects) { fx.send(Send{Type: packet.PINGRESP}) }

// Subscribe enters or replaces one subscription and reports whether the session
// had it [MQTT-3.8.4-3]; ok false: the session is at its limit.
func (s *Session) Subscribe(sub record.Subscription, fx *Effects) (existed, ok bool) {
	existed = s.subs.find(sub.Filter) >= 0
	if !existed && s.subs.len() >= s.rules.MaxSubscriptions {
		return false, false
	}
	p := &sub
	s.setSub(p)
	if s.persistent {
		fx.Ops = append(fx.Ops, record.Op{Kind: record.PutSubscription, Key: s.rec.Key, Sub: p})
	}
	return existed, true
}

func (s *Session) setSub(p *record.Subscription) {
	if s.subs == nil {
		s.subs = new(subscriptions)
	}
	s.subs.put(p)
}

// Subscribed reports whether the session has a subscription with exactly this
// filter.
func (s *Session) Subscribed(filter string) bool { return s.subs.find(filter) >= 0 }

// Unsubscribe removes the subscription with exactly this filter
// [MQTT-3.10.4-1]. What is in flight is completed [MQTT-3.10.4-3].
func (s *Session) Unsubscribe(filter string, fx *Effects) (existed bool) {
	if !s.subs.remove(filter) {
		return false
	}
	if s.subs.len() == 0 {
		s.subs = nil
	}
	if s.persistent {
		fx.Ops = append(fx.Ops, record.Op{Kind: record.DeleteSubscription, Key: s.rec.Key, Filter: filter})
	}
	return true
}

// Subscriptions calls f for each subscription, in no order; f must not change
// them.
func (s *Session) Subscriptions(f func(*record.Subscription) bool) {
	if s.subs == nil {
		return
	}
	for _, p := range s.subs.list {
		if !f(p) {
			return
		}
	}
}

// SubscriptionCount returns the number of subscriptions.
func (s *Session) SubscriptionCount() int { return s.subs.len() }

// Suback answers a SUBSCRIBE; one code per filter, in their order
// [MQTT-3.9.3-1].
func (s *Session) Suback(id uint16, codes []byte, reason string, fx *Effects) {
	fx.codesAck(packet.SUBACK, id, codes, reason)
}

// Unsuback answers an UNSUBSCRIBE.
func (s *Session) Unsuback(id uint16, codes []byte, reason string, fx *Effects) {
	fx.codesAck(packet.UNSUBACK, id, codes, reason)
}

func (fx *Effects) codesAck(t packet.Type, id uint16, codes []byte, reason string) {
	n := len(fx.codes)
	fx.codes = append(fx.codes, codes...)
	fx.send(Send{Type: t, PacketID: id, Codes: fx.codes[n:len(fx.codes):len(fx.codes)], Reason: reason})
}
