package wsproto

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
)

func newTestClient(t testing.TB, opts ClientOptions) (c *Client, req string) {
	t.Helper()
	if opts.Host == "" {
		opts.Host = "broker:9001"
	}
	c, err := NewClient(opts)
	if err != nil {
		t.Fatal(err)
	}
	return c, string(c.Start(nil))
}

// reply is a good 101 for c with some lines replaced.
func reply(c *Client, edits ...string) string {
	r := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + acceptKey(c.key) + "\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
	for i := 0; i < len(edits); i += 2 {
		r = strings.Replace(r, edits[i], edits[i+1], 1)
	}
	return r
}

// covers: 3:6.0.0-3 5:6.0.0-3
func TestClientRequest(t *testing.T) {
	_, raw := newTestClient(t, ClientOptions{
		Path: "/ws?a=b", Subprotocols: []string{"mqtt", "mqttv3.1"},
		Header: http.Header{"Origin": {"http://o"}, "Authorization": {"Basic eDp5"}},
	})
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Upgrade": "websocket", "Connection": "Upgrade", "Sec-Websocket-Version": "13",
		"Sec-Websocket-Protocol": "mqtt, mqttv3.1", "Origin": "http://o", "Authorization": "Basic eDp5",
	} {
		if got := req.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if req.Host != "broker:9001" || req.RequestURI != "/ws?a=b" || len(req.Header.Get("Sec-Websocket-Key")) != 24 {
		t.Errorf("request %q", raw)
	}
	_, plain := newTestClient(t, ClientOptions{})
	if !strings.HasPrefix(plain, "GET /mqtt HTTP/1.1\r\n") || !strings.Contains(plain, "Sec-WebSocket-Protocol: mqtt\r\n") {
		t.Errorf("default request %q", plain)
	}
	_, other := newTestClient(t, ClientOptions{})
	if other == plain {
		t.Error("two requests use the same key")
	}
}

