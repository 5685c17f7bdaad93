package hub

import (
	"bytes"
	"strings"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/session"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// kept are the properties that travel with a message unchanged; the others are
// the server's own affair on each hop.
var kept = packet.SetOf(packet.PropPayloadFormat, packet.PropContentType, packet.PropResponseTopic,
	packet.PropCorrelationData, packet.PropUser)

var dropped = packet.SetOf(packet.PropMessageExpiry, packet.PropTopicAlias, packet.PropSubscriptionID)

// ClientPublish takes a PUBLISH whose alias is resolved: topic is what the
// packet means, also where p.Topic is empty. raw is the packet as it came, with no
// bytes when it cannot be passed on as it is. A non-nil End closes the connection.
func (sh *Shard) ClientPublish(c *Client, p *packet.Publish, topic []byte, raw Frame, l *Listener) *End {
	if l.MountPoint != "" {
		var ok bool
		if topic, ok = sh.mountTopic(l.MountPoint, topic); !ok {
			return refuse(mqtt.TopicNameInvalid, logging.ReasonProtocolError, "topic is too long behind the mount point")
		}
		raw.B = nil
	}
	full, fullText, wait := sh.pressure(c, p, topic)
	if wait != nil {
		return wait
	}
	sh.Count.PublishReceived++
	sh.Count.PublishBytesReceived += uint64(len(p.Payload))
	cfg := sh.Hub.Cfg()
	if p.QoS > l.MaxQoS {
		return refuse(mqtt.QoSNotSupported, logging.ReasonQoS, "QoS above the maximum")
	}
	if p.Retain && !cfg.RetainAvailable {
		return refuse(mqtt.RetainNotSupported, logging.ReasonRetain, "retained messages are not available")
	}
	m := sh.viewOf(topic, p.Payload, p.Props)
	m.QoS, m.Retain, m.Publisher, m.PublisherUser = p.QoS, p.Retain, c.ID, c.S.UserName()
	if sh.debug {
		sh.Hub.Log.ReceivedPublish(c.ID, line(m, &session.Send{QoS: p.QoS, Dup: p.Dup, Retain: p.Retain, PacketID: p.PacketID}))
	}
	code, text := sh.mayPublish(c, m, p.QoS)
	if code == mqtt.Success {
		code, text = full, fullText
	}
	control := isControl(m.Topic)
	retain := m.Retain && !control
	if retain && !sh.roomToRetain(m) {
		if p.QoS > 0 && c.S.Version() == mqtt.V5 && code == mqtt.Success {
			code, text = mqtt.QuotaExceeded, noMemory
		}
		retain = false
	}
	fx := sh.getFX()
	defer sh.putFX(fx)
	switch c.S.Publish(p.PacketID, p.QoS, code, text, fx) {
	case session.Exceeded:
		sh.Hub.Log.ReceiveMaximumExceeded(c.ID)
		return refuse(mqtt.ReceiveMaximumExceeded, logging.ReasonReceiveMaximum, "receive maximum exceeded")
	case session.Settled:
		sh.apply(c, fx)
		return nil
	default: // the others need nothing
	}
	if p.PropSet != 0 {
		if p.PropSet&^kept != 0 {
			sh.props = packet.AppendExcept(sh.props[:0], p.Props, dropped)
			m.Props, raw.B = sh.props, nil
		}
		if n, ok := p.Props.Uint(packet.PropMessageExpiry); ok {
			m.Expires = sh.now + max(record.Instant(n)*record.Second, 1)
		}
	}
	sh.frames.reset()
	sh.unkept = false
	before := len(sh.open.Ops)
	switch {
	case retain:
		m.Seq = sh.Hub.nextSeq()
		m = sh.own(m)
		sh.retain(m)
	case m.Retain && !control:
		c.S.CountDrop(session.DropMemory)
		sh.countDrop(c, session.DropMemory, 1)
	}
	if raw.B != nil && p.QoS == 0 {
		k := variant(c.S.Version() == mqtt.V5, p.Retain)
		raw.Payload = len(p.Payload)
		sh.frames.f[k], sh.frames.has[k] = raw, true
	}
	matched := 1
	if control {
		cfg.Control(&auth.Client{ID: c.ID, UserName: c.S.UserName()}, strings.Clone(m.Topic), bytes.Clone(m.Payload))
	} else {
		matched = sh.route(m)
	}
	if raw.Lease != nil {
		sh.frames.reset() // whoever keeps the packet holds it
	}
	if sh.unkept && p.QoS > 0 {
		return refuse(mqtt.ImplementationSpecific, logging.ReasonImplementation, "unable to store")
	}
	if p.QoS > 0 {
		c.S.Published(p.PacketID, p.QoS, matched, fx)
	}
	level := c.level
	if p.QoS > 0 && len(sh.open.Ops) > before {
		c.last = sh.ticket
		level = sh.levelOf(c, m.Topic)
		sh.raise(level)
	}
	sh.applyAt(c, fx, level)
	return nil
}

// mayPublish makes every check that can refuse a message, before it is
// acknowledged [U5-4.3.3-1].
func (sh *Shard) mayPublish(c *Client, m *record.Message, q mqtt.QoS) (mqtt.ReasonCode, string) {
	cfg := sh.Hub.Cfg()
	if cfg.MessageSizeLimit > 0 && len(m.Payload) > cfg.MessageSizeLimit {
		if sh.debug {
			sh.Hub.Log.DroppedTooLarge(c.ID, line(m, &session.Send{QoS: q, Retain: m.Retain}))
		}
		return mqtt.QuotaExceeded, "payload above message_size_limit"
	}
	if m.Topic != "" && m.Topic[0] == '$' && !writable(m.Topic) && (cfg.Control == nil || !isControl(m.Topic)) {
		return sh.denied(c, m, "topic is reserved to the broker")
	}
	if !sh.may(c, auth.Publish, m.Topic) {
		return sh.denied(c, m, "not permitted to publish to this topic")
	}
	return mqtt.Success, ""
}

func (sh *Shard) denied(c *Client, m *record.Message, why string) (mqtt.ReasonCode, string) {
	if sh.debug {
		sh.Hub.Log.DeniedPublish(c.ID, line(m, &session.Send{QoS: m.QoS, Retain: m.Retain}))
	}
	return mqtt.NotAuthorized, why
}

// isControl reports whether a topic belongs to the control API, whose messages
// are answered and not distributed.
func isControl(topic string) bool {
	return topic != "" && topic[0] == '$' && strings.HasPrefix(topic, "$CONTROL/")
}

// writable reports whether clients may publish to a topic that begins with '$':
// not below $SYS, but for the state of bridges, nor below $CONTROL.
func writable(topic string) bool {
	switch {
	case strings.HasPrefix(topic, "$SYS/broker/connection/"):
		return strings.HasSuffix(topic, "/state")
	case topic == "$SYS", strings.HasPrefix(topic, "$SYS/"), strings.HasPrefix(topic, "$CONTROL/"):
		return false
	}
	return true
}

func line(m *record.Message, s *session.Send) logging.PublishLine {
	return logging.PublishLine{Dup: s.Dup, QoS: byte(s.QoS), Retain: s.Retain, PacketID: s.PacketID, Topic: m.Topic, Bytes: len(m.Payload)}
}

// Ack takes PUBACK, PUBREC, PUBREL and PUBCOMP.
func (sh *Shard) Ack(c *Client, p *packet.Ack) *End {
	fx := sh.fxFor(c)
	ok := true
	switch p.Type {
	case packet.PUBACK:
		ok = c.S.Puback(p.PacketID, sh.now, fx)
	case packet.PUBREC:
		ok = c.S.Pubrec(p.PacketID, p.Code, sh.now, fx)
	case packet.PUBREL:
		c.S.Pubrel(p.PacketID, fx)
	case packet.PUBCOMP:
		ok = c.S.Pubcomp(p.PacketID, sh.now, fx)
	default: // the others need nothing
	}
	sh.apply(c, fx)
	sh.putFX(fx)
	if !ok {
		return refuse(mqtt.ProtocolError, logging.ReasonProtocolError, p.Type.String()+" for an exchange of another kind")
	}
	if len(c.cursors) > 0 {
		sh.pumpCursors(c)
	}
	return nil
}

// Ping answers PINGREQ.
func (sh *Shard) Ping(c *Client) {
	fx := sh.getFX()
	c.S.Pingreq(fx)
	sh.apply(c, fx)
	sh.putFX(fx)
}

// idInUse concerns a whole SUBSCRIBE or UNSUBSCRIBE, so it is answered for every
// filter [U5-3.9.3-1]. MQTT 3 has no code for it; there the request is carried out.
const idInUse = "packet identifier is in use"

// ClientSubscribe takes a SUBSCRIBE: one code per filter, each judged by itself;
// retained messages follow the SUBACK.
func (sh *Shard) ClientSubscribe(c *Client, p *packet.Subscribe) *End {
	v5 := c.S.Version() == mqtt.V5
	id, _ := p.Props.Uint(packet.PropSubscriptionID)
	if id != 0 && sh.Hub.Cfg().NoSubscriptionIDs {
		return refuse(mqtt.SubscriptionIDsNotSupported, logging.ReasonDisallowedFeature, "subscription identifiers are not available")
	}
	var f packet.SubFilter
	for it := p.Filters(); v5 && it.Next(&f); {
		if end := sh.fatal(string(f.Filter), f.Options); end != nil {
			return end
		}
	}
	fx := sh.getFX()
	defer sh.putFX(fx)
	codes := sh.codes[:0]
	reason := ""
	inUse := v5 && c.S.InUse(p.PacketID)
	for it := p.Filters(); it.Next(&f); {
		if inUse {
			codes, reason = append(codes, byte(mqtt.PacketIDInUse)), idInUse
			continue
		}
		code, why := sh.subscribe(c, c.mounted(string(f.Filter)), f.Options, id, fx)
		if code.IsError() {
			reason = why
			if !v5 {
				code = mqtt.UnspecifiedError // 3.1.1 knows 0x80 only [MQTT-3.9.3-2]
			}
		}
		if sh.debug {
			sh.debugFilter(f, code)
		}
		codes = append(codes, byte(code))
	}
	sh.codes = codes
	if c.S.Version() == mqtt.V31 {
		// 3.1 has no failure code: a refused subscription is acknowledged and never
		// delivers [U31-07].
		for i, q := 0, p.Filters(); q.Next(&f); i++ {
			if codes[i] >= 0x80 {
				codes[i] = byte(f.Options.QoS())
			}
		}
	}
	c.S.Suback(p.PacketID, codes, reason, fx)
	sh.apply(c, fx)
	if len(c.cursors) > 0 {
		sh.pumpCursors(c)
	}
	return nil
}

// fatal finds what makes a whole SUBSCRIBE end the connection, before any of its
// filters is entered: what an MQTT 5 client was told is not available, and No
// Local on a shared subscription [MQTT-3.8.3-4]. MQTT 3 clients were told nothing;
// they get a refusal of the one filter.
func (sh *Shard) fatal(filter string, o packet.SubOptions) *End {
	cfg := sh.Hub.Cfg()
	_, inner, shared, err := mqtt.ParseShared(filter)
	switch {
	case err != nil:
		return nil
	case !shared:
		inner = filter
	case o.NoLocal():
		return refuse(mqtt.ProtocolError, logging.ReasonProtocolError, "no local on a shared subscription")
	case cfg.NoShared:
		return refuse(mqtt.SharedSubscriptionsNotSupported, logging.ReasonDisallowedFeature, noShared)
	}
	if cfg.NoWildcards && strings.ContainsAny(inner, "+#") {
		return refuse(mqtt.WildcardSubscriptionsNotSupported, logging.ReasonDisallowedFeature, noWildcards)
	}
	return nil
}

const (
	noShared    = "shared subscriptions are not available"
	noWildcards = "wildcard subscriptions are not available"
)

// subscribe enters one filter and gives its code, with a reason where it is
// refused.
func (sh *Shard) subscribe(c *Client, filter string, o packet.SubOptions, id uint32, fx *session.Effects) (mqtt.ReasonCode, string) {
	cfg := sh.Hub.Cfg()
	_, inner, shared, err := mqtt.ParseShared(filter)
	if err != nil {
		return mqtt.TopicFilterInvalid, err.Error()
	}
	if !shared {
		inner = filter
	}
	if err := mqtt.CheckFilter(inner); err != nil {
		return mqtt.TopicFilterInvalid, err.Error()
	}
	switch {
	case shared && cfg.NoShared:
		return mqtt.UnspecifiedError, noShared
	case cfg.NoWildcards && strings.ContainsAny(inner, "+#"):
		return mqtt.UnspecifiedError, noWildcards
	}
	if !sh.may(c, auth.Subscribe, inner) {
		return mqtt.NotAuthorized, "not permitted to subscribe to this filter"
	}
	if sh.Hub.scarce.Load() && !c.S.Subscribed(filter) {
		return mqtt.QuotaExceeded, noMemory
	}
	q := min(o.QoS(), c.maxQoS)
	sub := record.Subscription{Filter: filter, ID: id, QoS: q, NoLocal: o.NoLocal(), RetainAsPublished: o.RetainAsPublished()}
	existed, ok := c.S.Subscribe(sub, fx)
	if !ok {
		return mqtt.QuotaExceeded, "too many subscriptions"
	}
	before := sh.Hub.seq.Load()
	sh.Hub.enter(c, &sub)
	delete(c.resting, filter)
	sh.Hub.Log.Subscribed(c.ID, byte(q), filter)
	if h := o.RetainHandling(); !shared && cfg.RetainAvailable && (h == 0 || h == 1 && !existed) {
		sh.startCursor(c, inner, &sub, before)
	}
	return mqtt.ReasonCode(q), ""
}

func (sh *Shard) debugFilter(f packet.SubFilter, code mqtt.ReasonCode) {
	if code.IsError() {
		sh.Hub.Log.Debug("\t%s (denied)", f.Filter)
	} else {
		sh.Hub.Log.Debug("\t%s (QoS %d)", f.Filter, code)
	}
}

// ClientUnsubscribe takes an UNSUBSCRIBE.
func (sh *Shard) ClientUnsubscribe(c *Client, p *packet.Unsubscribe) {
	fx := sh.getFX()
	codes := sh.codes[:0]
	reason := ""
	inUse := c.S.Version() == mqtt.V5 && c.S.InUse(p.PacketID)
	var f packet.SubFilter
	for it := p.Filters(); it.Next(&f); {
		if inUse {
			codes, reason = append(codes, byte(mqtt.PacketIDInUse)), idInUse
			continue
		}
		filter := c.mounted(string(f.Filter))
		code := mqtt.Success
		_, inner, shared, err := mqtt.ParseShared(filter)
		if err == nil {
			if !shared {
				inner = filter
			}
			err = mqtt.CheckFilter(inner)
		}
		switch {
		case err != nil:
			code, reason = mqtt.TopicFilterInvalid, err.Error()
		case !c.S.Unsubscribe(filter, fx):
			code = mqtt.NoSubscriptionExisted
		default:
			sh.Hub.leave(c, filter)
			sh.stopCursors(c, filter)
			sh.Hub.Log.Unsubscribed(c.ID, filter)
		}
		if sh.debug {
			sh.Hub.Log.Debug("\t%s", filter)
		}
		codes = append(codes, byte(code))
	}
	sh.codes = codes
	c.S.Unsuback(p.PacketID, codes, reason, fx)
	sh.apply(c, fx)
	sh.putFX(fx)
}
