package mqtt

// Message is an application message in its friendly form, for the client library and tools; the broker works on encoded bytes.
// A Message owns its memory.
type Message struct {
	Topic    string
	Payload  []byte
	QoS      QoS
	Retain   bool
	Dup      bool // set on a received redelivery; ignored when publishing, where the library knows
	PacketID uint16
	// Properties is nil when there are none, as always on 3.x connections.
	Properties *Properties
}
