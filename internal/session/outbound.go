package session

import (
	"github.com/midgemq/midge/internal/flow"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// outbound exists only for sessions that have had a QoS 1 or 2 delivery: an idle
// session pays eight bytes for it.
type outbound struct {
	snd flow.Sender[record.Queued]
	q   queue
	// owed counts deliveries whose PUBCOMP is owed; since: when that began or last
	// got better, or when they were asked for again on this connection.
	owed   int
	since  record.Instant
	warned bool // Stalled was reported for this connection
}

// pubcompPatience is how long a subscriber may owe PUBCOMPs without sending one
// before that is reported. With MQTT 5 sending stops at the quota meanwhile, as
// the standard demands; with MQTT 3 it goes on.
const pubcompPatience = 10 * record.Second

// checkOwed reports a subscriber that does not complete its QoS 2 exchanges.
func (o *outbound) checkOwed(now record.Instant, fx *Effects) {
	if o.owed > 0 && !o.warned && now-o.since >= pubcompPatience {
		o.warned = true
		fx.Stalled = o.owed
	}
}

// queue holds what waits for room in the window. For a stored session only the
// first entries are in memory; spilled counts those that are in the store alone.
type queue struct {
	items   []record.Queued
	head    int
	bytes   int64
	spilled int
	// next is the lowest sequence number that may be in the store alone.
	next uint64
	// reading: a Refill has been asked for and not come.
	reading bool
}

func (q *queue) len() int { return len(q.items) - q.head + q.spilled }

func (q *queue) push(e record.Queued) {
	if q.head > 0 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, e)
}

func (q *queue) pop() (e record.Queued, ok bool) {
	if q.head == len(q.items) {
		return e, false
	}
	e = q.items[q.head]
	q.items[q.head] = record.Queued{}
	q.head++
	q.bytes -= int64(e.Msg.Size())
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
		if cap(q.items) > 1024 {
			q.items = nil
		}
	}
	return e, true
}

func (s *Session) outbound() *outbound {
	if s.out == nil {
		s.out = new(outbound)
		s.out.snd.Reset(int(s.window), s.rec.Version != mqtt.V5)
	}
	return s.out
}

// Delivery is how one subscription wants one message.
type Delivery struct {
	Group  string // shared subscription it came through, "" for none
	SubID  uint32
	QoS    mqtt.QoS // the lower of published and granted [MQTT-3.8.4-8]
	Retain bool
}

// Deliver gives the session a message that matched one of its subscriptions.
// seq orders the queue and is unique. It reports whether the message was taken:
// sent, queued, or dropped as delivered because it is too large for the client.
func (s *Session) Deliver(m *record.Message, d Delivery, seq uint64, now record.Instant, fx *Effects) bool {
	if d.QoS == mqtt.AtMostOnce {
		if !s.online || m.Expired(now) {
			return false
		}
		if s.tooLarge(m, d, now) {
			s.dropped(DropTooLarge, fx)
			return true
		}
		fx.send(Send{Type: packet.PUBLISH, Msg: m, Retain: d.Retain, SubID: d.SubID})
		return true
	}
	if !s.online && !s.persistent {
		return false
	}
	if s.online && s.tooLarge(m, d, now) {
		s.dropped(DropTooLarge, fx)
		return true
	}
	o := s.outbound()
	if s.online {
		o.checkOwed(now, fx)
	}
	e := record.Queued{Msg: m, Seq: seq, SubID: d.SubID, QoS: d.QoS, Retain: d.Retain, Group: d.Group}
	if s.online && !s.resending && o.q.len() == 0 && o.snd.Free() > 0 {
		if m.Expired(now) {
			s.dropped(DropExpired, fx)
			return true
		}
		if s.persistent {
			fx.Ops = append(fx.Ops, record.Op{Kind: record.Enqueue, Key: s.rec.Key, Entry: e})
		}
		return s.start(e, fx)
	}
	if why := s.full(m); why != DropNone {
		s.dropped(why, fx)
		return false
	}
	o.q.bytes += int64(m.Size())
	if !s.persistent {
		o.q.push(e)
		return true
	}
	fx.Ops = append(fx.Ops, record.Op{Kind: record.Enqueue, Key: s.rec.Key, Entry: e})
	if o.q.spilled > 0 || len(o.q.items)-o.q.head >= max(s.rules.QueueWindow, 1) {
		if o.q.spilled == 0 {
			o.q.next = seq
		}
		o.q.spilled++
		return true
	}
	o.q.push(e)
	return true
}

// full applies max_queued_messages and max_queued_bytes. The newest message is
// dropped, never an older one. Offline, messages in flight count too.
func (s *Session) full(m *record.Message) Drop {
	n, b := s.out.q.len(), s.out.q.bytes
	if !s.online {
		n += s.out.snd.Len()
	}
	if s.rules.MaxQueued > 0 && n >= s.rules.MaxQueued {
		return DropQueueCount
	}
	if s.rules.MaxQueuedBytes > 0 && b >= s.rules.MaxQueuedBytes {
		return DropQueueBytes
	}
	return DropNone
}

