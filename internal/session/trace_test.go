package session

import (
	"fmt"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/flow"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// trace drives one session and shows what its steps ask for as text, whole: what is not in the text was not asked for.
type trace struct {
	t   *testing.T
	s   Session
	fx  Effects
	now record.Instant
	seq uint64
}

const testKey = 77

// fresh makes a session that has never been connected.
func fresh(t *testing.T, r Rules) *trace {
	t.Helper()
	if r.MaxSubscriptions == 0 {
		r.MaxSubscriptions = 100
	}
	return &trace{t: t, s: New(&r, testKey, "c"), now: 1000 * record.Second}
}

// online makes a session and its first connection, whose effects it drops.
func online(t *testing.T, r Rules, c Connection) *trace {
	t.Helper()
	tr := fresh(t, r)
	tr.s.Attach(&c, &tr.fx)
	tr.fx.Reset()
	return tr
}

// stored is a connection of a session that outlives it by 100 s.
func stored(recvMax uint16) Connection {
	return Connection{Version: mqtt.V5, Expiry: 100, Asked: 100, ReceiveMaximum: recvMax}
}

// want compares what the steps since the last want asked for, and forgets it.
func (tr *trace) want(want string) {
	tr.t.Helper()
	if got := tr.show(); got != want {
		tr.t.Errorf("effects\n got: %s\nwant: %s", got, want)
	}
	tr.fx.Reset()
}

func is[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// message makes a message whose topic is its payload.
func message(text string) *record.Message {
	return &record.Message{Topic: text, Payload: []byte(text)}
}

// deliver gives the session a message under the next sequence number.
func (tr *trace) deliver(text string, q mqtt.QoS) bool {
	tr.seq++
	return tr.s.Deliver(message(text), Delivery{QoS: q}, tr.seq, tr.now, &tr.fx)
}

// fill delivers messages named by their sequence numbers and drops the effects.
func (tr *trace) fill(q mqtt.QoS, n int) {
	for range n {
		tr.deliver(fmt.Sprint("m", tr.seq+1), q)
	}
	tr.fx.Reset()
}

// refill brings what NeedQueue asked for: the entries from..to; with to below from
// nothing, although the store was read as far as it was counted.
func (tr *trace) refill(from, to uint64) {
	first, _ := tr.s.QueueFrom()
	upTo := to
	if to < from {
		upTo = max(tr.s.out.q.last, first)
	}
	tr.s.Refill(entries(from, to), first, upTo, tr.now, &tr.fx)
}

// spilled reports whether part of the queue is in the store alone.
func spilled(s *Session) bool { return s.out != nil && s.out.q.spilled > 0 }

func (tr *trace) puback(id uint16) bool { return tr.s.Puback(id, tr.now, &tr.fx) }
func (tr *trace) pubrec(id uint16) bool { return tr.s.Pubrec(id, mqtt.Success, tr.now, &tr.fx) }
func (tr *trace) pubcomp(id uint16) bool {
	return tr.s.Pubcomp(id, tr.now, &tr.fx)
}

// reconnect closes the connection and opens another; the effects of both are dropped.
func (tr *trace) reconnect(c Connection) {
	tr.t.Helper()
	if tr.s.Online() && tr.s.Detach(Ending{}, tr.now, &tr.fx) {
		tr.t.Fatal("the session ended with its connection")
	}
	tr.s.Attach(&c, &tr.fx)
	tr.fx.Reset()
}

func (tr *trace) show() string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for i := range tr.fx.Ops {
		op := &tr.fx.Ops[i]
		s := showOp(op)
		if op.Key != testKey {
			s += fmt.Sprintf(" of session %d", op.Key)
		}
		out = append(out, s)
	}
	for i := range tr.fx.Sends {
		out = append(out, showSend(&tr.fx.Sends[i]))
	}
	for _, w := range tr.fx.Publish {
		add("publish will %s", w.Msg.Topic)
	}
	for _, e := range tr.fx.Handed {
		add("hand on %s", e.Msg.Topic)
	}
	for why, n := range tr.fx.Drops {
		if n > 0 {
			add("drop %s*%d", Drop(why), n)
		}
	}
	if tr.fx.NeedQueue {
		add("read queue")
	}
	if tr.fx.Stalled > 0 {
		add("stalled %d", tr.fx.Stalled)
	}
	return strings.Join(out, "; ")
}

var stateNames = map[flow.State]string{flow.AwaitPuback: "puback", flow.AwaitPubrec: "pubrec", flow.AwaitPubcomp: "pubcomp"}

func showOp(op *record.Op) string {
	switch op.Kind {
	case record.PutSession:
		r := op.Session
		s := fmt.Sprintf("save v%d %s %q expiry=%d", r.Version, r.ClientID, r.UserName, r.Expiry)
		if r.Disconnected != 0 {
			s += fmt.Sprintf(" since=%d", r.Disconnected/record.Second)
		}
		if r.Key != testKey {
			s += fmt.Sprintf(" key=%d", r.Key)
		}
		return s
	case record.DeleteSession:
		return "forget"
	case record.PutSubscription:
		return "save sub " + op.Sub.Filter
	case record.DeleteSubscription:
		return "delete sub " + op.Filter
	case record.Enqueue:
		e := op.Entry
		return fmt.Sprintf("enqueue %d:%s", e.Seq, showMsg(e.Msg, e.QoS, e.Retain, false, e.SubID)+groupOf(e.Group))
	case record.PutInflight:
		return fmt.Sprintf("inflight %d id=%d %s", op.Seq, op.PacketID, stateNames[flow.State(op.State)])
	case record.Dequeue:
		return fmt.Sprintf("dequeue %d", op.Seq)
	case record.PutInbound:
		return fmt.Sprintf("save in %d", op.PacketID)
	case record.DeleteInbound:
		return fmt.Sprintf("delete in %d", op.PacketID)
	case record.PutWill:
		return "save will " + op.Will.Msg.Topic
	case record.DeleteWill:
		return "delete will"
	default:
		return fmt.Sprintf("op %d", op.Kind)
	}
}

func groupOf(g string) string {
	if g == "" {
		return ""
	}
	return " group=" + g
}

func showMsg(m *record.Message, q mqtt.QoS, retain, dup bool, sub uint32) string {
	s := fmt.Sprintf("%s q%d", m.Topic, q)
	if retain {
		s += " retain"
	}
	if dup {
		s += " dup"
	}
	if sub != 0 {
		s += fmt.Sprintf(" sub=%d", sub)
	}
	return s
}

func showSend(s *Send) string {
	out := s.Type.String()
	if s.PacketID != 0 {
		out += fmt.Sprintf(" %d", s.PacketID)
	}
	if s.Type == packet.PUBLISH {
		return out + " " + showMsg(s.Msg, s.QoS, s.Retain, s.Dup, s.SubID)
	}
	if s.Code != 0 {
		out += fmt.Sprintf(" %02x", byte(s.Code))
	}
	if s.Codes != nil {
		out += fmt.Sprintf(" [% x]", s.Codes)
	}
	if s.Reason != "" {
		out += fmt.Sprintf(" %q", s.Reason)
	}
	return out
}
