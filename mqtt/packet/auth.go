package packet

import "github.com/midgemq/midge/mqtt"

// Auth carries one step of an authentication exchange of 5.0.
type Auth struct {
	Code  mqtt.ReasonCode
	Props Props
}

// Decode reads the body of an AUTH. The text describes an empty form, which can never be valid, as the Authentication Method is
// mandatory [U5-3.15.2.2.2-1]; it is refused as a Protocol Error (E180).
func (p *Auth) Decode(v mqtt.Version, first byte, body []byte) error {
	*p = Auth{}
	if v != mqtt.V5 {
		return faultTypeVersion.in(AUTH)
	}
	if e := checkFlags(v, first, AUTH); e != nil {
		return e
	}
	if len(body) < 2 {
		return faultAuthMethod.in(AUTH)
	}
	p.Code = mqtt.ReasonCode(body[0])
	var rest []byte
	var set PropSet
	var e *Error
	if p.Props, set, rest, e = readProps(body[1:], AUTH); e == nil && !set.Has(PropAuthMethod) {
		e = faultAuthMethod.in(AUTH)
	}
	return result(finish(rest, AUTH, e))
}

// Kind is AUTH.
func (p *Auth) Kind() Type { return AUTH }

// Size is the number of bytes Append writes.
func (p *Auth) Size(mqtt.Version) int { return frameSize(1 + propsSize(p.Props)) }

// Append writes the packet, always in its long form. It exists in 5.0 only, so v changes nothing.
func (p *Auth) Append(dst []byte, _ mqtt.Version) []byte {
	dst = appendHeader(dst, AUTH.FirstByte(), 1+propsSize(p.Props))
	return appendProps(append(dst, byte(p.Code)), p.Props)
}
