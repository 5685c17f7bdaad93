package wsproto

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// request builds an upgrade request; each edit "Name: value" replaces, "Name:"
// removes, "+Name: value" adds a header line; one that begins with GET or
// another method replaces the request line.
func request(edits ...string) string {
	lines := []string{
		"GET /mqtt HTTP/1.1", "Host: h", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: mqtt",
	}
	for _, e := range edits {
		if line, ok := strings.CutPrefix(e, "+"); ok {
			lines = append(lines, line)
			continue
		}
		if strings.Contains(e, " HTTP/") || !strings.Contains(e, ":") {
			lines[0] = e
			continue
		}
		name, value, _ := strings.Cut(e, ":")
		i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, name+":") })
		if value == "" {
			lines = slices.Delete(lines, i, i+1)
		} else {
			lines[i] = e
		}
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

func TestAcceptKey(t *testing.T) {
	// The example of RFC 6455 section 1.3.
	if got := acceptKey("dGhlIHNhbXBsZSBub25jZQ=="); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("accept key %q", got)
	}
}

// covers: 3:6.0.0-4 5:6.0.0-4 5:U5-6-1
func TestServerAccepts(t *testing.T) {
	for _, c := range []struct {
		name, req, subprotocol string
	}{
		{"plain", request(), "mqtt"},
		{"3.1", request("Sec-WebSocket-Protocol: mqttv3.1"), "mqttv3.1"},
		{"list prefers mqtt", request("Sec-WebSocket-Protocol: mqttv3.1, mqtt"), "mqtt"},
		{"list without blanks", request("Sec-WebSocket-Protocol: foo,mqttv3.1,bar"), "mqttv3.1"},
		{"list in two lines", request("Sec-WebSocket-Protocol: foo", "+sec-websocket-protocol: mqtt"), "mqtt"},
		{"root path", request("GET / HTTP/1.1"), "mqtt"},
		{"query", request("GET /x?y=z HTTP/1.1"), "mqtt"},
		{"absolute target", request("GET http://h/mqtt HTTP/1.1"), "mqtt"},
		{"head", request("HEAD / HTTP/1.1"), "mqtt"},
		{"letter case", request("Upgrade: WebSocket", "Connection: keep-alive, UPGRADE"), "mqtt"},
		{"header names in capitals", strings.ReplaceAll(request(), "Sec-WebSocket-Key", "SEC-WEBSOCKET-KEY"), "mqtt"},
		{"no version", request("Sec-WebSocket-Version:"), "mqtt"},
		{"bare line feeds", strings.ReplaceAll(request(), "\r\n", "\n"), "mqtt"},
		{"no blank behind colon", strings.ReplaceAll(request(), ": ", ":"), "mqtt"},
		{"origin", request("+Origin: http://elsewhere"), "mqtt"},
		{"extensions offered", request("+Sec-WebSocket-Extensions: permessage-deflate"), "mqtt"},
		{"99 headers", request(slices.Repeat([]string{"+X: y"}, 93)...), "mqtt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, step := range steps {
				s := NewServer(&ServerOptions{})
				raw := append([]byte(c.req), frame(0x82, true, []byte("early"))...)
				dst, out, err := feed(s, raw, step)
				if err != nil {
					t.Fatalf("step %d: %v", step, err)
				}
				if !s.Open() || s.Subprotocol() != c.subprotocol || string(dst) != "early" {
					t.Fatalf("step %d: open %v subprotocol %q data %q", step, s.Open(), s.Subprotocol(), dst)
				}
				res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(out)), &http.Request{Method: "GET"})
				if err != nil {
					t.Fatal(err)
				}
				if res.StatusCode != 101 || res.Header.Get("Sec-Websocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" ||
					res.Header.Get("Sec-Websocket-Protocol") != c.subprotocol || res.Header.Get("Upgrade") != "websocket" ||
					res.Header.Get("Connection") != "Upgrade" || res.Header.Get("Sec-Websocket-Extensions") != "" {
					t.Fatalf("step %d: reply %q", step, out)
				}
			}
		})
	}
}

