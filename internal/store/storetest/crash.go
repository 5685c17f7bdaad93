package storetest

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
)

// Crash describes an engine whose storage can be copied as an end without
// warning would leave it.
type Crash struct {
	// Open makes an empty engine.
	Open func(t testing.TB) store.Store
	// Copy takes a copy of the storage of s as it would be found after a crash at
	// this moment; r decides what is left to chance. The engine goes on.
	Copy func(t testing.TB, s store.Store, r *rand.Rand) any
	// Reopen opens an engine on a copy.
	Reopen func(t testing.TB, copied any) store.Store
	// Survives is the weakest level at which a completed batch must be found.
	Survives store.Level
	// Batches is how many batches are committed in all, Every how many on average
	// from one crash to the next.
	Batches, Every int
}

// RunCrashes commits random batches at random levels, crashes, and compares what
// is found with what was submitted: it must be the first k batches whole, for a
// k that reaches to the last one completed at a level that survives, and to no
// more than were submitted. Now and then it goes on with the engine that was
// reopened, so that crashes follow on crashes.
//
// What led to a failure is kept as a script (see scriptStep), and all scripts kept
// by the same test are run before anything else.
func RunCrashes(t testing.TB, c Crash) {
	dir := os.Getenv(scriptVariable)
	if dir == "" {
		dir = filepath.Join("testdata", "crashes")
	}
	for _, name := range keptScripts(t, dir) {
		c.replay(t, name)
	}
	seed := seedFor(t)
	r := rand.New(rand.NewPCG(seed, 4))
	g := newGenerator(r, 1, 8, "")
	x := &crashing{TB: t, Crash: c, r: r, s: c.Open(t), start: newModel(), base: newModel(), leg: 3}
	defer func() {
		if t.Failed() {
			x.keep(dir, seed)
		}
	}()
	defer x.end()
	for x.n = range c.Batches {
		x.submit(g.batch(), store.Level(r.IntN(3)), r.IntN(8) == 0)
		for len(x.open) > 1+r.IntN(8) {
			x.settle()
		}
		if r.IntN(c.Every) == 0 {
			if k := x.crash(); k != nil {
				g.adopt(k.clone())
			}
		}
		if (x.n+1)%2000 == 0 {
			t.Logf("%d batches", x.n+1)
		}
	}
}

// crashing is the state of RunCrashes.
type crashing struct {
	testing.TB
	Crash
	r *rand.Rand
	n int // batches of the run so far
	s store.Store
	// start is what s held when it was opened, sent all that it was given since.
	start *model
	sent  []openBatch
	// base is the model of batches that must be there; open are those behind it,
	// in order.
	base *model
	open []openBatch
	// leg is how many crashes on average are only looked at before one is gone on
	// from: short legs bring crashes upon crashes, in long ones the engine changes
	// its logs, writes tables and merges them.
	leg int
}

type openBatch struct {
	n     int
	ops   []record.Op
	level store.Level
	lazy  bool
	p     *pending
}

func (x *crashing) submit(ops []record.Op, level store.Level, lazy bool) {
	b := openBatch{n: x.n, ops: ops, level: level, lazy: lazy, p: submitBatch(x.s, level, store.Batch{Ops: slices.Clone(ops), Lazy: lazy})}
	x.open = append(x.open, b)
	x.sent = append(x.sent, b)
}

func (x *crashing) end() {
	if err := x.s.Close(); err != nil {
		x.Errorf("close at the end: %v", err)
	}
}

// settle waits for the first batch whose survival is not certain yet, if there is
// one that was committed to survive, or else for the last.
func (x *crashing) settle() {
	for i := range x.open {
		if x.open[i].level >= x.Survives {
			x.settleTo(i)
			return
		}
	}
	// None promises to survive: one that does is put behind them.
	x.submit([]record.Op{deleteRetained("none")}, store.Flush, false)
	x.settleTo(len(x.open) - 1)
}

func (x *crashing) settleTo(i int) {
	if err := x.open[i].p.wait(x); err != nil {
		x.Fatalf("batch %d: %v", x.open[i].n, err)
	}
	for j := range i + 1 {
		x.base.apply(x.open[j].ops)
	}
	x.open = slices.Delete(x.open, 0, i+1)
}

// crash looks at a copy; when it goes on with the copy it returns the model.
func (x *crashing) crash() *model {
	certain := -1
	for i := range x.open {
		if !x.open[i].p.completed() {
			continue
		}
		if x.open[i].p.err != nil {
			x.Fatalf("batch %d: %v", x.open[i].n, x.open[i].p.err)
		}
		if x.open[i].level >= x.Survives {
			certain = i
		}
	}
	copied := x.Copy(x, x.s, x.r)
	s := x.Reopen(x, copied)
	got := dumpStore(x, s, true)
	m := x.base.clone()
	for i := range certain + 1 {
		m.apply(x.open[i].ops)
	}
	want := m.dump(true)
	for i := certain + 1; !slices.Equal(got, want); i++ {
		if i == len(x.open) {
			x.Errorf("crash after batch %d: what is found is not the state after any of the last %d batches; compared with the first:", x.n, len(x.open)-certain)
			m = x.base.clone()
			for j := range certain + 1 {
				m.apply(x.open[j].ops)
			}
			compare(x, "found", got, m.dump(true))
		}
		m.apply(x.open[i].ops)
		want = m.dump(true)
	}
	if x.r.IntN(x.leg) > 0 {
		if err := s.Close(); err != nil {
			x.Fatalf("close of a copy: %v", err)
		}
		return nil
	}
	old := x.s
	x.s, x.start, x.sent, x.base, x.open = s, m.clone(), nil, m, nil
	x.leg = []int{2, 3, 10, 100}[x.r.IntN(4)]
	if err := old.Close(); err != nil {
		x.Fatalf("close of what crashed: %v", err)
	}
	return m
}

func (m *model) clone() *model {
	c := newModel()
	c.retained = maps.Clone(m.retained)
	for k, x := range m.sessions {
		n := &modelSession{rec: x.rec, subs: maps.Clone(x.subs), inbound: maps.Clone(x.inbound), will: x.will, last: x.last}
		to := make(map[*modelEntry]*modelEntry, len(x.queue))
		for _, e := range x.queue {
			d := *e
			to[e] = &d
			n.queue = append(n.queue, &d)
		}
		for _, e := range x.flights {
			n.flights = append(n.flights, to[e])
		}
		c.sessions[k] = n
	}
	return c
}
