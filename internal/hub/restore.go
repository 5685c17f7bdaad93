package hub

import (
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/session"
	"github.com/midgemq/midge/internal/store"
)

// Restore loads what the store kept. Called before any loop runs; sessions are
// spread over the shards. Queues stay in the store.
func (h *Hub) Restore(now record.Instant) error {
	i := 0
	err := h.Store.LoadSessions(func(sv *store.Saved) error {
		sh := h.Shards[i%len(h.Shards)]
		i++
		sh.now = now
		h.restoreSession(sh, sv, now)
		return nil
	})
	if err != nil {
		return err
	}
	err = h.Store.LoadRetained(func(m *record.Message) error {
		h.noteSeq(m.Seq)
		h.Retained.Set(m.Topic, m, m.Seq)
		if m.Expires != 0 {
			sh := h.Shards[0]
			sh.retained.Add(m.Expires, expiring{topic: m.Topic, seq: m.Seq})
		}
		return nil
	})
	for _, sh := range h.Shards {
		sh.endBatch()
	}
	return err
}

func (h *Hub) restoreSession(sh *Shard, sv *store.Saved, now record.Instant) {
	id, key := sv.Session.ClientID, sv.Session.Key
	h.noteSeq(sv.LastSeq)
	for i := range sv.Inflight {
		h.noteSeq(sv.Inflight[i].Entry.Msg.Seq)
	}
	if uint64(key) > h.keys.Load() {
		h.keys.Store(uint64(key))
	}
	t := h.shardOf(id)
	if old := t.m[id]; old != nil {
		// The broker ended while one session was replaced by another: the later one
		// counts.
		if old.S.Key() > key {
			sh.persist(record.Op{Kind: record.DeleteSession, Key: key})
			return
		}
		old.S.Subscriptions(func(s *record.Subscription) bool {
			h.leave(old, s.Filter)
			return true
		})
		old.ended = true
		from := old.Shard()
		from.queued -= old.counted
		from.persist(record.Op{Kind: record.DeleteSession, Key: old.S.Key()})
	}
	c := &Client{ID: id, level: h.Cfg().Level}
	c.shard.Store(sh)
	var wasOnline bool
	c.S, wasOnline = session.Restore(&h.Cfg().Rules, sv, now)
	c.stored.Store(uint64(key))
	c.S.Subscriptions(func(s *record.Subscription) bool {
		h.enter(c, s)
		return true
	})
	t.m[id] = c
	if wasOnline {
		// So that a second end of this kind does not start its intervals again.
		sh.persist(record.Op{Kind: record.PutSession, Key: key, Session: c.S.Record()})
	}
	sh.account(c)
	sh.schedule(c)
}

// noteSeq makes later sequence numbers higher.
func (h *Hub) noteSeq(seq uint64) {
	if seq > h.seq.Load() {
		h.seq.Store(seq)
	}
}
