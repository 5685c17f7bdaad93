package mqtt

// Every limit that stands between bytes from the network and memory or time, with what it protects from. Sizes are bytes.
const (
	// MaxVarint is the largest Variable Byte Integer (four bytes); a longer one would let a length overflow or a decoder loop
	// without end [MQTT-1.5.5-1].
	MaxVarint = 268435455

	// MaxVarintBytes is the length of the longest Variable Byte Integer; the fourth byte with its top bit set is refused at once,
	// so a peer cannot make the decoder wait for more (CVE-2023-0809 in another broker).
	MaxVarintBytes = 4

	// MaxFixedHeader is the longest fixed header, one byte and the Remaining Length; a reader that holds this many bytes can
	// always tell the size of the frame, so no larger buffer is ever needed before the size is judged.
	MaxFixedHeader = 1 + MaxVarintBytes

	// MaxPacket is the largest packet that can be written at all; it bounds every size calculation below 2^31, so int is safe on
	// every platform.
	MaxPacket = MaxFixedHeader + MaxVarint

	// MaxString is the largest string or binary field, its length being two bytes; an encoder that got more would write a length
	// that lies and split the stream at the wrong place.
	MaxString = 65535

	// MaxTopicSlashes is the number of '/' a topic name or filter may have; thousands of levels cost memory and time in every
	// filter tree they touch, while real topics have fewer than twenty (Mosquitto's limit, TOPIC_HIERARCHY_LIMIT).
	MaxTopicSlashes = 200

	// MaxPacketID is the largest packet identifier; with 0 excluded it bounds how many handshakes one direction of a session can
	// have open.
	MaxPacketID = 65535

	// MaxReceiveMaximum is the largest window of unacknowledged QoS 1 and 2 messages and its default in 5.0; it bounds the memory
	// one peer can make the other hold.
	MaxReceiveMaximum = 65535

	// MaxSubscriptionID is the largest Subscription Identifier; it travels as a Variable Byte Integer and a larger one could not be
	// written.
	MaxSubscriptionID = MaxVarint

	// MaxKeepAlive is the longest keep alive in seconds; larger announcements could not be written.
	MaxKeepAlive = 65535

	// MaxClientIDV31 is the longest client identifier of MQTT 3.1 in characters; longer ones are refused only in strict mode, since
	// most clients ignore the rule [U31-05].
	MaxClientIDV31 = 23

	// MaxConnectPacket is the largest CONNECT taken from an unknown peer; without it anyone could reserve 256 MiB before saying who
	// they are (Mosquitto's limit).
	MaxConnectPacket = 100000

	// MaxSubscribePacket is the largest SUBSCRIBE or UNSUBSCRIBE of 5.0; each filter costs a tree node, so the packet bounds the
	// work one request can ask for (Mosquitto's limit).
	MaxSubscribePacket = 100000

	// MaxAuthPacket is the largest AUTH; it is read before the peer is known (Mosquitto's limit).
	MaxAuthPacket = 100000

	// MaxAckPacket is the largest PUBACK, PUBREC, PUBREL, PUBCOMP or DISCONNECT of 5.0; their only bulk is a reason string and user
	// properties, which nobody needs by the megabyte (Mosquitto's limit).
	MaxAckPacket = 10000

	// NeverExpires is the Session Expiry Interval that means "no end"; treated as a number of seconds it would overflow 32-bit time
	// arithmetic [MQTT-3.1.2-23].
	NeverExpires = 0xFFFFFFFF
)
