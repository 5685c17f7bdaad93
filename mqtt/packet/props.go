package packet

import (
	"encoding/binary"
	"errors"

	"github.com/midgemq/midge/mqtt"
)

// Props is an encoded property list without its length in front, already judged by the decoder that returned it. It points into the
// decoded body. The methods scan it and never allocate, Parse excepted; on bytes that were not judged they stop early but never
// read outside.
type Props []byte

// PropID is a property identifier.
type PropID byte

// The property identifiers of 5.0, section 2.2.2.2.
const (
	PropPayloadFormat                 PropID = 0x01
	PropMessageExpiry                 PropID = 0x02
	PropContentType                   PropID = 0x03
	PropResponseTopic                 PropID = 0x08
	PropCorrelationData               PropID = 0x09
	PropSubscriptionID                PropID = 0x0B
	PropSessionExpiry                 PropID = 0x11
	PropAssignedClientID              PropID = 0x12
	PropServerKeepAlive               PropID = 0x13
	PropAuthMethod                    PropID = 0x15
	PropAuthData                      PropID = 0x16
	PropRequestProblemInfo            PropID = 0x17
	PropWillDelay                     PropID = 0x18
	PropRequestResponseInfo           PropID = 0x19
	PropResponseInfo                  PropID = 0x1A
	PropServerReference               PropID = 0x1C
	PropReasonString                  PropID = 0x1F
	PropReceiveMaximum                PropID = 0x21
	PropTopicAliasMaximum             PropID = 0x22
	PropTopicAlias                    PropID = 0x23
	PropMaximumQoS                    PropID = 0x24
	PropRetainAvailable               PropID = 0x25
	PropUser                          PropID = 0x26
	PropMaximumPacketSize             PropID = 0x27
	PropWildcardSubscriptionAvailable PropID = 0x28
	PropSubscriptionIDAvailable       PropID = 0x29
	PropSharedSubscriptionAvailable   PropID = 0x2A
)

const (
	propCount = 27
	propIDEnd = 0x2B // first identifier behind the table
)

// kind is how a value is written.
type kind uint8

const (
	kindNone kind = iota
	kindByte
	kindUint16
	kindUint32
	kindVarint
	kindText
	kindBinary
	kindPair
)

// rule is what a value must be beyond its kind.
type rule uint8

const (
	ruleAny     rule = iota
	ruleBool         // 0 or 1
	ruleNonZero      // not 0
	ruleAlias        // not 0, with a reason code of its own
	ruleTopic        // a topic name
)

type propInfo struct {
	kind   kind
	rule   rule
	dense  uint8  // number among the 27
	many   uint32 // bit per Type in which it may repeat
	packet uint32 // bit per Type in which it may stand
	name   string
}

const (
	inMessage = 1<<PUBLISH | 1<<WILL
	inAcks    = 1<<PUBACK | 1<<PUBREC | 1<<PUBREL | 1<<PUBCOMP | 1<<SUBACK | 1<<UNSUBACK
	inAll     = inMessage | inAcks | 1<<CONNECT | 1<<CONNACK | 1<<SUBSCRIBE | 1<<UNSUBSCRIBE | 1<<DISCONNECT | 1<<AUTH
)

