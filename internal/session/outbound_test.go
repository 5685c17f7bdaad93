package session

import (
	"testing"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/mqtt"
)

// counts compares what Queued returns.
func (tr *trace) counts(queued int, bytes int64, inflight int) {
	tr.t.Helper()
	q, b, n := tr.s.Queued()
	if q != queued || b != bytes || n != inflight {
		tr.t.Errorf("%d queued, %d bytes, %d in flight; want %d, %d, %d", q, b, n, queued, bytes, inflight)
	}
}

func TestDeliverAtMostOnce(t *testing.T) {
	m := func(expires record.Instant) *record.Message {
		return &record.Message{Topic: "a", Payload: []byte("12345"), Expires: expires * record.Second}
	}
	tests := []struct {
		name  string
		most  uint32 // maximum packet size
		away  bool
		m     *record.Message
		d     Delivery
		taken bool
		want  string
	}{
		{"sent", 0, false, m(0), Delivery{}, true, "PUBLISH a q0"},
		{"as asked", 0, false, m(0), Delivery{Retain: true, SubID: 3}, true, "PUBLISH a q0 retain sub=3"},
		{"fits", 11, false, m(0), Delivery{}, true, "PUBLISH a q0"},
		{"does not fit", 10, false, m(0), Delivery{}, true, "drop too-large*1"},
		{"not expired", 0, false, m(1001), Delivery{}, true, "PUBLISH a q0"},
		{"expired", 0, false, m(1000), Delivery{}, false, ""},
		{"away", 0, true, m(0), Delivery{}, false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := online(t, Rules{MaxInflight: 5}, Connection{Version: mqtt.V5, Expiry: 9, MaximumPacketSize: tt.most})
			if tt.away {
				tr.s.Detach(Ending{}, tr.now, &tr.fx)
				tr.fx.Reset()
			}
			is(t, "taken", tr.s.Deliver(tt.m, tt.d, 1, tr.now, &tr.fx), tt.taken)
			tr.want(tt.want)
			tr.counts(0, 0, 0)
		})
	}
}

func TestDeliver(t *testing.T) {
	all := Delivery{QoS: mqtt.ExactlyOnce, Retain: true, SubID: 3, Group: "g"}
	tests := []struct {
		name   string
		expiry uint32
		most   uint32
		away   bool
		d      Delivery
		life   record.Instant // expires after so long, 0: never
		taken  bool
		want   string
	}{
		{"QoS 1", 9, 0, false, Delivery{QoS: 1}, 0, true, "enqueue 4:a q1; inflight 4 id=1 puback; PUBLISH 1 a q1"},
		{"QoS 2", 9, 0, false, all, 0, true, "enqueue 4:a q2 retain sub=3 group=g; inflight 4 id=1 pubrec; PUBLISH 1 a q2 retain sub=3"},
		{"short session", 0, 0, false, all, 0, true, "PUBLISH 1 a q2 retain sub=3"},
		{"fits", 9, 13, false, Delivery{QoS: 1}, 0, true, "enqueue 4:a q1; inflight 4 id=1 puback; PUBLISH 1 a q1"},
		{"does not fit", 9, 12, false, Delivery{QoS: 1}, 0, true, "drop too-large*1"},
		{"expired", 9, 0, false, Delivery{QoS: 1}, -1, true, "drop expired*1"},
		{"not expired", 0, 0, false, Delivery{QoS: 1}, 1, true, "PUBLISH 1 a q1"},
		{"away", 9, 0, true, all, 0, true, "enqueue 4:a q2 retain sub=3 group=g"},
		{"away, size is for later", 9, 12, true, Delivery{QoS: 1}, 0, true, "enqueue 4:a q1"},
		{"away and short", 0, 0, true, all, 0, false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := online(t, Rules{MaxInflight: 5, QueueWindow: 10}, Connection{Version: mqtt.V5, Expiry: tt.expiry, MaximumPacketSize: tt.most})
			if tt.away {
				tr.s.Detach(Ending{}, tr.now, &tr.fx)
				tr.fx.Reset()
			}
			m := &record.Message{Topic: "a", Payload: []byte("12345")}
			if tt.life != 0 {
				m.Expires = tr.now + tt.life
			}
			is(t, "taken", tr.s.Deliver(m, tt.d, 4, tr.now, &tr.fx), tt.taken)
			tr.want(tt.want)
			if tt.away && tt.taken {
				tr.counts(1, 5, 0)
			}
		})
	}
}

