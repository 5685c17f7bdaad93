package loop

import (
	"testing"

	"github.com/midgemq/midge/internal/record"
)

func TestMeter(t *testing.T) {
	const ms = record.Second / 1000
	var m meter
	at := 100 * record.Second
	// Ten windows in which 300 of each 400 ms are worked.
	closed := 0
	for i := range 25 {
		if m.work(at + record.Instant(i)*400*ms) {
			closed++
		}
		m.park(at + record.Instant(i)*400*ms + 300*ms)
	}
	if closed < 7 || closed > 10 {
		t.Errorf("%d windows in ten seconds", closed)
	}
	now := at + 24*400*ms
	if l := m.load(now); l < 650 || l > 800 {
		t.Errorf("load %d of a loop that works three quarters of its time", l)
	}
	if l := m.load(now + 10*record.Second); l != 0 {
		t.Errorf("load %d of a loop that has been parked for long", l)
	}
	m.work(now + 10*record.Second)
	if l := m.load(now + 20*record.Second); l != 1000 {
		t.Errorf("load %d of a loop in the middle of a very long batch", l)
	}
}

func TestPolicy(t *testing.T) {
	for _, tt := range []struct {
		name      string
		loads     []int
		to, share int
	}{
		{"the other is idle", []int{900, 0}, 1, maxShare},
		{"the least busy one", []int{1000, 500, 400, 600}, 2, maxShare},
		{"half of the difference", []int{900, 600}, 1, 150},
		{"not far enough below", []int{900, 700}, -1, 0},
		{"all are busy", []int{1000, 990, 1000}, -1, 0},
		{"not busy", []int{849, 0}, -1, 0},
	} {
		var p policy
		for n := 1; n <= 3*hotWindows; n++ {
			to, share, measure := p.step(tt.loads, 0)
			want, wantShare := -1, 0
			if n%hotWindows == 0 {
				want, wantShare = tt.to, tt.share
			}
			if to != want || share != wantShare {
				t.Errorf("%s: window %d: %d thousandths to loop %d, want %d to %d", tt.name, n, share, to, wantShare, want)
			}
			if measure != (tt.loads[0] >= hot && n%hotWindows == hotWindows-1) {
				t.Errorf("%s: window %d: measure %t", tt.name, n, measure)
			}
		}
	}
	// One quiet window begins the count anew.
	var p policy
	for _, load := range []int{900, 900, 100, 900, 900} {
		if to, _, _ := p.step([]int{load, 0}, 0); to >= 0 {
			t.Error("a loop that was quiet meanwhile gives work away")
		}
	}
}

// However the costs are spread, two loops come close to each other and then leave
// each other alone.
func TestBalanceSettles(t *testing.T) {
	for _, tt := range []struct {
		name  string
		costs []uint32 // thousandths of a loop, all on the first one
		moves int      // at most
	}{
		{"a hundred alike", repeat(9, 100), 60},
		{"few and large", []uint32{300, 300, 200, 100}, 3},
		{"one is all", []uint32{950}, 0},
		{"one is nearly all", []uint32{890, 10, 10, 10}, 3},
	} {
		on := make([]int, len(tt.costs))
		p := []policy{{}, {}}
		moves, last := 0, 0
		for w := 1; w <= 60; w++ {
			loads := []int{0, 0}
			for i, c := range tt.costs {
				loads[on[i]] += int(c)
			}
			for own := range 2 {
				to, share, _ := p[own].step(loads, own)
				if to < 0 {
					continue
				}
				var list []candidate
				var total uint64
				index := map[*sock]int{}
				for i, c := range tt.costs {
					if on[i] == own {
						s := new(sock)
						index[s] = i
						list, total = append(list, candidate{s, c}), total+uint64(c)
					}
				}
				for _, s := range choose(list, total, loads[own], share) {
					on[index[s]] = to
					moves, last = moves+1, w
				}
			}
		}
		if moves > tt.moves {
			t.Errorf("%s: %d moves, want at most %d", tt.name, moves, tt.moves)
		}
		if last > 30 {
			t.Errorf("%s: still moving in window %d", tt.name, last)
		}
	}
}

func repeat(c uint32, n int) []uint32 {
	list := make([]uint32, n)
	for i := range list {
		list[i] = c
	}
	return list
}
