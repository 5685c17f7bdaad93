package mosqdb

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// Writer writes chunks of version 6. The order is the caller's: Mosquitto wants a
// message before what refers to it, and a client before its messages and
// subscriptions.
type Writer struct {
	w   io.Writer
	buf []byte
}

// NewWriter returns a Writer that has written nothing yet.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Header writes what opens the file.
func (w *Writer) Header() error {
	b := append(w.buf[:0], magic...)
	b = append(b, 0, 0, 0, 0)
	w.buf = binary.BigEndian.AppendUint32(b, MaxVersion)
	return w.flush()
}

// Config writes the chunk about the file itself.
func (w *Writer) Config(v *Config) error {
	b := w.begin(TypeConfig, sizeConfig)
	b = byteOrder.AppendUint64(b, v.LastID)
	b = append(b, flag(v.Shutdown), 8)
	w.buf = append(b, 0, 0, 0, 0, 0, 0)
	return w.flush()
}

// Message writes an application message.
func (w *Writer) Message(v *Message) error {
	if err := names(v.SourceID, v.SourceUserName, v.Topic); err != nil {
		return fmt.Errorf("message %d: %w", v.ID, err)
	}
	n := sizeMessage + len(v.SourceID) + len(v.SourceUserName) + len(v.Topic) + len(v.Payload) + blockSize(v.Properties)
	if n > maxChunk {
		return fmt.Errorf("message %d: %d bytes are above the limit %d", v.ID, n, maxChunk)
	}
	b := w.begin(TypeMessage, n)
	b = byteOrder.AppendUint64(b, v.ID)
	b = byteOrder.AppendUint64(b, uint64(v.Expiry))
	b = binary.BigEndian.AppendUint32(b, uint32(len(v.Payload)))
	b = put16(b, v.SourceMID, uint16(len(v.SourceID)), uint16(len(v.SourceUserName)), uint16(len(v.Topic)), v.SourcePort)
	b = append(b, v.QoS, flag(v.Retain))
	b = append(b, v.SourceID...)
	b = append(b, v.SourceUserName...)
	b = append(b, v.Topic...)
	b = append(b, v.Payload...)
	w.buf = appendBlock(b, v.Properties)
	return w.flush()
}

// Client writes a session.
func (w *Writer) Client(v *Client) error {
	if err := names(v.ID, v.UserName); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	b := w.begin(TypeClient, sizeClient+len(v.ID)+len(v.UserName))
	b = byteOrder.AppendUint64(b, uint64(v.ExpiryTime))
	b = binary.BigEndian.AppendUint32(b, v.ExpiryInterval)
	b = put16(b, v.LastMID, uint16(len(v.ID)), v.ListenerPort, uint16(len(v.UserName)), 0, 0)
	b = append(b, v.ID...)
	w.buf = append(b, v.UserName...)
	return w.flush()
}

// ClientMessage writes an entry of a client's queue.
func (w *Writer) ClientMessage(v *ClientMessage) error {
	if err := names(v.ClientID); err != nil {
		return fmt.Errorf("client message: %w", err)
	}
	var props []byte
	if v.SubscriptionID != 0 {
		props = packet.AppendUint(nil, packet.PropSubscriptionID, v.SubscriptionID)
	}
	b := w.begin(TypeClientMessage, sizeClientMessage+len(v.ClientID)+blockSize(props))
	b = byteOrder.AppendUint64(b, v.MessageID)
	b = put16(b, v.MID, uint16(len(v.ClientID)))
	b = append(b, v.QoS, byte(v.State), v.RetainDup, v.Direction)
	b = append(b, v.ClientID...)
	w.buf = appendBlock(b, props)
	return w.flush()
}

// Subscription writes a subscription.
func (w *Writer) Subscription(v *Subscription) error {
	if err := names(v.ClientID, v.Filter); err != nil {
		return fmt.Errorf("subscription: %w", err)
	}
	b := w.begin(TypeSubscription, sizeSubscription+len(v.ClientID)+len(v.Filter))
	b = binary.BigEndian.AppendUint32(b, v.ID)
	b = put16(b, uint16(len(v.ClientID)), uint16(len(v.Filter)))
	b = append(b, v.QoS, v.Options, 0, 0)
	b = append(b, v.ClientID...)
	w.buf = append(b, v.Filter...)
	return w.flush()
}

// Retained marks a message as the retained one of its topic.
func (w *Writer) Retained(id uint64) error {
	w.buf = byteOrder.AppendUint64(w.begin(TypeRetained, sizeRetained), id)
	return w.flush()
}

func (w *Writer) begin(t Type, n int) []byte {
	b := binary.BigEndian.AppendUint32(w.buf[:0], uint32(t))
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

func (w *Writer) flush() error {
	_, err := w.w.Write(w.buf)
	if cap(w.buf) > 1<<20 {
		w.buf = nil
	}
	return err
}

// names refuses what does not fit a 16-bit length.
func names(all ...string) error {
	for _, s := range all {
		if len(s) > mqtt.MaxString {
			return fmt.Errorf("a name of %d bytes, at most %d fit", len(s), mqtt.MaxString)
		}
	}
	return nil
}

func put16(b []byte, all ...uint16) []byte {
	for _, v := range all {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return b
}

func flag(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// blockSize is the size of a property block, which is left out when empty.
func blockSize(p []byte) int {
	if len(p) == 0 {
		return 0
	}
	return packet.VarintSize(uint32(len(p))) + len(p)
}

func appendBlock(b, p []byte) []byte {
	if len(p) == 0 {
		return b
	}
	return append(packet.AppendVarint(b, uint32(len(p))), p...)
}

// Write writes a whole DB in the order in which Mosquitto writes.
func Write(out io.Writer, db *DB) error {
	w := NewWriter(out)
	if err := w.Header(); err != nil {
		return err
	}
	if err := w.Config(&db.Config); err != nil {
		return err
	}
	for i := range db.Messages {
		if err := w.Message(&db.Messages[i]); err != nil {
			return err
		}
	}
	byClient := make(map[string][]*ClientMessage)
	for i := range db.ClientMessages {
		m := &db.ClientMessages[i]
		byClient[m.ClientID] = append(byClient[m.ClientID], m)
	}
	for i := range db.Clients {
		c := &db.Clients[i]
		if err := w.Client(c); err != nil {
			return err
		}
		for _, m := range byClient[c.ID] {
			if err := w.ClientMessage(m); err != nil {
				return err
			}
		}
		delete(byClient, c.ID)
	}
	for i := range db.Subscriptions {
		if err := w.Subscription(&db.Subscriptions[i]); err != nil {
			return err
		}
	}
	for _, id := range db.Retained {
		if err := w.Retained(id); err != nil {
			return err
		}
	}
	if len(byClient) > 0 {
		return fmt.Errorf("messages of %d clients that are not in the list of clients", len(byClient))
	}
	return nil
}
