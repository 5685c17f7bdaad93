// Package tlslayer puts TLS under MQTT without a goroutine for each connection:
// [Server] is a layer of wsproto around crypto/tls, bytes in, bytes out.
//
// crypto/tls can only shake hands on a connection that blocks. So a handshake
// runs in a goroutine of its own, which a [Pool] starts once the client has
// spoken and bounds in number and in processor time. From then on Read and
// Write work on what the loop has read and on what it will write, without
// waiting, and the goroutine is gone.
//
// It never opens or closes a socket and decides on no certificate: that is the
// tls.Config's, made by package tlsconf. A Server belongs to the goroutine that
// owns its connection; a Pool may be used from any.
package tlslayer

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/midgemq/midge/internal/wsproto"
)

const (
	// recordHandshake is the content type of a record with a ClientHello.
	recordHandshake = 22
	// maxPlain is the largest payload of a record in bytes.
	maxPlain = 16 << 10
	// enough is how many bytes wait for a handshake before reading stops: a
	// ClientHello, a chain of certificates, or what a client sends right behind
	// its Finished.
	enough = 32 << 10
	// maxKept is the largest scratch buffer kept for reuse, in bytes.
	maxKept = 128 << 10
)

// Identity returns what the broker is told about a peer after a handshake.
type Identity func(*tls.ConnectionState) *wsproto.Peer

// Server is the broker's end of one TLS connection.
type Server struct {
	pool     *Pool
	cfg      *tls.Config // nil once the handshake is over
	identity Identity
	wake     func()
	hs       *handshake // nil before the client's first byte and after the handshake
	conn     *tls.Conn
	peer     *wsproto.Peer
	err      error
	open     bool
	shut     bool // close_notify is out

	// What the shim reads from and writes to, during one call of the owner.
	in, out []byte
}

var (
	_ wsproto.Async      = (*Server)(nil)
	_ wsproto.Identified = (*Server)(nil)
)

// NewServer returns the server's end of a connection that has just been
// accepted. cfg must not change any more; several connections may share it.
func NewServer(pool *Pool, cfg *tls.Config, identity Identity) *Server {
	return &Server{pool: pool, cfg: cfg, identity: identity}
}

// Notify implements wsproto.Async.
func (s *Server) Notify(wake func()) { s.wake = wake }

// Start appends nothing: the client speaks first.
func (s *Server) Start(out []byte) []byte { return out }

// Open reports whether the handshake is complete.
func (s *Server) Open() bool { return s.open }

// Full implements wsproto.Async.
func (s *Server) Full() bool { return s.hs != nil && s.hs.full() }

// Drained implements wsproto.Async.
func (s *Server) Drained() {}

// Drop ends a handshake that is under way.
func (s *Server) Drop() {
	if s.hs != nil {
		s.hs.abort(net.ErrClosed)
	}
}

// Peer returns what the handshake said about the client, nil before its end.
func (s *Server) Peer() *wsproto.Peer { return s.peer }

// Inbound consumes bytes of the client; see wsproto.Layer. Bytes for the client
// and the end of the handshake come with a later call, for which the layer asks.
func (s *Server) Inbound(dst, raw, out []byte) (newDst, newOut []byte, err error) {
	switch {
	case s.err != nil:
		return dst, out, s.err
	case s.open:
		return s.decrypt(dst, raw, out)
	case s.hs != nil:
		return s.advance(dst, raw, out)
	case len(raw) == 0:
		return dst, out, nil
	case raw[0] != recordHandshake:
		s.err = &wsproto.HandshakeError{Reason: "client did not begin with a TLS handshake"}
		return dst, out, s.err
	}
	s.hs = newHandshake(raw)
	s.pool.start(s)
	return dst, out, nil
}

