//go:build linux && !portable

package loop

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/midgemq/midge/internal/conn"
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/transport"
)

const (
	readBuffer = 64 << 10
	maxEvents  = 512
	// maxVector is the kernel's limit of buffers in one writev.
	maxVector = 1024
	// acceptBatch bounds the connections accepted per turn, so that a storm does
	// not keep open connections waiting.
	acceptBatch = 256
	// readable also tells of the end of the stream behind the last bytes, which a
	// short read does not show.
	readable = syscall.EPOLLIN | syscall.EPOLLRDHUP
	// congestedPause is how long a loop stands back whose mail another cannot keep
	// up with; sockets stay readable meanwhile, so without it the loop would spin.
	congestedPause = 200 * time.Microsecond
)

// Loop is one event loop. Everything but stop and the shard's inbox belongs to
// its goroutine.
type Loop struct {
	// immutable
	engine *Engine
	shard  *hub.Shard
	env    *conn.Env
	ep     int
	timer  int // timerfd
	file   *os.File
	raw    syscall.RawConn

	// own is held by whoever works as this loop: its goroutine, or that of another
	// loop which helps, see help. All that follows is guarded by it.
	own sync.Mutex

	// owned by the loop
	socks     []*sock // by descriptor
	listeners map[int]*Bound
	dirty     []*sock
	moves     []func()
	events    []syscall.EpollEvent
	buf       []byte
	iov       []syscall.Iovec
	armed     record.Instant
	held      bool // no reading in this batch
	more      bool // something is ready that will not announce itself again
	woken     bool // a turn is due whatever is ready
	n         int
	waitErr   error
	poll      func(uintptr) bool
	policy    policy
	going     []*sock // chosen to move to goingTo
	goingTo   *Loop
	batches   int  // for tests that force moves
	read      bool // something was, since force looked

	// atomic
	meter    meter // its atomics
	count    atomic.Int64
	reserved atomic.Int64 // until when no other loop may give connections
	closing  atomic.Bool
}

// sock is one connection with its descriptor.
type sock struct {
	conn.Conn
	loop   *Loop
	fd     int32
	events uint32
	cost   uint32 // system calls since they were last counted
	away   bool   // on its way to another loop, and not in any epoll
}

func newLoop(e *Engine) (*Loop, error) {
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	l := &Loop{
		engine: e, ep: ep, listeners: make(map[int]*Bound), events: make([]syscall.EpollEvent, maxEvents),
		buf: make([]byte, readBuffer), iov: make([]syscall.Iovec, 0, 64),
	}
	if l.timer, err = timerfd(); err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	if err := l.ctl(syscall.EPOLL_CTL_ADD, l.timer, syscall.EPOLLIN); err != nil {
		return nil, err
	}
	// The epoll descriptor waits in Go's own poller: the loop parks like any
	// goroutine, where a blocked EpollWait would cost the runtime's monitor about
	// 2,300 wake-ups a second.
	if err := syscall.SetNonblock(ep, true); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	l.file = os.NewFile(uintptr(ep), "epoll")
	if l.raw, err = l.file.SyscallConn(); err != nil {
		return nil, err
	}
	l.poll = func(uintptr) bool {
		l.own.Lock()
		over := l.work()
		l.own.Unlock()
		if len(e.loops) > 1 {
			l.meter.park(e.clock.Now())
		}
		return over
	}
	l.shard = e.hub.AddShard(l.wakeUp)
	l.env = conn.NewEnv(l.shard)
	return l, nil
}

func timerfd() (int, error) {
	const monotonic = 1
	fd, _, e := syscall.RawSyscall(syscall.SYS_TIMERFD_CREATE, monotonic, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if e != 0 {
		return -1, e
	}
	return int(fd), nil
}

// closeFD closes a socket without telling the scheduler of it: the call does not
// block, see transport's accept4.
func closeFD(fd int) { _, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0) }

