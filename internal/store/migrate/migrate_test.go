package migrate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/mosqdb"
	"github.com/midgemq/midge/internal/store/pebblestore"
	"github.com/midgemq/midge/mqtt"
)

func write(t *testing.T, path string, db *mosqdb.DB) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(mosqdb.Write(f, db), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func sample() *mosqdb.DB {
	return &mosqdb.DB{
		Messages: []mosqdb.Message{
			{ID: 1, Topic: "t", Payload: []byte("one"), QoS: 1, SourceID: "p"},
			{ID: 2, Topic: "t", Payload: []byte("two"), QoS: 2},
			{ID: 3, Topic: "r", Payload: []byte("kept"), QoS: 1, Retain: true},
		},
		Clients: []mosqdb.Client{{ID: "c", UserName: "u", ExpiryInterval: mqtt.NeverExpires}},
		ClientMessages: []mosqdb.ClientMessage{
			{ClientID: "c", MessageID: 1, MID: 5, QoS: 1, State: mosqdb.StateWaitForPuback, Direction: mosqdb.Out},
			{ClientID: "c", MessageID: 2, MID: 6, QoS: 2, State: mosqdb.StateQueued, Direction: mosqdb.Out},
		},
		Subscriptions: []mosqdb.Subscription{{ClientID: "c", Filter: "t", QoS: 2}},
		Retained:      []uint64{3},
	}
}

// check opens the store and looks for the sample.
func check(t *testing.T, dir string) {
	t.Helper()
	st, err := pebblestore.Open(dir, pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	n := 0
	err = st.LoadSessions(func(s *store.Saved) error {
		n++
		if s.Session.ClientID != "c" || s.Session.UserName != "u" || s.Session.Expiry != mqtt.NeverExpires || s.Session.Disconnected == 0 {
			t.Errorf("%+v", s.Session)
		}
		if len(s.Subs) != 1 || len(s.Inflight) != 1 || s.Inflight[0].PacketID != 5 || string(s.Inflight[0].Entry.Msg.Payload) != "one" {
			t.Errorf("%+v", s)
		}
		done := make(chan []record.Queued, 1)
		st.ReadQueue(s.Session.Key, 0, 10, func(q []record.Queued, err error) {
			if err != nil {
				t.Error(err)
			}
			done <- q
		})
		if q := <-done; len(q) != 1 || string(q[0].Msg.Payload) != "two" || q[0].QoS != 2 {
			t.Errorf("queue %+v", q)
		}
		return nil
	})
	if err != nil || n != 1 {
		t.Errorf("%d sessions, %v", n, err)
	}
	n = 0
	if err := st.LoadRetained(func(m *record.Message) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("%d retained, %v", n, err)
	}
}

func TestFirstStart(t *testing.T) {
	base := t.TempDir()
	dir, file, empty := filepath.Join(base, "store"), filepath.Join(base, "mosquitto.db"), filepath.Join(base, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := FirstStart(t.Context(), dir, filepath.Join(base, "none"), empty); err != nil || r.Source != "" || r.Lines() != nil {
		t.Fatalf("nothing to import: %+v %v", r, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a store was made of nothing: %v", err)
	}
	write(t, file, sample())
	// What an interrupted import left does not count.
	if err := os.MkdirAll(dir+building+"/rubbish", 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := FirstStart(t.Context(), dir, empty, file)
	if err != nil || r.Source != file || r.Damage != nil || r.Report.ClientMessages != 2 {
		t.Fatalf("%+v %v", r, err)
	}
	check(t, dir)
	// The second start finds a store and leaves the file alone.
	if r, err := FirstStart(t.Context(), dir, file); err != nil || r.Source != "" {
		t.Errorf("second start: %+v %v", r, err)
	}
	entries, err := os.ReadDir(base)
	if err != nil || len(entries) != 3 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}

func TestFirstStartDamaged(t *testing.T) {
	base := t.TempDir()
	dir, file := filepath.Join(base, "store"), filepath.Join(base, "mosquitto.db")
	write(t, file, sample())
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b[:len(b)-4], 0o600); err != nil { // breaks off in the retained mark
		t.Fatal(err)
	}
	r, err := FirstStart(t.Context(), dir, file)
	if err != nil || r.Damage == nil || r.Report.ClientMessages != 2 || r.Report.Retained != 0 {
		t.Fatalf("%+v %v", r, err)
	}
	if kept, err := os.ReadFile(r.Kept); err != nil || string(kept) != string(b[:len(b)-4]) {
		t.Errorf("copy %q: %v", r.Kept, err)
	}
	if text := strings.Join(r.Lines(), "\n"); !strings.Contains(text, "DB_CHUNK_RETAIN") || !strings.Contains(text, r.Kept) {
		t.Errorf("%s", text)
	}
}

// TestFirstStartRefused: with a file that cannot be meant nothing is made, so that
// the next start may try again.
func TestFirstStartRefused(t *testing.T) {
	base := t.TempDir()
	dir, file := filepath.Join(base, "store"), filepath.Join(base, "mosquitto.db")
	if err := os.WriteFile(file, []byte("this is some text and not a database"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := FirstStart(t.Context(), dir, file); !errors.Is(err, mosqdb.ErrFormat) {
		t.Errorf("%v", err)
	}
	write(t, file, sample())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := FirstStart(ctx, dir, file); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if entries, err := os.ReadDir(base); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}

func TestImportExport(t *testing.T) {
	base := t.TempDir()
	dir, file, back := filepath.Join(base, "store"), filepath.Join(base, "mosquitto.db"), filepath.Join(base, "back.db")
	if _, err := Import(t.Context(), file, dir, false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	write(t, file, sample())
	if _, err := Import(t.Context(), file, dir, false); err != nil {
		t.Fatal(err)
	}
	check(t, dir)
	if _, err := Import(t.Context(), file, dir, false); !errors.Is(err, mosqdb.ErrNotEmpty) {
		t.Errorf("second import: %v", err)
	}
	if r, err := Import(t.Context(), file, dir, true); err != nil || r.Report.Replaced != 1 {
		t.Errorf("replacing: %+v %v", r, err)
	}
	check(t, dir)
	rep, err := Export(t.Context(), dir, back)
	if err != nil || rep.Clients != 1 || rep.ClientMessages != 2 || rep.Retained != 1 {
		t.Fatalf("%+v %v", rep, err)
	}
	if _, err := Import(t.Context(), back, filepath.Join(base, "again"), false); err != nil {
		t.Fatal(err)
	}
	check(t, filepath.Join(base, "again"))
	if _, err := Export(t.Context(), filepath.Join(base, "none"), back); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no store: %v", err)
	}
}
