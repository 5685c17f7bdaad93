package monitor

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	"charm.land/lipgloss/v2"

	"github.com/midgemq/midge/internal/cli/reach"
	"github.com/midgemq/midge/mqtt"
)

// filled is a screen with some topics at time 0.
func filled(topics ...string) *screen {
	s := newScreen(newBoard())
	s.connected, s.status = true, "mqtt://test"
	for _, topic := range topics {
		s.take([]message{{topic: topic, payload: []byte("v of " + topic)}}, at(0))
	}
	return s
}

// press gives keys by their names; a name of one character types it too.
func press(s *screen, keys ...string) (last action) {
	for _, k := range keys {
		text := ""
		if len([]rune(k)) == 1 {
			text = k
		}
		last = s.key(k, text, at(1))
		s.view(at(1))
	}
	return last
}

// plain removes what styles add.
func plain(s string) string {
	var out strings.Builder
	for len(s) > 0 {
		if i := strings.IndexByte(s, 0x1b); i >= 0 {
			out.WriteString(s[:i])
			s = s[i:]
			s = s[strings.IndexByte(s, 'm')+1:]
			continue
		}
		out.WriteString(s)
		break
	}
	return out.String()
}

func topicUnderCursor(s *screen) string {
	topic, _ := s.selected()
	return topic
}

func TestBrowseList(t *testing.T) {
	s := filled("b", "a", "c")
	press(s, "t")
	if got := topicUnderCursor(s); got != "a" {
		t.Fatalf("cursor on %q", got)
	}
	press(s, "down", "down", "down")
	if got := topicUnderCursor(s); got != "c" {
		t.Errorf("cursor on %q", got)
	}
	// Topics that come before it leave the cursor on its topic.
	s.take([]message{{topic: "aa"}, {topic: "0"}}, at(1))
	s.view(at(1))
	if got := topicUnderCursor(s); got != "c" || s.count() != 5 {
		t.Errorf("cursor on %q of %d", got, s.count())
	}
	press(s, "home")
	if got := topicUnderCursor(s); got != "0" {
		t.Errorf("cursor on %q", got)
	}
	if a := press(s, "q"); a.kind != quit {
		t.Errorf("q: %+v", a)
	}
	if a := press(s, "/", "ctrl+c"); a.kind != quit {
		t.Errorf("ctrl+c while typing: %+v", a)
	}
}

func TestBrowseTree(t *testing.T) {
	s := filled("home/door", "home/light/1", "zoo")
	s.view(at(0))
	press(s, "right", "down", "down", "enter")
	if s.count() != 5 {
		t.Fatalf("%d rows", s.count())
	}
	press(s, "down")
	if got := topicUnderCursor(s); got != "home/light/1" {
		t.Errorf("cursor on %q", got)
	}
	press(s, "left")
	if got := topicUnderCursor(s); got != "home/light" {
		t.Errorf("left leads to %q", got)
	}
	press(s, "_")
	if s.count() != 2 {
		t.Errorf("%d rows when all is closed", s.count())
	}
	press(s, "*")
	if s.count() != 5 {
		t.Errorf("%d rows when all is open", s.count())
	}
	// From the list back to the tree: the topic stays selected and its levels are open.
	press(s, "_", "t", "home", "down", "t")
	if got := topicUnderCursor(s); got != "home/light/1" {
		t.Errorf("cursor on %q after the way back", got)
	}
}

func TestFilter(t *testing.T) {
	s := filled("home/door", "home/Light", "work/light/1")
	press(s, "/", "l", "i", "g", "h", "t")
	if s.count() != 2 {
		t.Errorf("%d topics with a part of the name", s.count())
	}
	press(s, "ctrl+u", "+", "/", "d", "o", "o", "r", "enter")
	if s.count() != 1 || topicUnderCursor(s) != "home/door" || s.mode != browsing {
		t.Errorf("%d topics with a filter, cursor on %q", s.count(), topicUnderCursor(s))
	}
	s.take([]message{{topic: "yard/door"}}, at(1))
	s.view(at(1))
	if s.count() != 2 {
		t.Errorf("%d topics after another came", s.count())
	}
	press(s, "/", "esc")
	if s.filter != "" || s.mode != browsing {
		t.Errorf("filter %q after Esc", s.filter)
	}
}

func TestPause(t *testing.T) {
	s := filled("a")
	press(s, "p")
	s.take([]message{{topic: "a", payload: []byte("1")}, {topic: "a", payload: []byte("2")}, {topic: "b"}}, at(2))
	if !strings.Contains(plain(s.view(at(2))), "PAUSED, 3 messages wait") || s.board.topics["b"] != nil {
		t.Errorf("paused:\n%s", plain(s.view(at(2))))
	}
	press(s, "p")
	if got := string(s.board.topics["a"].payload); got != "2" || s.board.topics["b"] == nil || s.missed != 0 {
		t.Errorf("after the pause a is %q", got)
	}
}