// TestWindowAndQueue follows messages through a window of two: the third waits, whatever is free behind a gap.
func TestWindowAndQueue(t *testing.T) {
	tr := online(t, Rules{QueueWindow: 10}, stored(2))
	tr.deliver("a", 1)
	tr.deliver("b", 2)
	tr.want("enqueue 1:a q1; inflight 1 id=1 puback; enqueue 2:b q2; inflight 2 id=2 pubrec; PUBLISH 1 a q1; PUBLISH 2 b q2")
	is(t, "can start", tr.s.CanStart(), false)
	tr.deliver("ccc", 1)
	tr.deliver("d", 1)
	tr.want("enqueue 3:ccc q1; enqueue 4:d q1")
	tr.counts(2, 4, 2)
	is(t, "PUBACK", tr.puback(1), true)
	tr.want("dequeue 1; inflight 3 id=3 puback; PUBLISH 3 ccc q1")
	tr.counts(1, 1, 2)
	is(t, "PUBREC", tr.pubrec(2), true)
	tr.want("inflight 2 id=2 pubcomp; PUBREL 2")
	is(t, "PUBREC again", tr.pubrec(2), true)
	tr.want("PUBREL 2")
	is(t, "PUBCOMP", tr.pubcomp(2), true)
	tr.want("dequeue 2; inflight 4 id=4 puback; PUBLISH 4 d q1")
	is(t, "can start", tr.s.CanStart(), false)
	tr.puback(3)
	tr.puback(4)
	tr.want("dequeue 3; dequeue 4")
	tr.counts(0, 0, 0)
	is(t, "can start", tr.s.CanStart(), true)
}

// TestQueueKeepsOrder: what comes while something waits does not overtake it, even with room in the window.
func TestQueueKeepsOrder(t *testing.T) {
	tr := online(t, Rules{QueueWindow: 10}, stored(2))
	tr.fill(mqtt.AtLeastOnce, 2)
	tr.s.Detach(Ending{}, tr.now, &tr.fx)
	tr.fill(mqtt.AtLeastOnce, 1)
	tr.s.Attach(&Connection{Version: mqtt.V5, Expiry: 100, ReceiveMaximum: 5}, &tr.fx)
	tr.fx.Reset()
	is(t, "can start before Resume", tr.s.CanStart(), false)
	tr.deliver("late", mqtt.AtLeastOnce)
	tr.want("enqueue 4:late q1")
	tr.s.Resume(tr.now, &tr.fx)
	tr.want("inflight 3 id=3 puback; inflight 4 id=4 puback; PUBLISH 1 m1 q1 dup; PUBLISH 2 m2 q1 dup; PUBLISH 3 m3 q1; PUBLISH 4 late q1")
	is(t, "can start", tr.s.CanStart(), true)

	// The same with nothing to send again: the queue alone holds it back.
	tr = online(t, Rules{QueueWindow: 10}, stored(2))
	tr.s.Detach(Ending{}, tr.now, &tr.fx)
	tr.fill(mqtt.AtLeastOnce, 1)
	is(t, "can start while away", tr.s.CanStart(), false)
	c := stored(2)
	tr.s.Attach(&c, &tr.fx)
	tr.fx.Reset()
	is(t, "can start before Resume", tr.s.CanStart(), false)
	tr.deliver("late", mqtt.AtLeastOnce)
	tr.want("enqueue 2:late q1")
}

