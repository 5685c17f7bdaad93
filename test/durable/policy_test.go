package durable

import (
	"fmt"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/session"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/memstore"
	"github.com/midgemq/midge/internal/testkit/rawmqtt"
	"github.com/midgemq/midge/internal/testkit/sim"
	"github.com/midgemq/midge/mqtt"
)

// held is an engine that completes when it is told to, as a slow disk does.
type held struct {
	*memstore.Store
	work []func()
	stop bool // completions wait
}

func (h *held) Immediate() bool { return false }

func (h *held) later(f func()) {
	if h.work = append(h.work, f); !h.stop {
		h.release()
	}
}

func (h *held) release() {
	for len(h.work) > 0 {
		f := h.work[0]
		h.work = h.work[1:]
		f()
	}
}

func (h *held) Commit(b *store.Batch, l store.Level, done func(error)) {
	h.later(func() { h.Store.Commit(b, l, done) })
}

func (h *held) ReadQueue(key record.SessionKey, from uint64, max int, done func([]record.Queued, error)) {
	h.later(func() { h.Store.ReadQueue(key, from, max, done) })
}

// bench is a broker with raw clients.
type bench struct {
	t  *testing.T
	st *held
	e  *sim.Engine
}

func newBench(t *testing.T, change func(*hub.Config)) *bench {
	cfg := &hub.Config{
		Rules:           session.Rules{MaxInflight: 20, MaxSubscriptions: 100, QueueWindow: 3, Unload: true},
		RetainAvailable: true, AllowDuplicates: true, MaxOutput: 1 << 20, Level: store.Flush, AssignedID: func() string { return "x" }, ConnectTimeout: 30 * record.Second,
	}
	if change != nil {
		change(cfg)
	}
	b := &bench{t: t, st: &held{Store: memstore.New()}}
	b.e = sim.New(cfg, &hub.Listener{AllowAnonymous: true, MaxQoS: mqtt.ExactlyOnce}, logging.Discard(), b.st, 2)
	return b
}

func (b *bench) release() {
	b.st.stop = false
	b.st.release()
	b.e.Settle()
}

type peer struct {
	b     *bench
	p     *sim.Pipe
	level byte
}

func (b *bench) connect(level byte, id string) *peer {
	c := &peer{b, b.e.Open(nil), level}
	k := rawmqtt.Packet{Type: rawmqtt.CONNECT, Connect: &rawmqtt.Connect{Name: "MQTT", Level: level, ClientID: id}}
	if level == rawmqtt.V5 {
		k.Props = rawmqtt.Props{{ID: 0x11, Num: 3600}}
	}
	c.send(k)
	return c
}

func (c *peer) send(k rawmqtt.Packet) {
	c.p.Feed(k.Encode(c.level))
	c.b.e.Settle()
}

func (c *peer) publish(topic string, qos byte, id uint16, flags byte) {
	c.send(rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: qos<<1 | flags, ID: id, Topic: topic, Payload: []byte("payload")})
}

func (c *peer) subscribe(filter string, qos byte) {
	c.send(rawmqtt.Packet{Type: rawmqtt.SUBSCRIBE, Flags: 2, ID: 1, Filters: []rawmqtt.Filter{{Filter: filter, Options: qos}}})
}

// got reads what came, in short.
func (c *peer) got() (list []string) {
	c.b.t.Helper()
	for b := c.p.Output(); len(b) > 0; {
		raw, rest, err := rawmqtt.Split(b)
		if err != nil {
			c.b.t.Fatal(err)
		}
		b = rest
		k, err := rawmqtt.Decode(c.level, raw, true)
		if err != nil {
			c.b.t.Fatal(err)
		}
		s := rawmqtt.TypeName(k.Type)
		if k.Type == rawmqtt.PUBLISH {
			s += " " + k.Topic
		} else if k.Reason != 0 {
			s += fmt.Sprintf(" 0x%02X", k.Reason)
		}
		list = append(list, s)
	}
	return list
}

func (c *peer) want(list ...string) {
	c.b.t.Helper()
	if got := c.got(); fmt.Sprint(got) != fmt.Sprint(list) {
		c.b.t.Fatalf("got %q, want %q", got, list)
	}
}

