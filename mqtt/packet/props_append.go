package packet

import "encoding/binary"

// AppendUint writes a property that is a number, in the width of its identifier.
func AppendUint(dst []byte, id PropID, v uint32) []byte {
	dst = append(dst, byte(id))
	switch propTable[id].kind {
	case kindByte:
		if v <= 0xff {
			return append(dst, byte(v))
		}
	case kindUint16:
		if v <= 0xffff {
			return appendUint16(dst, uint16(v))
		}
	case kindUint32:
		return binary.BigEndian.AppendUint32(dst, v)
	case kindVarint:
		return AppendVarint(dst, v)
	default:
	}
	panic("packet: property " + id.String() + " does not hold this number")
}

// AppendBytes writes a property that is text or binary data.
func AppendBytes(dst []byte, id PropID, v []byte) []byte { return appendTextProp(dst, id, v) }

// AppendString is AppendBytes for a string.
func AppendString(dst []byte, id PropID, v string) []byte { return appendTextProp(dst, id, v) }

func appendTextProp[T ~string | ~[]byte](dst []byte, id PropID, v T) []byte {
	if k := propTable[id].kind; k != kindText && k != kindBinary {
		panic("packet: property " + id.String() + " is neither text nor binary")
	}
	return appendField(append(dst, byte(id)), v)
}

// AppendPair writes a user property.
func AppendPair(dst []byte, key, val string) []byte {
	return appendField(appendField(append(dst, byte(PropUser)), key), val)
}

// AppendExcept copies a list without the properties in drop, keeping the order; one copy when none of them is there. The broker
// forwards with it: drop what belongs to the publisher's connection, then append the receiver's own [MQTT-3.3.2-4].
func AppendExcept(dst []byte, p Props, drop PropSet) []byte {
	from := p // start of the run that is kept
	for q := p; len(q) > 0; {
		n := q.first()
		if n == 0 {
			return append(dst, from[:len(from)-len(q)]...)
		}
		if drop.Has(PropID(q[0])) {
			dst = append(dst, from[:len(from)-len(q)]...)
			from = q[n:]
		}
		q = q[n:]
	}
	return append(dst, from...)
}

// propsSize is the size of a list with its length in front.
func propsSize(p Props) int { return VarintSize(uint32(len(p))) + len(p) }

// appendProps writes a list with its length in front.
func appendProps(dst []byte, p Props) []byte {
	if len(p) == 0 {
		return append(dst, 0)
	}
	return append(AppendVarint(dst, uint32(len(p))), p...)
}
