package packet

import "github.com/midgemq/midge/mqtt"

// Suback answers SUBSCRIBE with one code per filter, in the order asked [MQTT-3.8.4-6].
type Suback struct {
	PacketID uint16
	Props    Props
	Codes    []byte // granted QoS, or 0x80 and above for a refusal; 3.1 knows no refusal [U31-07]
}

// Decode reads the body of a SUBACK. Whether each code exists is for CodeAllowed and CodeAllowedV3 to say; 3.1 may come without any.
func (p *Suback) Decode(v mqtt.Version, first byte, body []byte) error {
	*p = Suback{}
	e := checkFlags(v, first, SUBACK)
	if e != nil {
		return e
	}
	var rest []byte
	if p.PacketID, rest, e = packetID(body, SUBACK); e != nil {
		return e
	}
	if v == mqtt.V5 {
		if p.Props, _, rest, e = readProps(rest, SUBACK); e != nil {
			return e
		}
	}
	if len(rest) == 0 && v != mqtt.V31 {
		return faultNoCodes.in(SUBACK)
	}
	p.Codes = rest[:len(rest):len(rest)]
	return nil
}

// Kind is SUBACK.
func (p *Suback) Kind() Type { return SUBACK }

func (p *Suback) remaining(v mqtt.Version) int {
	n := 2 + len(p.Codes)
	if v == mqtt.V5 {
		n += propsSize(p.Props)
	}
	return n
}

// Size is the number of bytes Append writes.
func (p *Suback) Size(v mqtt.Version) int { return frameSize(p.remaining(v)) }

// Append writes the packet. Below 5.0 the properties are left out; the caller gives codes that the version knows.
func (p *Suback) Append(dst []byte, v mqtt.Version) []byte {
	dst = appendUint16(appendHeader(dst, SUBACK.FirstByte(), p.remaining(v)), p.PacketID)
	if v == mqtt.V5 {
		dst = appendProps(dst, p.Props)
	}
	return append(dst, p.Codes...)
}
