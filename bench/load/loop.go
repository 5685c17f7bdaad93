//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var started = time.Now()

// now is the load's clock in nanoseconds.
func now() int64 { return int64(time.Since(started)) }

const (
	headroom  = 512 << 10 // before each read, for what the read before it left
	readSize  = 512 << 10
	bigPacket = 64 << 10 // a PUBLISH beyond this is skipped over, not collected
)

// conn is one connection. The loop owns it.
type conn struct {
	fd, id  int
	state   state
	session session
	layer   layer // nil: plain TCP
	greeted bool  // the CONNECT has been given to the layer
	rest    []byte
	skip    int // bytes of a big payload still to come
	bigQoS  byte
	bigID   uint16
	bigHead [headSize]byte
	pending []byte // on the wire's side of the layer
	wantOut bool
	acks    []byte
	subacks int // still awaited
	closed  bool
	dialed  int64 // when
	asked   int64 // when the first try was dialed; 0: connected

	// What scenarios keep.
	tm, intro  tmpl // intro, when it has bytes, is sent once in place of tm
	pub        bool
	index      uint32 // of the publisher, as in its messages
	qos        byte
	peer       *conn
	sent, recv uint64
	seq        uint32 // next to send
	track      track
	unacked    int
	free       []uint16 // packet ids
	dirty      bool
	aliasMax   uint16 // what the broker takes
	aliases    map[uint16]string
	topic      string // what v5-alias expects
}

type state byte

const (
	connecting state = iota
	waiting          // for CONNACK
	subscribing
	ready
)

// handler is what the loop tells a run.
type handler interface {
	publish(c *conn, qos byte, id uint16, head []byte)
	properties(c *conn, topic, props []byte) // before publish, MQTT 5 only
	ack(c *conn, kind byte, id uint16)
	after(c *conn) // a read or a delayed write is done
	ready(c *conn) // connected and subscribed
	tick(n uint64)
}

type loop struct {
	ep, tfd, wake int
	conns         []*conn // by descriptor
	h             handler
	buf, plain    []byte
	ev            []syscall.EpollEvent
	t             int64 // time of the current read
	scratch, enc  []byte
	dst           netip.AddrPort
	srcs          int
	over          over
	v5            bool
	connected     int
	closed        int
	why           error // of the first that was closed
	down          bool  // what ends now is no loss
	redial        bool  // what ends before its CONNACK is tried again
	again         []*conn
	retries       int
	secured       chan secured
}

func newLoop(addr string, srcs int) *loop {
	dst, err := netip.ParseAddrPort(addr)
	if err != nil {
		fail("address: %w", err)
	}
	if !dst.Addr().Is4() || !dst.Addr().IsLoopback() {
		fail("address %s is not in 127.0.0.0/8", addr)
	}
	l := &loop{
		buf: make([]byte, headroom+readSize), plain: make([]byte, headroom+2*readSize), ev: make([]syscall.EpollEvent, 1024),
		scratch: make([]byte, 0, 4<<20), srcs: srcs, dst: dst, secured: make(chan secured, 1<<16),
	}
	if l.ep, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		fail("epoll: %w", err)
	}
	if l.tfd, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		fail("timerfd: %w", err)
	}
	if l.wake, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		fail("eventfd: %w", err)
	}
	l.add(l.tfd, syscall.EPOLLIN)
	l.add(l.wake, syscall.EPOLLIN)
	return l
}

// close ends all connections.
func (l *loop) close() {
	for _, c := range l.conns {
		if c != nil {
			_ = syscall.Close(c.fd)
		}
	}
	for _, fd := range []int{l.ep, l.tfd, l.wake} {
		_ = syscall.Close(fd)
	}
}

// timer calls the handler's tick every d.
func (l *loop) timer(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	if err := unix.TimerfdSettime(l.tfd, 0, &unix.ItimerSpec{Interval: t, Value: t}, nil); err != nil {
		fail("timer: %w", err)
	}
}

