package packet

import "strconv"

// Type is the packet type, the upper half of the first byte.
type Type byte

// The packet types by the standard's names.
const (
	CONNECT     Type = 1
	CONNACK     Type = 2
	PUBLISH     Type = 3
	PUBACK      Type = 4
	PUBREC      Type = 5
	PUBREL      Type = 6
	PUBCOMP     Type = 7
	SUBSCRIBE   Type = 8
	SUBACK      Type = 9
	UNSUBSCRIBE Type = 10
	UNSUBACK    Type = 11
	PINGREQ     Type = 12
	PINGRESP    Type = 13
	DISCONNECT  Type = 14
	AUTH        Type = 15

	// WILL is no packet but the property list of the will inside CONNECT, where a function needs to tell the two apart.
	WILL Type = 16
)

const typeCount = 17

var typeNames = [typeCount]string{
	"reserved packet", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK",
	"UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH", "will",
}

// String gives the standard's name.
func (t Type) String() string {
	if t < typeCount {
		return typeNames[t]
	}
	return "packet type " + strconv.Itoa(int(t))
}

// flags is the low half of the first byte that the standard prescribes for every type but PUBLISH [MQTT-2.1.3-1].
func (t Type) flags() byte {
	if t == PUBREL || t == SUBSCRIBE || t == UNSUBSCRIBE {
		return 2
	}
	return 0
}

// FirstByte is the first byte of a packet of this type; for PUBLISH it is that of QoS 0 (see PublishFirst).
func (t Type) FirstByte() byte { return byte(t)<<4 | t.flags() }
