// Package rawmqtt is a second, independent MQTT 3.1, 3.1.1 and 5.0 codec for
// tests: it builds any packet, broken ones included, and judges strictly what a
// peer sends. It must never import the product's codec, because a fault that
// both sides share cannot be seen; it never does I/O and holds no global state.
// Values are for one goroutine at a time.
package rawmqtt

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// Packet types, the high nibble of the first byte.
const (
	CONNECT byte = 1 + iota
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
	AUTH
)

// will stands for the will's property list in the tables below; it is no
// packet type on the wire.
const will byte = 0

var typeNames = [16]string{
	"RESERVED", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
}

// TypeName gives the standard's name of a packet type.
func TypeName(t byte) string { return typeNames[t&15] }

// Kind is the wire form of a property's value.
type Kind byte

// The seven wire forms of property values.
const (
	Byte Kind = iota + 1
	TwoByte
	FourByte
	Varint
	String
	Binary
	Pair
)

// PropInfo describes one property of MQTT 5.0, table 2-4.
type PropInfo struct {
	ID   byte
	Name string
	Kind Kind
	// in lists the packet types that may carry it; server and client say who
	// may send it there when only one side may.
	in         []byte
	serverOnly []byte
	clientOnly []byte
}

var propTable = []PropInfo{
	{ID: 0x01, Name: "payload-format-indicator", Kind: Byte, in: []byte{PUBLISH, will}},
	{ID: 0x02, Name: "message-expiry-interval", Kind: FourByte, in: []byte{PUBLISH, will}},
	{ID: 0x03, Name: "content-type", Kind: String, in: []byte{PUBLISH, will}},
	{ID: 0x08, Name: "response-topic", Kind: String, in: []byte{PUBLISH, will}},
	{ID: 0x09, Name: "correlation-data", Kind: Binary, in: []byte{PUBLISH, will}},
	{ID: 0x0B, Name: "subscription-identifier", Kind: Varint, in: []byte{PUBLISH, SUBSCRIBE}, serverOnly: []byte{PUBLISH}},
	{ID: 0x11, Name: "session-expiry-interval", Kind: FourByte, in: []byte{CONNECT, CONNACK, DISCONNECT}, clientOnly: []byte{DISCONNECT}},
	{ID: 0x12, Name: "assigned-client-identifier", Kind: String, in: []byte{CONNACK}},
	{ID: 0x13, Name: "server-keep-alive", Kind: TwoByte, in: []byte{CONNACK}},
	{ID: 0x15, Name: "authentication-method", Kind: String, in: []byte{CONNECT, CONNACK, AUTH}},
	{ID: 0x16, Name: "authentication-data", Kind: Binary, in: []byte{CONNECT, CONNACK, AUTH}},
	{ID: 0x17, Name: "request-problem-information", Kind: Byte, in: []byte{CONNECT}},
	{ID: 0x18, Name: "will-delay-interval", Kind: FourByte, in: []byte{will}},
	{ID: 0x19, Name: "request-response-information", Kind: Byte, in: []byte{CONNECT}},
	{ID: 0x1A, Name: "response-information", Kind: String, in: []byte{CONNACK}},
	{ID: 0x1C, Name: "server-reference", Kind: String, in: []byte{CONNACK, DISCONNECT}, serverOnly: []byte{DISCONNECT}},
	{ID: 0x1F, Name: "reason-string", Kind: String, in: []byte{CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH}},
	{ID: 0x21, Name: "receive-maximum", Kind: TwoByte, in: []byte{CONNECT, CONNACK}},
	{ID: 0x22, Name: "topic-alias-maximum", Kind: TwoByte, in: []byte{CONNECT, CONNACK}},
	{ID: 0x23, Name: "topic-alias", Kind: TwoByte, in: []byte{PUBLISH}},
	{ID: 0x24, Name: "maximum-qos", Kind: Byte, in: []byte{CONNACK}},
	{ID: 0x25, Name: "retain-available", Kind: Byte, in: []byte{CONNACK}},
	{ID: 0x26, Name: "user-property", Kind: Pair, in: []byte{
		CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, DISCONNECT, AUTH, will,
	}},
	{ID: 0x27, Name: "maximum-packet-size", Kind: FourByte, in: []byte{CONNECT, CONNACK}},
	{ID: 0x28, Name: "wildcard-subscription-available", Kind: Byte, in: []byte{CONNACK}},
	{ID: 0x29, Name: "subscription-identifier-available", Kind: Byte, in: []byte{CONNACK}},
	{ID: 0x2A, Name: "shared-subscription-available", Kind: Byte, in: []byte{CONNACK}},
}

