//go:build linux

package main

// trackWindow is how far back a track tells a late message from a doubled one, in messages. It is well above what any scenario has
// outstanding from one publisher to one subscriber.
const trackWindow = 1024

// track follows the sequence numbers that one subscriber gets from one publisher.
type track struct {
	want uint32 // next expected
	seen [trackWindow / 64]uint64
}

// verdict is what a track says about one message.
type verdict byte

const (
	inOrder verdict = iota
	gap             // one or more before it are missing, or it comes after a later one
	doubled
)

func (t *track) mark(s uint32)      { t.seen[s%trackWindow/64] |= 1 << (s % 64) }
func (t *track) unmark(s uint32)    { t.seen[s%trackWindow/64] &^= 1 << (s % 64) }
func (t *track) has(s uint32) bool  { return t.seen[s%trackWindow/64]&(1<<(s%64)) != 0 }
func (t *track) ahead(s uint32) int { return int(int32(s - t.want)) }

// add books sequence number s.
func (t *track) add(s uint32) verdict {
	d := t.ahead(s)
	switch {
	case d == 0:
		t.mark(s)
		t.want++
		return inOrder
	case d > 0:
		if d >= trackWindow {
			t.seen = [trackWindow / 64]uint64{}
		} else {
			for i := t.want; i != s; i++ {
				t.unmark(i)
			}
		}
		t.mark(s)
		t.want = s + 1
		return gap
	case d >= -trackWindow && !t.has(s):
		t.mark(s)
		return gap
	}
	return doubled
}

// book adds a verdict to the run's counters.
func (r *run) book(v verdict) {
	switch v {
	case inOrder:
	case gap:
		r.gaps++
	case doubled:
		r.dups++
	}
}
