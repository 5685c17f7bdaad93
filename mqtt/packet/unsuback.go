package packet

import "github.com/midgemq/midge/mqtt"

// Unsuback answers UNSUBSCRIBE; 5.0 has one code per filter, in the order asked, 3.x has none (E140).
type Unsuback struct {
	PacketID uint16
	Props    Props
	Codes    []byte
}

// Decode reads the body of an UNSUBACK.
func (p *Unsuback) Decode(v mqtt.Version, first byte, body []byte) error {
	*p = Unsuback{}
	e := checkFlags(v, first, UNSUBACK)
	if e != nil {
		return e
	}
	var rest []byte
	if p.PacketID, rest, e = packetID(body, UNSUBACK); e != nil {
		return e
	}
	if v != mqtt.V5 {
		if len(rest) != 0 {
			return faultAckLength.in(UNSUBACK)
		}
		return nil
	}
	if p.Props, _, rest, e = readProps(rest, UNSUBACK); e != nil {
		return e
	}
	if len(rest) == 0 {
		return faultNoCodes.in(UNSUBACK)
	}
	p.Codes = rest[:len(rest):len(rest)]
	return nil
}

// Kind is UNSUBACK.
func (p *Unsuback) Kind() Type { return UNSUBACK }

func (p *Unsuback) remaining(v mqtt.Version) int {
	if v != mqtt.V5 {
		return 2
	}
	return 2 + propsSize(p.Props) + len(p.Codes)
}

// Size is the number of bytes Append writes.
func (p *Unsuback) Size(v mqtt.Version) int { return frameSize(p.remaining(v)) }

// Append writes the packet. Below 5.0 properties and codes are left out.
func (p *Unsuback) Append(dst []byte, v mqtt.Version) []byte {
	dst = appendUint16(appendHeader(dst, UNSUBACK.FirstByte(), p.remaining(v)), p.PacketID)
	if v != mqtt.V5 {
		return dst
	}
	return append(appendProps(dst, p.Props), p.Codes...)
}
