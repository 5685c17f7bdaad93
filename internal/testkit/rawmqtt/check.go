package rawmqtt

import (
	"fmt"
	"strings"
)

// Checker follows one connection from the client's end and judges every packet
// of the server by what was said before. It is fed in order: Sent for each
// packet the client writes, Received for each one it reads.
type Checker struct {
	Version byte

	connect   *Packet // the accepted CONNECT as it was sent, nil when unknown
	raw       bool    // hand-made bytes were sent: answers cannot be matched to requests
	connacked bool
	refused   bool
	ended     bool // a server DISCONNECT was read
	session   bool // CONNACK said that a session was resumed

	sent    map[uint32]bool   // type<<16|id of requests that may be answered
	inbound map[uint16]byte   // id -> QoS of deliveries not fully acknowledged
	pubrecd map[uint16]bool   // ids for which PUBREC was sent
	known   map[uint32]string // topic alias -> topic
}

// NewChecker starts a checker for a connection of version v.
func NewChecker(v byte) *Checker {
	return &Checker{
		Version: v, sent: map[uint32]bool{}, inbound: map[uint16]byte{},
		pubrecd: map[uint16]bool{}, known: map[uint32]string{},
	}
}

// SentRaw notes that bytes outside the checker's knowledge were sent, so that
// answers can no longer be tied to requests. The packets themselves are judged on.
func (c *Checker) SentRaw() { c.raw = true }

func key(t byte, id uint16) uint32 { return uint32(t)<<16 | uint32(id) }

// Sent notes a packet that the client wrote.
func (c *Checker) Sent(p *Packet) {
	switch p.Type {
	case CONNECT:
		if c.connect == nil {
			c.connect = p
		}
	case PUBLISH, SUBSCRIBE, UNSUBSCRIBE, PUBREL, PUBREC:
		c.sent[key(p.Type, p.ID)] = true
	}
	switch p.Type {
	case PUBACK, PUBCOMP:
		delete(c.inbound, p.ID)
		delete(c.pubrecd, p.ID)
	case PUBREC:
		c.pubrecd[p.ID] = true
		if p.Reason >= 0x80 {
			delete(c.inbound, p.ID)
		}
	}
}

// connectProp reads a property of the CONNECT, def when absent or unknown.
func (c *Checker) connectProp(id byte, def uint32) uint32 {
	if c.connect == nil {
		return def
	}
	return c.connect.Props.Num(id, def)
}

// Received judges one packet read from the server.
func (c *Checker) Received(raw []byte) (*Packet, error) {
	p, err := Decode(c.Version, raw, true)
	if err != nil {
		return p, err
	}
	if err := c.order(p); err != nil {
		return p, err
	}
	if limit := c.connectProp(0x27, 0); limit > 0 && uint32(len(raw)) > limit {
		return p, fmt.Errorf("%s of %d bytes above the client's maximum packet size %d [MQTT-3.1.2-24]", TypeName(p.Type), len(raw), limit)
	}
	if err := c.problemInfo(p); err != nil {
		return p, err
	}
	switch p.Type {
	case CONNACK:
		err = c.connack(p)
	case PUBLISH:
		err = c.publish(p)
	case PUBREL:
		if _, ok := c.pubrecd[p.ID]; !ok && !c.session && !c.raw {
			err = fmt.Errorf("PUBREL %d without a PUBREC", p.ID)
		}
	case PUBACK, PUBREC:
		err = c.answers(p, PUBLISH)
	case PUBCOMP:
		err = c.answers(p, PUBREL)
	case SUBACK:
		err = c.answers(p, SUBSCRIBE)
	case UNSUBACK:
		err = c.answers(p, UNSUBSCRIBE)
	case AUTH:
		err = c.auth(p)
	}
	return p, err
}

// order holds the rules on what may follow what on a connection.
func (c *Checker) order(p *Packet) error {
	switch {
	case c.ended:
		return fmt.Errorf("%s after DISCONNECT [MQTT-3.14.4-1]", TypeName(p.Type))
	case c.refused:
		return fmt.Errorf("%s after a refusing CONNACK [MQTT-3.2.2-7]", TypeName(p.Type))
	case p.Type == CONNACK && c.connacked:
		return fmt.Errorf("second CONNACK [MQTT-3.2.0-2]")
	case p.Type != CONNACK && p.Type != AUTH && !c.connacked:
		return fmt.Errorf("%s before CONNACK [MQTT-3.2.0-1]", TypeName(p.Type))
	}
	if p.Type == DISCONNECT {
		c.ended = true
	}
	return nil
}