// TestWindowOfMQTT3: PUBREC gives the place back, and the identifier stays taken.
func TestWindowOfMQTT3(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		tr := online(t, Rules{MaxInflight: 1}, Connection{Version: v})
		tr.deliver("a", 2)
		tr.deliver("b", 2)
		tr.want("PUBLISH 1 a q2")
		tr.pubrec(1)
		if v == mqtt.V5 {
			tr.want("PUBREL 1")
			tr.pubcomp(1)
			tr.want("PUBLISH 2 b q2")
			continue
		}
		tr.want("PUBREL 1; PUBLISH 2 b q2")
		tr.counts(0, 0, 2)
		tr.pubcomp(1)
		tr.want("")
		tr.counts(0, 0, 1)
	}
}

// TestAcks are acknowledgements that fit nothing, or fit something else.
func TestAcks(t *testing.T) {
	tests := []struct {
		name string
		open mqtt.QoS // of the message under identifier 1; 0: none
		rel  bool     // it has its PUBREC
		ack  func(tr *trace) bool
		ok   bool
		want string
	}{
		{"PUBACK, nothing ever sent", 0, false, func(tr *trace) bool { return tr.puback(1) }, true, ""},
		{"PUBCOMP, nothing ever sent", 0, false, func(tr *trace) bool { return tr.pubcomp(1) }, true, ""},
		{"PUBREC, nothing ever sent", 0, false, func(tr *trace) bool { return tr.pubrec(1) }, true, "PUBREL 1 92"},
		{"PUBACK of another", 1, false, func(tr *trace) bool { return tr.puback(2) }, true, ""},
		{"PUBCOMP of another", 2, false, func(tr *trace) bool { return tr.pubcomp(2) }, true, ""},
		{"PUBREC of another", 2, false, func(tr *trace) bool { return tr.pubrec(2) }, true, "PUBREL 2 92"},
		{"refusing PUBREC of another", 2, false, func(tr *trace) bool { return tr.s.Pubrec(2, mqtt.QuotaExceeded, tr.now, &tr.fx) }, true, ""},
		{"PUBACK for QoS 2", 2, false, func(tr *trace) bool { return tr.puback(1) }, false, ""},
		{"PUBACK for PUBREL", 2, true, func(tr *trace) bool { return tr.puback(1) }, false, ""},
		{"PUBREC for QoS 1", 1, false, func(tr *trace) bool { return tr.pubrec(1) }, false, ""},
		{"PUBCOMP for QoS 1", 1, false, func(tr *trace) bool { return tr.pubcomp(1) }, false, ""},
		{"PUBCOMP before PUBREC", 2, false, func(tr *trace) bool { return tr.pubcomp(1) }, false, ""},
		{
			"refusing PUBREC", 2, false, func(tr *trace) bool { return tr.s.Pubrec(1, mqtt.QuotaExceeded, tr.now, &tr.fx) }, true,
			"dequeue 1; inflight 2 id=2 puback; PUBLISH 2 next q1",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := online(t, Rules{QueueWindow: 10}, stored(1))
			if tt.open > 0 {
				tr.deliver("a", tt.open)
				tr.deliver("next", mqtt.AtLeastOnce)
			}
			if tt.rel {
				tr.pubrec(1)
			}
			tr.fx.Reset()
			is(t, "ok", tt.ack(tr), tt.ok)
			tr.want(tt.want)
		})
	}
}

func TestQueueLimits(t *testing.T) {
	tests := []struct {
		name   string
		rules  Rules
		away   bool
		taken  int // of 6 messages of 2 bytes, with a window of 1
		reason string
	}{
		{"none", Rules{}, false, 6, ""},
		{"count", Rules{MaxQueued: 3}, false, 4, "drop queue-count*2"},
		{"count, away: what is in flight counts", Rules{MaxQueued: 3}, true, 3, "drop queue-count*3"},
		{"bytes", Rules{MaxQueuedBytes: 5}, false, 4, "drop queue-bytes*2"},
		{"bytes, reached exactly", Rules{MaxQueuedBytes: 4}, false, 3, "drop queue-bytes*3"},
		{"bytes, away: what is in flight does not count", Rules{MaxQueuedBytes: 4}, true, 3, "drop queue-bytes*3"},
		{"both", Rules{MaxQueued: 1, MaxQueuedBytes: 1000}, false, 2, "drop queue-count*4"},
	}
	for _, tt := range tests {
		for _, expiry := range []uint32{0, 100} {
			if tt.away && expiry == 0 {
				continue
			}
			t.Run(tt.name, func(t *testing.T) {
				tt.rules.QueueWindow = 100
				tr := online(t, tt.rules, Connection{Version: mqtt.V5, Expiry: expiry, ReceiveMaximum: 1})
				var taken int
				for i := range 6 {
					if tr.deliver("mm", mqtt.AtLeastOnce) {
						taken++
					} else if i == 0 {
						t.Error("the first was refused")
					}
					if i == 0 && tt.away {
						tr.s.Detach(Ending{}, tr.now, &tr.fx)
					}
				}
				is(t, "taken", taken, tt.taken)
				tr.fx.Ops, tr.fx.Sends = nil, nil
				tr.want(tt.reason)
				q, b, n := tr.s.Queued()
				is(t, "queued", q, taken-1)
				is(t, "bytes", b, int64(2*q))
				is(t, "in flight", n, 1)
			})
		}
	}
}

