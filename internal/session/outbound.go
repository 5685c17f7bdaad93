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
	// flying are the payload bytes of what waits for PUBACK or PUBREC.
	flying int64
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

// room reports whether a QoS 1 or 2 message may be started now.
func (s *Session) room() bool {
	o := s.out
	return o.snd.Free() > 0 && (s.rules.MaxInflightBytes == 0 || o.flying < s.rules.MaxInflightBytes)
}

// checkOwed reports a subscriber that does not complete its QoS 2 exchanges.
func (o *outbound) checkOwed(now record.Instant, fx *Effects) {
	if o.owed > 0 && !o.warned && now-o.since >= pubcompPatience {
		o.warned = true
		fx.Stalled = o.owed
	}
}

// queue holds what waits for room in the window. For a stored session only the
// first entries are in memory, with Rules.Unload none while it is offline; spilled
// counts those that are in the store alone.
//
// Sequence numbers do not come in order: each loop hands them out for what its
// publishers send. So an entry goes to the store alone only if its number is
// next or above; one that is late stays in memory. What is in memory or was sent
// is below next, what is in the store alone is not, and nothing is read twice.
type queue struct {
	items   []record.Queued
	head    int
	bytes   int64
	spilled int
	next    uint64
	// last is the highest number in the store alone.
	last uint64
	// oldest is when what waits longest was accepted, as far as is known; 0: not
	// known.
	oldest record.Instant
	// reading: a Refill has been asked for and not come.
	reading bool
	// handing: entries in the store alone may belong to a shared subscription.
	handing bool
}

func (q *queue) len() int { return len(q.items) - q.head + q.spilled }

