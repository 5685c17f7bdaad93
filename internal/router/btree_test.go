package router

import (
	"fmt"
	"testing"
)

// TestOrdersOfArrival: inner nodes split wherever the new child goes, and every topic is reached from the top.
func TestOrdersOfArrival(t *testing.T) {
	const n = 14000
	inwards := func(i int) int {
		if i%2 == 0 {
			return i / 2
		}
		return n - 1 - i/2
	}
	orders := map[string]func(i int) int{
		"ascending":   func(i int) int { return i },
		"descending":  func(i int) int { return n - 1 - i },
		"inwards":     inwards,
		"outwards":    func(i int) int { return inwards(n - 1 - i) },
		"interleaved": func(i int) int { return i * 5003 % n },
	}
	for name, order := range orders {
		t.Run(name, func(t *testing.T) {
			tree := &NewRetained[int]().tree
			for i := range n {
				tree.set(entry[int]{topic: fmt.Sprintf("t/%06d", order(i)), msg: order(i)})
				if i%2000 == 0 {
					tree.check(t)
				}
			}
			tree.check(t)
			if tree.height < 2 || tree.items.live != n {
				t.Fatalf("height %d, %d entries", tree.height, tree.items.live)
			}
			for i := range n {
				topic := fmt.Sprintf("t/%06d", i)
				l := tree.seek(topic, nil)
				if at := tree.search(l, topic, 0); at == l.n || tree.topic(l, at) != topic {
					t.Fatalf("%s is not where it is looked for", topic)
				}
			}
			for i := range n {
				if old, had := tree.del(fmt.Sprintf("t/%06d", order(i))); !had || old.msg != order(i) {
					t.Fatalf("delete %d: %v %t", order(i), old, had)
				}
				if i%2000 == 0 {
					tree.check(t)
				}
			}
			tree.check(t)
		})
	}
}

// TestFullInnerNode takes the first, a middle and the last child out of an inner node that is full.
func TestFullInnerNode(t *testing.T) {
	for _, kid := range []int{0, innerMax / 2, innerMax - 1} {
		tree := &NewRetained[int]().tree
		n := 0
		for ; tree.height == 0 || tree.top.in.n < innerMax; n++ {
			tree.set(entry[int]{topic: fmt.Sprintf("t/%06d", n)})
		}
		if tree.height != 1 {
			t.Fatalf("height %d", tree.height)
		}
		top := tree.top.in
		// Empty the child and its neighbours, so that two of them make one leaf.
		for step := 0; top.n == innerMax; step++ {
			if step > 3*leafMax {
				t.Fatal("no child was taken out")
			}
			i := min(max(kid-step%2, 0), top.n-1)
			if l := top.kids[i].lf; l.n > leafMin {
				tree.del(tree.topic(l, 0))
			} else {
				tree.del(tree.topic(top.kids[kid].lf, 0))
			}
		}
		tree.check(t)
	}
}

// TestSpreadLeaves: a leaf that has become too empty and a full neighbour share their entries evenly, whichever is the first.
func TestSpreadLeaves(t *testing.T) {
	for _, last := range []bool{false, true} {
		tree := &NewRetained[int]().tree
		n := 0
		for ; tree.height == 0 || tree.top.in.n < 4 || tree.top.in.kids[3].lf.n < leafMax-1; n++ {
			tree.set(entry[int]{topic: fmt.Sprintf("t/%06d", n)})
		}
		top := tree.top.in
		poor, rich := top.kids[0].lf, top.kids[1].lf
		if last {
			poor, rich = top.kids[3].lf, top.kids[2].lf
		}
		both := rich.n + leafMin - 1
		for range poor.n - leafMin + 1 {
			tree.del(tree.topic(poor, poor.n/2))
			n--
		}
		tree.check(t)
		if top.n != 4 || poor.n+rich.n != both || poor.n-rich.n > 1 || rich.n-poor.n > 1 {
			t.Errorf("last %t: %d children, %d and %d entries of %d", last, top.n, poor.n, rich.n, both)
		}
		for l := tree.seek("", nil); l != nil; l = l.next {
			n -= l.n
		}
		if n != 0 {
			t.Errorf("last %t: %d entries are lost", last, n)
		}
	}
}
