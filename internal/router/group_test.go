package router

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func newTestGroup(t *testing.T, members ...int) (*Tree[int], *Group[int]) {
	t.Helper()
	tree := New[int]()
	for _, m := range members {
		tree.SubscribeShared("g", "t/#", m, Options{ID: uint32(m + 1)})
	}
	var r Result[int]
	if tree.Match("t", &r); len(r.Groups) != 1 || len(r.Plain) != 0 {
		t.Fatalf("%d groups and %d plain matches, want 1 and 0", len(r.Groups), len(r.Plain))
	}
	return tree, r.Groups[0]
}

func picks(g *Group[int], n int, online func(int) bool) (order []int) {
	for range n {
		m, _ := g.Pick(online)
		order = append(order, m.Sub)
	}
	return order
}

// covers: 5:U5-4.8.2-1 5:U5-3.3.4-1
func TestPickTakesTurns(t *testing.T) {
	_, g := newTestGroup(t, 3, 1, 2)
	if got := picks(g, 7, nil); !slices.Equal(got, []int{3, 1, 2, 3, 1, 2, 3}) {
		t.Errorf("order %v", got)
	}
	if m, ok := g.Pick(nil); !ok || m.Sub != 1 || m.ID != 2 {
		t.Errorf("picked %+v, %v; want member 1 with its own identifier 2", m, ok)
	}
	if g.Key() != "$share/g/t/#" || g.Len() != 3 {
		t.Errorf("key %q, %d members", g.Key(), g.Len())
	}
}

// covers: E151
func TestPickPrefersOnline(t *testing.T) {
	_, g := newTestGroup(t, 0, 1, 2, 3, 4)
	odd := func(i int) bool { return i%2 == 1 }
	if got := picks(g, 6, odd); !slices.Equal(got, []int{1, 3, 1, 3, 1, 3}) {
		t.Errorf("order %v, want members 1 and 3 in turns", got)
	}
	none := func(int) bool { return false }
	got := picks(g, 5, none)
	slices.Sort(got)
	if !slices.Equal(got, []int{0, 1, 2, 3, 4}) {
		t.Errorf("with nobody online: %v, want each once", got)
	}
}

func TestPickOther(t *testing.T) {
	_, g := newTestGroup(t, 0, 1, 2)
	for range 6 {
		if m, ok := g.PickOther(1, nil); !ok || m.Sub == 1 {
			t.Errorf("picked %+v, %v", m, ok)
		}
	}
	only1 := func(i int) bool { return i == 1 }
	seen := map[int]int{}
	for range 4 {
		m, ok := g.PickOther(1, only1)
		if !ok {
			t.Fatal("no member picked although others exist offline")
		}
		seen[m.Sub]++
	}
	if seen[0] != 2 || seen[2] != 2 {
		t.Errorf("offline members picked %v, want 0 and 2 in turns", seen)
	}
	_, alone := newTestGroup(t, 1)
	if _, ok := alone.PickOther(1, nil); ok {
		t.Error("a member was picked instead of itself")
	}
}

// covers: E155 5:U5-4.8.2-2 5:U5-3.10.4-2
func TestMembershipIsSingle(t *testing.T) {
	tree, g := newTestGroup(t, 1, 2)
	if !tree.SubscribeShared("g", "t/#", 1, Options{QoS: 2}) || g.Len() != 2 {
		t.Error("subscribing again made a second membership")
	}
	if m, _ := g.Pick(nil); m.Sub != 1 || m.Options != (Options{QoS: 2}) {
		t.Errorf("picked %+v, want member 1 with its new options", m)
	}
	if !tree.UnsubscribeShared("g", "t/#", 1) || g.Len() != 1 {
		t.Error("one UNSUBSCRIBE did not leave the group")
	}
	if got := picks(g, 3, nil); !slices.Equal(got, []int{2, 2, 2}) {
		t.Errorf("picked %v, want only the member that stayed", got)
	}
	if !tree.UnsubscribeShared("g", "t/#", 2) {
		t.Error("the last member could not leave")
	}
	if m, ok := g.Pick(nil); ok {
		t.Errorf("an empty group picked %+v", m)
	}
	if _, ok := g.PickOther(9, nil); ok {
		t.Error("an empty group picked another")
	}
	checkEmpty(t, tree)
}

// Members keep the order in which they joined, whoever leaves; a new one comes last in the round. A plain list is the reference.
func TestTurnsAgainstReference(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 2))
	g := newGroup[int]("g", "t")
	var queue []int // front: whose turn it is
	for step := range 20000 {
		limit := 8
		if step/4000%2 == 1 {
			limit = 120
		}
		s := r.IntN(limit)
		i := slices.Index(queue, s)
		g.check(t)
		switch r.IntN(3) {
		case 0:
			if g.add(Match[int]{Sub: s}) != (i >= 0) {
				t.Fatalf("step %d: add existed %v", step, i < 0)
			}
			if i < 0 {
				queue = append(queue, s)
			}
		case 1:
			left, ok := g.remove(s)
			if i >= 0 {
				queue = slices.Delete(queue, i, i+1)
			}
			if ok != (i >= 0) || left != len(queue) {
				t.Fatalf("step %d: remove gave %d, %v", step, left, ok)
			}
		default:
			online := func(s int) bool { return s%3 != 0 }
			m, ok := g.Pick(online)
			if ok != (len(queue) > 0) {
				t.Fatalf("step %d: pick gave %v with %d members", step, ok, len(queue))
			}
			if !ok {
				continue
			}
			at := max(slices.IndexFunc(queue, online), 0)
			if m.Sub != queue[at] {
				t.Fatalf("step %d: picked %d, want %d", step, m.Sub, queue[at])
			}
			queue = append(slices.Clone(queue[at+1:]), queue[:at+1]...)
		}
	}
}
