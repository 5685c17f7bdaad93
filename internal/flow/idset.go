package flow

import "math/bits"

// smallIDs is how many identifiers an IDSet keeps in a slice before it changes
// to a bitmap: 32 covers the default window of 20 at 64 bytes, where the bitmap
// costs 8 KiB.
const smallIDs = 32

// IDSet is a set of packet identifiers (1 to 65535). The zero value is empty.
// Not safe for concurrent use.
type IDSet struct {
	small []uint16
	bits  *[1024]uint64
	n     int
}

// Len returns how many identifiers are in the set.
func (s *IDSet) Len() int { return s.n }

// Has reports whether id is in the set.
func (s *IDSet) Has(id uint16) bool {
	if s.bits != nil {
		return s.bits[id>>6]&(1<<(id&63)) != 0
	}
	for _, v := range s.small {
		if v == id {
			return true
		}
	}
	return false
}

// nextFree gives the first identifier behind after that is not in the set, going
// round at 65535 and never 0. The set must not be full.
func (s *IDSet) nextFree(after uint16) uint16 {
	id := after + 1
	if s.bits == nil {
		for id == 0 || s.Has(id) {
			id++
		}
		return id
	}
	// By words: with nearly all identifiers in use a search one by one would take
	// as long as it takes to send many messages.
	w := int(id >> 6)
	free := ^s.bits[w] >> (id & 63) << (id & 63)
	for {
		if w == 0 {
			free &^= 1
		}
		if free != 0 {
			return uint16(w<<6 + bits.TrailingZeros64(free))
		}
		w = (w + 1) & 1023
		free = ^s.bits[w]
	}
}

// Add puts id into the set and reports whether it was new.
func (s *IDSet) Add(id uint16) bool {
	if s.Has(id) {
		return false
	}
	s.n++
	if s.bits != nil {
		s.bits[id>>6] |= 1 << (id & 63)
		return true
	}
	if len(s.small) < smallIDs {
		s.small = append(s.small, id)
		return true
	}
	s.bits = new([1024]uint64)
	for _, v := range s.small {
		s.bits[v>>6] |= 1 << (v & 63)
	}
	s.small = nil
	s.bits[id>>6] |= 1 << (id & 63)
	return true
}

// Remove takes id out of the set and reports whether it was there.
func (s *IDSet) Remove(id uint16) bool {
	if s.bits != nil {
		if s.bits[id>>6]&(1<<(id&63)) == 0 {
			return false
		}
		s.bits[id>>6] &^= 1 << (id & 63)
		s.n--
		if s.n == 0 {
			s.bits = nil
		}
		return true
	}
	for i, v := range s.small {
		if v == id {
			s.small[i] = s.small[len(s.small)-1]
			s.small = s.small[:len(s.small)-1]
			s.n--
			return true
		}
	}
	return false
}

// All calls f for each identifier until f returns false. Order is not defined.
func (s *IDSet) All(f func(id uint16) bool) {
	for _, v := range s.small {
		if !f(v) {
			return
		}
	}
	if s.bits == nil {
		return
	}
	for i, w := range s.bits {
		for w != 0 {
			if !f(uint16(i<<6 + bits.TrailingZeros64(w))) {
				return
			}
			w &= w - 1
		}
	}
}
