package storetest

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/midgemq/midge/internal/record"
)

// model is the contract carried out in the plainest way: what an engine must
// hold after the batches that completed.
type model struct {
	sessions map[record.SessionKey]*modelSession
	retained map[string]*record.Message
}

type modelSession struct {
	rec     record.Session
	subs    map[string]record.Subscription
	queue   []*modelEntry // by seq
	flights []*modelEntry // by first sending
	last    uint64        // the highest seq ever
	inbound map[uint16]bool
	will    *record.Will
}

type modelEntry struct {
	record.Queued
	flight bool
	id     uint16
	state  uint8
}

func newModel() *model {
	return &model{sessions: map[record.SessionKey]*modelSession{}, retained: map[string]*record.Message{}}
}

func (m *model) apply(ops []record.Op) {
	for i := range ops {
		m.applyOne(&ops[i])
	}
}

func (m *model) applyOne(op *record.Op) {
	switch op.Kind {
	case record.PutSession:
		x := m.sessions[op.Session.Key]
		if x == nil {
			x = &modelSession{subs: map[string]record.Subscription{}, inbound: map[uint16]bool{}}
			m.sessions[op.Session.Key] = x
		}
		x.rec = *op.Session
		return
	case record.PutRetained:
		m.retained[op.Entry.Msg.Topic] = op.Entry.Msg
		return
	case record.DeleteRetained:
		delete(m.retained, op.Filter)
		return
	case record.DeleteSession:
		delete(m.sessions, op.Key)
		return
	default:
		if x := m.sessions[op.Key]; x != nil {
			x.apply(op)
		}
	}
}

func (x *modelSession) apply(op *record.Op) {
	switch op.Kind {
	case record.PutSubscription:
		x.subs[op.Sub.Filter] = *op.Sub
	case record.DeleteSubscription:
		delete(x.subs, op.Filter)
	case record.Enqueue:
		x.last = max(x.last, op.Entry.Seq)
		x.queue = append(x.queue, &modelEntry{Queued: op.Entry})
		slices.SortStableFunc(x.queue, func(a, b *modelEntry) int { return cmp.Compare(a.Seq, b.Seq) })
	case record.PutInflight:
		for _, e := range x.queue {
			if e.Seq == op.Seq {
				if !e.flight {
					x.flights = append(x.flights, e)
				}
				e.flight, e.id, e.state = true, op.PacketID, op.State
			}
		}
	case record.Dequeue:
		hit := func(e *modelEntry) bool { return e.Seq == op.Seq }
		x.queue = slices.DeleteFunc(x.queue, hit)
		x.flights = slices.DeleteFunc(x.flights, hit)
	case record.PutInbound:
		x.inbound[op.PacketID] = true
	case record.DeleteInbound:
		delete(x.inbound, op.PacketID)
	case record.PutWill:
		x.will = op.Will
	case record.DeleteWill:
		x.will = nil
	default: // not a session's own
	}
}

// waiting is what ReadQueue must give.
func (x *modelSession) waiting(from uint64, max int) []record.Queued {
	var out []record.Queued
	for _, e := range x.queue {
		if e.Seq >= from && !e.flight && len(out) < max {
			out = append(out, e.Queued)
		}
	}
	return out
}

// dump writes all of the model as lines that dumpStore writes alike.
func (m *model) dump(restarted bool) []string {
	var out []string
	for key, x := range m.sessions {
		p := fmt.Sprintf("session %d ", key)
		out = append(out, p+sessionText(&x.rec, restarted))
		for _, s := range x.subs {
			out = append(out, p+subText(&s))
		}
		for i, e := range x.flights {
			out = append(out, p+flightText(i, &e.Queued, e.id, e.state, restarted))
		}
		for id := range x.inbound {
			out = append(out, p+inboundText(id))
		}
		if x.will != nil {
			out = append(out, p+willText(x.will, restarted))
		}
		w := x.waiting(0, len(x.queue))
		var n int64
		for i := range w {
			n += int64(len(w[i].Msg.Payload))
			out = append(out, p+queuedText(i, &w[i], restarted))
		}
		out = append(out, p+sumText(len(w), n))
		if len(w) > 0 {
			out = append(out, p+firstText(w[0].Seq))
		}
		if x.last > 0 {
			out = append(out, p+lastText(x.last))
		}
	}
	for _, r := range m.retained {
		out = append(out, retainedText(r, restarted))
	}
	slices.Sort(out)
	return out
}

// The texts below are what two holders of the same data agree on. After a
// restart instants are on another time line: only whether there is one counts.

func instantText(t record.Instant, restarted bool) string {
	if restarted {
		return fmt.Sprint(t != 0)
	}
	return fmt.Sprint(int64(t))
}

func messageText(m *record.Message, restarted bool) string {
	if m == nil {
		return "no message"
	}
	h := fnv.New64a()
	h.Write(m.Payload)
	return fmt.Sprintf("topic=%q payload=%d/%x props=%x publisher=%q/%q msgseq=%d expires=%s at=%s qos=%d retain=%t",
		m.Topic, len(m.Payload), h.Sum64(), m.Props, m.Publisher, m.PublisherUser, m.Seq, instantText(m.Expires, restarted), instantText(m.At, restarted), m.QoS, m.Retain)
}

func entryText(q *record.Queued, restarted bool) string {
	return fmt.Sprintf("seq=%d subid=%d qos=%d retain=%t group=%q %s", q.Seq, q.SubID, q.QoS, q.Retain, q.Group, messageText(q.Msg, restarted))
}

func sessionText(s *record.Session, restarted bool) string {
	t := fmt.Sprintf("record key=%d client=%q user=%q expiry=%d version=%d", s.Key, s.ClientID, s.UserName, s.Expiry, s.Version)
	if !restarted { // an engine may count every session as disconnected from its start on
		t += " disconnected=" + instantText(s.Disconnected, restarted)
	}
	return t
}

func subText(s *record.Subscription) string {
	return fmt.Sprintf("subscription %q id=%d qos=%d nolocal=%t rap=%t", s.Filter, s.ID, s.QoS, s.NoLocal, s.RetainAsPublished)
}

func flightText(i int, q *record.Queued, id uint16, state uint8, restarted bool) string {
	return fmt.Sprintf("inflight %04d id=%d state=%d %s", i, id, state, entryText(q, restarted))
}

func queuedText(i int, q *record.Queued, restarted bool) string {
	return fmt.Sprintf("queued %06d %s", i, entryText(q, restarted))
}

func willText(w *record.Will, restarted bool) string {
	return fmt.Sprintf("will delay=%d expiry=%d/%t %s", w.Delay, w.Expiry, w.HasExpiry, messageText(w.Msg, restarted))
}

func inboundText(id uint16) string { return fmt.Sprintf("inbound %d", id) }

func sumText(n int, bytes int64) string { return fmt.Sprintf("waiting %d entries %d bytes", n, bytes) }

func firstText(seq uint64) string { return fmt.Sprintf("waiting from %d", seq) }

func lastText(seq uint64) string { return fmt.Sprintf("up to %d", seq) }

func retainedText(m *record.Message, restarted bool) string {
	return "retained " + messageText(m, restarted)
}
