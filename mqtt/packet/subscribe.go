package packet

import "github.com/midgemq/midge/mqtt"

// SubOptions is the byte behind each filter of a SUBSCRIBE; before 5.0 only the QoS is in it.
type SubOptions byte

// The bits of SubOptions.
const (
	SubNoLocal           SubOptions = 1 << 2
	SubRetainAsPublished SubOptions = 1 << 3

	subQoS       SubOptions = 3
	subRetain    SubOptions = 3 << 4
	subReserved  SubOptions = 3 << 6
	subReserved3 SubOptions = 0xfc // before 5.0
)

// MakeSubOptions puts the options together; retainHandling is 0 send, 1 send if the subscription is new, 2 do not send.
func MakeSubOptions(q mqtt.QoS, noLocal, retainAsPublished bool, retainHandling byte) SubOptions {
	o := SubOptions(q)&subQoS | SubOptions(retainHandling<<4)&subRetain
	if noLocal {
		o |= SubNoLocal
	}
	if retainAsPublished {
		o |= SubRetainAsPublished
	}
	return o
}

// QoS is the maximum QoS of deliveries.
func (o SubOptions) QoS() mqtt.QoS { return mqtt.QoS(o & subQoS) }

// NoLocal reports whether the client's own messages are not to be sent back to it.
func (o SubOptions) NoLocal() bool { return o&SubNoLocal != 0 }

// RetainAsPublished reports whether RETAIN is to be forwarded as the publisher set it.
func (o SubOptions) RetainAsPublished() bool { return o&SubRetainAsPublished != 0 }

// RetainHandling is 0 send retained messages, 1 send them if the subscription is new, 2 do not send them.
func (o SubOptions) RetainHandling() byte { return byte(o&subRetain) >> 4 }

// SubFilter is one filter of a SUBSCRIBE or UNSUBSCRIBE; Options is 0 in the latter.
type SubFilter struct {
	Filter  []byte
	Options SubOptions
}

// Filters walks over the filters of a SUBSCRIBE or UNSUBSCRIBE without allocating.
//
//	for it := s.Filters(); it.Next(&f); { … }
type Filters struct {
	rest    []byte
	options bool
}

// Next puts the next filter into f and reports whether there was one.
func (it *Filters) Next(f *SubFilter) bool {
	s, rest, ok := field(it.rest)
	if !ok {
		return false
	}
	f.Filter, f.Options = s, 0
	if it.options {
		if len(rest) == 0 {
			return false
		}
		f.Options, rest = SubOptions(rest[0]), rest[1:]
	}
	it.rest = rest
	return true
}

// Subscribe asks for subscriptions.
type Subscribe struct {
	PacketID uint16
	Props    Props
	payload  []byte
	count    int
}

// Decode reads the body of a SUBSCRIBE. Filters are judged as text and must not be empty; whether their wildcards and a shared
// group make sense is the session's affair (mqtt.CheckFilterBytes, mqtt.ParseShared), which may refuse one of them and grant
// another. 3.1 may come without any filter [U31-25].
func (p *Subscribe) Decode(v mqtt.Version, first byte, body []byte) error {
	*p = Subscribe{}
	e := checkFlags(v, first, SUBSCRIBE)
	if e != nil {
		return e
	}
	var rest []byte
	if p.PacketID, rest, e = packetID(body, SUBSCRIBE); e != nil {
		return e
	}
	if v == mqtt.V5 {
		if p.Props, _, rest, e = readProps(rest, SUBSCRIBE); e != nil {
			return e
		}
	}
	p.payload = rest[:len(rest):len(rest)]
	p.count, e = checkFilters(v, rest, SUBSCRIBE)
	return result(e)
}

// checkFilters judges the payload of SUBSCRIBE or UNSUBSCRIBE and counts its filters.
func checkFilters(v mqtt.Version, b []byte, t Type) (count int, e *Error) {
	for len(b) > 0 {
		var s []byte
		if s, b, e = text(b, t); e != nil {
			return 0, e
		}
		if len(s) == 0 {
			return 0, faultFilterEmpty.in(t)
		}
		if t == SUBSCRIBE {
			if len(b) == 0 {
				return 0, faultShort.in(t)
			}
			if e = checkOptions(v, SubOptions(b[0])); e != nil {
				return 0, e
			}
			b = b[1:]
		}
		count++
	}
	if count == 0 && v != mqtt.V31 {
		return 0, faultNoFilters.in(t)
	}
	return count, nil
}

func checkOptions(v mqtt.Version, o SubOptions) *Error {
	reserved := subReserved3
	if v == mqtt.V5 {
		reserved = subReserved
	}
	switch {
	case o&reserved != 0:
		return faultOptions.in(SUBSCRIBE)
	case o&subQoS == subQoS:
		return faultOptionsQoS.in(SUBSCRIBE)
	case o&subRetain == subRetain:
		return faultRetainHandling.in(SUBSCRIBE)
	}
	return nil
}

// Filters walks over the filters in their order.
func (p *Subscribe) Filters() Filters { return Filters{rest: p.payload, options: true} }

// Len is the number of filters.
func (p *Subscribe) Len() int { return p.count }

// AddFilter adds a filter while a packet is being built.
func (p *Subscribe) AddFilter(filter string, o SubOptions) {
	p.payload = AppendFilter(p.payload, filter, o)
	p.count++
}

// AppendFilter writes a filter with its options as they stand in the payload of SUBSCRIBE.
func AppendFilter(dst []byte, filter string, o SubOptions) []byte {
	return append(appendField(dst, filter), byte(o))
}

// Kind is SUBSCRIBE.
func (p *Subscribe) Kind() Type { return SUBSCRIBE }

func (p *Subscribe) remaining(v mqtt.Version) int {
	n := 2 + len(p.payload)
	if v == mqtt.V5 {
		n += propsSize(p.Props)
	}
	return n
}

// Size is the number of bytes Append writes.
func (p *Subscribe) Size(v mqtt.Version) int { return frameSize(p.remaining(v)) }

// Append writes the packet. Below 5.0 the properties are left out; the caller sets no option but the QoS there.
func (p *Subscribe) Append(dst []byte, v mqtt.Version) []byte {
	dst = appendUint16(appendHeader(dst, SUBSCRIBE.FirstByte(), p.remaining(v)), p.PacketID)
	if v == mqtt.V5 {
		dst = appendProps(dst, p.Props)
	}
	return append(dst, p.payload...)
}