func TestServerRefusesHandshake(t *testing.T) {
	for _, c := range []struct {
		name, req string
		status    int
		reason    string
	}{
		{"not an upgrade", request("Upgrade:"), 426, "does not ask for an upgrade"},
		{"other upgrade", request("Upgrade: h2c"), 426, "does not ask for an upgrade"},
		{"no connection", request("Connection:"), 426, "Connection header"},
		{"version 8", request("Sec-WebSocket-Version: 8"), 426, "not 13"},
		{"two versions", request("+Sec-WebSocket-Version: 13"), 426, "not 13"},
		{"no key", request("Sec-WebSocket-Key:"), 400, "Sec-WebSocket-Key"},
		{"empty key", request("Sec-WebSocket-Key: "), 400, "Sec-WebSocket-Key"},
		{"two keys", request("+Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400, "Sec-WebSocket-Key"},
		{"no subprotocol", request("Sec-WebSocket-Protocol:"), 400, "neither mqtt nor mqttv3.1"},
		{"other subprotocol", request("Sec-WebSocket-Protocol: chat"), 400, "neither mqtt nor mqttv3.1"},
		{"leading part of a name", request("Sec-WebSocket-Protocol: mqttv3"), 400, "neither mqtt nor mqttv3.1"},
		{"post", request("POST / HTTP/1.1"), 405, "not GET"},
		{"body", request("+Content-Length: 5"), 400, "body"},
		{"chunked", request("+Transfer-Encoding: chunked"), 400, "body"},
		{"http 1.0", request("GET / HTTP/1.0"), 505, "not HTTP/1.1"},
		{"http 2", request("GET / HTTP/2.0"), 505, "not HTTP/1.1"},
		{"no version in line", request("GET /"), 400, "request line"},
		{"blank in target", request("GET /a b HTTP/1.1"), 505, "not HTTP/1.1"},
		{"control in target", request("GET /a\x01 HTTP/1.1"), 400, "target"},
		{"folded", request("+X: y\r\n z"), 400, "without a colon"},
		{"blank before colon", request("+X : y"), 400, "header name"},
		{"NUL in value", request("+X: a\x00b"), 400, "control characters"},
		{"CR in value", request("+X: a\rb"), 400, "control characters"},
		{"101 headers", request(slices.Repeat([]string{"+X: y"}, 95)...), 400, "more than 100"},
		{"too large", request("+X: " + strings.Repeat("y", 4096)), 431, "4096"},
		{"endless", "GET /" + strings.Repeat("y", 9999), 431, "4096"},
		{"wrong origin", request("+Origin: http://evil"), 403, "non-matching http origin"},
		{"leading part of an origin", request("+Origin: http://good"), 403, "non-matching http origin"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, step := range []int{0, 1, 50} {
				s := NewServer(&ServerOptions{Origins: []string{"http://good.example"}})
				dst, out, err := feed(s, []byte(c.req), step)
				var e *HandshakeError
				if !errors.As(err, &e) || e.Status != c.status || !strings.Contains(e.Error(), c.reason) {
					t.Fatalf("step %d: error %v, want status %d, %q", step, err, c.status, c.reason)
				}
				if s.Open() || len(dst) != 0 {
					t.Fatalf("open %v, data %q", s.Open(), dst)
				}
				res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(out)), &http.Request{Method: "GET"})
				if err != nil {
					t.Fatalf("reply %q: %v", out, err)
				}
				body, err := io.ReadAll(res.Body)
				if err != nil || res.StatusCode != c.status || !res.Close || !strings.Contains(string(body), c.reason) {
					t.Fatalf("reply %q, %v", out, err)
				}
				if c.status == 426 && (res.Header.Get("Sec-Websocket-Version") != "13" || res.Header.Get("Upgrade") != "websocket") {
					t.Fatalf("426 without the version it wants: %q", out)
				}
				if o := s.Close(s.Outbound(nil, []byte("x")), 1000); len(o) != 0 {
					t.Fatalf("frames before the handshake: %x", o)
				}
			}
		})
	}
}