// away makes a session that is not connected.
func (b *bench) away(id, filter string) {
	b.t.Helper()
	c := b.connect(rawmqtt.V5, id)
	c.subscribe(filter, 2)
	c.want("CONNACK", "SUBACK")
	c.p.Hangup(nil)
	b.e.Settle()
}

// TestRefuse: a full queue is not filled further; MQTT 5 is told, 3.1.1 waits, is
// taken when there is room, or ends without an acknowledgement.
func TestRefuse(t *testing.T) {
	b := newBench(t, func(c *hub.Config) { c.Refuse, c.Rules.MaxQueued = true, 2 })
	b.away("s", "t")
	p5, p3 := b.connect(rawmqtt.V5, "p5"), b.connect(rawmqtt.V311, "p3")
	p5.publish("t", 1, 1, 0)
	p5.publish("t", 2, 2, 0)
	p5.want("CONNACK", "PUBACK", "PUBREC")
	p5.publish("t", 1, 3, 0)
	p5.publish("t", 2, 4, 0)
	p5.publish("other", 1, 5, 0)
	p5.want("PUBACK 0x97", "PUBREC 0x97", "PUBACK 0x10")
	p3.publish("t", 1, 1, 0)
	b.e.Advance(3 * time.Second)
	p3.want("CONNACK")
	s := b.connect(rawmqtt.V5, "s") // takes what waits
	s.want("CONNACK", "PUBLISH t", "PUBLISH t")
	b.e.Advance(time.Second)
	p3.want("PUBACK")
	s.want("PUBLISH t")
	s.p.Hangup(nil)
	p3.publish("t", 1, 2, 0)
	b.e.Advance(5 * time.Second)
	if p3.want(); p3.p.Over() {
		t.Fatal("closed at once")
	}
	b.e.Advance(6 * time.Second)
	if p3.want(); !p3.p.Over() {
		t.Fatal("the publisher waits for ever")
	}
}

