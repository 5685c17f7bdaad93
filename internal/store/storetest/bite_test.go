package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/memstore"
)

// recorder is the testing.TB that a suite run on a broken engine reports to.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (r *recorder) fail(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, s)
}

func (r *recorder) Helper()                      {}
func (r *recorder) Log(...any)                   {}
func (r *recorder) Logf(string, ...any)          {}
func (r *recorder) Error(args ...any)            { r.fail(fmt.Sprint(args...)) }
func (r *recorder) Errorf(f string, args ...any) { r.fail(fmt.Sprintf(f, args...)) }
func (r *recorder) Fail()                        { r.fail("failed") }
func (r *recorder) FailNow()                     { r.Fail(); runtime.Goexit() }
func (r *recorder) Fatal(args ...any)            { r.Error(args...); runtime.Goexit() }
func (r *recorder) Fatalf(f string, args ...any) { r.Errorf(f, args...); runtime.Goexit() }
func (r *recorder) Cleanup(f func())             { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.failures) > 0
}

// recordCase runs one case of the suite and returns what it reported.
func recordCase(t *testing.T, name string, open Open, reopen Reopen) []string {
	t.Helper()
	i := slices.IndexFunc(cases, func(c testCase) bool { return c.name == name })
	if i < 0 {
		t.Fatalf("no case %q", name)
	}
	r := &recorder{TB: t}
	var wg sync.WaitGroup
	wg.Go(func() { cases[i].run(newEnv(r, open, reopen)) })
	wg.Wait()
	for _, f := range r.cleanups {
		wg.Go(f) // may call Fatal, too
		wg.Wait()
	}
	return r.failures
}

// bad is an engine with one fault: what is set replaces the part of memstore.
type bad struct {
	*memstore.Store
	// ops rewrites a batch; it may change the slice it is given.
	ops          func([]record.Op) []record.Op
	commit       func(s *memstore.Store, b *store.Batch, level store.Level, done func(error))
	read         func(s *memstore.Store, key record.SessionKey, from uint64, max int, done func([]record.Queued, error))
	saved        func(*store.Saved) *store.Saved
	loadSessions func(s *memstore.Store, f func(*store.Saved) error) error
	loadRetained func(s *memstore.Store, f func(*record.Message) error) error
	close        func(*memstore.Store) error
	reopened     func(*memstore.Store)
	notImmediate bool
}

func (b *bad) Immediate() bool { return !b.notImmediate }

func (b *bad) Commit(batch *store.Batch, level store.Level, done func(error)) {
	if b.ops != nil {
		batch = &store.Batch{Ops: b.ops(slices.Clone(batch.Ops))}
	}
	if b.commit != nil {
		b.commit(b.Store, batch, level, done)
		return
	}
	b.Store.Commit(batch, level, done)
}

func (b *bad) ReadQueue(key record.SessionKey, from uint64, max int, done func([]record.Queued, error)) {
	if b.read != nil {
		b.read(b.Store, key, from, max, done)
		return
	}
	b.Store.ReadQueue(key, from, max, done)
}

func (b *bad) LoadSessions(f func(*store.Saved) error) error {
	if b.loadSessions != nil {
		return b.loadSessions(b.Store, f)
	}
	return b.Store.LoadSessions(func(v *store.Saved) error {
		if b.saved != nil {
			v = b.saved(v)
		}
		return f(v)
	})
}

func (b *bad) LoadRetained(f func(*record.Message) error) error {
	if b.loadRetained != nil {
		return b.loadRetained(b.Store, f)
	}
	return b.Store.LoadRetained(f)
}

func (b *bad) Close() error {
	if b.close != nil {
		return b.close(b.Store)
	}
	return b.Store.Close()
}

func restartBad(_ testing.TB, old store.Store) store.Store {
	b := old.(*bad)
	b.Store.Reopen()
	if b.reopened != nil {
		b.reopened(b.Store)
	}
	return b
}

// fault is one way to be wrong and the case that must notice.
type fault struct {
	name string
	by   string
	make func() *bad
}

func without(kind record.OpKind) func() *bad {
	return each(func(op *record.Op) bool { return op.Kind != kind })
}

