package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Limits of the control socket. It is for few local tools; the limits keep a
// broken one from holding memory or goroutines.
const (
	maxRequest     = 64 << 10         // bytes of one request line
	maxConnections = 16               // open at once
	idleTime       = 60 * time.Second // for a whole request line to arrive
	commandTime    = 10 * time.Second // for a command
	writeTime      = 10 * time.Second // for a reply to be taken
)

// request is one line from a tool.
type request struct {
	ID      json.RawMessage `json:"id"` // number or string, echoed
	Command string          `json:"command"`
	Args    json.RawMessage `json:"args"`
}

// response is one line to a tool.
type response struct {
	ID     json.RawMessage `json:"id"`
	OK     bool            `json:"ok"`
	Result any             `json:"result,omitempty"`
	Error  *Error          `json:"error,omitempty"`
}

// Server is an open control socket.
type Server struct {
	commands *Commands
	listener net.Listener
	lock     *os.File
	path     string

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
	wg     sync.WaitGroup
}

// DefaultPath is where the socket is when control_socket does not say: in the
// user's runtime directory, or below /run/midge for root and for services,
// which have none.
func DefaultPath() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && os.Geteuid() != 0 {
		return filepath.Join(dir, "midge.sock")
	}
	return "/run/midge/midge.sock"
}

// ErrInUse says that another broker serves the control socket.
var ErrInUse = errors.New("another broker uses it")

// Listen opens the control socket at path. Two brokers never share one: who
// holds the lock file beside it may remove what a dead broker left. Only a
// socket is ever removed.
func Listen(path string, commands *Commands) (*Server, error) {
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	s := &Server{commands: commands, lock: lock, path: path, conns: make(map[net.Conn]struct{})}
	if err := s.listen(); err != nil {
		lock.Close()
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	return s, nil
}

func (s *Server) listen() error {
	switch info, err := os.Lstat(s.path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("the path exists and is no socket")
	default:
		if err := os.Remove(s.path); err != nil {
			return err
		}
	}
	lc := net.ListenConfig{Control: privateSocket}
	l, err := lc.Listen(context.Background(), "unix", s.path)
	if err != nil {
		return err
	}
	if err := os.Chmod(s.path, 0o600); err != nil {
		l.Close()
		return err
	}
	s.listener = l
	return nil
}

// Path is where the socket is.
func (s *Server) Path() string { return s.path }

// Serve answers until Close; it returns nil then.
func (s *Server) Serve() error {
	for {
		c, err := s.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("control socket: accept: %w", err)
		}
		if !s.admit(c) {
			refuse(c)
			continue
		}
		s.wg.Go(func() {
			defer s.drop(c)
			s.serveConn(c)
		})
	}
}

// admit takes note of a connection; false means there are too many.
func (s *Server) admit(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.conns) >= maxConnections {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) drop(c net.Conn) {
	c.Close()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// refuse tells a connection beyond the limit why it is closed, if the socket's
// buffer takes the line at once.
func refuse(c net.Conn) {
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.Write(encode(response{Error: &Error{CodeBusy, "too many connections"}}))
	c.Close()
}

// Close ends the connections, waits for the commands under way and removes the
// socket.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	err := s.listener.Close() // removes the socket, too
	s.wg.Wait()
	return errors.Join(err, s.lock.Close())
}

func (s *Server) serveConn(c net.Conn) {
	in := bufio.NewScanner(c)
	in.Buffer(make([]byte, 0, 4096), maxRequest)
	for {
		if err := c.SetReadDeadline(time.Now().Add(idleTime)); err != nil {
			return
		}
		if !in.Scan() {
			if errors.Is(in.Err(), bufio.ErrTooLong) {
				s.reply(c, encode(response{Error: badRequest("request is longer than %d bytes", maxRequest)}))
			}
			return
		}
		if len(bytes.TrimSpace(in.Bytes())) == 0 {
			continue
		}
		if !s.reply(c, s.commands.answer(in.Bytes())) {
			return
		}
	}
}

func (s *Server) reply(c net.Conn, line []byte) bool {
	if err := c.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return false
	}
	_, err := c.Write(line)
	return err == nil
}

// answer carries one request line out and returns the reply line.
func (c *Commands) answer(line []byte) []byte {
	var q request
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		return encode(response{Error: badRequest("request: %v", err)})
	}
	if d.More() {
		return encode(response{Error: badRequest("request: more than one object in a line")})
	}
	if !plainID(q.ID) {
		return encode(response{Error: badRequest("request: id is neither number nor string")})
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	result, err := c.Do(ctx, q.Command, q.Args)
	if err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			e = &Error{CodeInternal, err.Error()}
		}
		return encode(response{ID: q.ID, Error: e})
	}
	return encode(response{ID: q.ID, OK: true, Result: result})
}

// plainID reports whether id is absent, null, a number or a string.
func plainID(id json.RawMessage) bool {
	return len(id) == 0 || (id[0] != '{' && id[0] != '[' && id[0] != 't' && id[0] != 'f')
}

// encode gives the reply as one line.
func encode(r response) []byte {
	if r.ID == nil {
		r.ID = json.RawMessage("null")
	}
	b, err := json.Marshal(r)
	if err != nil {
		b, _ = json.Marshal(response{ID: json.RawMessage("null"), Error: &Error{CodeInternal, err.Error()}})
	}
	return append(b, '\n')
}
