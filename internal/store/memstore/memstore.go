// Package memstore keeps sessions, queues and retained messages in memory: the
// engine of a broker without persistence, and the quickest one for tests.
//
// Every method may be called from any goroutine. Commits and reads complete
// inside the call, on the caller's goroutine and with no lock held, so a
// completion may call the store again. Nothing is ever written to disk and no
// message is copied: queues and the retained index share the pointers that they
// are given. The data lasts as long as the Store; Close refuses further use and
// Reopen, for a restart within one process, lifts that.
package memstore

import (
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
)

// shardCount is the number of locks that sessions are spread over: several
// loops commit at once and should seldom meet. It is 64 so that the shards of a
// batch fit one word.
const shardCount = 64

// shard holds the sessions whose keys hash to it.
type shard struct {
	mu       sync.Mutex
	sessions map[record.SessionKey]*session
	// Sums over the sessions, so that Stats walks none of them.
	subs, entries, inflight int

	_ [24]byte // a cache line for each lock
}

// Store is the engine. The zero value is not usable; see New.
type Store struct {
	shards [shardCount]shard

	retainedMu sync.Mutex
	retained   map[string]*record.Message // by topic

	refs refTable

	// closed is set with all locks held and looked at with at least one held, so
	// that Close waits for commits under way.
	closed atomic.Bool
}

var _ store.Store = (*Store)(nil)

// New returns an empty engine.
func New() *Store {
	s := &Store{retained: make(map[string]*record.Message)}
	for i := range s.shards {
		s.shards[i].sessions = make(map[record.SessionKey]*session)
	}
	s.refs.init()
	return s
}

// Immediate reports true: commits and reads complete inside the call.
func (s *Store) Immediate() bool { return true }

// Commit carries out the batch and calls done before it returns. The level has
// no meaning in memory. The error is store.ErrClosed or names the first change
// that cannot be carried out; then nothing of the batch is in force.
func (s *Store) Commit(b *store.Batch, _ store.Level, done func(error)) { done(s.commit(b.Ops)) }

func (s *Store) commit(ops []record.Op) error {
	set, retained, err := plan(ops)
	if err != nil {
		return err
	}
	// All locks of the batch are held together, or a reader could see half of it.
	s.lock(set, retained)
	if s.closed.Load() {
		s.unlock(set, retained)
		return store.ErrClosed
	}
	var gone []*session
	for i := range ops {
		if x := s.apply(&ops[i]); x != nil {
			gone = append(gone, x)
		}
	}
	s.unlock(set, retained)
	// A long queue takes a while to count down: not with locks held.
	for _, x := range gone {
		x.queue.each(func(e *slot) { s.refs.drop(e.msg) })
		x.queue.release()
	}
	return nil
}

// plan checks every change before the first is carried out and tells which
// locks the batch needs.
func plan(ops []record.Op) (set uint64, retained bool, err error) {
	if err := record.Check(ops); err != nil {
		return 0, false, fmt.Errorf("commit: %w", err)
	}
	for i := range ops {
		op := &ops[i]
		switch op.Kind {
		case record.PutRetained, record.DeleteRetained:
			retained = true
		case record.PutSession:
			set |= 1 << shardOf(op.Session.Key)
		default:
			set |= 1 << shardOf(op.Key)
		}
	}
	return set, retained, nil
}

// shardOf spreads keys that are counted up, whatever their stride.
func shardOf(key record.SessionKey) uint { return uint(uint64(key) * 0x9E3779B97F4A7C15 >> 58) }

// lock takes the shards in set in ascending order, then the retained index: one
// order for all, so that two batches cannot wait for each other.
func (s *Store) lock(set uint64, retained bool) {
	for m := set; m != 0; m &= m - 1 {
		s.shards[bits.TrailingZeros64(m)].mu.Lock()
	}
	if retained {
		s.retainedMu.Lock()
	}
}

func (s *Store) unlock(set uint64, retained bool) {
	if retained {
		s.retainedMu.Unlock()
	}
	for m := set; m != 0; m &= m - 1 {
		s.shards[bits.TrailingZeros64(m)].mu.Unlock()
	}
}