// each makes an engine that rewrites every change, dropping it on false.
func each(f func(*record.Op) bool) func() *bad {
	return func() *bad {
		return &bad{ops: func(ops []record.Op) []record.Op {
			var out []record.Op
			for _, op := range ops {
				if f(&op) {
					out = append(out, op)
				}
			}
			return out
		}}
	}
}

// entry makes an engine that stores queue entries falsely.
func entry(f func(*record.Queued)) func() *bad {
	return each(func(op *record.Op) bool {
		if op.Kind == record.Enqueue && op.Entry.Msg != nil {
			m := *op.Entry.Msg
			op.Entry.Msg = &m
			f(&op.Entry)
		}
		return true
	})
}

func session(f func(*record.Session)) func() *bad {
	return each(func(op *record.Op) bool {
		if op.Kind == record.PutSession && op.Session != nil {
			s := *op.Session
			f(&s)
			op.Session = &s
		}
		return true
	})
}

func sub(f func(*record.Subscription)) func() *bad {
	return each(func(op *record.Op) bool {
		if op.Kind == record.PutSubscription && op.Sub != nil {
			s := *op.Sub
			f(&s)
			op.Sub = &s
		}
		return true
	})
}

func will(f func(*record.Will)) func() *bad {
	return each(func(op *record.Op) bool {
		if op.Kind == record.PutWill && op.Will != nil {
			w := *op.Will
			f(&w)
			op.Will = &w
		}
		return true
	})
}

func saved(f func(*store.Saved)) func() *bad {
	return func() *bad {
		return &bad{saved: func(v *store.Saved) *store.Saved { f(v); return v }}
	}
}

// restarted makes an engine that loses what the changes take away at a restart.
func restarted(ops ...record.Op) func() *bad {
	return func() *bad {
		return &bad{reopened: func(s *memstore.Store) { s.Commit(&store.Batch{Ops: ops}, store.Flush, func(error) {}) }}
	}
}

