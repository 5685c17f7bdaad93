//go:build racecheck

// Package race proves that the race detector is on. It runs before the suite that relies on it: a run without the
// detector would pass everything and show nothing. It is no part of the product and runs on the test's own goroutines.
package race

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

const childEnv = "MIDGE_RACE_CHILD"

var shared int

// TestDetectorIsOn runs itself in a child process that writes one variable from two goroutines at once. With the
// detector the child reports that and fails; without it the child passes, and this test fails.
func TestDetectorIsOn(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		done := make(chan struct{})
		go func() {
			shared++
			close(done)
		}()
		shared++
		<-done
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestDetectorIsOn$")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "DATA RACE") {
		t.Fatalf("a data race went unseen: the tests run without -race (child: %v)\n%s", err, out)
	}
}
