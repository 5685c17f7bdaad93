package monitor

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

func TestBoardTake(t *testing.T) {
	b := newBoard()
	for i, tt := range []struct {
		topic, payload string
		retain         bool
		changed        bool
	}{
		{"a", "1", true, true},
		{"a", "1", false, false},
		{"a", "2", false, true},
		{"a", "", false, true},
		{"b", "", false, true}, // the first message is news even when empty
		{"b", "", true, false},
		{"c", strings.Repeat("x", 5000) + "y", false, true},
		{"c", strings.Repeat("x", 5000) + "z", false, true}, // differs behind what is kept
		{"c", strings.Repeat("x", 5000) + "z", false, false},
	} {
		e, changed := b.take(message{topic: tt.topic, payload: []byte(tt.payload), retain: tt.retain}, at(float64(i)))
		if changed != tt.changed {
			t.Errorf("%d: changed %v", i, changed)
		}
		if !e.last.Equal(at(float64(i))) || changed != e.changed.Equal(at(float64(i))) {
			t.Errorf("%d: last %v, changed %v", i, e.last, e.changed)
		}
	}
	a, bb, c := b.topics["a"], b.topics["b"], b.topics["c"]
	if !a.retained || a.messages != 4 || a.changes != 3 {
		t.Errorf("a: %+v", a)
	}
	if bb.retained || c.size != 5001 || len(c.payload) != maxKept {
		t.Errorf("b: %+v, c: %d of %d bytes", bb, len(c.payload), c.size)
	}
	if b.messages != 9 {
		t.Errorf("%d messages", b.messages)
	}
}

// TestRate sends ten messages a second until the average has settled, then none.
func TestRate(t *testing.T) {
	b := newBoard()
	var e *entry
	for i := range 400 {
		e, _ = b.take(message{topic: "a", payload: []byte("1")}, at(float64(i)/10))
	}
	if r := e.ratePerSecond(at(39.9)); r < 9.5 || r > 10.5 {
		t.Errorf("rate %.2f, want 10", r)
	}
	if r := e.ratePerSecond(at(60)); r > 0.5 {
		t.Errorf("rate %.2f after 20 s of silence", r)
	}
}

func TestNumbers(t *testing.T) {
	for text, want := range map[string]bool{"21.5": true, "-3": true, "21.5 °C": true, "": false, "on": false, "NaN": false, "1e999": false, "0x10": false, "12a": false} {
		if _, ok := number([]byte(text)); ok != want {
			t.Errorf("%q: number %v", text, ok)
		}
	}
	b := newBoard()
	for i := range 20 {
		b.take(message{topic: "a", payload: fmt.Append(nil, i)}, at(0))
	}
	e := b.topics["a"]
	if len(e.numbers) != sparks || e.numbers[0] != 4 || e.numbers[sparks-1] != 19 {
		t.Errorf("numbers %v", e.numbers)
	}
	if got := sparkline([]float32{1, 2, 8}); got != "▁▂█" {
		t.Errorf("sparkline %q", got)
	}
	if got := sparkline([]float32{3, 3}); got != "▅▅" {
		t.Errorf("sparkline of one value %q", got)
	}
	b.take(message{topic: "a", payload: []byte("off")}, at(1))
	if e.numbers != nil {
		t.Errorf("numbers %v after a word", e.numbers)
	}
}

func TestTree(t *testing.T) {
	b := newBoard()
	for _, topic := range []string{"b/y", "a", "b/x/1", "b", "/", "b/x/2", "a/b/c"} {
		b.take(message{topic: topic}, at(0))
	}
	for i := range 20 {
		b.take(message{topic: fmt.Sprintf("many/%02d", (i*7)%20)}, at(0))
	}
	b.settle()
	if !slices.IsSortedFunc(b.order, func(x, y *entry) int { return strings.Compare(x.topic, y.topic) }) || len(b.order) != 27 {
		t.Errorf("order of %d topics", len(b.order))
	}
	names := func() (list []string) {
		for _, n := range b.tree.rows(nil) {
			list = append(list, n.path())
		}
		return list
	}
	if got := fmt.Sprint(names()); got != "[ a b many]" {
		t.Errorf("closed: %s", got)
	}
	b.tree.openAll(true)
	got := names()
	want := []string{"", "/", "a", "a/b", "a/b/c", "b", "b/x", "b/x/1", "b/x/2", "b/y", "many", "many/00", "many/01"}
	if !slices.Equal(got[:len(want)], want) || len(got) != 31 {
		t.Errorf("open: %q", got)
	}
	for _, n := range b.tree.rows(nil) {
		if n.path() == "b" && (n.topics != 4 || n.messages != 4 || n.entry == nil) {
			t.Errorf("b: %d topics, %d messages", n.topics, n.messages)
		}
	}
	if e := b.topics["many/13"]; e.node.entry != e || e.node.path() != "many/13" {
		t.Errorf("node of many/13: %q", e.node.path())
	}
}

func TestTooManyTopics(t *testing.T) {
	b := newBoard()
	b.room = 3
	for i := range 5 {
		b.take(message{topic: fmt.Sprint(i)}, at(0))
	}
	if e, changed := b.take(message{topic: "1", payload: []byte("x")}, at(0)); e == nil || !changed || b.left != 2 || len(b.topics) != 3 {
		t.Errorf("entry %v, changed %v, left %d", e, changed, b.left)
	}
}
