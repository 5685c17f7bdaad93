package pebblestore

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/storetest"
)

// crash makes the description of an engine on files in memory that are copied
// with what was not synced kept in part.
func crash(t *testing.T, survives store.Level, percent func(*rand.Rand) int) storetest.Crash {
	batches, every := 1000, 20
	if v := os.Getenv("POWERLOSS"); v != "" {
		var err error
		if batches, err = strconv.Atoi(v); err != nil {
			t.Fatalf("POWERLOSS=%q: %v", v, err)
		}
		every = 1
	}
	open := func(t testing.TB, fs *vfs.MemFS) store.Store {
		o := small(fs)
		o.MemTableBytes = 64 << 10 // logs and tables change often
		return mustOpen(t, "store", o)
	}
	reopened := 0
	return storetest.Crash{
		Open: func(t testing.TB) store.Store { return open(t, vfs.NewCrashableMem()) },
		Copy: func(t testing.TB, s store.Store, r *rand.Rand) any {
			return s.(*Store).fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent(r), RNG: r})
		},
		Reopen: func(t testing.TB, copied any) store.Store {
			fs := copied.(*vfs.MemFS)
			s := open(t, fs)
			if reopened++; reopened%20 == 0 {
				// An orderly restart between crashes. It also makes the removal of
				// obsolete files last: crashes in quick succession bring them back
				// each time, until there are hundreds to copy.
				s = restart(t, s, fs, open)
			}
			return s
		},
		Survives: survives,
		Batches:  batches,
		Every:    every,
	}
}

// restart closes s, puts its directory on stable storage and opens it again.
func restart(t testing.TB, s store.Store, fs *vfs.MemFS, open func(testing.TB, *vfs.MemFS) store.Store) store.Store {
	if err := s.Close(); err != nil {
		t.Fatalf("close of a copy for a restart: %v", err)
	}
	dir, err := fs.OpenDir("store")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		t.Fatal(err)
	}
	return open(t, fs)
}

// TestPowerLoss: what was not synced is lost or kept at random. What completed at
// store.Flush is there. POWERLOSS=20000 crashes after each of so many batches.
func TestPowerLoss(t *testing.T) {
	storetest.RunCrashes(t, crash(t, store.Flush, func(r *rand.Rand) int { return []int{0, 0, 20, 50, 90}[r.IntN(5)] }))
}

// TestKill: all that was given to the operating system is there, so also what
// completed at store.Write.
func TestKill(t *testing.T) {
	storetest.RunCrashes(t, crash(t, store.Write, func(*rand.Rand) int { return 100 }))
}
