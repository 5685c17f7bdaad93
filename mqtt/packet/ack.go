package packet

import "github.com/midgemq/midge/mqtt"

// Ack is PUBACK, PUBREC, PUBREL or PUBCOMP: four packets of one form.
type Ack struct {
	Type     Type
	PacketID uint16
	Code     mqtt.ReasonCode // Success on 3.x connections
	Props    Props
}

// Decode reads the body of the packet that first names. 5.0 has two short forms: without properties, and without reason code, which
// means Success [U5-3.4.2-1].
func (p *Ack) Decode(v mqtt.Version, first byte, body []byte) error {
	t := Type(first >> 4)
	*p = Ack{Type: t}
	if e := checkFlags(v, first, t); e != nil {
		return e
	}
	id, rest, e := packetID(body, t)
	if e != nil {
		return e
	}
	p.PacketID = id
	if len(rest) == 0 {
		return nil
	}
	if v != mqtt.V5 {
		return faultAckLength.in(t)
	}
	p.Code = mqtt.ReasonCode(rest[0])
	if len(rest) == 1 {
		return nil
	}
	p.Props, _, rest, e = readProps(rest[1:], t)
	return result(finish(rest, t, e))
}

// finish ends a decoder: the first fault, or the bytes that nothing accounts for.
func finish(rest []byte, t Type, e *Error) *Error {
	if e == nil && len(rest) != 0 {
		return faultTrailing.in(t)
	}
	return e
}

// Kind is p.Type.
func (p *Ack) Kind() Type { return p.Type }

func (p *Ack) remaining(v mqtt.Version) int {
	switch {
	case v != mqtt.V5 || p.Code == 0 && len(p.Props) == 0:
		return 2
	case len(p.Props) == 0:
		return 3
	}
	return 3 + propsSize(p.Props)
}

// Size is the number of bytes Append writes.
func (p *Ack) Size(v mqtt.Version) int { return frameSize(p.remaining(v)) }

// Append writes the packet in its shortest form. Below 5.0 reason code and properties are left out.
func (p *Ack) Append(dst []byte, v mqtt.Version) []byte {
	n := p.remaining(v)
	dst = appendUint16(appendHeader(dst, p.Type.FirstByte(), n), p.PacketID)
	if n > 2 {
		dst = append(dst, byte(p.Code))
	}
	if n > 3 {
		dst = appendProps(dst, p.Props)
	}
	return dst
}

// AppendAck writes an acknowledgement without properties: the fast path of every QoS 1 and 2 handshake.
func AppendAck(dst []byte, t Type, v mqtt.Version, id uint16, code mqtt.ReasonCode) []byte {
	if code == 0 || v != mqtt.V5 {
		return append(dst, t.FirstByte(), 2, byte(id>>8), byte(id))
	}
	return append(dst, t.FirstByte(), 3, byte(id>>8), byte(id), byte(code))
}
