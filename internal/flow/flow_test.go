package flow

import (
	"slices"
	"testing"
)

func started(t *testing.T, s *Sender[string], st State, v string) uint16 {
	t.Helper()
	id, ok := s.Start(st, v)
	if !ok {
		t.Fatalf("no identifier for %q", v)
	}
	return id
}

func expect(t *testing.T, what string, v string, r Result, wantV string, wantR Result) {
	t.Helper()
	if v != wantV || r != wantR {
		t.Errorf("%s: %q result %d, want %q %d", what, v, r, wantV, wantR)
	}
}

func quota(t *testing.T, s *Sender[string], when string, want int) {
	t.Helper()
	if got := s.Free(); got != want {
		t.Errorf("%s: %d may be started, want %d", when, got, want)
	}
}

// TestAllIdentifiers uses up all 65,535: each differs and none is zero; what is
// released in between is found again, and nothing that is in use.
//
// covers: 5:2.2.1-4 3:2.3.1-4
func TestAllIdentifiers(t *testing.T) {
	var s Sender[int]
	s.Reset(65535, false)
	var seen [65536]bool
	for i := range 65535 {
		if s.Free() != 65535-i {
			t.Fatalf("after %d: %d free", i, s.Free())
		}
		id, ok := s.Start(AwaitPuback, i)
		if !ok || id == 0 || seen[id] {
			t.Fatalf("message %d: id %d %t, used before: %t", i, id, ok, seen[id])
		}
		seen[id] = true
	}
	for range 2 {
		if id, ok := s.Start(Reserved, 0); ok {
			t.Fatalf("with all in use got id %d", id)
		}
	}
	if s.Len() != 65535 || s.Free() != 0 {
		t.Fatalf("%d in use, %d free", s.Len(), s.Free())
	}
	released := []uint16{65535, 1, 40000, 63, 64, 65, 32768, 2}
	for _, id := range released {
		if _, r := s.Puback(id); r != Finished {
			t.Fatalf("PUBACK %d: %d", id, r)
		}
	}
	var again []uint16
	for range released {
		id, ok := s.Start(AwaitPubrec, 1)
		if !ok {
			t.Fatal("released identifiers are not found")
		}
		again = append(again, id)
	}
	slices.Sort(released)
	if slices.Sort(again); !slices.Equal(again, released) {
		t.Errorf("got %v, released were %v", again, released)
	}
	if _, ok := s.Start(AwaitPubrec, 1); ok {
		t.Error("one more than released")
	}
}

// TestIdentifierOrder: identifiers are counted up and go round at 65535 without
// zero, past those in use.
func TestIdentifierOrder(t *testing.T) {
	var s Sender[string]
	s.Reset(100, false)
	for _, id := range []uint16{65534, 1, 3} {
		if !s.Restore(id, AwaitPuback, "old") {
			t.Fatalf("restore %d", id)
		}
	}
	for _, want := range []uint16{65535, 2, 4, 5} {
		if id := started(t, &s, AwaitPuback, "new"); id != want {
			t.Errorf("got id %d, want %d", id, want)
		}
	}
}

// TestOneIdentifierSpace: requests and messages of one sender share identifiers;
// the receiving direction has its own.
//
// covers: 5:U5-2.2.1-1
func TestOneIdentifierSpace(t *testing.T) {
	var s Sender[string]
	var r Receiver
	s.Reset(10, false)
	ids := []uint16{
		started(t, &s, AwaitPuback, "publish 1"), started(t, &s, Reserved, "subscribe"),
		started(t, &s, AwaitPubrec, "publish 2"), started(t, &s, Reserved, "unsubscribe"),
	}
	if !slices.Equal(ids, []uint16{1, 2, 3, 4}) {
		t.Errorf("ids %v", ids)
	}
	quota(t, &s, "two messages and two requests", 8) // requests need no quota
	for _, id := range ids {
		if r.Has(id) || !r.Accept(id) {
			t.Errorf("id %d of the other direction is taken", id)
		}
	}
	for _, id := range ids {
		if !r.Pubrel(id) || !s.Has(id) {
			t.Errorf("id %d: the directions are mixed", id)
		}
	}
}

