package mosqdb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/memstore"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

const testNow = 1000 * record.Second

func options() ImportOptions { return ImportOptions{Now: testNow, Wall: time.Unix(wallNow, 0)} }

// content lists a store readably, one line for each thing in it.
func content(t testing.TB, st store.Store) []string {
	t.Helper()
	var l []string
	queued := func(q *record.Queued) string {
		m := q.Msg
		return fmt.Sprintf("%s %q props %x from %q%s expires %d q%d mr%t; sub %d q%d r%t group %q",
			m.Topic, m.Payload, m.Props, m.Publisher, m.PublisherUser, m.Expires, m.QoS, m.Retain, q.SubID, q.QoS, q.Retain, q.Group)
	}
	err := st.LoadSessions(func(s *store.Saved) error {
		c := s.Session.ClientID
		l = append(l, fmt.Sprintf("%s: session user %q expiry %d v%d at %d", c, s.Session.UserName, s.Session.Expiry, s.Session.Version, s.Session.Disconnected))
		slices.SortFunc(s.Subs, func(a, b record.Subscription) int { return strings.Compare(a.Filter, b.Filter) })
		for _, v := range s.Subs {
			l = append(l, fmt.Sprintf("%s: sub %+v", c, v))
		}
		for i := range s.Inflight {
			f := &s.Inflight[i]
			l = append(l, fmt.Sprintf("%s: out %d state %d: %s", c, f.PacketID, f.State, queued(&f.Entry)))
		}
		slices.Sort(s.Inbound)
		l = append(l, fmt.Sprintf("%s: in %v", c, s.Inbound))
		if w := s.Will; w != nil {
			l = append(l, fmt.Sprintf("%s: will %s %q q%d r%t delay %d expiry %d %t", c, w.Msg.Topic, w.Msg.Payload, w.Msg.QoS, w.Msg.Retain, w.Delay, w.Expiry, w.HasExpiry))
		}
		st.ReadQueue(s.Session.Key, 0, 1000, func(q []record.Queued, err error) {
			if err != nil {
				t.Error(err)
			}
			for i := range q {
				l = append(l, fmt.Sprintf("%s: queue %03d: %s", c, i, queued(&q[i])))
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = st.LoadRetained(func(m *record.Message) error {
		l = append(l, fmt.Sprintf("retained %s %q props %x q%d r%t", m.Topic, m.Payload, m.Props, m.QoS, m.Retain))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(l, func(a, b string) int {
		x, _, _ := strings.Cut(a, ":")
		y, _, _ := strings.Cut(b, ":")
		return strings.Compare(x, y)
	})
	return l
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

const sampleProps = "03000a746578742f706c61696e2600016b000176"

func TestImport(t *testing.T) {
	st := memstore.New()
	rep, err := Import(t.Context(), sample(), st, options())
	if err != nil {
		t.Fatal(err)
	}
	expect(
		t, content(t, st),
		`five: session user "" expiry 100 v5 at 1000000000000`,
		`five: sub {Filter:a/+ ID:42 QoS:2 NoLocal:true RetainAsPublished:true}`,
		`five: out 5 state 2: a/2 "two" props `+sampleProps+` from "pub" expires 0 q2 mrfalse; sub 42 q2 rfalse group ""`,
		`five: in []`,
		`five: queue 000: a/1 "one" props  from "pub"alice expires 0 q1 mrfalse; sub 42 q1 rfalse group ""`,
		`five: queue 001: a/7 "" props  from "pub" expires 0 q1 mrfalse; sub 0 q1 rfalse group ""`,
		`five: queue 002: a/6 "half" props  from "three" expires 0 q2 mrtrue; sub 42 q2 rtrue group ""`,
		`retained a/6 "half" props  q2 rtrue`,
		`retained r "kept" props  q1 rtrue`,
		`three: session user "bob" expiry 4294967295 v4 at 1000000000000`,
		`three: sub {Filter:a/# ID:0 QoS:2 NoLocal:false RetainAsPublished:false}`,
		`three: out 10 state 1: a/1 "one" props  from "pub"alice expires 0 q1 mrfalse; sub 0 q1 rfalse group ""`,
		`three: out 11 state 3: a/2 "two" props `+sampleProps+` from "pub" expires 0 q2 mrfalse; sub 0 q2 rfalse group ""`,
		`three: in [77]`,
		`three: queue 000: a/3 "three" props  from "five" expires 1060000000000 q2 mrfalse; sub 0 q2 rtrue group ""`,
		`three: queue 001: a/6 "half" props  from "three" expires 0 q2 mrtrue; sub 0 q2 rfalse group ""`,
	)
	expect(
		t, rep.Lines(),
		"Restored 6 base messages", "Restored 2 retained messages", "Restored 2 clients", "Restored 2 subscriptions",
		"Restored 7 client messages", "Queued 2 messages of QoS 2 exchanges that their publishers had not finished",
		"Left out 1 sessions that had expired", "Left out 1 messages that had expired",
	)
}

// TestImportNotEmpty: an import adds to a store only when told to, and then what
// the file has wins.
func TestImportNotEmpty(t *testing.T) {
	st := memstore.New()
	if _, err := Import(t.Context(), sample(), st, options()); err != nil {
		t.Fatal(err)
	}
	before := content(t, st)
	if _, err := Import(t.Context(), sample(), st, options()); !errors.Is(err, ErrNotEmpty) {
		t.Fatalf("second import: %v", err)
	}
	expect(t, content(t, st), before...)
	o := options()
	o.Replace = true
	rep, err := Import(t.Context(), sample(), st, o)
	if err != nil || rep.Replaced != 2 {
		t.Fatalf("replaced %d, %v", rep.Replaced, err)
	}
	expect(t, content(t, st), before...)
}

// TestImportContradictions: what refers to nothing is left out and said.
func TestImportContradictions(t *testing.T) {
	db := &DB{
		Messages: []Message{{ID: 1, Topic: "t", QoS: 1, Payload: []byte("a")}, {ID: 1, Topic: "u", QoS: 1, Payload: []byte("b")}, {ID: 2, Topic: "v", QoS: 1, Payload: []byte("c")}},
		ClientMessages: []ClientMessage{
			{ClientID: "orphan", MessageID: 1, MID: 1, QoS: 1, State: StateQueued, Direction: Out},
			{ClientID: "orphan", MessageID: 9, MID: 2, QoS: 1, State: StateQueued, Direction: Out},
			{ClientID: "orphan", MessageID: 1, MID: 3, QoS: 1, State: StateWaitForPuback, Direction: Out},
			{ClientID: "orphan", MessageID: 2, MID: 3, QoS: 1, State: StateWaitForPuback, Direction: Out},
			{ClientID: "orphan", MessageID: 2, MID: 4, QoS: 1, State: StateWaitForPubrel, Direction: In},
		},
		Subscriptions: []Subscription{{ClientID: "other", Filter: "x", QoS: 1}, {ClientID: "other", Filter: "x", QoS: 2}},
		Retained:      []uint64{8},
		Wills:         []Will{{ClientID: "nobody", Topic: "x", QoS: 1, Payload: []byte("due"), Retain: true}, {ClientID: "other", Topic: "w", Payload: []byte("bye"), Delay: 7, QoS: 1, Properties: packet.AppendUint(nil, packet.PropMessageExpiry, 30)}},
	}
	st := memstore.New()
	rep, err := Import(t.Context(), db, st, options())
	if err != nil {
		t.Fatal(err)
	}
	expect(
		t, content(t, st),
		`orphan: session user "" expiry 4294967295 v4 at 1000000000000`,
		`orphan: out 3 state 1: t "a" props  from "" expires 0 q1 mrfalse; sub 0 q1 rfalse group ""`,
		`orphan: in []`,
		`orphan: queue 000: t "a" props  from "" expires 0 q1 mrfalse; sub 0 q1 rfalse group ""`,
		`orphan: queue 001: v "c" props  from "" expires 0 q1 mrfalse; sub 0 q1 rfalse group ""`,
		`other: session user "" expiry 4294967295 v4 at 1000000000000`,
		`other: sub {Filter:x ID:0 QoS:2 NoLocal:false RetainAsPublished:false}`,
		`other: in []`,
		`other: will w "bye" q1 rfalse delay 7 expiry 30 true`,
		`other: queue 000: x "due" props  from "nobody" expires 0 q1 mrtrue; sub 0 q1 rfalse group ""`,
		`retained x "due" props  q1 rtrue`,
	)
	if rep.Skipped != 5 || len(rep.Problems) != 5 {
		t.Errorf("%d problems: %q", rep.Skipped, rep.Problems)
	}
	if rep.Clients != 2 || rep.Subscriptions != 1 || rep.ClientMessages != 3 || rep.Wills != 2 {
		t.Errorf("%+v", rep)
	}
}

// TestImportExpiredInFlight: an exchange under way goes on although its message
// has expired, so that its identifier is not taken for another message.
func TestImportExpiredInFlight(t *testing.T) {
	db := &DB{
		Messages: []Message{{ID: 1, Topic: "t", QoS: 2, Expiry: wallNow - 1}, {ID: 2, Topic: "u", QoS: 2, Expiry: wallNow}},
		Clients:  []Client{{ID: "c", ExpiryInterval: 100}},
		ClientMessages: []ClientMessage{
			{ClientID: "c", MessageID: 1, MID: 3, QoS: 2, State: StateWaitForPubcomp, Direction: Out},
			{ClientID: "c", MessageID: 2, MID: 4, QoS: 2, State: StateQueued, Direction: Out},
		},
	}
	st := memstore.New()
	if _, err := Import(t.Context(), db, st, options()); err != nil {
		t.Fatal(err)
	}
	expect(
		t, content(t, st),
		`c: session user "" expiry 100 v5 at 1000000000000`,
		`c: out 3 state 3: t "" props  from "" expires 1000000000000 q2 mrfalse; sub 0 q2 rfalse group ""`,
		`c: in []`,
		// In its last second: still to be delivered, as Mosquitto does.
		`c: queue 000: u "" props  from "" expires 1000000000001 q2 mrfalse; sub 0 q2 rfalse group ""`,
	)
}

// TestImportStates: every state of Mosquitto has its counterpart.
func TestImportStates(t *testing.T) {
	for _, c := range []struct {
		st   State
		qos  uint8
		want uint8
	}{
		{StatePublishQoS0, 0, 0},
		{StatePublishQoS1, 1, awaitPuback},
		{StateWaitForPuback, 1, awaitPuback},
		{StatePublishQoS2, 2, awaitPubrec},
		{StateWaitForPubrec, 2, awaitPubrec},
		{StateResendPubrel, 2, awaitPubcomp},
		{StateWaitForPubcomp, 2, awaitPubcomp},
		{StateQueued, 1, 0},
		{StateQueued, 2, 0},
		{StateWaitForPuback, 2, 0},
	} {
		if got := outState(&ClientMessage{State: c.st, QoS: c.qos}); got != c.want {
			t.Errorf("state %d QoS %d: %d, want %d", c.st, c.qos, got, c.want)
		}
	}
}

// TestImportLarge: order is kept over many batches.
func TestImportLarge(t *testing.T) {
	const n = 5000
	db := &DB{Clients: []Client{{ID: "c", ExpiryInterval: mqtt.NeverExpires}}}
	for i := range uint64(n) {
		db.Messages = append(db.Messages, Message{ID: i + 1, Topic: "t", QoS: 1, Payload: fmt.Appendf(nil, "%d", i)})
		db.ClientMessages = append(db.ClientMessages, ClientMessage{ClientID: "c", MessageID: i + 1, MID: uint16(i + 1), QoS: 1, State: StateQueued, Direction: Out})
	}
	st := memstore.New()
	if _, err := Import(t.Context(), db, st, options()); err != nil {
		t.Fatal(err)
	}
	st.ReadQueue(1, 0, 2*n, func(q []record.Queued, err error) {
		if err != nil || len(q) != n {
			t.Fatalf("%d entries, %v", len(q), err)
		}
		for i := range q {
			if string(q[i].Msg.Payload) != fmt.Sprint(i) || (i > 0 && q[i].Seq <= q[i-1].Seq) {
				t.Fatalf("entry %d: %q seq %d", i, q[i].Msg.Payload, q[i].Seq)
			}
		}
	})
}

func TestImportErrors(t *testing.T) {
	st := memstore.New()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(t.Context(), sample(), st, options()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("closed store: %v", err)
	}
	if _, err := Import(t.Context(), sample(), &refusing{Store: memstore.New()}, options()); !errors.Is(err, errDisk) {
		t.Errorf("refusing store: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Import(ctx, sample(), &refusing{Store: memstore.New(), silent: true}, options()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// refusing fails every commit, or never completes one.
type refusing struct {
	*memstore.Store
	silent bool
}

func (r *refusing) Commit(_ *store.Batch, _ store.Level, done func(error)) {
	if !r.silent {
		done(errDisk)
	}
}

func export(t *testing.T, st store.Store, o ExportOptions) (*DB, ExportReport) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mosquitto.db")
	rep, err := Export(t.Context(), st, path, o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	db, err := Read(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return db, rep
}

// TestExportImport: what an export wrote gives the same store again, but for what
// the file has no place for.
func TestExportImport(t *testing.T) {
	st := memstore.New()
	if _, err := Import(t.Context(), sample(), st, options()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "mosquitto.db")
	if err := os.WriteFile(path+".new", []byte("left by a crash"), 0o644); err != nil {
		t.Fatal(err)
	}
	rep, err := Export(t.Context(), st, path, ExportOptions{Now: testNow, Wall: time.Unix(wallNow, 0), Shutdown: true})
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(files) != 1 {
		t.Errorf("%v %v, want one file", files, err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	db, err := Read(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if !db.Config.Shutdown || db.Config.LastID != uint64(len(db.Messages)) || db.Config.IDSize != 8 {
		t.Errorf("%+v with %d messages", db.Config, len(db.Messages))
	}
	again := memstore.New()
	if _, err := Import(t.Context(), db, again, options()); err != nil {
		t.Fatal(err)
	}
	want := content(t, st)
	for i := range want {
		want[i] = strings.ReplaceAll(want[i], "three: in [77]", "three: in []")
	}
	expect(t, content(t, again), want...)
	// a/2, a/6 and a/1 stand in two queues, and a/6 is retained besides: six messages.
	if rep.Messages != 6 || rep.Inbound != 1 || rep.Clients != 2 || rep.Subscriptions != 2 || rep.Retained != 2 || rep.ClientMessages != 8 {
		t.Errorf("%+v", rep)
	}
}

// TestExportIDs: waiting messages get identifiers that no exchange has, the
// client's last one is known, and expiries are on the clock again.
func TestExportIDs(t *testing.T) {
	st := memstore.New()
	msg := func(topic string, expires record.Instant) *record.Message {
		m := record.NewMessage([]byte(topic), []byte(topic), nil)
		m.QoS, m.Expires = 1, expires
		return m
	}
	ops := []record.Op{
		{Kind: record.PutSession, Session: &record.Session{Key: 1, ClientID: "c", Expiry: 500, Version: mqtt.V5, Disconnected: testNow - 20*record.Second}},
		{Kind: record.PutSubscription, Key: 1, Sub: &record.Subscription{Filter: "$share/g/t", QoS: 1}},
		{Kind: record.PutWill, Key: 1, Will: &record.Will{Msg: msg("w", 0)}},
		{Kind: record.PutRetained, Entry: record.Queued{Msg: msg("$SYS/x", 0)}},
		{Kind: record.PutRetained, Entry: record.Queued{Msg: msg("$SYSTEM", 0)}},
	}
	for i := range uint64(4) {
		ops = append(ops, record.Op{Kind: record.Enqueue, Key: 1, Entry: record.Queued{Msg: msg("t", testNow+30*record.Second), Seq: i + 1, QoS: 1}})
	}
	ops = append(
		ops, record.Op{Kind: record.Enqueue, Key: 1, Entry: record.Queued{Msg: msg("z", 0), Seq: 9}},
		record.Op{Kind: record.PutInflight, Key: 1, Seq: 1, PacketID: 3, State: awaitPuback},
	)
	st.Commit(&store.Batch{Ops: ops}, store.Flush, func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	})
	db, rep := export(t, st, ExportOptions{Now: testNow, Wall: time.Unix(wallNow, 0)})
	var got []string
	for _, m := range db.ClientMessages {
		got = append(got, fmt.Sprintf("mid %d state %d q%d dup %d", m.MID, m.State, m.QoS, m.RetainDup&15))
	}
	expect(t, got, "mid 3 state 3 q1 dup 1", "mid 2 state 11 q1 dup 0", "mid 4 state 11 q1 dup 0", "mid 5 state 11 q1 dup 0", "mid 0 state 11 q0 dup 0")
	if c := db.Clients[0]; c.LastMID < 5 || c.ExpiryTime != wallNow+480 || c.ExpiryInterval != 500 {
		t.Errorf("%+v", c)
	}
	if len(db.Messages) != 3 || db.Messages[0].Expiry != wallNow+30 {
		t.Errorf("%+v", db.Messages)
	}
	if rep.Shared != 1 || rep.Wills != 1 || rep.Retained != 1 || len(rep.Lines()) != 3 {
		t.Errorf("%q", rep.Lines())
	}
}

// TestExportFails: the file that was there stays.
func TestExportFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mosquitto.db")
	if err := os.WriteFile(path, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	st := memstore.New()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Export(t.Context(), st, path, ExportOptions{Wall: time.Unix(wallNow, 0)}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("%v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "before" {
		t.Errorf("%q %v", b, err)
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
	if _, err := Export(t.Context(), memstore.New(), filepath.Join(path, "x"), ExportOptions{}); err == nil {
		t.Error("exported below a file")
	}
}
