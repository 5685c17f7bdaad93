package pebblestore

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
)

// scan calls f for the keys from lo up to hi until f says there is no need for
// more. What f is given is valid during the call.
func scan(r pebble.Reader, lo, hi []byte, f func(key, value []byte) (more bool, err error)) (err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if more, err := f(it.Key(), v); err != nil || !more {
			return err
		}
	}
	return it.Error()
}

// view reads the store as it was at one moment. What does not check is reported
// and left out.
type view struct {
	r       pebble.Reader
	shift   record.Shift
	damaged func(key []byte, err error)
	stop    *atomic.Bool // ends long walks; nil: nothing does
}

func (v *view) stopped() bool { return v.stop != nil && v.stop.Load() }

// get calls f with the body of the record under key; found false: there is none
// or it does not check.
func (v *view) get(key []byte, form record.Form, f func(body []byte) error) (found bool, err error) {
	value, closer, err := v.r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, v.lossOr(key, err)
	}
	defer closer.Close()
	return v.open(form, key, value, f), nil
}

// lossOr turns an error about damage into a report; others stay errors.
func (v *view) lossOr(key []byte, err error) error {
	if err != nil && pebble.IsCorruptionError(err) {
		v.damaged(key, err)
		return nil
	}
	return err
}

// open checks a record and has f read it.
func (v *view) open(form record.Form, key, value []byte, f func(body []byte) error) bool {
	body, err := record.Unseal(form, key, value)
	if err == nil {
		err = f(body)
	}
	if err != nil {
		v.damaged(key, err)
		return false
	}
	return true
}

func (v *view) exists(k record.SessionKey) (bool, error) {
	_, closer, err := v.r.Get(appendPart(nil, k, partSession))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, closer.Close()
}

func (v *view) cursor(k record.SessionKey) (cur record.Cursor, err error) {
	_, err = v.get(appendPart(nil, k, partCursor), record.FormCursor, func(b []byte) error { return record.ParseCursor(b, &cur) })
	return cur, err
}

// flights reads the flight records from seq on.
func (v *view) flights(k record.SessionKey, from uint64) (out map[uint64]record.Flight, err error) {
	err = scan(v.r, appendFlightKey(nil, k, from), appendPart(nil, k, partFlight+1), func(key, value []byte) (bool, error) {
		var f record.Flight
		if v.open(record.FormFlight, key, value, func(b []byte) error { return record.ParseFlight(b, &f) }) {
			if out == nil {
				out = make(map[uint64]record.Flight)
			}
			out[seqOf(key)] = f
		}
		return true, nil
	})
	return out, v.lossOr(appendPart(nil, k, partFlight), err)
}

// heads calls f for the entries from one seq up to and with another, without
// reading their messages.
func (v *view) heads(k record.SessionKey, from, to uint64, f func(e *record.Entry) (more bool)) error {
	hi := after(appendQueue(nil, k, to))
	if to == math.MaxUint64 {
		hi = after(appendSession(nil, spaceQueue, k))
	}
	err := scan(v.r, appendQueue(nil, k, from), hi, func(key, value []byte) (bool, error) {
		e := record.Entry{Queued: record.Queued{Seq: seqOf(key)}}
		if !v.open(record.FormEntry, key, value, func(b []byte) error { _, err := record.ParseEntryHead(b, &e); return err }) {
			return true, nil
		}
		return f(&e), nil
	})
	return v.lossOr(appendSession(nil, spaceQueue, k), err)
}

// head reads one entry without its message.
func (v *view) head(k record.SessionKey, seq uint64) (e record.Entry, ok bool, err error) {
	e.Seq = seq
	ok, err = v.get(appendQueue(nil, k, seq), record.FormEntry, func(b []byte) error { _, err := record.ParseEntryHead(b, &e); return err })
	return e, ok, err
}

// entry reads one entry and its message.
func (v *view) entry(k record.SessionKey, seq uint64) (e record.Entry, ok bool, err error) {
	e.Seq = seq
	ok, err = v.get(appendQueue(nil, k, seq), record.FormEntry, func(b []byte) error { return record.ParseEntry(b, &e, v.shift) })
	if err == nil && ok && e.Ref != 0 {
		e.Msg, err = v.message(e.Ref)
	}
	return e, ok && e.Msg != nil, err
}

// message reads a message that entries refer to; nil: there is none.
func (v *view) message(ref uint64) (m *record.Message, err error) {
	key := appendMessageKey(nil, ref)
	missing := true
	_, err = v.get(key, record.FormMessage, func(b []byte) (err error) {
		missing = false
		m, err = record.ParseMessage(b, v.shift)
		return err
	})
	if err == nil && missing {
		v.damaged(key, fmt.Errorf("%w: an entry refers to a message that is not there", record.ErrDamaged))
	}
	return m, err
}

