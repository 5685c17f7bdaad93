package script

import (
	"fmt"
	"strings"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// sending is a packet that a statement sends, and how its answer is treated.
type sending struct {
	pkt    *rawmqtt.Packet
	bytes  []byte // hand-made bytes instead of pkt
	autoID bool   // the runner picks the packet identifier
	nowait bool   // the usual answer is not awaited
}

var sendTypes = map[string]byte{
	"connect": rawmqtt.CONNECT, "publish": rawmqtt.PUBLISH, "puback": rawmqtt.PUBACK, "pubrec": rawmqtt.PUBREC,
	"pubrel": rawmqtt.PUBREL, "pubcomp": rawmqtt.PUBCOMP, "subscribe": rawmqtt.SUBSCRIBE,
	"unsubscribe": rawmqtt.UNSUBSCRIBE, "pingreq": rawmqtt.PINGREQ, "disconnect": rawmqtt.DISCONNECT, "auth": rawmqtt.AUTH,
}

// builder fills one packet from words; each method reads one of them.
type builder struct {
	*env
	v   byte
	s   sending
	pos int  // positional words seen
	sep bool // a comma was the last word: a filter follows, whatever it looks like
}

// buildSend makes the packet of "NAME verb words…" for a connection of version v.
func (e *env) buildSend(verb string, words []word, v byte) (*sending, error) {
	if verb == "raw" {
		b, err := e.rawBytes(words)
		return &sending{bytes: b, nowait: true}, err
	}
	t, ok := sendTypes[verb]
	if !ok {
		return nil, fmt.Errorf("unknown verb %q", verb)
	}
	b := &builder{env: e, v: v}
	p := &rawmqtt.Packet{Type: t, Flags: rawmqtt.FixedFlags(t)}
	b.s.pkt = p
	switch t {
	case rawmqtt.CONNECT:
		p.Connect = &rawmqtt.Connect{Name: "MQTT", Level: v, Clean: true}
		if v == rawmqtt.V31 {
			p.Connect.Name = "MQIsdp"
		}
	case rawmqtt.PUBLISH, rawmqtt.SUBSCRIBE, rawmqtt.UNSUBSCRIBE:
		b.s.autoID = true
	}
	for _, w := range words {
		if !e.holds(w.cond) {
			continue
		}
		if err := b.word(w); err != nil {
			return nil, err
		}
	}
	return &b.s, b.done()
}

func (b *builder) done() error {
	p := b.s.pkt
	switch p.Type {
	case rawmqtt.PUBLISH:
		if b.pos == 0 {
			return fmt.Errorf("publish wants a topic")
		}
		b.s.autoID = b.s.autoID && p.QoS() > 0
	case rawmqtt.PUBACK, rawmqtt.PUBREC, rawmqtt.PUBREL, rawmqtt.PUBCOMP:
		if b.s.autoID = false; b.pos == 0 {
			return fmt.Errorf("%s wants id=", strings.ToLower(rawmqtt.TypeName(p.Type)))
		}
	case rawmqtt.CONNECT:
		if p.Connect.Will == nil && b.pos > 0 {
			return fmt.Errorf("will fields without will=TOPIC")
		}
	}
	return nil
}

func (b *builder) word(w word) error {
	p := b.s.pkt
	if w.is("nowait") {
		b.s.nowait = true
		return nil
	}
	if ok, err := b.common(w); ok || err != nil {
		return err
	}
	var ok bool
	var err error
	switch p.Type {
	case rawmqtt.CONNECT:
		ok, err = b.connectWord(w)
	case rawmqtt.PUBLISH:
		ok, err = b.publishWord(w)
	case rawmqtt.SUBSCRIBE, rawmqtt.UNSUBSCRIBE:
		ok, err = b.filterWord(w)
	}
	if err == nil && !ok {
		err = fmt.Errorf("%s does not belong into %s", w.src, strings.ToLower(rawmqtt.TypeName(p.Type)))
	}
	return err
}

// common reads what several packets share: properties, id, reason, form.
func (b *builder) common(w word) (bool, error) {
	p := b.s.pkt
	if info, ok := rawmqtt.PropByName(w.name); ok {
		if b.v != rawmqtt.V5 {
			return true, fmt.Errorf("%s: a property on a 3.x connection; write [v5]%s", w.src, w.src)
		}
		q, err := b.prop(info, w)
		switch {
		case err != nil:
		case info.ID == 0x18 && p.Type == rawmqtt.CONNECT:
			b.will().Props = append(b.will().Props, q)
		default:
			p.Props = append(p.Props, q)
		}
		return true, err
	}
	switch w.name {
	case "id":
		if p.Type == rawmqtt.CONNECT {
			return false, nil
		}
		n, err := b.number(w, 65535)
		p.ID, b.s.autoID = uint16(n), false
		if p.Type != rawmqtt.PUBLISH && p.Type != rawmqtt.SUBSCRIBE && p.Type != rawmqtt.UNSUBSCRIBE {
			b.pos++
		}
		return true, err
	case "reason":
		n, err := b.number(w, 255)
		p.Reason = byte(n)
		return true, err
	case "form":
		forms := map[string]rawmqtt.Form{"short": rawmqtt.FormShort, "reason": rawmqtt.FormReason, "full": rawmqtt.FormFull}
		f, ok := forms[w.value]
		if !ok {
			return true, fmt.Errorf("%s: short, reason or full is wanted", w.src)
		}
		p.Form = f
		return true, nil
	case "flags":
		n, err := b.number(w, 255)
		if p.Type == rawmqtt.CONNECT {
			p.Connect.ExtraFlags = byte(n)
		} else {
			p.Flags = byte(n) & 15
		}
		return true, err
	}
	return false, nil
}

// prop reads name=value as a property.
func (e *env) prop(info rawmqtt.PropInfo, w word) (rawmqtt.Prop, error) {
	q := rawmqtt.Prop{ID: info.ID}
	switch info.Kind {
	case rawmqtt.String, rawmqtt.Binary:
		s, err := e.text(w)
		q.Str = s
		return q, err
	case rawmqtt.Pair:
		s, err := e.text(w)
		var ok bool
		if q.Str, q.Str2, ok = strings.Cut(s, ":"); !ok && err == nil {
			err = fmt.Errorf("%s: name:value is wanted", w.src)
		}
		return q, err
	default: // the others need nothing
	}
	limit := map[rawmqtt.Kind]uint64{rawmqtt.Byte: 255, rawmqtt.TwoByte: 65535, rawmqtt.FourByte: 1<<32 - 1, rawmqtt.Varint: 1<<28 - 1}
	n, err := e.number(w, limit[info.Kind])
	q.Num = uint32(n)
	return q, err
}

func (b *builder) will() *rawmqtt.Will {
	c := b.s.pkt.Connect
	if c.Will == nil {
		c.Will = &rawmqtt.Will{}
		b.pos++ // until will= says the topic
	}
	return c.Will
}

func (b *builder) connectWord(w word) (bool, error) {
	c := b.s.pkt.Connect
	if name, ok := strings.CutPrefix(w.name, "will."); ok {
		info, known := rawmqtt.PropByName(name)
		if !known {
			return false, nil
		}
		if b.v != rawmqtt.V5 {
			return true, fmt.Errorf("%s: a property on a 3.x connection; write [v5]%s", w.src, w.src)
		}
		q, err := b.prop(info, w)
		b.will().Props = append(b.will().Props, q)
		return true, err
	}
	text := func(dst *string) (bool, error) {
		s, err := b.text(w)
		*dst = s
		return true, err
	}
	switch w.name {
	case "id":
		return text(&c.ClientID)
	case "name":
		return text(&c.Name)
	case "user":
		c.User = new(string)
		return text(c.User)
	case "password":
		c.Password = new(string)
		return text(c.Password)
	case "will":
		b.will()
		b.pos = 0
		return text(&c.Will.Topic)
	case "will-payload":
		return text(&b.will().Payload)
	case "v":
		return true, nil // read by the runner, which needs it first
	case "level", "keepalive", "will-qos":
		return true, b.connectNumber(w)
	case "clean", "will-retain":
	case "":
		if !w.is("will-retain") {
			return false, nil
		}
	default:
		return false, nil
	}
	f, err := b.flag(w)
	if w.name == "clean" {
		c.Clean = f
	} else {
		b.will().Retain = f
	}
	return true, err
}

func (b *builder) connectNumber(w word) error {
	c := b.s.pkt.Connect
	max := map[string]uint64{"level": 255, "keepalive": 65535, "will-qos": 3}[w.name]
	n, err := b.number(w, max)
	switch w.name {
	case "level":
		c.Level = byte(n)
	case "keepalive":
		c.KeepAlive = uint16(n)
	case "will-qos":
		b.will().QoS = byte(n)
	}
	return err
}

func (b *builder) publishWord(w word) (bool, error) {
	p := b.s.pkt
	switch {
	case w.name == "qos":
		n, err := b.number(w, 3)
		p.Flags |= byte(n) << 1
		return true, err
	case w.name == "payload":
		s, err := b.text(w)
		p.Payload = []byte(s)
		return true, err
	case w.is("retain") || w.name == "retain":
		f, err := b.flag(w)
		if f {
			p.Flags |= 1
		}
		return true, err
	case w.is("dup") || w.name == "dup":
		f, err := b.flag(w)
		if f {
			p.Flags |= 8
		}
		return true, err
	case w.name != "":
		return false, nil
	case b.pos == 0:
		s, err := b.text(w)
		p.Topic = s
		b.pos++
		return true, err
	case b.pos == 1 && w.quoted:
		s, err := b.text(w)
		p.Payload = []byte(s)
		b.pos++
		return true, err
	}
	return false, nil
}

// filterWord reads filters of SUBSCRIBE and UNSUBSCRIBE; options belong to the
// filter before them.
func (b *builder) filterWord(w word) (bool, error) {
	p := b.s.pkt
	if w.is(",") {
		b.sep = true
		return true, nil
	}
	sep := b.sep
	b.sep = false
	var last *rawmqtt.Filter
	if n := len(p.Filters); n > 0 && p.Type == rawmqtt.SUBSCRIBE {
		last = &p.Filters[n-1]
	}
	option := func(max uint64, shift int) (bool, error) {
		if last == nil {
			return true, fmt.Errorf("%s before any filter", w.src)
		}
		n, err := b.number(w, max)
		last.Options |= byte(n) << shift
		return true, err
	}
	switch w.name {
	case "qos":
		return option(3, 0)
	case "rh":
		return option(3, 4)
	case "opts":
		return option(255, 0)
	case "nl", "rap":
		return option(1, map[string]int{"nl": 2, "rap": 3}[w.name])
	case "":
	default:
		return false, nil
	}
	if last != nil && !w.quoted && !sep {
		switch w.value {
		case "nl":
			last.Options |= 4
			return true, nil
		case "rap":
			last.Options |= 8
			return true, nil
		}
	}
	s, err := b.text(w)
	p.Filters = append(p.Filters, rawmqtt.Filter{Filter: s})
	return true, err
}
