// Package flow holds the QoS 1 and QoS 2 handshakes of one direction of one
// session: packet identifiers, the window of unacknowledged messages and the
// state of each. Broker sessions and the client library share it.
//
// It never encodes, sends, stores or reads a clock: callers do, in the order
// that their promise demands. Nothing here is safe for concurrent use; each
// value belongs to the one goroutine that owns the session.
package flow

// State is where the handshake of one outgoing message stands.
type State uint8

// States of an outgoing message.
const (
	// AwaitPuback: a QoS 1 PUBLISH is out [MQTT-4.3.2-3].
	AwaitPuback State = iota + 1
	// AwaitPubrec: a QoS 2 PUBLISH is out [MQTT-4.3.3-3].
	AwaitPubrec
	// AwaitPubcomp: PUBREC has come, PUBREL is owed or out [MQTT-4.3.3-5].
	AwaitPubcomp
	// Reserved: the identifier belongs to a SUBSCRIBE or UNSUBSCRIBE.
	Reserved
	done
)

// Result says what an acknowledgement meant.
type Result uint8

// Results of an acknowledgement.
const (
	// Unknown: no message has this identifier.
	Unknown Result = iota
	// Wrong: the identifier is in use by another kind of exchange, as a PUBACK
	// for a QoS 2 message; a protocol error that frees nothing.
	Wrong
	// Advanced: the exchange goes on (PUBREC taken, PUBREL due).
	Advanced
	// Repeated: PUBREC for a message that already had one; PUBREL is due again.
	Repeated
	// Finished: the exchange is over and the identifier is free.
	Finished
)

type entry[T any] struct {
	v     T
	id    uint16
	state State
	// counted: the entry takes a unit of the send quota.
	counted bool
	// sent: it went out on this connection.
	sent bool
}

// Sender is the sending side: identifiers, window, and the unacknowledged
// messages in the order they were first sent. T is what the owner needs to send
// the message again. The zero value has no window; call Reset first.
type Sender[T any] struct {
	entries []entry[T] // those before head are finished
	head    int
	dead    int    // finished ones behind head
	next    [2]int // where find expects the next PUBACK or PUBREC, and PUBCOMP
	ids     IDSet
	lastID  uint16
	window  int
	used    int
	// releaseOnPubrec frees the quota at PUBREC in place of PUBCOMP.
	releaseOnPubrec bool
}

// Reset begins a connection with the peer's receive maximum as its window. No
// message that is under way counts until it is resent with Resend
// [MQTT-4.9.0-1]. With releaseOnPubrec (MQTT 3.1 and 3.1.1, where no quota is
// defined) a delivery leaves the window at PUBREC: a peer that never sends
// PUBCOMP does not stop traffic, and its identifier stays taken.
func (s *Sender[T]) Reset(window int, releaseOnPubrec bool) {
	s.window, s.used, s.releaseOnPubrec = window, 0, releaseOnPubrec
	for i := s.head; i < len(s.entries); i++ {
		s.entries[i].counted, s.entries[i].sent = false, false
	}
}

// Free returns how many messages may be started now. It is never above the
// window of Reset [U5-4.9-1] and is also limited by the 65,535 identifiers.
func (s *Sender[T]) Free() int { return min(s.window-s.used, 65535-s.ids.n) }

// Len returns the number of unfinished exchanges, reservations included.
func (s *Sender[T]) Len() int { return s.ids.n }

// Used returns how many messages count against the window.
func (s *Sender[T]) Used() int { return s.used }

// Start begins an exchange in the given state and returns its identifier, which
// is not zero and not in use [MQTT-2.2.1-4]. The caller has checked Free; a
// Reserved entry needs no quota but one free identifier (ok false: none left).
func (s *Sender[T]) Start(st State, v T) (id uint16, ok bool) {
	if s.ids.n >= 65535 {
		return 0, false
	}
	id = s.ids.nextFree(s.lastID)
	s.ids.Add(id)
	s.lastID = id
	s.push(entry[T]{v: v, id: id, state: st, counted: st != Reserved, sent: true})
	return id, true
}

