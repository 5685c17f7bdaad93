//go:build !linux || portable

package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// socket is the system's side of a Listener.
type socket struct {
	ln   *net.TCPListener
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
	l.ln = ln.(*net.TCPListener)
	l.addr = l.ln.Addr().(*net.TCPAddr).AddrPort()
	l.done = make(chan struct{})
	return "", nil
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
func (l *Listener) Accept() (c *net.TCPConn, peer netip.AddrPort, err error) {
	for {
		c, err = l.ln.AcceptTCP()
		switch {
		case err == nil:
			// Package net turns Nagle's algorithm off by itself.
			if err := c.SetNoDelay(l.spec.NoDelay); err != nil {
				c.Close() //nolint:errcheck // it is gone already
				continue
			}
			peer = c.RemoteAddr().(*net.TCPAddr).AddrPort()
			return c, netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()), nil
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
