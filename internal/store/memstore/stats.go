package memstore

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
