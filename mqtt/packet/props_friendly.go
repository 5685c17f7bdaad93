package packet

import (
	"errors"
	"fmt"

	"github.com/midgemq/midge/mqtt"
)

// Parse copies the list into the friendly form; the copy owns its memory. An empty list is nil.
func (p Props) Parse() *mqtt.Properties {
	if len(p) == 0 {
		return nil
	}
	m := new(mqtt.Properties)
	for id, num, val, val2, rest := p.Next(); id != 0; id, num, val, val2, rest = rest.Next() {
		switch propTable[id].kind {
		case kindText:
			*textField(m, id) = string(val)
		case kindBinary:
			*binaryField(m, id) = append([]byte{}, val...)
		case kindPair:
			m.User = append(m.User, mqtt.UserProperty{Key: string(val), Value: string(val2)})
		default:
			setNumber(m, id, num)
		}
	}
	return m
}

func setNumber(m *mqtt.Properties, id PropID, n uint32) {
	switch id {
	case PropPayloadFormat:
		m.PayloadFormat = new(byte(n))
	case PropMessageExpiry:
		m.MessageExpiry = new(n)
	case PropSubscriptionID:
		m.SubscriptionIDs = append(m.SubscriptionIDs, n)
	case PropSessionExpiry:
		m.SessionExpiry = new(n)
	case PropServerKeepAlive:
		m.ServerKeepAlive = new(uint16(n))
	case PropRequestProblemInfo:
		m.RequestProblemInfo = new(n != 0)
	case PropWillDelay:
		m.WillDelay = n
	case PropRequestResponseInfo:
		m.RequestResponseInfo = n != 0
	case PropReceiveMaximum:
		m.ReceiveMaximum = uint16(n)
	case PropTopicAliasMaximum:
		m.TopicAliasMaximum = uint16(n)
	case PropTopicAlias:
		m.TopicAlias = uint16(n)
	case PropMaximumQoS:
		m.MaximumQoS = new(byte(n))
	case PropRetainAvailable:
		m.RetainAvailable = new(n != 0)
	case PropMaximumPacketSize:
		m.MaximumPacketSize = n
	case PropWildcardSubscriptionAvailable:
		m.WildcardAvailable = new(n != 0)
	case PropSubscriptionIDAvailable:
		m.SubscriptionIDAvailable = new(n != 0)
	case PropSharedSubscriptionAvailable:
		m.SharedAvailable = new(n != 0)
	default: // text, binary data and pairs: Parse
	}
}

// number is the way back from setNumber; SubscriptionIDs, which repeat, are not among them.
func number(m *mqtt.Properties, id PropID) (n uint32, ok bool) {
	switch id {
	case PropPayloadFormat:
		return deref(m.PayloadFormat)
	case PropMessageExpiry:
		return deref(m.MessageExpiry)
	case PropSessionExpiry:
		return deref(m.SessionExpiry)
	case PropServerKeepAlive:
		return deref(m.ServerKeepAlive)
	case PropMaximumQoS:
		return deref(m.MaximumQoS)
	case PropRequestProblemInfo:
		return derefBool(m.RequestProblemInfo)
	case PropRetainAvailable:
		return derefBool(m.RetainAvailable)
	case PropWildcardSubscriptionAvailable:
		return derefBool(m.WildcardAvailable)
	case PropSubscriptionIDAvailable:
		return derefBool(m.SubscriptionIDAvailable)
	case PropSharedSubscriptionAvailable:
		return derefBool(m.SharedAvailable)
	case PropRequestResponseInfo:
		return 1, m.RequestResponseInfo
	case PropWillDelay:
		return m.WillDelay, m.WillDelay != 0
	case PropReceiveMaximum:
		return uint32(m.ReceiveMaximum), m.ReceiveMaximum != 0
	case PropTopicAliasMaximum:
		return uint32(m.TopicAliasMaximum), m.TopicAliasMaximum != 0
	case PropTopicAlias:
		return uint32(m.TopicAlias), m.TopicAlias != 0
	case PropMaximumPacketSize:
		return m.MaximumPacketSize, m.MaximumPacketSize != 0
	default:
		return 0, false
	}
}

func deref[T byte | uint16 | uint32](p *T) (uint32, bool) {
	if p == nil {
		return 0, false
	}
	return uint32(*p), true
}

func derefBool(p *bool) (uint32, bool) {
	switch {
	case p == nil:
		return 0, false
	case *p:
		return 1, true
	}
	return 0, true
}

