//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// driver moves all the clients of a measurement with one thread that waits in
// epoll itself. Goroutines that wait in the runtime's poller took as much of the
// processors as the broker, and their own delays counted as the broker's.
type driver struct {
	ep     int
	rate   int // messages a second over all publishers, 0: as fast as it goes
	peers  []*peer
	byFD   map[int32]*peer
	pubs   []*publisher
	byPub  map[*publisher]*peer
	next   time.Time // the next message is due
	turn   int
	buf    []byte
	events [128]syscall.EpollEvent

	count     bool // acknowledgements are measured
	latency   times
	delivered int64
}

// peer is one connection of the driver; pub is nil for a receiver.
type peer struct {
	file *os.File
	fd   int
	pub  *publisher
	in   []byte
	out  []byte
	full bool // waits to be writable
}

func newDriver(rate int) (*driver, error) {
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &driver{ep: ep, rate: rate, byFD: make(map[int32]*peer), byPub: make(map[*publisher]*peer), buf: make([]byte, 256<<10)}, nil
}

// add takes over a connection; the runtime's poller knows its descriptor no more.
func (d *driver) add(c *conn, pub *publisher) error {
	t, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return errors.New("not TCP")
	}
	f, err := t.File()
	if err != nil {
		return err
	}
	_ = t.Close()
	p := &peer{file: f, fd: int(f.Fd()), pub: pub}
	if err := syscall.SetNonblock(p.fd, true); err != nil {
		return err
	}
	d.peers = append(d.peers, p)
	d.byFD[int32(p.fd)] = p
	if pub != nil {
		d.pubs = append(d.pubs, pub)
		d.byPub[pub] = p
	}
	return syscall.EpollCtl(d.ep, syscall.EPOLL_CTL_ADD, p.fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(p.fd)})
}

func (d *driver) close() {
	for _, p := range d.peers {
		_ = p.file.Close()
	}
	_ = syscall.Close(d.ep)
}

// tick is how often it is looked what is due.
const tick = time.Millisecond

// run drives the load for a while. At a fixed rate the publishers send in turn,
// and a message counts from when it was due, so that neither the tick nor a full
// window makes the broker look better than it is.
func (d *driver) run(length time.Duration) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	now := time.Now()
	if d.next.IsZero() {
		d.next = now
		if d.rate == 0 {
			for _, p := range d.pubs {
				d.fill(p, now)
			}
			if err := d.flush(); err != nil {
				return err
			}
		}
	}
	for end := now.Add(length); now.Before(end); {
		n, err := raw(syscall.SYS_EPOLL_PWAIT, d.ep, unsafe.Pointer(&d.events[0]), len(d.events), int(tick/time.Millisecond))
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("epoll_pwait", err)
		}
		now = time.Now()
		for i := range max(n, 0) {
			p := d.byFD[d.events[i].Fd]
			if d.events[i].Events&syscall.EPOLLOUT != 0 {
				if err := d.write(p); err != nil {
					return err
				}
			}
			if err := d.read(p, now); err != nil {
				return err
			}
		}
		if d.rate > 0 {
			d.due(now)
		}
		if err := d.flush(); err != nil {
			return err
		}
	}
	return nil
}

// raw is a system call that the scheduler does not hear of: it would have its
// monitor look after the thread, at several wake-ups a message.
func raw(call uintptr, fd int, p unsafe.Pointer, n, wait int) (int, error) {
	r, _, e := syscall.RawSyscall6(call, uintptr(fd), uintptr(p), uintptr(n), uintptr(wait), 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(r), nil
}

// due queues what has to be sent by now.
func (d *driver) due(now time.Time) {
	for every := time.Second / time.Duration(d.rate); d.next.Before(now); d.next = d.next.Add(every) {
		p := d.pubs[d.turn]
		d.turn = (d.turn + 1) % len(d.pubs)
		p.late = append(p.late, d.next)
	}
	for _, p := range d.pubs {
		for len(p.late) > 0 && len(p.free) > 0 {
			q := d.byPub[p]
			q.out = p.append(q.out, <-p.free, p.late[0])
			p.late = p.late[1:]
		}
	}
}

func (d *driver) fill(p *publisher, now time.Time) {
	for q := d.byPub[p]; len(p.free) > 0; {
		q.out = p.append(q.out, <-p.free, now)
	}
}

func (d *driver) flush() error {
	for _, p := range d.peers {
		if len(p.out) > 0 && !p.full {
			if err := d.write(p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *driver) write(p *peer) error {
	if len(p.out) == 0 {
		return nil
	}
	n, err := raw(syscall.SYS_WRITE, p.fd, unsafe.Pointer(&p.out[0]), len(p.out), 0)
	switch {
	case err == nil:
	case errors.Is(err, syscall.EAGAIN):
		n = 0
	default:
		return os.NewSyscallError("write", err)
	}
	p.out = p.out[:copy(p.out, p.out[n:])]
	if full := len(p.out) > 0; full != p.full {
		p.full = full
		ev := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(p.fd)}
		if full {
			ev.Events |= syscall.EPOLLOUT
		}
		return syscall.EpollCtl(d.ep, syscall.EPOLL_CTL_MOD, p.fd, &ev)
	}
	return nil
}

func (d *driver) read(p *peer, now time.Time) error {
	n, err := raw(syscall.SYS_READ, p.fd, unsafe.Pointer(&d.buf[0]), len(d.buf), 0)
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		return nil
	case err != nil:
		return os.NewSyscallError("read", err)
	case n == 0:
		return errors.New("the broker closed a connection")
	}
	b := d.buf[:n]
	if len(p.in) > 0 {
		p.in = append(p.in, b...)
		b = p.in
	}
	for {
		length, used := uint64(0), 0
		if len(b) > 1 {
			length, used = binary.Uvarint(b[1:])
		}
		if used <= 0 || uint64(len(b)) < 1+uint64(used)+length {
			break
		}
		if err := d.packet(p, b[0], b[1+used:1+used+int(length)], now); err != nil {
			return err
		}
		b = b[1+used+int(length):]
	}
	p.in = append(p.in[:0], b...)
	return nil
}

func (d *driver) packet(p *peer, first byte, body []byte, now time.Time) error {
	switch {
	case p.pub == nil && first>>4 == rawmqtt.PUBLISH:
		d.delivered++
		t := int(binary.BigEndian.Uint16(body))
		p.out = append(p.out, rawmqtt.PUBACK<<4, 2, body[2+t], body[3+t])
	case p.pub != nil && first>>4 == rawmqtt.PUBACK:
		id := binary.BigEndian.Uint16(body)
		if d.count {
			d.latency = append(d.latency, now.Sub(p.pub.due[id-1]))
		}
		if d.rate > 0 {
			p.pub.free <- id
		} else {
			p.out = p.pub.append(p.out, id, now)
		}
	default:
		return fmt.Errorf("packet type %d", first>>4)
	}
	return nil
}