func TestDropCounts(t *testing.T) {
	tr := online(t, Rules{MaxQueued: 1}, stored(1))
	is(t, "at first", tr.s.Dropped(), [NumDrops]uint64{})
	for range 4 {
		tr.deliver("m", mqtt.AtLeastOnce)
	}
	tr.s.CountDrop(DropOutputBytes)
	is(t, "then", tr.s.Dropped(), [NumDrops]uint64{DropQueueCount: 2, DropOutputBytes: 1})
	is(t, "of this step", tr.fx.Drops, [NumDrops]uint32{DropQueueCount: 2})
	tr.fx.Reset()
	is(t, "after Reset", tr.fx.Drops, [NumDrops]uint32{})
}

func TestDropNames(t *testing.T) {
	seen := map[string]bool{}
	for d := range NumDrops {
		if s := d.String(); s == "" || seen[s] {
			t.Errorf("cause %d is called %q", d, s)
		} else {
			seen[s] = true
		}
	}
}

// TestStalled: a subscriber that owes PUBCOMPs is reported once per connection, ten seconds after it last sent one.
func TestStalled(t *testing.T) {
	tr := online(t, Rules{MaxInflight: 10}, Connection{Version: mqtt.V311, Expiry: NeverExpires})
	say := func(after record.Instant, want int) {
		t.Helper()
		tr.now += after
		tr.deliver("m", mqtt.AtLeastOnce)
		is(t, "stalled", tr.fx.Stalled, want)
		tr.fx.Reset()
	}
	for range 3 {
		tr.deliver("m", mqtt.ExactlyOnce)
	}
	tr.fx.Reset()
	say(pubcompPatience, 0) // a missing PUBREC is another matter
	tr.pubrec(1)
	tr.now += pubcompPatience - 1
	tr.pubrec(2) // owes another: that is no progress
	tr.fx.Reset()
	say(0, 0)
	say(1, 2)
	say(pubcompPatience, 0) // said once
	tr.s.Detach(Ending{}, tr.now, &tr.fx)
	tr.s.Attach(&Connection{Version: mqtt.V311, Expiry: NeverExpires}, &tr.fx)
	tr.s.Resume(tr.now, &tr.fx)
	tr.fx.Reset()
	say(0, 0) // the next connection owes them still, and has its own time
	say(pubcompPatience-1, 0)
	say(1, 2)
	tr.s.Detach(Ending{}, tr.now, &tr.fx)
	tr.fx.Reset()
	say(pubcompPatience, 0) // nobody is there
	say(pubcompPatience, 0)
	tr.reconnect(Connection{Version: mqtt.V311, Expiry: NeverExpires})
	tr.s.Resume(tr.now, &tr.fx)
	tr.fx.Reset()
	say(0, 0)
	tr.now += pubcompPatience - 1
	tr.pubcomp(1) // progress
	tr.fx.Reset()
	say(pubcompPatience-1, 0)
	tr.pubcomp(2)
	tr.fx.Reset()
	say(pubcompPatience, 0) // owes nothing
	tr.pubrec(3)
	say(pubcompPatience-1, 0)
	say(1, 1)
}