// TestIdentifierFreed: what frees an identifier, and what does not.
//
// covers: 5:U5-2.2.1-2 3:2.3.1-3
func TestIdentifierFreed(t *testing.T) {
	var s Sender[string]
	s.Reset(10, false)
	a, b := started(t, &s, AwaitPuback, "a"), started(t, &s, AwaitPubrec, "b")
	c, d := started(t, &s, AwaitPubrec, "c"), started(t, &s, Reserved, "d")
	v, r := s.Puback(a)
	expect(t, "PUBACK", v, r, "a", Finished)
	v, r = s.Pubrec(b, false)
	expect(t, "PUBREC", v, r, "b", Advanced)
	if !s.Has(b) {
		t.Error("PUBREC freed the identifier")
	}
	v, r = s.Pubcomp(b)
	expect(t, "PUBCOMP", v, r, "b", Finished)
	v, r = s.Pubrec(c, true)
	expect(t, "PUBREC with an error", v, r, "c", Finished)
	v, r = s.Release(d)
	expect(t, "SUBACK", v, r, "d", Finished)
	for _, id := range []uint16{a, b, c, d} {
		if s.Has(id) {
			t.Errorf("id %d is still in use", id)
		}
		if _, r := s.Puback(id); r != Unknown {
			t.Errorf("a second acknowledgement of %d: %d", id, r)
		}
	}
	if s.Len() != 0 || s.Used() != 0 {
		t.Errorf("%d left, %d counted", s.Len(), s.Used())
	}
}

// TestAcknowledgements: every acknowledgement in every state. A wrong one frees
// nothing and gives no quota back.
//
// covers: E075 5:4.9.0-2
func TestAcknowledgements(t *testing.T) {
	type ack func(*Sender[string], uint16) (string, Result)
	puback := func(s *Sender[string], id uint16) (string, Result) { return s.Puback(id) }
	pubrec := func(s *Sender[string], id uint16) (string, Result) { return s.Pubrec(id, false) }
	refuse := func(s *Sender[string], id uint16) (string, Result) { return s.Pubrec(id, true) }
	pubcomp := func(s *Sender[string], id uint16) (string, Result) { return s.Pubcomp(id) }
	suback := func(s *Sender[string], id uint16) (string, Result) { return s.Release(id) }
	for _, c := range []struct {
		state State
		name  string
		ack   ack
		want  Result
	}{
		{AwaitPuback, "PUBACK", puback, Finished},
		{AwaitPuback, "PUBREC", pubrec, Wrong},
		{AwaitPuback, "PUBREC refused", refuse, Wrong},
		{AwaitPuback, "PUBCOMP", pubcomp, Wrong},
		{AwaitPuback, "SUBACK", suback, Wrong},
		{AwaitPubrec, "PUBACK", puback, Wrong},
		{AwaitPubrec, "PUBREC", pubrec, Advanced},
		{AwaitPubrec, "PUBREC refused", refuse, Finished},
		{AwaitPubrec, "PUBCOMP", pubcomp, Wrong},
		{AwaitPubrec, "SUBACK", suback, Wrong},
		{AwaitPubcomp, "PUBACK", puback, Wrong},
		{AwaitPubcomp, "PUBREC", pubrec, Repeated},
		{AwaitPubcomp, "PUBREC refused", refuse, Repeated},
		{AwaitPubcomp, "PUBCOMP", pubcomp, Finished},
		{AwaitPubcomp, "SUBACK", suback, Wrong},
		{Reserved, "PUBACK", puback, Wrong},
		{Reserved, "PUBREC", pubrec, Wrong},
		{Reserved, "PUBREC refused", refuse, Wrong},
		{Reserved, "PUBCOMP", pubcomp, Wrong},
		{Reserved, "SUBACK", suback, Finished},
	} {
		var s Sender[string]
		s.Reset(2, false)
		other := started(t, &s, AwaitPuback, "other")
		st := c.state
		if st == AwaitPubcomp {
			st = AwaitPubrec
		}
		id := started(t, &s, st, "v")
		if c.state == AwaitPubcomp {
			s.Pubrec(id, false)
		}
		before := s.Free()
		if v, r := c.ack(&s, 999); r != Unknown || v != "" || s.Free() != before || s.Len() != 2 {
			t.Errorf("state %d: stray %s: %q %d, free %d, was %d", c.state, c.name, v, r, s.Free(), before)
		}
		v, r := c.ack(&s, id)
		if r != c.want || r > Wrong && v != "v" {
			t.Errorf("state %d: %s: %q %d, want %d", c.state, c.name, v, r, c.want)
		}
		wantFree, wantLen := before, 2
		if c.want == Finished {
			wantLen = 1
			if c.state != Reserved {
				wantFree++
			}
		}
		if s.Free() != wantFree || s.Len() != wantLen || s.Has(id) != (wantLen == 2) || !s.Has(other) {
			t.Errorf("state %d after %s: free %d len %d, want %d %d", c.state, c.name, s.Free(), s.Len(), wantFree, wantLen)
		}
	}
}

