package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/midgemq/midge/internal/cli/reach"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// wire is one connection, packets in and out with nothing between: one goroutine reads, writes are whole packets.
type wire struct {
	nc      net.Conn
	version mqtt.Version
	// maxInflight is how many QoS 1 and 2 messages the broker takes at once.
	maxInflight int
	present     bool // the broker had the session

	// Of the reading goroutine.
	buf  []byte
	r, w int

	wmu sync.Mutex // whoever writes more than one packet keeps them together
}

// Sizes of the read buffer: an idle connection costs the small one, a busy one reads many packets with one system call.
const (
	smallRead = 2 << 10
	busyRead  = 256 << 10
)

// session says how CONNECT is to be.
type session struct {
	id         string
	persistent bool // Clean Start 0 and a session that outlives the connection
}

// dial opens a connection and waits for its CONNACK.
func dial(ctx context.Context, o *reach.Options, s session) (*wire, error) {
	nc, _, err := o.Stream(ctx)
	if err != nil {
		return nil, err
	}
	c := &wire{nc: nc, version: o.Version, maxInflight: mqtt.MaxReceiveMaximum, buf: make([]byte, smallRead)}
	nc.SetDeadline(time.Now().Add(o.Timeout))
	if err := c.handshake(o, s); err != nil {
		nc.Close()
		return nil, fmt.Errorf("connect %s: %w", s.id, err)
	}
	nc.SetDeadline(time.Time{})
	return c, nil
}

func (c *wire) handshake(o *reach.Options, s session) error {
	p := &packet.Connect{
		Version: c.version, CleanStart: !s.persistent, KeepAlive: uint16(o.KeepAlive), ClientID: []byte(s.id),
		HasUserName: o.User != "", UserName: []byte(o.User),
	}
	if o.Password != nil {
		p.HasPassword, p.Password = true, []byte(*o.Password)
	}
	if c.version == mqtt.V5 && s.persistent {
		p.Props = packet.AppendUint(nil, packet.PropSessionExpiry, 3600)
	}
	if _, err := c.nc.Write(p.Append(nil, c.version)); err != nil {
		return err
	}
	first, body, err := c.next()
	if err != nil {
		return err
	}
	var a packet.Connack
	if packet.Type(first>>4) != packet.CONNACK {
		return fmt.Errorf("%v in place of CONNACK", packet.Type(first>>4))
	}
	if err := a.Decode(c.version, first, body); err != nil {
		return err
	}
	code := mqtt.ReasonCode(a.Code)
	if c.version != mqtt.V5 {
		code = mqtt.ConnackReasonV3(a.Code)
	}
	if code.IsError() {
		return fmt.Errorf("refused: %v", code)
	}
	if n, ok := a.Props.Uint(packet.PropReceiveMaximum); ok {
		c.maxInflight = int(n)
	}
	c.present = a.SessionPresent
	return nil
}

// buffered reports whether a whole packet is in the buffer.
func (c *wire) buffered() bool {
	_, remaining, n, err := packet.ParseHeader(c.buf[c.r:c.w], false)
	return err == nil && n > 0 && c.w-c.r >= n+remaining
}

// next waits for a packet. body is valid until the next call.
func (c *wire) next() (first byte, body []byte, err error) {
	for {
		first, remaining, n, err := packet.ParseHeader(c.buf[c.r:c.w], false)
		if err != nil {
			return 0, nil, err
		}
		if n > 0 && c.w-c.r >= n+remaining {
			body := c.buf[c.r+n : c.r+n+remaining]
			c.r += n + remaining
			return first, body, nil
		}
		if err := c.fill(n + remaining); err != nil {
			return 0, nil, err
		}
	}
}

// fill reads once. need is the size of the packet under way, 0 when unknown.
func (c *wire) fill(need int) error {
	if c.r > 0 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	if need > len(c.buf) || c.w == len(c.buf) {
		grown := make([]byte, max(need, 2*len(c.buf)))
		copy(grown, c.buf[:c.w])
		c.buf = grown
	}
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	if c.w == len(c.buf) && len(c.buf) < busyRead {
		grown := make([]byte, 4*len(c.buf))
		copy(grown, c.buf[:c.w])
		c.buf = grown
	}
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// message is what a received PUBLISH says, pointing into the buffer.
type message struct {
	qos     mqtt.QoS
	dup     bool
	retain  bool
	id      uint16
	topic   []byte
	payload []byte
}

// publish takes a PUBLISH apart without judging it: the load must cost less than the broker it measures.
func (c *wire) publish(first byte, body []byte) (m message, ok bool) {
	m.qos, m.dup, m.retain = mqtt.QoS(first>>1&3), first&8 != 0, first&1 != 0
	if len(body) < 2 {
		return m, false
	}
	n := 2 + int(binary.BigEndian.Uint16(body))
	if len(body) < n {
		return m, false
	}
	m.topic, body = body[2:n], body[n:]
	if m.qos > 0 {
		if len(body) < 2 {
			return m, false
		}
		m.id, body = binary.BigEndian.Uint16(body), body[2:]
	}
	if c.version == mqtt.V5 {
		props, size, ok := packet.ReadVarint(body, false)
		if !ok || len(body) < size+int(props) {
			return m, false
		}
		body = body[size+int(props):]
	}
	m.payload = body
	return m, true
}

// write sends whole packets.
func (c *wire) write(b []byte) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	_, err := c.nc.Write(b)
	return err
}

// subscribe asks for one filter and waits for the answer. early gets what comes before it.
func (c *wire) subscribe(filter string, q mqtt.QoS, timeout time.Duration, early func(first byte, body []byte)) error {
	s := &packet.Subscribe{PacketID: 1}
	s.AddFilter(filter, packet.MakeSubOptions(q, false, false, 0))
	if err := c.write(s.Append(nil, c.version)); err != nil {
		return err
	}
	c.nc.SetReadDeadline(time.Now().Add(timeout))
	defer c.nc.SetReadDeadline(time.Time{})
	for {
		first, body, err := c.next()
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", filter, err)
		}
		if packet.Type(first>>4) != packet.SUBACK {
			if early != nil {
				early(first, body)
			}
			continue
		}
		var a packet.Suback
		if err := a.Decode(c.version, first, body); err != nil {
			return err
		}
		if len(a.Codes) > 0 && a.Codes[0] >= 0x80 {
			return fmt.Errorf("subscribe to %s refused: %v", filter, mqtt.ReasonCode(a.Codes[0]))
		}
		return nil
	}
}

// goodbye sends DISCONNECT and closes.
func (c *wire) goodbye() {
	c.nc.SetWriteDeadline(time.Now().Add(time.Second))
	if err := c.write((&packet.Disconnect{}).Append(nil, c.version)); err == nil {
		c.nc.SetReadDeadline(time.Now().Add(time.Second))
	}
	c.nc.Close()
}

// dropped words the end of a connection.
func dropped(err error) string {
	if os.IsTimeout(err) {
		return "no answer in time"
	}
	return err.Error()
}
