package tlslayer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/midgemq/midge/internal/wsproto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// certificate makes a self-signed certificate for localhost.
func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func identity(cs *tls.ConnectionState) *wsproto.Peer {
	return &wsproto.Peer{TLSVersion: tls.VersionName(cs.Version)}
}

// echo serves one connection the way a loop does: it reads, gives the bytes to the
// layer, and writes what comes out, application bytes being sent back.
type echo struct {
	layer *Server
	c     net.Conn
	mu    sync.Mutex
	err   error
	done  chan struct{}
}

func serve(t testing.TB, pool *Pool, cfg *tls.Config, c net.Conn) *echo {
	e := &echo{layer: NewServer(pool, cfg, identity), c: c, done: make(chan struct{})}
	e.layer.Notify(func() { go e.input(nil) })
	go func() {
		defer close(e.done)
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if n > 0 && !e.input(buf[:n]) || err != nil {
				break
			}
		}
		e.mu.Lock()
		e.layer.Drop()
		e.mu.Unlock()
		c.Close()
	}()
	t.Cleanup(func() { c.Close(); <-e.done })
	return e
}

func (e *echo) input(b []byte) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return false
	}
	app, out, err := e.layer.Inbound(b[:0], b, nil)
	if len(app) > 0 {
		out = e.layer.Outbound(out, app)
	}
	if len(out) > 0 {
		e.c.Write(out) //nolint:errcheck // the client has gone
	}
	if e.err = err; err != nil {
		e.c.Close()
	}
	return err == nil
}

func (e *echo) failure() error {
	<-e.done
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// pair is a loopback connection: net.Pipe would block a writer.
func pair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client, server
}

func TestEchoInEveryVersion(t *testing.T) {
	pool := NewPool(0, 0)
	defer pool.Close()
	cfg := &tls.Config{Certificates: []tls.Certificate{certificate(t)}, MinVersion: tls.VersionTLS10}
	for _, v := range []uint16{tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(v), func(t *testing.T) {
			c, s := pair(t)
			e := serve(t, pool, cfg, s)
			cc := &tls.Config{InsecureSkipVerify: true, MinVersion: v, MaxVersion: v}
			tc := tls.Client(c, cc)
			// More than a read buffer, so that records are cut everywhere.
			want := make([]byte, 1<<20)
			rand.Read(want)
			go tc.Write(want)
			got := make([]byte, len(want))
			if _, err := io.ReadFull(tc, got); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("echo: %v", err)
			}
			if p := e.layer.Peer(); p == nil || p.TLSVersion != tls.VersionName(v) {
				t.Errorf("peer %+v", p)
			}
			tc.Close()
			var ce *wsproto.CloseError
			if err := e.failure(); !errors.As(err, &ce) || !ce.Remote {
				t.Errorf("end: %v", err)
			}
		})
	}
}

// TestOneByteAtATime cuts the stream at every byte.
func TestOneByteAtATime(t *testing.T) {
	pool := NewPool(0, 0)
	defer pool.Close()
	c, s := pair(t)
	serve(t, pool, &tls.Config{Certificates: []tls.Certificate{certificate(t)}}, s)
	tc := tls.Client(slow{c}, &tls.Config{InsecureSkipVerify: true})
	if _, err := tc.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(tc, b); err != nil || string(b) != "hello" {
		t.Fatalf("%q %v", b, err)
	}
}

// slow writes each byte by itself.
type slow struct{ net.Conn }

func (s slow) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := s.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

func TestCloseNotify(t *testing.T) {
	pool := NewPool(0, 0)
	defer pool.Close()
	c, s := pair(t)
	e := serve(t, pool, &tls.Config{Certificates: []tls.Certificate{certificate(t)}}, s)
	tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	if _, err := tc.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(tc, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	out := e.layer.Close(nil, wsproto.CloseNormal)
	again := e.layer.Close(nil, wsproto.CloseNormal)
	after := e.layer.Outbound(nil, []byte("y"))
	e.mu.Unlock()
	if len(out) == 0 || again != nil || after != nil {
		t.Fatalf("close %x, again %x, afterwards %x", out, again, after)
	}
	s.Write(out)
	s.(*net.TCPConn).CloseWrite()
	if n, err := tc.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after close_notify: %d %v", n, err)
	}
}

