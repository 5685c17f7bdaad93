package conformance

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/testkit"
)

// Opcodes of RFC 6455 as they stand in the first byte of a last fragment.
const (
	finText   = 0x81
	finBinary = 0x82
	finClose  = 0x88
)

// webBroker starts a broker with one WebSocket listener.
func webBroker(t *testing.T) (addr string) {
	t.Helper()
	testkit.VerifyNoLeaks(t)
	c := config.Default()
	c.SysInterval = 0
	c.Listeners = []*config.Listener{{
		Address: "127.0.0.1", Protocol: config.WebSockets, Versions: config.AllVersions, AllowAnonymous: true,
	}}
	b, err := broker.New(broker.Options{Config: c, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return b.Addresses()[0]
}

// web is a WebSocket client that writes its frames by hand.
type web struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

// upgrade asks for path with the given subprotocols ("" sends no such header)
// and returns the answer.
func upgrade(t *testing.T, addr, path, protocols string) (*web, *http.Response) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	w := &web{t: t, c: c, r: bufio.NewReader(c)}
	req := "GET " + path + " HTTP/1.1\r\nHost: " + addr + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
	if protocols != "" {
		req += "Sec-WebSocket-Protocol: " + protocols + "\r\n"
	}
	w.write([]byte(req + "\r\n"))
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		t.Fatalf("answer to the upgrade: %v", err)
	}
	return w, resp
}

// dialWeb is upgrade for the subprotocol mqtt, which must be accepted.
func dialWeb(t *testing.T, addr string) *web {
	t.Helper()
	w, resp := upgrade(t, addr, "/mqtt", "mqtt")
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("status %s", resp.Status)
	}
	return w
}

func (w *web) write(b []byte) {
	w.t.Helper()
	if _, err := w.c.Write(b); err != nil {
		w.t.Fatalf("write: %v", err)
	}
}

// masked makes a client's frame.
func masked(first byte, payload string) []byte {
	b := []byte{first, 0x80 | byte(len(payload)), 1, 2, 3, 4}
	if len(payload) > 125 {
		b = binary.BigEndian.AppendUint16([]byte{first, 0x80 | 126}, uint16(len(payload)))
		b = append(b, 1, 2, 3, 4)
	}
	for i := range len(payload) {
		b = append(b, payload[i]^byte(i&3+1))
	}
	return b
}

// frame reads one frame of the broker.
func (w *web) frame() (op byte, payload string, err error) {
	head := make([]byte, 2)
	if _, err = io.ReadFull(w.r, head); err != nil {
		return 0, "", err
	}
	n := int(head[1])
	switch n {
	case 126:
		var ext [2]byte
		if _, err = io.ReadFull(w.r, ext[:]); err != nil {
			return 0, "", err
		}
		n = int(binary.BigEndian.Uint16(ext[:]))
	case 127:
		w.t.Fatal("a frame of 64 KB or more was not expected")
	}
	body := make([]byte, n)
	_, err = io.ReadFull(w.r, body)
	return head[0], string(body), err
}

// want reads bytes of MQTT until want has come, in however many frames.
func (w *web) want(what, want string) {
	w.t.Helper()
	got := ""
	for len(got) < len(want) {
		op, body, err := w.frame()
		if err != nil || op != finBinary {
			w.t.Fatalf("%s: frame %#x, %v, after % x", what, op, err, got)
		}
		got += body
	}
	if got != want {
		w.t.Fatalf("%s: % x, want % x", what, got, want)
	}
}

// wantClose reads a close frame with a status and the end of the stream.
func (w *web) wantClose(what string, status uint16) {
	w.t.Helper()
	op, body, err := w.frame()
	if err != nil || op != finClose || len(body) < 2 || binary.BigEndian.Uint16([]byte(body)) != status {
		w.t.Fatalf("%s: frame %#x % x, %v; want close %d", what, op, body, err, status)
	}
	if n, err := w.r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		w.t.Fatalf("%s: %d bytes behind the close frame, %v", what, n, err)
	}
}

const (
	connect311 = "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a"
	connack311 = "\x20\x02\x00\x00"
	subscribeT = "\x82\x06\x00\x07\x00\x01t\x00"
	subackT    = "\x90\x03\x00\x07\x00"
)

// covers: 3:6.0.0-1 5:6.0.0-1 E188
func TestWebSocketTextFrame(t *testing.T) {
	addr := webBroker(t)
	w := dialWeb(t, addr)
	w.write(masked(finText, connect311))
	w.wantClose("CONNECT in a text frame", 1003)
	w = dialWeb(t, addr)
	w.write(masked(finBinary, connect311))
	w.want("CONNACK", connack311)
	w.write(masked(finText, subscribeT))
	w.wantClose("SUBSCRIBE in a text frame", 1003)
}

