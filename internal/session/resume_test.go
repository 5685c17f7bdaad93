package session

import (
	"fmt"
	"testing"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// TestResume: what was open goes out again in its order with its identifiers, then what waits.
func TestResume(t *testing.T) {
	tr := online(t, Rules{QueueWindow: 10}, stored(3))
	tr.s.Deliver(message("a"), Delivery{QoS: 1, Retain: true, SubID: 4}, 1, tr.now, &tr.fx)
	tr.seq = 1
	tr.deliver("b", 2)
	tr.deliver("c", 2)
	tr.pubrec(2)
	tr.deliver("d", 1)
	tr.reconnect(stored(3))
	tr.s.Resume(tr.now, &tr.fx)
	tr.want("inflight 4 id=4 puback; PUBLISH 1 a q1 retain dup sub=4; PUBREL 2; PUBLISH 3 c q2 dup; PUBLISH 4 d q1")
	tr.s.Resume(tr.now, &tr.fx)
	tr.want("")
	tr.puback(1)
	tr.pubcomp(2)
	tr.want("dequeue 1; dequeue 2")
}

// TestResumeInTurns: a smaller window on the second connection; what waits to be sent again goes before anything new.
func TestResumeInTurns(t *testing.T) {
	tr := online(t, Rules{QueueWindow: 10}, stored(3))
	tr.fill(mqtt.AtLeastOnce, 4)
	tr.reconnect(stored(1))
	tr.s.Resume(tr.now, &tr.fx)
	tr.want("PUBLISH 1 m1 q1 dup")
	is(t, "can start", tr.s.CanStart(), false)
	tr.puback(1)
	tr.want("dequeue 1; PUBLISH 2 m2 q1 dup")
	tr.puback(2)
	tr.want("dequeue 2; PUBLISH 3 m3 q1 dup")
	tr.puback(3)
	tr.want("dequeue 3; inflight 4 id=4 puback; PUBLISH 4 m4 q1")
}

func TestResumeNothing(t *testing.T) {
	tr := online(t, Rules{}, stored(3))
	tr.s.Resume(tr.now, &tr.fx) // nothing was ever delivered
	tr.want("")
	tr.fill(mqtt.AtLeastOnce, 1)
	tr.s.Detach(Ending{}, tr.now, &tr.fx)
	tr.fx.Reset()
	tr.s.Resume(tr.now, &tr.fx) // nobody to send to
	tr.want("")
	tr.puback(1) // comes late
	tr.want("dequeue 1")
	// An acknowledgement in flight to a session whose open messages are gone.
	tr.reconnect(stored(3))
	is(t, "can start", tr.s.CanStart(), true)
	tr.deliver("m", mqtt.AtLeastOnce)
	tr.want("enqueue 2:m q1; inflight 2 id=2 puback; PUBLISH 2 m q1")
}

// TestResumeDrops: what the new connection cannot or may not get counts as delivered, and its place is free.
func TestResumeDrops(t *testing.T) {
	big := "a message too large for the second connection"
	may := func(m *record.Message) bool { return m.Topic != "secret" }
	tests := []struct {
		name string
		texts
		window uint16
		want   string
	}{
		{"none", texts{"a", "b"}, 5, "PUBLISH 1 a q1 dup; PUBLISH 2 b q1 dup"},
		{"too large", texts{big, "b"}, 5, "dequeue 1; PUBLISH 2 b q1 dup; drop too-large*1"},
		{"not permitted", texts{"a", "secret"}, 5, "dequeue 2; PUBLISH 1 a q1 dup; drop not-permitted*1"},
		{"several", texts{"secret", "a", big, "secret"}, 5, "dequeue 1; dequeue 3; dequeue 4; PUBLISH 2 a q1 dup; drop too-large*1; drop not-permitted*2"},
		{"their places are used", texts{"secret", big, "a", "b"}, 1, "dequeue 1; dequeue 2; PUBLISH 3 a q1 dup; drop too-large*1; drop not-permitted*1"},
		{"all of them", texts{"secret", "secret"}, 1, "dequeue 1; dequeue 2; inflight 3 id=3 puback; PUBLISH 3 last q1; drop not-permitted*2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := online(t, Rules{QueueWindow: 10}, stored(uint16(len(tt.texts))))
			for _, s := range tt.texts {
				tr.deliver(s, mqtt.AtLeastOnce)
			}
			if tt.name == "all of them" {
				tr.deliver("last", mqtt.AtLeastOnce)
			}
			c := stored(tt.window)
			c.MaximumPacketSize = 40
			tr.reconnect(c)
			tr.fx.May = may
			tr.s.Resume(tr.now, &tr.fx)
			tr.want(tt.want)
			is(t, "counted", sum(tr.s.Dropped()), uint64(sumDrops(tt.texts, big)))
		})
	}
}

