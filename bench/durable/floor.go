//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// floor is the least that can stand in the broker's place: it appends what is
// published to a file, and when that is on stable storage it acknowledges and
// delivers. No sessions, no checks, no limits, no way back to what was written;
// one table of receivers by the number in their filter. What a machine does with
// it is what no broker in the same place can better, so midge is read beside it.
type floor struct {
	ep       int
	listener int
	wake     int // eventfd of the thread that syncs
	done     int // eventfd of the loop
	log      int
	alone    bool // sync on the loop: one thread, no hand-over
	busy     bool // a group is at the disk
	conns    []*floorConn
	dirty    []*floorConn
	receiver [256]*floorConn
	next     group // takes what is published now
	atDisk   group
	buf      []byte
}

type floorConn struct {
	fd    int
	in    []byte
	out   []byte
	dirty bool
}

// group is what one fdatasync makes durable, and what may be sent then.
type group struct {
	log  []byte
	held []heldPacket
}

type heldPacket struct {
	to     *floorConn
	packet []byte
}

// serveFloor serves until it is killed.
func serveFloor(port int, dir string, alone bool) error {
	// Both threads keep a processor of the runtime and never tell it that they
	// wait, so there is no collector either: it would wait for them.
	runtime.GOMAXPROCS(4)
	debug.SetGCPercent(-1)
	runtime.LockOSThread()
	f := &floor{alone: alone, buf: make([]byte, 64<<10)}
	var err error
	if f.log, err = syscall.Open(filepath.Join(dir, "floor.log"), syscall.O_CREAT|syscall.O_RDWR|syscall.O_TRUNC, 0o600); err != nil {
		return err
	}
	if err := syscall.Ftruncate(f.log, 64<<20); err != nil {
		return err
	}
	if f.listener, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0); err != nil {
		return err
	}
	if err := syscall.SetsockoptInt(f.listener, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := syscall.Bind(f.listener, &syscall.SockaddrInet4{Port: port, Addr: [4]byte(net.IPv4(127, 0, 0, 1).To4())}); err != nil {
		return err
	}
	if err := syscall.Listen(f.listener, 1024); err != nil {
		return err
	}
	if f.ep, err = syscall.EpollCreate1(0); err != nil {
		return err
	}
	f.wake, f.done = eventfd(), eventfd()
	if err := errors.Join(f.watch(f.listener), f.watch(f.done)); err != nil {
		return err
	}
	go f.sync()
	for {
		if err := f.turn(); err != nil {
			return err
		}
	}
}

func eventfd() int {
	fd, _, e := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, 0, 0)
	if e != 0 {
		panic(e)
	}
	return int(fd)
}

func (f *floor) watch(fd int) error {
	return syscall.EpollCtl(f.ep, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)})
}

// ring adds one to an eventfd; hear waits for that.
func ring(fd int) {
	b := uint64(1)
	_, _ = raw(syscall.SYS_WRITE, fd, unsafe.Pointer(&b), 8, 0)
}

func hear(fd int) {
	var b uint64
	_, _ = raw(syscall.SYS_READ, fd, unsafe.Pointer(&b), 8, 0)
}

// sync is the other thread.
func (f *floor) sync() {
	runtime.LockOSThread()
	for {
		hear(f.wake)
		f.store()
		ring(f.done)
	}
}

// store puts the group at the disk on stable storage.
func (f *floor) store() {
	b := f.atDisk.log
	n, err := raw(syscall.SYS_WRITE, f.log, unsafe.Pointer(unsafe.SliceData(b)), len(b), 0)
	if err == nil && n == len(b) {
		_, err = raw(syscall.SYS_FDATASYNC, f.log, nil, 0, 0)
	}
	if err != nil || n != len(b) {
		fmt.Fprintln(os.Stderr, "floor:", n, err)
		os.Exit(1)
	}
}

// release lets out what waited for the group at the disk.
func (f *floor) release() {
	for i := range f.atDisk.held {
		h := &f.atDisk.held[i]
		f.send(h.to, h.packet)
		h.to = nil
	}
	f.atDisk.held, f.atDisk.log = f.atDisk.held[:0], f.atDisk.log[:0]
}

