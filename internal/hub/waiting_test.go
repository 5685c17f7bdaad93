package hub

import (
	"slices"
	"testing"

	"github.com/midgemq/midge/internal/record"
)

type timedInt int

func (timedInt) Timer(*Shard, record.Instant) {}

func TestWaitingList(t *testing.T) {
	var w waitingList
	w.first, w.next = ^uint32(0)-99, ^uint32(0)-99 // so that places run around
	places := make([]uint32, 300)
	for i := range places {
		place, ok := w.add(timedInt(i), record.Instant(i))
		if !ok {
			t.Fatalf("no place for %d", i)
		}
		places[i] = place
	}
	if _, ok := w.add(timedInt(0), 7); ok {
		t.Error("somebody with less time has a place behind those with more")
	}
	for i, place := range places {
		if i%3 != 0 {
			w.remove(place)
		}
	}
	var fired []int
	w.advance(150, func(l Timed) {
		fired = append(fired, int(l.(timedInt)))
		w.remove(places[l.(timedInt)])
	})
	var want []int
	for i := 0; i <= 150; i += 3 {
		want = append(want, i)
	}
	if !slices.Equal(fired, want) {
		t.Errorf("fired %v, want every third up to 150", fired)
	}
	if at, ok := w.due(); !ok || at != 153 {
		t.Errorf("due %d %t, want 153", at, ok)
	}
	w.remove(places[0]) // long gone
	for _, place := range places {
		w.remove(place)
	}
	if _, ok := w.due(); ok || w.first != w.next {
		t.Error("somebody waits in an empty list")
	}
	for i := range 10 * keptRing {
		place, ok := w.add(timedInt(i), record.Instant(1000+i))
		if !ok {
			t.Fatalf("no place for %d", i)
		}
		w.remove(place)
	}
	if len(w.ring) > 512 {
		t.Errorf("%d places for one that waits at a time", len(w.ring))
	}
}

func TestWaitingListGivesBack(t *testing.T) {
	var w waitingList
	var places []uint32
	for i := range 2 * keptRing {
		place, _ := w.add(timedInt(i), record.Instant(i))
		places = append(places, place)
	}
	for _, place := range slices.Backward(places) {
		w.remove(place)
	}
	if w.ring != nil {
		t.Errorf("%d places are kept for nobody", len(w.ring))
	}
	if _, ok := w.add(timedInt(1), 1); !ok {
		t.Error("no place afterwards")
	}
}
