package router

import "math/bits"

// chunkLen is the number of items allocated together. 256 items of 48, 40 or 24 bytes fill a size class of Go's allocator exactly.
const chunkLen = 256

// slab holds items of one type by number. Number 0 is never given out, so it can mean "none". Items do not move while they live;
// memory of a chunk goes back to the garbage collector when its last item is freed, except for one kept to damp changes at the edge.
type slab[T any] struct {
	chunks []*[chunkLen]T
	free   [][chunkLen / 64]uint64 // bit set: place is free
	open   []uint32                // exactly the chunks that have a free place; the last one is used next
	empty  int                     // chunks allocated but without items
	live   int
}

func (s *slab[T]) at(id uint32) *T { return &s.chunks[id/chunkLen][id%chunkLen] }

// alloc gives the number of a zeroed item.
func (s *slab[T]) alloc() uint32 {
	if len(s.open) == 0 {
		c := uint32(len(s.chunks))
		s.chunks = append(s.chunks, nil)
		s.free = append(s.free, [chunkLen / 64]uint64{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)})
		if c == 0 {
			s.free[0][0] &^= 1 // number 0 is "none"
		}
		s.open = append(s.open, c)
	}
	c := s.open[len(s.open)-1]
	switch {
	case s.chunks[c] == nil:
		s.chunks[c] = new([chunkLen]T)
	case s.unused(c):
		s.empty--
	}
	free := &s.free[c]
	w := 0
	for free[w] == 0 {
		w++
	}
	b := bits.TrailingZeros64(free[w])
	free[w] &^= 1 << b
	if free[0]|free[1]|free[2]|free[3] == 0 {
		s.open = s.open[:len(s.open)-1]
	}
	s.live++
	return c*chunkLen + uint32(w*64+b)
}

func (s *slab[T]) release(id uint32) {
	var zero T
	*s.at(id) = zero
	c, b := id/chunkLen, id%chunkLen
	free := &s.free[c]
	if free[0]|free[1]|free[2]|free[3] == 0 {
		s.open = append(s.open, c)
	}
	free[b/64] |= 1 << (b % 64)
	s.live--
	if s.unused(c) {
		if s.empty > 0 {
			s.chunks[c] = nil
		} else {
			s.empty++
		}
	}
}

func (s *slab[T]) unused(c uint32) bool {
	free, all := &s.free[c], ^uint64(0)
	first := free[0]
	if c == 0 {
		first |= 1
	}
	return first&free[1]&free[2]&free[3] == all
}