func TestServerOriginAllowed(t *testing.T) {
	opts := &ServerOptions{Origins: []string{"http://a", "http://b"}}
	for _, req := range []string{request("+Origin: http://b"), request()} {
		s := NewServer(opts)
		if _, _, err := feed(s, []byte(req), 0); err != nil || !s.Open() {
			t.Fatalf("refused: %v", err)
		}
	}
}

func TestServerForeignProtocols(t *testing.T) {
	for _, c := range []struct {
		name, raw, reason string
	}{
		{"TLS", "\x16\x03\x01\x02\x00", "using TLS"},
		{"MQTT", "\x10\x0c\x00\x04MQTT", "MQTT CONNECT"},
		{"noise", "\x00\x01", "HTTP request"},
		{"lower case", "get / HTTP/1.1\r\n\r\n", "HTTP request"},
	} {
		s := NewServer(&ServerOptions{})
		_, out, err := s.Inbound(nil, []byte(c.raw), nil)
		var e *HandshakeError
		if !errors.As(err, &e) || e.Status != 0 || !strings.Contains(e.Error(), c.reason) || len(out) != 0 {
			t.Errorf("%s: out %q, error %v", c.name, out, err)
		}
	}
}

func TestServerHeaderLimit(t *testing.T) {
	base := len(request("+X: "))
	for _, limit := range []int{500, 4096} {
		for _, over := range []int{-1, 0, 1} {
			req := request("+X: " + strings.Repeat("y", limit-base+over))
			for _, step := range []int{0, 1} {
				s := NewServer(&ServerOptions{MaxHeader: limit})
				_, _, err := feed(s, []byte(req), step)
				if (err != nil) != (over > 0) {
					t.Errorf("limit %d, request of %d bytes, step %d: %v", limit, len(req), step, err)
				}
				if cap(s.handshake.buf) > 2*limit {
					t.Errorf("limit %d: buffer of %d bytes", limit, cap(s.handshake.buf))
				}
			}
		}
	}
}

func FuzzServerHandshake(f *testing.F) {
	f.Add([]byte(goodRequest+"\x82\x80abcd"), uint8(7))
	f.Add([]byte(request("+Origin: http://evil")), uint8(1))
	f.Add([]byte(strings.ReplaceAll(goodRequest, "\r\n", "\n")), uint8(3))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint8(2))
	f.Fuzz(func(t *testing.T, raw []byte, step uint8) {
		opts := &ServerOptions{MaxHeader: 600}
		one, many := NewServer(opts), NewServer(opts)
		d1, o1, e1 := feed(one, raw, 0)
		d2, o2, e2 := feed(many, raw, int(step))
		if !bytes.Equal(d1, d2) || !bytes.Equal(o1, o2) || !sameEnd(e1, e2) || one.Open() != many.Open() {
			t.Fatalf("in one piece: %q %q %v\nin pieces: %q %q %v", d1, o1, e1, d2, o2, e2)
		}
		if len(o1) == 0 {
			return
		}
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(o1)), &http.Request{Method: "GET"})
		if err != nil {
			t.Fatalf("reply %q: %v", o1, err)
		}
		if one.Open() != (res.StatusCode == 101) {
			t.Fatalf("open %v after status %d", one.Open(), res.StatusCode)
		}
		// net/http agrees that what was accepted is a request.
		if one.Open() {
			req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
			if err == nil && !strings.Contains(strings.ToLower(strings.Join(req.Header.Values("Upgrade"), ",")), "websocket") {
				t.Fatalf("accepted a request whose Upgrade header is %q", req.Header.Values("Upgrade"))
			}
		}
	})
}