// TestWindow: a window of two lets the third message go only after an end.
//
// covers: 5:4.9.0-1 5:4.9.0-2 5:3.3.4-9
func TestWindow(t *testing.T) {
	var s Sender[string]
	quota(t, &s, "zero value", 0)
	s.Reset(2, false)
	quota(t, &s, "begin", 2)
	a := started(t, &s, AwaitPuback, "a")
	quota(t, &s, "one out", 1)
	b := started(t, &s, AwaitPubrec, "b")
	quota(t, &s, "two out", 0)
	s.Puback(a)
	quota(t, &s, "PUBACK", 1)
	c := started(t, &s, AwaitPubrec, "c")
	quota(t, &s, "third out", 0)
	s.Pubrec(b, false)
	quota(t, &s, "PUBREC gives nothing back", 0)
	s.Pubrec(b, false)
	quota(t, &s, "nor does a second", 0)
	s.Pubcomp(b)
	quota(t, &s, "PUBCOMP", 1)
	s.Pubcomp(b)
	quota(t, &s, "a second PUBCOMP", 1)
	s.Pubrec(c, true)
	quota(t, &s, "PUBREC with an error", 2)
	if s.Used() != 0 {
		t.Errorf("%d counted", s.Used())
	}
}

// TestWindowReturnsAtPubrec is the rule for MQTT 3.1 and 3.1.1: a peer that
// never sends PUBCOMP does not stop traffic, and its identifiers stay taken.
func TestWindowReturnsAtPubrec(t *testing.T) {
	var s Sender[string]
	s.Reset(1, true)
	for i := range 200 {
		quota(t, &s, "before", 1)
		id := started(t, &s, AwaitPubrec, "v")
		quota(t, &s, "sent", 0)
		if i%50 == 7 {
			if _, r := s.Pubrec(id, true); r != Finished {
				t.Fatalf("refusal: %d", r)
			}
			continue
		}
		if _, r := s.Pubrec(id, false); r != Advanced {
			t.Fatalf("PUBREC: %d", r)
		}
		if _, r := s.Pubrec(id, false); r != Repeated {
			t.Fatalf("second PUBREC: %d", r)
		}
		if !s.Has(id) {
			t.Fatalf("id %d is free before PUBCOMP", id)
		}
	}
	if s.Len() != 196 || s.Used() != 0 {
		t.Errorf("%d held, %d counted, want 196 and 0", s.Len(), s.Used())
	}
	s.All(func(id uint16, st State, _ string) bool {
		if st != AwaitPubcomp {
			t.Errorf("id %d is in state %d", id, st)
		}
		return true
	})
	if _, r := s.Pubcomp(50); r != Finished || s.Has(50) {
		t.Errorf("late PUBCOMP: %d", r)
	}
	quota(t, &s, "a late PUBCOMP gives nothing back twice", 1)
	// All identifiers held that way leave nothing to start.
	for s.Free() > 0 {
		s.Pubrec(started(t, &s, AwaitPubrec, "v"), false)
	}
	if s.Len() != 65535 {
		t.Errorf("stopped at %d identifiers", s.Len())
	}
	s.Pubcomp(1234)
	quota(t, &s, "one identifier freed", 1)
}

func resent(s *Sender[string]) (out []string, all bool) {
	all = s.Resend(func(id uint16, st State, v string) {
		out = append(out, v+[]string{AwaitPuback: " publish", AwaitPubrec: " publish", AwaitPubcomp: " pubrel"}[st])
		if !s.Has(id) {
			out = append(out, "id not in use")
		}
	})
	return out, all
}

func checkResent(t *testing.T, s *Sender[string], when string, wantAll bool, want ...string) {
	t.Helper()
	got, all := resent(s)
	if !slices.Equal(got, want) || all != wantAll {
		t.Errorf("%s: resent %q, all %t; want %q, %t", when, got, all, want, wantAll)
	}
}

