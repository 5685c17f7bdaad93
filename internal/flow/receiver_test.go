package flow

import "testing"

// TestReceiverUsed: what waits for PUBREL from an earlier connection counts again once it is sent again, and leaves no trace
// when its PUBREL comes without.
func TestReceiverUsed(t *testing.T) {
	var r Receiver
	used := func(when string, want, open int) {
		t.Helper()
		if r.Used() != want || r.Len() != open {
			t.Errorf("%s: %d used of %d; want %d of %d", when, r.Used(), r.Len(), want, open)
		}
	}
	for id := uint16(1); id <= 3; id++ {
		r.Accept(id)
	}
	used("accepted", 3, 3)
	r.Reset()
	used("next connection", 0, 3)
	r.Repeated(1)
	r.Repeated(1)
	used("one came again", 1, 3)
	r.Pubrel(1)
	used("and is done", 0, 2)
	r.Pubrel(2)
	used("one done without", 0, 1)
	r.Accept(2)
	used("its identifier anew", 1, 2)
	r.Reset()
	used("third connection", 0, 2)
	r.Repeated(2)
	r.Repeated(3)
	used("both came again", 2, 2)
}