type texts []string

func sum(n [NumDrops]uint64) (all uint64) {
	for _, v := range n {
		all += v
	}
	return all
}

func sumDrops(ts texts, big string) (n int) {
	for _, s := range ts {
		if s == "secret" || s == big {
			n++
		}
	}
	return n
}

// TestQueueDrops: what waited and may not be sent any more makes room for what comes behind it.
func TestQueueDrops(t *testing.T) {
	tr := online(t, Rules{QueueWindow: 10}, stored(1))
	tr.deliver("first", mqtt.AtLeastOnce)
	put := func(m *record.Message) {
		tr.seq++
		tr.s.Deliver(m, Delivery{QoS: 1}, tr.seq, tr.now, &tr.fx)
	}
	put(&record.Message{Topic: "old", Expires: tr.now + 5})
	put(&record.Message{Topic: "secret"})
	put(&record.Message{Topic: "kept", Expires: tr.now + 6})
	put(&record.Message{Topic: "next"})
	tr.s.Detach(Ending{}, tr.now, &tr.fx)
	put(&record.Message{Topic: "big", Payload: make([]byte, 50)})
	put(&record.Message{Topic: "last"})
	c := stored(2)
	c.MaximumPacketSize = 40
	tr.s.Attach(&c, &tr.fx)
	tr.fx.Reset()
	tr.now += 5
	tr.fx.May = func(m *record.Message) bool { return m.Topic != "secret" }
	tr.s.Resume(tr.now, &tr.fx)
	tr.want("dequeue 2; dequeue 3; inflight 4 id=2 puback; PUBLISH 1 first q1 dup; PUBLISH 2 kept q1; drop expired*1; drop not-permitted*1")
	tr.counts(3, 50, 2)
	tr.puback(1)
	tr.want("dequeue 1; inflight 5 id=3 puback; PUBLISH 3 next q1")
	tr.puback(2)
	tr.want("dequeue 4; dequeue 6; inflight 7 id=4 puback; PUBLISH 4 last q1; drop too-large*1")
	tr.counts(0, 0, 2)
}

// TestSpill: a stored session holds the first entries of its queue; the rest is read when half of them are gone.
func TestSpill(t *testing.T) {
	tr := online(t, Rules{QueueWindow: 4}, stored(1))
	is(t, "spilled at first", spilled(&tr.s), false)
	for range 5 {
		tr.deliver("m", mqtt.AtLeastOnce)
	}
	is(t, "spilled", spilled(&tr.s), false)
	for range 6 {
		tr.deliver("m", mqtt.AtLeastOnce)
	}
	is(t, "enqueued", len(tr.fx.Ops), 1+11)
	tr.fx.Reset()
	is(t, "spilled", spilled(&tr.s), true)
	is(t, "in memory", len(tr.s.out.q.items), 4)
	tr.counts(10, 10, 1)
	ack := func(id uint16, want string) {
		t.Helper()
		tr.puback(id)
		tr.want(want)
	}
	next := func(seq int) string {
		return fmt.Sprintf("dequeue %d; inflight %d id=%d puback; PUBLISH %d m q1", seq-1, seq, seq, seq)
	}
	ack(1, next(2))
	ack(2, next(3)+"; read queue")
	ack(3, next(4)) // asked already
	from, limit := tr.s.QueueFrom()
	is(t, "read from", from, 6)
	is(t, "at most", limit, 4)
	tr.refill(6, 9)
	tr.want("")
	tr.counts(7, 7, 1)
	from, _ = tr.s.QueueFrom()
	is(t, "read from", from, 10)
	ack(4, next(5))
	ack(5, next(6))
	ack(6, next(7)+"; read queue")
	ack(7, next(8))
	tr.deliver("m", mqtt.AtLeastOnce) // goes behind what is in the store
	tr.want("enqueue 12:m q1")
	from, _ = tr.s.QueueFrom()
	is(t, "read from", from, 10)
	tr.refill(10, 12)
	tr.want("")
	is(t, "spilled at last", spilled(&tr.s), false)
	tr.counts(4, 4, 1)
	for id := uint16(8); id < 12; id++ {
		ack(id, next(int(id)+1))
	}
	ack(12, "dequeue 12")
	tr.counts(0, 0, 0)
}

