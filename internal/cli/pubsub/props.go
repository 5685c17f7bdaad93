package pubsub

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// properties are those of -D, by packet.
type properties struct {
	connect, publish, subscribe, unsubscribe, disconnect, will mqtt.Properties

	seen map[string]bool // "publish content-type"
}

// propertyKind says how a value is written.
type propertyKind uint8

const (
	asText propertyKind = iota
	asBinary
	asNumber
	asPair
	fromServer // of packets that only a server sends
)

// property is one row of the table of -D.
type property struct {
	kind    propertyKind
	allowed string // the packets it may stand in
	min     uint64
	max     uint64
	set     func(p *mqtt.Properties, text string, n uint32)
}

var propertyTable = map[string]property{
	"payload-format-indicator": {asNumber, "publish will", 0, 1, func(p *mqtt.Properties, _ string, n uint32) { p.PayloadFormat = new(byte(n)) }},
	"message-expiry-interval":  {asNumber, "publish will", 0, math.MaxUint32, func(p *mqtt.Properties, _ string, n uint32) { p.MessageExpiry = &n }},
	"content-type":             {asText, "publish will", 0, 0, func(p *mqtt.Properties, s string, _ uint32) { p.ContentType = s }},
	"response-topic":           {asText, "publish will", 0, 0, func(p *mqtt.Properties, s string, _ uint32) { p.ResponseTopic = s }},
	"correlation-data":         {asBinary, "publish will", 0, 0, func(p *mqtt.Properties, s string, _ uint32) { p.CorrelationData = []byte(s) }},
	"topic-alias":              {asNumber, "publish", 1, math.MaxUint16, func(p *mqtt.Properties, _ string, n uint32) { p.TopicAlias = uint16(n) }},
	"subscription-identifier": {asNumber, "subscribe", 1, mqtt.MaxSubscriptionID, func(p *mqtt.Properties, _ string, n uint32) {
		p.SubscriptionIDs = []uint32{n}
	}},
	"session-expiry-interval": {asNumber, "connect disconnect", 0, math.MaxUint32, func(p *mqtt.Properties, _ string, n uint32) { p.SessionExpiry = &n }},
	"authentication-method":   {asText, "connect", 0, 0, func(p *mqtt.Properties, s string, _ uint32) { p.AuthMethod = s }},
	"authentication-data":     {asBinary, "connect", 0, 0, func(p *mqtt.Properties, s string, _ uint32) { p.AuthData = []byte(s) }},
	"request-problem-information": {asNumber, "connect", 0, 1, func(p *mqtt.Properties, _ string, n uint32) {
		p.RequestProblemInfo = new(n == 1)
	}},
	"request-response-information": {asNumber, "connect", 0, 1, func(p *mqtt.Properties, _ string, n uint32) { p.RequestResponseInfo = n == 1 }},
	"receive-maximum":              {asNumber, "connect", 1, math.MaxUint16, func(p *mqtt.Properties, _ string, n uint32) { p.ReceiveMaximum = uint16(n) }},
	"topic-alias-maximum":          {asNumber, "connect", 0, math.MaxUint16, func(p *mqtt.Properties, _ string, n uint32) { p.TopicAliasMaximum = uint16(n) }},
	"maximum-packet-size":          {asNumber, "connect", 1, math.MaxUint32, func(p *mqtt.Properties, _ string, n uint32) { p.MaximumPacketSize = n }},
	"will-delay-interval":          {asNumber, "will", 0, math.MaxUint32, func(p *mqtt.Properties, _ string, n uint32) { p.WillDelay = n }},
	"reason-string":                {asText, "disconnect", 0, 0, func(p *mqtt.Properties, s string, _ uint32) { p.ReasonString = s }},
	"server-reference":             {asText, "disconnect", 0, 0, func(p *mqtt.Properties, s string, _ uint32) { p.ServerReference = s }},
	"user-property":                {kind: asPair, allowed: "connect publish subscribe unsubscribe disconnect will"},

	"assigned-client-identifier":        {kind: fromServer},
	"server-keep-alive":                 {kind: fromServer},
	"response-information":              {kind: fromServer},
	"maximum-qos":                       {kind: fromServer},
	"retain-available":                  {kind: fromServer},
	"wildcard-subscription-available":   {kind: fromServer},
	"subscription-identifier-available": {kind: fromServer},
	"shared-subscription-available":     {kind: fromServer},
}