// TestQuotaPerConnection: each connection begins with its own receive maximum;
// what is resent counts against it, PUBREL does not, and no acknowledgement
// raises it above its start.
//
// covers: 5:U5-4.9-1 E094 E038
func TestQuotaPerConnection(t *testing.T) {
	var s Sender[string]
	s.Reset(4, false)
	a, b := started(t, &s, AwaitPubrec, "a"), started(t, &s, AwaitPuback, "b")
	c, d := started(t, &s, AwaitPubrec, "c"), started(t, &s, AwaitPuback, "d")
	s.Pubrec(a, false)
	checkResent(t, &s, "same connection", true)
	s.Reset(2, false)
	quota(t, &s, "new connection", 2)
	checkResent(t, &s, "first round", false, "a pubrel", "b publish", "c publish")
	quota(t, &s, "two resent", 0)
	s.Pubcomp(a)
	quota(t, &s, "PUBCOMP for a resent PUBREL", 0)
	checkResent(t, &s, "nothing came free", false)
	s.Puback(b)
	quota(t, &s, "PUBACK", 1)
	checkResent(t, &s, "second round", true, "d publish")
	quota(t, &s, "full again", 0)
	s.Pubrec(c, false)
	quota(t, &s, "PUBREC", 0)
	s.Puback(d)
	s.Pubcomp(c)
	quota(t, &s, "all ended", 2)
	checkResent(t, &s, "nothing left", true)
	s.Reset(9, false)
	quota(t, &s, "a larger one", 9)
}

// TestPubrelTakesNoRoom: behind messages that wait for room, PUBRELs go out.
//
// covers: E092
func TestPubrelTakesNoRoom(t *testing.T) {
	var s Sender[string]
	s.Restore(1, AwaitPuback, "a")
	s.Restore(2, AwaitPuback, "b")
	s.Restore(3, AwaitPubcomp, "c")
	s.Restore(4, AwaitPubcomp, "d")
	s.Reset(1, false)
	checkResent(t, &s, "window of one", false, "a publish", "c pubrel", "d pubrel")
	s.Pubcomp(3)
	s.Pubcomp(4)
	quota(t, &s, "after the PUBCOMPs", 0)
	s.Puback(1)
	checkResent(t, &s, "then", true, "b publish")
}

// TestPubrelSentOnce: a PUBREL that answered a PUBREC on this connection is not
// resent on it, even if its PUBLISH was never resent here.
func TestPubrelSentOnce(t *testing.T) {
	for _, st := range []State{AwaitPubrec, AwaitPubcomp} {
		var s Sender[string]
		s.Restore(1, AwaitPuback, "a")
		s.Restore(2, st, "b")
		s.Reset(0, false)
		if _, r := s.Pubrec(2, false); r < Advanced {
			t.Fatalf("PUBREC: %d", r)
		}
		checkResent(t, &s, "after PUBREC", false)
		s.Reset(1, false)
		checkResent(t, &s, "next connection", true, "a publish", "b pubrel")
	}
}

// TestResendOrder: resent messages keep the order in which they were first
// sent, also where identifiers go round the end, and their identifiers.
//
// covers: 5:4.6.0-1 3:4.6.0-1 E080
func TestResendOrder(t *testing.T) {
	var s Sender[int]
	for id := uint16(65526); id < 65530; id++ {
		s.Restore(id, AwaitPuback, int(id))
	}
	s.Reset(20, false)
	s.Resend(func(uint16, State, int) {})
	var want []uint16
	for id := uint16(65526); id < 65530; id++ {
		want = append(want, id)
	}
	for i := range 10 {
		id, _ := s.Start(AwaitPubrec, i)
		want = append(want, id)
	}
	if !slices.Equal(want[4:], []uint16{65530, 65531, 65532, 65533, 65534, 65535, 1, 2, 3, 4}) {
		t.Fatalf("ids %v", want)
	}
	s.Puback(65527) // a gap
	want = slices.Delete(want, 1, 2)
	for round := range 3 { // whatever the reconnects
		s.Reset(20, false)
		var got []uint16
		all := s.Resend(func(id uint16, _ State, _ int) { got = append(got, id) })
		if !slices.Equal(got, want) || !all {
			t.Errorf("round %d: resent %v, want %v", round, got, want)
		}
	}
	// A new message takes no identifier that is in flight.
	if id, _ := s.Start(AwaitPuback, 0); id != 5 {
		t.Errorf("new id %d", id)
	}
}

// TestRefusedNotResent: PUBREC with an error ends the delivery for good.
//
// covers: E086
func TestRefusedNotResent(t *testing.T) {
	var s Sender[string]
	s.Reset(5, false)
	a := started(t, &s, AwaitPubrec, "a")
	started(t, &s, AwaitPubrec, "b")
	v, r := s.Pubrec(a, true)
	expect(t, "refusal", v, r, "a", Finished)
	if s.Has(a) {
		t.Error("the id is kept")
	}
	quota(t, &s, "refusal", 4)
	s.Reset(5, false)
	checkResent(t, &s, "resume", true, "b publish")
}

