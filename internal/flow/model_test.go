package flow

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// plain is Sender in the plainest way: one list, nothing remembered that can be
// counted.
type plain struct {
	list   []plainEntry
	last   uint16
	window int
	early  bool // quota returns at PUBREC
}

type plainEntry struct {
	id            uint16
	st            State
	v             int
	counted, sent bool
}

func (p *plain) index(id uint16) int {
	return slices.IndexFunc(p.list, func(e plainEntry) bool { return e.id == id })
}

func (p *plain) used() (n int) {
	for _, e := range p.list {
		if e.counted {
			n++
		}
	}
	return n
}

func (p *plain) free() int { return min(p.window-p.used(), 65535-len(p.list)) }

func (p *plain) start(st State, v int) (uint16, bool) {
	if len(p.list) == 65535 {
		return 0, false
	}
	id := p.last
	for {
		if id++; id != 0 && p.index(id) < 0 {
			break
		}
	}
	p.last = id
	p.list = append(p.list, plainEntry{id, st, v, st != Reserved, true})
	return id, true
}

func (p *plain) end(id uint16, st State) (int, Result) {
	i := p.index(id)
	switch {
	case i < 0:
		return 0, Unknown
	case p.list[i].st != st:
		return 0, Wrong
	}
	v := p.list[i].v
	p.list = slices.Delete(p.list, i, i+1)
	return v, Finished
}

func (p *plain) pubrec(id uint16, refused bool) (int, Result) {
	i := p.index(id)
	if i < 0 {
		return 0, Unknown
	}
	e := &p.list[i]
	v := e.v
	switch {
	case e.st == AwaitPubcomp:
		e.sent = true
		return v, Repeated
	case e.st != AwaitPubrec:
		return v, Wrong
	case refused:
		p.list = slices.Delete(p.list, i, i+1)
		return v, Finished
	}
	e.st, e.sent = AwaitPubcomp, true
	if p.early {
		e.counted = false
	}
	return v, Advanced
}

type sending struct {
	id uint16
	st State
	v  int
}

func (p *plain) resend() (out []sending, all bool) {
	all = true
	for i := range p.list {
		e := &p.list[i]
		if e.sent || e.st == Reserved {
			continue
		}
		if e.st != AwaitPubcomp {
			if p.used() == p.window {
				all = false
				continue
			}
			e.counted = true
		}
		e.sent = true
		out = append(out, sending{e.id, e.st, e.v})
	}
	return out, all
}

// pair is a Sender beside its model.
type pair struct {
	t *testing.T
	s Sender[int]
	p plain
	n int // values given out
}

func (x *pair) fatal(format string, args ...any) {
	x.t.Helper()
	x.t.Fatalf(format, args...)
}

// check compares what is seen from outside, and the counters within.
func (x *pair) check() {
	x.t.Helper()
	if x.s.Len() != len(x.p.list) || x.s.Used() != x.p.used() || x.s.Free() != x.p.free() {
		x.fatal("len %d used %d free %d, want %d %d %d", x.s.Len(), x.s.Used(), x.s.Free(), len(x.p.list), x.p.used(), x.p.free())
	}
	i := 0
	x.s.All(func(id uint16, st State, v int) bool {
		if i >= len(x.p.list) || x.p.list[i].id != id || x.p.list[i].st != st || x.p.list[i].v != v {
			x.fatal("place %d holds id %d state %d value %d, want %+v", i, id, st, v, x.p.list[min(i, len(x.p.list)):])
		}
		if !x.s.Has(id) {
			x.fatal("id %d is in use and Has denies it", id)
		}
		i++
		return true
	})
	if i != len(x.p.list) {
		x.fatal("All gave %d exchanges, want %d", i, len(x.p.list))
	}
	dead := 0
	for k, e := range x.s.entries {
		switch {
		case e.state != done:
			if k < x.s.head {
				x.fatal("a live entry before head")
			}
		case e.v != 0:
			x.fatal("a finished entry keeps its value alive")
		case k >= x.s.head:
			dead++
		}
	}
	if dead != x.s.dead {
		x.fatal("%d finished entries, counted %d", dead, x.s.dead)
	}
	if len(x.s.entries) > 200 && len(x.s.entries) > 4*max(len(x.p.list), x.p.window, 64) {
		x.fatal("%d entries for %d exchanges", len(x.s.entries), len(x.p.list))
	}
}

func (x *pair) start(st State) {
	x.t.Helper()
	if st != Reserved && x.s.Free() <= 0 {
		return
	}
	x.n++
	id, ok := x.s.Start(st, x.n)
	wantID, wantOK := x.p.start(st, x.n)
	if id != wantID || ok != wantOK {
		x.fatal("Start: id %d %t, want %d %t", id, ok, wantID, wantOK)
	}
}

