package broker

import (
	"context"
	"testing"
)

// TestCountsNobodyWaitsFor: who stops waiting leaves loops behind that still
// write down their counts; the race detector sees it when these are read.
func TestCountsNobodyWaitsFor(t *testing.T) {
	b, _ := start(t, nil)
	gone, stop := context.WithCancel(t.Context())
	stop()
	for range 200 {
		b.counts(gone)
		_, _ = b.Admin().Clients(gone) // no error when the loops were quicker
	}
	st, err := b.Admin().Status(t.Context())
	if err != nil || len(st.Metrics) == 0 {
		t.Errorf("status behind it: %v, %v", st, err)
	}
	if _, err := b.Admin().Status(gone); err == nil {
		t.Error("a status that nobody waited for is given out as complete")
	}
}