// TestReservedNotResent: a SUBSCRIBE is never sent again; its identifier stays
// taken until Release or Drop.
func TestReservedNotResent(t *testing.T) {
	var s Sender[string]
	s.Reset(1, false)
	id := started(t, &s, Reserved, "sub")
	s.Reset(1, false)
	checkResent(t, &s, "resume", true)
	if !s.Has(id) {
		t.Error("the identifier is free")
	}
	s.Drop(func(_ uint16, st State, _ string) bool { return st == Reserved })
	if s.Has(id) || s.Len() != 0 {
		t.Error("Drop left the reservation")
	}
}

func TestRestore(t *testing.T) {
	var s Sender[string]
	if s.Restore(0, AwaitPuback, "zero") {
		t.Error("identifier 0 restored")
	}
	if !s.Restore(7, AwaitPuback, "a") || s.Restore(7, AwaitPubrec, "b") {
		t.Error("an identifier restored twice")
	}
	s.Restore(3, AwaitPubcomp, "c")
	if s.Len() != 2 || s.Used() != 0 {
		t.Errorf("%d exchanges, %d counted", s.Len(), s.Used())
	}
	s.Reset(3, false)
	if id := started(t, &s, AwaitPuback, "new"); id != 8 {
		t.Errorf("first new id %d, want the one after the largest restored", id)
	}
	quota(t, &s, "restored ones do not count before they are resent", 2)
	v, r := s.Puback(7)
	expect(t, "PUBACK for what was not resent yet", v, r, "a", Finished)
	quota(t, &s, "nor when they end", 2)
}

// TestDrop frees identifiers and quota of what it removes, and of nothing else.
func TestDrop(t *testing.T) {
	var s Sender[string]
	s.Reset(10, false)
	for range 3 {
		started(t, &s, AwaitPuback, "keep")
		started(t, &s, AwaitPubrec, "drop")
	}
	s.Puback(1) // finished entries are not offered
	var offered []uint16
	s.Drop(func(id uint16, _ State, v string) bool {
		offered = append(offered, id)
		return v == "drop"
	})
	if !slices.Equal(offered, []uint16{2, 3, 4, 5, 6}) {
		t.Errorf("offered %v", offered)
	}
	for id := uint16(1); id <= 6; id++ {
		if s.Has(id) != (id == 3 || id == 5) {
			t.Errorf("id %d in use: %t", id, s.Has(id))
		}
	}
	quota(t, &s, "after Drop", 8)
	if _, r := s.Pubrec(2, false); r != Unknown {
		t.Errorf("PUBREC for a dropped one: %d", r)
	}
	for _, id := range []uint16{5, 3} {
		v, r := s.Puback(id)
		expect(t, "kept", v, r, "keep", Finished)
	}
}

func TestAllStops(t *testing.T) {
	var s Sender[string]
	s.Reset(10, false)
	for range 5 {
		started(t, &s, AwaitPuback, "v")
	}
	n := 0
	s.All(func(uint16, State, string) bool { n++; return n < 2 })
	if n != 2 {
		t.Errorf("All went on to %d", n)
	}
	var r Receiver
	for id := range uint16(100) {
		r.Accept(id + 1)
		if id == 20 || id == 99 {
			n = 0
			r.All(func(uint16) bool { n++; return n < 2 })
			if n != 2 {
				t.Errorf("with %d ids Receiver.All went on to %d", id+1, n)
			}
		}
	}
}

