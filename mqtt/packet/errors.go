package packet

import "github.com/midgemq/midge/mqtt"

// Error is a decode failure: what was wrong and which 5.0 reason code says so. All values are static, so a hostile stream costs no
// allocation; compare Code or Type, not pointers.
//
// On 3.x connections the only answer is to close; Code serves the log there.
type Error struct {
	Code mqtt.ReasonCode
	Type Type   // WILL for the fields of a will inside CONNECT
	Prop PropID // the property at fault, 0 if none or unknown
	Tag  string // the broken statements, for example "5:1.5.4-1 3:1.5.3-1": version, colon, number
	Msg  string
}

// Error reads as "PUBLISH: topic name is not valid UTF-8 [5:1.5.4-1 3:1.5.3-1]".
func (e *Error) Error() string {
	s := e.Type.String() + ": "
	if e.Prop != 0 {
		s += "property " + e.Prop.String() + ": "
	}
	s += e.Msg
	if e.Tag != "" {
		s += " [" + e.Tag + "]"
	}
	return s
}

// fault numbers the kinds of failure; each has one Error per packet type.
type fault uint8

const (
	faultReservedType fault = iota
	faultTypeVersion
	faultLengthLong
	faultLengthForm
	faultFlags
	faultShort
	faultTrailing
	faultNotEmpty
	faultAckLength
	faultTooLarge
	faultText
	faultPacketID
	faultQoS
	faultDup
	faultTopicEmpty
	faultTopicWildcard
	faultTopicLevels
	faultTopicAlias
	faultProtocolName
	faultProtocolLevel
	faultConnectReserved
	faultWillQoS
	faultWillBits
	faultPassword
	faultAuthData
	faultAuthMethod
	faultFilterEmpty
	faultNoFilters
	faultOptions
	faultOptionsQoS
	faultRetainHandling
	faultNoCodes
	faultConnackFlags
	faultPropsLength
	faultPropUnknown
	faultCount
)

type faultWords struct {
	code mqtt.ReasonCode
	tag  string
	msg  string
}

var faults = [faultCount]faultWords{
	faultReservedType:    {mqtt.MalformedPacket, "5:U5-2.1.2-1 3:U311-2.2.1-1", "packet type 0 is reserved"},
	faultTypeVersion:     {mqtt.MalformedPacket, "3:U311-2.2.1-1", "packet type 15 does not exist before version 5.0"},
	faultLengthLong:      {mqtt.MalformedPacket, "5:U5-1.5.5-1 3:U311-2.2.3-1", "remaining length has more than four bytes"},
	faultLengthForm:      {mqtt.MalformedPacket, "5:1.5.5-1", "remaining length is not in its shortest form"},
	faultFlags:           {mqtt.MalformedPacket, "5:2.1.3-1 3:2.2.2-2", "flags of the fixed header are not as prescribed"},
	faultShort:           {mqtt.MalformedPacket, "5:4.13.1-1 3:4.8.0-1", "packet ends inside a field"},
	faultTrailing:        {mqtt.MalformedPacket, "5:4.13.1-1 3:4.8.0-1", "bytes left over behind the last field"},
	faultNotEmpty:        {mqtt.MalformedPacket, "5:4.13.1-1 3:U311-3.12.1-1", "remaining length is not 0"},
	faultAckLength:       {mqtt.MalformedPacket, "3:4.8.0-1", "remaining length is not 2"},
	faultTooLarge:        {mqtt.PacketTooLarge, "5:3.1.2-24", "packet is larger than its type is allowed to be"},
	faultText:            {mqtt.MalformedPacket, "5:1.5.4-1 3:1.5.3-1", "text is not valid UTF-8 or has control characters"},
	faultPacketID:        {mqtt.ProtocolError, "5:2.2.1-3 3:2.3.1-1", "packet identifier is 0"},
	faultQoS:             {mqtt.MalformedPacket, "5:3.3.1-4 3:3.3.1-4", "QoS is 3"},
	faultDup:             {mqtt.MalformedPacket, "5:3.3.1-2 3:3.3.1-2", "QoS 0 with DUP"},
	faultTopicEmpty:      {mqtt.ProtocolError, "5:4.7.3-1 3:4.7.3-1", "topic name is empty"},
	faultTopicWildcard:   {mqtt.TopicNameInvalid, "5:3.3.2-2 3:3.3.2-2", "topic name has a wildcard"},
	faultTopicLevels:     {mqtt.TopicNameInvalid, "", "topic name has more than 200 slashes"},
	faultTopicAlias:      {mqtt.TopicAliasInvalid, "5:3.3.2-8", "topic alias is 0"},
	faultProtocolName:    {mqtt.UnsupportedProtocolVersion, "5:3.1.2-1 3:3.1.2-1", "protocol name is neither MQTT nor MQIsdp"},
	faultProtocolLevel:   {mqtt.UnsupportedProtocolVersion, "5:3.1.2-2 3:3.1.2-2", "protocol level is not supported"},
	faultConnectReserved: {mqtt.MalformedPacket, "5:3.1.2-3 3:3.1.2-3", "reserved connect flag is set"},
	faultWillQoS:         {mqtt.MalformedPacket, "5:3.1.2-12 3:3.1.2-14", "will QoS is 3"},
	faultWillBits:        {mqtt.MalformedPacket, "5:3.1.2-11 5:3.1.2-13 3:3.1.2-11", "will QoS or will retain without will flag"},
	faultPassword:        {mqtt.MalformedPacket, "3:3.1.2-22", "password flag without user name flag"},
	faultAuthData:        {mqtt.ProtocolError, "5:U5-3.1.2.11.10-1", "authentication data without authentication method"},
	faultAuthMethod:      {mqtt.ProtocolError, "5:U5-3.15.2.2.2-1", "authentication method is missing"},
	faultFilterEmpty:     {mqtt.MalformedPacket, "5:4.7.3-1 3:4.7.3-1", "topic filter is empty"},
	faultNoFilters:       {mqtt.ProtocolError, "5:3.8.3-2 5:3.10.3-2 3:3.8.3-3 3:3.10.3-2", "no topic filter"},
	faultOptions:         {mqtt.MalformedPacket, "5:3.8.3-5 3:3.8.3-4", "reserved bits of the subscription options are set"},
	faultOptionsQoS:      {mqtt.ProtocolError, "5:U5-3.8.3.1-1 3:3.8.3-4", "requested QoS is 3"},
	faultRetainHandling:  {mqtt.ProtocolError, "5:U5-3.8.3.1-1", "retain handling is 3"},
	faultNoCodes:         {mqtt.MalformedPacket, "5:3.8.4-6 5:3.11.3-1 3:3.8.4-5", "no reason codes"},
	faultConnackFlags:    {mqtt.MalformedPacket, "5:3.2.2-1 3:U311-3.2.2-1", "reserved acknowledge flags are set"},
	faultPropsLength:     {mqtt.MalformedPacket, "5:U5-2.2.2-2", "property length does not fit the packet"},
	faultPropUnknown:     {mqtt.MalformedPacket, "5:U5-2.2.2-1", "unknown property identifier"},
}