// Restore puts an exchange back that a store kept, in the order of the calls.
// It counts when it is resent.
func (s *Sender[T]) Restore(id uint16, st State, v T) bool {
	if id == 0 || !s.ids.Add(id) {
		return false
	}
	if id > s.lastID {
		s.lastID = id
	}
	s.push(entry[T]{v: v, id: id, state: st})
	return true
}

func (s *Sender[T]) push(e entry[T]) {
	if e.counted {
		s.used++
	}
	// Compaction must free half of the room: for less, a long window would be
	// copied again and again.
	if n := len(s.entries); n == cap(s.entries) && s.head+s.dead > n/2 {
		s.compact()
	}
	s.entries = append(s.entries, e)
}

// keepEntries is up to which capacity entries are kept once most are finished;
// a session that once had 65,535 in flight must not hold megabytes for ever.
const keepEntries = 1024

// compact drops finished entries; order is kept.
func (s *Sender[T]) compact() {
	k := 0
	for i := s.head; i < len(s.entries); i++ {
		if s.entries[i].state != done {
			s.entries[k] = s.entries[i]
			k++
		}
	}
	clear(s.entries[k:])
	s.entries, s.head, s.dead = s.entries[:k], 0, 0
	if c := cap(s.entries); c > keepEntries && k < c/8 {
		s.entries = append(make([]entry[T], 0, c/4), s.entries...)
	}
}

// find gives the exchange of an identifier, nil for none. The two kinds of
// acknowledgement each come mostly in order, but not together: PUBCOMPs trail
// the PUBRECs by up to a window.
func (s *Sender[T]) find(id uint16, pubcomp bool) *entry[T] {
	next := &s.next[0]
	if pubcomp {
		next = &s.next[1]
	}
	live := s.entries[s.head:]
	if len(live) == 0 {
		return nil
	}
	// Identifiers are handed out in sequence, so the distance to the oldest is
	// the index, unless some were skipped or finished entries were dropped. Then
	// the one behind the last acknowledged is the best guess.
	g := int(id - live[0].id)
	if g >= len(live) || live[g].id != id || live[g].state == done {
		g = *next - s.head
	}
	if g < 0 || g >= len(live) || live[g].id != id || live[g].state == done {
		if !s.ids.Has(id) {
			return nil
		}
		// From the end: what is stuck gathers at the front, and a peer of MQTT 3.1.1
		// that never sends PUBCOMP lets 65,535 gather.
		for g = len(live) - 1; live[g].id != id || live[g].state == done; g-- {
		}
	}
	*next = s.head + g + 1
	return &live[g]
}

func (s *Sender[T]) release(e *entry[T]) {
	if e.counted {
		e.counted = false
		s.used--
	}
}

func (s *Sender[T]) finish(e *entry[T]) {
	var zero T
	s.release(e)
	s.ids.Remove(e.id)
	e.state, e.v = done, zero
	s.dead++
	for s.head < len(s.entries) && s.entries[s.head].state == done {
		s.head++
		s.dead--
	}
	switch {
	case s.head == len(s.entries):
		s.entries, s.head, s.dead = s.entries[:0], 0, 0
		if cap(s.entries) > keepEntries {
			s.entries = nil
		}
	case s.dead > 64 && s.dead > (len(s.entries)-s.head)/2:
		s.compact()
	}
}

// Puback takes a PUBACK. Finished returns what Start was given.
func (s *Sender[T]) Puback(id uint16) (v T, r Result) { return s.end(id, AwaitPuback) }

// Pubcomp takes a PUBCOMP.
func (s *Sender[T]) Pubcomp(id uint16) (v T, r Result) { return s.end(id, AwaitPubcomp) }

// Release ends a reservation made with Start(Reserved, …): SUBACK or UNSUBACK.
func (s *Sender[T]) Release(id uint16) (v T, r Result) { return s.end(id, Reserved) }

func (s *Sender[T]) end(id uint16, want State) (v T, r Result) {
	e := s.find(id, want == AwaitPubcomp)
	if e == nil {
		return v, Unknown
	}
	if e.state != want {
		return v, Wrong
	}
	v = e.v
	s.finish(e)
	return v, Finished
}

