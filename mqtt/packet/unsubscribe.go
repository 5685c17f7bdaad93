package packet

import "github.com/midgemq/midge/mqtt"

// Unsubscribe gives subscriptions up.
type Unsubscribe struct {
	PacketID uint16
	Props    Props
	payload  []byte
	count    int
}

// Decode reads the body of an UNSUBSCRIBE; what it judges about filters is said at Subscribe.Decode.
func (p *Unsubscribe) Decode(v mqtt.Version, first byte, body []byte) error {
	*p = Unsubscribe{}
	e := checkFlags(v, first, UNSUBSCRIBE)
	if e != nil {
		return e
	}
	var rest []byte
	if p.PacketID, rest, e = packetID(body, UNSUBSCRIBE); e != nil {
		return e
	}
	if v == mqtt.V5 {
		if p.Props, _, rest, e = readProps(rest, UNSUBSCRIBE); e != nil {
			return e
		}
	}
	p.payload = rest[:len(rest):len(rest)]
	p.count, e = checkFilters(v, rest, UNSUBSCRIBE)
	return result(e)
}

// Filters walks over the filters in their order.
func (p *Unsubscribe) Filters() Filters { return Filters{rest: p.payload} }

// Len is the number of filters.
func (p *Unsubscribe) Len() int { return p.count }

// AddFilter adds a filter while a packet is being built.
func (p *Unsubscribe) AddFilter(filter string) {
	p.payload = AppendUnsubscribeFilter(p.payload, filter)
	p.count++
}

// AppendUnsubscribeFilter writes a filter as it stands in the payload of UNSUBSCRIBE.
func AppendUnsubscribeFilter(dst []byte, filter string) []byte { return appendField(dst, filter) }

// Kind is UNSUBSCRIBE.
func (p *Unsubscribe) Kind() Type { return UNSUBSCRIBE }

func (p *Unsubscribe) remaining(v mqtt.Version) int {
	n := 2 + len(p.payload)
	if v == mqtt.V5 {
		n += propsSize(p.Props)
	}
	return n
}

// Size is the number of bytes Append writes.
func (p *Unsubscribe) Size(v mqtt.Version) int { return frameSize(p.remaining(v)) }

// Append writes the packet. Below 5.0 the properties are left out.
func (p *Unsubscribe) Append(dst []byte, v mqtt.Version) []byte {
	dst = appendUint16(appendHeader(dst, UNSUBSCRIBE.FirstByte(), p.remaining(v)), p.PacketID)
	if v == mqtt.V5 {
		dst = appendProps(dst, p.Props)
	}
	return append(dst, p.payload...)
}
