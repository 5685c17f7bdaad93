package storetest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/memstore"
)

// logged is a memory store beside the list of its batches, of which a crash loses
// what came behind the last that was flushed; bug leaves out more.
type logged struct {
	*memstore.Store
	batches []store.Batch
	flushed int
	bug     func(r *rand.Rand, flushed []store.Batch) []store.Batch
}

func (l *logged) Commit(b *store.Batch, level store.Level, done func(error)) {
	l.batches = append(l.batches, store.Batch{Ops: slices.Clone(b.Ops)})
	if level == store.Flush {
		l.flushed = len(l.batches)
	}
	l.Store.Commit(b, level, done)
}

func newLogged(t testing.TB, batches []store.Batch, bug func(*rand.Rand, []store.Batch) []store.Batch) *logged {
	l := &logged{Store: memstore.New(), bug: bug}
	for i := range batches {
		b := batches[i]
		l.Commit(&b, store.Flush, func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	return l
}

func crashLogged(bug func(*rand.Rand, []store.Batch) []store.Batch) Crash {
	return Crash{
		Open: func(t testing.TB) store.Store { return newLogged(t, nil, bug) },
		Copy: func(_ testing.TB, s store.Store, r *rand.Rand) any {
			l := s.(*logged)
			kept := l.flushed + r.IntN(len(l.batches)-l.flushed+1)
			return bug(r, slices.Clone(l.batches[:kept]))
		},
		Reopen:   func(t testing.TB, copied any) store.Store { return newLogged(t, copied.([]store.Batch), bug) },
		Survives: store.Flush,
		Batches:  300,
		Every:    2,
	}
}

func recordCrashes(t *testing.T, c Crash) []string {
	r := &recorder{TB: t}
	var wg sync.WaitGroup
	wg.Go(func() { RunCrashes(r, c) })
	wg.Wait()
	return r.failures
}

// TestCrashScript: a failed run is kept, fails again from what was kept, without
// the random run, and passes once the engine is right.
func TestCrashScript(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(scriptVariable, dir)
	sound := func(_ *rand.Rand, b []store.Batch) []store.Batch { return b }
	losing := func(r *rand.Rand, b []store.Batch) []store.Batch {
		for i := range b { // now and then an entry in flight is found waiting
			hit := func(op record.Op) bool { return op.Kind == record.PutInflight }
			if slices.ContainsFunc(b[i].Ops, hit) && r.IntN(10) == 0 {
				b[i].Ops = slices.DeleteFunc(slices.Clone(b[i].Ops), hit)
			}
		}
		return b
	}
	if got := recordCrashes(t, crashLogged(sound)); len(got) != 0 {
		t.Fatalf("a sound engine fails: %v", got)
	}
	if kept, err := os.ReadDir(dir); err != nil || len(kept) != 0 {
		t.Fatalf("kept of a run that passed: %v, %v", kept, err)
	}
	got := recordCrashes(t, crashLogged(losing))
	if len(got) == 0 {
		t.Fatal("an engine that loses changes passes")
	}
	kept, err := filepath.Glob(filepath.Join(dir, t.Name()+"-*.jsonl"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept %v, %v", kept, err)
	}
	if last := got[len(got)-1]; !strings.Contains(last, kept[0]) {
		t.Errorf("the failure does not name %s: %q", kept[0], got)
	}
	only := crashLogged(losing)
	only.Batches = 0
	if got := recordCrashes(t, only); len(got) == 0 {
		t.Errorf("%s does not fail again", kept[0])
	}
	if got := recordCrashes(t, crashLogged(sound)); len(got) != 0 {
		t.Errorf("the script fails on a sound engine: %v", got)
	}
	if err := os.WriteFile(kept[0], []byte("{\"Seed\":1,\"Run\":2}\n{\"Level\":"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := recordCrashes(t, crashLogged(sound)); len(got) != 1 || !strings.Contains(got[0], "step 1") {
		t.Errorf("a cut script gave %q", got)
	}
}

// TestModelOps: what ops gives makes the same model.
func TestModelOps(t *testing.T) {
	for seed := range uint64(20) {
		g := newGenerator(rand.New(rand.NewPCG(seed, 9)), 1, 4, "")
		for range 100 {
			g.batch()
		}
		m := newModel()
		m.apply(g.m.ops())
		compare(t, fmt.Sprint("seed ", seed), m.dump(false), g.m.dump(false))
	}
}
