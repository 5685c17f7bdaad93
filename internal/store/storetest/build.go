package storetest

import (
	"fmt"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/mqtt"
)

// Makers of changes, so that tests read as lists of what happened.

func putSession(key record.SessionKey) record.Op {
	return record.Op{Kind: record.PutSession, Session: &record.Session{
		Key: key, ClientID: fmt.Sprintf("client-%d", key), UserName: "user", Expiry: 3600, Version: mqtt.V5,
	}}
}

func deleteSession(key record.SessionKey) record.Op {
	return record.Op{Kind: record.DeleteSession, Key: key}
}

func putSub(key record.SessionKey, filter string, qos mqtt.QoS) record.Op {
	return record.Op{Kind: record.PutSubscription, Key: key, Sub: &record.Subscription{Filter: filter, QoS: qos}}
}

func deleteSub(key record.SessionKey, filter string) record.Op {
	return record.Op{Kind: record.DeleteSubscription, Key: key, Filter: filter}
}

// message makes one whose every byte depends on seq.
func message(topic string, seq uint64) *record.Message {
	m := record.NewMessage([]byte(topic), fmt.Appendf(nil, "payload %d", seq), []byte{0x01, byte(seq)})
	m.Seq, m.QoS, m.Publisher = seq, mqtt.AtLeastOnce, fmt.Sprintf("publisher-%d", seq%3)
	m.PublisherUser = "user"
	return m
}

func enqueueMsg(key record.SessionKey, seq uint64, m *record.Message) record.Op {
	return record.Op{Kind: record.Enqueue, Key: key, Entry: record.Queued{Msg: m, Seq: seq, QoS: m.QoS}}
}

func enqueue(key record.SessionKey, seq uint64) record.Op {
	return enqueueMsg(key, seq, message("t", seq))
}

// enqueueAll gives one change for each seq from first to last.
func enqueueAll(key record.SessionKey, first, last uint64) []record.Op {
	var ops []record.Op
	for seq := first; seq <= last; seq++ {
		ops = append(ops, enqueue(key, seq))
	}
	return ops
}

func putInflight(key record.SessionKey, seq uint64, id uint16, state uint8) record.Op {
	return record.Op{Kind: record.PutInflight, Key: key, Seq: seq, PacketID: id, State: state}
}

func dequeue(key record.SessionKey, seq uint64) record.Op {
	return record.Op{Kind: record.Dequeue, Key: key, Seq: seq}
}

func putInbound(key record.SessionKey, id uint16) record.Op {
	return record.Op{Kind: record.PutInbound, Key: key, PacketID: id}
}

func deleteInbound(key record.SessionKey, id uint16) record.Op {
	return record.Op{Kind: record.DeleteInbound, Key: key, PacketID: id}
}

func putWill(key record.SessionKey, seq uint64) record.Op {
	return record.Op{Kind: record.PutWill, Key: key, Will: &record.Will{
		Msg: message("will", seq), Delay: uint32(seq), Expiry: uint32(seq % 2 * 60), HasExpiry: seq%2 == 1,
	}}
}

func deleteWill(key record.SessionKey) record.Op {
	return record.Op{Kind: record.DeleteWill, Key: key}
}

func putRetained(topic string, seq uint64) record.Op {
	m := message(topic, seq)
	m.Retain = true
	return record.Op{Kind: record.PutRetained, Entry: record.Queued{Msg: m}}
}

func deleteRetained(topic string) record.Op {
	return record.Op{Kind: record.DeleteRetained, Filter: topic}
}

// everything gives a session one of each thing it can own.
func everything(key record.SessionKey) []record.Op {
	return []record.Op{
		putSession(key),
		putSub(key, "a/+", 1), putSub(key, "$share/g/b/#", 2),
		enqueue(key, 1), enqueue(key, 2), enqueue(key, 3),
		putInflight(key, 1, 10, 1),
		putInbound(key, 20), putInbound(key, 21),
		putWill(key, uint64(key)&0xFF),
	}
}
