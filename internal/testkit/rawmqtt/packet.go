package rawmqtt

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Versions are named by their protocol level: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0.
const (
	V31  byte = 3
	V311 byte = 4
	V5   byte = 5
)

// Form says how much of an optional reason code and property list is written
// by acknowledgements, DISCONNECT and AUTH of MQTT 5.0.
type Form byte

// FormShort leaves out what the standard allows to leave out, FormReason
// always writes the reason code, FormFull writes the property length too.
const (
	FormShort Form = iota
	FormReason
	FormFull
)

// Filter is one entry of SUBSCRIBE (with its option byte) or UNSUBSCRIBE.
type Filter struct {
	Filter  string
	Options byte
}

// Will is the will of a CONNECT.
type Will struct {
	Topic   string
	Payload string
	QoS     byte
	Retain  bool
	Props   Props
}

// Connect holds the fields of CONNECT. Name and Level are written as they are,
// so that a test can ask for protocols that do not exist.
type Connect struct {
	Name      string
	Level     byte
	Clean     bool
	KeepAlive uint16
	ClientID  string
	Will      *Will
	User      *string
	Password  *string
	// ExtraFlags is or-ed into the connect flags.
	ExtraFlags byte
}

// Packet is any control packet; which fields count follows from Type.
type Packet struct {
	Type  byte
	Flags byte // low nibble of the first byte, as on the wire

	ID             uint16
	Reason         byte // also the return code of a 3.x CONNACK
	SessionPresent bool
	Topic          string
	Payload        []byte
	Codes          []byte   // SUBACK, UNSUBACK
	Filters        []Filter // SUBSCRIBE, UNSUBSCRIBE
	Connect        *Connect
	Props          Props
	Form           Form

	// Raw is the packet as it was read; empty for packets that were built.
	Raw []byte
}

// QoS, Dup and Retain read the flags of a PUBLISH.
func (p *Packet) QoS() byte    { return p.Flags >> 1 & 3 }
func (p *Packet) Dup() bool    { return p.Flags&8 != 0 }
func (p *Packet) Retain() bool { return p.Flags&1 != 0 }

// FixedFlags gives the low nibble that the standard fixes for every type but PUBLISH.
func FixedFlags(t byte) byte {
	if t == PUBREL || t == SUBSCRIBE || t == UNSUBSCRIBE {
		return 2
	}
	return 0
}

// Encode writes p for a connection of version v. Nothing is checked.
func (p *Packet) Encode(v byte) []byte {
	body := p.body(v)
	out := AppendVarint([]byte{p.Type<<4 | p.Flags&15}, len(body))
	return append(out, body...)
}

func (p *Packet) body(v byte) []byte {
	var b []byte
	switch p.Type {
	case CONNECT:
		return p.connectBody()
	case CONNACK:
		b = append(b, boolByte(p.SessionPresent), p.Reason)
		if v == V5 {
			b = AppendProps(b, p.Props)
		}
	case PUBLISH:
		b = AppendString(b, p.Topic)
		if p.QoS() > 0 {
			b = binary.BigEndian.AppendUint16(b, p.ID)
		}
		if v == V5 {
			b = AppendProps(b, p.Props)
		}
		b = append(b, p.Payload...)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		b = p.appendReason(binary.BigEndian.AppendUint16(b, p.ID), v)
	case SUBSCRIBE, UNSUBSCRIBE, SUBACK, UNSUBACK:
		b = binary.BigEndian.AppendUint16(b, p.ID)
		if v == V5 {
			b = AppendProps(b, p.Props)
		}
		for _, f := range p.Filters {
			b = AppendString(b, f.Filter)
			if p.Type == SUBSCRIBE {
				b = append(b, f.Options)
			}
		}
		if p.Type == SUBACK || v == V5 {
			b = append(b, p.Codes...)
		}
	case DISCONNECT, AUTH:
		b = p.appendReason(b, v)
	}
	return b
}

func (p *Packet) appendReason(b []byte, v byte) []byte {
	if v != V5 {
		return b
	}
	if p.Form == FormShort && p.Reason == 0 && len(p.Props) == 0 {
		return b
	}
	b = append(b, p.Reason)
	// AUTH has no form with a reason code alone.
	if p.Form == FormFull || len(p.Props) > 0 || (p.Type == AUTH && p.Form == FormShort) {
		b = AppendProps(b, p.Props)
	}
	return b
}

func (p *Packet) connectBody() []byte {
	c := p.Connect
	b := AppendString(nil, c.Name)
	flags := c.ExtraFlags
	if c.Clean {
		flags |= 0x02
	}
	if w := c.Will; w != nil {
		flags |= 0x04 | w.QoS<<3 | boolByte(w.Retain)<<5
	}
	if c.Password != nil {
		flags |= 0x40
	}
	if c.User != nil {
		flags |= 0x80
	}
	b = append(b, c.Level, flags)
	b = binary.BigEndian.AppendUint16(b, c.KeepAlive)
	// The level decides the dialect, with the bridge bit of older brokers ignored.
	v5 := c.Level&0x7F == 5
	if v5 {
		b = AppendProps(b, p.Props)
	}
	b = AppendString(b, c.ClientID)
	if w := c.Will; w != nil {
		if v5 {
			b = AppendProps(b, w.Props)
		}
		b = AppendString(AppendString(b, w.Topic), w.Payload)
	}
	if c.User != nil {
		b = AppendString(b, *c.User)
	}
	if c.Password != nil {
		b = AppendString(b, *c.Password)
	}
	return b
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// String describes the packet in the words of the script language.
func (p *Packet) String() string {
	var s strings.Builder
	s.WriteString(TypeName(p.Type))
	add := func(f string, a ...any) { fmt.Fprintf(&s, " "+f, a...) }
	switch p.Type {
	case CONNECT:
		c := p.Connect
		add("level=%d clean=%t id=%q keepalive=%d", c.Level, c.Clean, c.ClientID, c.KeepAlive)
		if c.Will != nil {
			add("will %s %s qos=%d", c.Will.Topic, quote([]byte(c.Will.Payload)), c.Will.QoS)
		}
	case CONNACK:
		add("reason=0x%02X session=%d", p.Reason, boolByte(p.SessionPresent))
	case PUBLISH:
		add("%s %s qos=%d", p.Topic, quote(p.Payload), p.QoS())
		if p.QoS() > 0 {
			add("id=%d", p.ID)
		}
		if p.Dup() {
			add("dup")
		}
		if p.Retain() {
			add("retain")
		}
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		add("id=%d reason=0x%02X", p.ID, p.Reason)
	case SUBSCRIBE, UNSUBSCRIBE:
		add("id=%d", p.ID)
		for _, f := range p.Filters {
			add("%s/0x%02X", f.Filter, f.Options)
		}
	case SUBACK, UNSUBACK:
		add("id=%d codes=% X", p.ID, p.Codes)
	case DISCONNECT, AUTH:
		add("reason=0x%02X", p.Reason)
	}
	for _, q := range p.Props {
		add("%s=%q", q.Name(), q.Value())
	}
	return s.String()
}

// quote shows a payload, cut to a length that a test log can bear.
func quote(b []byte) string {
	if len(b) > 80 {
		return fmt.Sprintf("%q…(%d bytes)", b[:40], len(b))
	}
	return fmt.Sprintf("%q", b)
}