// advance passes raw to the handshake and takes what it has to say.
func (s *Server) advance(dst, raw, out []byte) (newDst, newOut []byte, err error) {
	hs := s.hs
	hs.mu.Lock()
	hs.in = append(hs.in, raw...)
	out = append(out, hs.out...)
	hs.out = hs.out[:0]
	done, rest := hs.done, hs.in
	hs.mu.Unlock()
	if !done {
		hs.poke()
		return dst, out, nil
	}
	s.hs, s.cfg = nil, nil
	if hs.err != nil {
		s.conn = nil
		s.err = &wsproto.HandshakeError{Reason: "TLS handshake: " + hs.err.Error()}
		return dst, out, s.err
	}
	s.open = true
	cs := s.conn.ConnectionState()
	s.peer = s.identity(&cs)
	return s.decrypt(dst, rest, out)
}

var scratch = sync.Pool{New: func() any { return new([]byte) }}

// decrypt gives raw to crypto/tls and appends what comes out of it to dst. As a
// record begun by an earlier call may end in raw, more can come out than went in;
// so dst, which may share raw's memory, is written when raw has been taken whole.
func (s *Server) decrypt(dst, raw, out []byte) (newDst, newOut []byte, err error) {
	p := scratch.Get().(*[]byte)
	plain := (*p)[:0]
	s.in, s.out = raw, out
	for err == nil {
		plain = slices.Grow(plain, maxPlain)
		var n int
		n, err = s.conn.Read(plain[len(plain):cap(plain)])
		plain = plain[:len(plain)+n]
	}
	out, s.in, s.out = s.out, nil, nil
	dst = append(dst, plain...)
	if cap(plain) <= maxKept {
		*p = plain[:0]
		scratch.Put(p)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return dst, out, nil
	case errors.Is(err, io.EOF):
		s.err = &wsproto.CloseError{Code: wsproto.CloseNormal, Reason: "TLS close_notify", Remote: true}
	default:
		s.err = &wsproto.CloseError{Code: wsproto.CloseProtocolError, Reason: "TLS: " + err.Error()}
	}
	return dst, out, s.err
}

// Outbound appends app in records of at most 16 KB; see wsproto.Layer.
func (s *Server) Outbound(out, app []byte) []byte {
	if !s.open || s.shut || s.err != nil || len(app) == 0 {
		return out
	}
	s.out = out
	if _, err := s.conn.Write(app); err != nil {
		s.err = &wsproto.CloseError{Code: wsproto.CloseProtocolError, Reason: "TLS: " + err.Error()}
	}
	out, s.out = s.out, nil
	return out
}

// Close appends close_notify, or ends the handshake.
func (s *Server) Close(out []byte, _ uint16) []byte {
	if !s.open {
		s.Drop()
		return out
	}
	if s.shut {
		return out
	}
	s.shut = true
	s.out = out
	_ = s.conn.CloseWrite() // it only appends
	out, s.out = s.out, nil
	return out
}

// shim is the net.Conn that crypto/tls sees.
type shim Server

// errEmpty is temporary for crypto/tls, which then keeps its state.
type errEmpty struct{}

func (errEmpty) Error() string   { return "no more bytes for now" }
func (errEmpty) Timeout() bool   { return true }
func (errEmpty) Temporary() bool { return true }
func (errEmpty) Unwrap() error   { return os.ErrDeadlineExceeded }

func (c *shim) Read(b []byte) (int, error) {
	if c.hs != nil {
		return c.hs.read(c.pool, b)
	}
	if len(c.in) == 0 {
		return 0, errEmpty{}
	}
	n := copy(b, c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *shim) Write(b []byte) (int, error) {
	if c.hs != nil {
		c.hs.write(b)
		c.wake()
		return len(b), nil
	}
	c.out = append(c.out, b...)
	return len(b), nil
}

// Close does nothing: the socket is the loop's.
func (c *shim) Close() error { return nil }

// Deadlines are the loop's too.
func (c *shim) SetDeadline(time.Time) error      { return nil }
func (c *shim) SetReadDeadline(time.Time) error  { return nil }
func (c *shim) SetWriteDeadline(time.Time) error { return nil }

func (c *shim) LocalAddr() net.Addr  { return addr{} }
func (c *shim) RemoteAddr() net.Addr { return addr{} }

// addr stands for addresses, which only callbacks of a tls.Config could ask for.
type addr struct{}

func (addr) Network() string { return "tcp" }
func (addr) String() string  { return "unknown" }
