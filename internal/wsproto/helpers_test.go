package wsproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// goodRequest is an upgrade request as mqtt.js sends it.
const goodRequest = "GET /mqtt HTTP/1.1\r\nHost: localhost:9001\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"

// openServer returns a server whose handshake is complete.
func openServer(t testing.TB) *Server {
	t.Helper()
	s := NewServer(&ServerOptions{})
	dst, out, err := s.Inbound(nil, []byte(goodRequest), nil)
	if err != nil || len(dst) != 0 || !bytes.HasPrefix(out, []byte("HTTP/1.1 101 ")) || !s.Open() {
		t.Fatalf("handshake: dst %q out %q err %v open %v", dst, out, err, s.Open())
	}
	return s
}

// frame builds a frame as a client would, bit by bit, independently of the
// code under test. masked frames use a fixed key.
func frame(first byte, masked bool, payload []byte) []byte {
	b := []byte{first}
	m := byte(0)
	if masked {
		m = 0x80
	}
	switch n := len(payload); {
	case n < 126:
		b = append(b, m|byte(n))
	case n < 65536:
		b = append(b, m|126, byte(n>>8), byte(n))
	default:
		b = append(b, m|127)
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if !masked {
		return append(b, payload...)
	}
	key := [4]byte{0xA1, 0x02, 0xF3, 0x54}
	b = append(b, key[:]...)
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// feed gives raw to l in pieces of step bytes (0: in one) until an error.
func feed(l Layer, raw []byte, step int) (dst, out []byte, err error) {
	if step == 0 {
		step = max(1, len(raw))
	}
	for i := 0; i < len(raw); i += step {
		piece := bytes.Clone(raw[i:min(i+step, len(raw))])
		if dst, out, err = l.Inbound(dst, piece, out); err != nil {
			break
		}
	}
	return dst, out, err
}

func closeCode(t testing.TB, err error) uint16 {
	t.Helper()
	var e *CloseError
	if !errors.As(err, &e) {
		t.Fatalf("error is %v, want a *CloseError", err)
	}
	return e.Code
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}
