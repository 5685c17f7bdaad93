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
	sub       Subscription // as last declared
	inner     string       // the filter without $share/group/
	claims    []*claim     // what it is made of, in the order of declaration
	receivers []*receiver  // of the claims: all streams and the last handler; replaced, never changed
	confirmed bool         // SUBACK has granted it in this session
	granted   mqtt.ReasonCode
}

// claim is one declaration of a filter. An earlier handler is kept until a later one is granted: if the server refuses that, the
// earlier subscription stands, there as here.
type claim struct {
	sub     Subscription
	r       *receiver
	granted bool
}

// settle works out the receivers.
func (f *filterEntry) settle() {
	f.receivers = nil
	handler := -1
	for _, c := range f.claims {
		switch {
		case c.r.stream != nil || handler < 0:
			if c.r.stream == nil {
				handler = len(f.receivers)
			}
			f.receivers = append(f.receivers, c.r)
		default:
			f.receivers[handler] = c.r
		}
	}
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

	withdrawn   map[uint32]bool // identifiers of subscriptions of this session that are no more
	withdrawals ring[uint32]    // the same in order of time

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
	s.withdrawn = map[uint32]bool{}
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

// byID narrows the receivers to the subscriptions that the server names as the cause. A copy for subscriptions that were withdrawn
// is for nobody else, who has a copy of his own. Identifiers never heard of leave the choice to the filters.
func (s *subscriptions) byID(e *topicEntry, ids []uint32) (list []*receiver, withdrawn bool) {
	for _, f := range s.order {
		if f.sub.ID != 0 && slices.Contains(ids, f.sub.ID) && mqtt.Match(f.inner, e.topic) {
			list = append(list, f.receivers...)
		}
	}
	if list != nil {
		return list, false
	}
	for _, id := range ids {
		if !s.withdrawn[id] {
			return e.receivers, false
		}
	}
	return nil, len(e.receivers) > 0
}

// maxWithdrawn bounds the identifiers remembered. The server may send what it had buffered long after UNSUBACK, so there is no
// moment, but the end of the session, at which one is of no use any more.
const maxWithdrawn = 4096

// withdraw remembers the identifier of a subscription that is no more, unless another has it too.
func (s *subscriptions) withdraw(id uint32) {
	if id == 0 || s.withdrawn[id] || slices.ContainsFunc(s.order, func(f *filterEntry) bool { return f.sub.ID == id }) {
		return
	}
	s.withdrawn[id] = true
	s.withdrawals.push(id)
	for s.withdrawals.len() > maxWithdrawn {
		delete(s.withdrawn, s.withdrawals.pop())
	}
}

// loseSession forgets what only the lost session could send.
func (s *subscriptions) loseSession() {
	clear(s.withdrawn)
	s.withdrawals = ring[uint32]{}
}

// add declares a subscription for one more receiver; its options replace earlier ones of the same filter.
func (s *subscriptions) add(sub Subscription, inner string, r *receiver) wanted {
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
	if s.withdrawn[sub.ID] {
		delete(s.withdrawn, sub.ID) // its place in withdrawals ends no more than this
	}
	c := &claim{sub: sub, r: r}
	f.claims = append(f.claims, c)
	f.settle()
	s.changes++
	return wanted{f, c}
}

// grant makes a claim good: handlers declared before it have been replaced.
func (s *subscriptions) grant(w wanted) {
	w.f.confirmed = true
	if w.claim == nil {
		return
	}
	w.claim.granted = true
	if i := slices.Index(w.f.claims, w.claim); i > 0 && w.claim.r.stream == nil {
		older := slices.DeleteFunc(slices.Clone(w.f.claims[:i]), func(c *claim) bool { return c.r.stream == nil })
		w.f.claims = append(older, w.f.claims[i:]...)
	}
}

// refuse takes a claim back, or the whole filter when it was the last of it. It returns the filter when an earlier declaration is
// left.
func (s *subscriptions) refuse(w wanted) (left *filterEntry) {
	f := w.f
	if w.claim != nil && s.filters[f.sub.Filter] == f {
		f.claims = slices.DeleteFunc(slices.Clone(f.claims), func(c *claim) bool { return c == w.claim })
		if n := len(f.claims); n > 0 {
			f.sub = f.claims[n-1].sub
			f.settle()
			s.changes++
			return f
		}
	}
	s.remove(f)
	return nil
}

// remove takes a filter out of the table.
func (s *subscriptions) remove(f *filterEntry) {
	if s.filters[f.sub.Filter] != f {
		return
	}
	delete(s.filters, f.sub.Filter)
	s.order = slices.DeleteFunc(s.order, func(o *filterEntry) bool { return o == f })
	s.withdraw(f.sub.ID)
	s.changes++
}

// drop takes one receiver out and reports whether it was the last of its filter.
func (s *subscriptions) drop(f *filterEntry, r *receiver) (last bool) {
	f.claims = slices.DeleteFunc(slices.Clone(f.claims), func(c *claim) bool { return c.r == r })
	f.settle()
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