// moreOfProperty: user-property has a key beside its value.
func moreOfProperty(v []string) int {
	if strings.EqualFold(v[1], "user-property") {
		return 1
	}
	return 0
}

// of returns the list for a packet by its name in -D.
func (p *properties) of(command string) *mqtt.Properties {
	return map[string]*mqtt.Properties{
		"connect": &p.connect, "publish": &p.publish, "subscribe": &p.subscribe, "unsubscribe": &p.unsubscribe,
		"disconnect": &p.disconnect, "will": &p.will,
	}[command]
}

// any reports whether there are any.
func (p *properties) any() bool { return len(p.seen) > 0 }

// setProperty takes one -D.
func setProperty(o *options, v []string) error {
	command, name := strings.ToLower(v[0]), strings.ToLower(v[1])
	list := o.props.of(command)
	row, known := propertyTable[name]
	switch {
	case list == nil && strings.Contains(" connack puback pubrec pubrel pubcomp suback unsuback auth ", " "+command+" "):
		return usagef("%s property not supported for %s in --property argument.", name, command)
	case list == nil:
		return usagef("Invalid command given in --property argument.")
	case !known:
		return usagef("Invalid property name given in --property argument.")
	case command == "publish" && name == "subscription-identifier":
		return usagef("%s property not supported for %s in --property argument.", name, command)
	case !strings.Contains(" "+row.allowed+" ", " "+command+" "):
		return usagef("%s property not allowed for %s in --property argument.", name, command)
	}
	for _, s := range v[2:] {
		if len(s) > mqtt.MaxString || row.kind != asBinary && !mqtt.ValidString(s) {
			return usageError("Error adding property " + name + ": not valid UTF-8, or longer than 65535 bytes.")
		}
	}
	o.version = mqtt.V5
	if row.kind == asPair {
		list.User = append(list.User, mqtt.UserProperty{Key: v[2], Value: v[3]})
		o.props.note(command + " " + name)
		return nil
	}
	if o.props.note(command + " " + name) {
		return usageError("Error in " + strings.ToUpper(command) + " properties: Duplicate property in property list")
	}
	var n uint64
	if row.kind == asNumber {
		var err error
		if n, err = strconv.ParseUint(v[2], 10, 64); err != nil || n < row.min || n > row.max {
			return usagef("Property value (%s) out of range for property %s.", v[2], name)
		}
	}
	row.set(list, v[2], uint32(n))
	return nil
}

// note keeps that a property was given, and reports whether it had been before.
func (p *properties) note(what string) bool {
	if p.seen == nil {
		p.seen = make(map[string]bool)
	}
	was := p.seen[what]
	p.seen[what] = true
	return was
}

// check judges what only the whole list shows.
func (p *properties) check() error {
	for _, c := range []struct {
		name string
		t    packet.Type
	}{
		{"connect", packet.CONNECT},
		{"publish", packet.PUBLISH},
		{"subscribe", packet.SUBSCRIBE},
		{"unsubscribe", packet.UNSUBSCRIBE},
		{"disconnect", packet.DISCONNECT},
		{"will", packet.WILL},
	} {
		err := packet.CheckProperties(c.t, p.of(c.name))
		if err == nil && c.name == "connect" && p.connect.AuthData != nil && p.connect.AuthMethod == "" {
			err = errors.New("authentication-data needs authentication-method")
		}
		if err == nil && c.name == "disconnect" && p.disconnect.ServerReference != "" {
			err = errors.New("server-reference is for a broker to send")
		}
		if err != nil {
			return usageError(fmt.Sprintf("Error in %s properties: %v.", strings.ToUpper(c.name), err))
		}
	}
	return nil
}
