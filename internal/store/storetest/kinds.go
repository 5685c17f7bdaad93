package storetest

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/mqtt"
)

func testSession(e *env) {
	e.look("empty", false) // an empty engine holds nothing
	gone := putSession(9)
	gone.Session.Disconnected = 5 * record.Second
	e.commit(gone)
	e.look("disconnected", false) // after a restart instants are free
	e.commit(deleteSession(9))
	e.check()
	e.commit(putSession(1))
	e.commit(putSession(2))
	e.check()
	// A second PutSession replaces the record and touches nothing that the session owns.
	e.commit(putSub(1, "a", 1), enqueue(1, 5), putInbound(1, 7), putWill(1, 3))
	e.commit(record.Op{Kind: record.PutSession, Session: &record.Session{
		Key: 1, ClientID: "client-1", UserName: "", Expiry: mqtt.NeverExpires, Version: mqtt.V311, Disconnected: 99 * record.Second,
	}})
	e.check()
	long := strings.Repeat("é", mqtt.MaxString/2)
	e.commit(record.Op{Kind: record.PutSession, Session: &record.Session{Key: 3, ClientID: long, UserName: long, Version: mqtt.V31}})
	e.check()
}

func testSubscription(e *env) {
	e.commit(putSession(1), putSession(2))
	full := record.Subscription{Filter: "$share/group/a/+/#", ID: mqtt.MaxVarint, QoS: 2, NoLocal: true, RetainAsPublished: true}
	e.commit(putSub(1, "a", 0), putSub(1, "a/b", 1), putSub(1, "a/", 2), record.Op{Kind: record.PutSubscription, Key: 1, Sub: &full})
	e.commit(putSub(2, "a", 2))
	e.check()
	e.commit(putSub(1, "a", 2), record.Op{Kind: record.PutSubscription, Key: 1, Sub: &record.Subscription{Filter: "a/b", NoLocal: true}})
	e.check()
	e.commit(deleteSub(1, "a"), deleteSub(1, "never/there"), deleteSub(2, "a/b"))
	e.check()
	e.commit(deleteSub(1, "a/b"), deleteSub(1, "a/"), deleteSub(1, full.Filter), deleteSub(1, full.Filter))
	e.check()
	for i := range 300 {
		e.commit(putSub(2, fmt.Sprintf("many/%d", i), mqtt.QoS(i%3)))
	}
	e.check()
	for i := range 300 {
		if i%7 != 0 {
			e.commit(deleteSub(2, fmt.Sprintf("many/%d", i)))
		} else {
			e.commit(putSub(2, fmt.Sprintf("many/%d", i), mqtt.QoS((i+1)%3)))
		}
	}
	e.check()
	for i := range 300 {
		e.commit(deleteSub(2, fmt.Sprintf("many/%d", i)))
	}
	e.commit(putSub(2, "last", 1))
	e.check()
}

func testEnqueue(e *env) {
	e.commit(putSession(1), putSession(2), putSession(3))
	m := record.NewMessage([]byte("top/ic"), []byte("pay\x00load"), []byte{0x26, 0, 1, 'k', 0, 1, 'v'})
	m.Seq, m.Expires, m.At, m.QoS, m.Retain, m.Publisher = 1<<40, 77*record.Second, 7*record.Second, 2, true, "pub"
	m.PublisherUser = "publisher's user"
	e.commit(record.Op{Kind: record.Enqueue, Key: 1, Entry: record.Queued{
		Msg: m, Seq: 4, SubID: mqtt.MaxVarint, QoS: 1, Retain: true, Group: "$share/g/top/+",
	}})
	e.commit(record.Op{Kind: record.Enqueue, Key: 1, Entry: record.Queued{Msg: &record.Message{Topic: "empty"}, Seq: 5}})
	e.check()
	big := record.NewMessage([]byte("big"), bytes.Repeat([]byte("0123456789abcdef"), 64<<10), nil)
	big.Seq = 2
	e.commit(enqueueMsg(1, 6, big))
	// One message for several sessions, and twice for one of them.
	e.commit(enqueueMsg(1, 7, m), enqueueMsg(2, 1, m), enqueueMsg(2, 9, m), enqueueMsg(3, 1, m))
	e.check()
	// Gone from one session, it stays for the others.
	e.commit(dequeue(1, 7), dequeue(2, 1))
	e.check()
}

