package mosqdb

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// cursor takes fields from a chunk's body. The first field that is not there
// sets err; what is taken then is zero.
type cursor struct {
	b   []byte
	err error
}

var errShort = errors.New("the length is too short for the fields")

func (c *cursor) bytes(n int) []byte {
	if c.err != nil || n > len(c.b) {
		if c.err == nil {
			c.err = errShort
		}
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) u8() uint8 {
	if b := c.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if b := c.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// u64 is in the byte order of the machine that wrote.
func (c *cursor) u64() uint64 {
	if b := c.bytes(8); b != nil {
		return byteOrder.Uint64(b)
	}
	return 0
}

func (c *cursor) text(n uint16) string { return string(c.bytes(int(n))) }

// str is a string of versions 2 to 4: its length goes in front.
func (c *cursor) str() string { return c.text(c.u16()) }

// done reports what is wrong with the fields, or with bytes behind them.
func (c *cursor) done() error {
	if c.err == nil && len(c.b) > 0 {
		return fmt.Errorf("%d bytes too many", len(c.b))
	}
	return c.err
}

func (r *Reader) decode(c *Chunk, body []byte) error {
	x := &cursor{b: body}
	old := r.Version < 5
	var err error
	switch c.Type {
	case TypeConfig:
		c.Config, err = decodeConfig(x, old)
	case TypeMessage:
		if old {
			c.Message, err = decodeMessageOld(x, r.Version)
		} else {
			c.Message, err = decodeMessage(x)
		}
	case TypeClientMessage:
		if old {
			c.ClientMessage, err = decodeClientMessageOld(x)
		} else {
			c.ClientMessage, err = decodeClientMessage(x)
		}
	case TypeRetained:
		c.Retained, err = x.u64(), x.done()
	case TypeSubscription:
		if old {
			c.Subscription, err = decodeSubscriptionOld(x)
		} else {
			c.Subscription, err = decodeSubscription(x)
		}
	case TypeClient:
		if old {
			c.Client, err = decodeClientOld(x, r.Version)
		} else {
			c.Client, err = decodeClient(x, r.Version)
		}
	default: // Next has sorted them out
		err = errors.New("unknown type")
	}
	return err
}

func decodeConfig(x *cursor, old bool) (*Config, error) {
	v := &Config{}
	if old {
		v.Shutdown, v.IDSize = x.u8() != 0, x.u8()
		if x.err == nil && v.IDSize != 8 {
			return nil, fmt.Errorf("ids of %d bytes, only 8 are read", v.IDSize)
		}
		v.LastID = x.u64()
		return v, x.done()
	}
	v.LastID, v.Shutdown, v.IDSize = x.u64(), x.u8() != 0, x.u8()
	x.b = nil // padding: six bytes, or two where 64-bit integers are aligned to four
	if x.err == nil && v.IDSize != 8 {
		return nil, fmt.Errorf("ids of %d bytes, only 8 are read", v.IDSize)
	}
	return v, x.done()
}

func decodeMessage(x *cursor) (*Message, error) {
	v := &Message{ID: x.u64(), Expiry: int64(x.u64())}
	payload := x.u32()
	v.SourceMID = x.u16()
	id, user, topic := x.u16(), x.u16(), x.u16()
	v.SourcePort, v.QoS, v.Retain = x.u16(), x.u8(), x.u8() != 0
	v.SourceID, v.SourceUserName, v.Topic = x.text(id), x.text(user), x.text(topic)
	if payload > mqtt.MaxVarint {
		return nil, fmt.Errorf("payload of %d bytes", payload)
	}
	v.Payload = x.bytes(int(payload))
	if x.err != nil {
		return nil, x.err
	}
	props, err := takeProperties(x)
	if err != nil {
		return nil, err
	}
	v.Properties = props
	return v, checkMessage(v)
}

func decodeMessageOld(x *cursor, version uint32) (*Message, error) {
	v := &Message{ID: x.u64(), SourceID: x.str()}
	if version == 4 {
		v.SourceUserName, v.SourcePort = x.str(), x.u16()
	}
	v.SourceMID = x.u16()
	x.u16() // the broker's own message id, which nothing refers to
	v.Topic, v.QoS, v.Retain = x.str(), x.u8(), x.u8() != 0
	if n := x.u32(); n <= mqtt.MaxVarint {
		v.Payload = x.bytes(int(n))
	} else {
		return nil, fmt.Errorf("payload of %d bytes", n)
	}
	if err := x.done(); err != nil {
		return nil, err
	}
	return v, checkMessage(v)
}

func checkMessage(v *Message) error {
	if v.QoS > 2 {
		return fmt.Errorf("QoS %d", v.QoS)
	}
	if err := mqtt.CheckTopicName(v.Topic); err != nil {
		return fmt.Errorf("topic %q: %w", v.Topic, err)
	}
	return nil
}

// takeProperties takes a property block, which fills the rest of the chunk.
func takeProperties(x *cursor) ([]byte, error) {
	if len(x.b) == 0 {
		return nil, nil
	}
	n, size, ok := packet.ReadVarint(x.b, false)
	if !ok || int(n) != len(x.b)-size {
		return nil, fmt.Errorf("properties: the length does not fit the %d bytes that are left", len(x.b))
	}
	p := x.b[size:len(x.b):len(x.b)]
	x.b = nil
	if err := CheckProperties(p); err != nil {
		return nil, err
	}
	return p, nil
}

// CheckProperties judges encoded properties, without their length, by the rules
// of PUBLISH.
func CheckProperties(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	body := make([]byte, 0, 3+5+len(p))
	body = append(body, 0, 1, 't')
	body = packet.AppendVarint(body, uint32(len(p)))
	var pub packet.Publish
	if err := pub.Decode(mqtt.V5, byte(packet.PUBLISH)<<4, append(body, p...)); err != nil {
		return fmt.Errorf("properties: %w", err)
	}
	return nil
}

func decodeClientMessage(x *cursor) (*ClientMessage, error) {
	v := &ClientMessage{MessageID: x.u64(), MID: x.u16()}
	id := x.u16()
	v.QoS, v.State, v.RetainDup, v.Direction = x.u8(), State(x.u8()), x.u8(), x.u8()
	v.ClientID = x.text(id)
	if x.err != nil {
		return nil, x.err
	}
	props, err := takeProperties(x)
	if err != nil {
		return nil, err
	}
	v.SubscriptionID, _ = packet.Props(props).Uint(packet.PropSubscriptionID)
	return v, checkClientMessage(v)
}

func decodeClientMessageOld(x *cursor) (*ClientMessage, error) {
	v := &ClientMessage{ClientID: x.str(), MessageID: x.u64(), MID: x.u16(), QoS: x.u8()}
	retain := x.u8()
	v.Direction, v.State = x.u8(), State(x.u8())
	v.RetainDup = retain<<4 | x.u8()&0x0F
	if err := x.done(); err != nil {
		return nil, err
	}
	return v, checkClientMessage(v)
}

func checkClientMessage(v *ClientMessage) error {
	switch {
	case v.ClientID == "":
		return errors.New("no client id")
	case v.QoS > 2:
		return fmt.Errorf("QoS %d", v.QoS)
	case v.Direction > Out:
		return fmt.Errorf("direction %d", v.Direction)
	case v.State == 0 || v.State > StateQueued:
		return fmt.Errorf("state %d", v.State)
	}
	return nil
}

func decodeSubscription(x *cursor) (*Subscription, error) {
	v := &Subscription{ID: x.u32()}
	id, filter := x.u16(), x.u16()
	v.QoS, v.Options = x.u8(), x.u8()
	x.u16() // padding
	v.ClientID, v.Filter = x.text(id), x.text(filter)
	if err := x.done(); err != nil {
		return nil, err
	}
	return v, checkSubscription(v)
}

func decodeSubscriptionOld(x *cursor) (*Subscription, error) {
	v := &Subscription{ClientID: x.str(), Filter: x.str(), QoS: x.u8()}
	if err := x.done(); err != nil {
		return nil, err
	}
	return v, checkSubscription(v)
}

func checkSubscription(v *Subscription) error {
	if v.ClientID == "" {
		return errors.New("no client id")
	}
	if v.QoS > 2 {
		return fmt.Errorf("QoS %d", v.QoS)
	}
	_, inner, _, err := mqtt.ParseShared(v.Filter)
	if err == nil {
		err = mqtt.CheckFilter(inner)
	}
	if err != nil {
		return fmt.Errorf("filter %q: %w", v.Filter, err)
	}
	if v.ID > mqtt.MaxSubscriptionID {
		return fmt.Errorf("subscription identifier %d", v.ID)
	}
	return nil
}

func decodeClient(x *cursor, version uint32) (*Client, error) {
	v := &Client{ExpiryTime: int64(x.u64()), ExpiryInterval: x.u32(), LastMID: x.u16()}
	id := x.u16()
	if version == 5 {
		v.ID = x.text(id)
	} else {
		v.ListenerPort = x.u16()
		user := x.u16()
		// Four bytes of padding, none where 64-bit integers are aligned to four.
		if len(x.b) != int(id)+int(user) {
			x.u32()
		}
		v.ID, v.UserName = x.text(id), x.text(user)
	}
	if err := x.done(); err != nil {
		return nil, err
	}
	return v, checkClient(v)
}

func decodeClientOld(x *cursor, version uint32) (*Client, error) {
	v := &Client{ID: x.str(), LastMID: x.u16(), ExpiryInterval: mqtt.NeverExpires}
	if version > 2 {
		// A time_t of the machine that wrote.
		if len(x.b) == 4 {
			v.Disconnected = int64(int32(byteOrder.Uint32(x.bytes(4))))
		} else {
			v.Disconnected = int64(x.u64())
		}
	}
	if err := x.done(); err != nil {
		return nil, err
	}
	return v, checkClient(v)
}

func checkClient(v *Client) error {
	if v.ID == "" {
		return errors.New("no client id")
	}
	return nil
}
