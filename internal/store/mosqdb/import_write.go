package mosqdb

import (
	"cmp"
	"slices"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// States of record.Op.State, flow.State's numbers; package flow stands above.
const (
	awaitPuback  = 1
	awaitPubrec  = 2
	awaitPubcomp = 3
)

// subscriber is one subscription as route looks for it.
type subscriber struct {
	s   *imported
	sub *record.Subscription
}

// subscribers answers which subscriptions match a topic.
type subscribers struct {
	exact  map[string][]subscriber
	wild   []subscriber
	groups map[string][]subscriber // by the whole shared filter
}

func (im *importer) subscribers() *subscribers {
	x := &subscribers{exact: make(map[string][]subscriber), groups: make(map[string][]subscriber)}
	for _, s := range im.sessions {
		for i := range s.subs {
			e := subscriber{s, &s.subs[i]}
			_, inner, shared, _ := mqtt.ParseShared(e.sub.Filter)
			switch {
			case shared:
				x.groups[e.sub.Filter] = append(x.groups[e.sub.Filter], e)
			case wildcard(inner):
				x.wild = append(x.wild, e)
			default:
				x.exact[inner] = append(x.exact[inner], e)
			}
		}
	}
	return x
}

// route passes on what publishers had begun to hand over with QoS 2. Mosquitto
// passes a message on at PUBREL; midge has done so by then, so that PUBREL alone
// would end the exchange and the message would be lost.
func (im *importer) route() {
	var open []*ClientMessage
	seen := make(map[uint64]bool)
	for _, s := range im.sessions {
		for _, v := range s.inbound {
			// After PUBREL the message has been passed on.
			if v.State != StateResendPubcomp && !im.expired[v.MessageID] && !seen[v.MessageID] {
				seen[v.MessageID] = true
				open = append(open, v)
			}
		}
	}
	if len(open) == 0 && len(im.due) == 0 {
		return
	}
	slices.SortStableFunc(open, func(a, b *ClientMessage) int { return cmp.Compare(a.MessageID, b.MessageID) })
	subs := im.subscribers()
	turn := 0
	for _, v := range open {
		im.publish(subs, im.messages[v.MessageID], v.ClientID, turn)
		turn++
	}
	for _, v := range im.due {
		im.publish(subs, im.willMessage(v), v.ClientID, turn)
		turn++
	}
}

// publish queues a message to everybody who has subscribed; turn spreads those of
// shared subscriptions.
func (im *importer) publish(subs *subscribers, m *record.Message, publisher string, turn int) {
	for _, e := range subs.exact[m.Topic] {
		im.routeTo(e, m, publisher, "")
	}
	for _, e := range subs.wild {
		if mqtt.Match(e.sub.Filter, m.Topic) {
			im.routeTo(e, m, publisher, "")
		}
	}
	for filter, members := range subs.groups {
		if _, inner, _, _ := mqtt.ParseShared(filter); mqtt.Match(inner, m.Topic) {
			im.routeTo(members[turn%len(members)], m, publisher, filter)
		}
	}
	if m.Retain {
		im.retained[m.Topic] = m
	}
}

func (im *importer) routeTo(e subscriber, m *record.Message, publisher, group string) {
	qos := min(m.QoS, e.sub.QoS)
	if qos == 0 || (e.sub.NoLocal && publisher == e.s.rec.ClientID) {
		return // nobody is online, QoS 0 has nowhere to go
	}
	e.s.routed = append(e.s.routed, record.Queued{
		Msg: m, SubID: e.sub.ID, QoS: qos, Retain: m.Retain && e.sub.RetainAsPublished, Group: group,
	})
	im.rep.Routed++
}

// writeSession commits one session: itself, then what it owns, in order.
func (im *importer) writeSession(s *imported) {
	if key, ok := im.existing[s.rec.ClientID]; ok {
		im.out.add(record.Op{Kind: record.DeleteSession, Key: key}, 0)
		im.rep.Replaced++
	}
	key := s.rec.Key
	im.out.add(record.Op{Kind: record.PutSession, Session: &s.rec}, 64)
	for i := range s.subs {
		im.out.add(record.Op{Kind: record.PutSubscription, Key: key, Sub: &s.subs[i]}, len(s.subs[i].Filter))
	}
	ids := make(map[uint16]bool)
	for _, v := range s.entries {
		im.writeEntry(s, v, ids)
	}
	for i := range s.routed {
		q := s.routed[i]
		q.Seq = im.nextSeq()
		im.out.add(record.Op{Kind: record.Enqueue, Key: key, Entry: q}, q.Msg.Size())
	}
	in := make(map[uint16]bool)
	for _, v := range s.inbound {
		if v.State == StateResendPubcomp {
			continue
		}
		if v.MID == 0 || in[v.MID] {
			im.rep.problem("client %q: QoS 2 identifier %d is used twice or zero", v.ClientID, v.MID)
			continue
		}
		in[v.MID] = true
		im.out.add(record.Op{Kind: record.PutInbound, Key: key, PacketID: v.MID}, 8)
		im.rep.ClientMessages++
	}
	if s.will != nil {
		im.writeWill(s)
	}
}

// writeEntry commits one message to the client, queued or under way.
func (im *importer) writeEntry(s *imported, v *ClientMessage, ids map[uint16]bool) {
	state := outState(v)
	if state != 0 && (v.MID == 0 || ids[v.MID]) {
		// Its identifier cannot be kept; the message can.
		im.rep.problem("client %q: identifier %d of message %d is used twice or zero, the message is queued again", v.ClientID, v.MID, v.MessageID)
		state = 0
	}
	if state == 0 && im.expired[v.MessageID] {
		return
	}
	q := record.Queued{
		Msg: im.messages[v.MessageID], Seq: im.nextSeq(), SubID: v.SubscriptionID,
		QoS: mqtt.QoS(v.QoS), Retain: v.RetainDup>>4 != 0,
	}
	im.out.add(record.Op{Kind: record.Enqueue, Key: s.rec.Key, Entry: q}, q.Msg.Size())
	im.rep.ClientMessages++
	if state != 0 {
		ids[v.MID] = true
		im.out.add(record.Op{Kind: record.PutInflight, Key: s.rec.Key, Seq: q.Seq, PacketID: v.MID, State: state}, 8)
	}
}

// outState is the state of an exchange under way, 0 for a message that waits.
// One that was about to be sent counts as sent: the client may have seen it.
func outState(v *ClientMessage) uint8 {
	switch v.State {
	case StatePublishQoS1, StateWaitForPuback:
		if v.QoS == 1 {
			return awaitPuback
		}
	case StatePublishQoS2, StateWaitForPubrec:
		if v.QoS == 2 {
			return awaitPubrec
		}
	case StateResendPubrel, StateWaitForPubcomp:
		if v.QoS == 2 {
			return awaitPubcomp
		}
	default: // waits
	}
	return 0
}

// willMessage makes the message of a will that is due.
func (im *importer) willMessage(v *Will) *record.Message {
	m := im.message(v.Topic, v.Payload, v.Properties)
	m.QoS, m.Retain, m.Publisher = mqtt.QoS(v.QoS), v.Retain, v.ClientID
	if n, ok := packet.Props(v.Properties).Uint(packet.PropMessageExpiry); ok {
		m.Expires = im.o.Now + max(record.Instant(n)*record.Second, 1)
	}
	return m
}

func (im *importer) writeWill(s *imported) {
	v := s.will
	m := im.willMessage(v)
	m.Expires = 0 // its time starts when it is published
	w := &record.Will{Msg: m, Delay: v.Delay}
	w.Expiry, w.HasExpiry = packet.Props(v.Properties).Uint(packet.PropMessageExpiry)
	im.out.add(record.Op{Kind: record.PutWill, Key: s.rec.Key, Will: w}, m.Size())
}

func (im *importer) writeRetained() {
	for _, id := range im.db.Retained {
		m := im.messages[id]
		if m == nil {
			im.rep.problem("retained message %d is not in the file", id)
			continue
		}
		if im.retained[m.Topic] == nil && !im.expired[id] {
			im.writeOneRetained(m)
		}
	}
	for _, m := range im.retained {
		im.writeOneRetained(m)
	}
}

func (im *importer) writeOneRetained(m *record.Message) {
	if len(m.Payload) == 0 {
		im.out.add(record.Op{Kind: record.DeleteRetained, Filter: m.Topic}, 8)
		return
	}
	if !m.Retain {
		c := *m
		c.Retain = true
		m = &c
	}
	im.out.add(record.Op{Kind: record.PutRetained, Entry: record.Queued{Msg: m}}, m.Size())
	im.rep.Retained++
}
