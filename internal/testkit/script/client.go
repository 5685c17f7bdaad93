package script

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
	"github.com/midgemq/midge/internal/testkit/target"
)

// client is one connection of a running script.
type client struct {
	name    string
	v       byte
	pipe    target.Pipe
	checker *rawmqtt.Checker

	in     []byte            // bytes read that are no whole packet yet
	queue  []*rawmqtt.Packet // packets read and not yet expected
	eof    bool              // the broker has closed; queue may still hold packets
	gone   bool              // closed and noticed by the script, or cut by it
	online bool              // an accepting CONNACK was read

	nextID    uint16
	chunk     int    // bytes per write, 0 for whole sends
	batching  bool   // sends are collected
	batch     []byte // what was collected
	dirty     bool   // something was sent since the last fence
	pings     int    // PINGREQ of fences not yet answered
	half      []byte // hand-made bytes that are no whole packet yet
	forgiving bool   // violations by the broker are logged only (foreign brokers)
	log       func(string, ...any)
}

// send writes bytes, in chunks when asked, and tells the checker.
func (c *client) send(s *sending) error {
	if c.gone {
		return fmt.Errorf("%s is closed", c.name)
	}
	b := s.bytes
	if s.pkt != nil {
		if s.autoID {
			c.nextID++
			if c.nextID == 0 {
				c.nextID = 1
			}
			s.pkt.ID = c.nextID
		}
		b = s.pkt.Encode(c.v)
		c.checker.Sent(s.pkt)
		c.log("%s -> %s", c.name, s.pkt)
		c.half = nil
	} else {
		c.half = unfinished(append(c.half, b...))
		c.checker.SentRaw()
		c.log("%s -> %s", c.name, hexShort(b))
	}
	c.dirty = true
	if c.batching {
		c.batch = append(c.batch, b...)
		return nil
	}
	return c.write(b)
}

// unfinished returns what is left of b behind its last whole packet; a broken
// header leaves everything, since nobody can tell what a fence would become.
func unfinished(b []byte) []byte {
	for len(b) > 0 {
		_, rest, err := rawmqtt.Split(b)
		if err != nil {
			break
		}
		b = rest
	}
	return append([]byte(nil), b...)
}

// pingable tells whether a PINGREQ written now would be one.
func (c *client) pingable() bool { return c.online && len(c.half) == 0 }

func hexShort(b []byte) string {
	if len(b) > 64 {
		return fmt.Sprintf("% X … (%d bytes)", b[:64], len(b))
	}
	return fmt.Sprintf("% X", b)
}

func (c *client) write(b []byte) error {
	step := c.chunk
	if step == 0 {
		step = max(len(b), 1)
	}
	for len(b) > 0 {
		n := min(step, len(b))
		if err := c.pipe.Send(b[:n]); err != nil {
			// What the broker said before it closed explains the failure; the
			// expectation that follows will read it.
			c.log("%s: write failed: %v", c.name, err)
			return nil
		}
		b = b[n:]
	}
	return nil
}

// read takes in bytes until at least one more packet or the end is known.
// It returns target.ErrQuiet when nothing came.
func (c *client) read(wait time.Duration) error {
	if c.eof {
		return io.EOF
	}
	deadline := time.Now().Add(wait)
	for {
		got, err := c.cut()
		if got || err != nil {
			return err
		}
		b, err := c.pipe.Recv(time.Until(deadline))
		switch {
		case errors.Is(err, io.EOF):
			c.eof = true
			c.log("%s <- closed", c.name)
			if len(c.in) > 0 {
				return fmt.Errorf("%s: closed in the middle of a packet: %s", c.name, hexShort(c.in))
			}
			return io.EOF
		case err != nil:
			return err
		}
		c.in = append(c.in, b...)
	}
}

// cut turns the bytes at hand into packets, judging each.
func (c *client) cut() (got bool, err error) {
	for {
		raw, rest, err := rawmqtt.Split(c.in)
		if errors.Is(err, rawmqtt.ErrShort) {
			return got, nil
		}
		if err != nil {
			return got, fmt.Errorf("%s: %w: %s", c.name, err, hexShort(c.in))
		}
		c.in = rest
		p, err := c.checker.Received(raw)
		if p == nil {
			return got, fmt.Errorf("%s: %w: %s", c.name, err, hexShort(raw))
		}
		c.log("%s <- %s", c.name, p)
		if err != nil {
			if !c.forgiving {
				return got, fmt.Errorf("%s: the broker broke the standard: %w: %s", c.name, err, hexShort(raw))
			}
			c.log("%s: forgiven: %v", c.name, err)
		}
		if p.Type == rawmqtt.PINGRESP && c.pings > 0 {
			c.pings--
			got = true
			continue
		}
		if p.Type == rawmqtt.CONNACK {
			c.online = p.Reason == 0
		}
		c.queue = append(c.queue, p)
		got = true
	}
}

// take returns the first packet of the queue that want accepts, reading as
// needed; with inOrder only the first packet counts.
func (c *client) take(wait time.Duration, want func(*rawmqtt.Packet) bool) (*rawmqtt.Packet, error) {
	deadline := time.Now().Add(wait)
	seen := 0
	for {
		for ; seen < len(c.queue); seen++ {
			if p := c.queue[seen]; want(p) {
				c.queue = append(c.queue[:seen:seen], c.queue[seen+1:]...)
				return p, nil
			}
		}
		if err := c.read(time.Until(deadline)); err != nil {
			return nil, err
		}
	}
}

// ping sends a fence and waits for its answer; packets that arrive meanwhile
// stay in the queue. The PINGREQ is written past chunk and batch settings.
func (c *client) ping(wait time.Duration) error {
	c.pings++
	if err := c.pipe.Send([]byte{rawmqtt.PINGREQ << 4, 0}); err != nil {
		c.log("%s: fence not written: %v", c.name, err)
	}
	deadline := time.Now().Add(wait)
	for c.pings > 0 {
		if err := c.read(time.Until(deadline)); err != nil {
			return err
		}
	}
	return nil
}
