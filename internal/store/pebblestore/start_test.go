package pebblestore

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
)

// commitAll commits and waits.
func commitAll(t testing.TB, s *Store, level store.Level, ops ...record.Op) {
	t.Helper()
	done := make(chan error, 1)
	s.Commit(&store.Batch{Ops: ops}, level, func(err error) { done <- err })
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("no completion")
	}
}

// TestStart loads queued and retained messages, 20,000 of each or as many as
// STORE_START says, and shows how long that takes: a million in under 5 s is
// what was promised. Queues are not read.
func TestStart(t *testing.T) {
	n := 20_000
	if v := os.Getenv("STORE_START"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatalf("STORE_START=%q: %v", v, err)
		}
	}
	const each = 1000 // entries of one session
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	payload := make([]byte, 100)
	msg := func(i int, topic string) *record.Message {
		m := record.NewMessage([]byte(topic), payload, nil)
		m.Seq, m.QoS = uint64(i), 1
		return m
	}
	for k := 0; k < n/each; k++ {
		key := record.SessionKey(k + 1)
		ops := []record.Op{{Kind: record.PutSession, Session: &record.Session{Key: key, ClientID: fmt.Sprintf("client-%d", k), Expiry: 3600}}}
		for i := k * each; i < (k+1)*each; i++ {
			ops = append(ops,
				record.Op{Kind: record.Enqueue, Key: key, Entry: record.Queued{Msg: msg(i, "queued/topic"), Seq: uint64(i + 1), QoS: 1}},
				record.Op{Kind: record.PutRetained, Entry: record.Queued{Msg: msg(i, fmt.Sprintf("retained/%d/of/a/device", i))}})
		}
		commitAll(t, s, store.Write, ops...)
	}
	written := s.Stats()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	start, used := time.Now(), cpu()
	s = mustOpen(t, dir, Options{})
	opened, openCPU := time.Since(start), cpu()-used
	sessions, queued, retained := 0, 0, 0
	err := s.LoadSessions(func(v *store.Saved) error {
		sessions++
		queued += v.Queued
		if want := uint64(v.Session.Key-1)*each + 1; v.FirstSeq != want || v.QueuedBytes != each*100 || v.LastSeq != want+each-1 {
			t.Errorf("session %d: %d bytes from %d to %d", v.Session.Key, v.QueuedBytes, v.FirstSeq, v.LastSeq)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	loaded := time.Since(start)
	if err := s.LoadRetained(func(*record.Message) error { retained++; return nil }); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	t.Logf("%d queued for %d sessions and %d retained: open %v (processor %v), sessions %v, retained %v (processor in all, compaction too: %v); written %d MB, %d MB on disk",
		queued, sessions, retained, opened, openCPU, loaded-opened, took-loaded, cpu()-used, written.BytesWritten>>20, s.Stats().DiskBytes>>20)
	if queued != n || retained != n || sessions != n/each {
		t.Errorf("%d queued, %d retained, %d sessions, want %d, %d, %d", queued, retained, sessions, n, n, n/each)
	}
	if took > 5*time.Second {
		t.Errorf("the start took %v", took)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestTime: remaining times survive a restart; a short stop counts against them,
// a jump of the wall clock does not.
func TestTime(t *testing.T) {
	for _, c := range []struct {
		name    string
		stopped time.Duration // by the wall clock, from the last commit to the start
		remains record.Instant
	}{
		{"at once", 0, 100 * record.Second},
		{"a short stop", 40 * time.Second, 60 * record.Second},
		{"a minute", time.Minute, 40 * record.Second},
		{"a jump ahead", time.Hour, 100 * record.Second},
		{"a jump back", -30 * 24 * time.Hour, 100 * record.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			wall := time.Unix(1_700_000_000, 0)
			now := 5000 * record.Second
			o := small(vfs.NewMem())
			o.Clock = func() (record.Instant, time.Time) { return now, wall }
			s := mustOpen(t, "store", o)
			m := &record.Message{Topic: "t", Expires: now + 100*record.Second, At: now - 7*record.Second}
			commitAll(t, s, store.Flush,
				record.Op{Kind: record.PutSession, Session: &record.Session{Key: 1, Disconnected: now - 20*record.Second}},
				record.Op{Kind: record.PutRetained, Entry: record.Queued{Msg: m}})
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			wall, now = wall.Add(c.stopped), 3*record.Second // a new process
			s = mustOpen(t, "store", o)
			if err := s.LoadRetained(func(m *record.Message) error {
				if got := m.Expires - now; got != c.remains {
					t.Errorf("%d s remain, want %d", got/record.Second, c.remains/record.Second)
				}
				if got := m.Expires - m.At; got != 107*record.Second {
					t.Errorf("the message lives for %d s, want 107", got/record.Second)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if err := s.LoadSessions(func(v *store.Saved) error {
				if got, want := now-v.Session.Disconnected, 120*record.Second-c.remains; got != want {
					t.Errorf("disconnected for %d s, want %d", got/record.Second, want/record.Second)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestNewerSchema: a store of a newer version is refused and left alone.
func TestNewerSchema(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, "store", small(fs))
	value := record.Seal(record.AppendSchema(record.Begin(nil, record.FormSchema), Schema+1), 0, keySchema)
	if err := s.in.db.Set(keySchema, value, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := Open("store", small(fs))
		var newer *SchemaError
		if !errors.As(err, &newer) || newer.Found != Schema+1 || newer.Supported != Schema {
			t.Fatalf("open: %v", err)
		}
	}
}

// TestLocked: a second engine on the directory is refused.
func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, small(nil))
	if _, err := Open(dir, small(nil)); err == nil {
		t.Error("opened twice")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := mustOpen(t, dir, small(nil)).Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCheck: the check runs before the store is opened, and its error ends that.
func TestCheck(t *testing.T) {
	o := small(vfs.NewMem())
	bad := errors.New("bad log")
	calls := 0
	o.Check = func(_ vfs.FS, dir string) error {
		calls++
		if dir != "store" {
			t.Errorf("directory %q", dir)
		}
		return bad
	}
	if _, err := Open("store", o); !errors.Is(err, bad) {
		t.Errorf("open: %v", err)
	}
	bad = nil
	if err := mustOpen(t, "store", o).Close(); err != nil || calls != 2 {
		t.Errorf("close: %v, %d checks", err, calls)
	}
}

// TestNotDurable: what is acknowledged before it is on stable storage is counted,
// and nothing is at store.Flush.
func TestNotDurable(t *testing.T) {
	o := small(vfs.NewMem())
	o.Interval = time.Hour
	s := mustOpen(t, "store", o)
	put := func(level store.Level, want int64) {
		t.Helper()
		commitAll(t, s, level, record.Op{Kind: record.PutSession, Session: &record.Session{Key: 1}})
		if got := s.Stats().NotDurable; got != want {
			t.Errorf("after level %d: %d not durable, want %d", level, got, want)
		}
	}
	put(store.Flush, 0)
	put(store.Interval, 1)
	put(store.Write, 2)
	put(store.Flush, 0)
	put(store.Flush, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// The interval puts it there without another commit.
	o.Interval = 5 * time.Millisecond
	s = mustOpen(t, "store", o)
	commitAll(t, s, store.Interval, record.Op{Kind: record.PutSession, Session: &record.Session{Key: 2}})
	for deadline := time.Now().Add(10 * time.Second); s.Stats().NotDurable != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not durable after 10 s")
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
