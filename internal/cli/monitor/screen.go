package monitor

import (
	"strings"
	"time"

	"github.com/midgemq/midge/mqtt"
)

// mode is what keys mean.
type mode uint8

const (
	browsing mode = iota
	filtering
	publishTopic
	publishPayload
	deleting
	helping
)

// actionKind is what the program shall do for the user.
type actionKind uint8

const (
	nothing actionKind = iota
	quit
	publish
	copyText
)

// action is one thing to do outside the screen.
type action struct {
	kind   actionKind
	topic  string
	text   []byte
	retain bool
	note   string // shown when it has been done
}

// screen is the state of what is seen: which rows, where the cursor is, what is being typed. It is pure as the board is.
type screen struct {
	board         *board
	width, height int
	tree          bool
	all           bool // every message counts, not only changed values
	paused        bool
	detail        bool
	mode          mode

	filter  string
	cursor  int
	top     int
	follow  *entry // the topic under the cursor, kept there when others come
	at      *node
	input   string
	topic   string // of publishTopic, while the payload is typed
	retain  bool
	note    string
	noteEnd time.Time

	rows    []*node  // of the tree
	flat    []*entry // of the list
	version uint64   // of the board's structure that rows were made of
	stale   bool

	pending map[string]message // the last messages while paused
	missed  uint64             // how many came while paused

	connected bool
	status    string
}

func newScreen(b *board) *screen {
	return &screen{board: b, width: 80, height: 24, tree: true, stale: true, pending: map[string]message{}, status: "connecting"}
}

// take brings messages in, or keeps the last one of each topic while the screen stands still.
func (s *screen) take(list []message, now time.Time) {
	for _, m := range list {
		if s.paused {
			s.missed++
			if len(s.pending) < maxTopics {
				s.pending[m.topic] = m
			}
			continue
		}
		s.board.take(m, now)
	}
}

func (s *screen) pause(now time.Time) {
	s.paused = !s.paused
	if s.paused {
		return
	}
	for _, m := range s.pending {
		s.board.take(m, now)
	}
	s.pending, s.missed = map[string]message{}, 0
}

// settle makes the rows anew when topics came, levels were opened or the filter changed, and keeps the cursor on its topic.
func (s *screen) settle() {
	if !s.stale && s.version == s.board.structure {
		return
	}
	s.board.settle()
	s.version, s.stale = s.board.structure, false
	if s.list() {
		s.flat = s.board.order
		if s.filter != "" {
			s.flat = nil
			for _, e := range s.board.order {
				if matches(s.filter, e.topic) {
					s.flat = append(s.flat, e)
				}
			}
		}
	} else {
		s.rows = s.board.tree.rows(s.rows[:0])
	}
	s.find()
	s.clamp()
}

// list reports whether rows are topics: a filter makes a list of a tree.
func (s *screen) list() bool { return !s.tree || s.filter != "" }

// matches reports whether a topic fits what was typed: a topic filter where it has wildcards, a part of the name otherwise.
func matches(filter, topic string) bool {
	if strings.ContainsAny(filter, "+#") && mqtt.CheckFilter(filter) == nil {
		return mqtt.Match(filter, topic)
	}
	return strings.Contains(strings.ToLower(topic), strings.ToLower(filter))
}

// find puts the cursor back on the topic it was on.
func (s *screen) find() {
	if s.list() {
		if s.follow == nil {
			return
		}
		low, high := 0, len(s.flat)
		for low < high {
			mid := (low + high) / 2
			if s.flat[mid].topic < s.follow.topic {
				low = mid + 1
			} else {
				high = mid
			}
		}
		s.move(low - s.cursor)
		return
	}
	for i, n := range s.rows {
		if n == s.at {
			s.move(i - s.cursor)
			return
		}
	}
}

// move moves cursor and window together, so that the row stays where it is on the screen.
func (s *screen) move(by int) {
	s.cursor += by
	s.top += by
}

func (s *screen) count() int {
	if s.list() {
		return len(s.flat)
	}
	return len(s.rows)
}

// page is how many rows fit.
func (s *screen) page() int {
	lines := s.height - 3
	if s.detail {
		lines -= s.detailLines()
	}
	return max(lines, 1)
}

func (s *screen) detailLines() int { return max(min(s.height/3, 12), 3) }

func (s *screen) clamp() {
	n := s.count()
	s.cursor = max(min(s.cursor, n-1), 0)
	page := s.page()
	if s.cursor < s.top {
		s.top = s.cursor
	}
	if s.cursor >= s.top+page {
		s.top = s.cursor - page + 1
	}
	s.top = max(min(s.top, n-page), 0)
	s.follow, s.at = nil, nil
	if n == 0 {
		return
	}
	if s.list() {
		s.follow = s.flat[s.cursor]
		s.at = s.follow.node
	} else {
		s.at = s.rows[s.cursor]
		s.follow = s.at.entry
	}
}

// selected is the topic under the cursor; e is nil where only deeper topics exist.
func (s *screen) selected() (topic string, e *entry) {
	if s.at == nil {
		return "", nil
	}
	return s.at.path(), s.at.entry
}

func (s *screen) say(text string, now time.Time) {
	s.note, s.noteEnd = text, now.Add(4*time.Second)
}