// dataFaults are those of what is stored.
var dataFaults = []fault{
	{"PutSession lost", "Session", without(record.PutSession)},
	{"DeleteSession lost", "DeleteSession", without(record.DeleteSession)},
	{"PutSubscription lost", "Subscription", without(record.PutSubscription)},
	{"DeleteSubscription lost", "Subscription", without(record.DeleteSubscription)},
	{"Enqueue lost", "Enqueue", without(record.Enqueue)},
	{"PutInflight lost", "Inflight", without(record.PutInflight)},
	{"Dequeue lost", "Dequeue", without(record.Dequeue)},
	{"PutInbound lost", "Inbound", without(record.PutInbound)},
	{"DeleteInbound lost", "Inbound", without(record.DeleteInbound)},
	{"PutWill lost", "Will", without(record.PutWill)},
	{"DeleteWill lost", "Will", without(record.DeleteWill)},
	{"PutRetained lost", "Retained", without(record.PutRetained)},
	{"DeleteRetained lost", "Retained", without(record.DeleteRetained)},

	{"client id cut", "Session", session(func(s *record.Session) { s.ClientID = s.ClientID[:min(len(s.ClientID), 23)] })},
	{"user name lost", "Session", session(func(s *record.Session) { s.UserName = "" })},
	{"expiry lost", "Session", session(func(s *record.Session) { s.Expiry = 0 })},
	{"version lost", "Session", session(func(s *record.Session) { s.Version = 5 })},
	{"disconnection lost", "Session", session(func(s *record.Session) { s.Disconnected = 0 })},
	{"subscription identifier lost", "Subscription", sub(func(s *record.Subscription) { s.ID = 0 })},
	{"granted QoS lost", "Subscription", sub(func(s *record.Subscription) { s.QoS = 0 })},
	{"no local lost", "Subscription", sub(func(s *record.Subscription) { s.NoLocal = false })},
	{"retain as published lost", "Subscription", sub(func(s *record.Subscription) { s.RetainAsPublished = false })},
	{"share prefix lost", "Subscription", sub(func(s *record.Subscription) { s.Filter = strings.TrimPrefix(s.Filter, "$share/") })},
	{"payload cut", "Enqueue", entry(func(q *record.Queued) { q.Msg.Payload = q.Msg.Payload[:min(len(q.Msg.Payload), 65535)] })},
	{"properties lost", "Enqueue", entry(func(q *record.Queued) { q.Msg.Props = nil })},
	{"publisher lost", "Enqueue", entry(func(q *record.Queued) { q.Msg.Publisher = "" })},
	{"publisher's user lost", "Enqueue", entry(func(q *record.Queued) { q.Msg.PublisherUser = "" })},
	{"expiry of a message lost", "Enqueue", entry(func(q *record.Queued) { q.Msg.Expires = 0 })},
	{"time of acceptance lost", "Enqueue", entry(func(q *record.Queued) { q.Msg.At = 0 })},
	{"order of acceptance lost", "Enqueue", entry(func(q *record.Queued) { q.Msg.Seq = q.Seq })},
	{"published QoS lost", "Enqueue", entry(func(q *record.Queued) { q.Msg.QoS = q.QoS })},
	{"retain of a message lost", "Enqueue", entry(func(q *record.Queued) { q.Msg.Retain = false })},
	{"subscription identifier of an entry lost", "Enqueue", entry(func(q *record.Queued) { q.SubID = 0 })},
	{"QoS of an entry lost", "Enqueue", entry(func(q *record.Queued) { q.QoS = q.Msg.QoS })},
	{"retain of an entry lost", "Enqueue", entry(func(q *record.Queued) { q.Retain = false })},
	{"group lost", "Enqueue", entry(func(q *record.Queued) { q.Group = "" })},
	{"sequence number cut", "KeysApart", entry(func(q *record.Queued) { q.Seq = uint64(uint32(q.Seq)) })},
	{"will delay lost", "Will", will(func(w *record.Will) { w.Delay = 0 })},
	{"will expiry lost", "Will", will(func(w *record.Will) { w.Expiry = 0 })},
	{"will expiry flag lost", "Will", will(func(w *record.Will) { w.HasExpiry = false })},

	{"first subscription stays", "Subscription", func() *bad {
		seen := map[string]bool{}
		return each(func(op *record.Op) bool {
			k := fmt.Sprint(op.Key, op.Sub)
			if op.Sub != nil {
				k = fmt.Sprint(op.Key, op.Sub.Filter)
			}
			again := op.Kind == record.PutSubscription && seen[k]
			seen[k] = true
			return !again
		})()
	}},
	{"first retained message stays", "Retained", func() *bad {
		seen := map[string]bool{}
		return each(func(op *record.Op) bool {
			if op.Kind != record.PutRetained {
				return true
			}
			again := seen[op.Entry.Msg.Topic]
			seen[op.Entry.Msg.Topic] = true
			return !again
		})()
	}},
	{"state of an exchange stays", "Inflight", func() *bad {
		seen := map[string]bool{}
		return each(func(op *record.Op) bool {
			k := fmt.Sprint(op.Key, op.Seq)
			again := op.Kind == record.PutInflight && seen[k]
			seen[k] = seen[k] || op.Kind == record.PutInflight
			return !again
		})()
	}},
	{"order of sending lost", "Inflight", saved(func(v *store.Saved) {
		slices.SortFunc(v.Inflight, func(a, b store.Inflight) int { return cmp.Compare(a.Entry.Seq, b.Entry.Seq) })
	})},
	{"identifier in flight lost", "Inflight", each(func(op *record.Op) bool {
		op.PacketID &= 0x7FFF
		return op.Kind != record.PutInflight || op.PacketID != 0
	})},
	{"inbound twice", "Inbound", saved(func(v *store.Saved) { v.Inbound = append(v.Inbound, v.Inbound...) })},
	{"in flight counted as queued", "Inflight", saved(func(v *store.Saved) { v.Queued += len(v.Inflight) })},
	{"bytes not counted", "Enqueue", saved(func(v *store.Saved) { v.QueuedBytes = 0 })},
	{"first sequence number wrong", "Dequeue", saved(func(v *store.Saved) { v.FirstSeq = 1 })},
	{"last sequence number wrong", "Dequeue", saved(func(v *store.Saved) { v.LastSeq = v.FirstSeq })},

	{"keys of 8 bits", "KeysApart", each(func(op *record.Op) bool { op.Key &= 0xFF; return true })},
	{"deletion reaches the next key", "KeysApart", func() *bad {
		return &bad{ops: func(ops []record.Op) []record.Op {
			for _, op := range ops {
				if op.Kind == record.DeleteSession {
					op.Key++
					ops = append(ops, op)
				}
			}
			return ops
		}}
	}},
	{"dequeue moves a cursor", "Dequeue", func() *bad {
		return &bad{ops: func(ops []record.Op) []record.Op {
			for _, op := range ops {
				for s := uint64(1); op.Kind == record.Dequeue && s < min(op.Seq, 100); s++ {
					ops = append(ops, dequeue(op.Key, s))
				}
			}
			return ops
		}}
	}},
	{"a message leaves all queues at once", "Enqueue", func() *bad {
		at := map[*record.Message][]record.Op{}
		return &bad{ops: func(ops []record.Op) []record.Op {
			for _, op := range ops {
				if op.Kind == record.Enqueue {
					at[op.Entry.Msg] = append(at[op.Entry.Msg], dequeue(op.Key, op.Entry.Seq))
				}
				for _, places := range at {
					if slices.ContainsFunc(places, func(p record.Op) bool { return op.Kind == record.Dequeue && p.Key == op.Key && p.Seq == op.Seq }) {
						ops = append(ops, places...)
					}
				}
			}
			return ops
		}}
	}},
	{"a change begins a session", "LateChanges", func() *bad {
		known := map[record.SessionKey]bool{}
		return &bad{ops: func(ops []record.Op) []record.Op {
			var out []record.Op
			for _, op := range ops {
				switch {
				case op.Kind == record.PutSession:
					known[op.Session.Key] = true
				case op.Kind == record.DeleteSession:
					known[op.Key] = false
				case op.Key != 0 && !known[op.Key]:
					out = append(out, putSession(op.Key))
				}
				out = append(out, op)
			}
			return out
		}}
	}},
	{"a late change stops its batch", "LateChanges", func() *bad {
		deleted := map[record.SessionKey]bool{}
		return &bad{ops: func(ops []record.Op) []record.Op {
			for _, op := range ops {
				if op.Kind == record.DeleteSession {
					deleted[op.Key] = true
				} else if deleted[op.Key] {
					return nil
				}
			}
			return ops
		}}
	}},
	{"a new session inherits by client id", "DeleteSession", func() *bad {
		old := map[string]bool{}
		return &bad{ops: func(ops []record.Op) []record.Op {
			for _, op := range ops {
				if op.Kind == record.PutSession {
					if old[op.Session.ClientID] {
						ops = append(ops, putSub(op.Session.Key, "a/+", 1))
					}
					old[op.Session.ClientID] = true
				}
			}
			return ops
		}}
	}},
	{"a batch backwards", "OrderInBatch", func() *bad {
		return &bad{ops: func(ops []record.Op) []record.Op { slices.Reverse(ops); return ops }}
	}},
	{"a batch by kinds", "OrderInBatch", func() *bad { return &bad{ops: inflightFirst} }},

	{"restart loses wills", "Will", restarted(deleteWill(1), deleteWill(2))},
	{"restart loses inbound", "Inbound", restarted(deleteInbound(1, 1), deleteInbound(1, 65535), deleteInbound(2, 2))},
	{"restart loses retained messages", "Retained", restarted(deleteRetained("a"), deleteRetained("/"))},
	{"restart loses the head", "Dequeue", restarted(dequeue(1, 2), dequeue(1, 13), dequeue(2, 1))},
	{"restart loses subscriptions", "Subscription", restarted(deleteSub(1, "a"), deleteSub(1, "a/b"), deleteSub(2, "a"))},
	{"restart loses sessions", "Session", restarted(deleteSession(1))},
	{"anything in a random run", "Model", each(func(op *record.Op) bool { return op.Kind != record.Dequeue || op.Seq%7 != 0 })},
}

