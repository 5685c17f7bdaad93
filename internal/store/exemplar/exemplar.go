package exemplar

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/pebblestore"
	"github.com/midgemq/midge/mqtt"

	_ "embed"
)

// expected is the dump of what Generate writes. It changes only when Generate
// gets a new kind of content; then the number in Name goes up and stores of
// earlier numbers are checked against their own text.
//
//go:embed expected.jsonl
var expected []byte

// The moment at which the sample is made and checked: a clock that stands still,
// so that remaining times come out exactly.
const sampleNow = 1_000_000 * record.Second

func sampleClock() (record.Instant, time.Time) {
	return sampleNow, time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
}

// Generate makes a store of known content in dir, which must not exist. It holds
// every kind of record, some of them replaced and deleted again.
func Generate(dir string) error {
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("generate %s: %w", dir, os.ErrExist)
	}
	// The second opening writes what the first one left in the log to a table, so
	// that there is something of both.
	batches := sample()
	half := len(batches) / 2
	for _, part := range [][][]record.Op{batches[:half], batches[half:]} {
		if err := commit(dir, part); err != nil {
			return fmt.Errorf("generate: %w", err)
		}
	}
	return nil
}

func commit(dir string, batches [][]record.Op) error {
	st, err := pebblestore.Open(dir, pebblestore.Options{Clock: sampleClock})
	if err != nil {
		return err
	}
	for _, ops := range batches {
		done := make(chan error, 1)
		st.Commit(&store.Batch{Ops: ops}, store.Flush, func(err error) { done <- err })
		if err := <-done; err != nil {
			return errors.Join(err, st.Close())
		}
	}
	return st.Close()
}

// Verify checks that dir holds what Generate wrote, whichever release ran it. It
// works on a copy in the system's directory for temporary files, since opening a
// store changes its files.
func Verify(dir string) (err error) {
	tmp, err := os.MkdirTemp("", "midge-verify-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if err := os.CopyFS(filepath.Join(tmp, "store"), os.DirFS(dir)); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("verify %s: %w", dir, err)
	}
	var damage []error
	st, err := pebblestore.Open(filepath.Join(tmp, "store"), pebblestore.Options{Clock: sampleClock, Event: func(e pebblestore.Event) {
		if e.Kind == pebblestore.Damaged {
			damage = append(damage, e.Err)
		}
	}})
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	var got bytes.Buffer
	err = Dump(&got, st, sampleNow)
	if err := errors.Join(err, st.Close(), errors.Join(damage...)); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	return compare(got.String(), string(expected))
}

func compare(got, want string) error {
	if got == want {
		return nil
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		a, b := "nothing", "nothing"
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			return fmt.Errorf("verify: line %d is\n%s\nand should be\n%s", i+1, a, b)
		}
	}
	return errors.New("verify: differs")
}

// message makes a message of known content.
func message(seq uint64, topic, payload string, qos mqtt.QoS) *record.Message {
	m := record.NewMessage([]byte(topic), []byte(payload), sampleProperties())
	m.Seq, m.QoS, m.Publisher, m.PublisherUser, m.At = seq, qos, "publisher", "alice", sampleNow-5*record.Second
	return m
}

func enqueue(key record.SessionKey, seq uint64, m *record.Message) record.Op {
	return record.Op{Kind: record.Enqueue, Key: key, Entry: record.Queued{Msg: m, Seq: seq, QoS: m.QoS}}
}