// problemInfo holds [MQTT-3.1.2-29]: a client that wants no problem information
// gets it only on PUBLISH, CONNACK and DISCONNECT.
func (c *Checker) problemInfo(p *Packet) error {
	if c.connectProp(0x17, 1) == 1 || p.Type == PUBLISH || p.Type == CONNACK || p.Type == DISCONNECT {
		return nil
	}
	_, reason := p.Props.Get(0x1F)
	_, user := p.Props.Get(0x26)
	if reason || user {
		return fmt.Errorf("problem information on %s although it was not wanted [MQTT-3.1.2-29]", TypeName(p.Type))
	}
	return nil
}

func (c *Checker) connack(p *Packet) error {
	c.connacked = true
	c.refused = p.Reason != 0
	// A 3.1 CONNACK does not say whether a session was resumed.
	c.session = p.SessionPresent || c.Version == V31
	if c.connect == nil {
		return nil
	}
	q := c.connect.Connect
	if q.Clean && p.SessionPresent {
		return fmt.Errorf("session present after a clean start [MQTT-3.2.2-2]")
	}
	if c.Version != V5 || c.refused {
		return nil
	}
	assigned, has := p.Props.Get(0x12)
	switch {
	case has && q.ClientID != "":
		return fmt.Errorf("assigned client identifier %q although the client gave %q [MQTT-3.2.2-16]", assigned.Str, q.ClientID)
	case !has && q.ClientID == "":
		return fmt.Errorf("no assigned client identifier [MQTT-3.2.2-16]")
	case has && assigned.Str == "":
		return fmt.Errorf("empty assigned client identifier [MQTT-3.2.2-16]")
	}
	if _, has := p.Props.Get(0x1A); has && c.connectProp(0x19, 0) == 0 {
		return fmt.Errorf("response information without a request [MQTT-3.1.2-28]")
	}
	if _, has := p.Props.Get(0x1C); has {
		return fmt.Errorf("server reference beside success")
	}
	return c.method(p)
}

// method holds that every packet of an exchange names the method of the CONNECT
// [MQTT-4.12.0-5].
func (c *Checker) method(p *Packet) error {
	if c.connect == nil {
		return nil
	}
	asked, ok := c.connect.Props.Get(0x15)
	got, has := p.Props.Get(0x15)
	if ok != has || asked.Str != got.Str {
		return fmt.Errorf("authentication method %q in %s, %q in CONNECT [MQTT-4.12.0-5]", got.Str, TypeName(p.Type), asked.Str)
	}
	return nil
}

func (c *Checker) auth(p *Packet) error {
	if c.connect != nil && !c.raw {
		if _, ok := c.connect.Props.Get(0x15); !ok {
			return fmt.Errorf("AUTH to a client that named no method [MQTT-4.12.0-6]")
		}
	}
	return c.method(p)
}

// answers holds that an acknowledgement belongs to a request on this connection.
func (c *Checker) answers(p *Packet, request byte) error {
	if c.raw || c.sent[key(request, p.ID)] {
		return nil
	}
	return fmt.Errorf("%s %d answers no %s", TypeName(p.Type), p.ID, TypeName(request))
}

func (c *Checker) publish(p *Packet) error {
	if err := c.alias(p); err != nil {
		return err
	}
	if strings.ContainsRune(p.Topic, 0) {
		return fmt.Errorf("U+0000 in topic")
	}
	if p.QoS() == 0 {
		return nil
	}
	if p.Dup() && !c.session && c.Version != V31 {
		return fmt.Errorf("DUP on a connection that resumed nothing [MQTT-3.3.1-1]")
	}
	_, again := c.inbound[p.ID]
	if again && c.Version != V31 {
		return fmt.Errorf("packet identifier %d used while in flight [MQTT-2.2.1-4]", p.ID)
	}
	c.inbound[p.ID] = p.QoS()
	if limit := c.connectProp(0x21, 65535); uint32(len(c.inbound)) > limit {
		return fmt.Errorf("%d messages in flight above the client's receive maximum %d [MQTT-3.3.4-9]", len(c.inbound), limit)
	}
	return nil
}

// alias resolves a topic alias into p.Topic and judges its use [MQTT-3.1.2-26].
func (c *Checker) alias(p *Packet) error {
	a, ok := p.Props.Get(0x23)
	if !ok {
		return nil
	}
	if limit := c.connectProp(0x22, 0); a.Num > limit {
		return fmt.Errorf("topic alias %d above the client's maximum %d [MQTT-3.1.2-26]", a.Num, limit)
	}
	if p.Topic != "" {
		c.known[a.Num] = p.Topic
		return nil
	}
	topic, ok := c.known[a.Num]
	if !ok {
		return fmt.Errorf("topic alias %d was never set", a.Num)
	}
	p.Topic = topic
	return nil
}