// applyEach carries out changes one by one, so that a bad one leaves the others.
func applyEach(s *memstore.Store, b *store.Batch, level store.Level, done func(error)) {
	var failed error
	for i := range b.Ops {
		s.Commit(&store.Batch{Ops: b.Ops[i : i+1]}, level, func(err error) { failed = errors.Join(failed, err) })
	}
	if len(b.Ops) == 0 {
		s.Commit(b, level, func(err error) { failed = err })
	}
	done(failed)
}

// callFaults are those of calls and completions.
var callFaults = []fault{
	{"half a batch", "Atomic", func() *bad { return &bad{commit: applyEach} }},
	{"half a batch before the bad change", "Atomic", func() *bad {
		return &bad{commit: func(s *memstore.Store, b *store.Batch, level store.Level, done func(error)) {
			n := slices.IndexFunc(b.Ops, func(op record.Op) bool { return op.Kind == 0 || op.Kind == 255 })
			if n > 0 {
				s.Commit(&store.Batch{Ops: b.Ops[:n]}, level, func(error) {})
			}
			s.Commit(b, level, done)
		}}
	}},
	{"bad changes skipped", "Atomic", each(func(op *record.Op) bool { return op.Kind != 0 && op.Kind != 255 })},
	{"error swallowed", "Atomic", func() *bad {
		return &bad{commit: func(s *memstore.Store, b *store.Batch, level store.Level, done func(error)) {
			s.Commit(b, level, func(error) { done(nil) })
		}}
	}},
	{"two completions", "Session", func() *bad {
		return &bad{commit: func(s *memstore.Store, b *store.Batch, level store.Level, done func(error)) {
			s.Commit(b, level, func(err error) { done(err); done(err) })
		}}
	}},
	{"no completion", "Session", func() *bad {
		return &bad{commit: func(s *memstore.Store, b *store.Batch, level store.Level, done func(error)) {
			s.Commit(b, level, func(error) {})
		}}
	}},
	{"no completion of an empty batch", "EmptyBatch", func() *bad {
		return &bad{commit: func(s *memstore.Store, b *store.Batch, level store.Level, done func(error)) {
			if len(b.Ops) > 0 {
				s.Commit(b, level, done)
			}
		}}
	}},
	{"an empty batch is an error", "EmptyBatch", func() *bad {
		return &bad{commit: func(s *memstore.Store, b *store.Batch, level store.Level, done func(error)) {
			if len(b.Ops) == 0 {
				done(errors.New("nothing to do"))
				return
			}
			s.Commit(b, level, done)
		}}
	}},
	{"a level not known", "Levels", func() *bad {
		return &bad{commit: func(s *memstore.Store, b *store.Batch, level store.Level, done func(error)) {
			if level == store.Write {
				done(errors.New("no such level"))
				return
			}
			s.Commit(b, level, done)
		}}
	}},
	{"a lazy batch is dropped", "Lazy", func() *bad {
		return &bad{commit: func(s *memstore.Store, b *store.Batch, level store.Level, done func(error)) {
			if b.Lazy {
				done(nil)
				return
			}
			s.Commit(b, level, done)
		}}
	}},
	{"a lazy batch loses its place", "Lazy", func() *bad {
		var held func()
		return &bad{notImmediate: true, commit: func(s *memstore.Store, b *store.Batch, level store.Level, done func(error)) {
			if b.Lazy && b.Ops[0].Entry.Seq == 2 {
				held = func() { s.Commit(b, level, done) }
				return
			}
			s.Commit(b, level, done)
			if held != nil {
				held()
				held = nil
			}
		}}
	}},
	{"completions overtake", "CompletionOrder", func() *bad {
		var held func()
		return &bad{commit: func(s *memstore.Store, b *store.Batch, level store.Level, done func(error)) {
			s.Commit(b, level, func(err error) {
				if level == store.Flush && held == nil && len(b.Ops) == 2 && b.Ops[0].Kind == record.Enqueue {
					held = func() { done(err) }
					return
				}
				done(err)
				if held != nil {
					held()
					held = nil
				}
			})
		}}
	}},
	{"completed before carried out", "ReadAfterCommit", func() *bad {
		var last []record.Op
		return &bad{commit: func(s *memstore.Store, b *store.Batch, level store.Level, done func(error)) {
			now := last
			last = slices.Clone(b.Ops)
			s.Commit(&store.Batch{Ops: now}, level, done)
		}}
	}},
	{"batch kept", "BatchReuse", func() *bad {
		var last *store.Batch
		return &bad{
			commit: func(s *memstore.Store, b *store.Batch, level store.Level, done func(error)) {
				if last != nil {
					s.Commit(last, level, func(error) {})
				}
				last = b
				done(nil)
			},
			loadSessions: func(s *memstore.Store, f func(*store.Saved) error) error {
				s.Commit(last, store.Flush, func(error) {})
				return s.LoadSessions(f)
			},
		}
	}},
	{"batch written to", "BatchReuse", func() *bad {
		return &bad{commit: func(s *memstore.Store, b *store.Batch, level store.Level, done func(error)) {
			s.Commit(b, level, func(err error) {
				for i := range b.Ops {
					b.Ops[i].Seq = 1
				}
				done(err)
			})
		}}
	}},
	{"says not immediate and is", "CompletionPlace", func() *bad { return &bad{notImmediate: true} }},
	{"says immediate and is not", "CompletionPlace", func() *bad {
		return &bad{commit: func(s *memstore.Store, b *store.Batch, level store.Level, done func(error)) {
			s.Commit(b, level, func(err error) { go done(err) })
		}}
	}},
	{"says immediate and reads are not", "CompletionPlace", func() *bad {
		return &bad{read: func(s *memstore.Store, key record.SessionKey, from uint64, max int, done func([]record.Queued, error)) {
			s.ReadQueue(key, from, max, func(q []record.Queued, err error) { go done(q, err) })
		}}
	}},
	{"from left out", "ReadFrom", func() *bad {
		return &bad{read: func(s *memstore.Store, key record.SessionKey, _ uint64, max int, done func([]record.Queued, error)) {
			s.ReadQueue(key, 0, max, done)
		}}
	}},
	{"from not included", "ReadFrom", func() *bad {
		return &bad{read: func(s *memstore.Store, key record.SessionKey, from uint64, max int, done func([]record.Queued, error)) {
			s.ReadQueue(key, from+1, max, done)
		}}
	}},
	{"one too many", "ReadFrom", func() *bad {
		return &bad{read: func(s *memstore.Store, key record.SessionKey, from uint64, max int, done func([]record.Queued, error)) {
			s.ReadQueue(key, from, max+1, done)
		}}
	}},
	{"max counts those in flight", "ReadFrom", func() *bad {
		return &bad{read: func(s *memstore.Store, key record.SessionKey, from uint64, max int, done func([]record.Queued, error)) {
			if key == 1 && from <= 10 && max > 1 {
				max--
			}
			s.ReadQueue(key, from, max, done)
		}}
	}},
	{"those in flight read", "Inflight", func() *bad {
		return &bad{read: func(s *memstore.Store, key record.SessionKey, from uint64, max int, done func([]record.Queued, error)) {
			var out []record.Queued
			_ = s.LoadSessions(func(v *store.Saved) error {
				for _, f := range v.Inflight {
					if v.Session.Key == key && f.Entry.Seq >= from {
						out = append(out, f.Entry)
					}
				}
				return nil
			})
			s.ReadQueue(key, from, max, func(q []record.Queued, err error) { done(append(out, q...), err) })
		}}
	}},
	{"backwards", "ReadFrom", func() *bad {
		return &bad{read: func(s *memstore.Store, key record.SessionKey, from uint64, max int, done func([]record.Queued, error)) {
			s.ReadQueue(key, from, max, func(q []record.Queued, err error) { slices.Reverse(q); done(q, err) })
		}}
	}},
	{"an unknown session is an error", "ReadFrom", func() *bad {
		return &bad{read: func(s *memstore.Store, key record.SessionKey, from uint64, max int, done func([]record.Queued, error)) {
			s.ReadQueue(key, from, max, func(q []record.Queued, err error) {
				if len(q) == 0 && s.Stats().Sessions == 0 {
					err = errors.New("no such session")
				}
				done(q, err)
			})
		}}
	}},
	{"page reused", "ReadOwned", func() *bad {
		page := make([]record.Queued, 0, 1000)
		return &bad{read: func(s *memstore.Store, key record.SessionKey, from uint64, max int, done func([]record.Queued, error)) {
			s.ReadQueue(key, from, max, func(q []record.Queued, err error) { done(append(page, q...), err) })
		}}
	}},
	{"long queue cut", "ReadLong", func() *bad {
		return &bad{read: func(s *memstore.Store, key record.SessionKey, from uint64, max int, done func([]record.Queued, error)) {
			s.ReadQueue(key, from, max, func(q []record.Queued, err error) {
				if len(q) > 0 && q[len(q)-1].Seq > 2900 {
					q = q[:len(q)-1]
				}
				done(q, err)
			})
		}}
	}},
	{"walk goes on after an error", "LoadErrors", func() *bad {
		return &bad{loadSessions: func(s *memstore.Store, f func(*store.Saved) error) error {
			var failed error
			_ = s.LoadSessions(func(v *store.Saved) error { failed = errors.Join(failed, f(v)); return nil })
			return failed
		}}
	}},
	{"error of a session walk lost", "LoadErrors", func() *bad {
		return &bad{loadSessions: func(s *memstore.Store, f func(*store.Saved) error) error {
			_ = s.LoadSessions(f)
			return nil
		}}
	}},
	{"error of a retained walk lost", "LoadErrors", func() *bad {
		return &bad{loadRetained: func(s *memstore.Store, f func(*record.Message) error) error {
			_ = s.LoadRetained(f)
			return nil
		}}
	}},
	{"a session twice", "Session", func() *bad {
		return &bad{loadSessions: func(s *memstore.Store, f func(*store.Saved) error) error {
			return errors.Join(s.LoadSessions(f), s.LoadSessions(f))
		}}
	}},
	{"what is loaded stays shared", "LoadOwned", func() *bad {
		kept := map[record.SessionKey]*store.Saved{}
		return &bad{saved: func(v *store.Saved) *store.Saved {
			if old := kept[v.Session.Key]; old != nil {
				v.Inbound = old.Inbound
			}
			kept[v.Session.Key] = v
			kept[v.Session.Key] = &store.Saved{Inbound: v.Inbound}
			return v
		}}
	}},
	{"use after close", "Close", func() *bad {
		return &bad{close: func(*memstore.Store) error { return nil }}
	}},
	{"the first entry is lost at a restart", "Restarts", func() *bad {
		return &bad{reopened: func(s *memstore.Store) {
			_ = s.LoadSessions(func(v *store.Saved) error {
				s.Commit(&store.Batch{Ops: []record.Op{dequeue(v.Session.Key, v.FirstSeq)}}, store.Flush, func(error) {})
				return nil
			})
		}}
	}},
	{"close fails", "Close", func() *bad {
		return &bad{close: func(s *memstore.Store) error { return errors.Join(s.Close(), errors.New("still busy")) }}
	}},
	{"another error after close", "Close", func() *bad {
		return &bad{commit: func(s *memstore.Store, b *store.Batch, level store.Level, done func(error)) {
			s.Commit(b, level, func(err error) {
				if err != nil {
					err = errors.New("gone")
				}
				done(err)
			})
		}}
	}},
	{"loops mixed up", "Concurrent", func() *bad {
		var mu sync.Mutex
		n := 0
		return &bad{commit: func(s *memstore.Store, b *store.Batch, level store.Level, done func(error)) {
			mu.Lock()
			n++
			lose := n%50 == 0
			mu.Unlock()
			if lose {
				b = &store.Batch{}
			}
			s.Commit(b, level, done)
		}}
	}},
}

// TestBites: an engine with a fault fails, in the case that is there for it, and
// the same case passes without the fault.
func TestBites(t *testing.T) {
	usual := patience
	defer func() { patience = usual }()
	open := func(b *bad) Open {
		b.Store = memstore.New()
		return func(testing.TB) store.Store { return b }
	}
	patience = 200 * time.Millisecond
	noticing := map[string]bool{}
	for _, f := range append(slices.Clone(dataFaults), callFaults...) {
		t.Run(strings.ReplaceAll(f.name, " ", "-"), func(t *testing.T) {
			if got := recordCase(t, f.by, open(f.make()), restartBad); len(got) == 0 {
				t.Errorf("case %s does not notice", f.by)
			}
		})
		noticing[f.by] = true
	}
	patience = usual
	for _, c := range cases {
		if !noticing[c.name] {
			t.Errorf("no fault shows that case %s can fail", c.name)
		}
		if got := recordCase(t, c.name, open(&bad{}), restartBad); len(got) != 0 {
			t.Errorf("case %s fails on a correct engine: %v", c.name, got)
		}
	}
}
