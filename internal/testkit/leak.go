// Package testkit holds what tests of several packages share: the check for
// leaked goroutines, and waiting for a condition. The
// behaviour-script language is in its folder script, the independent codec in
// rawmqtt, brokers to run scripts against in target. Only tests import it; its
// functions may be called from the test's goroutine.
package testkit

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// VerifyNoLeaks fails the test when goroutines started during it are still
// running at its end. Call it first thing in the test.
func VerifyNoLeaks(t testing.TB) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		if err := goleak.Find(before); err != nil {
			t.Errorf("goroutines leaked: %v", err)
		}
	})
}

// WaitFor polls until ok holds and fails the test after limit. It is for
// conditions that nothing announces; what can be awaited should be.
func WaitFor(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", limit, what)
		}
		time.Sleep(time.Millisecond)
	}
}