// covers: 3:6.0.0-2 5:6.0.0-2 E187
func TestWebSocketFrameBoundaries(t *testing.T) {
	addr := webBroker(t)
	t.Run("one packet in many frames", func(t *testing.T) {
		w := dialWeb(t, addr)
		for i := range len(connect311) {
			w.write(masked(finBinary, connect311[i:i+1]))
		}
		w.want("CONNACK", connack311)
	})
	t.Run("many packets in one frame", func(t *testing.T) {
		w := dialWeb(t, addr)
		w.write(masked(finBinary, connect311+subscribeT+"\x30\x04\x00\x01tx\xc0\x00"))
		w.want("answers", connack311+subackT+"\x30\x04\x00\x01tx\xd0\x00")
	})
	t.Run("fragments", func(t *testing.T) {
		w := dialWeb(t, addr)
		w.write(masked(0x02, connect311[:3]))
		w.write(masked(0x89, "ping between fragments"))
		w.write(masked(0x00, connect311[3:9]))
		w.write(masked(0x80, connect311[9:]))
		if op, body, err := w.frame(); op != 0x8a || body != "ping between fragments" {
			t.Fatalf("frame %#x %q, %v; want the pong", op, body, err)
		}
		w.want("CONNACK", connack311)
	})
	t.Run("a packet's end and the next one's start", func(t *testing.T) {
		w := dialWeb(t, addr)
		all := connect311 + subscribeT + "\xc0\x00"
		w.write(masked(finBinary, all[:5]))
		w.write(masked(finBinary, all[5:len(connect311)+2]))
		w.write(masked(finBinary, all[len(connect311)+2:]))
		w.want("answers", connack311+subackT+"\xd0\x00")
	})
}

// covers: 3:6.0.0-4 5:6.0.0-4 31:U31-28
func TestWebSocketSubprotocol(t *testing.T) {
	addr := webBroker(t)
	for _, tt := range []struct{ offer, want string }{
		{"mqtt", "mqtt"},
		{"foo, mqtt", "mqtt"},
		{"mqttv3.1, mqtt", "mqtt"},
		{"mqttv3.1", "mqttv3.1"},
		{"foo,mqttv3.1", "mqttv3.1"},
	} {
		w, resp := upgrade(t, addr, "/mqtt", tt.offer)
		if got := resp.Header.Get("Sec-WebSocket-Protocol"); resp.StatusCode != http.StatusSwitchingProtocols || got != tt.want {
			t.Errorf("offer %q: %s, selected %q, want %q", tt.offer, resp.Status, got, tt.want)
			continue
		}
		w.write(masked(finBinary, "\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x00\x00\x01a"))
		w.want("CONNACK of MQTT 3.1", connack311)
	}
	for _, offer := range []string{"", "foo", "mqtt5", "MQTT"} {
		if _, resp := upgrade(t, addr, "/mqtt", offer); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("offer %q: %s, want a refusal", offer, resp.Status)
		}
	}
}

// covers: 5:U5-6-1
func TestWebSocketPaths(t *testing.T) {
	addr := webBroker(t)
	for _, path := range []string{"/", "/mqtt", "/x?y=z", "/a/b/c%20d"} {
		w, resp := upgrade(t, addr, path, "mqtt")
		if resp.StatusCode != http.StatusSwitchingProtocols {
			t.Errorf("%s: %s", path, resp.Status)
			continue
		}
		w.write(masked(finBinary, connect311))
		w.want(path, connack311)
	}
}

// A refusing CONNACK, or the DISCONNECT before a close, arrives before the close
// frame.
//
// covers: E189 3:3.2.2-5 5:3.2.2-7
func TestWebSocketRefusalArrives(t *testing.T) {
	addr := webBroker(t)
	for _, tt := range []struct{ name, send, want string }{
		{"unknown level", "\x10\x0d\x00\x04MQTT\x01\x02\x00\x00\x00\x01a", "\x20\x02\x00\x01"},
		{"empty identifier", "\x10\x0c\x00\x04MQTT\x04\x00\x00\x00\x00\x00", "\x20\x02\x00\x02"},
		{"unknown method", "\x10\x12\x00\x04MQTT\x05\x02\x00\x00\x04\x15\x00\x01m\x00\x01a", ""},
		{"behind an accepted CONNECT", connect311 + "\x00\x00", connack311},
	} {
		w := dialWeb(t, addr)
		w.write(masked(finBinary, tt.send))
		if tt.want == "" {
			op, body, err := w.frame()
			if op != finBinary || len(body) < 5 || !strings.HasPrefix(body, "\x20") || body[3] != 0x8c {
				t.Fatalf("%s: frame %#x % x, %v", tt.name, op, body, err)
			}
		} else {
			w.want(tt.name, tt.want)
		}
		w.wantClose(tt.name, 1000)
	}
}