// start assigns an identifier and sends. The quota has been checked.
func (s *Session) start(e record.Queued, fx *Effects) bool {
	st := flow.AwaitPuback
	if e.QoS == mqtt.ExactlyOnce {
		st = flow.AwaitPubrec
	}
	id, ok := s.out.snd.Start(st, e)
	if !ok {
		s.dropped(DropNoPacketID, fx)
		s.dequeue(e.Seq, fx)
		return false
	}
	s.putInflight(e.Seq, id, st, fx)
	fx.send(Send{Type: packet.PUBLISH, PacketID: id, Msg: e.Msg, QoS: e.QoS, Retain: e.Retain, SubID: e.SubID})
	return true
}

func (s *Session) putInflight(seq uint64, id uint16, st flow.State, fx *Effects) {
	if s.persistent {
		fx.Ops = append(fx.Ops, record.Op{Kind: record.PutInflight, Key: s.rec.Key, Seq: seq, PacketID: id, State: uint8(st)})
	}
}

func (s *Session) dequeue(seq uint64, fx *Effects) {
	if s.persistent {
		fx.Ops = append(fx.Ops, record.Op{Kind: record.Dequeue, Key: s.rec.Key, Seq: seq})
	}
}

// Resume sends again what was unacknowledged, in the original order and with
// the original identifiers, then what is queued. Called once after CONNACK and,
// by the session itself, whenever the window has room.
func (s *Session) Resume(now record.Instant, fx *Effects) {
	if s.out == nil || !s.online {
		return
	}
	if s.resending {
		var gone map[uint16]Drop
		all := s.out.snd.Resend(func(id uint16, st flow.State, e record.Queued) {
			why := DropNone
			switch {
			case st == flow.AwaitPubcomp:
				s.out.since = now // asked again, so the patience starts anew
				fx.send(Send{Type: packet.PUBREL, PacketID: id})
				return
			case s.tooLarge(e.Msg, Delivery{SubID: e.SubID, QoS: e.QoS}, now):
				// The limit is the new connection's; what cannot be sent counts as
				// delivered [MQTT-3.1.2-25].
				why = DropTooLarge
			case !fx.may(e.Msg):
				why = DropNotPermitted
			default:
				fx.send(Send{Type: packet.PUBLISH, PacketID: id, Msg: e.Msg, QoS: e.QoS, Retain: e.Retain, SubID: e.SubID, Dup: true})
				return
			}
			if gone == nil {
				gone = make(map[uint16]Drop)
			}
			gone[id] = why
		})
		if len(gone) > 0 {
			s.out.snd.Drop(func(id uint16, _ flow.State, e record.Queued) bool {
				why := gone[id]
				if why != DropNone {
					s.dequeue(e.Seq, fx)
					s.dropped(why, fx)
				}
				return why != DropNone
			})
		}
		if s.resending = !all; !all && len(gone) > 0 {
			s.Resume(now, fx) // their places in the window are free again
			return
		}
	}
	s.pump(now, fx)
}

// pump moves queued messages into the window.
func (s *Session) pump(now record.Instant, fx *Effects) {
	o := s.out
	for s.online && !s.resending && o.snd.Free() > 0 {
		e, ok := o.q.pop()
		if !ok {
			break
		}
		switch {
		case e.Msg.Expired(now):
			s.dropped(DropExpired, fx)
			s.dequeue(e.Seq, fx)
		case !fx.may(e.Msg):
			s.dropped(DropNotPermitted, fx)
			s.dequeue(e.Seq, fx)
		case s.tooLarge(e.Msg, Delivery{SubID: e.SubID, QoS: e.QoS}, now):
			s.dropped(DropTooLarge, fx)
			s.dequeue(e.Seq, fx)
		default:
			s.start(e, fx)
		}
	}
	if o.q.spilled > 0 && !o.q.reading && len(o.q.items)-o.q.head <= s.rules.QueueWindow/2 {
		o.q.reading = true
		fx.NeedQueue = true
	}
}

// QueueFrom says where the next Refill reads and how many entries it wants.
func (s *Session) QueueFrom() (seq uint64, limit int) {
	return s.out.q.next, max(s.rules.QueueWindow, 1)
}

// Refill brings the entries that NeedQueue asked for.
func (s *Session) Refill(entries []record.Queued, now record.Instant, fx *Effects) {
	o := s.outbound()
	o.q.reading = false
	for _, e := range entries {
		o.q.push(e)
		o.q.next = e.Seq + 1
	}
	o.q.spilled = max(o.q.spilled-len(entries), 0)
	if len(entries) == 0 {
		// The store has fewer than were counted: what it lost is lost, and
		// counting on would ask for it for ever and hold its bytes against
		// max_queued_bytes.
		o.q.spilled, o.q.bytes = 0, 0
		for _, e := range o.q.items[o.q.head:] {
			o.q.bytes += int64(e.Msg.Size())
		}
	}
	if s.online {
		s.pump(now, fx)
	}
}

