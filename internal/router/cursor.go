package router

import (
	"math"
	"strings"
	"unsafe"
)

// Cursor visits the retained messages that a filter selects, in ascending byte order of topic, a few at a time. It belongs to one
// goroutine at a time; the index may change between two calls of Next, in any way:
//
//   - An entry that is there all the time is visited exactly once.
//   - An entry set or deleted while the cursor is under way is visited at most once: its newest message, unless that has a seq above
//     the cursor's. Such a change came after the SUBSCRIBE, so the subscriber gets it live, and must not get an older copy later.
//
// It holds the filter, one position and no reference to any message. There is nothing to close.
type Cursor[M any] struct {
	index  *Retained[M]
	filter string
	all    bool // no filter at all
	done   bool
	seq    uint64
	pos    []byte // everything below has been dealt with
}

// Cursor starts a visit of the entries that match filter and whose seq is not above the given one. The filter string is kept.
func (r *Retained[M]) Cursor(filter string, seq uint64) *Cursor[M] {
	c := &Cursor[M]{index: r, filter: filter, seq: seq, done: filter == ""}
	c.pos = append(c.pos, fixedPrefix(filter)...)
	return c
}

// None reports whether a Cursor would certainly visit nothing, now or later: most filters match nothing that is retained. A false
// answer may be wrong, as few entries are examined. It takes the memory of scratch, which is no cursor under way, so that asking
// allocates nothing.
func (r *Retained[M]) None(filter string, seq uint64, scratch *Cursor[M]) bool {
	c := scratch
	*c = Cursor[M]{index: r, filter: filter, seq: seq, done: filter == "", pos: append(c.pos[:0], fixedPrefix(filter)...)}
	none := c.Next(noneVisits, func(string, M) bool { return false })
	c.filter = "" // it is not kept
	return none
}

// noneVisits bounds what None examines to 64 entries.
const noneVisits = 8

// Walk starts a visit of every entry, whatever its topic and seq; no filter selects both "a" and "$SYS/a".
func (r *Retained[M]) Walk() *Cursor[M] {
	return &Cursor[M]{index: r, all: true, seq: math.MaxUint64}
}

// examinePerVisit is how many entries Next examines for each one it may visit.
const examinePerVisit = 8

// Next calls f for the next matching entries, at most max of them, and reports whether the visit is complete. f ends the chunk by
// returning false; the entry it was called for counts as visited. A chunk also ends after it has examined 8 times max entries, so
// done false with no call of f is possible and means: call again.
//
// f is called with the index locked for reading. That is on purpose: what f sees is the present message, so if f hands it on at
// once, no newer one can overtake it. f must be quick and must not call the index, not even Get; a writer may be waiting between
// the two read locks.
func (c *Cursor[M]) Next(max int, f func(topic string, m M) bool) (done bool) {
	if c.done {
		return true
	}
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	if max < 1 {
		max = 1 // else a caller that computes it could wait for ever
	}
	visits := max
	l, i := c.find(nil, 0)
	for range max * examinePerVisit {
		if l == nil {
			c.done = true
			return true
		}
		e := c.index.tree.items.at(l.ids[i])
		match, onward := c.judge(e.topic)
		if match && e.seq <= c.seq {
			visits--
			if !f(e.topic, e.msg) || visits == 0 {
				c.after(e.topic)
				return false
			}
		}
		switch onward {
		case goNext:
			i++
			if i == l.n {
				l, i = l.next, 0
			}
			if l != nil {
				continue
			}
			c.done = true
		case goSeek:
			l, i = c.find(l, i)
		case goEnd:
			c.done = true
		}
		if c.done {
			return true
		}
	}
	c.stop(l, i)
	return c.done
}

// stop remembers the entry that is next.
func (c *Cursor[M]) stop(l *leaf, i int) {
	if l == nil {
		c.done = true
		return
	}
	c.pos = append(c.pos[:0], c.index.tree.topic(l, i)...)
}

// after remembers that topic has been dealt with. The smallest string above it is itself and a zero byte.
func (c *Cursor[M]) after(topic string) {
	c.pos = append(append(c.pos[:0], topic...), 0)
}