var propTable = [propIDEnd]propInfo{
	PropPayloadFormat:       {kindByte, ruleBool, 0, 0, inMessage, "Payload Format Indicator"},
	PropMessageExpiry:       {kindUint32, ruleAny, 1, 0, inMessage, "Message Expiry Interval"},
	PropContentType:         {kindText, ruleAny, 2, 0, inMessage, "Content Type"},
	PropResponseTopic:       {kindText, ruleTopic, 3, 0, inMessage, "Response Topic"},
	PropCorrelationData:     {kindBinary, ruleAny, 4, 0, inMessage, "Correlation Data"},
	PropSubscriptionID:      {kindVarint, ruleNonZero, 5, 1 << PUBLISH, 1<<PUBLISH | 1<<SUBSCRIBE, "Subscription Identifier"},
	PropSessionExpiry:       {kindUint32, ruleAny, 6, 0, 1<<CONNECT | 1<<CONNACK | 1<<DISCONNECT, "Session Expiry Interval"},
	PropAssignedClientID:    {kindText, ruleAny, 7, 0, 1 << CONNACK, "Assigned Client Identifier"},
	PropServerKeepAlive:     {kindUint16, ruleAny, 8, 0, 1 << CONNACK, "Server Keep Alive"},
	PropAuthMethod:          {kindText, ruleAny, 9, 0, 1<<CONNECT | 1<<CONNACK | 1<<AUTH, "Authentication Method"},
	PropAuthData:            {kindBinary, ruleAny, 10, 0, 1<<CONNECT | 1<<CONNACK | 1<<AUTH, "Authentication Data"},
	PropRequestProblemInfo:  {kindByte, ruleBool, 11, 0, 1 << CONNECT, "Request Problem Information"},
	PropWillDelay:           {kindUint32, ruleAny, 12, 0, 1 << WILL, "Will Delay Interval"},
	PropRequestResponseInfo: {kindByte, ruleBool, 13, 0, 1 << CONNECT, "Request Response Information"},
	PropResponseInfo:        {kindText, ruleAny, 14, 0, 1 << CONNACK, "Response Information"},
	PropServerReference:     {kindText, ruleAny, 15, 0, 1<<CONNACK | 1<<DISCONNECT, "Server Reference"},
	PropReasonString:        {kindText, ruleAny, 16, 0, inAcks | 1<<CONNACK | 1<<DISCONNECT | 1<<AUTH, "Reason String"},
	PropReceiveMaximum:      {kindUint16, ruleNonZero, 17, 0, 1<<CONNECT | 1<<CONNACK, "Receive Maximum"},
	PropTopicAliasMaximum:   {kindUint16, ruleAny, 18, 0, 1<<CONNECT | 1<<CONNACK, "Topic Alias Maximum"},
	PropTopicAlias:          {kindUint16, ruleAlias, 19, 0, 1 << PUBLISH, "Topic Alias"},
	PropMaximumQoS:          {kindByte, ruleBool, 20, 0, 1 << CONNACK, "Maximum QoS"},
	PropRetainAvailable:     {kindByte, ruleBool, 21, 0, 1 << CONNACK, "Retain Available"},
	PropUser:                {kindPair, ruleAny, 22, inAll, inAll, "User Property"},
	PropMaximumPacketSize:   {kindUint32, ruleNonZero, 23, 0, 1<<CONNECT | 1<<CONNACK, "Maximum Packet Size"},

	PropWildcardSubscriptionAvailable: {kindByte, ruleBool, 24, 0, 1 << CONNACK, "Wildcard Subscription Available"},
	PropSubscriptionIDAvailable:       {kindByte, ruleBool, 25, 0, 1 << CONNACK, "Subscription Identifier Available"},
	PropSharedSubscriptionAvailable:   {kindByte, ruleBool, 26, 0, 1 << CONNACK, "Shared Subscription Available"},
}

// String gives the standard's name.
func (id PropID) String() string {
	if id < propIDEnd && propTable[id].kind != kindNone {
		return propTable[id].name
	}
	const hex = "0123456789ABCDEF"
	return "0x" + string([]byte{hex[id>>4], hex[id&15]})
}

// PropAllowed reports whether a packet of this type may carry the property, whoever sends it (CheckRole tells the roles apart).
func PropAllowed(t Type, id PropID) bool {
	return id < propIDEnd && t < typeCount && propTable[id].packet>>t&1 != 0
}

// PropSet is a set of property identifiers, one bit each.
type PropSet uint64

// SetOf makes a PropSet.
func SetOf(ids ...PropID) (s PropSet) {
	for _, id := range ids {
		s |= 1 << id
	}
	return s
}

// Has reports whether the set has the identifier.
func (s PropSet) Has(id PropID) bool { return id < propIDEnd && s>>id&1 != 0 }

// Next takes the first property off the list: a number in num, text and binary data in val, a user property's name in val and value
// in val2. id is 0 at the end.
//
//	for id, num, val, val2, rest := p.Next(); id != 0; id, num, val, val2, rest = rest.Next() { … }
func (p Props) Next() (id PropID, num uint32, val, val2 []byte, rest Props) {
	if len(p) < 2 || p[0] >= propIDEnd {
		return 0, 0, nil, nil, nil
	}
	id, b := PropID(p[0]), p[1:]
	switch propTable[id].kind {
	case kindByte:
		return id, uint32(b[0]), nil, nil, b[1:]
	case kindUint16:
		if len(b) >= 2 {
			return id, uint32(binary.BigEndian.Uint16(b)), nil, nil, b[2:]
		}
	case kindUint32:
		if len(b) >= 4 {
			return id, binary.BigEndian.Uint32(b), nil, nil, b[4:]
		}
	case kindVarint:
		if v, n, ok := ReadVarint(b, false); ok {
			return id, v, nil, nil, b[n:]
		}
	case kindText, kindBinary:
		if s, rest, ok := field(b); ok {
			return id, 0, s, nil, rest
		}
	case kindPair:
		if s, rest, ok := field(b); ok {
			if s2, rest, ok := field(rest); ok {
				return id, 0, s, s2, rest
			}
		}
	case kindNone:
	}
	return 0, 0, nil, nil, nil
}