func (x *pair) result(what string, id uint16, v int, r Result, wantV int, wantR Result) {
	x.t.Helper()
	if r != wantR || (r == Finished || r == Advanced || r == Repeated) && v != wantV {
		x.fatal("%s(%d): value %d result %d, want %d %d", what, id, v, r, wantV, wantR)
	}
	if r == Finished && x.s.Has(id) {
		x.fatal("%s(%d) finished and the id stays in use", what, id)
	}
}

func (x *pair) puback(id uint16) {
	x.t.Helper()
	v, r := x.s.Puback(id)
	wv, wr := x.p.end(id, AwaitPuback)
	x.result("Puback", id, v, r, wv, wr)
}

func (x *pair) pubcomp(id uint16) {
	x.t.Helper()
	v, r := x.s.Pubcomp(id)
	wv, wr := x.p.end(id, AwaitPubcomp)
	x.result("Pubcomp", id, v, r, wv, wr)
}

func (x *pair) release(id uint16) {
	x.t.Helper()
	v, r := x.s.Release(id)
	wv, wr := x.p.end(id, Reserved)
	x.result("Release", id, v, r, wv, wr)
}

func (x *pair) pubrec(id uint16, refused bool) {
	x.t.Helper()
	v, r := x.s.Pubrec(id, refused)
	wv, wr := x.p.pubrec(id, refused)
	x.result("Pubrec", id, v, r, wv, wr)
}

func (x *pair) reset(window int, early bool) {
	x.s.Reset(window, early)
	x.p.window, x.p.early = window, early
	for i := range x.p.list {
		x.p.list[i].counted, x.p.list[i].sent = false, false
	}
}

func (x *pair) resend() bool {
	x.t.Helper()
	var got []sending
	all := x.s.Resend(func(id uint16, st State, v int) { got = append(got, sending{id, st, v}) })
	want, wantAll := x.p.resend()
	if !slices.Equal(got, want) || all != wantAll {
		x.fatal("Resend: %v %t, want %v %t", got, all, want, wantAll)
	}
	return all
}

func (x *pair) drop(f func(id uint16, st State, v int) bool) {
	x.s.Drop(f)
	x.p.list = slices.DeleteFunc(x.p.list, func(e plainEntry) bool { return f(e.id, e.st, e.v) })
}

func (x *pair) restore(id uint16, st State) {
	x.t.Helper()
	x.n++
	got := x.s.Restore(id, st, x.n)
	want := id != 0 && x.p.index(id) < 0
	if got != want {
		x.fatal("Restore(%d) %t, want %t", id, got, want)
	}
	if want {
		x.p.list = append(x.p.list, plainEntry{id: id, st: st, v: x.n})
		x.p.last = max(x.p.last, id)
	}
}

// pick gives an identifier: mostly one in use, by age.
func (x *pair) pick(k byte) uint16 {
	switch n := len(x.p.list); {
	case n == 0 || k >= 250:
		return uint16(k) * 257
	case k < 100: // near the oldest
		return x.p.list[int(k)%min(n, 5)].id
	case k < 150: // near the newest
		return x.p.list[n-1-int(k)%min(n, 5)].id
	default:
		return x.p.list[int(k)*n/256].id
	}
}

// answer acknowledges as a correct peer would.
func (x *pair) answer(id uint16) {
	x.t.Helper()
	i := x.p.index(id)
	if i < 0 {
		return
	}
	switch x.p.list[i].st {
	case AwaitPuback:
		x.puback(id)
	case AwaitPubrec:
		x.pubrec(id, false)
	case AwaitPubcomp:
		x.pubcomp(id)
	case Reserved:
		x.release(id)
	default:
		x.fatal("id %d is in state %d", id, x.p.list[i].st)
	}
}

