package reach

import (
	"net"
	"sync"

	"github.com/midgemq/midge/mqtt/packet"
)

// Count is how many packets and bytes of one kind passed.
type Count struct {
	Packets int `json:"packets"`
	Bytes   int `json:"bytes"`
}

// Add adds another count.
func (c *Count) Add(o Count) { c.Packets += o.Packets; c.Bytes += o.Bytes }

// Tap is a byte stream that counts the MQTT packets passing through it, exactly as they stand on the wire.
type Tap struct {
	net.Conn
	mu      sync.Mutex
	in, out meter
}

// meter finds the borders of packets in a stream that comes in any pieces.
type meter struct {
	head  []byte // of a packet whose length is not known yet
	left  int    // bytes still to come of the packet under way
	count [16]Count
}

func (m *meter) feed(b []byte) {
	for len(b) > 0 {
		if m.left > 0 {
			n := min(m.left, len(b))
			m.left -= n
			b = b[n:]
			continue
		}
		m.head = append(m.head, b[0])
		b = b[1:]
		first, remaining, n, err := packet.ParseHeader(m.head, false)
		if err != nil {
			m.left = 1 << 62 // no MQTT: nothing to be counted any more
			return
		}
		if n == 0 {
			continue
		}
		c := &m.count[first>>4]
		c.Packets++
		c.Bytes += n + remaining
		m.left, m.head = remaining, m.head[:0]
	}
}

// Read reads and counts.
func (t *Tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.mu.Lock()
	t.in.feed(p[:n])
	t.mu.Unlock()
	return n, err
}

// Write writes and counts.
func (t *Tap) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.out.feed(p)
	t.mu.Unlock()
	return t.Conn.Write(p)
}

// In is what has come of a packet type, Out what was sent.
func (t *Tap) In(k packet.Type) Count {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.in.count[k]
}

// Out is what was sent of a packet type.
func (t *Tap) Out(k packet.Type) Count {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.out.count[k]
}