func TestPublishAndDelete(t *testing.T) {
	s := filled("a")
	s.take([]message{{topic: "a", payload: []byte("kept"), retain: true}}, at(0))
	if a := press(s, "D", "n"); a.kind != nothing || !s.board.topics["a"].retained {
		t.Errorf("no: %+v", a)
	}
	a := press(s, "D", "y")
	if a.kind != publish || a.topic != "a" || len(a.text) != 0 || !a.retain || s.board.topics["a"].retained {
		t.Errorf("yes: %+v", a)
	}
	if a := press(s, "D"); a.kind != nothing || s.mode != browsing {
		t.Errorf("nothing retained: %+v, mode %d", a, s.mode)
	}
	if press(s, "P"); s.input != "a" {
		t.Errorf("input %q", s.input)
	}
	press(s, "+", "enter")
	if s.mode != publishTopic || !strings.Contains(s.note, "wildcard") {
		t.Errorf("a wildcard: mode %d, %q", s.mode, s.note)
	}
	a = press(s, "backspace", "b", "enter", "tab", "h", "i", "enter")
	if a.kind != publish || a.topic != "ab" || string(a.text) != "hi" || !a.retain {
		t.Errorf("publish: %+v", a)
	}
	if a = press(s, "P", "esc"); a.kind != nothing || s.mode != browsing {
		t.Errorf("Esc: %+v", a)
	}
	if a = press(s, "y"); a.kind != copyText || string(a.text) != "kept" {
		t.Errorf("copy: %+v", a)
	}
	if a = press(s, "Y"); string(a.text) != "a" {
		t.Errorf("copy topic: %+v", a)
	}
}

// TestView checks that every picture has the size of the terminal.
func TestView(t *testing.T) {
	s := filled("home/temp", "日本/語", "evil/\u202e", "x")
	s.take([]message{{topic: "evil/\u202e", payload: []byte("\x1b[31m\x1b]52;c;eA==\a\xff\n\u0301é日本")}}, at(0))
	for i := range 5 {
		s.take([]message{{topic: "home/temp", payload: fmt.Append(nil, 20+i)}}, at(float64(i)))
	}
	modes := [][]string{{}, {"t"}, {"d"}, {"?"}, {"/", "e"}, {"enter", "P"}, {"x", "y", "z"}}
	for _, size := range [][2]int{{80, 24}, {140, 40}, {40, 10}, {20, 4}} {
		s.width, s.height = size[0], size[1]
		for _, keys := range modes {
			press(s, keys...)
			picture := s.view(at(5))
			lines := strings.Split(picture, "\n")
			if len(lines) != s.height && s.height > 9 {
				t.Errorf("%v, %v: %d lines", size, keys, len(lines))
			}
			for _, l := range lines {
				if w := lipgloss.Width(l); w > s.width && s.width >= 80 {
					t.Errorf("%v, %v: line of %d columns: %q", size, keys, w, l)
				}
				for _, r := range plain(l) {
					if !unicode.IsPrint(r) {
						t.Errorf("%v, %v: %q in %q", size, keys, r, l)
					}
				}
			}
		}
		s.mode, s.detail = browsing, false
	}
	s.width, s.height = 140, 40
	s.filter, s.stale = "temp", true
	got := plain(s.view(at(5)))
	for _, want := range []string{"home/temp", "▁▂▄▆█", "24", "1.0s", "filter temp: 1"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// TestChangesOrAll: the age is that of the value, or of the message.
func TestChangesOrAll(t *testing.T) {
	s := filled("a")
	press(s, "t")
	s.take([]message{{topic: "a", payload: []byte("v of a")}}, at(30))
	if got := plain(s.view(at(31))); !strings.Contains(got, "31s") {
		t.Errorf("changes:\n%s", got)
	}
	press(s, "c")
	if got := plain(s.view(at(31))); !strings.Contains(got, "1.0s") || !strings.Contains(got, "all messages") {
		t.Errorf("all:\n%s", got)
	}
}

func FuzzEscaped(f *testing.F) {
	f.Add([]byte("a\x1b[0m\xff\u202e日本"), 10)
	f.Add([]byte(""), 0)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		limit = 1 + (limit&0xff+256)%256
		s := escaped(b, limit)
		if w := lipgloss.Width(s); w > limit {
			t.Errorf("%q in %d columns: %q has %d", b, limit, s, w)
		}
		for _, r := range s {
			if !unicode.IsPrint(r) {
				t.Errorf("%q: %q in %q", b, r, s)
			}
		}
		if c := column(s, 7); lipgloss.Width(c) != 7 {
			t.Errorf("column of %q: %q", s, c)
		}
	})
}

// BenchmarkFrame is one picture of 100,000 topics with the messages of a tenth of a second at 5,000 a second.
func BenchmarkFrame(b *testing.B) {
	for _, open := range []string{"list", "tree"} {
		b.Run(open, func(b *testing.B) {
			s := newScreen(newBoard())
			s.width, s.height = 140, 50
			topics := make([]string, 100_000)
			for i := range topics {
				topics[i] = fmt.Sprintf("site%02d/line%02d/dev%03d/temp%d", i/10000, i/200%50, i%200/4, i%4)
				s.board.take(message{topic: topics[i], payload: []byte("21.5")}, at(0))
			}
			s.tree = open == "tree"
			s.board.tree.openAll(true)
			s.view(at(0))
			batch := make([]message, 500)
			n := 0
			b.ReportAllocs()
			b.ResetTimer()
			cpu := reach.CPU()
			for i := range b.N {
				for j := range batch {
					n = (n + 7919) % len(topics)
					batch[j] = message{topic: topics[n], payload: fmt.Appendf(nil, "%d.5", j), qos: mqtt.AtMostOnce}
				}
				now := at(float64(i) / 10)
				s.take(batch, now)
				s.view(now)
			}
			b.ReportMetric(float64((reach.CPU()-cpu).Microseconds())/float64(b.N), "cpu-µs/op") // a busy machine stretches ns/op
		})
	}
}

func TestAgeText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 1500 * time.Millisecond: "1.5s", 42 * time.Second: "42s", 10 * time.Minute: "10m", 5 * time.Hour: "5h", 240 * time.Hour: "10d",
	} {
		if got := ageText(d); got != want {
			t.Errorf("%v: %q", d, got)
		}
	}
}
