package wsproto

import "sync"

// Stack puts upper (nearer to MQTT) on lower (nearer to the socket). A nil
// layer is left out; two of them give nil.
func Stack(lower, upper Layer) Layer {
	switch {
	case lower == nil:
		return upper
	case upper == nil:
		return lower
	}
	return &stack{lower: lower, upper: upper}
}

// stack borrows its intermediate buffers for the length of a call, so that an
// idle connection holds none.
type stack struct {
	lower, upper Layer
	started      bool // upper.Start has been called
}

// maxPooled is the largest intermediate buffer kept for reuse, in bytes; one
// large message must not pin its size for ever.
const maxPooled = 256 << 10

var bufferPool = sync.Pool{New: func() any { return new([]byte) }}

func putBuffer(p *[]byte, used []byte) {
	if cap(used) <= maxPooled {
		*p = used[:0]
		bufferPool.Put(p)
	}
}

func (s *stack) Start(out []byte) []byte {
	return s.startUpper(s.lower.Start(out))
}

// startUpper starts the upper layer as soon as the lower one can carry it.
func (s *stack) startUpper(out []byte) []byte {
	if s.started || !s.lower.Open() {
		return out
	}
	s.started = true
	p := bufferPool.Get().(*[]byte)
	up := s.upper.Start((*p)[:0])
	if len(up) > 0 {
		out = s.lower.Outbound(out, up)
	}
	putBuffer(p, up)
	return out
}

func (s *stack) Inbound(dst, raw, out []byte) (newDst, newOut []byte, err error) {
	pm, pu := bufferPool.Get().(*[]byte), bufferPool.Get().(*[]byte)
	middle, up := (*pm)[:0], (*pu)[:0]
	middle, out, err = s.lower.Inbound(middle, raw, out)
	out = s.startUpper(out)
	if len(middle) > 0 || len(raw) == 0 {
		// Without bytes it is a call that one of the layers has asked for.
		var upErr error
		dst, up, upErr = s.upper.Inbound(dst, middle, up)
		if len(up) > 0 {
			out = s.lower.Outbound(out, up)
		}
		// The upper layer's end came first in the stream.
		if upErr != nil {
			err = upErr
		}
	}
	putBuffer(pm, middle)
	putBuffer(pu, up)
	return dst, out, err
}

func (s *stack) Outbound(out, app []byte) []byte {
	p := bufferPool.Get().(*[]byte)
	up := s.upper.Outbound((*p)[:0], app)
	if len(up) > 0 {
		out = s.lower.Outbound(out, up)
	}
	putBuffer(p, up)
	return out
}

func (s *stack) Close(out []byte, code uint16) []byte {
	p := bufferPool.Get().(*[]byte)
	up := s.upper.Close((*p)[:0], code)
	if len(up) > 0 {
		out = s.lower.Outbound(out, up)
	}
	putBuffer(p, up)
	return s.lower.Close(out, code)
}

func (s *stack) Open() bool { return s.lower.Open() && s.upper.Open() }

// Notify implements Async.
func (s *stack) Notify(wake func()) {
	for _, l := range []Layer{s.lower, s.upper} {
		if a, ok := l.(Async); ok {
			a.Notify(wake)
		}
	}
}

// Full implements Async.
func (s *stack) Full() bool {
	for _, l := range []Layer{s.lower, s.upper} {
		if a, ok := l.(Async); ok && a.Full() {
			return true
		}
	}
	return false
}

// Drained implements Async.
func (s *stack) Drained() {
	for _, l := range []Layer{s.lower, s.upper} {
		if a, ok := l.(Async); ok {
			a.Drained()
		}
	}
}

// Drop implements Async.
func (s *stack) Drop() {
	for _, l := range []Layer{s.lower, s.upper} {
		if a, ok := l.(Async); ok {
			a.Drop()
		}
	}
}

// Peer implements Identified.
func (s *stack) Peer() *Peer {
	if p := PeerOf(s.upper); p != nil {
		return p
	}
	return PeerOf(s.lower)
}