func (l *Loop) ctl(op, fd int, events uint32) error {
	ev := syscall.EpollEvent{Events: events, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", syscall.EpollCtl(l.ep, op, fd, &ev))
}

// longAgo is a deadline that has passed.
var longAgo = time.Time{}.Add(time.Second)

// wakeUp makes the loop take a turn. Any goroutine. A deadline that has passed
// ends the loop's wait inside the runtime, which readies its goroutine on this
// very processor; an eventfd would do it through the kernel: three system calls
// and the wake-up of a thread.
func (l *Loop) wakeUp() { _ = l.file.SetReadDeadline(longAgo) }

func (l *Loop) listen(b Bound) error {
	done := make(chan error, 1)
	if !l.shard.Post(func() {
		l.listeners[b.FD()] = &b
		done <- l.ctl(syscall.EPOLL_CTL_ADD, b.FD(), syscall.EPOLLIN)
	}) {
		return os.ErrClosed
	}
	return <-done
}

// closeListeners closes the listeners and returns when that is done.
func (l *Loop) closeListeners() {
	done := make(chan struct{})
	if l.shard.Post(func() { l.dropListeners(); close(done) }) {
		<-done
	}
}

func (l *Loop) dropListeners() {
	for fd, b := range l.listeners {
		delete(l.listeners, fd)
		_ = b.Listener.Close()
	}
}

func (l *Loop) stop() {
	l.closing.Store(true)
	l.wakeUp()
}

// pollNow asks for events without waiting.
func (l *Loop) pollNow() bool {
	for {
		n, _, e := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(l.ep), uintptr(unsafe.Pointer(&l.events[0])), maxEvents, 0, 0, 0)
		switch e {
		case 0:
			l.n = int(n)
			return n > 0
		case syscall.EINTR:
		default:
			l.waitErr = e
			return true
		}
	}
}

// run serves until the loop is closed. All of it happens inside one Read of the
// runtime's poller, whose function answers false to park: asking for a new Read
// each time would cost a further epoll_wait that finds nothing, as the poller's
// mark is reset at its begin. What arrives meanwhile sets the mark, because every
// event of the inner epoll is an edge of the outer one; work() polls again by
// itself while something may be left that makes no new edge.
func (l *Loop) run() {
	defer l.shut()
	for {
		err := l.raw.Read(l.poll)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			// A wake-up that this takes back has put its mail before: the turn that
			// follows in any case finds it.
			if err = l.file.SetReadDeadline(time.Time{}); err == nil {
				l.woken = true
				continue
			}
		}
		if err != nil || l.waitErr != nil {
			l.engine.hub.Log.Error("Error: event loop %d: %v %v", l.shard.ID, err, l.waitErr)
		}
		return
	}
}

// work handles what is ready and reports whether the loop is over.
func (l *Loop) work() (over bool) {
	sh := l.shard
	for {
		if l.n = 0; !l.pollNow() && !l.woken && !l.help() {
			return false
		}
		l.woken = false
		l.tell()
		if l.waitErr != nil {
			return true
		}
		sh.Begin(l.engine.clock.Now())
		hushed := few
		if l.n > few {
			hushed = 0
		}
		sh.Hush(hushed)
		// After several events at once another is likely, and asking is cheaper than
		// parking; after a single one it is not.
		l.more = l.n > 1
		if l.held = sh.Congested(); l.held {
			time.Sleep(congestedPause)
			l.more = true
		}
		for i := range l.n {
			l.event(&l.events[i])
		}
		if l.closing.Load() {
			return true
		}
		sh.Turn()
		l.balance(sh.Now())
		sh.End()
		l.flush()
		l.rearm()
		if !l.more && !l.help() {
			return false
		}
	}
}

// flush writes every dirty connection once. Writing can make others dirty, as
// when bulk delivery goes on.
func (l *Loop) flush() {
	for i := 0; i < len(l.dirty); i++ {
		s := l.dirty[i]
		l.dirty[i] = nil
		if s != nil {
			s.Flush()
		}
	}
	l.dirty = l.dirty[:0]
	l.shard.End()
	for i, move := range l.moves {
		l.moves[i] = nil
		move()
	}
	l.moves = l.moves[:0]
	l.shard.Ship()
}

