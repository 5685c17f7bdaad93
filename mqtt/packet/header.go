package packet

import "github.com/midgemq/midge/mqtt"

// ParseHeader reads the fixed header at the start of b: the first byte, the Remaining Length and n, the size of the header itself.
// n is 0 when b is too short to tell and more bytes are needed; never more than mqtt.MaxFixedHeader.
//
// It fails at once on packet type 0 and on a fourth length byte with its top bit set, before any body is waited for (E001). strict
// is for 5.0, where the length must have its shortest form [MQTT-1.5.5-1]; 3.x has no such rule (E002). The version of a first
// packet is not known yet: read it without strict and, once CONNECT says 5.0, compare n with 1+VarintSize(remaining).
func ParseHeader(b []byte, strict bool) (first byte, remaining, n int, err error) {
	if len(b) == 0 {
		return 0, 0, 0, nil
	}
	first = b[0]
	if first < 0x10 {
		return first, 0, 0, faultReservedType.in(0)
	}
	if len(b) > 1 && b[1] < 0x80 { // most packets
		return first, int(b[1]), 2, nil
	}
	return parseLongHeader(b, strict)
}

func parseLongHeader(b []byte, strict bool) (first byte, remaining, n int, err error) {
	first = b[0]
	for i := 1; i < len(b) && i <= mqtt.MaxVarintBytes; i++ {
		c := b[i]
		remaining |= int(c&0x7f) << (7 * (i - 1))
		if c < 0x80 {
			if strict && c == 0 && i > 1 {
				return first, 0, 0, faultLengthForm.in(Type(first >> 4))
			}
			return first, remaining, i + 1, nil
		}
		if i == mqtt.MaxVarintBytes {
			return first, 0, 0, faultLengthLong.in(Type(first >> 4))
		}
	}
	return first, 0, 0, nil
}

// AppendVarint writes n as a Variable Byte Integer of one to four bytes; n above mqtt.MaxVarint panics.
func AppendVarint(dst []byte, n uint32) []byte {
	switch {
	case n < 1<<7:
		return append(dst, byte(n))
	case n < 1<<14:
		return append(dst, byte(n)|0x80, byte(n>>7))
	case n < 1<<21:
		return append(dst, byte(n)|0x80, byte(n>>7)|0x80, byte(n>>14))
	case n <= mqtt.MaxVarint:
		return append(dst, byte(n)|0x80, byte(n>>7)|0x80, byte(n>>14)|0x80, byte(n>>21))
	}
	panic("packet: variable byte integer above 268435455")
}

// VarintSize is the number of bytes AppendVarint writes.
func VarintSize(n uint32) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}

// ReadVarint reads a Variable Byte Integer at the start of b; n is its length. ok is false when b ends inside it, when it is longer
// than four bytes, or when strict is set and it has not its shortest form.
func ReadVarint(b []byte, strict bool) (v uint32, n int, ok bool) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint32(b[0]), 1, true
	}
	for i := 0; i < len(b) && i < mqtt.MaxVarintBytes; i++ {
		c := b[i]
		v |= uint32(c&0x7f) << (7 * i)
		if c < 0x80 {
			if strict && c == 0 && i > 0 {
				return 0, 0, false
			}
			return v, i + 1, true
		}
	}
	return 0, 0, false
}

// appendHeader writes the fixed header.
func appendHeader(dst []byte, first byte, remaining int) []byte {
	if uint(remaining) < 0x80 {
		return append(dst, first, byte(remaining))
	}
	if remaining > mqtt.MaxVarint {
		panic("packet: larger than 268435455 bytes")
	}
	return AppendVarint(append(dst, first), uint32(remaining))
}

// frameSize is the size of a packet with this Remaining Length.
func frameSize(remaining int) int { return 1 + VarintSize(uint32(remaining)) + remaining }

func appendUint16(dst []byte, n uint16) []byte { return append(dst, byte(n>>8), byte(n)) }

// appendField writes a string or binary field with its two-byte length.
func appendField[T ~string | ~[]byte](dst []byte, s T) []byte {
	if len(s) > mqtt.MaxString {
		panic("packet: string or binary field longer than 65535 bytes")
	}
	return append(append(dst, byte(len(s)>>8), byte(len(s))), s...)
}

// field reads a string or binary field. The result cannot be extended over what follows it.
func field(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(b[0])<<8 | int(b[1])
	if len(b)-2 < n {
		return nil, nil, false
	}
	return b[2 : 2+n : 2+n], b[2+n:], true
}

// packetID reads a packet identifier, which is never 0.
func packetID(b []byte, t Type) (id uint16, rest []byte, e *Error) {
	if len(b) < 2 {
		return 0, nil, faultShort.in(t)
	}
	id = uint16(b[0])<<8 | uint16(b[1])
	if id == 0 {
		return 0, nil, faultPacketID.in(t)
	}
	return id, b[2:], nil
}

// checkFlags judges the low half of the first byte. 3.1 leaves it unchecked: its senders set DUP and QoS there [U31-09, U31-10].
func checkFlags(v mqtt.Version, first byte, t Type) *Error {
	if v != mqtt.V31 && first&0x0f != t.flags() {
		return faultFlags.in(t)
	}
	return nil
}

// result keeps a nil *Error from becoming a non-nil error.
func result(e *Error) error {
	if e == nil {
		return nil
	}
	return e
}