// drive carries out a program: two bytes of window, two of first identifier,
// then two for each operation.
func drive(t *testing.T, program []byte) {
	if len(program) < 4 {
		return
	}
	x := &pair{t: t}
	x.s.lastID = binary.BigEndian.Uint16(program[2:])
	x.p.last = x.s.lastID
	x.reset(1+int(binary.BigEndian.Uint16(program))%600, program[0]&0x80 != 0)
	for ; len(program) >= 2; program = program[2:] {
		op, k := program[0], program[1]
		switch op % 32 {
		case 0, 1, 2, 3, 4, 5:
			x.start(AwaitPuback)
		case 6, 7, 8, 9, 10, 11:
			x.start(AwaitPubrec)
		case 12:
			x.start(Reserved)
		case 13:
			x.puback(x.pick(k))
		case 14:
			x.pubrec(x.pick(k), false)
		case 15:
			x.pubrec(x.pick(k), true)
		case 16:
			x.pubcomp(x.pick(k))
		case 17:
			x.release(x.pick(k))
		case 18:
			for range int(k) % 40 { // in order
				x.answer(x.pick(0))
			}
		case 19: // in order behind a stuck one
			for range int(k) % 40 {
				if len(x.p.list) > 1 {
					x.answer(x.p.list[1].id)
				}
			}
		case 20:
			if k < 30 {
				x.reset(1+int(k)*20, k%2 == 0)
				if k%3 != 0 {
					x.resend()
				}
			}
		case 21:
			x.resend()
		case 22:
			if k < 40 {
				x.drop(func(_ uint16, st State, v int) bool { return v%8 == int(k)%8 || st == State(k) })
			}
		case 23:
			if k < 100 {
				x.restore(x.pick(3*k), State(1+k%3))
			}
		default:
			x.answer(x.pick(k))
		}
		if op%8 == 0 {
			x.check()
		}
	}
	x.check()
	for len(x.p.list) > 0 {
		x.answer(x.p.list[len(x.p.list)/2].id)
	}
	x.check()
	if x.s.entries = x.s.entries[:cap(x.s.entries)]; slices.ContainsFunc(x.s.entries, func(e entry[int]) bool { return e.v != 0 }) {
		t.Fatal("an empty sender keeps values alive")
	}
}

// TestSenderRandom drives a Sender and its model through long random programs,
// round the end of the identifiers among them.
func TestSenderRandom(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 3))
		program := make([]byte, 8000)
		for i := range program {
			program[i] = byte(r.Uint32())
		}
		if seed%2 == 0 { // soon round the end
			binary.BigEndian.PutUint16(program[2:], uint16(65535-r.IntN(300)))
		}
		drive(t, program)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzSender(f *testing.F) {
	f.Add([]byte{0, 20, 255, 250, 0, 0, 6, 0, 12, 0, 18, 3, 24, 0, 24, 200})
	f.Add([]byte{128, 2, 255, 255, 6, 0, 6, 0, 14, 0, 6, 0, 20, 3, 21, 0, 19, 9})
	f.Add([]byte{1, 44, 0, 0, 23, 20, 23, 21, 23, 40, 20, 2, 21, 0, 22, 7, 15, 1, 16, 2, 17, 3})
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 4000 {
			program = program[:4000]
		}
		drive(t, program)
	})
}

// TestIDSetRandom compares with a map on both sides of the change to a bitmap.
func TestIDSetRandom(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 5))
		var s IDSet
		want := map[uint16]bool{}
		span := []int{20, 40, 200, 65535}[seed%4]
		for step := range 20000 {
			id := uint16(1 + r.IntN(span))
			if r.IntN(4) == 0 {
				id = 65535 - id + 1 // from the other end
			}
			switch {
			case step/3000%2 == 0 && r.IntN(3) > 0 || r.IntN(3) == 0:
				if got := s.Add(id); got == want[id] {
					t.Fatalf("seed %d: Add(%d) %t", seed, id, got)
				}
				want[id] = true
			default:
				if got := s.Remove(id); got != want[id] {
					t.Fatalf("seed %d: Remove(%d) %t", seed, id, got)
				}
				delete(want, id)
			}
			probe := uint16(r.Uint32())
			if s.Len() != len(want) || s.Has(id) != want[id] || s.Has(probe) != want[probe] {
				t.Fatalf("seed %d: len %d, want %d; Has(%d) %t, Has(%d) %t", seed, s.Len(), len(want), id, s.Has(id), probe, s.Has(probe))
			}
			if step%50 == 0 {
				free := probe + 1
				for free == 0 || want[free] {
					free++
				}
				if got := s.nextFree(probe); got != free {
					t.Fatalf("seed %d: nextFree(%d) %d, want %d", seed, probe, got, free)
				}
			}
			if step%2000 == 0 {
				seen := map[uint16]bool{}
				s.All(func(id uint16) bool { seen[id] = true; return true })
				if len(seen) != len(want) {
					t.Fatalf("seed %d: All gave %d, want %d", seed, len(seen), len(want))
				}
				for id := range seen {
					if !want[id] {
						t.Fatalf("seed %d: All gave %d", seed, id)
					}
				}
			}
		}
		for id := range want {
			s.Remove(id)
		}
		if s.Len() != 0 || s.bits != nil {
			t.Errorf("seed %d: an emptied set has %d ids and keeps its bitmap: %t", seed, s.Len(), s.bits != nil)
		}
	}
}