func (f *floor) send(c *floorConn, b []byte) {
	c.out = append(c.out, b...)
	if !c.dirty {
		c.dirty = true
		f.dirty = append(f.dirty, c)
	}
}

func (f *floor) turn() error {
	var events [512]syscall.EpollEvent
	n, err := raw(syscall.SYS_EPOLL_PWAIT, f.ep, unsafe.Pointer(&events[0]), len(events), -1)
	if err != nil && !errors.Is(err, syscall.EINTR) {
		return os.NewSyscallError("epoll_pwait", err)
	}
	for i := range max(n, 0) {
		switch fd := int(events[i].Fd); fd {
		case f.listener:
			f.accept()
		case f.done:
			hear(f.done)
			f.busy = false
			f.release()
		default:
			f.read(f.conns[fd])
		}
	}
	if !f.busy && len(f.next.log) > 0 {
		f.next, f.atDisk = f.atDisk, f.next
		if f.alone {
			f.store()
			f.release()
		} else {
			f.busy = true
			ring(f.wake)
		}
	}
	for _, c := range f.dirty {
		c.dirty = false
		n, _ := raw(syscall.SYS_WRITE, c.fd, unsafe.Pointer(unsafe.SliceData(c.out)), len(c.out), 0)
		if c.out = c.out[:copy(c.out, c.out[max(n, 0):])]; len(c.out) > 0 {
			return errors.New("a client does not read")
		}
	}
	f.dirty = f.dirty[:0]
	return nil
}

func (f *floor) accept() {
	for {
		fd, _, err := syscall.Accept4(f.listener, syscall.SOCK_NONBLOCK)
		if err != nil {
			return
		}
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		for fd >= len(f.conns) {
			f.conns = append(f.conns, nil)
		}
		f.conns[fd] = &floorConn{fd: fd}
		_ = f.watch(fd)
	}
}

func (f *floor) read(c *floorConn) {
	n, err := raw(syscall.SYS_READ, c.fd, unsafe.Pointer(&f.buf[0]), len(f.buf), 0)
	if err != nil || n == 0 {
		if !errors.Is(err, syscall.EAGAIN) {
			_ = syscall.Close(c.fd)
		}
		return
	}
	c.in = append(c.in, f.buf[:n]...)
	b := c.in
	for len(b) > 1 {
		length, used := binary.Uvarint(b[1:])
		end := 1 + used + int(length)
		if used <= 0 || len(b) < end {
			break
		}
		f.packet(c, b[:end], b[1+used:end])
		b = b[end:]
	}
	c.in = c.in[:copy(c.in, b)]
}

func (f *floor) packet(c *floorConn, whole, body []byte) {
	switch whole[0] >> 4 {
	case rawmqtt.CONNECT:
		f.send(c, []byte{rawmqtt.CONNACK << 4, 2, 0, 0})
	case rawmqtt.SUBSCRIBE:
		f.receiver[number(body[4:])] = c
		f.send(c, []byte{rawmqtt.SUBACK << 4, 3, body[0], body[1], 1})
	case rawmqtt.PUBLISH:
		t := 2 + int(binary.BigEndian.Uint16(body))
		f.next.log = append(f.next.log, whole...)
		f.hold(c, []byte{rawmqtt.PUBACK << 4, 2, body[t], body[t+1]})
		if to := f.receiver[number(body[2:t])]; to != nil {
			f.hold(to, whole)
		}
	}
}

// hold keeps a packet until the next group is stored.
func (f *floor) hold(to *floorConn, b []byte) {
	h := &f.next.held
	if len(*h) < cap(*h) {
		*h = (*h)[:len(*h)+1]
	} else {
		*h = append(*h, heldPacket{})
	}
	last := &(*h)[len(*h)-1]
	last.to, last.packet = to, append(last.packet[:0], b...)
}

// number is the second level of "bench/N/…".
func number(topic []byte) byte {
	_, rest, _ := strings.Cut(string(topic), "/")
	digits, _, _ := strings.Cut(rest, "/")
	n, _ := strconv.Atoi(digits)
	return byte(n)
}
