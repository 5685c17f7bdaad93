package mosqdb

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// wallNow is the clock of the tests, in seconds since 1970.
const wallNow = 1_700_000_000

// sample has something of everything that a file can hold.
func sample() *DB {
	props := packet.AppendString(nil, packet.PropContentType, "text/plain")
	props = packet.AppendPair(props, "k", "v")
	return &DB{
		Version: MaxVersion,
		Config:  Config{LastID: 7, Shutdown: true, IDSize: 8},
		Messages: []Message{
			{ID: 1, Topic: "a/1", Payload: []byte("one"), SourceID: "pub", SourceUserName: "alice", SourceMID: 9, SourcePort: 1883, QoS: 1},
			{ID: 2, Topic: "a/2", Payload: []byte("two"), Properties: props, SourceID: "pub", QoS: 2},
			{ID: 3, Topic: "a/3", Payload: []byte("three"), SourceID: "five", QoS: 2, Expiry: wallNow + 60},
			{ID: 4, Topic: "r", Payload: []byte("kept"), SourceID: "pub", QoS: 1, Retain: true},
			{ID: 5, Topic: "a/5", Payload: []byte("over"), QoS: 1, Expiry: wallNow - 1},
			{ID: 6, Topic: "a/6", Payload: []byte("half"), SourceID: "three", QoS: 2, Retain: true},
			{ID: 7, Topic: "a/7", SourceID: "pub", QoS: 1},
		},
		Clients: []Client{
			{ID: "three", UserName: "bob", ExpiryInterval: mqtt.NeverExpires, LastMID: 12, ListenerPort: 1883},
			{ID: "five", ExpiryTime: wallNow + 100, ExpiryInterval: 3600},
			{ID: "gone", ExpiryTime: wallNow - 5, ExpiryInterval: 60},
		},
		ClientMessages: []ClientMessage{
			{ClientID: "three", MessageID: 1, MID: 10, QoS: 1, State: StateWaitForPuback, Direction: Out, RetainDup: 0x01},
			{ClientID: "three", MessageID: 2, MID: 11, QoS: 2, State: StateWaitForPubcomp, Direction: Out},
			{ClientID: "three", MessageID: 3, MID: 12, QoS: 2, State: StateQueued, Direction: Out, RetainDup: 0x10},
			{ClientID: "three", MessageID: 6, MID: 77, QoS: 2, State: StateWaitForPubrel, Direction: In},
			{ClientID: "five", MessageID: 2, MID: 5, QoS: 2, State: StateWaitForPubrec, Direction: Out, SubscriptionID: 42},
			{ClientID: "five", MessageID: 1, MID: 6, QoS: 1, State: StateQueued, Direction: Out, SubscriptionID: 42},
			{ClientID: "five", MessageID: 5, MID: 7, QoS: 1, State: StateQueued, Direction: Out},
			{ClientID: "five", MessageID: 7, MID: 8, QoS: 1, State: StateQueued, Direction: Out},
			{ClientID: "gone", MessageID: 1, MID: 1, QoS: 1, State: StateQueued, Direction: Out},
		},
		Subscriptions: []Subscription{
			{ClientID: "three", Filter: "a/#", QoS: 2},
			{ClientID: "five", Filter: "a/+", ID: 42, QoS: 2, Options: OptionNoLocal | OptionRetainAsPublished},
			{ClientID: "gone", Filter: "a/#", QoS: 1},
		},
		Retained: []uint64{4},
	}
}

