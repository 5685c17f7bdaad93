package pubsub

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// printer writes messages to standard output, each in one piece.
type printer struct {
	e   *Env
	o   *options
	out []byte

	begun   bool           // the screen of --watch
	rows    map[string]int // of the topics of --watch
	counted int            // messages since the last line of --message-rate
}

func newPrinter(e *Env, o *options) *printer {
	return &printer{e: e, o: o, rows: make(map[string]int)}
}

// print writes one message, unless another display or the dice of --random-filter take it.
func (p *printer) print(m *packet.Publish) error {
	if p.o.messageRate {
		p.counted++
		return nil
	}
	if p.o.randomFilter > 0 && p.e.random(10000) >= p.o.randomFilter {
		return nil
	}
	p.out = p.out[:0]
	if p.o.watch {
		p.place(m)
	}
	p.message(m)
	if len(p.out) == 0 {
		return nil
	}
	_, err := p.e.Stdout.Write(p.out)
	return err
}

// message appends the text of a message to out.
func (p *printer) message(m *packet.Publish) {
	o := p.o
	start := len(p.out)
	switch {
	case o.format != nil:
		p.formatted(m)
		if !o.noNewline {
			p.out = append(p.out, '\n')
		}
	case o.verbose && len(m.Payload) > 0:
		p.out = append(append(append(p.out, m.Topic...), ' '), m.Payload...)
	case o.verbose && !o.noNewline:
		p.out = append(append(p.out, m.Topic...), " (null)"...)
	default:
		p.out = append(p.out, m.Payload...)
	}
	if o.format == nil && len(p.out) > start && !o.noNewline {
		p.out = append(p.out, '\n')
	}
	if o.watch {
		plain(p.out[start:])
	}
}

// place puts the cursor onto the line of the topic. The first message clears the screen.
func (p *printer) place(m *packet.Publish) {
	if !p.begun {
		p.begun = true
		p.out = fmt.Appendf(p.out, "\x1b[2J\x1b[1;1HBroker: %s\n", p.o.host)
	}
	topic := string(m.Topic)
	row, ok := p.rows[topic]
	if !ok {
		row = len(p.rows) + 2
		p.rows[topic] = row
	}
	p.out = fmt.Appendf(p.out, "\x1b[%d;1H\x1b[K", row)
}

// plain takes control characters out of a line: a payload must not draw all over the screen.
func plain(b []byte) {
	for i, c := range b {
		if c < ' ' && (c != '\n' || i < len(b)-1) || c == 0x7f {
			b[i] = '.'
		}
	}
}

// printRate writes the line of --message-rate.
func (p *printer) printRate() error {
	_, err := fmt.Fprintf(p.e.Stdout, "%d msgs/s\n", p.counted)
	p.counted = 0
	return err
}

// formatted appends a message in the format of -F.
func (p *printer) formatted(m *packet.Publish) {
	now := p.e.now()
	for i := range p.o.format {
		f := &p.o.format[i]
		switch {
		case f.clock != 0:
			p.out = strftime(p.out, f.clock, now)
		case f.spec != 0:
			p.spec(f, m, now)
		default:
			p.out = append(p.out, f.text...)
		}
	}
}

// spec appends one conversion.
func (p *printer) spec(f *piece, m *packet.Publish, now time.Time) {
	switch f.spec {
	case 'A':
		p.number(f, m, packet.PropTopicAlias)
	case 'C':
		p.property(f, m, packet.PropContentType)
	case 'D':
		v, _ := m.Props.Bytes(packet.PropCorrelationData)
		p.out = append(p.out, v...)
	case 'E':
		p.number(f, m, packet.PropMessageExpiry)
	case 'F':
		p.number(f, m, packet.PropPayloadFormat)
	case 'f', 'd':
		p.float(f, m)
	case 'I':
		p.out = f.pad(p.out, now.Format("2006-01-02T15:04:05-0700"), false)
	case 'j', 'J', specJSON:
		p.json(f.spec, m, now)
	case 'l':
		p.out = f.pad(p.out, fmt.Sprint(len(m.Payload)), f.zero)
	case 'm':
		p.out = f.pad(p.out, fmt.Sprint(m.PacketID), f.zero)
	case 'P':
		p.userProperties(m)
	case 'p':
		p.payload(f, m.Payload)
	case 'q':
		p.out = append(p.out, '0'+byte(m.QoS))
	case 'R':
		p.property(f, m, packet.PropResponseTopic)
	case 'r':
		p.out = append(p.out, '0'+byte(bit(m.Retain)))
	case 'S':
		p.number(f, m, packet.PropSubscriptionID)
	case 't':
		p.out = f.pad(p.out, f.cut(string(m.Topic)), false)
	case 'U':
		p.out = fmt.Appendf(p.out, "%d.%09d", now.Unix(), now.Nanosecond())
	case 'x', 'X':
		p.hex(f, m.Payload)
	}
}

// pad appends text in the field's width. Only numbers are filled with zeros.
func (f *piece) pad(b []byte, text string, zero bool) []byte {
	fill := f.width - len(text)
	if fill <= 0 {
		return append(b, text...)
	}
	if f.left {
		return append(append(b, text...), strings.Repeat(" ", fill)...)
	}
	if zero {
		return append(append(b, strings.Repeat("0", fill)...), text...)
	}
	return append(append(b, strings.Repeat(" ", fill)...), text...)
}

// cut is text up to the precision.
func (f *piece) cut(text string) string {
	if f.prec >= 0 && len(text) > f.prec {
		return text[:f.prec]
	}
	return text
}

