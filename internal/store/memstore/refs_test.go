package memstore

import (
	"math/rand/v2"
	"testing"
)

// TestAddressSet compares with a map, from empty to full tables and back, with
// addresses that lie close together as an allocator's do.
func TestAddressSet(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var s addressSet
	want := map[uintptr]bool{}
	var list []uintptr
	most := 0
	for step := range 200000 {
		grow := step/50000%2 == 0
		if r.IntN(3) > 0 == grow || len(list) == 0 {
			a := uintptr(0xc000000000 + 112*r.IntN(100000))
			if got := s.add(a); got == want[a] {
				t.Fatalf("step %d: add(%x) %t", step, a, got)
			}
			if !want[a] {
				want[a] = true
				list = append(list, a)
			}
		} else {
			i := r.IntN(len(list))
			s.remove(list[i])
			delete(want, list[i])
			list[i] = list[len(list)-1]
			list = list[:len(list)-1]
		}
		most = max(most, len(s.slots))
		if s.n != len(want) {
			t.Fatalf("step %d: %d addresses, want %d", step, s.n, len(want))
		}
		if 4*s.n > 3*len(s.slots) {
			t.Fatalf("step %d: %d addresses in %d slots", step, s.n, len(s.slots))
		}
	}
	for a := range want {
		if s.add(a) {
			t.Fatalf("%x was lost", a)
		}
	}
	for a := range want {
		s.remove(a)
	}
	for i, a := range s.slots {
		if a != 0 {
			t.Errorf("slot %d keeps %x", i, a)
		}
	}
	if most < 16384 || len(s.slots) > 4*fewAddresses {
		t.Errorf("grew to %d slots and stays at %d when empty", most, len(s.slots))
	}
}
