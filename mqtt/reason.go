package mqtt

import "strconv"

// ReasonCode is a 5.0 reason code. Inside the program it is also used for decisions about 3.x connections, which are translated at
// the edge by ConnackCodeV3. Codes below 0x80 mean success.
type ReasonCode byte

// The reason codes of MQTT 5.0, section 2.4. 0x00 has three names; all are the same value.
const (
	Success                           ReasonCode = 0x00
	NormalDisconnection               ReasonCode = 0x00
	GrantedQoS0                       ReasonCode = 0x00
	GrantedQoS1                       ReasonCode = 0x01
	GrantedQoS2                       ReasonCode = 0x02
	DisconnectWithWill                ReasonCode = 0x04
	NoMatchingSubscribers             ReasonCode = 0x10
	NoSubscriptionExisted             ReasonCode = 0x11
	ContinueAuthentication            ReasonCode = 0x18
	Reauthenticate                    ReasonCode = 0x19
	UnspecifiedError                  ReasonCode = 0x80
	MalformedPacket                   ReasonCode = 0x81
	ProtocolError                     ReasonCode = 0x82
	ImplementationSpecific            ReasonCode = 0x83
	UnsupportedProtocolVersion        ReasonCode = 0x84
	ClientIDNotValid                  ReasonCode = 0x85
	BadUserNameOrPassword             ReasonCode = 0x86
	NotAuthorized                     ReasonCode = 0x87
	ServerUnavailable                 ReasonCode = 0x88
	ServerBusy                        ReasonCode = 0x89
	Banned                            ReasonCode = 0x8A
	ServerShuttingDown                ReasonCode = 0x8B
	BadAuthenticationMethod           ReasonCode = 0x8C
	KeepAliveTimeout                  ReasonCode = 0x8D
	SessionTakenOver                  ReasonCode = 0x8E
	TopicFilterInvalid                ReasonCode = 0x8F
	TopicNameInvalid                  ReasonCode = 0x90
	PacketIDInUse                     ReasonCode = 0x91
	PacketIDNotFound                  ReasonCode = 0x92
	ReceiveMaximumExceeded            ReasonCode = 0x93
	TopicAliasInvalid                 ReasonCode = 0x94
	PacketTooLarge                    ReasonCode = 0x95
	MessageRateTooHigh                ReasonCode = 0x96
	QuotaExceeded                     ReasonCode = 0x97
	AdministrativeAction              ReasonCode = 0x98
	PayloadFormatInvalid              ReasonCode = 0x99
	RetainNotSupported                ReasonCode = 0x9A
	QoSNotSupported                   ReasonCode = 0x9B
	UseAnotherServer                  ReasonCode = 0x9C
	ServerMoved                       ReasonCode = 0x9D
	SharedSubscriptionsNotSupported   ReasonCode = 0x9E
	ConnectionRateExceeded            ReasonCode = 0x9F
	MaximumConnectTime                ReasonCode = 0xA0
	SubscriptionIDsNotSupported       ReasonCode = 0xA1
	WildcardSubscriptionsNotSupported ReasonCode = 0xA2
)

// IsError reports whether the code means failure, 0x80 and above [U5-2.4-1].
func (c ReasonCode) IsError() bool { return c >= 0x80 }

// String gives the standard's name, "Success" for 0x00, and "reason 0x7F" for a code that the standard does not define.
func (c ReasonCode) String() string {
	switch c {
	case Success:
		return "Success"
	case GrantedQoS1:
		return "Granted QoS 1"
	case GrantedQoS2:
		return "Granted QoS 2"
	case DisconnectWithWill:
		return "Disconnect with Will Message"
	case NoMatchingSubscribers:
		return "No matching subscribers"
	case NoSubscriptionExisted:
		return "No subscription existed"
	case ContinueAuthentication:
		return "Continue authentication"
	case Reauthenticate:
		return "Re-authenticate"
	default:
		if c >= UnspecifiedError && c <= WildcardSubscriptionsNotSupported {
			return errorNames[c-UnspecifiedError]
		}
		const hex = "0123456789ABCDEF"
		return "reason 0x" + string([]byte{hex[c>>4], hex[c&15]})
	}
}

var errorNames = [...]string{
	"Unspecified error", "Malformed Packet", "Protocol Error", "Implementation specific error", "Unsupported Protocol Version",
	"Client Identifier not valid", "Bad User Name or Password", "Not authorized", "Server unavailable", "Server busy", "Banned",
	"Server shutting down", "Bad authentication method", "Keep Alive timeout", "Session taken over", "Topic Filter invalid",
	"Topic Name invalid", "Packet Identifier in use", "Packet Identifier not found", "Receive Maximum exceeded",
	"Topic Alias invalid", "Packet too large", "Message rate too high", "Quota exceeded", "Administrative action",
	"Payload format invalid", "Retain not supported", "QoS not supported", "Use another server", "Server moved",
	"Shared Subscriptions not supported", "Connection rate exceeded", "Maximum connect time",
	"Subscription Identifiers not supported", "Wildcard Subscriptions not supported",
}

// Return codes of CONNACK in 3.1 and 3.1.1; 6 to 255 are reserved and never sent [U311-3.2.2-2].
const (
	V3Accepted             byte = 0
	V3BadProtocolLevel     byte = 1
	V3IdentifierRejected   byte = 2
	V3ServerUnavailable    byte = 3
	V3BadUserNamePassword  byte = 4
	V3NotAuthorized        byte = 5
	V3SubscribeFailure     byte = 0x80 // SUBACK of 3.1.1 only; 3.1 has no failure code [U31-07]
	maxConnackReturnCodeV3      = V3NotAuthorized
)

// ConnackCodeV3 translates a decision into the CONNACK return code of 3.1 and 3.1.1. ok is false where no code fits, for example
// for malformed packets: then the connection is closed without a CONNACK [MQTT-3.2.2-6, MQTT-3.1.4-1 of 3.1.1].
func ConnackCodeV3(c ReasonCode) (code byte, ok bool) {
	switch c {
	case Success:
		return V3Accepted, true
	case UnsupportedProtocolVersion:
		return V3BadProtocolLevel, true
	case ClientIDNotValid:
		return V3IdentifierRejected, true
	case ServerUnavailable, ServerBusy, QuotaExceeded, ConnectionRateExceeded, UseAnotherServer, ServerMoved:
		return V3ServerUnavailable, true
	case BadUserNameOrPassword:
		return V3BadUserNamePassword, true
	case NotAuthorized, Banned, BadAuthenticationMethod:
		return V3NotAuthorized, true
	default:
		return 0, false
	}
}

// ConnackReasonV3 is the way back, for clients: the reason code that stands for a 3.x return code. Reserved codes are
// UnspecifiedError.
func ConnackReasonV3(code byte) ReasonCode {
	if code > maxConnackReturnCodeV3 {
		return UnspecifiedError
	}
	return [...]ReasonCode{Success, UnsupportedProtocolVersion, ClientIDNotValid, ServerUnavailable, BadUserNameOrPassword, NotAuthorized}[code]
}

// ParseReasonCode reads a code in decimal or, after "0x", in hexadecimal, as tools and configurations write it.
func ParseReasonCode(s string) (ReasonCode, bool) {
	n, err := strconv.ParseUint(s, 0, 8)
	return ReasonCode(n), err == nil
}
