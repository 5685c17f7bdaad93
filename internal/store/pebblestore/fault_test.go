package pebblestore

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/storetest"
)

// faults lets the n-th file operation and some after it fail.
type faults struct {
	at, until atomic.Int64 // operations that fail; none while until is 0
	n         atomic.Int64
	hit       atomic.Int64
	err       error
	only      errorfs.OpReadWrite
	all       bool
}

func (f *faults) MaybeError(op errorfs.Op) error {
	if !f.all && op.Kind.ReadOrWrite() != f.only {
		return nil
	}
	n := f.n.Add(1)
	if n >= f.at.Load() && n < f.until.Load() {
		f.hit.Add(1)
		return f.err
	}
	return nil
}

func (f *faults) String() string { return "faults" }

// disks are the ways a disk fails.
var disks = []error{syscall.ENOSPC, syscall.EIO, syscall.EROFS}

// TestEveryFileOperationFails: whichever operation fails, once or a few times, no
// completion is false and the engine recovers.
func TestEveryFileOperationFails(t *testing.T) {
	step := int64(7)
	if v := os.Getenv("POWERLOSS"); v != "" {
		step = 1
	}
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("STORETEST_SEED"); v != "" {
		var err error
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("repeat with STORETEST_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 6))
	for at, reached := 1+r.Int64N(step), true; reached; at += step {
		f := &faults{all: true, err: disks[r.IntN(len(disks))]}
		f.at.Store(at)
		f.until.Store(at + 1 + r.Int64N(1+r.Int64N(20)))
		reached = oneFault(t, f, seed, r.IntN(2) == 0)
		if t.Failed() {
			t.Fatalf("operations %d to %d failed with %v", at, f.until.Load()-1, f.err)
		}
	}
}

// oneFault runs a short life of a store; it reports whether the fault came.
func oneFault(t *testing.T, f *faults, seed uint64, patient bool) bool {
	o := small(errorfs.Wrap(vfs.NewMem(), f))
	o.MemTableBytes = 32 << 10
	if !patient {
		o.Patience = -1
	}
	s, err := Open("store", o)
	if err != nil {
		if f.hit.Load() == 0 {
			t.Fatalf("open without a fault: %v", err)
		}
		if s, err = Open("store", o); err != nil { // the next start works unless the fault lasts
			return true
		}
	}
	failed := storetest.RunFaulty(t, s, seed, 150, func(int) {}, func() { f.until.Store(0) })
	if patient && failed > 0 {
		t.Errorf("%d batches failed in spite of patience", failed)
	}
	if f.hit.Load() == 0 && failed > 0 {
		t.Errorf("%d batches failed without a fault", failed)
	}
	hit := f.hit.Load() > 0
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	return hit
}

// TestOutages: the disk refuses writes for stretches of time, and what completed
// is there afterwards, also for another start.
func TestOutages(t *testing.T) {
	for i, why := range disks {
		for _, patience := range []time.Duration{0, -1} {
			t.Run(fmt.Sprintf("%v/patience=%d", why, patience), func(t *testing.T) {
				f := &faults{err: why, only: errorfs.OpIsWrite}
				o := small(errorfs.Wrap(vfs.NewMem(), f))
				o.MemTableBytes, o.Patience = 64<<10, patience
				var outages, recoveries atomic.Int64
				o.Event = func(e Event) {
					switch e.Kind {
					case Unavailable:
						outages.Add(1)
					case Available:
						recoveries.Add(1)
					default:
					}
				}
				s := mustOpen(t, "store", o)
				failed := storetest.RunFaulty(t, s, uint64(i), 1500, func(n int) {
					switch {
					case n%300 == 200:
						f.until.Store(1 << 60)
						settle(t, s, false)
					case n%300 == 250:
						f.until.Store(0)
						settle(t, s, true)
					}
				}, func() { f.until.Store(0) })
				settle(t, s, true)
				if patience < 0 && failed == 0 || patience == 0 && failed > 0 {
					t.Errorf("%d batches failed", failed)
				}
				if outages.Load() < 5 || recoveries.Load() != outages.Load() {
					t.Errorf("%d outages were told, %d recoveries", outages.Load(), recoveries.Load())
				}
				if n := s.Stats(); n.Uncommitted != 0 || n.UncommittedBytes != 0 || n.Failed < uint64(failed) || !n.Available {
					t.Errorf("after it: %+v, want %d failed", n, failed)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// settle commits until the store says that it fails, or that it does not.
func settle(t *testing.T, s *Store, works bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); (s.Failing() == nil) != works; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("failing is %v after 20 s", s.Failing())
		}
		if !works {
			s.Commit(&store.Batch{}, store.Flush, func(error) {})
		}
	}
}
