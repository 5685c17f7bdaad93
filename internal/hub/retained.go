package hub

import (
	"slices"
	"strings"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/router"
	"github.com/midgemq/midge/internal/session"
	"github.com/midgemq/midge/mqtt"
)

// cursorStep is how many retained topics one look-up visits, so that a large
// subscription does not hold the loop or the index.
const cursorStep = 64

// cursor delivers the retained messages of one new subscription. It is part of
// the session: it waits for room in the output and the window, outside the queue
// limits, and goes on when the client is back.
type cursor struct {
	it     *router.Cursor[*record.Message]
	filter string
	sub    uint32
	qos    mqtt.QoS
	// noLocal: messages that this client published are not for it
	// [MQTT-3.8.3-3].
	noLocal bool
	// before is the number that was reached before the subscription was there: what
	// came later may be on its way live as well.
	before uint64
	// left are messages that were read and not sent yet; waited: since an earlier
	// batch.
	left   []*record.Message
	waited bool
	done   bool
}

// retain stores or deletes the retained message of a topic; m is owned.
// [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7]
func (sh *Shard) retain(m *record.Message) {
	op := record.Op{Kind: record.PutRetained, Entry: record.Queued{Msg: m}}
	if len(m.Payload) == 0 {
		if _, had := sh.Hub.Retained.Delete(m.Topic); !had {
			return
		}
		op = record.Op{Kind: record.DeleteRetained, Filter: m.Topic}
	} else {
		sh.Hub.Retained.Set(m.Topic, m, m.Seq)
		if m.Expires != 0 {
			sh.retained.Add(m.Expires, expiring{topic: m.Topic, seq: m.Seq})
		}
	}
	sh.persistRetained(m.Topic, op)
}

// persistRetained stores a change of a retained message. $SYS is made anew at
// each start. What cannot be stored now is stored, as it then is, when that is
// possible again: QoS 0 goes on meanwhile.
func (sh *Shard) persistRetained(topic string, op record.Op) {
	if strings.HasPrefix(topic, "$SYS/") {
		return
	}
	if !sh.Hub.immediate && sh.Hub.Failing() != nil {
		if sh.unsaved == nil {
			sh.unsaved = make(map[string]struct{})
		}
		sh.unsaved[topic] = struct{}{}
		return
	}
	sh.persist(op)
}

// persist adds a change that belongs to no session step.
func (sh *Shard) persist(op record.Op) {
	sh.open.Ops = append(sh.open.Ops, op)
	_ = sh.commitNow() // logged there; the retained message is in memory all the same
}

// retainedDue discards a retained message whose expiry has passed, also where
// nobody subscribes [U5-3.3.1-1].
func (sh *Shard) retainedDue(e expiring) {
	if _, had := sh.Hub.Retained.DeleteIf(e.topic, func(m *record.Message) bool { return m.Seq == e.seq }); had {
		sh.persistRetained(e.topic, record.Op{Kind: record.DeleteRetained, Filter: e.topic})
	}
}

// startCursor begins the delivery of what matches a new subscription. What
// changes from now on reaches the subscriber live and is skipped here. before is
// the number of the last message before the subscription was entered.
func (sh *Shard) startCursor(c *Client, filter string, s *record.Subscription, before uint64) {
	sh.stopCursors(c, filter) // who repeats itself gets one delivery, from the start
	now := sh.Hub.seq.Load()
	if sh.Hub.Retained.None(filter, now, &sh.look) {
		return // what is on its way to the index is routed after it, to this subscription too
	}
	it := sh.Hub.Retained.Cursor(filter, now)
	c.cursors = append(c.cursors, &cursor{it: it, filter: filter, qos: s.QoS, sub: s.ID, noLocal: s.NoLocal, before: before})
}

func (sh *Shard) stopCursors(c *Client, filter string) {
	c.cursors = slices.DeleteFunc(c.cursors, func(k *cursor) bool { return k.filter == filter })
}

// Drained tells that the output of a connection has room again.
func (sh *Shard) Drained(c *Client) {
	if len(c.cursors) > 0 {
		sh.pumpCursors(c)
	}
}

// Bulk reports whether the client waits for room to be given retained messages.
func (c *Client) Bulk() bool { return len(c.cursors) > 0 }

func (sh *Shard) pumpCursors(c *Client) {
	for len(c.cursors) > 0 && c.link != nil {
		k := c.cursors[0]
		if !sh.pumpCursor(c, k) {
			return
		}
		c.cursors[0] = nil
		if c.cursors = c.cursors[1:]; len(c.cursors) == 0 {
			c.cursors = nil
		}
	}
}

// pumpCursor sends while there is room and reports whether the cursor is done.
func (sh *Shard) pumpCursor(c *Client, k *cursor) (done bool) {
	for {
		for len(k.left) > 0 {
			m := k.left[0]
			// What waited may have been replaced, and its successor has gone out live.
			if now, _ := sh.Hub.Retained.Get(m.Topic); (now == m || !k.waited) && !sh.sendRetained(c, k, m) {
				k.waited = true
				return false
			}
			k.left[0] = nil
			k.left = k.left[1:]
		}
		k.waited = false
		if k.done {
			return true
		}
		if c.link == nil || !c.link.Room() {
			return false
		}
		// The index is not locked while sending: a few are read, then sent.
		k.done = k.it.Next(cursorStep, func(_ string, m *record.Message) bool {
			k.left = append(k.left, m)
			return true
		})
	}
}

// sendRetained delivers one retained message, RETAIN set [U5-3.3.1-2]; false:
// there is no room, ask again.
func (sh *Shard) sendRetained(c *Client, k *cursor, m *record.Message) bool {
	if m.Expired(sh.now) || k.noLocal && m.Publisher == c.ID || c.outside(m) || !sh.may(c, auth.Receive, m.Topic) || !sh.sourceMay(m) {
		return true
	}
	if c.link == nil || !c.link.Room() {
		return false
	}
	q := sh.Hub.Cfg().deliveryQoS(m.QoS, k.qos)
	if q > 0 && !c.S.CanStart() {
		return false
	}
	fx := sh.getFX()
	var seq uint64
	if q > 0 {
		seq = sh.Hub.nextSeq()
	}
	c.S.Deliver(m, session.Delivery{QoS: q, Retain: true, SubID: k.sub}, seq, sh.now, fx)
	sh.apply(c, fx)
	sh.putFX(fx)
	if m.Seq > k.before {
		sh.passed = append(sh.passed, passed{c: c, topic: m.Topic, seq: m.Seq, until: sh.now + passedFor})
	}
	return true
}

// passed is a retained message that changed between the moment its subscriber was
// entered into the tree and the moment the look-up began. What other loops routed
// in between is on its way to the subscriber and older.
type passed struct {
	c     *Client
	topic string
	seq   uint64
	until record.Instant
}

// passedFor is how long a loop may take, at most, to hand over what it routed.
const passedFor = 10 * record.Second

// overtaken reports whether the client has been given a newer value of a retained
// message than m is: a value never goes back.
func (sh *Shard) overtaken(c *Client, m *record.Message) bool {
	sh.passed = slices.DeleteFunc(sh.passed, func(p passed) bool { return p.until < sh.now })
	return m.Retain && slices.ContainsFunc(sh.passed, func(p passed) bool { return p.c == c && m.Seq < p.seq && p.topic == m.Topic })
}
