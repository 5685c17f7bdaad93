package pebblestore

import (
	"os"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/storetest"
)

// small keeps a test's engine from taking the memory of a broker's. It tidies up
// and forgets sessions all the time.
func small(fs vfs.FS) Options {
	return Options{FS: fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20, Clock: frozen, tick: 3 * time.Millisecond}
}

// frozen is a clock that stands still, so that instants are the same after a
// restart.
func frozen() (record.Instant, time.Time) { return 1000 * record.Second, time.Unix(1_700_000_000, 0) }

func mustOpen(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestConformance runs the suite on files in memory, each case reopened.
func TestConformance(t *testing.T) {
	open := func(t testing.TB) store.Store { return mustOpen(t, "store", small(vfs.NewMem())) }
	reopen := func(t testing.TB, old store.Store) store.Store { return mustOpen(t, "store", old.(*Store).o) }
	storetest.Run(t, open, reopen)
}

// TestConformanceOnDisk runs it in a directory: what concerns files, or all of it
// when POWERLOSS is set.
func TestConformanceOnDisk(t *testing.T) {
	open := func(t testing.TB) store.Store { return mustOpen(t, t.TempDir(), small(nil)) }
	reopen := func(t testing.TB, old store.Store) store.Store { return mustOpen(t, old.(*Store).dir, old.(*Store).o) }
	only := []string{"Levels", "Lazy", "Close", "Concurrent", "Model"}
	if os.Getenv("POWERLOSS") != "" {
		only = nil
	}
	storetest.Run(t, open, reopen, only...)
}