// propFault numbers the kinds of failure that name a property.
type propFault uint8

const (
	propNotAllowed propFault = iota
	propShort
	propText
	propTwice
	propRange
	propTopic
	propLevels
	propAliasZero
	propRole
	propFaultCount
)

var propFaults = [propFaultCount]faultWords{
	propNotAllowed: {mqtt.MalformedPacket, "5:U5-2.2.2-1", "not allowed in this packet"},
	propShort:      {mqtt.MalformedPacket, "5:U5-2.2.2-2", "value is cut short or of another type"},
	propText:       {mqtt.MalformedPacket, "5:1.5.4-1 5:1.5.7-1", "text is not valid UTF-8 or has control characters"},
	propTwice:      {mqtt.ProtocolError, "5:U5-2.2.2-1", "given twice"},
	propRange:      {mqtt.ProtocolError, "", "value out of range"},
	propTopic:      {mqtt.ProtocolError, "5:3.3.2-14", "is empty or has a wildcard"},
	propLevels:     {mqtt.TopicNameInvalid, "", "has more than 200 slashes"},
	propAliasZero:  {mqtt.TopicAliasInvalid, "5:3.3.2-8", "is 0"},
	propRole:       {mqtt.ProtocolError, "5:3.3.4-6 5:3.14.2-2 5:U5-3.14.2.2.5-1", "not allowed from this side"},
}

var (
	errs     = makeErrors()
	propErrs = makePropErrors()
)

func makeErrors() (t [faultCount][typeCount]Error) {
	for f := range t {
		for typ := range t[f] {
			t[f][typ] = Error{Code: faults[f].code, Type: Type(typ), Tag: faults[f].tag, Msg: faults[f].msg}
		}
	}
	return t
}

// makePropErrors indexes by the dense number of the property, not by its identifier, which leaves a third unused.
func makePropErrors() (t [propFaultCount][propCount][typeCount]Error) {
	for f := range t {
		for id := range propTable {
			if propTable[id].kind == kindNone {
				continue
			}
			for typ := range typeCount {
				t[f][propTable[id].dense][typ] = Error{
					Code: propFaults[f].code, Type: Type(typ), Prop: PropID(id), Tag: propFaults[f].tag, Msg: propFaults[f].msg,
				}
			}
		}
	}
	return t
}

func (f fault) in(t Type) *Error { return &errs[f][t] }

func (f propFault) of(id PropID, t Type) *Error { return &propErrs[f][propTable[id].dense][t] }
