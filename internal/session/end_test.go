package session

import (
	"testing"

	"github.com/midgemq/midge/internal/flow"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/mqtt"
)

func TestDetach(t *testing.T) {
	tests := []struct {
		name  string
		rules Rules
		c     Connection
		e     Ending
		ended bool
		want  string
		due   record.Instant // seconds after the end of the connection, 0: never
	}{
		{"short", Rules{}, Connection{}, Ending{}, true, "", 0},
		{"short, its will is End's", Rules{}, Connection{Will: will("w", 0)}, Ending{}, true, "", 0},
		{"short and normal", Rules{}, Connection{Will: will("w", 0)}, Ending{Normal: true}, true, "", 0},
		{"stored", Rules{}, Connection{Expiry: 60}, Ending{}, false, `save v5 c "" expiry=60 since=1000`, 60},
		{"never expires", Rules{}, Connection{Expiry: NeverExpires}, Ending{}, false, `save v5 c "" expiry=4294967295 since=1000`, 0},
		{
			"will at once",
			Rules{},
			Connection{Expiry: 60, Will: will("w", 0)},
			Ending{},
			false,
			`delete will; save v5 c "" expiry=60 since=1000; publish will w`, 60,
		},
		{
			"taken over",
			Rules{},
			Connection{Expiry: 60, Will: will("w", 0)},
			Ending{TakenOver: true},
			false,
			`delete will; save v5 c "" expiry=60 since=1000; publish will w`, 60,
		},
		{"will later", Rules{}, Connection{Expiry: 60, Will: will("w", 5)}, Ending{}, false, `save v5 c "" expiry=60 since=1000`, 5},
		{"will after the end", Rules{}, Connection{Expiry: 60, Will: will("w", 70)}, Ending{}, false, `save v5 c "" expiry=60 since=1000`, 60},
		{
			"will and no end",
			Rules{},
			Connection{Expiry: NeverExpires, Will: will("w", 70)},
			Ending{},
			false,
			`save v5 c "" expiry=4294967295 since=1000`, 70,
		},
		{
			"normal",
			Rules{},
			Connection{Expiry: 60, Will: will("w", 5)},
			Ending{Normal: true},
			false,
			`delete will; save v5 c "" expiry=60 since=1000`, 60,
		},
		{"longer", Rules{}, Connection{Expiry: 60}, Ending{HasExpiry: true, Expiry: 80}, false, `save v5 c "" expiry=80 since=1000`, 80},
		{
			"longer than allowed",
			Rules{MaxExpiry: 70},
			Connection{Expiry: 60},
			Ending{HasExpiry: true, Expiry: 80},
			false,
			`save v5 c "" expiry=80 since=1000`, 70,
		},
		{"now after all", Rules{}, Connection{Expiry: 60}, Ending{HasExpiry: true}, true, "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.c.Version, tt.c.ReceiveMaximum = mqtt.V5, 1
			tr := online(t, tt.rules, tt.c)
			is(t, "due online", tr.s.Due(), 0)
			tr.s.Publish(1, mqtt.AtLeastOnce, 0, "", &tr.fx)
			is(t, "ended", tr.s.Detach(tt.e, tr.now, &tr.fx), tt.ended)
			tr.want(tt.want)
			is(t, "online", tr.s.Online(), false)
			is(t, "PUBACKs awaited", tr.s.unacked(), 0)
			if tt.ended {
				return
			}
			want := tt.due * record.Second
			if want != 0 {
				want += tr.now
			}
			is(t, "due", tr.s.Due(), want)
		})
	}
}