func (l *loop) add(fd int, events uint32) {
	e := syscall.EpollEvent{Events: events, Fd: int32(fd)}
	if err := syscall.EpollCtl(l.ep, syscall.EPOLL_CTL_ADD, fd, &e); err != nil {
		fail("epoll add: %w", err)
	}
}

func (l *loop) mod(fd int, events uint32) {
	e := syscall.EpollEvent{Events: events, Fd: int32(fd)}
	_ = syscall.EpollCtl(l.ep, syscall.EPOLL_CTL_MOD, fd, &e) // fails only for a connection that is gone
}

// dial starts one connection, which sends its CONNECT as soon as it can.
func (l *loop) dial(id int, s session) *conn {
	s.v5 = l.v5
	c := &conn{fd: -1, id: id, session: s, dialed: now()}
	c.asked = c.dialed
	if l.over == overTLS {
		go l.secure(c)
		return c
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		fail("socket: %w", err)
	}
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	if l.srcs > 1 {
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		if err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 1, byte(1 + id%l.srcs)}}); err != nil {
			fail("bind: %w", err)
		}
	}
	to := &syscall.SockaddrInet4{Port: int(l.dst.Port()), Addr: l.dst.Addr().As4()}
	if err = syscall.Connect(fd, to); err != nil && !errors.Is(err, syscall.EINPROGRESS) {
		fail("connect: %w", err)
	}
	if l.over == overWebSocket {
		c.layer, c.pending = upgrade(l.dst.String())
	} else {
		c.pending = encConnect(c.session)
		c.greeted = true
	}
	l.adopt(c, fd)
	return c
}

// adopt takes a descriptor into the loop; pending bytes go out as soon as it is writable.
func (l *loop) adopt(c *conn, fd int) {
	c.fd = fd
	for len(l.conns) <= fd {
		l.conns = append(l.conns, make([]*conn, 1024)...)
	}
	l.conns[fd] = c
	c.wantOut = true
	l.add(fd, syscall.EPOLLIN|syscall.EPOLLOUT)
}

// sysWrite and sysRead spare the scheduler what a non-blocking call of a few µs does not need.
func sysWrite(fd int, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), e
}

func sysRead(fd int, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), e
}

// write sends MQTT bytes, or keeps the unsent tail: copied unless keep says b stays unchanged.
func (l *loop) write(c *conn, b []byte, keep bool) {
	if c.closed {
		return
	}
	if c.layer != nil {
		l.enc = c.layer.Outbound(l.enc[:0], b)
		b, keep = l.enc, false
	}
	l.raw(c, b, keep)
}

// raw sends bytes as they stand on the wire.
func (l *loop) raw(c *conn, b []byte, keep bool) {
	if len(b) == 0 || c.closed {
		return
	}
	if len(c.pending) > 0 {
		c.pending = append(c.pending, b...)
		return
	}
	n, e := sysWrite(c.fd, b)
	if e != 0 {
		if e != syscall.EAGAIN {
			l.drop(c, e)
			return
		}
		n = 0
	}
	if n == len(b) {
		return
	}
	if keep {
		c.pending = b[n:len(b):len(b)]
	} else {
		c.pending = append([]byte(nil), b[n:]...)
	}
	if !c.wantOut {
		c.wantOut = true
		l.mod(c.fd, syscall.EPOLLIN|syscall.EPOLLOUT)
	}
}

// flush goes on with what could not be sent at once.
func (l *loop) flush(c *conn) {
	if len(c.pending) > 0 {
		n, e := sysWrite(c.fd, c.pending)
		if e != 0 {
			if e != syscall.EAGAIN {
				l.drop(c, e)
			}
			return
		}
		c.pending = c.pending[n:]
		if c.state == connecting {
			c.state = waiting
		}
	}
	if len(c.pending) == 0 {
		c.pending = nil
		c.wantOut = false
		l.mod(c.fd, syscall.EPOLLIN)
		if c.state == ready {
			l.h.after(c)
		}
	}
}

