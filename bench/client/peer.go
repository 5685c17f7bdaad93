package main

import (
	"net"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// startPeer listens on loopback and speaks just enough MQTT: it acknowledges what is published, and sends n messages to whoever
// subscribes, keeping a window of unacknowledged ones.
func startPeer(j job) (stop func(), addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go (&conn{nc: nc, n: j.n, payload: make([]byte, j.size)}).serve()
		}
	}()
	return func() { l.Close() }, l.Addr().String(), nil
}

// conn is one connection of the peer; its goroutine owns it.
type conn struct {
	nc      net.Conn
	v       mqtt.Version
	out     []byte
	qos     mqtt.QoS
	n       int // messages still to be sent
	payload []byte
	sending bool
	flight  int
	id      uint16
}

// sendWindow is within the receive maximum of all libraries.
const sendWindow = 100

func (c *conn) serve() {
	defer c.nc.Close()
	buf := make([]byte, 256<<10)
	have := 0
	for {
		k, err := c.nc.Read(buf[have:])
		if err != nil {
			return
		}
		have += k
		at := 0
		for {
			first, remaining, n, err := packet.ParseHeader(buf[at:have], false)
			if err != nil {
				return
			}
			if n == 0 || have-at < n+remaining {
				break
			}
			if !c.packet(first, buf[at+n:at+n+remaining]) {
				return
			}
			at += n + remaining
		}
		have = copy(buf, buf[at:have])
		if !c.flush() {
			return
		}
	}
}

// packet answers one packet.
func (c *conn) packet(first byte, body []byte) bool {
	switch packet.Type(first >> 4) {
	case packet.CONNECT:
		var p packet.Connect
		if p.Decode(first, body) != nil {
			return false
		}
		c.v = p.Version
		c.out = (&packet.Connack{}).Append(c.out, c.v)
	case packet.PUBLISH:
		if qos := first >> 1 & 3; qos > 0 {
			n := 2 + int(body[0])<<8 + int(body[1])
			id := uint16(body[n])<<8 | uint16(body[n+1])
			c.out = packet.AppendAck(c.out, map[byte]packet.Type{1: packet.PUBACK, 2: packet.PUBREC}[qos], c.v, id, 0)
		}
	case packet.PUBREL:
		c.out = packet.AppendAck(c.out, packet.PUBCOMP, c.v, uint16(body[0])<<8|uint16(body[1]), 0)
	case packet.PUBREC:
		c.out = packet.AppendAck(c.out, packet.PUBREL, c.v, uint16(body[0])<<8|uint16(body[1]), 0)
	case packet.PUBACK, packet.PUBCOMP:
		c.flight--
	case packet.SUBSCRIBE:
		var p packet.Subscribe
		if p.Decode(c.v, first, body) != nil {
			return false
		}
		it, f := p.Filters(), packet.SubFilter{}
		it.Next(&f)
		c.qos, c.sending = f.Options.QoS(), true
		c.out = (&packet.Suback{PacketID: p.PacketID, Codes: []byte{byte(c.qos)}}).Append(c.out, c.v)
	case packet.PINGREQ:
		c.out = (&packet.Pingresp{}).Append(c.out, c.v)
	case packet.DISCONNECT:
		return false
	}
	return true
}

// flush writes the answers, and messages as the window allows; those of QoS 0 in pieces that a socket takes at once.
func (c *conn) flush() bool {
	for {
		for c.sending && c.n > 0 && len(c.out) < 64<<10 && (c.qos == 0 || c.flight < sendWindow) {
			c.n--
			if c.qos > 0 {
				c.flight++
				if c.id++; c.id == 0 {
					c.id = 1
				}
			}
			c.out = packet.AppendPublishHeader(c.out, packet.PublishFirst(c.qos, false, false), c.v, topic, c.id, len(c.payload))
			c.out = append(c.out, c.payload...)
		}
		if len(c.out) == 0 {
			return true
		}
		if _, err := c.nc.Write(c.out); err != nil {
			return false
		}
		c.out = c.out[:0]
		if c.qos > 0 || !c.sending || c.n == 0 {
			return true
		}
	}
}
