package hub

import (
	"unsafe"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/router"
	"github.com/midgemq/midge/internal/session"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

const (
	publish  = packet.PUBLISH
	pingresp = packet.PINGRESP
	puback   = packet.PUBACK
)

// frames holds the encodings of the message being routed, one per variant that
// has been needed: MQTT 3 or 5, with RETAIN or without. Only QoS 0 without
// subscription identifier is shared this way.
type frames struct {
	f   [4]Frame
	has [4]bool
	// of is the message from another loop whose encodings these are; nil while a
	// message of this loop is routed.
	of  *record.Message
	buf [4][]byte
}

func variant(v5, retain bool) int {
	k := 0
	if v5 {
		k = 1
	}
	if retain {
		k |= 2
	}
	return k
}

// reset forgets the encodings of the last message.
func (fr *frames) reset() { fr.has, fr.f, fr.of = [4]bool{}, [4]Frame{}, nil }

// get returns the encoding of m at QoS 0.
func (fr *frames) get(m *record.Message, v5, retain bool, now record.Instant) *Frame {
	k := variant(v5, retain)
	if !fr.has[k] {
		v := mqtt.V311
		if v5 {
			v = mqtt.V5
		}
		fr.buf[k] = AppendPublish(fr.buf[k][:0], m, &session.Send{Type: publish, Msg: m, Retain: retain}, v, 0, false, now)
		fr.f[k] = Frame{B: fr.buf[k], Payload: len(m.Payload)}
		fr.has[k] = true
		if cap(fr.buf[k]) > 1<<16 {
			fr.f[k].Owned, fr.buf[k] = true, nil // a large one is not kept for reuse
		}
	}
	return &fr.f[k]
}

// AppendPublish encodes a PUBLISH for one receiver. alias 0: none; with alias
// known the topic is left out.
func AppendPublish(dst []byte, m *record.Message, s *session.Send, v mqtt.Version, alias uint16, known bool, now record.Instant) []byte {
	first := byte(packet.PUBLISH)<<4 | byte(s.QoS)<<1
	if s.Retain {
		first |= 1
	}
	if s.Dup {
		first |= 8
	}
	topic := m.Topic
	if known {
		topic = ""
	}
	n := 2 + len(topic) + len(m.Payload)
	if s.QoS > 0 {
		n += 2
	}
	var p int
	left, expires := uint32(0), false
	if v == mqtt.V5 {
		p = len(m.Props)
		if left, expires = m.Remaining(now); expires {
			p += 5
		}
		if alias != 0 {
			p += 3
		}
		if s.SubID != 0 {
			p += 1 + packet.VarintSize(s.SubID)
		}
		n += packet.VarintSize(uint32(p)) + p
	}
	dst = append(dst, first)
	dst = packet.AppendVarint(dst, uint32(n))
	dst = append(dst, byte(len(topic)>>8), byte(len(topic)))
	dst = append(dst, topic...)
	if s.QoS > 0 {
		dst = append(dst, byte(s.PacketID>>8), byte(s.PacketID))
	}
	if v == mqtt.V5 {
		dst = packet.AppendVarint(dst, uint32(p))
		if expires {
			dst = packet.AppendUint(dst, packet.PropMessageExpiry, left)
		}
		if alias != 0 {
			dst = packet.AppendUint(dst, packet.PropTopicAlias, uint32(alias))
		}
		if s.SubID != 0 {
			dst = packet.AppendUint(dst, packet.PropSubscriptionID, s.SubID)
		}
		dst = append(dst, m.Props...)
	}
	return append(dst, m.Payload...)
}

// viewOf makes the message that a read buffer holds readable without copying it.
// It must be replaced by own before anything outlives the batch.
func (sh *Shard) viewOf(topic, payload, props []byte) *record.Message {
	sh.view = record.Message{Topic: unsafe.String(unsafe.SliceData(topic), len(topic)), Payload: payload, Props: props}
	return &sh.view
}

// own returns a message that may be kept: the one copy of a view.
func (sh *Shard) own(m *record.Message) *record.Message {
	if m != &sh.view {
		return m
	}
	t := unsafe.Slice(unsafe.StringData(m.Topic), len(m.Topic))
	o := record.NewMessage(t, m.Payload, m.Props)
	o.PublisherUser = m.PublisherUser
	o.Publisher, o.Expires, o.QoS, o.Retain, o.Seq, o.At = m.Publisher, m.Expires, m.QoS, m.Retain, m.Seq, sh.now
	return o
}

// aheadFrom is how far apart the fields of a connection lie that a delivery
// reads: two lines of the processor's caches.
const aheadFrom = 64

// Ahead reads what the delivery of messages on up to 16 topics will read, see
// router.Cache.Ahead.
func (sh *Shard) Ahead(topics [][]byte) {
	to := sh.cache.Ahead(topics, sh.ahead[:0])
	var sum byte
	for i, c := range to {
		if c.shard.Load() != sh {
			to[i] = nil
		} else if c.fast {
			sum++
		}
	}
	for _, c := range to {
		if c == nil || c.link == nil {
			continue
		}
		// What is behind the interface, whatever its type: only the wait for memory
		// counts. Connections are at least two lines long.
		p := (*[2]unsafe.Pointer)(unsafe.Pointer(&c.link))[1]
		sum += *(*byte)(p) + *(*byte)(unsafe.Add(p, aheadFrom))
	}
	sh.touched = sum
	clear(to) // a session that ends must not stay reachable
	sh.ahead = to[:0]
}

// Large reports whether Ahead is worth its while.
func (sh *Shard) Large() bool { return sh.cache.Large() }

// route passes a message to everybody whose subscription matches and returns
// how many do. The caller has reset the frames, or put the incoming frame there.
func (sh *Shard) route(m *record.Message) (matched int) {
	topic := unsafe.Slice(unsafe.StringData(m.Topic), len(m.Topic))
	res := sh.cache.Lookup(topic)
	if len(res.Plain) > 0 || len(res.Groups) > 0 {
		matched = sh.routeTo(res, m)
	}
	sh.cache.Done(res)
	return matched
}

// routeTo is route for the subscriptions that were found.
func (sh *Shard) routeTo(res *router.Result[*Client], m *record.Message) (matched int) {
	keep := m // becomes the owned copy once one is needed
	cfg := sh.Hub.Cfg()
	merge := !cfg.AllowDuplicates && len(res.Plain) > 1
	for i := range res.Plain {
		t := &res.Plain[i]
		c := t.Sub
		q := t.QoS
		if merge && c.live.Load()&liveV5 == 0 {
			var first bool
			if q, first = highest(res, i); !first {
				continue
			}
		}
		if t.NoLocal && m.Publisher != "" && c.ID == m.Publisher {
			continue // [MQTT-3.8.3-3]
		}
		matched++
		d := session.Delivery{QoS: cfg.deliveryQoS(m.QoS, q), Retain: m.Retain && t.RetainAsPublished, SubID: t.ID}
		if d.QoS == 0 && c.shard.Load() == sh && c.fast && d.SubID == 0 {
			if sh.may(c, auth.Receive, m.Topic) {
				sh.deliver0(c, m, d.Retain)
			}
			continue
		}
		if d.QoS > 0 || c.shard.Load() != sh || cfg.Rules.QueueQoS0 {
			keep = sh.keep(keep, d.QoS)
		}
		sh.pass(c, keep, d)
	}
	sh.routed = m
	for _, g := range res.Groups {
		t, ok := g.Pick(sh.ableFn)
		if !ok {
			continue
		}
		matched++
		d := session.Delivery{QoS: cfg.deliveryQoS(m.QoS, t.QoS), Retain: m.Retain && t.RetainAsPublished, SubID: t.ID}
		if d.QoS > 0 {
			d.Group = g.Key()
		}
		if d.QoS > 0 || t.Sub.shard.Load() != sh || cfg.Rules.QueueQoS0 {
			keep = sh.keep(keep, d.QoS)
		}
		sh.pass(t.Sub, keep, d)
	}
	return matched
}

// highest is for allow_duplicate_messages false: an MQTT 3 client with several
// matching subscriptions gets one copy at the highest QoS [MQTT-3.3.5-1]. first
// is true for the entry that stands for all of its client.
func highest(res *router.Result[*Client], i int) (q mqtt.QoS, first bool) {
	c := res.Plain[i].Sub
	for k := range res.Plain {
		if res.Plain[k].Sub != c {
			continue
		}
		if k < i {
			return 0, false
		}
		q = max(q, res.Plain[k].QoS)
	}
	return q, true
}

// keep makes the owned copy once, with a sequence number when it will be queued.
func (sh *Shard) keep(m *record.Message, q mqtt.QoS) *record.Message {
	if m == &sh.view {
		if (q > 0 || sh.Hub.Cfg().Rules.QueueQoS0) && m.Seq == 0 {
			m.Seq = sh.Hub.nextSeq()
		}
		m = sh.own(m)
	}
	return m
}

// pass delivers here or hands over to the loop that owns the session.
func (sh *Shard) pass(c *Client, m *record.Message, d session.Delivery) {
	var seq uint64
	if d.QoS > 0 || sh.Hub.Cfg().Rules.QueueQoS0 {
		seq = sh.Hub.nextSeq()
		d.NoRoom = sh.noRoom()
	}
	home := c.shard.Load()
	if home == sh {
		sh.deliver(c, m, d, seq, sh.now)
		return
	}
	l := mail{kind: mailDeliver, c: c, msg: m, d: d, seq: seq, at: sh.now}
	if key := c.stored.Load(); d.QoS > 0 && key != 0 && !sh.Hub.immediate {
		// Stored here, in the batch that the publisher's acknowledgement waits for.
		// What is full stays so: this loop cannot know of later.
		live := c.live.Load()
		if live&liveFull != 0 || d.NoRoom && live&liveOnline == 0 {
			l.kind, l.msg = mailRefused, nil
			l.d.NoRoom = live&liveFull == 0
		} else {
			e := record.Queued{Msg: m, Seq: seq, SubID: d.SubID, QoS: d.QoS, Retain: d.Retain, Group: d.Group}
			sh.open.Ops = append(sh.open.Ops, record.Op{Kind: record.Enqueue, Key: record.SessionKey(key), Entry: e})
			l.key, l.d.Stored = record.SessionKey(key), true
		}
	}
	sh.mailTo(home, l)
}

// deliver0 is the fast path: QoS 0 to a client of this loop that needs no
// encoding of its own.
func (sh *Shard) deliver0(c *Client, m *record.Message, retain bool) {
	f := sh.frames.get(m, c.v5, retain, sh.now)
	if why := c.link.Frame(f); why != session.DropNone {
		c.S.CountDrop(why)
		sh.countDrop(c, why, 1)
	} else if sh.debug {
		sh.Hub.Log.SendingPublish(c.ID, line(m, &session.Send{Retain: retain}))
	}
}

// deliver gives a message to a session of this loop. at is when it was routed,
// which decides on its expiry: one with interval 0 reaches subscribers that can
// take it at once whichever loop they are on.
func (sh *Shard) deliver(c *Client, m *record.Message, d session.Delivery, seq uint64, at record.Instant) {
	if c.ended {
		return
	}
	if c.outside(m) || !sh.may(c, auth.Receive, m.Topic) || len(sh.passed) > 0 && sh.overtaken(c, m) {
		if d.Stored {
			sh.persist(record.Op{Kind: record.Dequeue, Key: c.S.Key(), Seq: seq})
		}
		return
	}
	if d.QoS == 0 && d.SubID == 0 && c.fast && m != &sh.view {
		// Letters about one message follow each other: they share its encodings.
		if sh.frames.of != m {
			sh.frames.reset()
			sh.frames.of = m
		}
		sh.deliver0(c, m, d.Retain)
		return
	}
	fx := sh.getFX()
	c.S.Deliver(m, d, seq, at, fx)
	sh.apply(c, fx)
	sh.putFX(fx)
}

// deliverMail delivers what another loop routed. Where that loop has put it into
// the queue of a session that has ended meanwhile, it went with the session;
// only shared messages go to somebody else.
func (sh *Shard) deliverMail(m *mail) {
	if m.key == 0 || !m.c.ended && m.key == m.c.S.Key() {
		seq := m.seq
		if seq != 0 && !m.d.Stored && !sh.Hub.immediate {
			seq = sh.Hub.nextSeq() // what this loop stores has a number of this loop's: see horizon
		}
		sh.deliver(m.c, m.msg, m.d, seq, m.at)
	} else if m.d.Group != "" {
		sh.handOn(m.c, &record.Queued{Msg: m.msg, QoS: m.d.QoS, Retain: m.d.Retain, Group: m.d.Group})
	}
}

// handOn gives an unacknowledged QoS 1 message of a shared subscription whose
// session ended to another member [U5-4.8.2-3]; without one it is discarded
// [U5-4.8.2-5].
func (sh *Shard) handOn(from *Client, e *record.Queued) {
	if e.Msg.Expired(sh.now) {
		return
	}
	res := sh.cache.Lookup([]byte(e.Msg.Topic))
	defer sh.cache.Done(res)
	for _, g := range res.Groups {
		if g.Key() != e.Group {
			continue
		}
		t, ok := g.PickOther(from, online)
		if !ok {
			return
		}
		q := sh.Hub.Cfg().deliveryQoS(e.Msg.QoS, t.QoS)
		d := session.Delivery{QoS: q, Retain: e.Retain, SubID: t.ID}
		if q > 0 {
			d.Group = e.Group
		}
		sh.pass(t.Sub, e.Msg, d)
		return
	}
}
