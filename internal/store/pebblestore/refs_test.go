package pebblestore

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
)

// keys counts what is stored in a space.
func keys(t testing.TB, s *Store, space byte) (n int) {
	t.Helper()
	err := s.walk(func(v *view) error {
		return scan(v.r, []byte{space}, []byte{space + 1}, func(_, _ []byte) (bool, error) { n++; return true, nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// awaitKeys waits until a space holds n keys.
func awaitKeys(t *testing.T, s *Store, space byte, n int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); keys(t, s, space) != n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d keys in space %q after 20 s, want %d", keys(t, s, space), space, n)
		}
	}
}

func queue(key record.SessionKey, seq uint64, m *record.Message) record.Op {
	return record.Op{Kind: record.Enqueue, Key: key, Entry: record.Queued{Msg: m, Seq: seq, QoS: 1}}
}

func begin(key record.SessionKey) record.Op {
	return record.Op{Kind: record.PutSession, Session: &record.Session{Key: key}}
}

func leave(key record.SessionKey, seq uint64) record.Op {
	return record.Op{Kind: record.Dequeue, Key: key, Seq: seq}
}

// TestSharedMessages: a large message for several queues is stored once, and goes
// with the last of them, whatever happens in between.
func TestSharedMessages(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, "store", small(fs))
	restart := func() {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, "store", small(fs))
	}
	large := &record.Message{Topic: "t", Payload: make([]byte, 1000)}
	other := &record.Message{Topic: "t", Payload: make([]byte, 2000)}
	few := &record.Message{Topic: "t", Payload: make([]byte, 10)}
	commitAll(t, s, store.Flush, begin(1), begin(2), begin(3),
		queue(1, 1, large), queue(2, 1, large), queue(1, 2, other), queue(2, 2, other), queue(3, 2, other),
		queue(1, 3, few), queue(2, 3, few), queue(3, 3, large))
	awaitKeys(t, s, spaceMessage, 2)
	commitAll(t, s, store.Flush, leave(1, 1), leave(2, 1))
	awaitKeys(t, s, spaceMessage, 2) // large waits in the third queue
	restart()
	commitAll(t, s, store.Flush, leave(3, 3)) // counted or not yet
	awaitKeys(t, s, spaceMessage, 1)
	commitAll(t, s, store.Flush, leave(1, 2))
	restart()
	commitAll(t, s, store.Flush, record.Op{Kind: record.DeleteSession, Key: 2})
	awaitKeys(t, s, spaceMessage, 1)
	commitAll(t, s, store.Flush, record.Op{Kind: record.DeleteSession, Key: 3})
	awaitKeys(t, s, spaceMessage, 0)
	// An orphan, as a crash during a walk leaves it, is swept.
	key := appendMessageKey(nil, 77)
	if err := s.in.db.Set(key, record.Seal(record.AppendMessage(record.Begin(nil, record.FormMessage), large, 0), 0, key), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	restart()
	awaitKeys(t, s, spaceMessage, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestPurge: a queue whose entries were acknowledged in order leaves nothing
// behind, though none of them was deleted on its own.
func TestPurge(t *testing.T) {
	s := mustOpen(t, "store", small(vfs.NewMem()))
	m := &record.Message{Topic: "t", Payload: make([]byte, 10)}
	commitAll(t, s, store.Flush, begin(1))
	const n = 5 * purgeCount
	for seq := uint64(1); seq <= n; seq++ {
		ops := []record.Op{queue(1, seq, m)}
		if seq > 20 {
			ops = append(ops, leave(1, seq-20))
		}
		commitAll(t, s, store.Write, ops...)
	}
	if got := keys(t, s, spaceQueue); got < 20 || got > 20+purgeCount {
		t.Errorf("%d entries are stored, want 20 and at most %d dead ones", got, purgeCount)
	}
	if got := s.in.db.Metrics(); got.WAL.BytesIn == 0 {
		t.Error("nothing was written")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestBackup: the copy is a store with all that was completed.
func TestBackup(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, "store", small(fs))
	m := &record.Message{Topic: "t", Payload: make([]byte, 10)}
	commitAll(t, s, store.Write, begin(1), queue(1, 1, m), queue(1, 2, m))
	if err := s.Backup("copy"); err != nil {
		t.Fatal(err)
	}
	commitAll(t, s, store.Write, leave(1, 1))
	if err := s.Backup("copy"); err == nil {
		t.Error("a backup over another succeeded")
	}
	c := mustOpen(t, "copy", small(fs))
	if n := keys(t, c, spaceQueue); n != 2 {
		t.Errorf("%d entries in the copy, want 2", n)
	}
	commitAll(t, s, store.Flush, leave(1, 2))
	for _, s := range []*Store{c, s} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Backup("late"); err == nil {
		t.Error("a backup of a closed store succeeded")
	}
}
