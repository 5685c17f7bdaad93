//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
)

// The encoder writes only what a load sends, and into templates that are patched: mqtt/packet would build each packet anew.

func putLen(b []byte, n int) []byte {
	for {
		d := byte(n & 0x7f)
		if n >>= 7; n == 0 {
			return append(b, d)
		}
		b = append(b, d|0x80)
	}
}

func putStr(b []byte, s string) []byte {
	return append(append(b, byte(len(s)>>8), byte(len(s))), s...)
}

// aliasMaximum is how many topic aliases the load takes from the broker.
const aliasMaximum = 10

// session says how to connect.
type session struct {
	id     string
	v5     bool
	resume bool // a session that outlives the connection
}

func encConnect(s session) []byte {
	v := putStr(nil, "MQTT")
	level, clean := byte(4), byte(2)
	if s.v5 {
		level = 5
	}
	if s.resume {
		clean = 0
	}
	v = append(v, level, clean, 0, 0) // keep-alive 0: none
	if s.v5 {
		v = append(v, 3, 0x22, 0, aliasMaximum)
	}
	v = putStr(v, s.id)
	return append(putLen([]byte{0x10}, len(v)), v...)
}

func encSubscribe(v5 bool, pid uint16, qos byte, topics ...string) []byte {
	v := []byte{byte(pid >> 8), byte(pid)}
	if v5 {
		v = append(v, 0)
	}
	for _, t := range topics {
		v = append(putStr(v, t), qos)
	}
	return append(putLen([]byte{0x82}, len(v)), v...)
}

// tmpl is one encoded PUBLISH, with the offsets that get patched.
type tmpl struct {
	b      []byte
	pidOff int // 0 at QoS 0
	plOff  int
}

// headSize is what the load has of its own at the beginning of each payload: int64 nanoseconds, uint32 publisher, uint32 sequence number.
const headSize = 16

// message says what a template publishes.
type message struct {
	topic  string
	qos    byte
	retain bool
	props  []byte // MQTT 5: properties without their length; nil: not MQTT 5
	pub    uint32
	size   int
}

func encPublish(m message) tmpl {
	h := byte(0x30) | m.qos<<1
	if m.retain {
		h |= 1
	}
	var t tmpl
	v := putStr(nil, m.topic)
	if m.qos > 0 {
		t.pidOff = len(v)
		v = append(v, 0, 0)
	}
	if m.props != nil {
		v = append(putLen(v, len(m.props)), m.props...)
	}
	t.plOff = len(v)
	for i := range max(m.size, headSize) {
		v = append(v, byte('a'+i%26))
	}
	binary.LittleEndian.PutUint32(v[t.plOff+8:], m.pub)
	fixed := putLen([]byte{h}, len(v))
	if m.qos > 0 {
		t.pidOff += len(fixed)
	}
	t.plOff += len(fixed)
	t.b = append(fixed, v...)
	return t
}

// stamp writes the load's own fields.
func (t *tmpl) stamp(packet []byte, at int64, pub, seq uint32) {
	h := packet[t.plOff:]
	binary.LittleEndian.PutUint64(h, uint64(at))
	binary.LittleEndian.PutUint32(h[8:], pub)
	binary.LittleEndian.PutUint32(h[12:], seq)
}

// What v5-alias publishes with each message and expects with each delivery.
var (
	contentType  = putStr([]byte{0x03}, "application/octet-stream")
	userProperty = putStr(putStr([]byte{0x26}, "unit"), "celsius")
)

const expiry = 3600 // seconds

// publishProps are the properties of a message; alias 0: none.
func publishProps(alias uint16) []byte {
	p := []byte{0x02, 0, 0, expiry >> 8, expiry & 0xff}
	p = append(p, contentType...)
	p = append(p, userProperty...)
	if alias > 0 {
		p = append(p, 0x23, byte(alias>>8), byte(alias))
	}
	return p
}

// receivedProps reads the properties of a delivery. good: all that was published is there and nothing strange beside it.
func receivedProps(p []byte) (alias uint16, good bool) {
	var expires, content, user bool
	for len(p) > 0 {
		switch {
		case p[0] == 0x02 && len(p) >= 5:
			left := binary.BigEndian.Uint32(p[1:])
			expires = left > 0 && left <= expiry
			p = p[5:]
		case p[0] == 0x23 && len(p) >= 3:
			alias = binary.BigEndian.Uint16(p[1:])
			p = p[3:]
		case bytes.HasPrefix(p, contentType):
			content = true
			p = p[len(contentType):]
		case bytes.HasPrefix(p, userProperty):
			user = true
			p = p[len(userProperty):]
		default:
			return alias, false
		}
	}
	return alias, expires && content && user
}

// serverAliases is the Topic Alias Maximum in the properties of a CONNACK; 0 when it has none.
func serverAliases(p []byte) uint16 {
	size := map[byte]int{ // of the values, by identifier; -1: a string, -2: two
		0x11: 4, 0x21: 2, 0x24: 1, 0x25: 1, 0x27: 4, 0x12: -1, 0x22: 2, 0x1f: -1,
		0x26: -2, 0x28: 1, 0x29: 1, 0x2a: 1, 0x13: 2, 0x1a: -1, 0x1c: -1, 0x15: -1, 0x16: -1,
	}
	for len(p) > 0 {
		id := p[0]
		p = p[1:]
		n, ok := size[id]
		if !ok {
			return 0
		}
		strings := -n
		if n < 0 {
			n = 0
		}
		for ; strings > 0 && len(p) >= n+2; strings-- {
			n += 2 + int(binary.BigEndian.Uint16(p[n:]))
		}
		if len(p) < n {
			return 0
		}
		if id == 0x22 {
			return binary.BigEndian.Uint16(p)
		}
		p = p[n:]
	}
	return 0
}

// varint reads a variable byte integer; n is 0 when b ends within it.
func varint(b []byte) (v, n int) {
	for i := 0; i < len(b) && i < 4; i++ {
		v |= int(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}
