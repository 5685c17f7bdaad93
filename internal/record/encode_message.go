package record

import (
	"encoding/binary"
	"fmt"

	"github.com/midgemq/midge/mqtt"
)

// Bits of the flags of a message.
const (
	messageQoS       = 0x03
	messageRetain    = 1 << 2
	messageExpires   = 1 << 3
	messageProps     = 1 << 4
	messagePublisher = 1 << 5
	messageAt        = 1 << 6
	messageUser      = 1 << 7
)

// AppendMessage appends the body of a message.
func AppendMessage(dst []byte, m *Message, s Shift) []byte {
	flags := byte(m.QoS) & messageQoS
	if m.Retain {
		flags |= messageRetain
	}
	if m.Expires != 0 {
		flags |= messageExpires
	}
	if len(m.Props) > 0 {
		flags |= messageProps
	}
	if m.Publisher != "" {
		flags |= messagePublisher
	}
	if m.At != 0 {
		flags |= messageAt
	}
	if m.PublisherUser != "" {
		flags |= messageUser
	}
	dst = binary.AppendUvarint(append(dst, flags), m.Seq)
	if m.Expires != 0 {
		dst = s.append(dst, m.Expires)
	}
	if m.At != 0 {
		dst = s.append(dst, m.At)
	}
	dst = appendBytes(dst, m.Topic)
	if len(m.Props) > 0 {
		dst = appendBytes(dst, m.Props)
	}
	if m.Publisher != "" {
		dst = appendBytes(dst, m.Publisher)
	}
	if m.PublisherUser != "" {
		dst = appendBytes(dst, m.PublisherUser)
	}
	return append(dst, m.Payload...)
}

// ParseMessage reads the body of a message, which it copies.
func ParseMessage(b []byte, s Shift) (*Message, error) {
	r := reader{b: b}
	flags := r.byte()
	if flags&messageQoS > byte(mqtt.ExactlyOnce) {
		return nil, damaged(fmt.Sprintf("message flags %#x", flags))
	}
	seq := r.uvarint()
	var expires, at Instant
	if flags&messageExpires != 0 {
		expires = r.instant(s)
	}
	if flags&messageAt != 0 {
		at = r.instant(s)
	}
	topic := r.bytes()
	var props, publisher, user []byte
	if flags&messageProps != 0 {
		props = r.bytes()
	}
	if flags&messagePublisher != 0 {
		publisher = r.bytes()
	}
	if flags&messageUser != 0 {
		user = r.bytes()
	}
	if err := r.err("message"); err != nil {
		return nil, err
	}
	m := NewMessage(topic, r.b, props)
	m.Seq, m.Expires, m.At, m.Publisher = seq, expires, at, string(publisher)
	m.PublisherUser = string(user)
	m.QoS, m.Retain = mqtt.QoS(flags&messageQoS), flags&messageRetain != 0
	return m, nil
}

// Entry is a queue entry as it is stored: with its message inside or, by Ref, in
// a record of its own.
type Entry struct {
	Queued
	// Ref is the number of the message record, 0: the message is inside.
	Ref uint64
	// Order is the place in the order of sending, 0: not sent when this was stored.
	Order uint64
	// Size is Msg.Size, which a reference repeats.
	Size     uint32
	PacketID uint16
	State    uint8
}

// Bits of the flags of an entry.
const (
	entryQoS    = 0x03
	entryRetain = 1 << 2
	entrySubID  = 1 << 3
	entryGroup  = 1 << 4
	entrySent   = 1 << 5
	entryRef    = 1 << 6
	entryKnown  = 1<<7 - 1
)

// AppendEntry appends the body of an entry; its Seq is in the key.
func AppendEntry(dst []byte, e *Entry, s Shift) []byte {
	flags := byte(e.QoS) & entryQoS
	if e.Retain {
		flags |= entryRetain
	}
	if e.SubID != 0 {
		flags |= entrySubID
	}
	if e.Group != "" {
		flags |= entryGroup
	}
	if e.Order != 0 {
		flags |= entrySent
	}
	if e.Ref != 0 {
		flags |= entryRef
	}
	dst = append(dst, flags)
	if e.SubID != 0 {
		dst = binary.AppendUvarint(dst, uint64(e.SubID))
	}
	if e.Group != "" {
		dst = appendBytes(dst, e.Group)
	}
	if e.Order != 0 {
		dst = binary.LittleEndian.AppendUint16(dst, e.PacketID)
		dst = binary.AppendUvarint(append(dst, e.State), e.Order)
	}
	if e.Ref != 0 {
		return binary.AppendUvarint(binary.AppendUvarint(dst, e.Ref), uint64(e.Size))
	}
	return AppendMessage(dst, e.Msg, s)
}

// ParseEntryHead reads all of an entry but the message inside it, whose body it
// returns; Msg is nil. It copies nothing but Group. Size is set.
func ParseEntryHead(b []byte, e *Entry) (message []byte, err error) {
	r := reader{b: b}
	flags := r.byte()
	if flags&^entryKnown != 0 || flags&entryQoS > byte(mqtt.ExactlyOnce) {
		return nil, damaged(fmt.Sprintf("entry flags %#x", flags))
	}
	*e = Entry{Queued: Queued{Seq: e.Seq, QoS: mqtt.QoS(flags & entryQoS), Retain: flags&entryRetain != 0}}
	if flags&entrySubID != 0 {
		e.SubID = r.uint32()
	}
	if flags&entryGroup != 0 {
		e.Group = r.string()
	}
	if flags&entrySent != 0 {
		e.PacketID, e.State, e.Order = r.uint16(), r.byte(), r.uvarint()
	}
	if flags&entryRef != 0 {
		e.Ref, e.Size = r.uvarint(), r.uint32()
		return nil, r.err("entry")
	}
	message = r.b
	e.Size = payloadSize(&r)
	return message, r.err("entry")
}

// payloadSize reads over a message's fields to its payload.
func payloadSize(r *reader) uint32 {
	flags := r.byte()
	r.uvarint()
	if flags&messageExpires != 0 {
		r.uint64()
	}
	if flags&messageAt != 0 {
		r.uint64()
	}
	r.bytes()
	if flags&messageProps != 0 {
		r.bytes()
	}
	if flags&messagePublisher != 0 {
		r.bytes()
	}
	if flags&messageUser != 0 {
		r.bytes()
	}
	return uint32(len(r.b))
}

// ParseEntry reads an entry whole; the message of one by reference is the
// caller's to fetch.
func ParseEntry(b []byte, e *Entry, s Shift) error {
	message, err := ParseEntryHead(b, e)
	if err == nil && e.Ref == 0 {
		e.Msg, err = ParseMessage(message, s)
	}
	return err
}
