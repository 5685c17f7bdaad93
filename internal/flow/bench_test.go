package flow

import (
	"fmt"
	"testing"
)

// traffic returns a step that starts one message and ends the oldest of a full
// window; with stuck, that many are never ended.
func traffic(window, stuck int, qos2 bool) func() {
	var s Sender[*int]
	s.Reset(window+stuck, qos2)
	v := new(int)
	for range stuck {
		id, _ := s.Start(AwaitPubrec, v)
		s.Pubrec(id, false)
	}
	ids := make([]uint16, window)
	n := 0
	return func() {
		st := AwaitPuback
		if qos2 {
			st = AwaitPubrec
		}
		i := n % window
		if n >= window {
			if qos2 {
				s.Pubrec(ids[i], false)
				s.Pubcomp(ids[i])
			} else {
				s.Puback(ids[i])
			}
		}
		ids[i], _ = s.Start(st, v)
		n++
	}
}

var loads = []struct {
	window, stuck int
	qos2          bool
}{{1, 0, false}, {20, 0, false}, {20, 0, true}, {20, 60000, true}, {1000, 1, false}, {1000, 1, true}, {65000, 0, false}, {65000, 1, true}}

// TestSteadyAllocations: a full window of any size runs without allocation. All
// steps are one run, as the average over many would be rounded down to none.
func TestSteadyAllocations(t *testing.T) {
	for _, l := range loads {
		step := traffic(l.window, l.stuck, l.qos2)
		for range 4 * (l.window + l.stuck) {
			step()
		}
		n := testing.AllocsPerRun(1, func() {
			for range 5 * (l.window + l.stuck) {
				step()
			}
		})
		if n != 0 {
			t.Errorf("%+v: %v allocations", l, n)
		}
	}
	var r Receiver
	id := uint16(0)
	n := testing.AllocsPerRun(1, func() {
		for range 70000 {
			id++
			r.Accept(id | 1)
			r.Pubrel(id | 1)
		}
	})
	if n > 1 {
		t.Errorf("receiver: %v allocations", n)
	}
}

func BenchmarkSender(b *testing.B) {
	for _, l := range loads {
		b.Run(fmt.Sprintf("window=%d/stuck=%d/qos2=%t", l.window, l.stuck, l.qos2), func(b *testing.B) {
			step := traffic(l.window, l.stuck, l.qos2)
			for range 2 * l.window {
				step()
			}
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
		})
	}
}

// BenchmarkNearlyExhausted starts messages when one identifier is free.
func BenchmarkNearlyExhausted(b *testing.B) {
	var s Sender[*int]
	s.Reset(65535, false)
	for range 65535 {
		s.Start(AwaitPuback, nil)
	}
	b.ReportAllocs()
	id := uint16(1)
	for b.Loop() {
		s.Puback(id)
		id, _ = s.Start(AwaitPuback, nil)
	}
}

func BenchmarkReceiver(b *testing.B) {
	for _, n := range []int{1, 20, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var r Receiver
			b.ReportAllocs()
			id := uint16(0)
			for b.Loop() {
				id++
				r.Accept(id)
				r.Pubrel(id - uint16(n))
			}
		})
	}
}