func testInflight(e *env) {
	e.commit(putSession(1), putSession(2))
	e.commit(enqueueAll(1, 1, 8)...)
	e.commit(enqueueAll(2, 1, 2)...)
	e.commit(putInflight(1, 1, 100, 1))
	e.check()
	e.commit(putInflight(1, 2, 65535, 2), putInflight(1, 4, 1, 1))
	e.check()
	// Sent out of the order of the queue: the order of sending is kept.
	e.commit(putInflight(1, 3, 7, 1))
	e.check()
	// Progress changes the state and not the place.
	e.commit(putInflight(1, 2, 65535, 3))
	e.check()
	e.commit(dequeue(1, 2))
	e.commit(putInflight(1, 5, 2, 1), putInflight(2, 1, 100, 1))
	e.check()
	// Queued and sent in one batch.
	e.commit(enqueue(1, 9), putInflight(1, 9, 9, 2))
	e.check()
	for seq := uint64(1); seq <= 9; seq++ {
		e.commit(dequeue(1, seq))
	}
	e.check()
}

func testDequeue(e *env) {
	e.commit(putSession(1), putSession(2))
	e.commit(enqueueAll(1, 1, 12)...)
	e.commit(enqueueAll(2, 1, 12)...)
	e.commit(dequeue(1, 1))
	e.check()
	e.commit(dequeue(1, 12))
	e.check()
	e.commit(dequeue(1, 6), dequeue(1, 7))
	e.check()
	// Twice, and what never was there.
	e.commit(dequeue(1, 6), dequeue(1, 1), dequeue(1, 4000))
	e.check()
	e.commit(putInflight(1, 2, 1, 1), putInflight(1, 3, 2, 1), putInflight(1, 4, 3, 1))
	e.commit(dequeue(1, 3))
	e.check()
	e.commit(dequeue(1, 2), dequeue(1, 4), dequeue(1, 5), dequeue(1, 8), dequeue(1, 9), dequeue(1, 10), dequeue(1, 11))
	e.check()
	e.commit(enqueue(1, 13), enqueue(1, 20))
	e.check()
}

func testInbound(e *env) {
	e.commit(putSession(1), putSession(2))
	e.commit(putInbound(1, 1), putInbound(1, 65535), putInbound(1, 256), putInbound(2, 2))
	e.check()
	e.commit(putInbound(1, 256)) // a repeat adds none
	e.check()
	e.commit(deleteInbound(1, 256), deleteInbound(1, 3), deleteInbound(2, 1))
	e.check()
	for id := uint16(1000); id < 1100; id++ {
		e.commit(putInbound(2, id))
	}
	e.check()
	for id := uint16(1000); id < 1100; id += 2 {
		e.commit(deleteInbound(2, id))
	}
	e.check()
	e.commit(deleteInbound(1, 1), deleteInbound(1, 65535), putInbound(1, 1))
	e.check()
}

func testWill(e *env) {
	e.commit(putSession(1), putSession(2))
	e.commit(deleteWill(1)) // there is none
	e.commit(putWill(1, 1))
	e.commit(putWill(2, 2))
	e.check()
	e.commit(putWill(1, 30))
	e.check()
	e.commit(deleteWill(1))
	e.check()
	e.commit(putWill(1, 31))
	e.check()
}

