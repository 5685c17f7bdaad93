package packet

import "github.com/midgemq/midge/mqtt"

// Connack answers CONNECT.
type Connack struct {
	SessionPresent bool // always false in 3.1, which has no such flag [U31-06]
	Code           byte // return code before 5.0 (mqtt.ConnackReasonV3 translates), reason code in 5.0
	Props          Props
}

// Decode reads the body of a CONNACK. A server that does not speak 5.0 answers it in the old form with return code 1; that is read
// as UnsupportedProtocolVersion.
func (p *Connack) Decode(v mqtt.Version, first byte, body []byte) error {
	*p = Connack{}
	if e := checkFlags(v, first, CONNACK); e != nil {
		return e
	}
	if len(body) < 2 {
		return faultShort.in(CONNACK)
	}
	if v != mqtt.V31 {
		if body[0] > 1 {
			return faultConnackFlags.in(CONNACK)
		}
		p.SessionPresent = body[0] == 1
	}
	p.Code = body[1]
	rest := body[2:]
	if v != mqtt.V5 {
		return result(finish(rest, CONNACK, nil))
	}
	if len(rest) == 0 && p.Code == mqtt.V3BadProtocolLevel {
		p.Code = byte(mqtt.UnsupportedProtocolVersion)
		return nil
	}
	var set PropSet
	var e *Error
	p.Props, set, rest, e = readProps(rest, CONNACK)
	if e == nil && set.Has(PropAuthData) && !set.Has(PropAuthMethod) {
		e = faultAuthData.in(CONNACK)
	}
	return result(finish(rest, CONNACK, e))
}

// Kind is CONNACK.
func (p *Connack) Kind() Type { return CONNACK }

func (p *Connack) remaining(v mqtt.Version) int {
	if v != mqtt.V5 {
		return 2
	}
	return 2 + propsSize(p.Props)
}

// Size is the number of bytes Append writes.
func (p *Connack) Size(v mqtt.Version) int { return frameSize(p.remaining(v)) }

// Append writes the packet. Below 5.0 the properties are left out, in 3.1 the session present flag too.
func (p *Connack) Append(dst []byte, v mqtt.Version) []byte {
	dst = appendHeader(dst, CONNACK.FirstByte(), p.remaining(v))
	var flags byte
	if p.SessionPresent && v != mqtt.V31 {
		flags = 1
	}
	dst = append(dst, flags, p.Code)
	if v == mqtt.V5 {
		dst = appendProps(dst, p.Props)
	}
	return dst
}
