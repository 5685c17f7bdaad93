package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
)

// RunFaulty commits n random batches to an engine whose storage fails at times:
// fault is called before each batch with its number and may make it fail or work
// again, heal before the end, where each batch must have completed and in
// force must be exactly those that completed without error. It returns the
// number of those that failed.
func RunFaulty(t testing.TB, s store.Store, seed uint64, n int, fault func(i int), heal func()) (failed int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 5))
	g := newGenerator(r, 1, 4, "")
	type sent struct {
		ops []record.Op
		p   *pending
	}
	var all []sent
	for i := range n {
		fault(i)
		ops := g.batch()
		p := submitBatch(s, store.Level(r.IntN(3)), store.Batch{Ops: slices.Clone(ops), Lazy: r.IntN(4) == 0})
		all = append(all, sent{ops, p})
		if r.IntN(4) == 0 {
			q := newPending("read")
			s.ReadQueue(g.key(), 0, 10, q.complete) // may wait for the storage
		}
	}
	heal()
	m := newModel()
	for i := range all {
		p := all[i].p
		if p.wait(t) != nil {
			failed++
			continue
		}
		m.apply(all[i].ops)
	}
	compare(t, fmt.Sprintf("after the storage failed (seed %d), %d of %d batches did", seed, failed, n), dumpStore(t, s, true), m.dump(true))
	return failed
}