// Pubrec takes a PUBREC. A refusal (reason 0x80 and above) ends the exchange:
// no PUBREL, never sent again [MQTT-4.3.3-4] [MQTT-4.4.0-2].
func (s *Sender[T]) Pubrec(id uint16, refused bool) (v T, r Result) {
	e := s.find(id, false)
	if e == nil {
		return v, Unknown
	}
	v = e.v
	switch {
	case e.state == AwaitPubcomp:
		e.sent = true // the PUBREL that the owner sends now
		return v, Repeated
	case e.state != AwaitPubrec:
		return v, Wrong
	case refused:
		s.finish(e)
		return v, Finished
	}
	e.state, e.sent = AwaitPubcomp, true
	if s.releaseOnPubrec {
		s.release(e)
	}
	return v, Advanced
}

// All calls f for every unfinished exchange in the order of their start.
func (s *Sender[T]) All(f func(id uint16, st State, v T) bool) {
	for i := s.head; i < len(s.entries); i++ {
		if e := &s.entries[i]; e.state != done && !f(e.id, e.state, e.v) {
			return
		}
	}
}

// Resend walks the exchanges that were not sent on this connection, oldest
// first, and asks f to send each again with its original identifier
// [MQTT-4.4.0-1] [MQTT-4.6.0-1]. A PUBLISH waits for room in the window, a
// PUBREL takes none of it; what waits follows with the next call. It reports
// whether all have been sent.
func (s *Sender[T]) Resend(f func(id uint16, st State, v T)) bool {
	all := true
	for i := s.head; i < len(s.entries); i++ {
		e := &s.entries[i]
		if e.sent || e.state == done || e.state == Reserved {
			continue
		}
		if e.state != AwaitPubcomp {
			if s.used >= s.window {
				all = false
				continue
			}
			e.counted = true
			s.used++
		}
		e.sent = true
		f(e.id, e.state, e.v)
	}
	return all
}

// Drop removes every exchange for which f returns true, freeing identifiers.
func (s *Sender[T]) Drop(f func(id uint16, st State, v T) bool) {
	for i := s.head; i < len(s.entries); i++ {
		e := &s.entries[i]
		if e.state != done && f(e.id, e.state, e.v) {
			var zero T
			s.release(e)
			s.ids.Remove(e.id)
			e.state, e.v = done, zero
		}
	}
	s.compact()
}

// Has reports whether the identifier is in use.
func (s *Sender[T]) Has(id uint16) bool { return s.ids.Has(id) }

// Receiver is the receiving side of QoS 2: the identifiers whose PUBLISH was
// accepted and whose PUBREL has not come [MQTT-4.3.3-10]. No timer forgets one
// (forgetting would deliver twice).
type Receiver struct {
	ids IDSet
	// old are those of earlier connections that were not sent again on this one.
	old IDSet
}

// Reset begins a connection. What waits for PUBREL from earlier ones counts
// again only when it is sent again: the sender's quota starts anew and a PUBREL
// takes none of it [U5-4.9-1].
func (r *Receiver) Reset() {
	r.ids.All(func(id uint16) bool {
		r.old.Add(id)
		return true
	})
}

// Repeated notes that a PUBLISH which awaits PUBREL came again.
func (r *Receiver) Repeated(id uint16) { r.old.Remove(id) }

// Used returns how many identifiers count against the receive maximum.
func (r *Receiver) Used() int { return r.ids.Len() - r.old.Len() }

// Accept notes a QoS 2 PUBLISH and reports whether it is new; a repeat is
// answered and not delivered, whatever its DUP flag says.
func (r *Receiver) Accept(id uint16) bool { return r.ids.Add(id) }

// Has reports whether the identifier awaits its PUBREL.
func (r *Receiver) Has(id uint16) bool { return r.ids.Has(id) }

// Pubrel frees the identifier and reports whether it was known.
func (r *Receiver) Pubrel(id uint16) bool {
	r.old.Remove(id)
	return r.ids.Remove(id)
}

// Len returns the number of identifiers that await PUBREL.
func (r *Receiver) Len() int { return r.ids.Len() }

// All calls f for each identifier that awaits PUBREL.
func (r *Receiver) All(f func(id uint16) bool) { r.ids.All(f) }
