package hub

import (
	"math/bits"

	"github.com/midgemq/midge/internal/record"
)

const (
	wheelSlots = 1024
	wheelTick  = record.Second / 10
)

// Wheel is a timing wheel: an entry costs nothing until its slot comes round,
// once in 102 seconds. Entries are never removed; whoever gets one looks whether
// it is still due, so a timer that is put off needs no search. Owned by one loop.
type Wheel[T any] struct {
	slots [wheelSlots][]wheelEntry[T]
	used  [wheelSlots / 64]uint64
	pos   int64 // the tick up to which everything has fired
	n     int
	spare []wheelEntry[T]
}

type wheelEntry[T any] struct {
	at record.Instant
	v  T
}

// Add enters v to be given back at or within a tick after at.
func (w *Wheel[T]) Add(at record.Instant, v T) {
	t := max(int64((at+wheelTick-1)/wheelTick), w.pos+1)
	i := t % wheelSlots
	w.slots[i] = append(w.slots[i], wheelEntry[T]{at, v})
	w.used[i>>6] |= 1 << (i & 63)
	w.n++
}

// Advance calls fire for every entry due at now, which may Add.
func (w *Wheel[T]) Advance(now record.Instant, fire func(T)) {
	end := int64(now / wheelTick)
	if end-w.pos > wheelSlots {
		// A long sleep: one round visits every slot.
		w.pos = end - wheelSlots
	}
	for w.pos < end {
		w.pos++
		i := w.pos % wheelSlots
		list := w.slots[i]
		if len(list) == 0 {
			continue
		}
		w.slots[i] = w.spare[:0]
		w.used[i>>6] &^= 1 << (i & 63)
		w.n -= len(list)
		for _, e := range list {
			if e.at > now {
				w.Add(e.at, e.v)
			} else {
				fire(e.v)
			}
		}
		clear(list)
		if cap(list) > 4096 {
			list = nil
		}
		w.spare = list[:0]
	}
}

// Next is when Advance should be called again; ok false: no entry waits.
func (w *Wheel[T]) Next() (record.Instant, bool) {
	if w.n == 0 {
		return 0, false
	}
	from := (w.pos + 1) % wheelSlots
	for k := int64(0); k < wheelSlots; {
		i := (from + k) % wheelSlots
		word := w.used[i>>6] >> (i & 63)
		if word == 0 {
			k += 64 - i&63
			continue
		}
		k += int64(bits.TrailingZeros64(word))
		return record.Instant(w.pos+1+k) * wheelTick, true
	}
	return record.Instant(w.pos+wheelSlots) * wheelTick, true
}
