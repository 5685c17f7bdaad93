package memstore

import (
	"slices"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
)

// session is all that is kept under one key. Guarded by its shard's lock.
type session struct {
	rec   *record.Session
	will  *record.Will
	subs  subscriptions
	queue queue
	// inbound are the QoS 2 identifiers that await PUBREL, ascending: a sorted
	// slice is 2 bytes for each, where a map is 20, and the window keeps it short.
	inbound []uint16
}

func (x *session) putInbound(id uint16) {
	if i, found := slices.BinarySearch(x.inbound, id); !found {
		x.inbound = slices.Insert(x.inbound, i, id)
	}
}

func (x *session) deleteInbound(id uint16) {
	if i, found := slices.BinarySearch(x.inbound, id); found {
		x.inbound = slices.Delete(x.inbound, i, i+1)
	}
}

// saved copies the session for LoadSessions.
func (x *session) saved() *store.Saved {
	v := &store.Saved{
		Session: *x.rec,
		Subs:    make([]record.Subscription, 0, x.subs.len()),
		Inbound: slices.Clone(x.inbound),
		LastSeq: x.queue.last,
	}
	if x.will != nil {
		w := *x.will
		v.Will = &w
	}
	x.subs.each(func(s *record.Subscription) { v.Subs = append(v.Subs, *s) })
	type flight struct {
		store.Inflight
		order uint64
	}
	var flights []flight
	x.queue.each(func(e *slot) {
		if e.order != 0 {
			flights = append(flights, flight{store.Inflight{Entry: e.queued(), PacketID: e.id, State: e.state}, e.order})
			return
		}
		if v.Queued == 0 {
			v.FirstSeq = e.seq
		}
		v.Queued++
		v.QueuedBytes += int64(e.msg.Size())
	})
	slices.SortFunc(flights, func(a, b flight) int {
		if a.order < b.order {
			return -1
		}
		return 1
	})
	for _, f := range flights {
		v.Inflight = append(v.Inflight, f.Inflight)
	}
	return v
}

// fewSubs is up to how many subscriptions a session keeps in a slice: most have
// one or two, for which a map costs ten times the memory.
const fewSubs = 8

// subscriptions are those of one session by filter. The zero value is empty.
type subscriptions struct {
	few  []*record.Subscription
	many map[string]*record.Subscription // in use when not nil
}

func (s *subscriptions) len() int { return len(s.few) + len(s.many) }

func (s *subscriptions) find(filter string) int {
	return slices.IndexFunc(s.few, func(v *record.Subscription) bool { return v.Filter == filter })
}

// put adds or replaces and reports whether the filter is new.
func (s *subscriptions) put(v *record.Subscription) bool {
	if s.many == nil {
		if i := s.find(v.Filter); i >= 0 {
			s.few[i] = v
			return false
		}
		if len(s.few) < fewSubs {
			s.few = append(s.few, v)
			return true
		}
		s.many = make(map[string]*record.Subscription, 2*fewSubs)
		for _, o := range s.few {
			s.many[o.Filter] = o
		}
		s.few = nil
	}
	n := len(s.many)
	// A map keeps the first key it was given, and with it the old record's memory.
	delete(s.many, v.Filter)
	s.many[v.Filter] = v
	return len(s.many) > n
}

// remove reports whether the filter was there.
func (s *subscriptions) remove(filter string) bool {
	if s.many != nil {
		n := len(s.many)
		delete(s.many, filter)
		removed := len(s.many) < n
		if len(s.many) == 0 {
			s.many = nil
		}
		return removed
	}
	i := s.find(filter)
	if i >= 0 {
		s.few = slices.Delete(s.few, i, i+1)
	}
	return i >= 0
}

func (s *subscriptions) each(f func(*record.Subscription)) {
	for _, v := range s.few {
		f(v)
	}
	for _, v := range s.many {
		f(v)
	}
}
