//go:build linux

package main

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/midgemq/midge/internal/wsproto"
)

// over says what a connection is made of.
type over byte

const (
	overTCP over = iota
	overWebSocket
	overTLS
)

// layer stands between the socket and MQTT; see wsproto.Layer, of which it is a part.
type layer interface {
	Inbound(dst, raw, out []byte) (newDst, newOut []byte, err error)
	Outbound(out, app []byte) []byte
	Open() bool
}

var errDisconnect = errors.New("DISCONNECT from the broker")

// upgrade prepares a WebSocket connection: its layer, and the bytes it begins with.
func upgrade(host string) (layer, []byte) {
	c, err := wsproto.NewClient(wsproto.ClientOptions{Host: host})
	if err != nil {
		fail("websocket: %w", err)
	}
	return c, c.Start(nil)
}

// decode passes what was read through the layer to l.plain, behind its headroom, and returns where it ends.
func (l *loop) decode(c *conn, raw []byte) int {
	app, reply, err := c.layer.Inbound(l.plain[:headroom], raw, nil)
	if len(app) > cap(l.plain) {
		fail("a layer gave more bytes than it took")
	}
	l.raw(c, reply, false)
	if err != nil {
		l.drop(c, err)
		return headroom
	}
	l.greet(c)
	return len(app)
}

// greet sends the CONNECT once the layer is open.
func (l *loop) greet(c *conn) {
	if c.greeted || !c.layer.Open() {
		return
	}
	c.greeted = true
	c.state = waiting
	l.write(c, encConnect(c.session), false)
}

// secured is a connection whose TLS handshake is over.
type secured struct {
	c     *conn
	fd    int
	layer *tlsLayer
	err   error
}

// secure connects and shakes hands on a goroutine of its own, since crypto/tls can do that only on a connection that blocks. The loop
// takes over from there. The certificate is not checked: the broker is on this machine, and only the broker's processor is measured.
// The key exchange is one that all brokers know: with the default those in Go would compute ML-KEM as well, those with OpenSSL 3.0 not.
func (l *loop) secure(c *conn) {
	s := secured{c: c, fd: -1}
	defer func() {
		l.secured <- s
		_, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // fails only when the run is over
	}()
	nc, err := net.DialTimeout("tcp", l.dst.String(), time.Minute)
	if err != nil {
		s.err = err
		return
	}
	defer nc.Close()
	s.layer = &tlsLayer{wire: wire{Conn: nc}}
	s.layer.tls = tls.Client(&s.layer.wire, &tls.Config{
		InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519}, //nolint:gosec // see above
	})
	if s.err = s.layer.tls.Handshake(); s.err != nil {
		return
	}
	file, err := nc.(*net.TCPConn).File()
	if err != nil {
		s.err = err
		return
	}
	defer file.Close()
	if s.fd, s.err = unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0); s.err == nil {
		s.err = syscall.SetNonblock(s.fd, true)
	}
	s.layer.wire.Conn = nil
}

// takeSecured adopts the connections that are through their handshake.
func (l *loop) takeSecured() {
	for {
		select {
		case s := <-l.secured:
			if s.err != nil {
				l.drop(s.c, s.err)
				continue
			}
			l.adopt(s.c, s.fd)
			s.c.layer = s.layer
			l.greet(s.c)
		default:
			return
		}
	}
}

// tlsLayer is a TLS connection that works on bytes. Until the handshake is over it belongs to that goroutine, then to the loop.
type tlsLayer struct {
	tls  *tls.Conn
	wire wire
}

// wire is what crypto/tls takes for its connection: the socket during the handshake, then memory.
type wire struct {
	net.Conn
	in, out []byte
}

// errNothing is temporary, or crypto/tls would end the connection.
var errNothing net.Error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "no more bytes" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

func (w *wire) Read(b []byte) (int, error) {
	if w.Conn != nil {
		return w.Conn.Read(b)
	}
	if len(w.in) == 0 {
		return 0, errNothing
	}
	n := copy(b, w.in)
	w.in = w.in[n:]
	return n, nil
}

func (w *wire) Write(b []byte) (int, error) {
	if w.Conn != nil {
		return w.Conn.Write(b)
	}
	w.out = append(w.out, b...)
	return len(b), nil
}

func (t *tlsLayer) Open() bool { return true }

// Inbound implements layer. All of raw is consumed: crypto/tls keeps the beginning of a record.
func (t *tlsLayer) Inbound(dst, raw, out []byte) (newDst, newOut []byte, err error) {
	t.wire.in, t.wire.out = raw, out
	for {
		if len(dst) == cap(dst) {
			return dst, t.wire.out, io.ErrShortBuffer
		}
		n, err := t.tls.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, new(nothing)):
			return dst, t.wire.out, nil
		default:
			return dst, t.wire.out, err
		}
	}
}

// Outbound implements layer. Memory takes every byte, so a write cannot fail.
func (t *tlsLayer) Outbound(out, app []byte) []byte {
	t.wire.out = out
	_, _ = t.tls.Write(app)
	return t.wire.out
}