// tooLarge reports whether the PUBLISH would exceed the client's Maximum Packet
// Size [MQTT-3.1.2-24]. It is judged with the full topic: an alias only helps
// once the client knows it.
func (s *Session) tooLarge(m *record.Message, d Delivery, now record.Instant) bool {
	if s.maxPacket == 0 {
		return false
	}
	return uint32(PublishSize(m, s.rec.Version, d.QoS, d.SubID, now)) > s.maxPacket
}

// PublishSize is the size in bytes of the whole PUBLISH packet without alias.
func PublishSize(m *record.Message, v mqtt.Version, q mqtt.QoS, subID uint32, now record.Instant) int {
	n := 2 + len(m.Topic) + len(m.Payload)
	if q > mqtt.AtMostOnce {
		n += 2
	}
	if v == mqtt.V5 {
		p := len(m.Props)
		if _, ok := m.Remaining(now); ok {
			p += 5
		}
		if subID != 0 {
			p += 1 + packet.VarintSize(subID)
		}
		n += packet.VarintSize(uint32(p)) + p
	}
	return 1 + packet.VarintSize(uint32(n)) + n
}

func (s *Session) dropped(why Drop, fx *Effects) {
	fx.Drops[why]++
	s.CountDrop(why)
}

// CountDrop adds one to the session's own count of drops; for those decided
// outside, as by a connection's output limit.
func (s *Session) CountDrop(why Drop) {
	if s.drop == nil {
		s.drop = new([NumDrops]uint64)
	}
	s.drop[why]++
}

// Dropped returns the counts of drops by cause since the session began.
func (s *Session) Dropped() (n [NumDrops]uint64) {
	if s.drop != nil {
		n = *s.drop
	}
	return n
}

// Queued returns how many messages wait and how many are in flight.
func (s *Session) Queued() (queued int, bytes int64, inflight int) {
	if s.out == nil {
		return 0, 0, 0
	}
	return s.out.q.len(), s.out.q.bytes, s.out.snd.Len()
}

// Puback takes a PUBACK. ok false: protocol error [MQTT-4.8.0-1].
func (s *Session) Puback(id uint16, now record.Instant, fx *Effects) bool {
	if s.out == nil {
		return true
	}
	// A refusal by the subscriber ends the delivery like success: it is neither
	// sent again nor given to another [MQTT-4.4.0-2] [MQTT-4.8.2-6]. An unknown
	// identifier changes nothing, in particular not the quota [U5-4.9-1].
	e, r := s.out.snd.Puback(id)
	if r == flow.Finished {
		s.dequeue(e.Seq, fx)
		s.Resume(now, fx)
	}
	return r != flow.Wrong
}

// Pubrec takes a PUBREC with its reason code.
func (s *Session) Pubrec(id uint16, code mqtt.ReasonCode, now record.Instant, fx *Effects) bool {
	var e record.Queued
	r := flow.Unknown
	if s.out != nil {
		e, r = s.out.snd.Pubrec(id, code.IsError())
	}
	switch r {
	case flow.Wrong:
		return false
	case flow.Unknown:
		if !code.IsError() {
			// The peer must be able to forget it: PUBREL 0x92 [MQTT-3.6.2-1].
			fx.ack(packet.PUBREL, id, mqtt.PacketIDNotFound, "")
		}
	case flow.Finished:
		s.dequeue(e.Seq, fx)
		s.Resume(now, fx)
	case flow.Advanced:
		if s.out.owed == 0 {
			s.out.since = now
		}
		s.out.owed++
		s.putInflight(e.Seq, id, flow.AwaitPubcomp, fx)
		fx.ack(packet.PUBREL, id, mqtt.Success, "")
		s.Resume(now, fx)
	case flow.Repeated:
		fx.ack(packet.PUBREL, id, mqtt.Success, "")
	}
	return true
}

// Pubcomp takes a PUBCOMP. It ends the exchange whatever its reason code.
func (s *Session) Pubcomp(id uint16, now record.Instant, fx *Effects) bool {
	if s.out == nil {
		return true
	}
	e, r := s.out.snd.Pubcomp(id)
	if r == flow.Finished {
		s.out.owed--
		s.out.since = now
		s.dequeue(e.Seq, fx)
		s.Resume(now, fx)
	}
	return r != flow.Wrong
}

// CanStart reports whether a QoS 1 or 2 message would be sent at once.
func (s *Session) CanStart() bool {
	if !s.online || s.resending {
		return false
	}
	return s.out == nil || (s.out.q.len() == 0 && s.out.snd.Free() > 0)
}
