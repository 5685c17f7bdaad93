package memstore

import (
	"sync"

	"github.com/midgemq/midge/internal/record"
)

// Stats counts what is stored.
type Stats struct {
	Sessions      int
	Subscriptions int
	// Queued counts the queue entries of all sessions, those in flight included.
	Queued int
	// Inflight counts the entries in flight.
	Inflight int
	Retained int
	// Messages counts each message that is queued or retained once, however many
	// sessions wait for it: $SYS/broker/store/messages/count.
	Messages int
	// Bytes sums their payloads: $SYS/broker/store/messages/bytes.
	Bytes int64
}

// Stats counts what is stored now. It takes one lock after the other, so under
// load the numbers belong to slightly different moments. Any goroutine.
func (s *Store) Stats() Stats {
	var v Stats
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		v.Sessions += len(sh.sessions)
		v.Subscriptions += sh.subs
		v.Queued += sh.entries
		v.Inflight += sh.inflight
		sh.mu.Unlock()
	}
	s.retainedMu.Lock()
	v.Retained = len(s.retained)
	s.retainedMu.Unlock()
	v.Messages, v.Bytes = s.refs.sum()
	return v
}

// refTable knows how many entries refer to each message. It exists for the
// counts alone: memory is freed by the garbage collector. A counter inside the
// message would be quicker, but a message is immutable once it is built.
type refTable struct{ shards [shardCount]refShard }

type refShard struct {
	mu    sync.Mutex
	refs  map[*record.Message]int32
	bytes int64

	_ [40]byte // a cache line for each lock
}

func (t *refTable) init() {
	for i := range t.shards {
		t.shards[i].refs = make(map[*record.Message]int32)
	}
}

// shard locks the shard of m. These locks are the last in the order: taken with
// shard and retained locks held, never the other way round.
func (t *refTable) shard(m *record.Message) *refShard {
	sh := &t.shards[m.Seq%shardCount]
	sh.mu.Lock()
	return sh
}

func (t *refTable) add(m *record.Message) {
	sh := t.shard(m)
	n := sh.refs[m] + 1
	sh.refs[m] = n
	if n == 1 {
		sh.bytes += int64(m.Size())
	}
	sh.mu.Unlock()
}

func (t *refTable) drop(m *record.Message) {
	sh := t.shard(m)
	if n := sh.refs[m] - 1; n > 0 {
		sh.refs[m] = n
	} else {
		delete(sh.refs, m)
		sh.bytes -= int64(m.Size())
	}
	sh.mu.Unlock()
}

func (t *refTable) sum() (n int, bytes int64) {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		n += len(sh.refs)
		bytes += sh.bytes
		sh.mu.Unlock()
	}
	return n, bytes
}
