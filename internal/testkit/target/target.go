// Package target is what behaviour scripts run against: a broker that can be
// connected to, seen through bytes only. It holds the contract, TCP pipes and
// the foreign broker started as a process; brokers that live in this process are
// adapted where they may be imported. Test code alone uses it. A Target and its
// pipes belong to the goroutine that runs the script.
package target

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// ErrQuiet is returned by Pipe.Recv when nothing came in time.
var ErrQuiet = errors.New("nothing received")

// ErrUnsupported is returned by optional abilities that a target lacks.
var ErrUnsupported = errors.New("the target cannot do this")

// Pipe is the client's end of one connection.
type Pipe interface {
	// Send writes all of b or fails.
	Send(b []byte) error
	// Recv returns the next bytes, io.EOF once the broker has closed the
	// connection, or ErrQuiet after wait. A synchronous target returns ErrQuiet
	// at once when it has nothing more to say.
	Recv(wait time.Duration) ([]byte, error)
	// CloseWrite ends the client's direction; the broker may still send.
	CloseWrite() error
	// Close cuts the connection at once.
	Close() error
}

// Target is one running broker.
type Target interface {
	Name() string
	// Open makes a connection without sending anything.
	Open() (Pipe, error)
	// Advance moves the broker's clock and returns when everything that became
	// due has been done, as far as the broker's own state goes.
	Advance(d time.Duration) error
	// Synchronous tells that Send has returned only after the broker has finished
	// with the bytes, so that no fence is needed.
	Synchronous() bool
	Close() error
}

// Controller is the optional ability to change test settings while a script runs.
type Controller interface {
	Control(words []string) error
}

// Restarter is the optional ability to stop and start the broker with its stored state.
type Restarter interface {
	Restart() error
}

// Staller is the optional ability of a Pipe to take nothing from the broker for a
// while, as a client does that does not read. Pipes over a network need none: a
// script that expects nothing reads nothing.
type Staller interface {
	Stall(on bool)
}

// Factory starts a fresh broker for one script.
type Factory func(Config) (Target, error)

// Config is what a script asks of its broker.
type Config struct {
	Dir   string   // scratch directory
	Lines []string // mosquitto.conf lines without the test_ ones
	Auth  Auth
	// Options are settings of the broker as a library that mosquitto.conf has no
	// name for, from "config: test_option NAME VALUE".
	Options map[string]string
	// Moving has connections change their event loop all the time.
	Moving bool
}

// patience bounds what only a broken broker takes so long for.
const patience = 5 * time.Minute

// TCPPipe is a Pipe over a net.Conn.
type TCPPipe struct {
	conn net.Conn
	buf  []byte
}

// DialTCP connects to addr.
func DialTCP(addr string) (*TCPPipe, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return NewPipe(c), nil
}

// NewPipe wraps an open connection.
func NewPipe(c net.Conn) *TCPPipe { return &TCPPipe{conn: c, buf: make([]byte, 64<<10)} }

// Send writes with a deadline, so that a broker which never reads fails the script.
func (p *TCPPipe) Send(b []byte) error {
	if err := p.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := p.conn.Write(b)
	return err
}

// Recv implements Pipe. A reset counts as the broker's close: a broker that
// closes with unread input in its socket buffer resets the connection.
func (p *TCPPipe) Recv(wait time.Duration) ([]byte, error) {
	if err := p.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return nil, err
	}
	n, err := p.conn.Read(p.buf)
	if n > 0 {
		return append([]byte(nil), p.buf[:n]...), nil
	}
	var ne net.Error
	switch {
	case errors.As(err, &ne) && ne.Timeout():
		return nil, ErrQuiet
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET):
		return nil, io.EOF
	}
	return nil, err
}

// CloseWrite sends FIN, or close_notify with TLS.
func (p *TCPPipe) CloseWrite() error {
	if c, ok := p.conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return ErrUnsupported
}

// Close resets the connection, which is what a vanished client looks like.
func (p *TCPPipe) Close() error {
	c := p.conn
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn() // without close_notify
	}
	if c, ok := c.(*net.TCPConn); ok {
		if err := c.SetLinger(0); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
	}
	return c.Close()
}