// TestStuckHead: messages that are never acknowledged stay at the front while
// all others come and go, over several rounds of the identifiers and many
// compactions; each acknowledgement finds its message.
func TestStuckHead(t *testing.T) {
	const window = 300
	var s Sender[int]
	s.Reset(window, false)
	type out struct {
		id uint16
		v  int
	}
	var flying, stuck []out
	n := 0
	for range 200000 {
		for s.Free() > 0 {
			n++
			id, ok := s.Start(AwaitPuback, n)
			if !ok {
				t.Fatal("no identifier")
			}
			if n%40000 == 1 || n < 4 {
				stuck = append(stuck, out{id, n})
			} else {
				flying = append(flying, out{id, n})
			}
		}
		i := n * 7 % min(len(flying), 20)
		if v, r := s.Puback(flying[i].id); r != Finished || v != flying[i].v {
			t.Fatalf("id %d: value %d result %d, want %d", flying[i].id, v, r, flying[i].v)
		}
		flying = slices.Delete(flying, i, i+1)
		if len(s.entries) > 8*window {
			t.Fatalf("%d entries for a window of %d", len(s.entries), window)
		}
	}
	if len(stuck) < 6 {
		t.Fatalf("only %d stuck", len(stuck))
	}
	for _, o := range append(stuck, flying...) {
		if v, r := s.Puback(o.id); r != Finished || v != o.v {
			t.Errorf("id %d: value %d result %d, want %d", o.id, v, r, o.v)
		}
	}
	if s.Len() != 0 || s.Free() != window {
		t.Errorf("%d left, %d free", s.Len(), s.Free())
	}
}

// TestRoom: a window that is never empty takes room for a few windows only.
func TestRoom(t *testing.T) {
	for _, window := range []int{1, 2, 20, 500} {
		var s Sender[int]
		s.Reset(window+1, false)
		first, _ := s.Start(AwaitPuback, 0)
		for range 20 * window {
			for s.Free() > 0 {
				s.Start(AwaitPuback, 0)
			}
			s.Puback(first)
			s.All(func(id uint16, _ State, _ int) bool { first = id; return false })
		}
		if c := cap(s.entries); c > 4*window+4 {
			t.Errorf("window of %d: room for %d", window, c)
		}
	}
}

// TestMemoryReturned: a burst of all identifiers leaves no large buffer behind,
// neither after the last acknowledgement nor with one that stays.
func TestMemoryReturned(t *testing.T) {
	for _, stuck := range []bool{false, true} {
		var s Sender[*int]
		s.Reset(65535, false)
		for range 65535 {
			s.Start(AwaitPuback, new(int))
		}
		for id := uint16(1); id != 0; id++ {
			if !stuck || id != 77 {
				s.Puback(id)
			}
		}
		if stuck {
			s.Drop(func(uint16, State, *int) bool { return false })
		}
		if c := cap(s.entries); c > 65536/4 {
			t.Errorf("stuck %t: room for %d entries is kept", stuck, c)
		}
		if !stuck && s.ids.bits != nil {
			t.Error("the bitmap is kept")
		}
		if _, r := s.Puback(1); r != Unknown {
			t.Errorf("stuck %t: a stray PUBACK: %d", stuck, r)
		}
		if id, ok := s.Start(AwaitPuback, nil); !ok || id != 1 {
			t.Errorf("stuck %t: then id %d %t", stuck, id, ok)
		}
	}
}

func TestReceiver(t *testing.T) {
	var r Receiver
	if r.Has(9) || r.Pubrel(9) || r.Len() != 0 {
		t.Error("an empty receiver knows an identifier")
	}
	if !r.Accept(9) {
		t.Error("the first PUBLISH is not new")
	}
	for range 2 {
		if r.Accept(9) {
			t.Error("a repeat counts as new")
		}
	}
	if !r.Accept(10) || r.Len() != 2 || !r.Has(9) {
		t.Error("identifiers are mixed")
	}
	if !r.Pubrel(9) || r.Has(9) || r.Len() != 1 {
		t.Error("PUBREL does not free the identifier")
	}
	if r.Pubrel(9) {
		t.Error("a second PUBREL is known")
	}
	if !r.Accept(9) {
		t.Error("after PUBREL the identifier is not new")
	}
	var all []uint16
	r.All(func(id uint16) bool { all = append(all, id); return true })
	if slices.Sort(all); !slices.Equal(all, []uint16{9, 10}) {
		t.Errorf("All: %v", all)
	}
}

// TestAllIdentifiersInbound: all 65,535 may await PUBREL at once.
func TestAllIdentifiersInbound(t *testing.T) {
	var r Receiver
	for id := uint16(65535); id != 0; id-- {
		if !r.Accept(id) {
			t.Fatalf("%d is not new", id)
		}
	}
	sum := 0
	r.All(func(id uint16) bool { sum += int(id); return true })
	if r.Len() != 65535 || sum != 65535*65536/2 {
		t.Errorf("%d identifiers, sum %d", r.Len(), sum)
	}
	for id := uint16(1); id != 0; id++ {
		if r.Accept(id) || !r.Pubrel(id) {
			t.Fatalf("%d is lost", id)
		}
	}
	if r.Len() != 0 {
		t.Errorf("%d left", r.Len())
	}
}