func TestHandshakeErrors(t *testing.T) {
	pool := NewPool(0, 0)
	defer pool.Close()
	cfg := &tls.Config{Certificates: []tls.Certificate{certificate(t)}, MinVersion: tls.VersionTLS13}
	for _, tt := range []struct {
		name, send, want string
	}{
		{"mqtt", "\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00", "did not begin with a TLS handshake"},
		{"http", "GET / HTTP/1.1\r\n\r\n", "did not begin with a TLS handshake"},
		{"garbage", "\x16garbage, and a lot of it", "TLS handshake: tls: first record does not look like a TLS handshake"},
		{"length", "\x16\x03\x01\xff\xffxxxxx", "TLS handshake: tls: oversized record received"},
		{"message", "\x16\x03\x01\x00\x04\x0b\x00\x00\x00", "TLS handshake: local error: tls: error decoding message"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, s := pair(t)
			e := serve(t, pool, cfg, s)
			if _, err := c.Write([]byte(tt.send)); err != nil {
				t.Fatal(err)
			}
			var hs *wsproto.HandshakeError
			if err := e.failure(); !errors.As(err, &hs) || !strings.Contains(hs.Reason, tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if _, _, err := e.layer.Inbound(nil, []byte("more"), nil); err == nil {
				t.Error("goes on after an error")
			}
		})
	}
	t.Run("version", func(t *testing.T) {
		c, s := pair(t)
		e := serve(t, pool, cfg, s)
		err := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}).Handshake()
		if err == nil || !strings.Contains(err.Error(), "protocol version not supported") {
			t.Errorf("client is told %v", err)
		}
		if err := e.failure(); err == nil || !strings.Contains(err.Error(), "client offered only unsupported versions") {
			t.Errorf("server says %v", err)
		}
	})
}

// TestOldestWaitsNoLonger fills the pool with handshakes whose clients have stopped:
// one more client is let in once the first of them has waited too long, and only
// that one goes.
func TestOldestWaitsNoLonger(t *testing.T) {
	for _, patience := range []time.Duration{0, 100 * time.Millisecond} {
		const places = 3
		pool := NewPool(1, places)
		defer pool.Close()
		pool.patience = patience
		cfg := &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
		stopped := stopped(t, pool, cfg, places)
		c, s := pair(t)
		serve(t, pool, cfg, s)
		if err := tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake(); err != nil {
			t.Errorf("a good client beside them: %v", err)
		}
		if err := stopped[0].failure(); err == nil || !strings.Contains(err.Error(), errCrowded.Error()) {
			t.Errorf("the oldest ended with %v", err)
		}
		await(t, func() bool { n, _ := pool.Waiting(); return n == places-1 })
	}
}

// TestCrowdIsPatient fills the pool: one more waits, nobody is ended, and it is let
// in when one of the others has gone.
func TestCrowdIsPatient(t *testing.T) {
	const places = 3
	pool := NewPool(1, places)
	defer pool.Close()
	pool.patience = time.Hour
	cfg := &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
	stopped := stopped(t, pool, cfg, places)
	c, s := pair(t)
	serve(t, pool, cfg, s)
	done := make(chan error, 1)
	go func() { done <- tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake() }()
	await(t, func() bool { clients, others := pool.Waiting(); return clients == places && others == 1 })
	_ = stopped[1].c.Close()
	if err := <-done; err != nil {
		t.Errorf("the one that waited: %v", err)
	}
	await(t, func() bool { clients, others := pool.Waiting(); return clients == places-1 && others == 0 })
}

// stopped are n connections whose clients stop in the middle of the handshake.
func stopped(t *testing.T, pool *Pool, cfg *tls.Config, n int) (all []*echo) {
	for i := range n {
		c, s := pair(t)
		all = append(all, serve(t, pool, cfg, s))
		if _, err := c.Write([]byte("\x16\x03\x01\x02\x00\x01")); err != nil {
			t.Fatal(err)
		}
		await(t, func() bool { waiting, _ := pool.Waiting(); return waiting == i+1 })
	}
	return all
}

