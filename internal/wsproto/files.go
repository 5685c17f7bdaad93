package wsproto

// Request is an HTTP request that asks for no upgrade.
type Request struct {
	Method          string // GET or HEAD
	Target          string // as sent, percent-encoded
	IfModifiedSince string // the header's value, empty without one
}

// Files answers requests that ask for no upgrade (http_dir). Many connections
// share one; it may be used from any goroutine and never waits.
type Files interface {
	// Answer begins an answer. wake asks for a call of Next; the answer may call it
	// from any goroutine.
	Answer(r Request, wake func()) Answer
}

// Answer is one answer under way. Its methods are called by the owner of the
// connection and do not wait.
type Answer interface {
	// Next appends what is ready. done: all of it has been given and written.
	Next(out []byte) (newOut []byte, status int, done bool)
	// Drained tells that what Next gave has been written.
	Drained()
	// Drop ends the answer.
	Drop()
}

// asksForFile reports whether the request is one for Files.
func (u *upgrade) asksForFile() bool {
	return (u.method == "GET" || u.method == "HEAD") && u.upgrade == "" && !u.hasBody
}

var _ Async = (*Server)(nil)

// Notify implements Async.
func (s *Server) Notify(wake func()) { s.wake = wake }

// Full implements Async: the handshake is bounded by MaxHeader, and what comes
// behind a request for a file is thrown away.
func (s *Server) Full() bool { return false }

// Drained implements Async.
func (s *Server) Drained() {
	if s.answer != nil {
		s.answer.Drained()
	}
}

// Drop implements Async.
func (s *Server) Drop() {
	if s.answer != nil {
		s.answer.Drop()
	}
}

// serve begins the answer to a request for a file.
func (s *Server) serve(u *upgrade, dst, out []byte) (newDst, newOut []byte, err error) {
	wake := s.wake
	if wake == nil {
		wake = func() {}
	}
	s.answer = s.opts.Files.Answer(Request{Method: u.method, Target: u.target, IfModifiedSince: u.modified}, wake)
	return s.goOn(dst, out)
}

// goOn appends what the answer has ready.
func (s *Server) goOn(dst, out []byte) (newDst, newOut []byte, err error) {
	out, status, done := s.answer.Next(out)
	if done {
		s.err = &ErrServed{Status: status}
	}
	return dst, out, s.err
}
