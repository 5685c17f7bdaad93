package dbdump

import (
	"fmt"
	"io"

	"github.com/midgemq/midge/internal/store/mosqdb"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// plain prints every chunk.
type plain struct{ w io.Writer }

func (p *plain) printf(format string, args ...any) { fmt.Fprintf(p.w, format, args...) }

func (p *plain) header(version, crc uint32) {
	p.printf("Mosquitto DB dump\nCRC: %d\nDB version: %d\n", int32(crc), int32(version))
}

func (p *plain) end() {}

func (p *plain) chunk(c *mosqdb.Chunk) {
	p.printf("%s:\n\tLength: %d\n", c.Type, c.Length)
	switch {
	case c.Config != nil:
		p.printf("\tShutdown: %d\n\tDB ID size: %d\n\tLast DB ID: %d\n", bit(c.Config.Shutdown), c.Config.IDSize, c.Config.LastID)
	case c.Message != nil:
		p.message(c.Message)
	case c.Client != nil:
		p.client(c.Client)
	case c.ClientMessage != nil:
		p.clientMessage(c.ClientMessage)
	case c.Subscription != nil:
		v := c.Subscription
		p.printf("\tClient ID: %s\n\tTopic: %s\n\tQoS: %d\n\tSubscription ID: %d\n\tOptions: 0x%02X\n", v.ClientID, v.Filter, v.QoS, v.ID, v.Options)
	default:
		p.printf("\tStore ID: %d\n", c.Retained)
	}
}

func bit(v bool) int {
	if v {
		return 1
	}
	return 0
}

// printable is the length up to which payloads are shown.
const printable = 256

func (p *plain) message(v *mosqdb.Message) {
	p.printf("\tStore ID: %d\n\tSource Port: %d\n\tSource MID: %d\n\tTopic: %s\n\tQoS: %d\n\tRetain: %d\n", v.ID, v.SourcePort, v.SourceMID, v.Topic, v.QoS, bit(v.Retain))
	p.printf("\tPayload Length: %d\n\tExpiry Time: %d\n", len(v.Payload), uint64(v.Expiry))
	if n := len(v.Payload); n > 0 && n < printable && mqtt.ValidUTF8(v.Payload) {
		p.printf("\tPayload: %s\n", v.Payload)
	}
	if len(v.Properties) == 0 {
		return
	}
	p.printf("\tProperties:\n")
	for rest := packet.Props(v.Properties); len(rest) > 0; {
		id, num, val, val2, next := rest.Next()
		switch id {
		case packet.PropPayloadFormat:
			p.printf("\t\tPayload format indicator: %d\n", num)
		case packet.PropContentType:
			p.printf("\t\tContent type: %s\n", val)
		case packet.PropResponseTopic:
			p.printf("\t\tResponse topic: %s\n", val)
		case packet.PropCorrelationData:
			p.printf("\t\tCorrelation data: %X\n", val)
		case packet.PropUser:
			p.printf("\t\tUser property: %s , %s\n", val, val2)
		default: // nothing else is stored with a message
			p.printf("\t\tInvalid property type: %d\n", id)
		}
		rest = next
	}
}

func (p *plain) client(v *mosqdb.Client) {
	p.printf("\tClient ID: %s\n", v.ID)
	if v.UserName != "" {
		p.printf("\tUsername: %s\n", v.UserName)
	}
	if v.ListenerPort > 0 {
		p.printf("\tListener port: %d\n", v.ListenerPort)
	}
	p.printf("\tLast MID: %d\n\tSession expiry time: %d\n\tSession expiry interval: %d\n", v.LastMID, uint64(v.ExpiryTime), v.ExpiryInterval)
}

func (p *plain) clientMessage(v *mosqdb.ClientMessage) {
	p.printf("\tClient ID: %s\n\tStore ID: %d\n\tMID: %d\n\tQoS: %d\n\tRetain: %d\n\tDirection: %d\n\tState: %d\n\tDup: %d\n",
		v.ClientID, v.MessageID, v.MID, v.QoS, v.RetainDup>>4, v.Direction, v.State, v.RetainDup&0x0F)
	if v.SubscriptionID != 0 {
		p.printf("\tSubscription identifier: %d\n", v.SubscriptionID)
	}
}