// waiting reads up to max entries from seq on that were not sent.
func (v *view) waiting(k record.SessionKey, from uint64, max int) ([]record.Queued, error) {
	cur, err := v.cursor(k)
	if err != nil || max <= 0 {
		return nil, err
	}
	flights, err := v.flights(k, from)
	if err != nil {
		return nil, err
	}
	out := make([]record.Queued, 0, min(max, 64))
	for _, seq := range cur.Below {
		if _, sent := flights[seq]; seq < from || sent || len(out) == max {
			continue
		}
		e, ok, err := v.entry(k, seq)
		if err != nil {
			return nil, err
		}
		if ok && e.Order == 0 {
			out = append(out, e.Queued)
		}
	}
	if len(out) == max {
		return out, nil
	}
	lo, hi := appendQueue(nil, k, later(from, cur.Head)), after(appendSession(nil, spaceQueue, k))
	var last uint64
	var lastMsg *record.Message // entries of one message often stand side by side
	err = scan(v.r, lo, hi, func(key, value []byte) (bool, error) {
		e := record.Entry{Queued: record.Queued{Seq: seqOf(key)}}
		var body []byte
		if !v.open(record.FormEntry, key, value, func(b []byte) (err error) { body, err = record.ParseEntryHead(b, &e); return err }) {
			return true, nil
		}
		if _, sent := flights[e.Seq]; sent || e.Order != 0 {
			return true, nil
		}
		var err error
		switch {
		case e.Ref == 0:
			if e.Msg, err = record.ParseMessage(body, v.shift); err != nil {
				v.damaged(key, err)
				return true, nil
			}
		case e.Ref == last:
			e.Msg = lastMsg
		default:
			if e.Msg, err = v.message(e.Ref); err != nil {
				return false, err
			}
			last, lastMsg = e.Ref, e.Msg
		}
		if e.Msg != nil {
			out = append(out, e.Queued)
		}
		return len(out) < max, nil
	})
	return out, v.lossOr(lo, err)
}

// later is max, whose name a parameter takes.
func later(a, b uint64) uint64 { return max(a, b) }

func readInbound(r pebble.Reader, k record.SessionKey, report func([]byte, error)) (map[byte]*page, error) {
	v := view{r: r, damaged: report}
	out := make(map[byte]*page)
	lo := appendPart(nil, k, partInbound)
	err := scan(r, lo, appendPart(nil, k, partInbound+1), func(key, value []byte) (bool, error) {
		p := new(page)
		if v.open(record.FormInbound, key, value, p.read) {
			out[key[len(key)-1]] = p
		}
		return true, nil
	})
	return out, v.lossOr(lo, err)
}

func (p *page) read(b []byte) error {
	if len(b) != len(p) {
		return fmt.Errorf("%w: page of %d bytes", record.ErrDamaged, len(b))
	}
	copy(p[:], b)
	return nil
}

// loading is a session while its parts come by.
type loading struct {
	saved   store.Saved
	key     record.SessionKey
	have    bool
	cur     record.Cursor
	flights map[uint64]record.Flight
}

// sessions calls f for each session, in order of their keys.
func (v *view) sessions(f func(*store.Saved) error) error {
	var l *loading
	give := func() error {
		if l == nil || !l.have {
			return nil
		}
		if err := v.complete(l); err != nil {
			return err
		}
		return f(&l.saved)
	}
	err := scan(v.r, []byte{spaceSession}, []byte{spaceSession + 1}, func(key, value []byte) (bool, error) {
		if len(key) <= sessionPrefix {
			v.damaged(key, fmt.Errorf("%w: short key", record.ErrDamaged))
			return true, nil
		}
		if k := sessionOf(key); l == nil || k != l.key {
			if err := give(); err != nil {
				return false, err
			}
			l = &loading{key: k}
		}
		v.loadPart(l, key, value)
		return true, nil
	})
	if err != nil {
		return err
	}
	return give()
}

func (v *view) loadPart(l *loading, key, value []byte) {
	rest := key[sessionPrefix+1:]
	switch key[sessionPrefix] {
	case partSession:
		l.have = v.open(record.FormSession, key, value, func(b []byte) error { return record.ParseSession(b, &l.saved.Session, v.shift) })
		l.saved.Session.Key = l.key
	case partCursor:
		v.open(record.FormCursor, key, value, func(b []byte) error { return record.ParseCursor(b, &l.cur) })
	case partWill:
		v.open(record.FormWill, key, value, func(b []byte) (err error) { l.saved.Will, err = record.ParseWill(b, v.shift); return err })
	case partInbound:
		var p page
		if len(rest) != 1 || !v.open(record.FormInbound, key, value, p.read) {
			return
		}
		for i := range uint16(256) {
			if p.has(i) {
				l.saved.Inbound = append(l.saved.Inbound, uint16(rest[0])<<8|i)
			}
		}
	case partFlight:
		var fl record.Flight
		if len(rest) == 8 && v.open(record.FormFlight, key, value, func(b []byte) error { return record.ParseFlight(b, &fl) }) {
			if l.flights == nil {
				l.flights = make(map[uint64]record.Flight)
			}
			l.flights[seqOf(key)] = fl
		}
	case partSub:
		s := record.Subscription{Filter: string(rest)}
		if v.open(record.FormSubscription, key, value, func(b []byte) error { return record.ParseSubscription(b, &s) }) {
			l.saved.Subs = append(l.saved.Subs, s)
		}
	default:
		v.damaged(key, fmt.Errorf("%w: unknown part %d of a session", record.ErrDamaged, key[sessionPrefix]))
	}
}

