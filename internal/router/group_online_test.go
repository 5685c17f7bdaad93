package router

import "testing"

// TestPickOtherPrefersOnline: the first in turn that is online and not the one excluded; else the first that is not excluded.
func TestPickOtherPrefersOnline(t *testing.T) {
	tests := []struct {
		name   string
		not    int
		online []int // members 1 to 4, whose turns come in this order
		want   int
	}{
		{"nobody", 1, nil, 2},
		{"nobody, another excluded", 3, nil, 1},
		{"all", 1, []int{1, 2, 3, 4}, 2},
		{"only the excluded one", 2, []int{2}, 1},
		{"one behind", 1, []int{4}, 4},
		{"two behind", 1, []int{3, 4}, 3},
		{"a stranger excluded", 9, []int{2}, 2},
	}
	for _, tt := range tests {
		_, g := newTestGroup(t, 1, 2, 3, 4)
		online := func(s int) bool {
			for _, o := range tt.online {
				if o == s {
					return true
				}
			}
			return false
		}
		m, ok := g.PickOther(tt.not, online)
		if !ok || m.Sub != tt.want {
			t.Errorf("%s: got %d %t, want %d", tt.name, m.Sub, ok, tt.want)
		}
		// The turn goes on behind the one that was taken.
		if m, ok := g.Pick(nil); !ok || m.Sub != tt.want%4+1 {
			t.Errorf("%s: then %d %t, want %d", tt.name, m.Sub, ok, tt.want%4+1)
		}
	}
}

// TestGroupMemory: a group that was large gives its room back and still finds everybody.
func TestGroupMemory(t *testing.T) {
	g := newGroup[int]("g", "t")
	for i := range 1000 {
		g.add(Match[int]{Sub: i})
	}
	for i := range 990 {
		if left, ok := g.remove(i); !ok || left != 999-i {
			t.Fatalf("remove %d: %d left, %t", i, left, ok)
		}
	}
	if c := cap(g.members); c > 4*2*indexFrom || g.at != nil {
		t.Errorf("room for %d of 10 members, index %t", c, g.at != nil)
	}
	for i, m := range g.members[len(g.members):cap(g.members)] {
		if m != (member[int]{}) {
			t.Fatalf("place %d behind the members holds %+v", i, m)
		}
	}
	for i := 990; i < 1000; i++ {
		if m, ok := g.Pick(nil); !ok || m.Sub != i {
			t.Errorf("got %d, want %d", m.Sub, i)
		}
		if existed := g.add(Match[int]{Sub: i}); !existed {
			t.Errorf("%d is not found", i)
		}
	}
	g.remove(995)
	if m := g.members[:10][9]; m != (member[int]{}) {
		t.Errorf("the place that became free holds %+v", m)
	}
}

// TestSlabForgets: what is released is held no longer, and the place is empty when it is given out again.
func TestSlabForgets(t *testing.T) {
	var s slab[string]
	keep, id := s.alloc(), s.alloc()
	*s.at(keep), *s.at(id) = "keep", "gone"
	s.release(id)
	if *s.at(id) != "" || *s.at(keep) != "keep" {
		t.Errorf("released %q, kept %q", *s.at(id), *s.at(keep))
	}
	if again := s.alloc(); again != id || *s.at(again) != "" {
		t.Errorf("place %d again as %d with %q", id, again, *s.at(again))
	}
}

// TestNodeMemory: a filter that a crowd had gives their room back, and not before most of them have left.
func TestNodeMemory(t *testing.T) {
	tree := New[int]()
	for i := range 1000 {
		tree.Subscribe("a", i, Options{})
	}
	subs := func() int { return cap(tree.place("a").more.subs) }
	full := subs()
	for i := range 500 {
		tree.Unsubscribe("a", i)
	}
	if c := subs(); c != full {
		t.Errorf("room for %d with half of them there, was %d", c, full)
	}
	for i := 500; i < 990; i++ {
		tree.Unsubscribe("a", i)
	}
	if c := subs(); c > 4*2*indexFrom {
		t.Errorf("room for %d of 10", c)
	}
	var r Result[int]
	if tree.Match("a", &r); len(r.Plain) != 10 {
		t.Errorf("%d matches", len(r.Plain))
	}
}