// apply carries out one checked change; the locks it needs are held. A change
// to a session that is not there hits nothing. It returns the session that it
// deleted, whose messages are still counted.
func (s *Store) apply(op *record.Op) (gone *session) {
	switch op.Kind {
	case record.PutSession:
		sh := &s.shards[shardOf(op.Session.Key)]
		if x := sh.sessions[op.Session.Key]; x != nil {
			x.rec = op.Session
		} else {
			sh.sessions[op.Session.Key] = &session{rec: op.Session}
		}
		return nil
	case record.PutRetained:
		m := op.Entry.Msg
		s.refs.add(m)
		if old := s.retained[m.Topic]; old != nil {
			s.refs.drop(old)
			// The key must not keep the topic of the message it no longer names alive.
			delete(s.retained, m.Topic)
		}
		s.retained[m.Topic] = m
		return nil
	case record.DeleteRetained:
		if old := s.retained[op.Filter]; old != nil {
			s.refs.drop(old)
			delete(s.retained, op.Filter)
		}
		return nil
	default:
		return s.applyTo(op)
	}
}

// applyTo is apply for changes to what an existing session owns.
func (s *Store) applyTo(op *record.Op) (gone *session) {
	sh := &s.shards[shardOf(op.Key)]
	x := sh.sessions[op.Key]
	if x == nil {
		return nil
	}
	switch op.Kind {
	case record.DeleteSession:
		sh.subs -= x.subs.len()
		sh.entries -= x.queue.live
		sh.inflight -= x.queue.inflight
		delete(sh.sessions, op.Key)
		return x
	case record.PutSubscription:
		if x.subs.put(op.Sub) {
			sh.subs++
		}
	case record.DeleteSubscription:
		if x.subs.remove(op.Filter) {
			sh.subs--
		}
	case record.Enqueue:
		s.refs.add(op.Entry.Msg)
		old, wasInflight := x.queue.put(&op.Entry)
		if old != nil {
			s.refs.drop(old)
			sh.entries--
		}
		if wasInflight {
			sh.inflight--
		}
		sh.entries++
	case record.PutInflight:
		if x.queue.setInflight(op.Seq, op.PacketID, op.State) {
			sh.inflight++
		}
	case record.Dequeue:
		if old, wasInflight := x.queue.remove(op.Seq); old != nil {
			s.refs.drop(old)
			sh.entries--
			if wasInflight {
				sh.inflight--
			}
		}
	case record.PutInbound:
		x.putInbound(op.PacketID)
	case record.DeleteInbound:
		x.deleteInbound(op.PacketID)
	case record.PutWill:
		x.will = op.Will
	case record.DeleteWill:
		x.will = nil
	default: // apply has carried it out
	}
	return nil
}

// ReadQueue calls done, before it returns, with up to max entries that are not
// in flight. The slice belongs to the caller. A session that is not there has no
// entries; that is no error, as it may have been deleted a moment ago.
func (s *Store) ReadQueue(key record.SessionKey, from uint64, max int, done func([]record.Queued, error)) {
	sh := &s.shards[shardOf(key)]
	sh.mu.Lock()
	if s.closed.Load() {
		sh.mu.Unlock()
		done(nil, store.ErrClosed)
		return
	}
	var out []record.Queued
	if x := sh.sessions[key]; x != nil {
		out = x.queue.read(from, max)
	}
	sh.mu.Unlock()
	done(out, nil)
}

// LoadSessions calls f for each session, in no order, until f returns an error,
// which it returns as it is. Each session is seen whole; sessions that come or
// go meanwhile may be missed. f may call the store.
func (s *Store) LoadSessions(f func(*store.Saved) error) error {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		if s.closed.Load() {
			sh.mu.Unlock()
			return store.ErrClosed
		}
		saved := make([]*store.Saved, 0, len(sh.sessions))
		for _, x := range sh.sessions {
			saved = append(saved, x.saved())
		}
		sh.mu.Unlock()
		for _, v := range saved {
			if err := f(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// LoadRetained calls f for each retained message, in no order, until f returns
// an error, which it returns as it is. f may call the store.
func (s *Store) LoadRetained(f func(*record.Message) error) error {
	s.retainedMu.Lock()
	if s.closed.Load() {
		s.retainedMu.Unlock()
		return store.ErrClosed
	}
	all := make([]*record.Message, 0, len(s.retained))
	for _, m := range s.retained {
		all = append(all, m)
	}
	s.retainedMu.Unlock()
	for _, m := range all {
		if err := f(m); err != nil {
			return err
		}
	}
	return nil
}

// Close waits for commits under way and refuses later ones with
// store.ErrClosed. A second Close does nothing.
func (s *Store) Close() error {
	s.lock(^uint64(0), true)
	s.closed.Store(true)
	s.unlock(^uint64(0), true)
	return nil
}

// Reopen lets a closed store be used again with all it holds: the restart of a
// broker within one process.
func (s *Store) Reopen() { s.closed.Store(false) }