// sentEntries finds the entries of a session that were sent: those with a flight
// record that are still there, and those that say so themselves.
func (v *view) sentEntries(k record.SessionKey, cur *record.Cursor, flights map[uint64]record.Flight, f func(seq uint64, fl record.Flight, own bool)) error {
	for seq, fl := range flights {
		if _, late := slices.BinarySearch(cur.Below, seq); seq >= cur.Head || late {
			f(seq, fl, true)
		}
	}
	inside := func(e *record.Entry) {
		if _, own := flights[e.Seq]; e.Order != 0 && !own {
			f(e.Seq, record.Flight{Order: e.Order, PacketID: e.PacketID, State: e.State}, false)
		}
	}
	for _, seq := range cur.Below {
		e, ok, err := v.head(k, seq)
		if err != nil {
			return err
		}
		if ok {
			inside(&e)
		}
	}
	if cur.Sent < cur.Head {
		return nil
	}
	return v.heads(k, cur.Head, cur.Sent, func(e *record.Entry) bool { inside(e); return true })
}

// complete adds the entries in flight and the counts.
func (v *view) complete(l *loading) error {
	type sent struct {
		seq uint64
		fl  record.Flight
	}
	var all []sent
	err := v.sentEntries(l.key, &l.cur, l.flights, func(seq uint64, fl record.Flight, _ bool) { all = append(all, sent{seq, fl}) })
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b sent) int { return cmp.Compare(a.fl.Order, b.fl.Order) })
	isSent := make(map[uint64]bool, len(all))
	for _, s := range all {
		isSent[s.seq] = true
		e, ok, err := v.entry(l.key, s.seq)
		if err != nil {
			return err
		}
		if ok {
			l.saved.Inflight = append(l.saved.Inflight, store.Inflight{Entry: e.Queued, PacketID: s.fl.PacketID, State: s.fl.State})
		}
	}
	l.saved.LastSeq = l.cur.Last
	if l.cur.Count == 0 && len(all) == 0 {
		return nil
	}
	last, err := v.last(l.key, &l.cur)
	if l.saved.LastSeq = max(l.saved.LastSeq, last); err != nil || l.cur.Count == 0 {
		return err
	}
	l.saved.Queued, l.saved.QueuedBytes = int(l.cur.Count), int64(l.cur.Bytes)
	for _, seq := range l.cur.Below {
		if !isSent[seq] {
			l.saved.FirstSeq = seq
			return nil
		}
	}
	found := false
	err = v.heads(l.key, l.cur.Head, math.MaxUint64, func(e *record.Entry) bool {
		found = !isSent[e.Seq]
		l.saved.FirstSeq = e.Seq
		return !found
	})
	if !found { // the cursor counts what is not there any more
		l.saved.Queued, l.saved.QueuedBytes, l.saved.FirstSeq = 0, 0, 0
	}
	return err
}

// last gives the highest number of the entries that are there, 0 for none.
func (v *view) last(k record.SessionKey, cur *record.Cursor) (seq uint64, err error) {
	if n := len(cur.Below); n > 0 {
		seq = cur.Below[n-1]
	}
	it, err := v.r.NewIter(&pebble.IterOptions{LowerBound: appendQueue(nil, k, cur.Head), UpperBound: after(appendSession(nil, spaceQueue, k))})
	if err != nil {
		return 0, err
	}
	if it.Last() {
		seq = seqOf(it.Key())
	}
	return seq, v.lossOr(appendSession(nil, spaceQueue, k), it.Close())
}

// retained calls f for each retained message.
func (v *view) retained(f func(*record.Message) error) error {
	return scan(v.r, []byte{spaceRetained}, []byte{spaceRetained + 1}, func(key, value []byte) (bool, error) {
		var m *record.Message
		if !v.open(record.FormMessage, key, value, func(b []byte) (err error) { m, err = record.ParseMessage(b, v.shift); return err }) {
			return true, nil
		}
		return true, f(m)
	})
}
