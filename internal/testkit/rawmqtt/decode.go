package rawmqtt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// ErrShort is returned by Split when the bytes end before the packet does.
var ErrShort = errors.New("packet incomplete")

// Split cuts the first packet off b. It returns ErrShort when more bytes are
// needed and another error when the fixed header is broken.
func Split(b []byte) (packet, rest []byte, err error) {
	if len(b) < 2 {
		return nil, b, ErrShort
	}
	n, used, shortest, err := ReadVarint(b[1:])
	switch {
	case err != nil:
		return nil, b, fmt.Errorf("remaining length: %w", err)
	case used == 0:
		return nil, b, ErrShort
	case !shortest:
		return nil, b, fmt.Errorf("remaining length % X is not in its shortest form", b[1:1+used])
	case len(b) < 1+used+n:
		return nil, b, ErrShort
	}
	end := 1 + used + n
	return b[:end:end], b[end:], nil
}

// reader consumes a packet body; the first fault sticks.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(f string, a ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(f, a...)
	}
}

func (r *reader) take(n int, what string) []byte {
	if r.err != nil {
		return nil
	}
	if len(r.b) < n {
		r.fail("%s: %d bytes wanted, %d left", what, n, len(r.b))
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8(what string) byte {
	if b := r.take(1, what); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16(what string) uint16 {
	if b := r.take(2, what); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32(what string) uint32 {
	if b := r.take(4, what); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) varint(what string) int {
	if r.err != nil {
		return 0
	}
	v, n, shortest, err := ReadVarint(r.b)
	switch {
	case err != nil:
		r.fail("%s: %w", what, err)
	case n == 0:
		r.fail("%s: cut short", what)
	case !shortest:
		r.fail("%s: not in its shortest form", what)
	default:
		r.b = r.b[n:]
	}
	return v
}

func (r *reader) bin(what string) string {
	return string(r.take(int(r.u16(what)), what))
}

func (r *reader) str(what string) string {
	s := r.bin(what)
	if r.err == nil {
		if err := CheckString(s); err != nil {
			r.fail("%s: %w", what, err)
		}
	}
	return s
}

// id reads a packet identifier, which is never zero [MQTT-2.2.1-3].
func (r *reader) id() uint16 {
	id := r.u16("packet identifier")
	if r.err == nil && id == 0 {
		r.fail("packet identifier 0")
	}
	return id
}

func (r *reader) props(t byte, fromServer bool) Props {
	n := r.varint("property length")
	sub := reader{b: r.take(n, "properties"), err: r.err}
	var ps Props
	for len(sub.b) > 0 && sub.err == nil {
		p := Prop{ID: byte(sub.varint("property identifier"))}
		info, ok := PropByID(p.ID)
		if !ok {
			sub.fail("unknown property 0x%02X", p.ID)
			break
		}
		if !info.allowed(t, fromServer) {
			sub.fail("property %s does not belong here", info.Name)
		}
		if _, dup := ps.Get(p.ID); dup && p.ID != 0x26 && !(p.ID == 0x0B && t == PUBLISH) {
			sub.fail("property %s twice", info.Name)
		}
		switch info.Kind {
		case Byte:
			p.Num = uint32(sub.u8(info.Name))
		case TwoByte:
			p.Num = uint32(sub.u16(info.Name))
		case FourByte:
			p.Num = sub.u32(info.Name)
		case Varint:
			p.Num = uint32(sub.varint(info.Name))
		case String:
			p.Str = sub.str(info.Name)
		case Binary:
			p.Str = sub.bin(info.Name)
		case Pair:
			p.Str = sub.str(info.Name)
			p.Str2 = sub.str(info.Name)
		}
		sub.checkRange(p, info)
		ps = append(ps, p)
	}
	if r.err == nil {
		r.err = sub.err
	}
	return ps
}

// checkRange refuses values that the standard calls a Protocol Error.
func (r *reader) checkRange(p Prop, info PropInfo) {
	bad := false
	switch p.ID {
	case 0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A:
		bad = p.Num > 1
	case 0x0B, 0x21, 0x23, 0x27:
		bad = p.Num == 0
	case 0x08:
		bad = strings.ContainsAny(p.Str, "+#") || p.Str == ""
	}
	if bad {
		r.fail("property %s out of range: %s", info.Name, p.Value())
	}
}

// Decode parses one whole packet of a connection of version v and applies every
// rule that can be judged without knowing the conversation: flags, lengths,
// UTF-8, identifiers, properties and reason codes allowed for that sender.
func Decode(v byte, raw []byte, fromServer bool) (*Packet, error) {
	body, rest, err := splitBody(raw)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes behind the packet", len(rest))
	}
	p := &Packet{Type: raw[0] >> 4, Flags: raw[0] & 15, Raw: raw}
	if err := p.checkHeader(v, fromServer); err != nil {
		return p, err
	}
	r := &reader{b: body}
	p.decodeBody(r, v, fromServer)
	if r.err == nil && len(r.b) > 0 {
		r.fail("%d bytes left over", len(r.b))
	}
	if r.err != nil {
		return p, fmt.Errorf("%s: %w", TypeName(p.Type), r.err)
	}
	return p, nil
}

func splitBody(raw []byte) (body, rest []byte, err error) {
	pkt, rest, err := Split(raw)
	if err != nil {
		return nil, nil, err
	}
	_, used, _, _ := ReadVarint(pkt[1:])
	return pkt[1+used:], rest, nil
}

func (p *Packet) checkHeader(v byte, fromServer bool) error {
	var fromClientOnly, fromServerOnly bool
	switch p.Type {
	case 0:
		return fmt.Errorf("reserved packet type 0")
	case CONNECT, SUBSCRIBE, UNSUBSCRIBE, PINGREQ:
		fromClientOnly = true
	case CONNACK, SUBACK, UNSUBACK, PINGRESP:
		fromServerOnly = true
	case DISCONNECT:
		fromClientOnly = v != V5
	case AUTH:
		if v != V5 {
			return fmt.Errorf("AUTH before MQTT 5.0")
		}
	}
	if fromServer && fromClientOnly || !fromServer && fromServerOnly {
		return fmt.Errorf("%s sent by the wrong side", TypeName(p.Type))
	}
	if p.Type == PUBLISH {
		if p.QoS() == 3 {
			return fmt.Errorf("PUBLISH with QoS 3")
		}
		if p.QoS() == 0 && p.Dup() {
			return fmt.Errorf("PUBLISH with QoS 0 and DUP [MQTT-3.3.1-2]")
		}
		return nil
	}
	want := FixedFlags(p.Type)
	// 3.1 repeats SUBSCRIBE, UNSUBSCRIBE and PUBREL with DUP set.
	if v == V31 && want == 2 && p.Flags&^8 == 2 {
		return nil
	}
	if p.Flags != want {
		return fmt.Errorf("%s with flags 0x%X instead of 0x%X [MQTT-2.1.3-1]", TypeName(p.Type), p.Flags, want)
	}
	return nil
}

func (p *Packet) decodeBody(r *reader, v byte, fromServer bool) {
	switch p.Type {
	case CONNECT:
		p.decodeConnect(r)
	case CONNACK:
		f := r.u8("acknowledge flags")
		if f > 1 {
			r.fail("acknowledge flags 0x%02X [MQTT-3.2.2-1]", f)
		}
		if v == V31 && f != 0 {
			r.fail("session present in MQTT 3.1")
		}
		p.SessionPresent = f == 1
		p.Reason = r.u8("reason")
		if v == V5 {
			p.Props = r.props(CONNACK, fromServer)
		}
	case PUBLISH:
		p.Topic = r.str("topic")
		if strings.ContainsAny(p.Topic, "+#") {
			r.fail("wildcard in topic %q [MQTT-3.3.2-2]", p.Topic)
		}
		if p.QoS() > 0 {
			p.ID = r.id()
		}
		if v == V5 {
			p.Props = r.props(PUBLISH, fromServer)
		}
		if _, alias := p.Props.Get(0x23); p.Topic == "" && !alias {
			r.fail("empty topic without alias")
		}
		p.Payload, r.b = r.b, nil
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		p.ID = r.id()
		p.decodeReason(r, v, fromServer)
	case SUBSCRIBE, UNSUBSCRIBE, SUBACK, UNSUBACK:
		p.ID = r.id()
		if v == V5 {
			p.Props = r.props(p.Type, fromServer)
		}
		p.decodeList(r, v)
	case DISCONNECT, AUTH:
		p.decodeReason(r, v, fromServer)
	}
	if r.err == nil {
		p.checkReasons(r, v, fromServer)
	}
}

func (p *Packet) decodeReason(r *reader, v byte, fromServer bool) {
	if v != V5 || r.err != nil || len(r.b) == 0 {
		return
	}
	p.Reason, p.Form = r.u8("reason"), FormReason
	// An acknowledgement or DISCONNECT may end after its reason code; AUTH may not.
	if len(r.b) == 0 && p.Type != AUTH {
		return
	}
	p.Form = FormFull
	p.Props = r.props(p.Type, fromServer)
}

func (p *Packet) decodeList(r *reader, v byte) {
	switch p.Type {
	case SUBSCRIBE, UNSUBSCRIBE:
		for len(r.b) > 0 && r.err == nil {
			f := Filter{Filter: r.str("filter")}
			if p.Type == SUBSCRIBE {
				f.Options = r.u8("options")
			}
			p.Filters = append(p.Filters, f)
		}
		if len(p.Filters) == 0 {
			r.fail("no filter")
		}
	case SUBACK, UNSUBACK:
		if p.Type == UNSUBACK && v != V5 {
			return
		}
		p.Codes, r.b = r.b, nil
		if len(p.Codes) == 0 && v != V31 { // 3.1 does not rule out an empty SUBSCRIBE
			r.fail("no reason code")
		}
	}
}

func (p *Packet) decodeConnect(r *reader) {
	c := &Connect{Name: r.str("protocol name"), Level: r.u8("level")}
	p.Connect = c
	f := r.u8("connect flags")
	c.Clean = f&2 != 0
	c.KeepAlive = r.u16("keep alive")
	if c.Level == V5 {
		p.Props = r.props(CONNECT, false)
	}
	c.ClientID = r.str("client identifier")
	if f&1 != 0 {
		r.fail("reserved connect flag [MQTT-3.1.2-3]")
	}
	if f&4 != 0 {
		w := &Will{QoS: f >> 3 & 3, Retain: f&0x20 != 0}
		if c.Level == V5 {
			w.Props = r.props(will, false)
		}
		w.Topic, w.Payload = r.str("will topic"), r.bin("will payload")
		if w.QoS == 3 {
			r.fail("will QoS 3")
		}
		c.Will = w
	} else if f&0x38 != 0 {
		r.fail("will bits without will flag")
	}
	if f&0x80 != 0 {
		s := r.str("user name")
		c.User = &s
	}
	if f&0x40 != 0 {
		s := r.bin("password")
		c.Password = &s
		if c.Level != V5 && c.User == nil {
			r.fail("password without user name [MQTT-3.1.2-22]")
		}
	}
}
