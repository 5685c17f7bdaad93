package packet

import (
	"encoding/binary"
	"errors"

	"github.com/midgemq/midge/mqtt"
)

// Publish carries an application message, in both directions.
type Publish struct {
	Dup, Retain bool
	QoS         mqtt.QoS
	Topic       []byte // empty only in 5.0, with a Topic Alias
	PacketID    uint16 // 0 with QoS 0
	Props       Props
	Payload     []byte

	// PropSet tells which properties are there, so that none need be searched in vain; filled by Decode, ignored by Append. A
	// Subscription Identifier in it is legal only from the server [MQTT-3.3.4-6] (see CheckRole).
	PropSet PropSet
}

// Decode reads the body of a PUBLISH. On an error the packet holds what had been read before the fault; PacketID is among it when
// the topic's wildcards or depth were the fault, so that 5.0 can refuse the message alone.
func (p *Publish) Decode(v mqtt.Version, first byte, body []byte) error {
	*p = Publish{Dup: first&8 != 0, Retain: first&1 != 0, QoS: mqtt.QoS(first >> 1 & 3)}
	if p.QoS > mqtt.ExactlyOnce {
		return faultQoS.in(PUBLISH)
	}
	if p.Dup && p.QoS == 0 {
		return faultDup.in(PUBLISH)
	}
	topic, rest, ok := field(body)
	if !ok {
		return faultShort.in(PUBLISH)
	}
	p.Topic = topic
	var e *Error
	if p.QoS != 0 {
		if p.PacketID, rest, e = packetID(rest, PUBLISH); e != nil {
			return e
		}
	}
	if v == mqtt.V5 {
		if p.Props, p.PropSet, rest, e = readProps(rest, PUBLISH); e != nil {
			return e
		}
	}
	p.Payload = rest[:len(rest):len(rest)]
	if len(topic) == 0 && p.PropSet.Has(PropTopicAlias) {
		return nil
	}
	return result(checkTopic(topic, PUBLISH))
}

// checkTopic judges a topic name for PUBLISH or WILL.
func checkTopic(topic []byte, t Type) *Error {
	err := mqtt.CheckTopicNameBytes(topic)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, mqtt.ErrTopicEmpty):
		return faultTopicEmpty.in(t)
	case errors.Is(err, mqtt.ErrTopicWildcard):
		return faultTopicWildcard.in(t)
	case errors.Is(err, mqtt.ErrTopicLevels):
		return faultTopicLevels.in(t)
	}
	return faultText.in(t)
}

// Kind is PUBLISH.
func (p *Publish) Kind() Type { return PUBLISH }

// Size is the number of bytes Append writes.
func (p *Publish) Size(v mqtt.Version) int {
	return PublishSize(v, len(p.Topic), p.QoS, len(p.Props), len(p.Payload))
}

// Append writes the packet. Below 5.0 the properties are left out.
func (p *Publish) Append(dst []byte, v mqtt.Version) []byte {
	dst = AppendPublishHeader(dst, PublishFirst(p.QoS, p.Dup, p.Retain), v, p.Topic, p.PacketID, len(p.Payload), p.Props)
	return append(dst, p.Payload...)
}

// PublishFirst makes the first byte of a PUBLISH. With QoS 0 DUP is never set [MQTT-3.3.1-2].
func PublishFirst(q mqtt.QoS, dup, retain bool) byte {
	b := byte(PUBLISH)<<4 | byte(q)<<1
	if dup && q != 0 {
		b |= 8
	}
	if retain {
		b |= 1
	}
	return b
}

// PublishSize is the size of a whole PUBLISH; propsLen is that of the encoded list without its length, ignored below 5.0.
func PublishSize(v mqtt.Version, topicLen int, q mqtt.QoS, propsLen, payloadLen int) int {
	return frameSize(publishRemaining(v, topicLen, q, propsLen, payloadLen))
}

func publishRemaining(v mqtt.Version, topicLen int, q mqtt.QoS, propsLen, payloadLen int) int {
	n := 2 + topicLen + payloadLen
	if q != 0 {
		n += 2
	}
	if v == mqtt.V5 {
		n += VarintSize(uint32(propsLen)) + propsLen
	}
	return n
}

// AppendPublishHeader writes everything of a PUBLISH but its payload, which the caller appends or sends from where it lies. first
// comes from PublishFirst; id is ignored when that says QoS 0; props are the parts of the property list in their order, without a
// length, ignored below 5.0. Nothing is allocated but what dst needs to grow.
func AppendPublishHeader[T ~string | ~[]byte](dst []byte, first byte, v mqtt.Version, topic T, id uint16, payloadLen int, props ...[]byte) []byte {
	propsLen := 0
	for _, p := range props {
		propsLen += len(p)
	}
	q := mqtt.QoS(first >> 1 & 3)
	dst = appendHeader(dst, first, publishRemaining(v, len(topic), q, propsLen, payloadLen))
	dst = appendField(dst, topic)
	if q != 0 {
		dst = appendUint16(dst, id)
	}
	if v == mqtt.V5 {
		dst = AppendVarint(dst, uint32(propsLen))
		for _, p := range props {
			dst = append(dst, p...)
		}
	}
	return dst
}

// PublishIDOffset tells where the packet identifier stands in an encoded PUBLISH of QoS 1 or 2, so that one encoding serves many
// receivers: copy it, then write two bytes there. 0 means that frame is no such packet.
func PublishIDOffset(frame []byte) int {
	first, _, n, err := ParseHeader(frame, false)
	if err != nil || n == 0 || first>>4 != byte(PUBLISH) || first&6 == 0 || len(frame) < n+2 {
		return 0
	}
	at := n + 2 + int(binary.BigEndian.Uint16(frame[n:]))
	if len(frame) < at+2 {
		return 0
	}
	return at
}

// PeekTopic reads the topic of a PUBLISH body without judging it; ok is false when the body is too short.
func PeekTopic(body []byte) (topic []byte, ok bool) {
	topic, _, ok = field(body)
	return topic, ok
}

// Message copies the packet into the friendly form, which owns its memory.
func (p *Publish) Message() *mqtt.Message {
	return &mqtt.Message{
		Topic: string(p.Topic), Payload: append([]byte{}, p.Payload...), QoS: p.QoS, Retain: p.Retain, Dup: p.Dup,
		PacketID: p.PacketID, Properties: p.Props.Parse(),
	}
}

// FromMessage makes the packet that carries m. The topic is copied, the payload is not.
func FromMessage(m *mqtt.Message) *Publish {
	return &Publish{
		Dup: m.Dup, Retain: m.Retain, QoS: m.QoS, Topic: []byte(m.Topic), PacketID: m.PacketID,
		Props: AppendProperties(nil, PUBLISH, m.Properties), Payload: m.Payload,
	}
}
