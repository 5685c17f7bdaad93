package packet

import "github.com/midgemq/midge/mqtt"

// Disconnect ends a connection; before 5.0 only the client sends it, and it has no content.
type Disconnect struct {
	Code  mqtt.ReasonCode
	Props Props
}

// Decode reads the body of a DISCONNECT. 5.0 has two short forms: without properties, and empty, which means a normal end
// [U5-3.14.2-1]. Which properties each side may send is for CheckRole to say.
func (p *Disconnect) Decode(v mqtt.Version, first byte, body []byte) error {
	*p = Disconnect{}
	if e := checkFlags(v, first, DISCONNECT); e != nil {
		return e
	}
	if len(body) == 0 {
		return nil
	}
	if v != mqtt.V5 {
		return faultNotEmpty.in(DISCONNECT)
	}
	p.Code = mqtt.ReasonCode(body[0])
	if len(body) == 1 {
		return nil
	}
	var rest []byte
	var e *Error
	p.Props, _, rest, e = readProps(body[1:], DISCONNECT)
	return result(finish(rest, DISCONNECT, e))
}

// Kind is DISCONNECT.
func (p *Disconnect) Kind() Type { return DISCONNECT }

func (p *Disconnect) remaining(v mqtt.Version) int {
	switch {
	case v != mqtt.V5 || p.Code == 0 && len(p.Props) == 0:
		return 0
	case len(p.Props) == 0:
		return 1
	}
	return 1 + propsSize(p.Props)
}

// Size is the number of bytes Append writes.
func (p *Disconnect) Size(v mqtt.Version) int { return frameSize(p.remaining(v)) }

// Append writes the packet in its shortest form. Below 5.0 reason code and properties are left out.
func (p *Disconnect) Append(dst []byte, v mqtt.Version) []byte {
	n := p.remaining(v)
	dst = appendHeader(dst, DISCONNECT.FirstByte(), n)
	if n > 0 {
		dst = append(dst, byte(p.Code))
	}
	if n > 1 {
		dst = appendProps(dst, p.Props)
	}
	return dst
}
