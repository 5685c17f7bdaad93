package conn

import (
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/mqtt/packet"
)

const (
	// firstPartial is the first buffer for an incomplete frame; it doubles as
	// bytes really come, so that a length alone reserves nothing.
	firstPartial = 512
	// tailFrom is how much of a long frame must be there, and how much must be
	// missing, for the socket to read into its buffer: below that a read of its own
	// costs more than a copy.
	tailFrom = 16 << 10
	// tailMax bounds such a read, for the others of the loop.
	tailMax = 256 << 10
)

// missing is how many bytes the frame lacks that the input begins with; 0 where
// its length is not known yet, and less where more than it is there.
func (p *buffers) missing() int {
	if n := frameLen(p.in); n > 0 {
		return n - len(p.in)
	}
	return 0
}

// frameLen is the length of the frame that b begins with, 0 if it is not known.
func frameLen(b []byte) int {
	_, rem, head, err := packet.ParseHeader(b, false)
	if err != nil || head == 0 {
		return 0
	}
	return head + rem
}

// save keeps input that cannot be worked on yet.
func (c *Conn) save(b []byte) {
	p := c.use()
	if p.in == nil {
		p.reserve(b, len(b))
	} else {
		p.reserve(p.in, len(b))
	}
	p.in = append(p.in, b...)
}

// reserve makes room for n more bytes of input, which begins like head. The
// buffer doubles, but for the end of a long frame: append alone would grow by
// quarters and copy a MiB five times. A long frame gets a buffer of its whole
// length if one lies ready.
func (p *buffers) reserve(head []byte, n int) {
	have := len(p.in)
	if cap(p.in)-have >= n {
		return
	}
	whole := frameLen(head)
	size := max(firstPartial, 2*have, have+n)
	if whole >= have+n {
		size = min(size, whole)
	}
	var l *hub.Lease
	if m := max(size, whole); m >= hub.LeaseFrom {
		l = hub.Borrow(m)
	}
	switch {
	case l == nil && size < hub.LeaseFrom:
		p.in = append(make([]byte, 0, size), p.in...)
		return
	case l == nil:
		l = hub.NewLease(size)
	}
	p.in = append(l.Buffer(), p.in...)
	p.lease.Release() // nobody else knew it
	p.lease = l
}

// finish completes the frame that the input begins with, if b has the rest of it,
// and works on it alone; what follows it needs no copy then.
func (c *Conn) finish(b []byte) (rest []byte) {
	if !c.hasInput() || !c.ready() {
		return b
	}
	n := c.buf.missing()
	if n <= 0 || n > len(b) {
		return b
	}
	c.save(b[:n])
	if c.frame(c.buf.in) > 0 {
		c.dropInput()
	}
	return b[n:]
}

// give takes the buffer of a long message from the connection, whose frame fills
// it alone: nobody writes to it again while somebody holds it, so whoever wants to
// keep the frame need not copy it. nil: it is not such a frame.
func (c *Conn) give(b []byte, size int) *hub.Lease {
	p := c.buf
	if c.last != packet.PUBLISH || p == nil || p.lease == nil || len(p.in) != size || &p.in[0] != &b[0] {
		return nil
	}
	l := p.lease
	p.in, p.lease = nil, nil
	return l
}

// given ends what give began. A message that the hub could not take is the first
// packet of the input again.
func (c *Conn) given(b []byte, l *hub.Lease) {
	if c.held && c.state < stClosing {
		p := c.use()
		p.in, p.lease = b, l
		return
	}
	l.Release()
}

// Tail is where the socket is to read the next bytes to, followed by Filled; nil:
// into a buffer of its own, for Input.
func (c *Conn) Tail() []byte {
	p := c.buf
	if p == nil || len(p.in) < tailFrom || c.layered || !c.ready() {
		return nil
	}
	n := p.missing()
	if n < tailFrom {
		return nil
	}
	p.reserve(p.in, min(n, tailFrom))
	return p.in[len(p.in):min(cap(p.in), len(p.in)+min(n, tailMax))]
}

// Filled takes the n bytes that the socket has put into the tail.
func (c *Conn) Filled(n int) {
	sh := c.env.Shard
	sh.Count.BytesReceived += uint64(n)
	c.lastIn = sh.Now()
	p := c.buf
	p.in = p.in[:len(p.in)+n]
	if p.missing() == 0 {
		c.feed(nil)
	}
}