func TestClientOptionsRefused(t *testing.T) {
	for _, o := range []ClientOptions{
		{Host: ""},
		{Host: "h\r\nX: y"},
		{Host: "h/x"},
		{Host: "h", Path: "x"},
		{Host: "h", Path: "/x y"},
		{Host: "h", Path: "/\r\n"},
		{Host: "h", Subprotocols: []string{"a,b"}},
		{Host: "h", Subprotocols: []string{""}},
		{Host: "h", Header: http.Header{"X": {"a\r\nb"}}},
		{Host: "h", Header: http.Header{"X Y": {"a"}}},
		{Host: "h", Header: http.Header{"Host": {"other"}}},
		{Host: "h", Header: http.Header{"Sec-Websocket-Key": {"a"}}},
	} {
		if _, err := NewClient(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestClientAccepts(t *testing.T) {
	for _, step := range steps {
		c, _ := newTestClient(t, ClientOptions{Subprotocols: []string{"mqtt", "mqttv3.1"}})
		if out := c.Outbound(nil, []byte("x")); len(out) != 0 {
			t.Fatalf("frames before the handshake: %x", out)
		}
		raw := append([]byte(reply(c, ": mqtt", ": mqttv3.1")), frame(0x82, false, []byte("data"))...)
		dst, out, err := feed(c, raw, step)
		if err != nil || !c.Open() || c.Subprotocol() != "mqttv3.1" || string(dst) != "data" || len(out) != 0 {
			t.Fatalf("step %d: %q %q %v", step, dst, out, err)
		}
	}
}

func TestClientRefusesReply(t *testing.T) {
	for _, c := range []struct {
		name   string
		edits  []string
		status int
		reason string
	}{
		{"401", []string{"101 Switching Protocols", "401 Unauthorized"}, 401, "Unauthorized"},
		{"redirect", []string{"101 Switching Protocols", "302 Found", "Upgrade: websocket", "Location: http://there"}, 302, "refused"},
		{"no upgrade", []string{"Upgrade: websocket\r\n", ""}, 101, "did not upgrade"},
		{"no connection", []string{"Connection: Upgrade\r\n", ""}, 101, "Connection"},
		{"wrong accept", []string{"Accept: ", "Accept: A"}, 101, "Sec-WebSocket-Accept"},
		{"extension", []string{"Upgrade: websocket", "Upgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate"}, 101, "extension"},
		{"no subprotocol", []string{"Sec-WebSocket-Protocol: mqtt\r\n", ""}, 101, "subprotocol"},
		{"other subprotocol", []string{": mqtt\r\n", ": chat\r\n"}, 101, "chat"},
		{"not HTTP", []string{"HTTP/1.1", "SSH-2.0"}, 0, "did not answer in HTTP"},
		{"bad status", []string{"101", "1e1"}, 0, "did not answer in HTTP"},
		{"broken header", []string{"Upgrade: websocket", "Upgrade websocket"}, 101, "malformed"},
		{"endless", []string{"Upgrade: websocket", "X: " + strings.Repeat("y", 20000)}, 0, "16384"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, step := range []int{0, 1} {
				cl, _ := newTestClient(t, ClientOptions{})
				dst, out, err := feed(cl, []byte(reply(cl, c.edits...)), step)
				var e *HandshakeError
				if !errors.As(err, &e) || e.Status != c.status || !strings.Contains(e.Error(), c.reason) || cl.Open() || len(dst)+len(out) != 0 {
					t.Fatalf("step %d: %q %q %v", step, dst, out, err)
				}
				if c.name == "redirect" && e.Location != "http://there" {
					t.Fatalf("location %q", e.Location)
				}
			}
		})
	}
}

func TestClientFrames(t *testing.T) {
	c, _ := newTestClient(t, ClientOptions{})
	if _, _, err := feed(c, []byte(reply(c)), 0); err != nil {
		t.Fatal(err)
	}
	s := openServer(t)
	app := pattern(70000)
	wire := c.Outbound(nil, app)
	if bytes.Contains(wire, app[:64]) {
		t.Fatal("the frame is not masked")
	}
	if bytes.Equal(wire, c.Outbound(nil, app)) {
		t.Fatal("two frames use the same masking key")
	}
	dst, _, err := feed(s, wire, 1000)
	if err != nil || !bytes.Equal(dst, app) {
		t.Fatalf("server read %d bytes, %v", len(dst), err)
	}
	_, pong, err := feed(c, frame(0x89, false, []byte("hi")), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, out, err := feed(s, pong, 1); err != nil || len(out) != 0 || len(pong) != 2+4+2 {
		t.Fatalf("pong %x: %x %v", pong, out, err)
	}
	if _, _, err = feed(c, frame(0x82, true, []byte("x")), 0); closeCode(t, err) != 1002 {
		t.Fatalf("masked frame from the server: %v", err)
	}
}

func FuzzClientHandshake(f *testing.F) {
	c := &Client{key: "dGhlIHNhbXBsZSBub25jZQ=="}
	f.Add([]byte(reply(c)+"\x82\x01a"), uint8(3))
	f.Add([]byte("HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, raw []byte, step uint8) {
		run := func(step int) (*Client, []byte, error) {
			c := &Client{
				frames: clientFrames(), key: "dGhlIHNhbXBsZSBub25jZQ==",
				opts: ClientOptions{Subprotocols: []string{"mqtt"}, MaxHeader: 500},
			}
			dst, _, err := feed(c, raw, step)
			return c, dst, err
		}
		c1, d1, e1 := run(0)
		c2, d2, e2 := run(int(step))
		if c1.Open() != c2.Open() || !bytes.Equal(d1, d2) || !sameEnd(e1, e2) {
			t.Fatalf("in one piece: %v %q %v\nin pieces: %v %q %v", c1.Open(), d1, e1, c2.Open(), d2, e2)
		}
		if c1.Open() && !bytes.Contains(raw, []byte(acceptKey(c1.key))) {
			t.Fatal("opened without the accept key")
		}
	})
}