// find gives the first entry not below pos. Often that is the very next one, so it looks there first, then in the leaf where the
// scan is and the one behind it, before it descends from the top.
func (c *Cursor[M]) find(l *leaf, i int) (*leaf, int) {
	key := unsafe.String(unsafe.SliceData(c.pos), len(c.pos)) // a view that ends with this call
	t := &c.index.tree
	if l != nil && i+1 < l.n && key <= t.topic(l, i+1) {
		return l, i + 1
	}
	for range 2 {
		if l == nil {
			break
		}
		if key <= t.topic(l, l.n-1) {
			return l, t.search(l, key, i)
		}
		l, i = l.next, 0
	}
	l = t.seek(key, nil)
	if l == nil {
		return nil, 0
	}
	if i = t.search(l, key, 0); i == l.n {
		return l.next, 0
	}
	return l, i
}

// fixedPrefix gives the text every matching topic begins with: the levels before the first wildcard, without the last '/', as "a/#"
// matches "a".
func fixedPrefix(filter string) string {
	for i := 0; i < len(filter); i++ {
		if c := filter[i]; (c == '+' || c == '#') && (i == 0 || filter[i-1] == '/') {
			return filter[:max(i-1, 0)]
		}
	}
	return filter
}

// onward says how the scan goes on.
type onward byte

const (
	goNext onward = iota // to the next entry
	goSeek               // to the first entry not below pos, which is above the present one
	goEnd                // nothing behind this entry can match
)

// judge reports whether the filter matches topic, exactly as mqtt.Match does, and where the next match can be at the earliest. For
// goSeek it has set pos.
//
// Let the topic fail at level k, all levels before agreeing. All topics behind it with the same text before level k are contiguous
// with it, and of them only those can match whose level k is the filter's; if that text lies ahead, the scan goes there. Else
// nothing with these first k levels can match any more, and the scan goes on behind all topics that have the same text up to the
// last level that a "+" agreed to, since a new text for that level is the only way to go on. Without such a "+" it ends.
func (c *Cursor[M]) judge(topic string) (match bool, way onward) {
	filter := c.filter
	if c.all {
		return true, goNext
	}
	if strings.HasPrefix(topic, "$") && (filter[0] == '+' || filter[0] == '#') {
		return false, c.seek("", "%") // '%' follows '$'; all of "$…" is passed by [MQTT-4.7.2-1]
	}
	plus := -1 // end of the last level that a "+" agreed to
	for at := 0; ; {
		level, rest, more := strings.Cut(filter, "/")
		if level == "#" {
			return true, goNext
		}
		name, _, topicMore := strings.Cut(topic[at:], "/")
		end := at + len(name)
		switch {
		case level == "+":
			plus = end
		case level != name:
			return false, c.literal(topic, at, level, rest, more, plus)
		}
		switch {
		case more && topicMore:
			filter, at = rest, end+1
		case more && rest == "#":
			return true, goNext
		case more && level == "+":
			return false, goNext // "x" for "+/…": "x-y" may come before "x/…"
		case more:
			return false, c.seek(topic, "/")
		case topicMore:
			return false, c.skip(topic, plus)
		default:
			return true, goNext
		}
	}
}

// literal says how to go on when the level of topic that begins at at is not the one the filter has there.
func (c *Cursor[M]) literal(topic string, at int, level, rest string, more bool, plus int) onward {
	here := topic[at:]
	if (!more || rest == "#") && level > here {
		return c.seek(topic[:at], level)
	}
	if more && (level > here || len(level) < len(here) && level == here[:len(level)] && here[len(level)] < '/') {
		c.seek(topic[:at], level)
		c.pos = append(c.pos, '/')
		return goSeek
	}
	return c.skip(topic, plus)
}

// skip passes by everything that has the same text up to plus, where a '/' stands.
func (c *Cursor[M]) skip(topic string, plus int) onward {
	if plus < 0 {
		return goEnd
	}
	return c.seek(topic[:plus], "0") // '0' follows '/'
}

func (c *Cursor[M]) seek(text, more string) onward {
	c.pos = append(append(c.pos[:0], text...), more...)
	return goSeek
}
