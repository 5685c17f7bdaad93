package clientlib

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
)

// cutter makes connections to a broker and cuts the first one after a number of bytes in one direction.
type cutter struct {
	addr     string
	upstream bool // count what the client sends

	mu   sync.Mutex
	left int // bytes until the cut; below 0: no more cuts
	cuts int
}

func (c *cutter) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left < 0 {
		return nc, nil
	}
	return &cutConn{Conn: nc, c: c}, nil
}

// take grants up to n bytes of the counted direction.
func (c *cutter) take(n int) (granted int, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left < 0 {
		return n, false
	}
	if n < c.left {
		c.left -= n
		return n, false
	}
	n, c.left = c.left, -1
	c.cuts++
	return n, true
}

type cutConn struct {
	net.Conn
	c   *cutter
	end bool // of the reading goroutine
}

func (c *cutConn) Write(b []byte) (int, error) {
	if !c.c.upstream {
		return c.Conn.Write(b)
	}
	n, cut := c.c.take(len(b))
	if !cut {
		return c.Conn.Write(b)
	}
	n, _ = c.Conn.Write(b[:n])
	c.Conn.Close()
	return n, io.ErrClosedPipe
}

func (c *cutConn) Read(b []byte) (int, error) {
	if c.c.upstream {
		return c.Conn.Read(b)
	}
	if c.end {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.Conn.Read(b)
	granted, cut := c.c.take(n)
	if cut {
		c.end = true
		c.Conn.Close()
		return granted, nil
	}
	return n, err
}

// The connection of a publisher is cut at every byte it sends, then at every byte it receives, of an exchange with all kinds of
// acknowledgement. Whatever was acknowledged to the caller has arrived, QoS 2 once and only once.
//
// covers: 5:4.4.0-1 5:4.3.3-6 3:4.3.3-1
func TestCutAtEveryByte(t *testing.T) {
	eachBroker(t, func(t *testing.T, b *broker) {
		for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
			sub := connect(t, options(b.addr, v, "sub"+v.String()))
			r := collect(t, sub, "cut/"+v.String(), 2)
			for _, upstream := range []bool{true, false} {
				rounds := 0
				for ; ; rounds++ {
					c := &cutter{addr: b.addr, upstream: upstream, left: rounds}
					cutOnce(t, r, c, v, fmt.Sprintf("%v-%v-%d", v, upstream, rounds))
					if c.cuts == 0 {
						break
					}
				}
				if rounds < 25 {
					t.Errorf("%v, upstream %v: only %d bytes to cut at", v, upstream, rounds)
				}
			}
		}
	})
}

func cutOnce(t *testing.T, r *received, c *cutter, v mqtt.Version, name string) {
	t.Helper()
	o := options(c.addr, v, "cut"+name)
	o.Dial, o.SessionExpiry = c.dial, time.Minute
	cl, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.CloseWith(0, &mqtt.Properties{SessionExpiry: new(uint32)})
	cl.Start()
	type sent struct {
		payload string
		qos     mqtt.QoS
		h       *client.Publication
	}
	var list []sent
	for i, q := range []mqtt.QoS{1, 2, 2, 1} {
		s := sent{payload: fmt.Sprintf("%s-%d", name, i), qos: q}
		if s.h, err = cl.PublishAsync(within(t), mqtt.Message{Topic: "cut/" + v.String(), Payload: []byte(s.payload), QoS: q}); err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	for _, s := range list {
		if err := s.h.Wait(within(t)); err != nil {
			t.Errorf("%s: %v", s.payload, err)
			continue
		}
		r.waitFor(t, s.payload)
	}
	for _, s := range list {
		if n := r.times(s.payload); s.qos == mqtt.ExactlyOnce && n != 1 {
			t.Errorf("%s: %d times with QoS 2", s.payload, n)
		}
	}
}