// Uint returns the first property of that identifier that is a number: byte, two byte, four byte or variable byte integer.
func (p Props) Uint(id PropID) (v uint32, ok bool) {
	if p = p.find(id); p == nil {
		return 0, false
	}
	_, v, _, _, _ = p.Next()
	return v, true
}

// Bytes returns the first property of that identifier that is text or binary data; for PropUser the first name.
func (p Props) Bytes(id PropID) (v []byte, ok bool) {
	if p = p.find(id); p == nil {
		return nil, false
	}
	_, _, v, _, _ = p.Next()
	return v, true
}

// Has reports whether the list has the property.
func (p Props) Has(id PropID) bool {
	return p.find(id) != nil
}

// find is the list from the first property of that identifier on, nil if there is none.
func (p Props) find(id PropID) Props {
	for len(p) > 0 {
		n := p.first()
		if n == 0 {
			return nil
		}
		if PropID(p[0]) == id {
			return p
		}
		p = p[n:]
	}
	return nil
}

// first is the size of the first property with its identifier, 0 at the end of the list or when it is cut short.
func (p Props) first() int {
	if len(p) < 2 || p[0] >= propIDEnd {
		return 0
	}
	n := 0
	switch propTable[p[0]].kind {
	case kindByte:
		return 2
	case kindUint16:
		n = 3
	case kindUint32:
		n = 5
	case kindVarint:
		if _, size, ok := ReadVarint(p[1:], false); ok {
			return 1 + size
		}
	case kindText, kindBinary:
		if len(p) >= 3 {
			n = 3 + int(p[1])<<8 + int(p[2])
		}
	case kindPair:
		if len(p) >= 3 {
			if n = 3 + int(p[1])<<8 + int(p[2]); len(p) >= n+2 {
				n += 2 + int(p[n])<<8 + int(p[n+1])
			} else {
				n = 0
			}
		}
	case kindNone:
		return 0
	}
	if n > len(p) {
		return 0
	}
	return n
}

// Set is the set of identifiers in the list.
func (p Props) Set() (s PropSet) {
	for n := p.first(); n != 0; n = p.first() {
		s |= 1 << p[0]
		p = p[n:]
	}
	return s
}

// readProps takes a property list with its length off the body and judges it.
func readProps(b []byte, t Type) (p Props, set PropSet, rest []byte, e *Error) {
	if len(b) > 0 && b[0] == 0 { // most packets
		return nil, 0, b[1:], nil
	}
	size, n, ok := ReadVarint(b, true)
	if !ok || len(b)-n < int(size) {
		return nil, 0, nil, faultPropsLength.in(t)
	}
	end := n + int(size)
	p = Props(b[n:end:end])
	set, e = checkProps(p, t)
	if e != nil {
		return nil, 0, nil, e
	}
	return p, set, b[end:], nil
}

// checkProps judges a list in one pass: identifiers, kinds, lengths, ranges and repeats.
func checkProps(p Props, t Type) (set PropSet, e *Error) {
	for len(p) > 0 {
		if p[0] >= propIDEnd || propTable[p[0]].kind == kindNone {
			return 0, faultPropUnknown.in(t)
		}
		info := &propTable[p[0]]
		if info.packet>>t&1 == 0 {
			return 0, propNotAllowed.of(PropID(p[0]), t)
		}
		id, num, val, val2, rest := p.Next()
		if id == 0 {
			return 0, propShort.of(PropID(p[0]), t)
		}
		if set>>id&1 != 0 && info.many>>t&1 == 0 {
			return 0, propTwice.of(id, t)
		}
		set |= 1 << id
		switch info.kind {
		case kindText, kindPair:
			if !mqtt.ValidUTF8(val) || info.kind == kindPair && !mqtt.ValidUTF8(val2) {
				return 0, propText.of(id, t)
			}
		case kindVarint: // Next reads any form; here only the shortest passes
			if len(p)-len(rest) != 1+VarintSize(num) {
				return 0, propShort.of(id, t)
			}
		default: // nothing beyond their length
		}
		if info.rule != ruleAny {
			if e := checkRule(info.rule, id, t, num, val); e != nil {
				return 0, e
			}
		}
		p = rest
	}
	return set, nil
}

func checkRule(r rule, id PropID, t Type, num uint32, val []byte) *Error {
	switch {
	case r == ruleBool && num > 1, r == ruleNonZero && num == 0:
		return propRange.of(id, t)
	case r == ruleAlias && num == 0:
		return propAliasZero.of(id, t)
	case r == ruleTopic:
		if err := mqtt.CheckTopicNameBytes(val); errors.Is(err, mqtt.ErrTopicLevels) {
			return propLevels.of(id, t)
		} else if err != nil {
			return propTopic.of(id, t)
		}
	}
	return nil
}
