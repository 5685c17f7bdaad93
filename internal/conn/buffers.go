package conn

import "github.com/midgemq/midge/internal/hub"

// firstOutput is the first size of an output buffer: enough for the answers of a
// batch. A storm of connections has one for each CONNACK of a batch.
const firstOutput = 512

// Env is what the connections of one loop share.
type Env struct {
	Shard *hub.Shard
	pool  [][]byte
	free  []*buffers
	vec   [][]byte
	one   [1][]byte
	enc   []byte
}

// NewEnv makes the environment of a shard's connections.
func NewEnv(sh *hub.Shard) *Env { return &Env{Shard: sh} }

func (e *Env) get() []byte {
	if n := len(e.pool); n > 0 {
		b := e.pool[n-1]
		e.pool = e.pool[:n-1]
		return b
	}
	return make([]byte, 0, firstOutput)
}

func (e *Env) put(b []byte) {
	if cap(b) <= 128<<10 && len(e.pool) < 256 {
		e.pool = append(e.pool, b[:0])
	}
}

// buffers are what a connection holds while bytes of it wait, which those of a
// quiet client hardly ever do: they are lent by the Env for that time.
type buffers struct {
	in      []byte     // an incomplete frame, or input that waits
	lease   *hub.Lease // what in lies in, nil for memory of its own
	out     []byte     // the open end of the output
	segs    []segment
	waiting int // bytes in segs and out
	packets int32
	// countedBytes and countedPackets are this connection's part of the counts of
	// what waits.
	countedPackets int32
	countedBytes   int
}

// segment is output that is written as it is.
type segment struct {
	b     []byte
	lease *hub.Lease // held as long as b waits; nil: b has memory of its own
}

// drop forgets a segment.
func (s *segment) drop() {
	s.lease.Release()
	*s = segment{}
}

// use returns the buffers of the connection, which release takes back.
func (c *Conn) use() *buffers {
	if c.buf == nil {
		e := c.env
		if n := len(e.free); n > 0 {
			c.buf = e.free[n-1]
			e.free = e.free[:n-1]
		} else {
			c.buf = new(buffers)
		}
	}
	return c.buf
}

// release gives the buffers back if nothing is in them.
func (c *Conn) release() {
	p := c.buf
	if p == nil || p.in != nil || p.out != nil || len(p.segs) > 0 || p.waiting > 0 || p.countedBytes != 0 {
		return
	}
	c.buf = nil
	if e := c.env; len(e.free) < 256 {
		e.free = append(e.free, p)
	}
}

// waiting is how many bytes wait to be written.
func (c *Conn) waiting() int {
	if c.buf == nil {
		return 0
	}
	return c.buf.waiting
}

// hasInput reports whether input waits that has been read.
func (c *Conn) hasInput() bool { return c.buf != nil && len(c.buf.in) > 0 }

func (c *Conn) dropInput() {
	if c.buf != nil && c.buf.in != nil {
		c.buf.in, c.buf.lease = nil, nil // somebody may be reading it: left to the collector
		c.release()
	}
}

// forget drops what waits, in both directions.
func (c *Conn) forget() {
	p := c.buf
	if p == nil {
		return
	}
	if p.out != nil {
		c.env.put(p.out)
	}
	for i := range p.segs {
		p.segs[i].drop()
	}
	p.in, p.lease, p.out, p.segs = nil, nil, nil, nil
	p.waiting, p.packets = 0, 0
	c.count()
	c.release()
}
