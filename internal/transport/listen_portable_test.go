//go:build !linux || portable

package transport

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

func acceptOne(t *testing.T, l *Listener) (noDelay bool, peer netip.AddrPort) {
	t.Helper()
	if err := l.ln.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c, peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var v int
	var optErr error
	if err := raw.Control(func(fd uintptr) { v, optErr = getNoDelay(fd) }); err != nil || optErr != nil {
		t.Fatal(err, optErr)
	}
	return v != 0, peer
}

func getNoDelay(fd uintptr) (int, error) {
	return syscall.GetsockoptInt(sysHandle(fd), syscall.IPPROTO_TCP, syscall.TCP_NODELAY)
}

func TestCloseEndsAccept(t *testing.T) {
	ls, err := Listen(t.Context(), ListenSpec{Address: "127.0.0.1"}, &lines{})
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() {
		_, _, err := ls[0].Accept()
		result <- err
	}()
	if err := ls[0].Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-result; !errors.Is(err, net.ErrClosed) {
		t.Fatalf("accept ended with %v", err)
	}
}

func acceptUnix(t *testing.T, l *Listener) {
	t.Helper()
	c, _, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