// TestTimer: nothing a moment too early, all at its time, and nothing online.
func TestTimer(t *testing.T) {
	c := Connection{Version: mqtt.V5, Expiry: 60, Will: will("w", 5)}
	tr := online(t, Rules{}, c)
	begin := tr.now
	is(t, "online", tr.s.Timer(begin+100*record.Second, &tr.fx), false)
	tr.want("")
	tr.s.Detach(Ending{}, begin, &tr.fx)
	tr.fx.Reset()
	step := func(at record.Instant, ended bool, want string, due record.Instant) {
		t.Helper()
		is(t, "ended", tr.s.Timer(begin+at, &tr.fx), ended)
		tr.want(want)
		is(t, "due", tr.s.Due(), begin+due)
	}
	step(5*record.Second-1, false, "", 5*record.Second)
	step(5*record.Second, false, "delete will; publish will w", 60*record.Second)
	step(5*record.Second, false, "", 60*record.Second)
	step(60*record.Second-1, false, "", 60*record.Second)
	step(60*record.Second, true, "", 60*record.Second)

	// Back in time: neither is due while online, and the will is the new connection's.
	tr = online(t, Rules{}, c)
	tr.s.Detach(Ending{}, begin, &tr.fx)
	c.Will = nil
	tr.s.Attach(&c, &tr.fx)
	tr.fx.Reset()
	is(t, "online", tr.s.Timer(begin+100*record.Second, &tr.fx), false)
	tr.want("")
	tr.s.Detach(Ending{}, begin, &tr.fx)
	tr.fx.Reset()
	step(5*record.Second, false, "", 60*record.Second)

	// Both at the same time: the end, which publishes the will.
	tr = online(t, Rules{}, Connection{Version: mqtt.V5, Expiry: 60, Will: will("w", 60)})
	tr.s.Detach(Ending{}, begin, &tr.fx)
	tr.fx.Reset()
	step(60*record.Second, true, "", 60*record.Second)
	tr.s.End(&tr.fx)
	tr.want("delete will; forget; publish will w")
}

func TestPublishWill(t *testing.T) {
	for _, expiry := range []uint32{60, 0} {
		tr := online(t, Rules{}, Connection{Version: mqtt.V5, Expiry: expiry, Will: will("w", 30)})
		tr.s.PublishWill(&tr.fx)
		if expiry > 0 {
			tr.want("delete will; publish will w")
		} else {
			tr.want("publish will w")
		}
		is(t, "will", tr.s.Will(), nil)
		tr.s.PublishWill(&tr.fx)
		tr.s.End(&tr.fx)
		if expiry > 0 {
			tr.want("forget")
		} else {
			tr.want("")
		}
	}
}

// TestEnd: QoS 1 messages of shared subscriptions go to other members, and QoS 2 ones that were not yet sent.
func TestEnd(t *testing.T) {
	tr := online(t, Rules{QueueWindow: 100}, stored(4))
	for i, d := range []Delivery{{QoS: 1, Group: "g"}, {QoS: 1}, {QoS: 2, Group: "g"}, {QoS: 2, Group: "g"}, {QoS: 1, Group: "h"}, {QoS: 1}, {QoS: 2, Group: "g"}} {
		tr.s.Deliver(message(string(rune('a'+i))), d, uint64(i+1), tr.now, &tr.fx)
	}
	tr.pubrec(3)
	tr.fx.Reset()
	tr.s.Detach(Ending{}, tr.now, &tr.fx)
	tr.fx.Reset()
	tr.s.End(&tr.fx)
	is(t, "group", tr.fx.Handed[1].Group, "h")
	tr.want("forget; hand on a; hand on e; hand on g")
	tr.counts(0, 0, 0)
	tr.s.End(&tr.fx)
	tr.want("forget")

	tr = online(t, Rules{}, Connection{Version: mqtt.V311, Will: will("w", 0)})
	tr.s.Detach(Ending{}, tr.now, &tr.fx)
	tr.s.End(&tr.fx)
	tr.want("publish will w")
}

