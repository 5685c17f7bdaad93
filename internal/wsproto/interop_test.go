package wsproto

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// The peer here is an independent implementation of RFC 6455.

// pump runs a layer over a net.Conn: what it decodes goes to app, which
// returns what to send. It ends with the error of the layer or the socket.
func pump(c net.Conn, l Layer, app func(data []byte) []byte) error {
	if _, err := c.Write(l.Start(nil)); err != nil {
		return err
	}
	buf := make([]byte, 1500)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		dst, out, lerr := l.Inbound(buf[:0], buf[:n], nil)
		if len(dst) > 0 {
			if reply := app(dst); reply != nil {
				out = l.Outbound(out, reply)
			}
		}
		if _, err := c.Write(out); err != nil {
			return err
		}
		if lerr != nil {
			return lerr
		}
	}
}

// serveEcho accepts one connection and echoes through a Server layer.
func serveEcho(t *testing.T, opts *ServerOptions) (addr string, result <-chan error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ch := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		c, err := ln.Accept()
		if err != nil {
			ch <- err
			return
		}
		defer c.Close()
		ch <- pump(c, NewServer(opts), func(data []byte) []byte { return data })
	}()
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String(), ch
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestServerWithForeignClient(t *testing.T) {
	ctx := testContext(t)
	addr, _ := serveEcho(t, &ServerOptions{Origins: []string{"http://x"}})
	// Compression is offered and must not be agreed on.
	c, res, err := websocket.Dial(ctx, "ws://"+addr+"/any?path", &websocket.DialOptions{
		Subprotocols: []string{"other", "mqttv3.1", "mqtt"}, CompressionMode: websocket.CompressionContextTakeover,
		HTTPHeader: http.Header{"Origin": {"http://x"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if c.Subprotocol() != "mqtt" || res.Header.Get("Sec-Websocket-Extensions") != "" {
		t.Fatalf("subprotocol %q, reply %v", c.Subprotocol(), res.Header)
	}
	c.SetReadLimit(-1)
	nc := websocket.NetConn(ctx, c, websocket.MessageBinary)
	for _, n := range []int{1, 125, 126, 65535, 65536, 1 << 20} {
		app := pattern(n)
		failed := make(chan error, 1)
		go func() {
			// A writer flushes fragments: one message in many frames.
			w, err := c.Writer(ctx, websocket.MessageBinary)
			if err == nil {
				for i := 0; i < n && err == nil; i += 9000 {
					_, err = w.Write(app[i:min(i+9000, n)])
				}
				err = errors.Join(err, w.Close())
			}
			failed <- err
		}()
		got := make([]byte, n)
		if _, err := io.ReadFull(nc, got); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, app) {
			t.Fatalf("%d bytes came back changed", n)
		}
	}
	c.CloseRead(ctx)
	if err := c.Ping(ctx); err != nil {
		t.Fatalf("ping: %v", err)
	}
}

func TestServerCloseWithForeignClient(t *testing.T) {
	ctx := testContext(t)
	addr, result := serveEcho(t, &ServerOptions{})
	c, _, err := websocket.Dial(ctx, "ws://"+addr, &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(websocket.StatusNormalClosure, "done"); err != nil {
		t.Fatalf("closing handshake: %v", err)
	}
	var e *CloseError
	if err := <-result; !errors.As(err, &e) || !e.Remote || e.Code != 1000 || e.Reason != "done" {
		t.Fatalf("server saw %v", err)
	}
}

func TestServerRefusesTextOfForeignClient(t *testing.T) {
	ctx := testContext(t)
	addr, _ := serveEcho(t, &ServerOptions{})
	c, _, err := websocket.Dial(ctx, "ws://"+addr, &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if err := c.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(ctx); websocket.CloseStatus(err) != websocket.StatusUnsupportedData {
		t.Fatalf("client saw %v, want 1003", err)
	}
}

func TestForeignClientSeesRefusal(t *testing.T) {
	ctx := testContext(t)
	addr, _ := serveEcho(t, &ServerOptions{})
	c, res, err := websocket.Dial(ctx, "ws://"+addr, &websocket.DialOptions{Subprotocols: []string{"chat"}})
	if err == nil {
		c.CloseNow()
		t.Fatal("accepted without an MQTT subprotocol")
	}
	if res == nil || res.StatusCode != http.StatusBadRequest {
		t.Fatalf("reply %v, error %v", res, err)
	}
}

func TestClientWithForeignServer(t *testing.T) {
	ctx := testContext(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}})
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(-1)
		for {
			typ, data, err := c.Read(ctx)
			if err != nil {
				if websocket.CloseStatus(err) != websocket.StatusNormalClosure {
					t.Errorf("server read: %v", err)
				}
				return
			}
			if typ != websocket.MessageBinary {
				t.Errorf("message type %v", typ)
			}
			if err := c.Write(ctx, typ, data); err != nil {
				t.Errorf("server write: %v", err)
				return
			}
		}
	}))
	defer srv.Close()
	nc, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	l, err := NewClient(ClientOptions{Host: srv.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	send := func(b []byte) {
		t.Helper()
		if _, err := nc.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	send(l.Start(nil))
	buf := make([]byte, 4000)
	var got []byte
	read := func() error {
		n, err := nc.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		var out []byte
		got, out, err = l.Inbound(got, buf[:n], nil)
		send(out)
		return err
	}
	for !l.Open() {
		if err := read(); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int{1, 125, 126, 65535, 65536, 300000} {
		got = got[:0]
		send(l.Outbound(nil, pattern(n)))
		for len(got) < n {
			if err := read(); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, pattern(n)) {
			t.Fatalf("%d bytes came back changed", n)
		}
	}
	send(l.Close(nil, CloseNormal))
	for {
		if err := read(); err != nil {
			var e *CloseError
			if !errors.As(err, &e) || !e.Remote || e.Code != CloseNormal {
				t.Fatalf("closing handshake: %v", err)
			}
			return
		}
	}
}