func entries(from, to uint64) (es []record.Queued) {
	for seq := from; seq <= to; seq++ {
		es = append(es, record.Queued{Msg: message("m"), Seq: seq, QoS: mqtt.AtLeastOnce})
	}
	return es
}

// TestRefillSends: with room in the window what was read goes out at once; offline it waits.
func TestRefillSends(t *testing.T) {
	for _, away := range []bool{false, true} {
		tr := online(t, Rules{QueueWindow: 1}, stored(2))
		tr.fill(mqtt.AtLeastOnce, 5) // 2 in flight, 1 in memory, 2 in the store
		tr.puback(1)
		tr.want("dequeue 1; inflight 3 id=3 puback; PUBLISH 3 m3 q1; read queue")
		tr.puback(2)
		tr.want("dequeue 2")
		if away {
			tr.s.Detach(Ending{}, tr.now, &tr.fx)
			tr.fx.Reset()
		}
		tr.refill(4, 4)
		if away {
			tr.want("")
			tr.counts(2, 4, 1) // the fill's texts have two bytes
			continue
		}
		tr.want("inflight 4 id=4 puback; PUBLISH 4 m q1; read queue")
		from, limit := tr.s.QueueFrom()
		is(t, "read from", from, 5)
		is(t, "at most", limit, 1)
	}
}

// TestRefillNothing: the store has less than was counted; what it lost is not asked for again, nor does it hold the
// queue's bytes for ever.
func TestRefillNothing(t *testing.T) {
	tr := online(t, Rules{QueueWindow: 1, MaxQueuedBytes: 5}, stored(1))
	tr.fill(mqtt.AtLeastOnce, 4) // 1 in flight, 1 in memory, 2 in the store
	tr.counts(3, 6, 1)
	tr.puback(1)
	tr.want("dequeue 1; inflight 2 id=2 puback; PUBLISH 2 m2 q1; read queue")
	tr.refill(1, 0)
	tr.want("")
	tr.counts(0, 0, 1)
	is(t, "spilled", spilled(&tr.s), false)
	is(t, "taken", tr.deliver("mm", mqtt.AtLeastOnce), true)
	tr.counts(1, 2, 1)
	// Online with a full window: what is in memory counts on.
	tr.fill(mqtt.AtLeastOnce, 1)
	is(t, "spilled", spilled(&tr.s), true)
	tr.refill(1, 0)
	tr.counts(1, 2, 1)
	// An answer that nobody waits for any more is left alone.
	tr.refill(8, 9)
	is(t, "spilled", spilled(&tr.s), false)
	q, _, _ := tr.s.Queued()
	is(t, "queued", q, 1)
}

// TestNoWindowGiven: QueueWindow 0 keeps one entry in memory.
func TestNoWindowGiven(t *testing.T) {
	tr := online(t, Rules{}, stored(1))
	tr.fill(mqtt.AtLeastOnce, 3)
	is(t, "spilled", spilled(&tr.s), true)
	is(t, "in memory", len(tr.s.out.q.items), 1)
	_, limit := tr.s.QueueFrom()
	is(t, "read at most", limit, 1)
}

