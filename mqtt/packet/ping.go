package packet

import "github.com/midgemq/midge/mqtt"

// Pingreq asks whether the server is there. It has no content.
type Pingreq struct{}

// Pingresp answers Pingreq. It has no content.
type Pingresp struct{}

// Decode accepts an empty body only.
func (p *Pingreq) Decode(v mqtt.Version, first byte, body []byte) error {
	return result(checkEmpty(v, first, body, PINGREQ))
}

// Decode accepts an empty body only.
func (p *Pingresp) Decode(v mqtt.Version, first byte, body []byte) error {
	return result(checkEmpty(v, first, body, PINGRESP))
}

func checkEmpty(v mqtt.Version, first byte, body []byte, t Type) *Error {
	if e := checkFlags(v, first, t); e != nil {
		return e
	}
	if len(body) != 0 {
		return faultNotEmpty.in(t)
	}
	return nil
}

// Kind is PINGREQ.
func (p *Pingreq) Kind() Type { return PINGREQ }

// Kind is PINGRESP.
func (p *Pingresp) Kind() Type { return PINGRESP }

// Size is 2.
func (p *Pingreq) Size(mqtt.Version) int { return 2 }

// Size is 2.
func (p *Pingresp) Size(mqtt.Version) int { return 2 }

// Append writes the packet, the same in every version.
func (p *Pingreq) Append(dst []byte, _ mqtt.Version) []byte {
	return append(dst, PINGREQ.FirstByte(), 0)
}

// Append writes the packet, the same in every version.
func (p *Pingresp) Append(dst []byte, _ mqtt.Version) []byte {
	return append(dst, PINGRESP.FirstByte(), 0)
}
