// Package storetest is the conformance suite of the store contract: every
// engine passes it. Run is for an engine's own tests.
//
// The suite asserts what package store promises and nothing an engine may
// choose: the order of subscriptions, sessions and inbound identifiers, instants
// after a restart and the texts of errors are free. Completions may come from
// any goroutine and in any time below a generous limit.
package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/store"
)

// Open makes an empty engine; what it needs on disk belongs below t.TempDir.
type Open func(t testing.TB) store.Store

// Reopen is a restart: it is given an engine that has been closed and returns
// one that holds the same data. Nil when the engine does not survive its end.
type Reopen func(t testing.TB, old store.Store) store.Store

// Run runs the suite as subtests of t, or only the cases named. With reopen, each
// test also restarts the engine and looks again.
func Run(t *testing.T, open Open, reopen Reopen, only ...string) {
	for _, c := range cases {
		if len(only) > 0 && !slices.Contains(only, c.name) {
			continue
		}
		t.Run(c.name, func(t *testing.T) { c.run(newEnv(t, open, reopen)) })
	}
}

type testCase struct {
	name string
	run  func(*env)
}

var cases = []testCase{
	{"Session", testSession},
	{"Subscription", testSubscription},
	{"Enqueue", testEnqueue},
	{"Inflight", testInflight},
	{"Dequeue", testDequeue},
	{"Inbound", testInbound},
	{"Will", testWill},
	{"Retained", testRetained},
	{"DeleteSession", testDeleteSession},
	{"LateChanges", testLateChanges},
	{"KeysApart", testKeysApart},
	{"OrderInBatch", testOrderInBatch},
	{"EmptyBatch", testEmptyBatch},
	{"Atomic", testAtomic},
	{"BatchReuse", testBatchReuse},
	{"CompletionOrder", testCompletionOrder},
	{"CompletionPlace", testCompletionPlace},
	{"Levels", testLevels},
	{"Lazy", testLazy},
	{"ReadFrom", testReadFrom},
	{"ReadLong", testReadLong},
	{"ReadAfterCommit", testReadAfterCommit},
	{"ReadOwned", testReadOwned},
	{"LoadErrors", testLoadErrors},
	{"LoadOwned", testLoadOwned},
	{"Close", testClose},
	{"Concurrent", testConcurrent},
	{"Model", testModel},
	{"Restarts", testRestarts},
}

// patience is how long a completion may take before the test fails. Only a lost
// one should get there, also on a machine that stands still for a minute.
var patience = 5 * time.Minute

// env is one test's engine and the model of what it must hold.
type env struct {
	testing.TB
	s      store.Store
	reopen Reopen
	closed bool
	m      *model
	// restarted: what was stored before may have its instants on another time line.
	restarted bool
}

func newEnv(t testing.TB, open Open, reopen Reopen) *env {
	t.Helper()
	e := &env{TB: t, s: open(t), reopen: reopen, m: newModel()}
	t.Cleanup(func() {
		if e.closed {
			return
		}
		if err := e.s.Close(); err != nil {
			t.Errorf("close at the end: %v", err)
		}
	})
	return e
}

// restart closes the engine and opens it again; it reports false for an engine
// that does not survive.
func (e *env) restart() bool {
	e.Helper()
	if e.reopen == nil {
		return false
	}
	if err := e.s.Close(); err != nil {
		e.Fatalf("close before reopening: %v", err)
	}
	e.s = e.reopen(e.TB, e.s)
	e.restarted = true
	return true
}