func encode(t testing.TB, db *DB) []byte {
	var b bytes.Buffer
	if err := Write(&b, db); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// old writes a file of an earlier version, from the tables of the format: 2 to 4
// have two-byte chunk types and lengths in front of strings, 5 shorter clients.
type old struct {
	b       []byte
	version uint32
	timeT   int // size of the writer's time_t
}

func encodeOld(db *DB, version uint32, timeT int) []byte {
	w := &old{version: version, timeT: timeT}
	w.b = append(w.b, magic...)
	w.b = append(w.b, 0, 0, 0, 0)
	w.b = binary.BigEndian.AppendUint32(w.b, version)
	var c []byte
	if version < 5 {
		c = append(c, flag(db.Config.Shutdown), 8)
		c = binary.LittleEndian.AppendUint64(c, db.Config.LastID)
	} else {
		c = binary.LittleEndian.AppendUint64(c, db.Config.LastID)
		c = append(c, flag(db.Config.Shutdown), 8, 0, 0, 0, 0, 0, 0)
	}
	w.chunk(TypeConfig, c)
	for i := range db.Messages {
		w.message(&db.Messages[i])
	}
	for i := range db.Clients {
		w.client(&db.Clients[i])
	}
	for i := range db.ClientMessages {
		w.clientMessage(&db.ClientMessages[i])
	}
	for i := range db.Subscriptions {
		w.subscription(&db.Subscriptions[i])
	}
	for _, id := range db.Retained {
		w.chunk(TypeRetained, binary.LittleEndian.AppendUint64(nil, id))
	}
	return w.b
}

func (w *old) chunk(t Type, body []byte) {
	if w.version < 5 {
		w.b = binary.BigEndian.AppendUint16(w.b, uint16(t))
	} else {
		w.b = binary.BigEndian.AppendUint32(w.b, uint32(t))
	}
	w.b = binary.BigEndian.AppendUint32(w.b, uint32(len(body)))
	w.b = append(w.b, body...)
}

func str(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func (w *old) message(v *Message) {
	var b []byte
	if w.version == 5 { // as 6
		var x bytes.Buffer
		if err := NewWriter(&x).Message(v); err != nil {
			panic(err)
		}
		w.b = append(w.b, x.Bytes()...)
		return
	}
	b = binary.LittleEndian.AppendUint64(b, v.ID)
	b = str(b, v.SourceID)
	if w.version == 4 {
		b = str(b, v.SourceUserName)
		b = binary.BigEndian.AppendUint16(b, v.SourcePort)
	}
	b = binary.BigEndian.AppendUint16(b, v.SourceMID)
	b = append(b, 0xAB, 0xCD)
	b = append(str(b, v.Topic), v.QoS, flag(v.Retain))
	b = binary.BigEndian.AppendUint32(b, uint32(len(v.Payload)))
	w.chunk(TypeMessage, append(b, v.Payload...))
}

func (w *old) client(v *Client) {
	var b []byte
	if w.version == 5 {
		b = binary.LittleEndian.AppendUint64(b, uint64(v.ExpiryTime))
		b = binary.BigEndian.AppendUint32(b, v.ExpiryInterval)
		b = binary.BigEndian.AppendUint16(b, v.LastMID)
		w.chunk(TypeClient, str(b, v.ID))
		return
	}
	b = binary.BigEndian.AppendUint16(str(b, v.ID), v.LastMID)
	switch {
	case w.version == 2:
	case w.timeT == 4:
		b = binary.LittleEndian.AppendUint32(b, uint32(v.Disconnected))
	default:
		b = binary.LittleEndian.AppendUint64(b, uint64(v.Disconnected))
	}
	w.chunk(TypeClient, b)
}

func (w *old) clientMessage(v *ClientMessage) {
	if w.version == 5 {
		var x bytes.Buffer
		if err := NewWriter(&x).ClientMessage(v); err != nil {
			panic(err)
		}
		w.b = append(w.b, x.Bytes()...)
		return
	}
	b := str(nil, v.ClientID)
	b = binary.LittleEndian.AppendUint64(b, v.MessageID)
	b = binary.BigEndian.AppendUint16(b, v.MID)
	w.chunk(TypeClientMessage, append(b, v.QoS, v.RetainDup>>4, v.Direction, byte(v.State), v.RetainDup&0x0F))
}

func (w *old) subscription(v *Subscription) {
	if w.version == 5 {
		var x bytes.Buffer
		if err := NewWriter(&x).Subscription(v); err != nil {
			panic(err)
		}
		w.b = append(w.b, x.Bytes()...)
		return
	}
	w.chunk(TypeSubscription, append(str(str(nil, v.ClientID), v.Filter), v.QoS))
}
