package packet

import "github.com/midgemq/midge/mqtt"

// Packet is what all packet structs have in common.
type Packet interface {
	Kind() Type
	Size(v mqtt.Version) int
	Append(dst []byte, v mqtt.Version) []byte
}

// Decode reads the body of any packet into a new struct, which points into the body. It allocates that struct; the broker's loops
// decode into structs of their own instead. For CONNECT v is ignored.
func Decode(v mqtt.Version, first byte, body []byte) (Packet, error) {
	if Type(first>>4) == CONNECT {
		p := new(Connect)
		return p, p.Decode(first, body)
	}
	p := newPacket(Type(first >> 4))
	if p == nil {
		return nil, faultReservedType.in(0)
	}
	return p, p.Decode(v, first, body)
}

type decoder interface {
	Packet
	Decode(v mqtt.Version, first byte, body []byte) error
}

func newPacket(t Type) decoder {
	switch t {
	case CONNACK:
		return new(Connack)
	case PUBLISH:
		return new(Publish)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return new(Ack)
	case SUBSCRIBE:
		return new(Subscribe)
	case SUBACK:
		return new(Suback)
	case UNSUBSCRIBE:
		return new(Unsubscribe)
	case UNSUBACK:
		return new(Unsuback)
	case PINGREQ:
		return new(Pingreq)
	case PINGRESP:
		return new(Pingresp)
	case DISCONNECT:
		return new(Disconnect)
	case AUTH:
		return new(Auth)
	default: // CONNECT has a Decode of its own
		return nil
	}
}

// CheckFrame judges a fixed header before its body is waited for, so that a hostile length reserves no memory: whether the type
// exists in this version, its flags, and whether the Remaining Length can be right for it. v is 0 before CONNECT. The error is an
// *Error; PacketTooLarge means that the type's own limit is exceeded (see package mqtt's limits), the configured maximum packet
// size is the caller's affair.
func CheckFrame(v mqtt.Version, first byte, remaining int) error {
	t := Type(first >> 4)
	if t == 0 {
		return faultReservedType.in(0)
	}
	if t == AUTH && v != 0 && v != mqtt.V5 {
		return faultTypeVersion.in(t)
	}
	if t == PUBLISH {
		return result(checkPublishFrame(v, first, remaining))
	}
	if t != CONNECT { // whose version decides, and is not known yet
		if e := checkFlags(v, first, t); e != nil {
			return e
		}
	}
	low, high, wrong := frameRange(v, t)
	size := frameSize(remaining)
	switch {
	case remaining < low:
		return faultShort.in(t)
	case size > high:
		return wrong.in(t)
	}
	return nil
}

func checkPublishFrame(v mqtt.Version, first byte, remaining int) *Error {
	low := 2
	switch {
	case first&6 == 6:
		return faultQoS.in(PUBLISH)
	case first&6 == 0 && first&8 != 0:
		return faultDup.in(PUBLISH)
	case first&6 != 0:
		low += 2
	}
	if v == mqtt.V5 {
		low++
	}
	if remaining < low {
		return faultShort.in(PUBLISH)
	}
	return nil
}

// frameRange is the least Remaining Length and the largest packet size of a type, with the fault of exceeding it.
func frameRange(v mqtt.Version, t Type) (low, high int, wrong fault) {
	switch t {
	case CONNECT:
		return 2 + len(nameMQTT) + 1, mqtt.MaxConnectPacket, faultTooLarge
	case PINGREQ, PINGRESP:
		return 0, 2, faultNotEmpty
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		if v == mqtt.V5 {
			return 2, mqtt.MaxAckPacket, faultTooLarge
		}
		return 2, 4, faultAckLength
	case UNSUBACK, CONNACK:
		if v == mqtt.V5 {
			return 2, mqtt.MaxPacket, faultTooLarge
		}
		return 2, 4, faultAckLength
	case DISCONNECT:
		if v == mqtt.V5 {
			return 0, mqtt.MaxAckPacket, faultTooLarge
		}
		return 0, 2, faultNotEmpty
	case SUBSCRIBE, UNSUBSCRIBE:
		if v == mqtt.V5 {
			return 3, mqtt.MaxSubscribePacket, faultTooLarge
		}
		return 2, mqtt.MaxPacket, faultTooLarge
	case AUTH:
		return 0, mqtt.MaxAuthPacket, faultTooLarge
	default: // SUBACK
		return 2, mqtt.MaxPacket, faultTooLarge
	}
}