func testRetained(e *env) {
	e.commit(putRetained("a", 1), putRetained("a/b", 2), putRetained("a/", 3), putRetained("/", 4), putRetained("$x/é", 5))
	e.check()
	e.commit(putRetained("a", 6))
	e.commit(deleteRetained("a/"), deleteRetained("never"))
	e.check()
	e.commit(deleteRetained("a"))
	e.check()
	e.commit(putRetained("a", 7))
	// The same message queued and retained: leaving one place it stays in the other.
	r := putRetained("both", 8)
	e.commit(putSession(1), r, enqueueMsg(1, 1, r.Entry.Msg))
	e.commit(dequeue(1, 1))
	e.check()
	for i := range uint64(200) {
		e.commit(putRetained(fmt.Sprintf("many/%d", i), 100+i))
	}
	e.check()
	for i := range 200 {
		if i%3 != 0 {
			e.commit(deleteRetained(fmt.Sprintf("many/%d", i)))
		}
	}
	e.check()
}

func testDeleteSession(e *env) {
	e.commit(everything(1)...)
	e.commit(everything(2)...)
	e.commit(putRetained("r", 1))
	e.check()
	e.commit(deleteSession(1))
	e.check()
	if got := read(e, e.s, 1, 0, 100); len(got) != 0 {
		e.Errorf("ReadQueue of a deleted session gave %d entries", len(got))
	}
	// The same client again is a new key and has nothing of the old.
	again := putSession(3)
	again.Session.ClientID = "client-1"
	e.commit(again)
	e.check()
	e.commit(deleteSession(1), deleteSession(77)) // not there any more, or never
	e.check()
	e.commit(deleteSession(2), deleteSession(3))
	e.check()
}

// everyChange gives one of each change that concerns an existing session.
func everyChange(key record.SessionKey) []record.Op {
	return []record.Op{
		putSub(key, "a/+", 1), deleteSub(key, "x"), enqueue(key, 4), putInflight(key, 4, 4, 1), enqueue(key, 5), dequeue(key, 5),
		putInbound(key, 1), deleteInbound(key, 2), putWill(key, 1), deleteWill(key), putWill(key, 2),
	}
}

// testLateChanges: changes to a session that is gone, or never was, hit nothing
// and do not keep the rest of their batch from taking effect.
func testLateChanges(e *env) {
	e.commit(everything(1)...)
	e.commit(everything(2)...)
	e.commit(deleteSession(1))
	for _, key := range []record.SessionKey{1, 9} {
		for _, op := range everyChange(key) {
			e.commit(op)
		}
		ops := append(everyChange(key), enqueue(2, 10+uint64(key)), putRetained(fmt.Sprint(key), 1))
		e.commit(ops...)
		if got := read(e, e.s, key, 0, 100); len(got) != 0 {
			e.Errorf("session %d is not there and has %d entries", key, len(got))
		}
	}
	e.check()
	// What came too early for a session is not found when it begins.
	e.commit(putSession(9))
	e.check()
}

// testKeysApart: no session reaches into another's data, however near the keys.
func testKeysApart(e *env) {
	keys := []record.SessionKey{1, 2, 254, 255, 256, 257, 511, 512, 65535, 65536, 1 << 32, 1<<32 + 1, 1 << 56, 1<<63 - 1, 1 << 63, 1<<64 - 2}
	for _, k := range keys {
		e.commit(everything(k)...)
	}
	e.check()
	for i, k := range keys {
		switch i % 3 {
		case 0:
			e.commit(deleteSession(k))
		case 1:
			e.commit(dequeue(k, 1), deleteSub(k, "a/+"), deleteInbound(k, 20), deleteWill(k))
		}
		e.look(fmt.Sprintf("after session %d", k), false)
	}
	e.check()
	// The same within one session: neighbouring places in the queue.
	seqs := []uint64{100, 254, 255, 256, 257, 65535, 65536, 1<<32 - 1, 1 << 32, 1<<40 + 1, 1 << 62}
	for _, s := range seqs {
		e.commit(enqueue(2, s))
	}
	e.check()
	for i, s := range seqs {
		e.checkRead(2, s, 3)
		if i%2 == 0 {
			e.commit(dequeue(2, s))
		}
	}
	e.check()
}
