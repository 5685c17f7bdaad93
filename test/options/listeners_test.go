package options

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

func port(n int) string { return strconv.Itoa(n) }

func TestAcceptProtocolVersions(t *testing.T) {
	r := start(t, head+"accept_protocol_versions 4\n")
	r.open(4, "four")
	if _, got := r.ask(5, "five"); got == nil || got.Reason != 0x84 {
		t.Errorf("MQTT 5: %v", got)
	}
	if _, got := r.ask(3, "three"); got == nil || got.Reason != 1 {
		t.Errorf("MQTT 3.1: %v", got)
	}
	r.reload(head + "accept_protocol_versions 5,3\n")
	r.open(5, "five")
	r.open(3, "three")
	if _, got := r.ask(4, "four"); got == nil || got.Reason != 1 {
		t.Errorf("MQTT 3.1.1 after the reload: %v", got)
	}
}

func TestDefaultListener(t *testing.T) {
	r := start(t, "port PORT\nbind_address 127.0.0.1\nallow_anonymous true\n")
	r.open(4, "c")
	if a := r.b.Addresses(); len(a) != 1 || a[0] != "127.0.0.1:"+port(r.port) {
		t.Errorf("listens on %v", a)
	}
}

func TestListenerPlaces(t *testing.T) {
	r := start(t, "listener PORT\nsocket_domain ipv4\nlistener PORT ::1\nlistener 0 DIR/sock\nallow_anonymous true\n")
	r.open(4, "four")
	c, err := net.Dial("tcp", net.JoinHostPort("::1", port(r.port)))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	u, err := net.Dial("unix", filepath.Join(r.dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	x := &client{t: t, c: u, v: 4}
	if got := x.connect("unix"); got == nil || got.Reason != 0 {
		t.Errorf("%v", got)
	}
	u.Close()
}

func TestBindInterface(t *testing.T) {
	r := start(t, "listener PORT\nbind_interface lo\nallow_anonymous true\n")
	r.open(4, "c")
	for _, a := range r.b.Addresses() {
		if host, _, err := net.SplitHostPort(a); err != nil || !net.ParseIP(host).IsLoopback() {
			t.Errorf("listens on %s", a)
		}
	}
}

// upgrade asks for a WebSocket and returns the status of the answer.
func (r *rig) upgrade(header ...string) int {
	r.t.Helper()
	c := r.dial(4)
	if err := c.c.SetDeadline(time.Now().Add(patience)); err != nil {
		r.t.Fatal(err)
	}
	fmt.Fprintf(c.c, "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n%s\r\n", strings.Join(header, ""))
	a, err := http.ReadResponse(bufio.NewReader(c.c), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	a.Body.Close()
	return a.StatusCode
}

func TestWebSockets(t *testing.T) {
	const conf = head + "protocol websockets\n"
	r := start(t, conf+"websockets_origin http://good.example\nwebsockets_origin http://other.example\n")
	for origin, want := range map[string]int{"http://good.example": 101, "http://other.example": 101, "http://bad.example": 403, "": 101} {
		h := "Origin: " + origin + "\r\n"
		if origin == "" {
			h = ""
		}
		if got := r.upgrade(h); got != want {
			t.Errorf("origin %q: %d, want %d", origin, got, want)
		}
	}
	r.reload(conf + "websockets_origin http://bad.example\n")
	if got := r.upgrade("Origin: http://bad.example\r\n"); got != 101 {
		t.Errorf("after the reload %d", got)
	}
	if got := r.upgrade("Origin: http://good.example\r\n"); got != 403 {
		t.Errorf("the old origin after the reload %d", got)
	}
}

func TestPacketBufferSize(t *testing.T) {
	for _, option := range []string{"packet_buffer_size", "websockets_headers_size"} {
		t.Run(option, func(t *testing.T) {
			r := start(t, head+"protocol websockets\n"+option+" 500\n")
			if got := r.upgrade(); got != 101 {
				t.Errorf("short: %d", got)
			}
			if got := r.upgrade("X: " + strings.Repeat("x", 500) + "\r\n"); got != 431 {
				t.Errorf("long: %d", got)
			}
		})
	}
}

func TestProxyProtocol(t *testing.T) {
	r := start(t, head+"enable_proxy_protocol 1\n")
	c := r.dial(4)
	if _, err := c.c.Write([]byte("PROXY TCP4 192.0.2.7 192.0.2.8 4711 1883\r\n")); err != nil {
		t.Fatal(err)
	}
	if got := c.connect("c"); got == nil || got.Reason != 0 {
		t.Errorf("%v", got)
	}
	r.awaitLog("New client connected from 192.0.2.7:4711 as c (p4, c1, k0).")
	bare := r.dial(4)
	bare.send(connectPacket(4, "bare"))
	if p := bare.next(); p != nil {
		t.Errorf("without a header: %v", p)
	}
}

// proxy2 is a header of version 2 for TCP over IPv4; tls adds that the client
// came by TLS.
func proxy2(tls bool) []byte {
	h := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc0\x00\x02\x08\x12\x67\x07\x5b")
	if tls {
		tlv := []byte("\x20\x00\x05\x01\x00\x00\x00\x00")
		h = append(h, tlv...)
		h[15] += byte(len(tlv))
	}
	return h
}

func TestProxyProtocolV2RequireTLS(t *testing.T) {
	r := start(t, head+"enable_proxy_protocol 2\nproxy_protocol_v2_require_tls true\n")
	for _, tls := range []bool{true, false} {
		c := r.dial(4)
		if _, err := c.c.Write(append(proxy2(tls), connectPacket(4, "c").Encode(4)...)); err != nil {
			t.Fatal(err)
		}
		if got := c.next(); (got != nil) != tls {
			t.Errorf("client with TLS %v: %v", tls, got)
		}
	}
	r.awaitLog("rejected, client did not connect using TLS.")
}

func TestClientIDs(t *testing.T) {
	r := start(t, head)
	id := func() string {
		t.Helper()
		_, ack := r.ask(5, "")
		p, _ := ack.Props.Get(assignedID)
		return p.Str
	}
	for _, tc := range []struct{ lines, prefix string }{
		{"", "auto-"},
		{"auto_id_prefix one-\n", "one-"},
		{"auto_id_prefix one-\nlistener_auto_id_prefix two-\n", "two-"},
	} {
		r.reload(head + tc.lines)
		if got := id(); !strings.HasPrefix(got, tc.prefix) || len(got) != len(tc.prefix)+36 {
			t.Errorf("%q: %q", tc.lines, got)
		}
	}
	r.reload(head + "allow_zero_length_clientid false\n")
	if _, got := r.ask(5, ""); got == nil || got.Reason != 0x80 {
		t.Errorf("MQTT 5: %v", got)
	}
	if _, got := r.ask(4, ""); got == nil || got.Reason != 2 {
		t.Errorf("MQTT 3.1.1: %v", got)
	}
	r.reload(head + "clientid_prefixes dev-\n")
	r.open(4, "dev-1")
	if _, got := r.ask(4, "other"); got == nil || got.Reason != 5 {
		t.Errorf("MQTT 3.1.1 with another prefix: %v", got)
	}
	if _, got := r.ask(5, "other"); got == nil || got.Reason != 0x87 {
		t.Errorf("MQTT 5 with another prefix: %v", got)
	}
}

func TestUseUserNameAsClientID(t *testing.T) {
	const conf = "listener PORT 127.0.0.1\nallow_anonymous true\nuse_username_as_clientid true\n"
	r := start(t, conf)
	if _, got := r.ask(4, "x"); got == nil || got.Reason != 5 {
		t.Errorf("without a user name: %v", got)
	}
	one := r.open(5, "x", login("ann", ""))
	r.open(5, "y", login("ann", ""))
	one.closed(0x8E)
	r.reload(head)
	r.open(4, "x")
}

func TestHTTPDir(t *testing.T) {
	r := prepare(t)
	r.file("index.html", "<h1>midge</h1>")
	web := freePort(t)
	conf := head + "listener " + port(web) + " 127.0.0.1\nprotocol http_api\nhttp_dir DIR\n"
	r.run(conf)
	a, err := http.Get("http://127.0.0.1:" + port(web) + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if a.StatusCode != 200 {
		t.Errorf("%s", a.Status)
	}
}

func TestSetTCPNodelay(t *testing.T) {
	r := start(t, head+"set_tcp_nodelay false\n")
	r.open(4, "c").publish("t", "x", 1)
	r.reload(head)
	r.open(4, "d").publish("t", "x", rawmqtt.V31-2)
}
