package monitor

import (
	"fmt"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
)

var (
	styleTitle  = lipgloss.NewStyle().Bold(true)
	styleHead   = lipgloss.NewStyle().Underline(true)
	styleCursor = lipgloss.NewStyle().Reverse(true)
	styleFresh  = lipgloss.NewStyle().Bold(true)
	styleDim    = lipgloss.NewStyle().Faint(true)
	styleKey    = lipgloss.NewStyle().Faint(true)
	styleWarn   = lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Color("1"))
)

// freshTime is how long a changed value stands out.
const freshTime = 1500 * time.Millisecond

// Widths of the columns at the right.
const (
	widthAge  = 6
	widthRate = 8
	widthMark = 2
)

// view draws the whole screen: only the rows that are seen, whatever the number of topics.
func (s *screen) view(now time.Time) string {
	s.settle()
	s.clamp()
	lines := make([]string, 0, s.height)
	lines = append(lines, s.viewTitle(now), s.viewHead())
	page := s.page()
	if s.mode == helping {
		lines = append(lines, viewHelp(s.width, page)...)
	} else {
		for i := s.top; i < s.top+page; i++ {
			if i < s.count() {
				lines = append(lines, s.viewRow(i, now))
			} else {
				lines = append(lines, "")
			}
		}
	}
	if s.detail {
		lines = append(lines, s.viewDetail(now)...)
	}
	lines = append(lines, s.viewFoot(now))
	return strings.Join(lines, "\n")
}

func (s *screen) viewTitle(now time.Time) string {
	b := s.board
	left := fmt.Sprintf("%d topics  %d messages  %s/s", len(b.topics), b.messages, rateText(decayed(b.rate, now.Sub(b.last))))
	if s.filter != "" {
		left += fmt.Sprintf("  filter %s: %d", escaped([]byte(s.filter), 30), len(s.flat))
	}
	if b.left > 0 {
		left += fmt.Sprintf("  %d messages on further topics not shown", b.left)
	}
	what := "changes"
	if s.all {
		what = "all messages"
	}
	right := what + "  " + s.status
	if s.paused {
		right = fmt.Sprintf("PAUSED, %d messages wait  ", s.missed) + s.status
	}
	style := styleTitle
	if !s.connected || s.paused {
		style = styleWarn
	}
	return styleTitle.Render(column(left, max(s.width-lipgloss.Width(right)-1, 0))) + " " + style.Render(column(right, min(lipgloss.Width(right), s.width-1)))
}

// columns are the widths of topic, sparkline and value.
func (s *screen) columns() (topic, spark, value int) {
	room := s.width - widthAge - widthRate - widthMark - 4
	if s.width >= 100 {
		spark = sparks
		room -= spark + 1
	}
	topic = max(room*45/100, 8)
	return topic, spark, max(room-topic, 4)
}

func (s *screen) viewHead() string {
	topic, spark, value := s.columns()
	age := "age"
	line := column("topic", topic) + " " + column("R", widthMark) + column(age, widthAge) + " " + column("rate", widthRate) + " "
	if spark > 0 {
		line += column("numbers", spark) + " "
	}
	return styleHead.Render(column(line+column("value", value), s.width))
}

func (s *screen) viewRow(i int, now time.Time) string {
	topicWidth, spark, valueWidth := s.columns()
	var label string
	var e *entry
	var value string
	if s.list() {
		e = s.flat[i]
		label = escaped([]byte(e.topic), topicWidth)
	} else {
		n := s.rows[i]
		e = n.entry
		label = viewNode(n, topicWidth)
		if e == nil || len(n.children) > 0 && !n.open {
			value = fmt.Sprintf("%d topics, %d messages", n.topics, n.messages)
		}
	}
	age, rate, mark, numbers := "", "", "", ""
	fresh := false
	if e != nil {
		when := e.changed
		if s.all {
			when = e.last
		}
		age, rate = ageText(now.Sub(when)), rateText(e.ratePerSecond(now))
		fresh = now.Sub(when) < freshTime
		if e.retained {
			mark = "R"
		}
		numbers = sparkline(e.numbers)
		if value == "" {
			value = escaped(e.payload, valueWidth)
		} else {
			value = column(escaped(e.payload, max(valueWidth/2, 4)), valueWidth/2) + " " + value
		}
	}
	line := column(label, topicWidth) + " " + column(mark, widthMark) + column(age, widthAge) + " " + column(rate, widthRate) + " "
	if spark > 0 {
		line += column(numbers, spark) + " "
	}
	text := column(value, valueWidth)
	if i == s.cursor {
		return styleCursor.Render(line + text)
	}
	if fresh {
		return line + styleFresh.Render(text)
	}
	if e == nil {
		return line + styleDim.Render(text)
	}
	return line + text
}