func (q *queue) push(e record.Queued) {
	q.passed(e.Seq)
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

// passed notes a number that needs no reading: the entry is in memory, or is
// being sent. While something is in the store alone, next is its beginning.
func (q *queue) passed(seq uint64) {
	if q.spilled == 0 && seq >= q.next {
		q.next = seq + 1
	}
}

// spill leaves an entry to the store.
func (q *queue) spill(e *record.Queued) {
	q.spilled++
	q.last = max(q.last, e.Seq)
	q.handing = q.handing || e.Group != ""
}

// unload leaves all that is in memory to the store, for a session that nobody is
// connected to.
func (q *queue) unload() {
	if q.head < len(q.items) {
		q.oldest = q.items[q.head].Msg.At
	}
	for i := q.head; i < len(q.items); i++ {
		e := &q.items[i]
		q.next = min(q.next, e.Seq)
		q.spill(e)
	}
	q.items, q.head = nil, 0
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
	// Stored: the batch of the publisher's loop has put the entry into the store.
	Stored bool
	// NoRoom: the broker as a whole is at its limit; nothing more may wait.
	NoRoom bool
}

// Deliver gives the session a message that matched one of its subscriptions.
// seq orders the queue and is unique. It reports whether the message was taken:
// sent, queued, or dropped as delivered because it is too large for the client.
func (s *Session) Deliver(m *record.Message, d Delivery, seq uint64, now record.Instant, fx *Effects) bool {
	if d.QoS == mqtt.AtMostOnce && !s.waits0() {
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
		s.discard(DropTooLarge, seq, d.Stored, fx)
		return true
	}
	o := s.outbound()
	if s.online {
		o.checkOwed(now, fx)
	}
	e := record.Queued{Msg: m, Seq: seq, SubID: d.SubID, QoS: d.QoS, Retain: d.Retain, Group: d.Group}
	if d.QoS > 0 && s.online && !s.resending && o.q.len() == 0 && s.room() {
		if m.Expired(now) {
			s.discard(DropExpired, seq, d.Stored, fx)
			return true
		}
		s.enqueue(e, d.Stored, fx)
		o.q.passed(seq)
		return s.start(e, fx)
	}
	why := s.full()
	if d.NoRoom && why == DropNone {
		why = DropTotalBytes
	}
	if why != DropNone && !s.makeRoom(why, fx) {
		s.discard(why, seq, d.Stored, fx)
		return false
	}
	s.enqueue(e, d.Stored, fx)
	o.q.bytes += int64(m.Size())
	if o.q.len() == 0 {
		o.q.oldest = m.At
	}
	if s.persistent && seq >= o.q.next && (o.q.spilled > 0 || !s.online && s.rules.Unload || len(o.q.items)-o.q.head >= max(s.rules.QueueWindow, 1)) {
		o.q.spill(&e)
		return true
	}
	o.q.push(e)
	return true
}

// waits0 reports whether a QoS 0 message is queued: for a client that is away,
// and behind what still waits, which it must not overtake [MQTT-4.6.0-6].
func (s *Session) waits0() bool {
	return s.rules.QueueQoS0 && s.persistent && (!s.online || s.out != nil && s.out.q.len() > 0)
}

// enqueue stores a queue entry unless that has been done.
func (s *Session) enqueue(e record.Queued, stored bool, fx *Effects) {
	if s.persistent && !stored {
		fx.Ops = append(fx.Ops, record.Op{Kind: record.Enqueue, Key: s.rec.Key, Entry: e})
	}
}

// discard drops a message that has not been queued here.
func (s *Session) discard(why Drop, seq uint64, stored bool, fx *Effects) {
	s.dropped(why, fx)
	if stored {
		s.dequeue(seq, fx)
	}
}

// Refused takes a message that was not even queued because the session was known
// to be at its limit.
func (s *Session) Refused(fx *Effects) {
	why := DropQueueCount
	if s.out != nil {
		if w := s.full(); w != DropNone {
			why = w
		}
	}
	s.dropped(why, fx)
}

// Full reports whether a further message would be above a limit of this session
// and nothing would make room for it.
func (s *Session) Full() bool {
	return s.out != nil && !s.rules.DropOldest && s.full() != DropNone
}

// full applies max_queued_messages and max_queued_bytes. Offline, messages in
// flight count too.
func (s *Session) full() Drop {
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

// makeRoom drops the oldest messages where the policy says so and reports
// whether the new one may be queued. What is in the store alone has to be read
// first: then the new one is taken, and Refill drops until the limits hold.
func (s *Session) makeRoom(why Drop, fx *Effects) bool {
	if !s.rules.DropOldest {
		return false
	}
	for n := 0; ; n++ {
		e, ok := s.out.q.pop()
		if !ok {
			if s.out.q.spilled == 0 {
				return n > 0 // only what is in flight is left, which is never dropped
			}
			s.needQueue(fx)
			return true
		}
		s.dropped(why, fx)
		s.dequeue(e.Seq, fx)
		if s.full() == DropNone {
			return true
		}
	}
}

func (s *Session) needQueue(fx *Effects) {
	if !s.out.q.reading {
		s.out.q.reading = true
		fx.NeedQueue = true
	}
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
	s.out.flying += int64(e.Msg.Size())
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
					s.out.flying -= int64(e.Msg.Size())
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
	for s.online && !s.resending && s.room() {
		e, ok := o.q.pop()
		if !ok {
			break
		}
		switch {
		case e.Msg.Expired(now):
			s.dropped(DropExpired, fx)
			s.dequeue(e.Seq, fx)
		case s.aged(e.Msg, now):
			s.dropped(DropQueueAge, fx)
			s.dequeue(e.Seq, fx)
		case !fx.may(e.Msg):
			s.dropped(DropNotPermitted, fx)
			s.dequeue(e.Seq, fx)
		case s.tooLarge(e.Msg, Delivery{SubID: e.SubID, QoS: e.QoS}, now):
			s.dropped(DropTooLarge, fx)
			s.dequeue(e.Seq, fx)
		case e.QoS == mqtt.AtMostOnce:
			s.dequeue(e.Seq, fx)
			fx.send(Send{Type: packet.PUBLISH, Msg: e.Msg, Retain: e.Retain, SubID: e.SubID})
		default:
			s.start(e, fx)
		}
	}
	if s.online && o.q.spilled > 0 && len(o.q.items)-o.q.head <= s.rules.QueueWindow/2 {
		s.needQueue(fx)
	}
}

// aged reports whether a message has waited longer than the limit.
func (s *Session) aged(m *record.Message, now record.Instant) bool {
	return s.rules.MaxQueuedAge > 0 && m.At != 0 && now-m.At >= record.Instant(s.rules.MaxQueuedAge)*record.Second
}

// QueueFrom says where the next Refill reads and how many entries it wants.
func (s *Session) QueueFrom() (seq uint64, limit int) {
	if s.out == nil {
		return 0, max(s.rules.QueueWindow, 1)
	}
	return s.out.q.next, max(s.rules.QueueWindow, 1)
}

// Refill brings the entries that NeedQueue asked for: all with a Seq from the one
// that QueueFrom gave up to and including upTo. A connected client is given them;
// for one that is away they are only looked at, for what a limit says must go.
func (s *Session) Refill(entries []record.Queued, from, upTo uint64, now record.Instant, fx *Effects) {
	o := s.outbound()
	o.q.reading = false
	if from != o.q.next || o.q.spilled == 0 {
		// The connection ended meanwhile and the beginning moved.
		if s.online {
			s.pump(now, fx)
		}
		return
	}
	if !s.online {
		s.trim(entries, upTo, now, fx)
		return
	}
	for _, e := range entries {
		o.q.push(e)
	}
	o.q.spilled = max(o.q.spilled-len(entries), 0)
	s.readUpTo(upTo)
	s.pump(now, fx)
}

// readUpTo moves the beginning of what is in the store alone. Once all of it has
// been read nothing may be left: what is still counted the store has lost, and
// counting on would ask for it for ever and hold its bytes against the limits.
func (s *Session) readUpTo(seq uint64) {
	q := &s.out.q
	q.next = max(q.next, seq+1)
	if q.next <= q.last {
		return
	}
	q.spilled, q.bytes, q.handing = 0, 0, false
	for _, e := range q.items[q.head:] {
		q.bytes += int64(e.Msg.Size())
	}
}

// trim drops from the beginning of a stored queue what is too old or too much.
func (s *Session) trim(entries []record.Queued, upTo uint64, now record.Instant, fx *Effects) {
	q := &s.out.q
	for i := range entries {
		e := &entries[i]
		why := DropNone
		switch {
		case e.Msg.Expired(now):
			why = DropExpired
		case s.aged(e.Msg, now):
			why = DropQueueAge
		case s.rules.DropOldest:
			why = s.above()
		}
		if why == DropNone {
			if q.oldest = e.Msg.At; q.oldest == 0 {
				q.oldest = now
			}
			return
		}
		s.dropped(why, fx)
		s.dequeue(e.Seq, fx)
		q.spilled--
		q.bytes -= int64(e.Msg.Size())
		q.next = e.Seq + 1
	}
	s.readUpTo(upTo)
	if q.spilled > 0 && (s.above() != DropNone && s.rules.DropOldest || s.rules.MaxQueuedAge > 0) {
		s.needQueue(fx)
	}
}

// above reports the limit that what waits is beyond.
func (s *Session) above() Drop {
	n, b := s.out.q.len()+s.out.snd.Len(), s.out.q.bytes
	switch {
	case s.rules.MaxQueued > 0 && n > s.rules.MaxQueued:
		return DropQueueCount
	case s.rules.MaxQueuedBytes > 0 && b > s.rules.MaxQueuedBytes:
		return DropQueueBytes
	}
	return DropNone
}

// ReadFailed tells that the store could not be read; ask again later with
// Reread.
func (s *Session) ReadFailed() {
	if s.out != nil {
		s.out.q.reading = false
	}
}

// Reread asks again for what a failed read did not bring.
func (s *Session) Reread(now record.Instant, fx *Effects) {
	if s.out == nil || s.out.q.spilled == 0 {
		return
	}
	if s.online {
		s.pump(now, fx)
		return
	}
	s.needQueue(fx)
}

// Oldest is when what waits longest was accepted, as far as is known; 0: nothing
// waits.
func (s *Session) Oldest() record.Instant {
	if s.out == nil || s.out.q.len() == 0 {
		return 0
	}
	if q := &s.out.q; q.head < len(q.items) {
		return q.items[q.head].Msg.At
	}
	return s.out.q.oldest
}

// dueAge is when what waits longest is too old to stay; 0: never.
func (s *Session) dueAge() record.Instant {
	if s.rules.MaxQueuedAge == 0 || s.out == nil || s.out.q.len() == 0 {
		return 0
	}
	return s.Oldest() + record.Instant(s.rules.MaxQueuedAge)*record.Second
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

// QueuedBytes returns the payload bytes that wait, those in flight left out.
func (s *Session) QueuedBytes() int64 {
	if s.out == nil {
		return 0
	}
	return s.out.q.bytes
}

// shed drops what has waited too long from the queue of an absent client.
func (s *Session) shed(now record.Instant, fx *Effects) {
	q := &s.out.q
	for q.head < len(q.items) {
		if !s.aged(q.items[q.head].Msg, now) {
			return
		}
		e, _ := q.pop()
		s.dropped(DropQueueAge, fx)
		s.dequeue(e.Seq, fx)
	}
	if q.spilled > 0 {
		q.oldest = now // looked at now; Refill finds out how it really is
		s.needQueue(fx)
	}
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
		s.out.flying -= int64(e.Msg.Size())
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
		s.out.flying -= int64(e.Msg.Size())
		s.dequeue(e.Seq, fx)
		s.Resume(now, fx)
	case flow.Advanced:
		s.out.flying -= int64(e.Msg.Size())
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
	return s.out == nil || (s.out.q.len() == 0 && s.room())
}
