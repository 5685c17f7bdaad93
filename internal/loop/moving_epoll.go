//go:build linux && !portable

package loop

import (
	"syscall"

	"github.com/midgemq/midge/internal/hub"
)

// Abandon implements hub.Mover.
func (s *sock) Abandon() {
	if s.fd >= 0 {
		closeFD(int(s.fd))
		s.fd = -1
		s.loop.engine.open.Add(-1)
	}
}

// halt stops reading from s for its move. The kernel tells of nothing meanwhile,
// the end of the stream included: what stands before that has not been read.
func (s *sock) halt() {
	_ = s.loop.ctl(syscall.EPOLL_CTL_DEL, int(s.fd), 0)
	s.away = true
	s.Halt()
}

// back ends halt where the connection is.
func (s *sock) back() {
	if s.away && s.fd >= 0 {
		s.away = false
		_ = s.loop.ctl(syscall.EPOLL_CTL_ADD, int(s.fd), s.events)
	}
}

// Leave implements hub.Mover.
func (s *sock) Leave(to *hub.Shard) bool {
	if !s.Open() {
		s.back()
		return false
	}
	from := s.loop
	from.socks[s.fd] = nil
	from.count.Add(-1)
	s.loop = from.engine.loops[to.ID]
	s.loop.count.Add(1)
	s.Rehome(s.loop.env)
	return true
}

// Arrive implements hub.Mover.
func (s *sock) Arrive() {
	s.loop.seat(s)
	s.Settle()
}

// Continue implements hub.Mover.
func (s *sock) Continue() {
	s.Proceed()
	if s.fd < 0 {
		return
	}
	s.away = false
	if err := s.loop.ctl(syscall.EPOLL_CTL_ADD, int(s.fd), s.events); err != nil {
		s.EOF(err)
	}
}

// each calls f for every connection of the loop.
func (l *Loop) each(f func(*sock)) {
	for _, s := range l.socks {
		if s != nil {
			f(s)
		}
	}
}

// has reports whether s is a connection of this loop.
func (l *Loop) has(s *sock) bool { return s.fd >= 0 && s.loop == l }
