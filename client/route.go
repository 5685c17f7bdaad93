package client

import (
	"slices"
	"sync/atomic"

	"github.com/midgemq/midge/mqtt"
)

// receiver is what gets the messages of one subscription: a handler or a stream.
type receiver struct {
	handler func(*Message)
	stream  *Stream
	manual  bool
}

// take gives the message away. A stream only queues it.
func (r *receiver) take(m *Message) {
	if r.stream != nil {
		r.stream.put(m)
		return
	}
	r.handler(m)
}

// auto reports whether the end of take acknowledges. A stream acknowledges when its reader asks for the next message.
func (r *receiver) auto() bool { return r.stream == nil && !r.manual }

// filterEntry is one declared subscription.
type filterEntry struct {
	sub       Subscription
	inner     string // the filter without $share/group/
	receivers []*receiver
	confirmed bool // SUBACK has granted it in this session
	granted   mqtt.ReasonCode
}

// subscriptions is the declared state: filters with their receivers, and what follows from it for each topic. Guarded by
// Client.mu.
type subscriptions struct {
	filters  map[string]*filterEntry
	order    []*filterEntry
	nextID   uint32
	topics   map[string]*topicEntry
	changes  uint64
	fallback []*receiver // the default handler

	slab     []Message
	payloads []byte
}

// topicEntry is what is known about one topic: its text (kept once), its receivers, its queue.
type topicEntry struct {
	topic     string
	receivers []*receiver
	changes   uint64
	queue     topicQueue
	// under counts the messages on their way to a handler: the entry must not be forgotten and made anew while there are any, or
	// two queues would break the order of the topic.
	under atomic.Int32
}

// maxTopics bounds the memory for topics seen; a device repeats its few, and a collector's many cost one look-up each.
const maxTopics = 16384

func (s *subscriptions) init() {
	s.filters = map[string]*filterEntry{}
	s.topics = map[string]*topicEntry{}
}

// topic returns the entry of a topic; without an allocation when it was seen before.
func (s *subscriptions) topic(b []byte) *topicEntry {
	e := s.topics[string(b)]
	if e == nil {
		if len(s.topics) >= maxTopics {
			s.forget()
		}
		e = &topicEntry{topic: string(b)}
		e.receivers = s.match(e.topic)
		e.changes = s.changes
		s.topics[e.topic] = e
	}
	if e.changes != s.changes {
		e.receivers, e.changes = s.match(e.topic), s.changes
	}
	return e
}

// forget makes room.
func (s *subscriptions) forget() {
	for t, e := range s.topics {
		if e.under.Load() == 0 {
			delete(s.topics, t)
		}
	}
}

func (s *subscriptions) match(topic string) []*receiver {
	var list []*receiver
	for _, f := range s.order {
		if mqtt.Match(f.inner, topic) {
			list = append(list, f.receivers...)
		}
	}
	return list
}

// byID narrows the receivers to the subscriptions that the server names as the cause. Identifiers that none of them has leave the
// choice to the filters.
func (s *subscriptions) byID(e *topicEntry, ids []uint32) []*receiver {
	var list []*receiver
	for _, f := range s.order {
		if f.sub.ID != 0 && slices.Contains(ids, f.sub.ID) && mqtt.Match(f.inner, e.topic) {
			list = append(list, f.receivers...)
		}
	}
	if list == nil {
		return e.receivers
	}
	return list
}

// add declares a subscription for one more receiver; its options replace earlier ones of the same filter.
func (s *subscriptions) add(sub Subscription, inner string, r *receiver) *filterEntry {
	f := s.filters[sub.Filter]
	if f == nil {
		f = &filterEntry{inner: inner}
		s.filters[sub.Filter] = f
		s.order = append(s.order, f)
	}
	if sub.ID == 0 {
		sub.ID = f.sub.ID
	}
	f.sub = sub
	if r.stream == nil { // the new handler in place of the old
		f.receivers = slices.DeleteFunc(slices.Clone(f.receivers), func(o *receiver) bool { return o.stream == nil })
	}
	f.receivers = append(slices.Clip(f.receivers), r)
	s.changes++
	return f
}

// remove takes a filter out of the table.
func (s *subscriptions) remove(f *filterEntry) {
	if s.filters[f.sub.Filter] != f {
		return
	}
	delete(s.filters, f.sub.Filter)
	s.order = slices.DeleteFunc(s.order, func(o *filterEntry) bool { return o == f })
	s.changes++
}

// drop takes one receiver out and reports whether it was the last of its filter.
func (s *subscriptions) drop(f *filterEntry, r *receiver) (last bool) {
	f.receivers = slices.DeleteFunc(slices.Clone(f.receivers), func(o *receiver) bool { return o == r })
	s.changes++
	return len(f.receivers) == 0
}

func (s *subscriptions) closeStreams(err error) {
	for _, f := range s.order {
		for _, r := range f.receivers {
			if r.stream != nil {
				r.stream.end(err)
			}
		}
	}
}

// Messages and small payloads are allocated in groups: fewer allocations, while a message kept by the program keeps only a few
// kilobytes beside its own.
const (
	messageSlab  = 16
	payloadSlab  = 2048
	smallPayload = 256
)

func (s *subscriptions) newMessage() *Message {
	if len(s.slab) == 0 {
		s.slab = make([]Message, messageSlab)
	}
	m := &s.slab[0]
	s.slab = s.slab[1:]
	return m
}

func (s *subscriptions) copyPayload(b []byte) []byte {
	if len(b) > smallPayload {
		return append([]byte(nil), b...)
	}
	if len(b) > len(s.payloads) {
		s.payloads = make([]byte, payloadSlab)
	}
	n := copy(s.payloads, b)
	p := s.payloads[:n:n]
	s.payloads = s.payloads[n:]
	return p
}
