package mqtt

// UserProperty is one name and value pair; names may repeat and the order is kept [MQTT-3.3.2-18].
type UserProperty struct{ Key, Value string }

// Properties is the friendly form of a 5.0 property list: all 27 properties of every packet and of the will in one struct.
//
// A nil pointer, nil slice or empty string means "absent". Numbers that are no pointers are those whose zero is illegal on the wire
// or means the same as absence (so an explicit zero is not kept). Which fields a packet may carry, and their ranges, is judged by
// packet.CheckProperties. Intervals are seconds, sizes bytes.
type Properties struct {
	PayloadFormat   *byte   // 0 bytes, 1 UTF-8 text
	MessageExpiry   *uint32 // lifetime of the message
	ContentType     string
	ResponseTopic   string
	CorrelationData []byte   // nil: absent; empty: present and empty
	SubscriptionIDs []uint32 // one in SUBSCRIBE, any number in a PUBLISH from the server

	SessionExpiry       *uint32 // NeverExpires: no end
	AssignedClientID    string
	ServerKeepAlive     *uint16
	AuthMethod          string
	AuthData            []byte // nil: absent; empty: present and empty
	RequestProblemInfo  *bool  // absent: true
	WillDelay           uint32
	RequestResponseInfo bool
	ResponseInfo        string
	ServerReference     string
	ReasonString        string
	ReceiveMaximum      uint16 // absent: 65535
	TopicAliasMaximum   uint16
	TopicAlias          uint16
	MaximumQoS          *byte // 0 or 1; absent: 2
	RetainAvailable     *bool // absent: true, as the three below
	MaximumPacketSize   uint32

	WildcardAvailable       *bool
	SubscriptionIDAvailable *bool
	SharedAvailable         *bool

	User []UserProperty
}

// UserValue returns the value of the first user property of that name.
func (p *Properties) UserValue(key string) (value string, ok bool) {
	if p == nil {
		return "", false
	}
	for i := range p.User {
		if p.User[i].Key == key {
			return p.User[i].Value, true
		}
	}
	return "", false
}