// sample gives the batches of Generate, in order.
func sample() [][]record.Op {
	big := message(50, "big/shared", strings.Repeat("large ", 200), 2)
	expiring := message(51, "soon", "gone", 1)
	expiring.Expires = sampleNow + 90*record.Second
	binary := message(52, "bin", "\xff\x00\x01", 1)
	binary.Props, binary.Publisher, binary.PublisherUser, binary.At = nil, "", "", 0
	will := message(53, "wills/five", "died", 1)
	will.Retain = true
	plainWill := message(54, "wills/three", "", 0)
	kept := message(60, "retained/a", "first", 1)
	kept.Retain = true
	newer := message(61, "retained/a", "second", 2)
	newer.Retain, newer.Expires = true, sampleNow+3600*record.Second
	other := message(62, "retained/b", strings.Repeat("x", 3000), 0)
	other.Retain = true
	gone := message(63, "retained/c", "deleted", 0)
	gone.Retain = true

	first := []record.Op{
		{Kind: record.PutSession, Session: &record.Session{Key: 1, ClientID: "three", UserName: "bob", Expiry: mqtt.NeverExpires, Version: mqtt.V311, Disconnected: sampleNow - 60*record.Second}},
		{Kind: record.PutSession, Session: &record.Session{Key: 2, ClientID: "five/ü", Expiry: 7200, Version: mqtt.V5}},
		{Kind: record.PutSession, Session: &record.Session{Key: 3, ClientID: "ended", Expiry: 10, Version: mqtt.V5}},
		{Kind: record.PutSession, Session: &record.Session{Key: 4, ClientID: "old", UserName: "carol", Expiry: mqtt.NeverExpires, Version: mqtt.V31}},
		{Kind: record.PutSubscription, Key: 1, Sub: &record.Subscription{Filter: "a/+/#", QoS: 2}},
		{Kind: record.PutSubscription, Key: 1, Sub: &record.Subscription{Filter: "replaced", QoS: 0}},
		{Kind: record.PutSubscription, Key: 2, Sub: &record.Subscription{Filter: "$share/group/b/#", ID: 268435455, QoS: 1}},
		{Kind: record.PutSubscription, Key: 2, Sub: &record.Subscription{Filter: "c", ID: 1, QoS: 2, NoLocal: true, RetainAsPublished: true}},
		{Kind: record.PutSubscription, Key: 2, Sub: &record.Subscription{Filter: "deleted", QoS: 2}},
		{Kind: record.PutWill, Key: 2, Will: &record.Will{Msg: will, Delay: 30, Expiry: 120, HasExpiry: true}},
		{Kind: record.PutWill, Key: 1, Will: &record.Will{Msg: plainWill}},
		{Kind: record.PutWill, Key: 4, Will: &record.Will{Msg: plainWill}},
		{Kind: record.PutRetained, Entry: record.Queued{Msg: kept}},
		{Kind: record.PutRetained, Entry: record.Queued{Msg: other}},
		{Kind: record.PutRetained, Entry: record.Queued{Msg: gone}},
	}
	var queues []record.Op
	for i := range uint64(20) {
		m := message(i+1, fmt.Sprintf("a/%d", i), fmt.Sprintf("message %d", i), mqtt.QoS(1+i%2))
		queues = append(queues, enqueue(1, i+1, m))
		if i%2 == 0 {
			queues = append(queues, enqueue(2, i+1, m), enqueue(3, i+1, m))
		}
	}
	queues = append(queues, enqueue(1, 50, big), enqueue(2, 50, big), enqueue(4, 50, big), enqueue(4, 51, expiring), enqueue(4, 52, binary))
	shared := enqueue(2, 60, message(70, "b/1", "for one of the group", 1))
	shared.Entry.Group, shared.Entry.SubID, shared.Entry.Retain = "$share/group/b/#", 268435455, true
	queues = append(queues, shared)

	flight := func(key record.SessionKey, seq uint64, id uint16, state uint8) record.Op {
		return record.Op{Kind: record.PutInflight, Key: key, Seq: seq, PacketID: id, State: state}
	}
	moves := []record.Op{
		flight(1, 1, 100, 1), flight(1, 2, 101, 2), flight(1, 3, 102, 1), flight(1, 4, 103, 2), flight(1, 5, 65535, 1),
		{Kind: record.Dequeue, Key: 1, Seq: 1}, // acknowledged
		{Kind: record.Dequeue, Key: 1, Seq: 3}, // out of order
		flight(1, 4, 103, 3),                   // PUBREC has come
		flight(2, 1, 1, 1),
		{Kind: record.Dequeue, Key: 2, Seq: 3}, // dropped from the queue
		{Kind: record.PutInbound, Key: 1, PacketID: 1},
		{Kind: record.PutInbound, Key: 1, PacketID: 255},
		{Kind: record.PutInbound, Key: 1, PacketID: 256},
		{Kind: record.PutInbound, Key: 1, PacketID: 65535},
		{Kind: record.PutInbound, Key: 2, PacketID: 7},
	}
	last := []record.Op{
		{Kind: record.DeleteInbound, Key: 1, PacketID: 255},
		{Kind: record.DeleteInbound, Key: 2, PacketID: 7},
		{Kind: record.DeleteWill, Key: 4},
		{Kind: record.DeleteSubscription, Key: 2, Filter: "deleted"},
		{Kind: record.PutSubscription, Key: 1, Sub: &record.Subscription{Filter: "replaced", QoS: 1}},
		{Kind: record.PutRetained, Entry: record.Queued{Msg: newer}},
		{Kind: record.DeleteRetained, Filter: "retained/c"},
		{Kind: record.DeleteSession, Key: 3},
		{Kind: record.PutSession, Session: &record.Session{Key: 4, ClientID: "old", UserName: "dora", Expiry: mqtt.NeverExpires, Version: mqtt.V31, Disconnected: sampleNow}},
	}
	return [][]record.Op{first, queues, moves, last}
}