// PropByName finds a property by the standard's name in kebab case.
func PropByName(name string) (PropInfo, bool) {
	for _, i := range propTable {
		if i.Name == name {
			return i, true
		}
	}
	return PropInfo{}, false
}

// PropByID finds a property by its identifier.
func PropByID(id byte) (PropInfo, bool) {
	for _, i := range propTable {
		if i.ID == id {
			return i, true
		}
	}
	return PropInfo{}, false
}

func contains(list []byte, t byte) bool {
	for _, x := range list {
		if x == t {
			return true
		}
	}
	return false
}

func (i PropInfo) allowed(t byte, fromServer bool) bool {
	switch {
	case !contains(i.in, t):
		return false
	case fromServer && contains(i.clientOnly, t):
		return false
	case !fromServer && contains(i.serverOnly, t):
		return false
	}
	return true
}

// Prop is one property as on the wire. Num holds the integer kinds, Str strings
// and binary data (and a pair's name), Str2 a pair's value.
type Prop struct {
	ID   byte
	Num  uint32
	Str  string
	Str2 string
}

// Name is the standard's name in kebab case, or the hexadecimal identifier.
func (p Prop) Name() string {
	if i, ok := PropByID(p.ID); ok {
		return i.Name
	}
	return fmt.Sprintf("property-0x%02X", p.ID)
}

// Value is the value as scripts write it.
func (p Prop) Value() string {
	i, _ := PropByID(p.ID)
	switch i.Kind {
	case String, Binary:
		return p.Str
	case Pair:
		return p.Str + ":" + p.Str2
	default:
		return fmt.Sprint(p.Num)
	}
}

// Props is a property list in wire order.
type Props []Prop

// Get returns the first property of that identifier.
func (ps Props) Get(id byte) (Prop, bool) {
	for _, p := range ps {
		if p.ID == id {
			return p, true
		}
	}
	return Prop{}, false
}

// Num returns the integer value of that property, or def when it is absent.
func (ps Props) Num(id byte, def uint32) uint32 {
	if p, ok := ps.Get(id); ok {
		return p.Num
	}
	return def
}

// AppendVarint appends n in its shortest form.
func AppendVarint(dst []byte, n int) []byte {
	for n > 127 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// ReadVarint reads a variable byte integer. n is the number of bytes used, 0
// when b ends too early; shortest tells whether no shorter form exists.
func ReadVarint(b []byte) (v, n int, shortest bool, err error) {
	for n < 4 {
		if n >= len(b) {
			return 0, 0, false, nil
		}
		c := b[n]
		v |= int(c&0x7F) << (7 * n)
		n++
		if c&0x80 == 0 {
			return v, n, n == 1 || c != 0, nil
		}
	}
	return 0, 0, false, fmt.Errorf("variable byte integer of more than four bytes")
}

// AppendString appends s with its two-byte length; a longer one than 65535 is
// cut in the length field only, which is what a broken sender would do.
func AppendString(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

func appendProp(dst []byte, p Prop) []byte {
	dst = append(dst, p.ID)
	i, _ := PropByID(p.ID)
	switch i.Kind {
	case Byte:
		return append(dst, byte(p.Num))
	case TwoByte:
		return binary.BigEndian.AppendUint16(dst, uint16(p.Num))
	case FourByte:
		return binary.BigEndian.AppendUint32(dst, p.Num)
	case Varint:
		return AppendVarint(dst, int(p.Num))
	case String, Binary:
		return AppendString(dst, p.Str)
	case Pair:
		return AppendString(AppendString(dst, p.Str), p.Str2)
	}
	return dst
}

// AppendProps appends the property length and the list.
func AppendProps(dst []byte, ps Props) []byte {
	var body []byte
	for _, p := range ps {
		body = appendProp(body, p)
	}
	return append(AppendVarint(dst, len(body)), body...)
}

// CheckString is the standard's rule for UTF-8 strings: well formed, without
// surrogates, overlong forms and U+0000 [MQTT-1.5.4-1] [MQTT-1.5.4-2].
func CheckString(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("invalid UTF-8 in %q", s)
	}
	for i := 0; i < len(s); i++ {
		if s[i] == 0 {
			return fmt.Errorf("U+0000 in %q", s)
		}
	}
	return nil
}