func (l *Loop) event(ev *syscall.EpollEvent) {
	fd := int(ev.Fd)
	if fd < len(l.socks) && l.socks[fd] != nil {
		l.sockEvent(l.socks[fd], ev.Events)
		return
	}
	var b [8]byte
	switch {
	case fd == l.timer:
		_, _, _ = syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b)), 8)
		l.armed = 0
	default:
		if b := l.listeners[fd]; b != nil {
			l.accept(b)
		}
	}
}

func (l *Loop) sockEvent(s *sock, events uint32) {
	if events&syscall.EPOLLOUT != 0 {
		s.Writable()
		if !s.Blocked() {
			s.watch(s.events &^ syscall.EPOLLOUT)
		}
	}
	if s.fd < 0 || l.held || events&(readable|syscall.EPOLLHUP|syscall.EPOLLERR) == 0 {
		return
	}
	s.cost++
	l.read = true
	buf, tail := l.buf, s.Tail()
	if tail != nil {
		buf = tail
	}
	n, _, e := syscall.RawSyscall(syscall.SYS_READ, uintptr(s.fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
	switch {
	case e == syscall.EAGAIN:
	case e == syscall.EINTR:
		l.more = true
	case e != 0:
		s.EOF(e)
	case n == 0:
		s.EOF(nil)
	default:
		// What is left, the end of the stream included, makes no new edge.
		if int(n) == len(buf) || events&(syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
			l.more = true
		}
		if tail != nil {
			s.Filled(int(n))
		} else {
			s.Input(buf[:n])
		}
	}
}

func (l *Loop) accept(b *Bound) {
	for range acceptBatch {
		fd, peer, err := b.Accept()
		if err == nil {
			l.accepted(b, fd, peer)
			continue
		}
		switch {
		case errors.Is(err, transport.ErrNoneWaiting):
			return
		case errors.Is(err, transport.ErrRefused):
			if b.OutOfSockets(time.Now()) {
				l.engine.hub.Log.OutOfSockets()
			}
			continue
		case errors.Is(err, transport.ErrExhausted):
			if b.OutOfSockets(time.Now()) {
				l.engine.hub.Log.OutOfSockets()
			}
			l.pauseListener(b)
		default:
			l.engine.hub.Log.Error("Error: %v", err)
			l.pauseListener(b)
		}
		return
	}
	l.more = true
}

// pauseListener leaves a listener alone for a moment, so that it does not keep
// the loop spinning.
func (l *Loop) pauseListener(b *Bound) {
	_ = l.ctl(syscall.EPOLL_CTL_MOD, b.FD(), 0)
	time.AfterFunc(transport.ExhaustedPause, func() {
		l.shard.Post(func() { _ = l.ctl(syscall.EPOLL_CTL_MOD, b.FD(), syscall.EPOLLIN) })
	})
}

func (l *Loop) accepted(b *Bound, fd int, peer netip.AddrPort) {
	from := b.origin(peer)
	if !l.engine.admit(b, from) {
		closeFD(fd)
		return
	}
	to := l.engine.pick()
	to.count.Add(1)
	s := &sock{fd: int32(fd), events: readable}
	if to == l {
		l.begin(s, b, peer)
		return
	}
	if !to.shard.Post(func() { to.begin(s, b, peer) }) {
		closeFD(fd)
	}
}

// begin makes an accepted socket one of the loop's.
func (l *Loop) begin(s *sock, b *Bound, peer netip.AddrPort) {
	s.loop = l
	s.Init(l.env, s, b.Settings, b.origin(peer), b.NewLayer(peer))
	if err := l.add(s); err != nil {
		s.EOF(err)
	}
}

func (l *Loop) add(s *sock) error {
	l.seat(s)
	return l.ctl(syscall.EPOLL_CTL_ADD, int(s.fd), s.events)
}

// seat makes s known by its descriptor.
func (l *Loop) seat(s *sock) {
	if int(s.fd) >= len(l.socks) {
		l.socks = append(l.socks, make([]*sock, max(int(s.fd)+1, len(l.socks)+len(l.socks)/4, 64)-len(l.socks))...)
	}
	l.socks[s.fd] = s
}

// rearm sets the timer to the next deadline, if that is earlier than what it is
// set to.
func (l *Loop) rearm() {
	at, ok := l.shard.NextTimer()
	if !ok || (l.armed <= at && l.armed > l.shard.Now()) {
		return
	}
	l.armed = at
	d := max(int64(at-l.shard.Now()), int64(time.Millisecond))
	spec := [4]int64{2: d / 1e9, 3: d % 1e9}
	_, _, _ = syscall.RawSyscall6(syscall.SYS_TIMERFD_SETTIME, uintptr(l.timer), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
}

func (l *Loop) shut() {
	l.own.Lock() // for ever: nobody may help any more
	l.shard.Close()
	l.dropListeners()
	for _, s := range l.socks {
		if s != nil && s.fd >= 0 {
			closeFD(int(s.fd))
			s.fd = -1
			l.engine.open.Add(-1)
		}
	}
	l.socks = nil
	_ = syscall.Close(l.timer)
	_ = l.file.Close()
}

// Write implements conn.Socket.
func (s *sock) Write(bufs [][]byte) (n int, err error) {
	var r uintptr
	var e syscall.Errno
	s.cost++
	want := 0
	if len(bufs) == 1 {
		b := bufs[0]
		want = len(b)
		r, _, e = syscall.RawSyscall(syscall.SYS_WRITE, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	} else {
		iov := s.loop.iov[:0]
		for _, b := range bufs[:min(len(bufs), maxVector)] {
			if len(b) > 0 {
				v := syscall.Iovec{Base: unsafe.SliceData(b)}
				v.SetLen(len(b))
				iov = append(iov, v)
			}
		}
		for _, b := range bufs {
			want += len(b)
		}
		r, _, e = syscall.RawSyscall(syscall.SYS_WRITEV, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(iov))), uintptr(len(iov)))
		clear(iov)
		s.loop.iov = iov[:0]
	}
	switch e {
	case 0:
		n = int(r)
	case syscall.EAGAIN, syscall.EINTR:
	default:
		return 0, e
	}
	if n < want {
		s.watch(s.events | syscall.EPOLLOUT)
	}
	return n, nil
}

// watch sets the events to wait for; EPOLLOUT only while output is blocked.
func (s *sock) watch(events uint32) {
	if s.fd < 0 || events == s.events {
		return
	}
	if s.events = events; s.away {
		return
	}
	_ = s.loop.ctl(syscall.EPOLL_CTL_MOD, int(s.fd), events)
}

// Dirty implements conn.Socket.
func (s *sock) Dirty() { s.loop.dirty = append(s.loop.dirty, s) }

// Pause implements conn.Socket.
func (s *sock) Pause() { s.watch(s.events &^ readable) }

// Resume implements conn.Socket.
func (s *sock) Resume() { s.watch(s.events | readable) }

// CloseWrite implements conn.Socket.
func (s *sock) CloseWrite() {
	if s.fd >= 0 {
		s.back()
		_ = syscall.Shutdown(int(s.fd), syscall.SHUT_WR)
		s.Resume()
	}
}

// Close implements conn.Socket.
func (s *sock) Close() {
	if s.fd < 0 {
		return
	}
	l := s.loop
	l.socks[s.fd] = nil
	closeFD(int(s.fd))
	s.fd = -1
	l.count.Add(-1)
	l.engine.open.Add(-1)
}

// Move implements conn.Socket. The hand-over waits for the end of the batch: the
// connection is in the middle of a step, and after it nothing here may touch it.
func (s *sock) Move(to *hub.Shard, then func(*conn.Env)) {
	s.loop.moves = append(s.loop.moves, func() { s.move(to, then) })
}

func (s *sock) move(to *hub.Shard, then func(*conn.Env)) {
	if s.fd < 0 {
		return
	}
	from := s.loop
	_ = from.ctl(syscall.EPOLL_CTL_DEL, int(s.fd), 0)
	from.socks[s.fd] = nil
	from.count.Add(-1)
	target := from.engine.loops[to.ID]
	target.count.Add(1)
	s.loop = target
	s.Rehome(target.env)
	ok := to.Hand(func(ended bool) {
		if ended {
			s.Abandon()
			return
		}
		if err := target.add(s); err != nil {
			s.EOF(err)
			return
		}
		then(target.env)
	})
	if !ok {
		s.Abandon()
	}
}
