package packet

import "github.com/midgemq/midge/mqtt"

// codeSet has one bit per reason code; the standard leaves everything above 0xBF free.
type codeSet [3]uint64

func codes(list ...mqtt.ReasonCode) (s codeSet) {
	for _, c := range list {
		s[c>>6] |= 1 << (c & 63)
	}
	return s
}

func (s codeSet) has(c mqtt.ReasonCode) bool { return int(c>>6) < len(s) && s[c>>6]>>(c&63)&1 != 0 }

// The codes of each packet by sender: [0] client, [1] server. 5.0 lists Bad authentication method for DISCONNECT in one table and
// not in another, so it is accepted from either side and not sent; QoS not supported is listed for the server alone, while the text
// on PUBLISH has a client use it, so it is accepted from both.
var codeSets = [typeCount][2]codeSet{
	CONNACK: {1: codes(0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99,
		0x9A, 0x9B, 0x9C, 0x9D, 0x9F)},
	PUBACK:   {codes(0x00, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99), codes(0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99)},
	PUBREC:   {codes(0x00, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99), codes(0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99)},
	PUBREL:   {codes(0x00, 0x92), codes(0x00, 0x92)},
	PUBCOMP:  {codes(0x00, 0x92), codes(0x00, 0x92)},
	SUBACK:   {1: codes(0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2)},
	UNSUBACK: {1: codes(0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91)},
	DISCONNECT: {
		codes(0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x8C, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9B),
		codes(0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
			0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2),
	},
	AUTH: {codes(0x18, 0x19), codes(0x00, 0x18)},
}

// CodeAllowed reports whether a 5.0 packet of this type from this side may carry the reason code [MQTT-3.4.2-1 and its like]. A
// packet that has no codes, or that this side never sends, allows none.
func CodeAllowed(t Type, fromServer bool, c mqtt.ReasonCode) bool {
	side := 0
	if fromServer {
		side = 1
	}
	return t < typeCount && codeSets[t][side].has(c)
}

// CodeAllowedV3 is CodeAllowed for the codes of 3.x, which only the server sends: CONNACK 0 to 5, SUBACK 0 to 2 and, in 3.1.1,
// 0x80.
func CodeAllowedV3(v mqtt.Version, t Type, code byte) bool {
	switch t {
	case CONNACK:
		return code <= mqtt.V3NotAuthorized
	case SUBACK:
		return code <= 2 || v == mqtt.V311 && code == mqtt.V3SubscribeFailure
	default:
		return false
	}
}

// CheckRole judges the three properties whose legality depends on the sender: a client sends no Subscription Identifier in PUBLISH
// [MQTT-3.3.4-6] and no Server Reference in DISCONNECT [U5-3.14.2.2.5-1], a server no Session Expiry Interval in DISCONNECT
// [MQTT-3.14.2-2]. set comes from Publish.PropSet or Props.Set. The error is an *Error.
func CheckRole(t Type, fromServer bool, set PropSet) error {
	switch {
	case t == PUBLISH && !fromServer && set.Has(PropSubscriptionID):
		return propRole.of(PropSubscriptionID, t)
	case t == DISCONNECT && !fromServer && set.Has(PropServerReference):
		return propRole.of(PropServerReference, t)
	case t == DISCONNECT && fromServer && set.Has(PropSessionExpiry):
		return propRole.of(PropSessionExpiry, t)
	}
	return nil
}
