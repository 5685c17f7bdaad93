package record

import (
	"bytes"
	"math"
	"testing"
	"unsafe"
)

// TestNewMessage: the message owns its bytes, in one allocation, and none of its
// parts reaches into another.
func TestNewMessage(t *testing.T) {
	for _, c := range []struct{ topic, payload, props string }{
		{"a/b", "payload", "props"}, {"a", "", ""}, {"", "p", ""}, {"", "", "x"}, {"", "", ""}, {"é/日本", "\x00\xff", "\x26\x00\x01k\x00\x01v"},
	} {
		topic, payload, props := []byte(c.topic), []byte(c.payload), []byte(c.props)
		m := NewMessage(topic, payload, props)
		for _, b := range [][]byte{topic, payload, props} { // the read buffer is used again
			for i := range b {
				b[i] = '!'
			}
		}
		if m.Topic != c.topic || string(m.Payload) != c.payload || string(m.Props) != c.props {
			t.Errorf("%q: got %q %q %q", c, m.Topic, m.Payload, m.Props)
		}
		_ = append(m.Props, "overwritten"...)
		_ = append(m.Payload, "overwritten"...)
		if m.Topic != c.topic || string(m.Payload) != c.payload || string(m.Props) != c.props {
			t.Errorf("%q: after appending to the parts: %q %q %q", c, m.Topic, m.Payload, m.Props)
		}
		if m.Size() != len(c.payload) {
			t.Errorf("%q: size %d", c, m.Size())
		}
		if m.Seq != 0 || m.Expires != 0 || m.QoS != 0 || m.Retain || m.Publisher != "" {
			t.Errorf("%q: not blank: %+v", c, m)
		}
	}
}

func TestNewMessageAllocations(t *testing.T) {
	topic, payload, props := []byte("some/topic"), bytes.Repeat([]byte{1}, 100), []byte{1, 1}
	var m *Message
	if n := testing.AllocsPerRun(100, func() { m = NewMessage(topic, payload, props) }); n != 2 {
		t.Errorf("%v allocations, want 2: the message and its bytes", n)
	}
	if m.Size() != 100 {
		t.Errorf("size %d", m.Size())
	}
}

// TestExpiry: the interval left is in whole seconds rounded up, so that it is 0
// for nothing that will still be there a moment later.
func TestExpiry(t *testing.T) {
	const now = 1000 * Second
	for _, c := range []struct {
		expires Instant
		expired bool
		sec     uint32
		ok      bool
	}{
		{0, false, 0, false},
		{1, true, 0, true},
		{now - 1, true, 0, true},
		{now, true, 0, true},
		{now + 1, false, 0, true}, // published with interval 0
		{now + 2, false, 1, true},
		{now + Second, false, 1, true},
		{now + Second + 2, false, 2, true},
		{now + 60*Second - 5, false, 60, true},
		{now + 60*Second, false, 60, true},
		{now + math.MaxUint32*Second, false, math.MaxUint32, true},
	} {
		m := Message{Expires: c.expires}
		if got := m.Expired(now); got != c.expired {
			t.Errorf("expires %d: expired %t", c.expires, got)
		}
		if sec, ok := m.Remaining(now); sec != c.sec || ok != c.ok {
			t.Errorf("expires %d: %d s %t, want %d %t", c.expires, sec, ok, c.sec, c.ok)
		}
	}
}

// TestSizes: what there is a million of stays as small as it was meant. The
// allocator hands out 128 bytes for a message from 113 on.
func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(Message{}); n > 128 {
		t.Errorf("a message has %d bytes, at most 128 were meant", n)
	}
	if n := unsafe.Sizeof(Queued{}); n > 40 {
		t.Errorf("a queue entry has %d bytes, at most 40 were meant", n)
	}
}

// TestKindsDiffer: zero is no kind, so that a change nobody filled in is refused.
func TestKindsDiffer(t *testing.T) {
	seen := map[OpKind]bool{0: true}
	for _, k := range []OpKind{
		PutSession, DeleteSession, PutSubscription, DeleteSubscription, Enqueue, PutInflight, Dequeue,
		PutInbound, DeleteInbound, PutWill, DeleteWill, PutRetained, DeleteRetained,
	} {
		if seen[k] {
			t.Errorf("kind %d is used twice", k)
		}
		seen[k] = true
	}
}
