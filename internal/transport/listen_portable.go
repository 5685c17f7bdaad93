//go:build !linux || portable

package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// socket is the system's side of a Listener.
type socket struct {
	ln   net.Listener
	done chan struct{} // closed by Close, ends the pause of Accept
}

// open makes, binds and opens the socket. op is the step that failed. The
// backlog is what package net takes: the system's limit.
func (l *Listener) open(a netip.AddrPort) (op string, err error) {
	network := NetworkTCP6
	if a.Addr().Is4() {
		network = NetworkTCP4
	}
	// Keep-alive is MQTT's own; TCP's would wake idle connections besides.
	lc := net.ListenConfig{KeepAlive: -1}
	ln, err := lc.Listen(context.Background(), network, a.String())
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return "listen", err
	}
	l.ln = ln
	l.addr = l.ln.Addr().(*net.TCPAddr).AddrPort()
	l.done = make(chan struct{})
	return "", nil
}

// openUnix is open for a path. Package net removes the path with the socket.
func (l *Listener) openUnix(path string) (op string, err error) {
	ln, err := net.Listen("unix", path)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return "listen", err
	}
	l.ln, l.done = ln, make(chan struct{})
	return "", nil
}

// adopt takes over a socket that somebody else has opened.
func (l *Listener) adopt(fd int) error {
	f := os.NewFile(uintptr(fd), "inherited socket")
	ln, err := net.FileListener(f)
	if err == nil {
		err = f.Close()
	}
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	l.ln, l.done = ln, make(chan struct{})
	return err
}

// Stream is an accepted connection.
type Stream interface {
	net.Conn
	CloseWrite() error
}

// Close closes the listening socket and ends a waiting Accept, which then
// returns net.ErrClosed. Any goroutine may call it, once.
func (l *Listener) Close() error {
	close(l.done)
	return l.ln.Close()
}

// Accept waits for a connection, which is the caller's. ErrExhausted comes
// after a pause, so that it may be called again at once; net.ErrClosed after
// Close; other errors are faults of the listening socket.
func (l *Listener) Accept() (c Stream, peer netip.AddrPort, err error) {
	for {
		accepted, err := l.ln.Accept()
		switch {
		case err == nil:
			tcp, ok := accepted.(*net.TCPConn)
			if !ok {
				return accepted.(*net.UnixConn), netip.AddrPort{}, nil
			}
			// Package net turns Nagle's algorithm off by itself.
			noDelay := l.spec.NoDelay
			if w := l.noDelay.Load(); w != 0 {
				noDelay = w > 0
			}
			if err := tcp.SetNoDelay(noDelay); err != nil {
				tcp.Close() //nolint:errcheck // it is gone already
				continue
			}
			peer = tcp.RemoteAddr().(*net.TCPAddr).AddrPort()
			return tcp, netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()), nil
		case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
			errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM):
			pause := time.NewTimer(ExhaustedPause)
			defer pause.Stop()
			select {
			case <-pause.C:
				return nil, netip.AddrPort{}, ErrExhausted
			case <-l.done:
				return nil, netip.AddrPort{}, net.ErrClosed
			}
		case errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.ECONNRESET):
		default:
			return nil, netip.AddrPort{}, err
		}
	}
}
