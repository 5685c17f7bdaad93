package dbdump

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"

	"github.com/midgemq/midge/internal/store/mosqdb"
	"github.com/midgemq/midge/mqtt/packet"
)

// jsonTree prints one object with an array for each kind of chunk. The layout,
// tabs included, is that of the library Mosquitto prints with, so that the
// outputs can be compared as text.
type jsonTree struct {
	w                                       io.Writer
	messages, clients, queued, kept, filter array
}

func (t *jsonTree) header(uint32, uint32) {}

func (t *jsonTree) end() {
	fmt.Fprint(t.w, "{")
	for i, x := range []struct {
		name string
		a    *array
	}{
		{"base-messages", &t.messages},
		{"clients", &t.clients},
		{"client-messages", &t.queued},
		{"retained-messages", &t.kept},
		{"subscriptions", &t.filter},
	} {
		if i > 0 {
			fmt.Fprint(t.w, ",")
		}
		fmt.Fprintf(t.w, "\n\t%q:\t[%s]", x.name, x.a.b.Bytes())
	}
	fmt.Fprint(t.w, "\n}\n")
}

// array collects the text of objects between brackets.
type array struct{ b bytes.Buffer }

// object begins an object whose fields stand depth tabs in.
func (a *array) object(depth int) *object {
	if a.b.Len() > 0 {
		a.b.WriteString(", ")
	}
	a.b.WriteByte('{')
	return &object{b: &a.b, depth: depth}
}

type object struct {
	b     *bytes.Buffer
	depth int
	some  bool
}

func (o *object) key(name string) {
	if o.some {
		o.b.WriteByte(',')
	}
	o.some = true
	o.newLine(o.depth)
	o.b.WriteByte('"')
	o.b.WriteString(name)
	o.b.WriteString("\":\t")
}

func (o *object) newLine(tabs int) {
	o.b.WriteByte('\n')
	for range tabs {
		o.b.WriteByte('\t')
	}
}

func (o *object) number(name string, v int64) {
	o.key(name)
	o.b.WriteString(strconv.FormatInt(v, 10))
}

func (o *object) unsigned(name string, v uint64) {
	o.key(name)
	o.b.WriteString(strconv.FormatUint(v, 10))
}

func (o *object) text(name, v string) {
	o.key(name)
	o.b.WriteByte('"')
	for _, c := range []byte(v) {
		switch c {
		case '"', '\\':
			o.b.WriteByte('\\')
			o.b.WriteByte(c)
		case '\b':
			o.b.WriteString(`\b`)
		case '\f':
			o.b.WriteString(`\f`)
		case '\n':
			o.b.WriteString(`\n`)
		case '\r':
			o.b.WriteString(`\r`)
		case '\t':
			o.b.WriteString(`\t`)
		default:
			if c < ' ' {
				fmt.Fprintf(o.b, `\u%04x`, c)
			} else {
				o.b.WriteByte(c)
			}
		}
	}
	o.b.WriteByte('"')
}

func (o *object) end() {
	o.newLine(o.depth - 1)
	o.b.WriteByte('}')
}

// tabs that the fields of the objects in the five arrays are indented with.
const fieldDepth = 3

func (t *jsonTree) chunk(c *mosqdb.Chunk) {
	switch {
	case c.Config != nil: // has no place in the tree
	case c.Message != nil:
		t.message(c.Message)
	case c.Client != nil:
		v := c.Client
		o := t.clients.object(fieldDepth)
		o.text("clientid", v.ID)
		if v.UserName != "" {
			o.text("username", v.UserName)
		}
		o.number("session-expiry-time", v.ExpiryTime)
		o.number("session-expiry-interval", int64(v.ExpiryInterval))
		o.number("last-mid", int64(v.LastMID))
		o.number("listener-port", int64(v.ListenerPort))
		o.end()
	case c.ClientMessage != nil:
		v := c.ClientMessage
		o := t.queued.object(fieldDepth)
		o.text("clientid", v.ClientID)
		// Mosquitto writes the subscription identifier here; the message is what the
		// name promises, and what nothing else in the tree would tell.
		o.unsigned("storeid", v.MessageID)
		o.number("mid", int64(v.MID))
		o.number("qos", int64(v.QoS))
		o.number("state", int64(v.State))
		o.number("retain-dup", int64(v.RetainDup))
		o.number("direction", int64(v.Direction))
		o.number("subscription-identifier", int64(v.SubscriptionID))
		o.end()
	case c.Subscription != nil:
		v := c.Subscription
		o := t.filter.object(fieldDepth)
		o.text("clientid", v.ClientID)
		o.text("topic", v.Filter)
		o.number("qos", int64(v.QoS))
		o.number("options", int64(v.Options))
		o.number("identifier", int64(v.ID))
		o.end()
	default:
		o := t.kept.object(fieldDepth)
		o.unsigned("storeid", c.Retained)
		o.end()
	}
}

func (t *jsonTree) message(v *mosqdb.Message) {
	o := t.messages.object(fieldDepth)
	o.unsigned("storeid", v.ID)
	o.number("expiry-time", v.Expiry)
	o.number("source-mid", int64(v.SourceMID))
	o.number("source-port", int64(v.SourcePort))
	o.number("qos", int64(v.QoS))
	o.number("retain", int64(bit(v.Retain)))
	o.text("topic", v.Topic)
	if v.SourceID != "" {
		o.text("clientid", v.SourceID)
	}
	if v.SourceUserName != "" {
		o.text("username", v.SourceUserName)
	}
	if len(v.Payload) > 0 {
		o.text("payload", base64.StdEncoding.EncodeToString(v.Payload))
	}
	if len(v.Properties) > 0 {
		o.key("properties")
		o.b.WriteByte('[')
		var a array
		for rest := packet.Props(v.Properties); len(rest) > 0; {
			rest = property(&a, rest)
		}
		o.b.Write(a.b.Bytes())
		o.b.WriteByte(']')
	}
	o.end()
}

// property adds the first property of a list and returns the others.
func property(a *array, p packet.Props) packet.Props {
	id, num, val, val2, rest := p.Next()
	o := a.object(fieldDepth + 2)
	switch id {
	case packet.PropPayloadFormat:
		o.text("identifier", "payload-format-indicator")
		o.number("value", int64(num))
	case packet.PropContentType:
		o.text("identifier", "content-type")
		o.text("value", string(val))
	case packet.PropResponseTopic:
		o.text("identifier", "response-topic")
		o.text("value", string(val))
	case packet.PropCorrelationData:
		o.text("identifier", "correlation-data")
		o.text("value", fmt.Sprintf("%X", val))
	case packet.PropUser:
		o.text("identifier", "user-property")
		o.text("name", string(val))
		o.text("value", string(val2))
	default: // nothing else is stored with a message
		o.text("identifier", id.String())
	}
	o.end()
	return rest
}