// TestShortSessionKeepsAll: without a store everything that waits is in memory.
func TestShortSessionKeepsAll(t *testing.T) {
	tr := online(t, Rules{QueueWindow: 2}, Connection{Version: mqtt.V5, ReceiveMaximum: 1})
	tr.fill(mqtt.AtLeastOnce, 10)
	is(t, "spilled", spilled(&tr.s), false)
	tr.counts(9, 19, 1)
	for id := uint16(1); id < 10; id++ {
		tr.puback(id)
		tr.want(fmt.Sprintf("PUBLISH %d m%d q1", id+1, id+1))
	}
	tr.counts(0, 0, 1)
}

// TestQueueMemory: the queue uses its room again, forgets what left it and gives a large one back.
func TestQueueMemory(t *testing.T) {
	var q queue
	push := func(n int) {
		for range n {
			q.push(record.Queued{Msg: message("m"), Seq: 1})
			q.bytes++
		}
	}
	pop := func(n int) {
		t.Helper()
		for range n {
			if _, ok := q.pop(); !ok {
				t.Fatal("nothing to pop")
			}
		}
	}
	push(4)
	c := cap(q.items)
	for range 100 {
		push(c - q.len())
		pop(3)
		is(t, "bytes", q.bytes, int64(q.len()))
	}
	is(t, "room after steady use", cap(q.items), c)
	for i, e := range q.items[:cap(q.items)] {
		if live := i >= q.head && i < len(q.items); live != (e.Msg != nil) {
			t.Errorf("entry %d: in the queue %t, but holds a message %t", i, live, e.Msg != nil)
		}
	}
	push(c - q.len())
	pop(c - 1)
	push(1) // moves the last one to the front
	is(t, "at the front", q.head, 0)
	for i, e := range q.items[2:cap(q.items)] {
		if e.Msg != nil {
			t.Errorf("entry %d behind the queue holds a message", i+2)
		}
	}
	pop(q.len())
	is(t, "room kept", cap(q.items), c)
	if _, ok := q.pop(); ok {
		t.Error("an empty queue gave an entry")
	}
	push(3000)
	pop(3000)
	is(t, "room after a burst", cap(q.items), 0)
	q.items = make([]record.Queued, 0, 1024)
	push(1)
	pop(1)
	is(t, "largest room kept", cap(q.items), 1024)
}

// TestPublishSize compares with what the codec writes.
func TestPublishSize(t *testing.T) {
	now := 50 * record.Second
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		for q := mqtt.AtMostOnce; q <= mqtt.ExactlyOnce; q++ {
			for _, payload := range []int{0, 100, 116, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127, 16375, 16379, 16383, 3000000} {
				for _, sub := range []uint32{0, 1, 127, 128, 268435455} {
					for _, props := range []int{0, 10, 60, 118, 120, 200} {
						m := &record.Message{Topic: "ab", Payload: make([]byte, payload)}
						p := packet.Publish{QoS: q, Topic: []byte("ab"), Payload: m.Payload}
						if q > 0 {
							p.PacketID = 7
						}
						if props > 0 {
							m.Expires = now + 9*record.Second
							m.Props = packet.AppendPair(nil, "k", string(make([]byte, props)))
						}
						if v == mqtt.V5 {
							p.Props = append(p.Props, m.Props...)
							if sec, ok := m.Remaining(now); ok {
								p.Props = packet.AppendUint(p.Props, packet.PropMessageExpiry, sec)
							}
							if sub > 0 {
								p.Props = packet.AppendUint(p.Props, packet.PropSubscriptionID, sub)
							}
						}
						if got, want := PublishSize(m, v, q, sub, now), p.Size(v); got != want {
							t.Fatalf("v%d q%d payload=%d sub=%d props=%d: got %d, want %d", v, q, payload, sub, props, got, want)
						}
					}
				}
			}
		}
	}
}
