package monitor

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/midgemq/midge/mqtt"
)

const (
	// maxKept is how many bytes of a payload are kept to be shown and copied; a topic with large messages must not fill the memory.
	maxKept = 4 << 10
	// maxTopics bounds the board: somebody who makes up topics must not fill the memory. What comes beyond is counted.
	maxTopics = 1_000_000
	// sparks is how many numbers a sparkline has.
	sparks = 16
	// rateTime is the time over which a rate is averaged.
	rateTime = 5 * time.Second
)

// message is what the board takes.
type message struct {
	topic   string
	payload []byte
	qos     mqtt.QoS
	retain  bool
}

// entry is one topic.
type entry struct {
	topic    string
	payload  []byte // up to maxKept bytes
	size     int    // of the whole payload
	hash     uint64 // of the whole payload, where it was cut
	qos      mqtt.QoS
	retained bool // the broker keeps a message: the last one seen came as such, or was delivered with the flag
	messages uint64
	changes  uint64
	last     time.Time // of a message
	changed  time.Time // of another payload
	rate     float64   // messages a second at the time of last
	numbers  []float32 // the last ones, oldest first; nil unless payloads are numbers
	node     *node
}

// board is everything known about the topics. It is pure: time comes as an argument, and one goroutine at a time uses it.
type board struct {
	topics map[string]*entry
	order  []*entry // sorted by topic, without fresh
	fresh  []*entry // come since the last settle
	tree   *node

	messages  uint64
	bytes     uint64
	room      int    // topics at most
	left      uint64 // messages on topics beyond room
	rate      float64
	last      time.Time
	structure uint64 // changes when topics come
}

func newBoard() *board {
	return &board{topics: map[string]*entry{}, tree: &node{}, room: maxTopics}
}

// decayed is a rate after some time without messages.
func decayed(rate float64, since time.Duration) float64 {
	return rate * math.Exp(-float64(since)/float64(rateTime))
}

// take brings in one message and reports whether its payload differs from the one before.
func (b *board) take(m message, now time.Time) (e *entry, changed bool) {
	b.messages++
	b.bytes += uint64(len(m.payload))
	b.rate = decayed(b.rate, now.Sub(b.last)) + 1/rateTime.Seconds()
	b.last = now
	e = b.topics[m.topic]
	if e == nil {
		if len(b.topics) >= b.room {
			b.left++
			return nil, false
		}
		e = &entry{topic: strings.Clone(m.topic)}
		b.topics[e.topic] = e
		b.fresh = append(b.fresh, e)
		e.node = b.tree.insert(e)
		b.structure++
	}
	for n := e.node; n != nil; n = n.parent {
		n.messages++
	}
	kept, hash := m.payload, uint64(0)
	if len(kept) > maxKept {
		kept, hash = kept[:maxKept], sum(kept)
	}
	changed = e.messages == 0 || e.size != len(m.payload) || e.hash != hash || !bytes.Equal(e.payload, kept)
	e.messages++
	e.rate = decayed(e.rate, now.Sub(e.last)) + 1/rateTime.Seconds()
	e.last, e.qos = now, m.qos
	if m.retain {
		e.retained = len(m.payload) > 0
	}
	if changed {
		e.payload, e.size, e.hash, e.changed = append(e.payload[:0], kept...), len(m.payload), hash, now
		e.changes++
	}
	e.number()
	return e, changed
}

// sum is FNV-1a, to tell large payloads apart behind what is kept of them.
func sum(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// number notes the payload's number for the sparkline; another payload ends the line.
func (e *entry) number() {
	v, ok := number(e.payload)
	if !ok {
		e.numbers = nil
		return
	}
	if len(e.numbers) >= sparks {
		copy(e.numbers, e.numbers[1:])
		e.numbers[len(e.numbers)-1] = float32(v)
		return
	}
	e.numbers = append(e.numbers, float32(v))
}

// number reads payloads as "21.5" and "21.5 °C".
func number(payload []byte) (v float64, ok bool) {
	if len(payload) == 0 || len(payload) > 40 || payload[0] > '9' {
		return 0, false
	}
	word, _, _ := strings.Cut(strings.TrimSpace(string(payload)), " ")
	v, err := strconv.ParseFloat(word, 64)
	return v, err == nil && !math.IsInf(v, 0) && !math.IsNaN(v)
}

// settle sorts new topics in. The cost is one pass over all of them when any came.
func (b *board) settle() {
	if len(b.fresh) == 0 {
		return
	}
	slices.SortFunc(b.fresh, func(x, y *entry) int { return strings.Compare(x.topic, y.topic) })
	merged := make([]*entry, 0, len(b.order)+len(b.fresh))
	i, j := 0, 0
	for i < len(b.order) && j < len(b.fresh) {
		if b.order[i].topic < b.fresh[j].topic {
			merged = append(merged, b.order[i])
			i++
		} else {
			merged = append(merged, b.fresh[j])
			j++
		}
	}
	merged = append(merged, b.order[i:]...)
	b.order, b.fresh = append(merged, b.fresh[j:]...), b.fresh[:0]
}

// ratePerSecond is how many messages of the topic come now.
func (e *entry) ratePerSecond(now time.Time) float64 { return decayed(e.rate, now.Sub(e.last)) }

// forgetRetained notes that the retained message was deleted.
func (b *board) forgetRetained(topic string) {
	if e := b.topics[topic]; e != nil {
		e.retained = false
	}
}
