package conformance

import (
	"bytes"
	"fmt"
	"net"
	"testing"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// TestSlowReaderGetsEveryByte: a client that reads late makes the socket take
// less than it is given, again and again; small packets, which are copied, and
// large ones, which are referred to, must come whole and in order.
func TestSlowReaderGetsEveryByte(t *testing.T) {
	const messages = 60
	addr := loopsBroker(t)
	s := dialWire(t, addr, "s")
	if err := s.Conn.(*net.TCPConn).SetReadBuffer(128 << 10); err != nil {
		t.Fatal(err)
	}
	s.send(&rawmqtt.Packet{Type: rawmqtt.SUBSCRIBE, ID: 1, Filters: []rawmqtt.Filter{{Filter: "t", Options: 1}}})
	s.want(rawmqtt.SUBACK)

	content := func(i int) []byte {
		size := 900 << 10 // the window of 20 is more than the socket's buffers hold
		if i%3 == 0 {
			size = 3 << 10
		}
		return bytes.Repeat(fmt.Appendf(nil, "%08d", i), size/8)
	}
	p := dialWire(t, addr, "p")
	for i := 1; i <= messages; i++ {
		p.send(&rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: 1 << 1, ID: uint16(i), Topic: "t", Payload: content(i)})
		p.want(rawmqtt.PUBACK)
	}
	for i := 1; i <= messages; i++ {
		m := s.want(rawmqtt.PUBLISH)
		if !bytes.Equal(m.Payload, content(i)) {
			t.Fatalf("message %d: %d bytes that begin %.16q, want %d that begin %.16q",
				i, len(m.Payload), m.Payload, len(content(i)), content(i))
		}
		s.send(&rawmqtt.Packet{Type: rawmqtt.PUBACK, ID: m.ID})
	}
}