func textField(m *mqtt.Properties, id PropID) *string {
	switch id {
	case PropContentType:
		return &m.ContentType
	case PropResponseTopic:
		return &m.ResponseTopic
	case PropAssignedClientID:
		return &m.AssignedClientID
	case PropAuthMethod:
		return &m.AuthMethod
	case PropResponseInfo:
		return &m.ResponseInfo
	case PropServerReference:
		return &m.ServerReference
	default:
		return &m.ReasonString
	}
}

func binaryField(m *mqtt.Properties, id PropID) *[]byte {
	if id == PropCorrelationData {
		return &m.CorrelationData
	}
	return &m.AuthData
}

// AppendProperties encodes the friendly form without a length in front, in the order of the identifiers, user properties last. What
// a packet of type t (or WILL) may not carry is left out, so that a received message can be published again as it is; use
// CheckProperties first where leaving out would hide a mistake. nil writes nothing.
func AppendProperties(dst []byte, t Type, p *mqtt.Properties) []byte {
	if p == nil {
		return dst
	}
	for i := range propTable {
		id := PropID(i)
		if propTable[id].packet>>t&1 == 0 {
			continue
		}
		switch propTable[id].kind {
		case kindText:
			if s := *textField(p, id); s != "" {
				dst = AppendString(dst, id, s)
			}
		case kindBinary:
			if b := *binaryField(p, id); b != nil {
				dst = AppendBytes(dst, id, b)
			}
		case kindVarint:
			for _, n := range p.SubscriptionIDs {
				dst = AppendUint(dst, id, n)
			}
		case kindByte, kindUint16, kindUint32:
			if n, ok := number(p, id); ok {
				dst = AppendUint(dst, id, n)
			}
		case kindNone, kindPair: // user properties follow
		}
	}
	if !PropAllowed(t, PropUser) {
		return dst
	}
	for i := range p.User {
		dst = AppendPair(dst, p.User[i].Key, p.User[i].Value)
	}
	return dst
}

// errProps names the property that CheckProperties refuses.
var (
	errPropPacket = errors.New("not allowed in this packet")
	errPropLong   = errors.New("longer than 65535 bytes")
)

// CheckProperties judges what a user wants to send in a packet of type t (or WILL): every field that is set must be allowed there,
// fit its type and range, and hold valid text. AppendProperties cannot fail after it. The error names the property.
func CheckProperties(t Type, p *mqtt.Properties) error {
	if p == nil {
		return nil
	}
	for i := range propTable {
		id := PropID(i)
		set, err := checkField(t, p, id)
		if set && err == nil && !PropAllowed(t, id) {
			err = errPropPacket
		}
		if err != nil {
			return fmt.Errorf("%v properties: %v: %w", t, id, err)
		}
	}
	for i := range p.User {
		for _, s := range [...]string{p.User[i].Key, p.User[i].Value} {
			if err := checkText(s); err != nil {
				return fmt.Errorf("%v properties: %v number %d: %w", t, PropUser, i+1, err)
			}
		}
	}
	if size := len(AppendProperties(nil, t, p)); size > mqtt.MaxVarint-2*mqtt.MaxString {
		return fmt.Errorf("%v properties: %d bytes are more than a packet can hold", t, size)
	}
	return nil
}

// checkField judges one field alone; set is false when it is absent.
func checkField(t Type, p *mqtt.Properties, id PropID) (set bool, err error) {
	switch propTable[id].kind {
	case kindNone:
		return false, nil
	case kindPair:
		return len(p.User) > 0, nil
	case kindText:
		s := *textField(p, id)
		if s == "" {
			return false, nil
		}
		if propTable[id].rule == ruleTopic {
			return true, mqtt.CheckTopicName(s)
		}
		return true, checkText(s)
	case kindBinary:
		b := *binaryField(p, id)
		if len(b) > mqtt.MaxString {
			return true, errPropLong
		}
		return b != nil, nil
	case kindVarint:
		for _, n := range p.SubscriptionIDs {
			if n == 0 || n > mqtt.MaxSubscriptionID {
				return true, fmt.Errorf("%d is not between 1 and %d", n, mqtt.MaxSubscriptionID)
			}
		}
		if len(p.SubscriptionIDs) > 1 && t == SUBSCRIBE {
			return true, errors.New("given twice")
		}
		return len(p.SubscriptionIDs) > 0, nil
	default:
		n, ok := number(p, id)
		if ok && propTable[id].rule == ruleBool && n > 1 {
			return true, fmt.Errorf("%d is neither 0 nor 1", n)
		}
		return ok, nil
	}
}

func checkText(s string) error {
	if len(s) > mqtt.MaxString {
		return errPropLong
	}
	if !mqtt.ValidString(s) {
		return errors.New("text is not valid UTF-8 or has control characters")
	}
	return nil
}