func viewNode(n *node, width int) string {
	mark := "  "
	if len(n.children) > 0 {
		mark = "▸ "
		if n.open {
			mark = "▾ "
		}
	}
	indent := min(2*(n.depth-1), max(width-10, 0))
	name := n.name
	if name == "" {
		name = "(empty level)"
	}
	return strings.Repeat(" ", indent) + mark + escaped([]byte(name), max(width-indent-2, 4))
}

// viewDetail shows the selected topic and its value over several lines.
func (s *screen) viewDetail(now time.Time) []string {
	lines := make([]string, 0, s.detailLines())
	topic, e := s.selected()
	head := "── " + escaped([]byte(topic), max(s.width-60, 10)) + " "
	if e != nil {
		head += fmt.Sprintf("── QoS %d, %d bytes, %d messages, %d changes, last %s ago ", e.qos, e.size, e.messages, e.changes, strings.TrimSpace(ageText(now.Sub(e.last))))
	}
	lines = append(lines, column(head+strings.Repeat("─", max(s.width-lipgloss.Width(head), 0)), s.width))
	if e != nil {
		text := escaped(e.payload, s.width*(s.detailLines()-1))
		for text != "" && len(lines) < s.detailLines() {
			r := []rune(text)
			n := min(len(r), s.width)
			for lipgloss.Width(string(r[:n])) > s.width {
				n--
			}
			lines = append(lines, string(r[:n]))
			text = string(r[n:])
		}
	}
	for len(lines) < s.detailLines() {
		lines = append(lines, "")
	}
	return lines
}

func (s *screen) viewFoot(now time.Time) string {
	retain := "Tab: retain"
	if s.retain {
		retain = "RETAINED, Tab: not"
	}
	typed := func(prompt, after string) string {
		room := s.width - lipgloss.Width(prompt) - lipgloss.Width(after) - 4
		text := escaped([]byte(s.input), 1<<20)
		for lipgloss.Width(text) > room && text != "" {
			text = text[len(string([]rune(text)[:1])):]
		}
		return prompt + text + "▏ " + styleKey.Render(after)
	}
	switch s.mode {
	case filtering:
		return typed("filter: ", "part of a topic, or one with + and #; Esc: none")
	case publishTopic:
		return typed("publish to: ", retain+"  Enter: on  Esc: no")
	case publishPayload:
		return typed("payload: ", retain+"  Enter: publish  Esc: no")
	case deleting:
		topic, _ := s.selected()
		return styleWarn.Render(column("delete the retained message of "+escaped([]byte(topic), s.width-45)+"? y/n", s.width))
	default:
	}
	if s.note != "" && now.Before(s.noteEnd) {
		return styleTitle.Render(column(s.note, s.width))
	}
	return styleKey.Render(column("↑↓ move  ←→ fold  t tree/list  / filter  p pause  c changes/all  d detail  P publish  D delete retained  y Y copy  ? help  q quit", s.width))
}

var helpText = []string{
	"↑ ↓ PgUp PgDn Home End   move",
	"→ ← Enter                open and close a level; Enter on a topic shows its whole value",
	"* _                      open and close all levels",
	"t                        topic tree or flat list",
	"/                        filter: part of a topic, or a topic filter with + and #; Esc ends it",
	"c                        age and highlight by changed values, or by every message",
	"p                        pause: the screen stands still, nothing is lost of the last values",
	"d                        the selected message in full",
	"P                        publish; Tab sets retain",
	"D                        delete the retained message",
	"y Y                      copy the value, the topic, by the terminal (OSC 52)",
	"q                        quit",
	"",
	"R marks topics with a retained message, as far as seen: brokers tell it only to new subscribers.",
}

func viewHelp(width, page int) []string {
	lines := make([]string, 0, page)
	for i := range page {
		if i < len(helpText) {
			lines = append(lines, column(" "+helpText[i], width))
		} else {
			lines = append(lines, "")
		}
	}
	return lines
}

// ageText is a time in at most five columns.
func ageText(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < 100*time.Minute:
		return fmt.Sprintf("%.0fm", d.Minutes())
	case d < 100*time.Hour:
		return fmt.Sprintf("%.0fh", d.Hours())
	}
	return fmt.Sprintf("%.0fd", d.Hours()/24)
}

func rateText(v float64) string {
	switch {
	case v < 0.005:
		return ""
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 10000:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.1fk", v/1000)
}
