package pebblestore

import (
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
	return storetest.Crash{
		Open: func(t testing.TB) store.Store { return open(t, vfs.NewCrashableMem()) },
		Copy: func(t testing.TB, s store.Store, r *rand.Rand) any {
			return s.(*Store).fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent(r), RNG: r})
		},
		Reopen:   func(t testing.TB, copied any) store.Store { return open(t, copied.(*vfs.MemFS)) },
		Survives: survives,
		Batches:  batches,
		Every:    every,
	}
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
