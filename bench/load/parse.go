//go:build linux

package main

import "encoding/binary"

// Packet types as they stand in the first four bits.
const (
	typeConnack = 2 + iota
	typePublish
	typePuback
	typePubrec
	typePubrel
	typePubcomp
	_
	typeSuback
	_
	_
	_
	typePingresp
	typeDisconnect
)

// parse hands the whole packets of b to the handler and keeps the rest. What a broker must not send ends the run.
func (l *loop) parse(c *conn, b []byte) {
	for len(b) >= 2 {
		remaining, n := varint(b[1:])
		if n == 0 {
			if len(b) > 4 {
				fail("the broker sent a Remaining Length of more than 4 bytes")
			}
			break
		}
		at := 1 + n // end of the fixed header
		total := at + remaining
		if b[0]>>4 == typePublish {
			if len(b) < total {
				if total > bigPacket && l.skip(c, b, at, total) {
					return
				}
				break
			}
			l.delivery(c, b[:total], at)
		} else {
			if len(b) < total {
				break
			}
			l.other(c, b[0]>>4, b[at:total])
		}
		b = b[total:]
		if c.closed {
			return
		}
	}
	if len(b) > 0 {
		c.rest = append(c.rest[:0], b...)
	}
}

// skip reads the head of a big PUBLISH, whose payload is not collected; false when the head is not yet there.
func (l *loop) skip(c *conn, b []byte, at, total int) bool {
	if len(b) < at+2 {
		return false
	}
	po := at + 2 + int(binary.BigEndian.Uint16(b[at:]))
	qos := b[0] >> 1 & 3
	if len(b) < po+2+headSize {
		return false
	}
	c.bigQoS = qos
	if qos > 0 {
		c.bigID = binary.BigEndian.Uint16(b[po:])
		po += 2
	}
	copy(c.bigHead[:], b[po:])
	c.skip = total - len(b)
	return true
}

// delivery takes one whole PUBLISH.
func (l *loop) delivery(c *conn, b []byte, at int) {
	end := at + 2 + int(binary.BigEndian.Uint16(b[at:]))
	topic := b[at+2 : end]
	qos := b[0] >> 1 & 3
	var id uint16
	if qos > 0 {
		id = binary.BigEndian.Uint16(b[end:])
		end += 2
	}
	if c.session.v5 {
		size, n := varint(b[end:])
		end += n
		l.h.properties(c, topic, b[end:end+size])
		end += size
	}
	if len(b)-end < headSize {
		fail("a delivery on %q is not of this load", topic)
	}
	l.h.publish(c, qos, id, b[end:])
}

func (l *loop) other(c *conn, kind byte, v []byte) {
	switch kind {
	case typeConnack:
		if v[1] != 0 {
			fail("CONNACK refuses with code %d", v[1])
		}
		if c.session.v5 {
			size, n := varint(v[2:])
			c.aliasMax = serverAliases(v[2+n : 2+n+size])
		}
		c.state = ready
		l.connected++
		l.h.ready(c)
	case typeSuback:
		codes := v[2:]
		if c.session.v5 {
			size, n := varint(codes)
			codes = codes[n+size:]
		}
		for _, x := range codes {
			if x >= 0x80 {
				fail("SUBACK refuses with code %d", x)
			}
		}
		if c.subacks--; c.subacks == 0 {
			c.state = ready
			l.h.ready(c)
		}
	case typePuback, typePubrec, typePubrel, typePubcomp:
		if len(v) > 2 && v[2] >= 0x80 {
			fail("the broker refuses a message with reason code %d", v[2])
		}
		l.h.ack(c, kind, binary.BigEndian.Uint16(v))
	case typePingresp:
		l.h.ack(c, kind, 0)
	case typeDisconnect:
		l.drop(c, errDisconnect)
	default:
		fail("the broker sent a packet of type %d", kind)
	}
}
