//go:build !linux || portable

package loop

import "github.com/midgemq/midge/internal/hub"

// Abandon implements hub.Mover.
func (s *sock) Abandon() {
	if s.closed {
		return
	}
	s.closed = true
	s.loop.Load().engine.open.Add(-1)
	s.end()
	select {
	case s.taken <- struct{}{}: // the reader may wait for a loop that has ended
	default:
	}
}

// halt stops reading from s for its move; what the reader has is kept.
func (s *sock) halt() { s.Halt() }

// Leave implements hub.Mover.
func (s *sock) Leave(to *hub.Shard) bool {
	if !s.Open() {
		return false
	}
	from := s.loop.Load()
	delete(from.socks, s)
	from.count.Add(-1)
	target := from.engine.loops[to.ID]
	target.count.Add(1)
	s.Rehome(target.env)
	s.loop.Store(target)
	return true
}

// Arrive implements hub.Mover.
func (s *sock) Arrive() {
	l := s.loop.Load()
	l.seat(s)
	s.Settle()
}

// Continue implements hub.Mover.
func (s *sock) Continue() {
	s.Proceed()
	s.loop.Load().late(s)
}

func (l *Loop) seat(s *sock) { l.socks[s] = struct{}{} }

// late works on what came for s before it did.
func (l *Loop) late(s *sock) {
	list := l.early[s]
	delete(l.early, s)
	for i := range list {
		l.event(&list[i])
	}
}

// each calls f for every connection of the loop.
func (l *Loop) each(f func(*sock)) {
	for s := range l.socks {
		f(s)
	}
}

// has reports whether s is a connection of this loop.
func (l *Loop) has(s *sock) bool { return !s.closed }
