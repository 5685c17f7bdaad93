package monitor

import (
	"fmt"
	"time"

	"github.com/midgemq/midge/mqtt"
)

// key handles one key, by its name ("a", "enter", "ctrl+c"); text is what it types, empty for others.
func (s *screen) key(name, text string, now time.Time) action {
	if name == "ctrl+c" {
		return action{kind: quit}
	}
	s.settle() // what came since the last picture has its row before the cursor moves
	s.clamp()
	switch s.mode {
	case filtering:
		return s.keyFilter(name, text)
	case publishTopic, publishPayload:
		return s.keyPublish(name, text, now)
	case deleting:
		return s.keyDelete(name)
	case helping:
		s.mode = browsing
		return action{}
	default:
		return s.keyBrowse(name, now)
	}
}

func (s *screen) keyBrowse(name string, now time.Time) action {
	step := 0
	switch name {
	case "q":
		return action{kind: quit}
	case "up", "k":
		step = -1
	case "down", "j":
		step = 1
	case "pgup":
		step = -s.page()
	case "pgdown", "space":
		step = s.page()
	case "home", "g":
		step = -s.count()
	case "end", "G":
		step = s.count()
	case "t":
		s.tree, s.stale = !s.tree, true
		if s.tree && s.at != nil { // what was selected must be visible
			for n := s.at.parent; n != nil; n = n.parent {
				n.open = true
			}
		}
	case "enter", "right", "left", "+", "-", "*", "_":
		s.fold(name)
	case "/":
		s.mode, s.input = filtering, s.filter
	case "esc":
		s.filter, s.stale, s.detail = "", true, false
	case "p":
		s.pause(now)
	case "c":
		s.all = !s.all
	case "d":
		s.detail = !s.detail
	case "?", "h", "f1":
		s.mode = helping
	default:
		return s.keySelected(name, now)
	}
	s.cursor += step
	s.settle()
	s.clamp()
	return action{}
}

// fold opens and closes levels of the tree; in a list enter shows the whole message.
func (s *screen) fold(name string) {
	if s.list() || s.at == nil || name == "enter" && len(s.at.children) == 0 {
		if name == "enter" {
			s.detail = !s.detail
		}
		return
	}
	s.stale = true
	switch name {
	case "enter":
		s.at.open = !s.at.open
	case "right", "+":
		s.at.open = true
	case "left", "-":
		if s.at.open && len(s.at.children) > 0 {
			s.at.open = false
		} else if s.at.parent != nil && s.at.parent.parent != nil {
			s.at = s.at.parent
		}
	case "*":
		s.board.tree.openAll(true)
	case "_":
		s.board.tree.openAll(false)
	}
}

// keySelected are the keys that do something with the topic under the cursor.
func (s *screen) keySelected(name string, now time.Time) action {
	topic, e := s.selected()
	switch name {
	case "P", "n":
		s.mode, s.input, s.retain = publishTopic, topic, false
	case "D":
		if e == nil || !e.retained {
			s.say("no retained message is known here", now)
			break
		}
		s.mode = deleting
	case "y":
		if e != nil {
			note := "value copied"
			if e.size > len(e.payload) {
				note = fmt.Sprintf("the first %d of %d bytes copied", len(e.payload), e.size)
			}
			return action{kind: copyText, text: e.payload, note: note}
		}
	case "Y":
		if topic != "" {
			return action{kind: copyText, text: []byte(topic), note: "topic copied"}
		}
	}
	return action{}
}

// edit changes the line that is being typed; done says that it is complete.
func (s *screen) edit(name, text string) (done bool) {
	switch name {
	case "enter":
		return true
	case "esc":
		s.mode = browsing
	case "backspace":
		if r := []rune(s.input); len(r) > 0 {
			s.input = string(r[:len(r)-1])
		}
	case "ctrl+u":
		s.input = ""
	default:
		s.input += text
	}
	return false
}

func (s *screen) keyFilter(name, text string) action {
	before := s.filter
	done := s.edit(name, text)
	if s.mode == browsing { // esc: no filter at all
		s.input = ""
	}
	if s.filter = s.input; s.filter != before {
		s.stale = true
		s.settle()
	}
	if done {
		s.mode = browsing
	}
	return action{}
}

func (s *screen) keyPublish(name, text string, now time.Time) action {
	if name == "tab" {
		s.retain = !s.retain
		return action{}
	}
	if !s.edit(name, text) {
		return action{}
	}
	if s.mode == publishTopic {
		if err := mqtt.CheckTopicName(s.input); err != nil {
			s.say(err.Error(), now)
			return action{}
		}
		s.topic, s.input, s.mode = s.input, "", publishPayload
		return action{}
	}
	s.mode = browsing
	return action{kind: publish, topic: s.topic, text: []byte(s.input), retain: s.retain, note: "published to " + escaped([]byte(s.topic), 60)}
}

func (s *screen) keyDelete(name string) action {
	s.mode = browsing
	topic, _ := s.selected()
	if name != "y" && name != "Y" {
		return action{}
	}
	s.board.forgetRetained(topic)
	return action{kind: publish, topic: topic, retain: true, note: "retained message of " + escaped([]byte(topic), 60) + " deleted"}
}