// TestTrouble: nothing that would have to be stored is taken while storage fails;
// the rest goes on.
func TestTrouble(t *testing.T) {
	b := newBench(t, nil)
	b.away("s", "t")
	p5, p3 := b.connect(rawmqtt.V5, "p5"), b.connect(rawmqtt.V311, "p3")
	p5.want("CONNACK")
	p3.want("CONNACK")
	b.e.Hub.SetTrouble("disk full")
	p5.publish("t", 1, 1, 0)
	p5.publish("nobody", 1, 2, 0)
	p5.publish("kept", 1, 3, 1)
	p5.want("PUBACK 0x97", "PUBACK 0x10", "PUBACK 0x97")
	p5.publish("zero", 0, 0, 1)
	n := b.connect(rawmqtt.V5, "new")
	n.want("CONNACK 0x88")
	p3.publish("t", 1, 1, 0)
	b.e.Advance(2 * time.Second)
	p3.want()
	b.e.Hub.SetTrouble("")
	b.e.Advance(time.Second)
	p3.want("PUBACK")
	kept := map[string]bool{}
	if err := b.st.LoadRetained(func(m *record.Message) error { kept[m.Topic] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if !kept["zero"] || kept["kept"] {
		t.Errorf("retained messages in the store: %v", kept)
	}
}

// TestAskedAgainBeforeTheCommit: a client that comes back while its first PUBLISH
// is not durable yet gets no acknowledgement for the repeat either.
func TestAskedAgainBeforeTheCommit(t *testing.T) {
	b := newBench(t, nil)
	b.away("s", "t")
	p := b.connect(rawmqtt.V311, "p")
	p.want("CONNACK")
	b.st.stop = true
	p.publish("t", 2, 7, 0)
	p.want()
	p.p.Hangup(nil)
	p = b.connect(rawmqtt.V311, "p")
	p.publish("t", 2, 7, 8)
	p.want()
	b.release()
	p.want("CONNACK", "PUBREC")
	s := b.connect(rawmqtt.V311, "s")
	s.want("CONNACK", "PUBLISH t")
}

// TestOtherLoop: the acknowledgement waits for what is stored for a session of
// another loop.
func TestOtherLoop(t *testing.T) {
	b := newBench(t, nil)
	b.away("one", "t")
	b.away("two", "t") // the loops take connections in turn
	p := b.connect(rawmqtt.V311, "p")
	p.want("CONNACK")
	b.st.stop = true
	p.publish("t", 1, 1, 0)
	p.want()
	b.release()
	p.want("PUBACK")
	for _, id := range []string{"one", "two"} {
		c := b.connect(rawmqtt.V5, id)
		c.want("CONNACK", "PUBLISH t")
	}
}

// TestAge: what has waited too long is dropped, counted, and gone from the store,
// also while nobody comes.
func TestAge(t *testing.T) {
	b := newBench(t, func(c *hub.Config) { c.Rules.MaxQueuedAge = 60 })
	b.away("s", "t")
	p := b.connect(rawmqtt.V311, "p")
	p.publish("t", 1, 1, 0)
	b.e.Advance(40 * time.Second)
	p.publish("t", 1, 2, 0)
	p.want("CONNACK", "PUBACK", "PUBACK")
	b.e.Advance(30 * time.Second)
	c := b.e.Hub.Find("s")
	if s := c.Snapshot(); s.Queued != 1 || s.Dropped[session.DropQueueAge] != 1 {
		t.Errorf("queued %d, dropped %v", s.Queued, s.Dropped)
	}
	b.e.Advance(40 * time.Second)
	if s := c.Snapshot(); s.Queued != 0 || s.Dropped[session.DropQueueAge] != 2 {
		t.Errorf("queued %d, dropped %v", s.Queued, s.Dropped)
	}
	_ = b.st.LoadSessions(func(v *store.Saved) error {
		if v.Queued != 0 {
			t.Errorf("%s: %d in the store", v.Session.ClientID, v.Queued)
		}
		return nil
	})
}

// TestTotal: the sum of all queues is bounded.
func TestTotal(t *testing.T) {
	b := newBench(t, func(c *hub.Config) { c.MaxTotalQueued = 3 * 7 })
	b.away("s", "t")
	b.away("r", "t")
	p := b.connect(rawmqtt.V311, "p")
	for id := range uint16(5) {
		p.publish("t", 1, id+1, 0)
	}
	if n := b.e.Hub.QueuedBytes(); n < 21 || n > 28 {
		t.Errorf("%d bytes wait", n)
	}
	drops := uint64(0)
	for _, id := range []string{"s", "r"} {
		drops += b.e.Hub.Find(id).Snapshot().Dropped[session.DropTotalBytes]
	}
	if kept := uint64(b.e.Hub.QueuedBytes()) / 7; drops+kept != 10 {
		t.Errorf("%d kept, %d dropped of 10", kept, drops)
	}
}

// TestGrace: wills after an end without a stop wait for their clients.
func TestGrace(t *testing.T) {
	rules := session.Rules{MaxSubscriptions: 1, QueueWindow: 1}
	will := &record.Will{Msg: record.NewMessage([]byte("w"), nil, nil), Delay: 5}
	saved := func(disconnected record.Instant) *store.Saved {
		return &store.Saved{Session: record.Session{ClientID: "c", Key: 1, Expiry: 3600, Disconnected: disconnected}, Will: will}
	}
	const now = 1000 * record.Second
	s, wasOnline := session.Restore(&rules, saved(0), now)
	if at := s.Due(); !wasOnline || at < now+30*record.Second || at > now+41*record.Second {
		t.Errorf("connected at the end: due %d s later, was online %t", (at-now)/record.Second, wasOnline)
	}
	s, wasOnline = session.Restore(&rules, saved(now-3*record.Second), now)
	if at := s.Due(); wasOnline || at != now+2*record.Second {
		t.Errorf("away 3 s before the end: due %d s later, was online %t", (at-now)/record.Second, wasOnline)
	}
	v := saved(now - 600*record.Second)
	v.Will = nil
	s, _ = session.Restore(&rules, v, now)
	if at := s.Due(); at != now+3000*record.Second {
		t.Errorf("session expiry: due %d s later", (at-now)/record.Second)
	}
}