// TestCrowd lets many clients in through one place.
func TestCrowd(t *testing.T) {
	pool := NewPool(1, 0)
	defer pool.Close()
	cfg := &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
	var wg sync.WaitGroup
	for range 40 {
		c, s := pair(t)
		serve(t, pool, cfg, s)
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake(); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	await(t, func() bool { // the place is given back behind the last handshake
		a, b := pool.Waiting()
		pool.mu.Lock()
		defer pool.mu.Unlock()
		return a+b == 0 && pool.free == 1
	})
}

// TestDropEndsTheGoroutine closes connections in the middle of their handshakes,
// and the pool under others; the check for leaks does the rest.
func TestDropEndsTheGoroutine(t *testing.T) {
	pool := NewPool(1, 0)
	cfg := &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
	for i := range 6 {
		c, s := pair(t)
		serve(t, pool, cfg, s)
		if _, err := c.Write([]byte("\x16\x03\x01\x02\x00\x01")); err != nil {
			t.Fatal(err)
		}
		await(t, func() bool { n, _ := pool.Waiting(); return n == 1+i/2 })
		if i%2 == 0 {
			c.Close()
			await(t, func() bool { n, _ := pool.Waiting(); return n == i/2 })
		}
	}
	pool.Close()
	if n, m := pool.Waiting(); n+m != 0 {
		t.Errorf("%d and %d wait after Close", n, m)
	}
}

// TestFull stops reading from who sends more than a handshake needs.
func TestFull(t *testing.T) {
	pool := NewPool(1, 0)
	defer pool.Close()
	pool.free = 0 // nobody is served
	s := NewServer(pool, &tls.Config{}, identity)
	s.Notify(func() {})
	if _, _, err := s.Inbound(nil, []byte{recordHandshake}, nil); err != nil || s.Full() {
		t.Fatal(err, s.Full())
	}
	if _, _, err := s.Inbound(nil, make([]byte, enough), nil); err != nil || !s.Full() {
		t.Fatal(err, s.Full())
	}
	s.Drop()
}

// TestOverWebSocket stacks WebSocket on TLS.
func TestOverWebSocket(t *testing.T) {
	pool := NewPool(0, 0)
	defer pool.Close()
	tlsServer := NewServer(pool, &tls.Config{Certificates: []tls.Certificate{certificate(t)}}, identity)
	woken := make(chan struct{}, 16)
	layer := wsproto.Stack(tlsServer, wsproto.NewServer(&wsproto.ServerOptions{}))
	layer.(wsproto.Async).Notify(func() { woken <- struct{}{} })
	c, s := pair(t)
	defer s.Close()
	tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	answer := make(chan []byte)
	go func() {
		tc.Write([]byte("GET /mqtt HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n\x82\x82\x00\x00\x00\x00hi"))
		b := make([]byte, 1000)
		n, _ := tc.Read(b)
		answer <- b[:n]
	}()
	in := make(chan []byte)
	go func() {
		for {
			b := make([]byte, 4096)
			n, err := s.Read(b)
			if err != nil {
				return
			}
			in <- b[:n]
		}
	}()
	var app []byte
	for len(app) < 2 {
		var b, out []byte
		select {
		case b = <-in:
		case <-woken:
		case <-time.After(10 * time.Second):
			t.Fatal("nothing comes")
		}
		got, out, err := layer.Inbound(nil, b, out)
		if err != nil {
			t.Fatal(err)
		}
		app = append(app, got...)
		if _, err := s.Write(out); err != nil {
			t.Fatal(err)
		}
	}
	if string(app) != "hi" {
		t.Errorf("MQTT gets %q", app)
	}
	if a := <-answer; !bytes.HasPrefix(a, []byte("HTTP/1.1 101 ")) {
		t.Errorf("answer %q", a)
	}
	if p := wsproto.PeerOf(layer); p == nil || p.TLSVersion != "TLS 1.3" {
		t.Errorf("peer %+v", p)
	}
	layer.(wsproto.Async).Drop()
}

func await(t testing.TB, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatal("does not come true")
		}
		time.Sleep(time.Millisecond)
	}
}

// FuzzServer gives the layer anything in the place of a TLS client, in two
// pieces: it must end the connection or wait, never crash, and tell nothing but
// TLS records.
func FuzzServer(f *testing.F) {
	cfg := &tls.Config{Certificates: []tls.Certificate{certificate(f)}}
	f.Add([]byte("\x16\x03\x01\x00\x04\x01\x00\x00\x00"), []byte("\x15\x03\x01\x00\x02\x02\x28"))
	f.Add(hello(f), []byte("\x17\x03\x03\x00\x10aaaaaaaaaaaaaaaa"))
	f.Add([]byte("\x16"), hello(f)[1:])
	f.Fuzz(func(t *testing.T, a, b []byte) {
		pool := NewPool(1, 0)
		s := NewServer(pool, cfg, identity)
		woken := make(chan struct{}, 64)
		s.Notify(func() {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
		var out []byte
		for _, piece := range [][]byte{a, b} {
			var err error
			if _, out, err = s.Inbound(nil, bytes.Clone(piece), out); err != nil {
				break
			}
		}
		s.Drop()
		pool.Close()
		_, out, _ = s.Inbound(nil, nil, out)
		for len(out) > 0 {
			if len(out) < 5 || out[0] < 20 || out[0] > 23 || out[1] != 3 || len(out) < 5+int(out[3])<<8+int(out[4]) {
				t.Fatalf("sends %x", out)
			}
			out = out[5+int(out[3])<<8+int(out[4]):]
		}
	})
}

// hello is a ClientHello.
func hello(f *testing.F) []byte {
	c, s := net.Pipe()
	defer s.Close()
	go func() {
		tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake()
		c.Close()
	}()
	b := make([]byte, 4096)
	n, err := s.Read(b)
	if err != nil {
		f.Fatal(err)
	}
	return b[:n]
}