// number appends a property that is a number, as a signed one of 32 bits; nothing but the width when it is absent.
func (p *printer) number(f *piece, m *packet.Publish, id packet.PropID) {
	text := ""
	if v, ok := m.Props.Uint(id); ok {
		text = fmt.Sprint(int32(v))
	}
	p.out = f.pad(p.out, text, f.zero)
}

func (p *printer) property(f *piece, m *packet.Publish, id packet.PropID) {
	v, _ := m.Props.Bytes(id)
	p.out = f.pad(p.out, f.cut(string(v)), false)
}

func (p *printer) userProperties(m *packet.Publish) {
	first := true
	for id, _, k, v, rest := m.Props.Next(); id != 0; id, _, k, v, rest = rest.Next() {
		if id != packet.PropUser {
			continue
		}
		if !first {
			p.out = append(p.out, ' ')
		}
		first = false
		p.out = append(append(append(p.out, k...), ':'), v...)
	}
}

// payload appends the bytes of the payload; the width cuts them too.
func (p *printer) payload(f *piece, b []byte) {
	if f.width > 0 && len(b) > f.width {
		b = b[:f.width]
	}
	p.out = f.pad(p.out, string(b), f.zero)
}

// hex appends the payload in hexadecimal. The width bounds the bytes first and then the digits, so that a message longer than half
// of it is cut to half as many bytes as it is wide; the precision groups the digits.
func (p *printer) hex(f *piece, b []byte) {
	if f.width > 0 {
		b = b[:min(len(b), f.width)/2]
	}
	text := hex.EncodeToString(b)
	if f.spec == 'X' {
		text = strings.ToUpper(text)
	}
	if f.prec > 0 {
		sep := f.sep
		if sep == "" {
			sep = " "
		}
		var groups []string
		for ; len(text) > f.prec; text = text[f.prec:] {
			groups = append(groups, text[:f.prec])
		}
		text = strings.Join(append(groups, text), sep)
	}
	p.out = f.pad(p.out, text, f.zero)
}

// float appends the payload read as a number in the byte order of most machines.
func (p *printer) float(f *piece, m *packet.Publish) {
	var v float64
	switch size := map[byte]int{'f': 4, 'd': 8}[f.spec]; {
	case len(m.Payload) != size:
		complain(p.e, p.o, fmt.Sprintf("Error: Message payload on topic %s is %d bytes long, %%%c needs %d.", m.Topic, len(m.Payload), f.spec, size))
		return
	case size == 4:
		v = float64(math.Float32frombits(binary.NativeEndian.Uint32(m.Payload)))
	default:
		v = math.Float64frombits(binary.NativeEndian.Uint64(m.Payload))
	}
	prec := f.prec
	if prec < 0 {
		prec = 6
	}
	flags := ""
	if f.left {
		flags = "-"
	} else if f.zero {
		flags = "0"
	}
	p.out = fmt.Appendf(p.out, "%"+flags+"*.*f", max(f.width, 0), prec, v)
}

// json appends %j, %J or --json: the whole message as an object.
func (p *printer) json(spec byte, m *packet.Publish, now time.Time) {
	var payload jsonValue = jsonText(m.Payload)
	switch {
	case len(m.Payload) == 0:
		payload = jsonNull
	case spec != 'j':
		v, err := parseJSON(m.Payload)
		if err == nil {
			payload = v
		} else if spec == 'J' {
			complain(p.e, p.o, fmt.Sprintf("Error: Message payload is not valid JSON on topic %s.", m.Topic))
			return
		}
	}
	object := jsonObject{
		{"tst", jsonText(now.Format("2006-01-02T15:04:05.000000-0700"))},
		{"topic", jsonText(m.Topic)},
		{"qos", jsonNumber(m.QoS)},
		{"retain", jsonBool(m.Retain)},
		{"payloadlen", jsonNumber(len(m.Payload))},
	}
	if m.QoS > mqtt.AtMostOnce {
		object = append(object, member{"mid", jsonNumber(m.PacketID)})
	}
	if props := jsonProperties(m.Props); len(props) > 0 {
		object = append(object, member{"properties", props})
	}
	object = append(object, member{"payload", payload})
	p.out = object.write(p.out, p.o.pretty, 0)
}

// jsonProperties are the properties in the order of the packet; user properties stand together where the first of them was.
func jsonProperties(props packet.Props) jsonObject {
	var object jsonObject
	user := -1
	for id, n, v, v2, rest := props.Next(); id != 0; id, n, v, v2, rest = rest.Next() {
		switch id {
		case packet.PropUser:
			if user < 0 {
				user = len(object)
				object = append(object, member{"user-properties", jsonArray(nil)})
			}
			list, _ := object[user].value.(jsonArray)
			object[user].value = append(list, jsonObject{{string(v), jsonText(v2)}})
		case packet.PropContentType, packet.PropResponseTopic, packet.PropCorrelationData:
			object = append(object, member{propertyNames[id], jsonText(v)})
		default:
			if name := propertyNames[id]; name != "" {
				object = append(object, member{name, jsonNumber(n)})
			}
		}
	}
	return object
}

var propertyNames = map[packet.PropID]string{
	packet.PropContentType: "content-type", packet.PropCorrelationData: "correlation-data", packet.PropMessageExpiry: "message-expiry-interval",
	packet.PropPayloadFormat: "payload-format-indicator", packet.PropResponseTopic: "response-topic",
	packet.PropSubscriptionID: "subscription-identifier", packet.PropTopicAlias: "topic-alias",
}