func TestRestore(t *testing.T) {
	rules := Rules{QueueWindow: 2, MaxSubscriptions: 9}
	entry := func(seq uint64, q mqtt.QoS) record.Queued {
		return record.Queued{Msg: message("m"), Seq: seq, QoS: q}
	}
	sv := &store.Saved{
		Session: record.Session{ClientID: "c", UserName: "u", Key: testKey, Version: mqtt.V5, Expiry: 60, Disconnected: 500 * record.Second},
		Subs:    []record.Subscription{{Filter: "a"}, {Filter: "b", QoS: 2}},
		Inflight: []store.Inflight{
			{Entry: entry(1, 1), PacketID: 9, State: uint8(flow.AwaitPuback)},
			{Entry: entry(2, 2), PacketID: 4, State: uint8(flow.AwaitPubcomp)},
			{Entry: entry(3, 2), PacketID: 10, State: uint8(flow.AwaitPubrec)},
		},
		Inbound: []uint16{5, 6},
		Will:    will("w", 7),
		Queued:  3, QueuedBytes: 3, FirstSeq: 4, LastSeq: 6,
	}
	s, wasOnline := Restore(&rules, sv, 502*record.Second)
	is(t, "was online", wasOnline, false)
	tr := &trace{t: t, s: s, now: 600 * record.Second, seq: 6}
	is(t, "persistent", tr.s.Persistent(), true)
	is(t, "online", tr.s.Online(), false)
	is(t, "due", tr.s.Due(), 507*record.Second)
	is(t, "subscriptions", filters(&tr.s), "a/0 b/2")
	is(t, "open", tr.s.QoS2Open(), 2)
	is(t, "in use", tr.s.InUse(5), true)
	is(t, "in use", tr.s.InUse(6), true)
	is(t, "spilled", spilled(&tr.s), true)
	tr.counts(3, 3, 3)
	tr.deliver("x", 1)
	tr.want("enqueue 7:x q1")
	tr.s.Timer(507*record.Second, &tr.fx)
	tr.want("delete will; publish will w")
	is(t, "due", tr.s.Due(), 560*record.Second)

	c := stored(9)
	tr.s.Attach(&c, &tr.fx)
	tr.want(`save v5 c "" expiry=100`)
	tr.s.Resume(tr.now, &tr.fx)
	tr.want("PUBLISH 9 m q1 dup; PUBREL 4; PUBLISH 10 m q2 dup; read queue")
	from, _ := tr.s.QueueFrom()
	is(t, "read from", from, 4)
	tr.refill(4, 5)
	tr.want("inflight 4 id=11 puback; inflight 5 id=12 puback; PUBLISH 11 m q1; PUBLISH 12 m q1; read queue")
	tr.deliver("y", 1)
	is(t, "stalled at once", tr.fx.Stalled, 0)
	tr.now += pubcompPatience
	tr.deliver("z", 1)
	is(t, "stalled later", tr.fx.Stalled, 1)
	tr.fx.Reset()
	tr.pubcomp(4)
	tr.want("dequeue 2")
	is(t, "owed", tr.s.out.owed, 0)
}

// TestRestoreLittle: parts that are not there cost nothing, and each alone is enough to be kept.
func TestRestoreLittle(t *testing.T) {
	rules := Rules{QueueWindow: 2}
	base := record.Session{ClientID: "c", Key: testKey, Version: mqtt.V311, Expiry: NeverExpires}
	s, _ := Restore(&rules, &store.Saved{Session: base}, 5)
	is(t, "due", s.Due(), 0)
	if s.out != nil || s.in != nil || s.subs != nil {
		t.Error("memory is held for nothing")
	}
	s, _ = Restore(&rules, &store.Saved{Session: base, Queued: 1, QueuedBytes: 2, FirstSeq: 3}, 5)
	is(t, "spilled", spilled(&s), true)
	s, _ = Restore(&rules, &store.Saved{Session: base, Inflight: []store.Inflight{
		{Entry: record.Queued{Msg: message("m"), Seq: 1, QoS: 2}, PacketID: 1, State: uint8(flow.AwaitPubcomp)},
	}}, 5)
	_, _, n := s.Queued()
	is(t, "in flight", n, 1)
	is(t, "spilled", spilled(&s), false)
}

// TestReset: nothing that the effects pointed to is held after them.
func TestReset(t *testing.T) {
	fx := Effects{
		May:     func(*record.Message) bool { return false },
		Ops:     []record.Op{{Will: will("w", 0)}},
		Sends:   []Send{{Msg: message("m")}},
		Publish: []*record.Will{will("w", 0)}, Handed: []record.Queued{{Msg: message("m")}},
		NeedQueue: true, Stalled: 1,
	}
	for _, keep := range []string{"both", "publish", "handed"} {
		switch keep {
		case "publish":
			fx.Publish = append(fx.Publish, will("w", 0))
		case "handed":
			fx.Handed = append(fx.Handed, record.Queued{Msg: message("m")})
		}
		fx.Reset()
		if len(fx.Ops)+len(fx.Sends)+len(fx.Publish)+len(fx.Handed) != 0 || fx.NeedQueue || fx.Stalled != 0 || fx.May != nil {
			t.Errorf("%s: not empty: %+v", keep, fx)
		}
		if fx.Ops[:1][0].Will != nil || fx.Sends[:1][0].Msg != nil || fx.Publish[:1][0] != nil || fx.Handed[:1][0].Msg != nil {
			t.Errorf("%s: something is held", keep)
		}
		is(t, "may without a rule", fx.may(message("m")), true)
	}
}
