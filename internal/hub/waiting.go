package hub

import "github.com/midgemq/midge/internal/record"

// waitingList holds the connections that have to be admitted within a time, in
// the order in which they came. In a storm of connections nearly all are admitted
// at once: they leave the list in place of waiting for their slot of a Wheel, so
// it stays as short as the login takes. Owned by one loop.
type waitingList struct {
	ring        []waiting // its length is a power of two
	first, next uint32    // places, running on beyond the ring and around
}

type waiting struct {
	l  Timed
	at record.Instant
}

// keptRing is the length of a ring that is kept when nobody waits.
const keptRing = 1024

// add enters l. It fails when somebody who waits has more time than l, as after a
// reload; a Wheel serves such a one.
func (w *waitingList) add(l Timed, at record.Instant) (place uint32, ok bool) {
	n := w.next - w.first
	if n > 0 && w.slot(w.next-1).at > at {
		return 0, false
	}
	if int(n) == len(w.ring) {
		ring := make([]waiting, max(2*len(w.ring), 64))
		for k := w.first; k != w.next; k++ {
			ring[int(k)&(len(ring)-1)] = *w.slot(k)
		}
		w.ring = ring
	}
	place = w.next
	w.next++
	*w.slot(place) = waiting{l, at}
	return place, true
}

func (w *waitingList) slot(place uint32) *waiting { return &w.ring[int(place)&(len(w.ring)-1)] }

// remove takes out who is at place, if that is still waited for.
func (w *waitingList) remove(place uint32) {
	if place-w.first >= w.next-w.first {
		return
	}
	w.slot(place).l = nil
	w.trim()
}

// trim drops the places at the front that are free.
func (w *waitingList) trim() {
	for w.first != w.next && w.slot(w.first).l == nil {
		w.first++
	}
	if w.first == w.next && len(w.ring) > keptRing {
		w.ring = nil
	}
}

// advance takes out everybody whose time is up and calls fire for it.
func (w *waitingList) advance(now record.Instant, fire func(Timed)) {
	for w.first != w.next {
		s := w.slot(w.first)
		if s.at > now {
			return
		}
		l := s.l
		s.l = nil
		w.trim()
		fire(l)
	}
}

// due is when advance should be called again; ok false: nobody waits.
func (w *waitingList) due() (at record.Instant, ok bool) {
	if w.first == w.next {
		return 0, false
	}
	return w.slot(w.first).at, true
}

// Expect asks for a call of l.Timer at the given instant, unless Settled is called
// before. ok false: there is no place, use TimerFor.
func (sh *Shard) Expect(l Timed, at record.Instant) (place uint32, ok bool) {
	return sh.waitingFor.add(l, at)
}

// Settled gives back the place that Expect gave, once; also when Timer has been
// called.
func (sh *Shard) Settled(place uint32) { sh.waitingFor.remove(place) }