// drop books a connection that ended by itself.
func (l *loop) drop(c *conn, why error) {
	if c.closed || l.down {
		return
	}
	c.closed = true
	if l.redial && c.state < ready {
		l.retries++
		l.again = append(l.again, c)
	} else {
		l.closed++
		if l.why == nil {
			l.why = why
			fmt.Fprintf(os.Stderr, "load: connection %d (state %d) ended: %v\n", c.id, c.state, why)
		}
	}
	if c.fd >= 0 {
		l.conns[c.fd] = nil
		_ = syscall.Close(c.fd)
		c.fd = -1
	}
}

func (l *loop) subscribe(c *conn, qos byte, filters ...string) {
	c.subacks++
	c.state = subscribing
	l.write(c, encSubscribe(c.session.v5, uint16(c.subacks), qos, filters...), false)
}

// run drives the loop until stop says so; it is asked once per wake-up.
func (l *loop) run(stop func() bool) {
	for !stop() {
		n, err := syscall.EpollWait(l.ep, l.ev, 50)
		if err != nil {
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			fail("epoll_wait: %w", err)
		}
		for i := range n {
			l.event(int(l.ev[i].Fd), l.ev[i].Events)
		}
	}
}

func (l *loop) event(fd int, events uint32) {
	var b [8]byte
	switch fd {
	case l.tfd:
		if k, _ := syscall.Read(fd, b[:]); k == 8 {
			l.t = now()
			l.h.tick(binary.NativeEndian.Uint64(b[:]))
		}
		return
	case l.wake:
		_, _ = syscall.Read(fd, b[:])
		l.takeSecured()
		return
	}
	c := l.conns[fd]
	if c == nil {
		return
	}
	if events&syscall.EPOLLOUT != 0 {
		l.flush(c)
	}
	if !c.closed && events&(syscall.EPOLLIN|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		l.read(c)
	}
}

var (
	errEOF      = errors.New("closed by the broker")
	errPatience = errors.New("no CONNACK in time")
)

func (l *loop) read(c *conn) {
	n, e := sysRead(c.fd, l.buf[headroom:])
	if e != 0 {
		if e != syscall.EAGAIN {
			l.drop(c, e)
		}
		return
	}
	if n == 0 {
		l.drop(c, errEOF)
		return
	}
	l.t = now()
	buf, hi := l.buf, headroom+n
	if c.layer != nil {
		buf = l.plain
		if hi = l.decode(c, l.buf[headroom:hi]); hi == headroom {
			return
		}
	}
	lo := headroom
	if c.skip > 0 {
		k := min(c.skip, hi-lo)
		c.skip -= k
		lo += k
		if c.skip > 0 {
			return
		}
		l.h.publish(c, c.bigQoS, c.bigID, c.bigHead[:])
	}
	if len(c.rest) > 0 {
		lo -= len(c.rest)
		copy(buf[lo:], c.rest)
		c.rest = c.rest[:0]
	}
	l.parse(c, buf[lo:hi])
	if len(c.acks) > 0 {
		l.write(c, c.acks, false)
		c.acks = c.acks[:0]
	}
	if c.state == ready && !c.closed {
		l.h.after(c)
	}
}

// publish writes n copies of the connection's template in one write.
func (l *loop) publish(c *conn, n int) {
	t := now()
	s := l.scratch[:0]
	for range n {
		tm := &c.tm
		if len(c.intro.b) > 0 {
			tm = &c.intro
		}
		o := len(s)
		s = append(s, tm.b...)
		p := s[o:]
		if tm.pidOff > 0 {
			k := len(c.free) - 1
			id := c.free[k]
			c.free = c.free[:k]
			binary.BigEndian.PutUint16(p[tm.pidOff:], id)
		}
		tm.stamp(p, t, c.index, c.seq)
		c.seq++
		c.intro.b = nil
	}
	c.sent += uint64(n)
	if c.tm.pidOff > 0 {
		c.unacked += n
	}
	l.scratch = s
	l.write(c, s, len(c.tm.b) > bigPacket) // a big template means one publisher: scratch stays its own
}
