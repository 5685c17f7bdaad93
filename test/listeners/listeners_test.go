// Package listeners tries every kind of listener on the whole broker: TLS, client
// certificates, PROXY headers, Unix sockets, WebSocket with and without TLS, the
// files beside it, and what they do when peers are rude, files change or the
// broker ends.
package listeners

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/testkit"
	"github.com/midgemq/midge/internal/testkit/pki"
	"github.com/midgemq/midge/internal/testkit/target"
	"github.com/midgemq/midge/mqtt"
)

const patience = 5 * time.Minute

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *buffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *buffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// rig is a broker with one listener and an authority of its own.
type rig struct {
	t      *testing.T
	b      *broker.Broker
	cfg    *config.Config
	addr   string
	log    *buffer
	dir    string
	ca     *pki.CA
	server *pki.Leaf
	rights *rights
}

// rights notes who asked.
type rights struct {
	mu   sync.Mutex
	last auth.Client
}

// Authorize implements auth.Authorizer.
func (r *rights) Authorize(c *auth.Client, _ auth.Action, _ string) mqtt.ReasonCode {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = *c
	return mqtt.Success
}

func (r *rights) client() auth.Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// prepare makes a rig whose listener is not open yet.
func prepare(t *testing.T, change func(*rig, *config.Listener)) *rig {
	t.Helper()
	testkit.VerifyNoLeaks(t)
	dir, err := os.MkdirTemp("", "ml") // short: a Unix socket's path has at most 103 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &rig{t: t, log: new(buffer), dir: dir, rights: new(rights)}
	r.ca = must[*pki.CA](t)(pki.New(dir, "ca"))
	r.server = must[*pki.Leaf](t)(r.ca.Server("server"))
	log := must[*logging.Logger](t)(logging.New(logging.Options{
		Types: logging.Error | logging.Warning | logging.Notice | logging.Information, Dest: logging.ToStderr, Stderr: r.log,
	}))
	r.cfg = config.Default()
	r.cfg.SysInterval = 0
	l := &config.Listener{
		Address: "127.0.0.1", Protocol: config.MQTT, Versions: config.AllVersions, AllowAnonymous: true, MaxTopicAlias: 10, MaxTopicAliasBroker: 10,
	}
	r.cfg.Listeners = []*config.Listener{l}
	r.cfg.LocalOnly = false
	if change != nil {
		change(r, l)
	}
	r.b = must[*broker.Broker](t)(broker.New(broker.Options{Config: r.cfg, Logger: log, Version: "test", Policy: broker.Policy{Authorizer: r.rights}}))
	t.Cleanup(r.stop)
	return r
}

func start(t *testing.T, change func(*rig, *config.Listener)) *rig {
	t.Helper()
	r := prepare(t, change)
	if err := r.b.Start(); err != nil {
		t.Fatal(err)
	}
	r.addr = r.b.Addresses()[0]
	return r
}

func (r *rig) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.b.Close(ctx); err != nil {
		r.t.Error(err)
	}
}

// secure gives the listener the server's certificate.
func secure(r *rig, l *config.Listener) {
	l.TLS.CertFile, l.TLS.KeyFile = r.server.CertFile, r.server.KeyFile
}

// mutual asks clients for certificates too.
func mutual(r *rig, l *config.Listener) {
	secure(r, l)
	l.TLS.CAFile, l.TLS.RequireCertificate = r.ca.File, true
}

func (r *rig) tlsConfig(leaf *pki.Leaf) *tls.Config {
	c := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}
	c.RootCAs.AddCert(r.ca.Cert)
	if leaf != nil {
		c.Certificates = []tls.Certificate{{Certificate: [][]byte{leaf.Cert.Raw}, PrivateKey: leaf.Key}}
	}
	return c
}

func (r *rig) dial() net.Conn {
	r.t.Helper()
	network := "tcp"
	if strings.HasPrefix(r.addr, "/") {
		network = "unix"
	}
	c := must[net.Conn](r.t)(net.DialTimeout(network, r.addr, patience))
	r.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) dialTLS(leaf *pki.Leaf) net.Conn {
	r.t.Helper()
	return tls.Client(r.dial(), r.tlsConfig(leaf))
}

// await waits until the log holds the text, A standing for the client's address.
func (r *rig) await(c net.Conn, text string) {
	r.t.Helper()
	if c != nil {
		text = strings.ReplaceAll(text, "A:P", c.LocalAddr().String())
	}
	for deadline := time.Now().Add(patience); !strings.Contains(r.log.String(), text); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("no line %q in\n%s", text, r.log)
		}
	}
}

func (r *rig) never(text string) {
	r.t.Helper()
	if strings.Contains(r.log.String(), text) {
		r.t.Errorf("a line has %q:\n%s", text, r.log)
	}
}

// connect sends CONNECT for the version and wants the answer's code.
func (r *rig) connect(c net.Conn, id string, version, code byte) {
	r.t.Helper()
	p := []byte{0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', version, 2, 0, 60}
	if version == 5 {
		p = append(p, 0)
	}
	p = append(append(p, 0, byte(len(id))), id...)
	p[1] = byte(len(p) - 2)
	write(r.t, c, p)
	b := r.packet(c)
	if b[0] != 0x20 || b[3] != code {
		r.t.Fatalf("answer %x, want code %x", b, code)
	}
}

// packet reads one packet.
func (r *rig) packet(c net.Conn) []byte {
	r.t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(c, head); err != nil {
		r.t.Fatalf("read: %v\n%s", err, r.log)
	}
	n := int(head[1])
	for shift := 7; head[len(head)-1] >= 0x80; shift += 7 {
		b := make([]byte, 1)
		if _, err := io.ReadFull(c, b); err != nil {
			r.t.Fatal(err)
		}
		n = n&(1<<shift-1) | int(b[0])<<shift
		head = append(head, b[0])
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c, body); err != nil {
		r.t.Fatal(err)
	}
	return append(head, body...)
}

func write(t testing.TB, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// ended wants the broker to have closed without a further byte.
func ended(t testing.TB, c net.Conn) {
	t.Helper()
	n, err := c.Read(make([]byte, 1))
	if n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v; the connection should be closed", n, err)
	}
}

// ping shows that the client is served.
func (r *rig) ping(c net.Conn) {
	r.t.Helper()
	write(r.t, c, []byte{0xC0, 0})
	if b := r.packet(c); b[0] != 0xD0 {
		r.t.Fatalf("PINGREQ answered by %x", b)
	}
}

func (r *rig) publish(c net.Conn, version byte) {
	r.t.Helper()
	p := []byte{0x32, 6, 0, 1, 't', 0, 1, 'x'}
	if version == 5 {
		p = []byte{0x32, 7, 0, 1, 't', 0, 1, 0, 'x'}
	}
	write(r.t, c, p)
	if b := r.packet(c); b[0] != 0x40 {
		r.t.Fatalf("PUBLISH answered by %x", b)
	}
}

func TestTLS(t *testing.T) {
	r := start(t, secure)
	c := r.dialTLS(nil)
	r.connect(c, "one", 5, 0)
	r.await(c, "New client connected from A:P as one (p5, c1, k60).")
	r.await(nil, "Client one negotiated TLSv1.3 cipher TLS_")
	old := tls.Client(r.dial(), &tls.Config{RootCAs: r.tlsConfig(nil).RootCAs, ServerName: "localhost", MaxVersion: tls.VersionTLS12})
	r.connect(old, "two", 4, 0)
	r.await(nil, "Client two negotiated TLSv1.2 cipher ECDHE-ECDSA-AES128-GCM-SHA256")
	r.publish(c, 5)
	if who := r.rights.client(); who.TLS == nil || who.TLS.Version != "TLSv1.3" || who.TLS.Verified {
		t.Errorf("rights are asked for %+v", who.TLS)
	}
	write(t, c, []byte{0xE0, 0})
	ended(t, c)
	r.await(c, "Client one [A:P] disconnected.")
}

// TestLargeMessages sends more than any buffer holds, both ways.
func TestLargeMessages(t *testing.T) {
	r := start(t, secure)
	s := r.dialTLS(nil)
	r.connect(s, "s", 4, 0)
	write(t, s, []byte{0x82, 6, 0, 1, 0, 1, 't', 1})
	if b := r.packet(s); b[0] != 0x90 {
		t.Fatalf("%x", b)
	}
	p := r.dialTLS(nil)
	r.connect(p, "p", 4, 0)
	want := make([]byte, 1_900_000)
	for i := range want {
		want[i] = byte(rand.Uint32())
	}
	n := len(want) + 5
	msg := []byte{0x32, byte(n) | 0x80, byte(n>>7) | 0x80, byte(n>>14) | 0x80, byte(n >> 21), 0, 1, 't', 0, 1}
	if n>>21 == 0 {
		msg = []byte{0x32, byte(n) | 0x80, byte(n>>7) | 0x80, byte(n >> 14), 0, 1, 't', 0, 1}
	}
	for range 3 {
		go func() {
			p.Write(append(msg, want...)) //nolint:errcheck // what does not come is missed below
		}()
		if got := r.packet(s); got[0] != 0x32 || !bytes.HasSuffix(got, want) {
			t.Fatalf("%x... of %d bytes", got[:10], len(got))
		}
		if b := r.packet(p); b[0] != 0x40 {
			t.Fatalf("%x", b)
		}
	}
}

func TestWrongPort(t *testing.T) {
	r := start(t, secure)
	c := r.dial()
	write(t, c, []byte("\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00"))
	ended(t, c)
	r.await(c, "Protocol error from A:P: client did not begin with a TLS handshake.")
	r.await(c, "Client A:P [A:P] disconnected: protocol error.")

	for _, protocol := range []config.Protocol{config.MQTT, config.WebSockets} {
		plain := start(t, func(_ *rig, l *config.Listener) { l.Protocol = protocol })
		c = plain.dial()
		if err := tls.Client(c, r.tlsConfig(nil)).Handshake(); err == nil {
			t.Fatal("TLS without TLS")
		}
		plain.await(c, "Client from A:P appears to be using TLS to connect to a non-TLS listener.")
	}
}

// TestProbes connects and closes, as service managers and load balancers do.
func TestProbes(t *testing.T) {
	for name, change := range map[string]func(*rig, *config.Listener){
		"plain":      nil,
		"tls":        secure,
		"websockets": func(r *rig, l *config.Listener) { secure(r, l); l.Protocol = config.WebSockets },
		"proxy 1":    func(_ *rig, l *config.Listener) { l.ProxyProtocol = 1 },
		"proxy 2":    func(_ *rig, l *config.Listener) { l.ProxyProtocol = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, change)
			for i := range 4 {
				c := r.dial()
				if i%2 == 1 {
					c.(*net.TCPConn).SetLinger(0) // a reset
				}
				if name == "tls" && i >= 2 {
					write(t, c, []byte("\x16\x03\x01\x02\x00\x01\x00")) // in the middle of a handshake
				}
				c.Close()
			}
			if name == "proxy 2" {
				c := r.dial()
				write(t, c, []byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00")) // LOCAL
				ended(t, c)
			}
			// All have been seen when a client that came later is gone.
			for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
				st := must[int64](t)(r.open())
				if st == 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%d connections stay", st)
				}
			}
			for _, word := range []string{"rror", "disconnected", "rejected", "arning"} {
				r.never(word)
			}
		})
	}
}

// open returns the number of open connections.
func (r *rig) open() (int64, error) {
	st, err := r.b.Admin().Status(context.Background())
	if err != nil {
		return 0, err
	}
	return st.Listeners[0].Connections, nil
}

func TestSlowHandshakesEnd(t *testing.T) {
	r := start(t, secure)
	silent, half := r.dial(), r.dial()
	write(t, half, []byte("\x16\x03\x01\x02\x00\x01\x00"))
	good := r.dialTLS(nil)
	r.connect(good, "good", 4, 0)
	r.b.AdvanceForTest(31 * time.Second)
	ended(t, silent)
	ended(t, half)
	r.await(half, "Client A:P [A:P] disconnected: exceeded timeout.")
	r.ping(good)
}

func TestGarbage(t *testing.T) {
	r := start(t, secure)
	good := r.dialTLS(nil)
	r.connect(good, "good", 4, 0)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 50 {
		c := r.dial()
		b := make([]byte, 1+rnd.IntN(3000))
		for k := range b {
			b[k] = byte(rnd.Uint32())
		}
		if i%2 == 0 {
			copy(b, "\x16\x03\x01\x01\x00\x01")
		}
		if i%3 == 0 { // garbage behind a good handshake
			tc := tls.Client(c, r.tlsConfig(nil))
			if err := tc.Handshake(); err != nil {
				t.Fatal(err)
			}
		}
		c.Write(b) //nolint:errcheck // it may be closed already
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, c) //nolint:errcheck // until the broker closes
	}
	r.ping(good)
}

func TestCertificateNames(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*config.Listener)
		user   string // empty: refused
	}{
		{"identity", func(l *config.Listener) { l.UseIdentityAsUsername = true }, "device"},
		{"subject", func(l *config.Listener) { l.UseSubjectAsUsername = true }, "CN=device"},
		{"both", func(l *config.Listener) { l.UseSubjectAsUsername, l.UseIdentityAsUsername = true, true }, "device"},
		{"not asked for", func(l *config.Listener) {
			l.UseIdentityAsUsername, l.TLS.RequireCertificate = true, false
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, func(r *rig, l *config.Listener) { mutual(r, l); l.AllowAnonymous = false; tt.change(l) })
			device := must[*pki.Leaf](t)(r.ca.Issue("device"))
			c := r.dialTLS(device)
			if tt.user == "" {
				r.connect(c, "d1", 4, 4)
				r.await(c, "Client A:P [A:P] disconnected: bad username or password.")
				return
			}
			// What CONNECT says does not count.
			write(t, c, []byte("\x10\x18\x00\x04MQTT\x04\xc2\x00\x3c\x00\x02d1\x00\x05admin\x00\x01x"))
			if b := r.packet(c); b[0] != 0x20 || b[3] != 0 {
				t.Fatalf("answer %x", b)
			}
			r.await(c, "New client connected from A:P as d1 (p4, c1, k60, u'"+tt.user+"').")
			r.publish(c, 4)
			if who := r.rights.client(); who.UserName != tt.user || who.TLS == nil || !who.TLS.Verified || who.TLS.CommonName != "device" || who.TLS.Subject != "CN=device" {
				t.Errorf("rights are asked for %+v %+v", who, who.TLS)
			}
		})
	}
}

func TestClientWithoutCertificate(t *testing.T) {
	r := start(t, mutual)
	c := r.dialTLS(nil)
	c.Write([]byte{0xC0, 0}) //nolint:errcheck // the answer tells
	if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("the client is told %v", err)
	}
	r.await(c, "Protocol error from A:P: TLS handshake: tls: client didn't provide a certificate.")
}

// TestShutdown ends the broker under MQTT 5 clients: they are told so in MQTT and
// in TLS.
func TestShutdown(t *testing.T) {
	r := start(t, secure)
	c := r.dialTLS(nil)
	r.connect(c, "c", 5, 0)
	half := r.dial()
	write(t, half, []byte("\x16\x03\x01\x02\x00\x01\x00"))
	done := make(chan struct{})
	go func() { defer close(done); r.stop() }()
	if b := r.packet(c); b[0] != 0xE0 || b[2] != 0x8B {
		t.Errorf("told %x", b)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("end of the stream: %v", err)
	}
	c.Close()
	<-done
	ended(t, half)
}

func TestReload(t *testing.T) {
	r := start(t, mutual)
	device := must[*pki.Leaf](t)(r.ca.Issue("device"))
	before := r.dialTLS(device)
	r.connect(before, "before", 4, 0)
	serial := func() string {
		c := tls.Client(r.dial(), r.tlsConfig(device))
		r.connect(c, "x", 4, 0)
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	reload := func(change func(*config.Listener)) error {
		now := *r.cfg
		l := *r.cfg.Listeners[0]
		if change != nil {
			change(&l)
		}
		now.Listeners = []*config.Listener{&l}
		return r.b.Reload(&now)
	}
	next := must[*pki.Leaf](t)(r.ca.Server("server"))
	if err := reload(nil); err != nil {
		t.Fatal(err)
	}
	if s := serial(); s == first || s != next.Cert.SerialNumber.String() {
		t.Errorf("serial %s after %s", s, first)
	}
	crl := filepath.Join(r.dir, "crl")
	if err := r.ca.Revoke(crl, time.Now().Add(time.Hour), device); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*config.Listener){
		"missing file": func(l *config.Listener) { l.TLS.CertFile = filepath.Join(r.dir, "none") },
		"wrong key":    func(l *config.Listener) { l.TLS.KeyFile = device.KeyFile },
		"bad cipher":   func(l *config.Listener) { l.TLS.Ciphers = "NULL"; l.TLS.CRLFile = crl },
	} {
		if err := reload(change); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if s := serial(); s != next.Cert.SerialNumber.String() {
		t.Errorf("serial %s after reloads that failed", s)
	}
	st, err := r.b.Admin().Status(context.Background())
	if err != nil || st.Metrics["tls_files_refused"] != 3 {
		t.Errorf("%d refused, %v", st.Metrics["tls_files_refused"], err)
	}
	if err := reload(func(l *config.Listener) { l.TLS.CRLFile = crl }); err != nil {
		t.Fatal(err)
	}
	c := r.dialTLS(device)
	c.Write([]byte{0xC0, 0}) //nolint:errcheck // the log tells
	r.await(c, "Protocol error from A:P: TLS handshake: the certificate with serial number")
	r.ping(before)
}

func TestStartErrors(t *testing.T) {
	for _, tt := range []struct {
		change func(*rig, *config.Listener)
		want   string
	}{
		{func(r *rig, l *config.Listener) { secure(r, l); l.TLS.CertFile = "/none" }, `Unable to load server certificate "/none". Check certfile. (open /none: no such file or directory), listener 0 127.0.0.1 at m.conf:7`},
		{func(r *rig, l *config.Listener) { secure(r, l); l.TLS.Ciphers13 = "TLS_AES_128_GCM_SHA256" }, `Unable to set TLS 1.3 ciphersuites. Check ciphers_tls1.3 list "TLS_AES_128_GCM_SHA256". (TLS_AES_256_GCM_SHA384 is left out`},
		{func(_ *rig, l *config.Listener) { l.BindInterface = "none0" }, "listen on port 0 address 127.0.0.1: look up address: there is no network interface none0, listener 0 127.0.0.1 at m.conf:7"},
		{func(r *rig, l *config.Listener) { l.Path = r.dir }, "there is a file of this name that is no socket"},
	} {
		r := prepare(t, func(r *rig, l *config.Listener) { l.File, l.Line = "m.conf", 7; tt.change(r, l) })
		if err := r.b.Start(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	r := start(t, func(r *rig, l *config.Listener) { l.Path = filepath.Join(r.dir, "s") })
	c := r.dial()
	r.connect(c, "u", 4, 0)
	r.await(nil, "New connection from "+r.addr+":0 on port 0.")
	r.await(nil, "New client connected from "+r.addr+":0 as u (p4, c1, k60).")
	write(t, c, []byte{0xE0, 0})
	ended(t, c)
	r.await(nil, "Client u ["+r.addr+":0] disconnected.")
	r.stop()
	if _, err := os.Lstat(r.addr); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

func TestProxyHeaders(t *testing.T) {
	r := start(t, func(_ *rig, l *config.Listener) { l.ProxyProtocol = 1 })
	c := r.dial()
	write(t, c, []byte("PROXY TCP4 192.0.2.7 192.0.2.1 4711 1883\r\n"))
	r.connect(c, "v1", 4, 0)
	r.await(nil, "New client connected from 192.0.2.7:4711 as v1 (p4, c1, k60).")
	r.publish(c, 4)
	if a := r.rights.client().Address; a != "192.0.2.7:4711" {
		t.Errorf("rights are asked for a client at %s", a)
	}
	r.never("New connection from")
	bad := r.dial()
	write(t, bad, []byte("\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00"))
	ended(t, bad)
	r.await(nil, "Connection rejected, corrupt PROXY header.")

	r = start(t, func(_ *rig, l *config.Listener) {
		l.ProxyProtocol, l.ProxyRequireTLS, l.TLS.RequireCertificate, l.UseIdentityAsUsername = 2, true, true, true
	})
	head := func(tail string) []byte {
		return []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00" + string(rune(12+len(tail))) + "\xc0\x00\x02\x07\xc0\x00\x02\x01\x12\x67\x07\x5b" + tail)
	}
	const sub = "\x21\x00\x07TLSv1.3\x23\x00\x03ABC\x22\x00\x03dev"
	c = r.dial()
	write(t, c, head("\x20\x00\x1b\x07\x00\x00\x00\x00"+sub))
	r.connect(c, "v2", 4, 0)
	r.await(nil, "Connection from 192.0.2.7:4711 negotiated TLSv1.3 cipher ABC")
	r.await(nil, "New client connected from 192.0.2.7:4711 as v2 (p4, c1, k60, u'dev').")
	r.never("Client v2 negotiated")
	bad = r.dial()
	write(t, bad, head(""))
	ended(t, bad)
	r.await(nil, "Connection from 192.0.2.7:4711 rejected, client did not connect using TLS.")
	bad = r.dial()
	write(t, bad, head("\x20\x00\x05\x01\x00\x00\x00\x00"))
	ended(t, bad)
	r.await(nil, "Connection from 192.0.2.7:4711 rejected, client did not provide a certificate.")
}

// TestProxyThenTLS has the header in front of the handshake.
func TestProxyThenTLS(t *testing.T) {
	r := start(t, func(r *rig, l *config.Listener) { secure(r, l); l.ProxyProtocol = 1 })
	raw := r.dial()
	write(t, raw, []byte("PROXY TCP6 2001:db8::7 ::1 4711 8883\r\n"))
	c := tls.Client(raw, r.tlsConfig(nil))
	r.connect(c, "both", 5, 0)
	r.await(nil, "New client connected from 2001:db8::7:4711 as both (p5, c1, k60).")
	r.await(nil, "Client both negotiated TLSv1.3 cipher TLS_")
}

func TestWebSocketFiles(t *testing.T) {
	for _, secured := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secured), func(t *testing.T) {
			large := make([]byte, 1<<20+5)
			for i := range large {
				large[i] = byte(rand.Uint32())
			}
			r := start(t, func(r *rig, l *config.Listener) {
				if secured {
					secure(r, l)
				}
				l.Protocol = config.WebSockets
				l.WebSocketOrigins = []string{"https://good.example"}
				l.HTTPDir = filepath.Join(r.dir, "www") + "/"
				if err := os.Mkdir(l.HTTPDir, 0o755); err != nil {
					t.Fatal(err)
				}
				for name, b := range map[string][]byte{"index.html": []byte("<h1>hello</h1>"), "large.bin": large} {
					if err := os.WriteFile(filepath.Join(l.HTTPDir, name), b, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			})
			scheme := "http"
			tr := &http.Transport{TLSClientConfig: r.tlsConfig(nil), DisableKeepAlives: true}
			defer tr.CloseIdleConnections()
			if secured {
				scheme = "https"
			}
			client := &http.Client{Transport: tr, Timeout: patience}
			get := func(path string) (int, []byte) {
				t.Helper()
				resp, err := client.Get(scheme + "://" + r.addr + path)
				if err != nil {
					t.Fatalf("%v\n%s", err, r.log)
				}
				defer resp.Body.Close()
				b, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				return resp.StatusCode, b
			}
			if status, b := get("/"); status != 200 || string(b) != "<h1>hello</h1>" {
				t.Errorf("%d %q", status, b)
			}
			if status, b := get("/large.bin"); status != 200 || !bytes.Equal(b, large) {
				t.Errorf("%d, %d bytes", status, len(b))
			}
			if status, _ := get("/%2e%2e/ca.crt"); status != 404 {
				t.Errorf("a file outside: %d", status)
			}
			upgrade := func(origin string) (net.Conn, string) {
				t.Helper()
				c := r.dial()
				if secured {
					c = tls.Client(c, r.tlsConfig(nil))
				}
				write(t, c, []byte("GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"+
					"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqttv3.1, mqtt\r\nOrigin: "+origin+"\r\n\r\n"))
				b := make([]byte, 4096)
				n, err := c.Read(b)
				if err != nil {
					t.Fatal(err)
				}
				return c, string(b[:n])
			}
			if _, answer := upgrade("https://good.example"); !strings.HasPrefix(answer, "HTTP/1.1 101 ") || !strings.Contains(answer, "Sec-WebSocket-Protocol: mqtt\r\n") {
				t.Errorf("answer %q", answer)
			}
			c, answer := upgrade("https://bad.example")
			if !strings.HasPrefix(answer, "HTTP/1.1 403 ") {
				t.Errorf("answer %q", answer)
			}
			r.await(c, "Client A:P [A:P] disconnected: non-matching http origin.")
			r.never("Error")
		})
	}
}

// TestIdentityAndExchange has a certificate that names the user and a CONNECT that
// asks for a method nobody has.
func TestIdentityAndExchange(t *testing.T) {
	r := start(t, func(r *rig, l *config.Listener) { mutual(r, l); l.UseIdentityAsUsername = true })
	c := r.dialTLS(must[*pki.Leaf](t)(r.ca.Issue("device")))
	write(t, c, []byte("\x10\x14\x00\x04MQTT\x05\x02\x00\x3c\x06\x15\x00\x03abc\x00\x01x"))
	if b := r.packet(c); b[0] != 0x20 || b[3] != 0x8C {
		t.Errorf("answer %x", b)
	}
}

// TestHTTPAPIWithTLS asks the HTTP API by https.
func TestHTTPAPIWithTLS(t *testing.T) {
	port := must[int](t)(target.FreePort())
	r := start(t, func(r *rig, l *config.Listener) {
		api := *l
		api.Protocol, api.Port = config.HTTPAPI, port
		secure(r, &api)
		r.cfg.Listeners = append(r.cfg.Listeners, &api)
	})
	tr := &http.Transport{TLSClientConfig: r.tlsConfig(nil), DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr, Timeout: patience}).Get(fmt.Sprintf("https://localhost:%d/api/v1/version", port))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || len(b) == 0 {
		t.Errorf("%d %q %v", resp.StatusCode, b, err)
	}
}

// TestLocalOnly needs one of its addresses.
func TestLocalOnly(t *testing.T) {
	other := start(t, nil)
	r := start(t, func(r *rig, l *config.Listener) {
		taken := *l
		fmt.Sscanf(other.addr, "127.0.0.1:%d", &taken.Port)
		r.cfg.LocalOnly = true
		r.cfg.Listeners = []*config.Listener{&taken, l}
	})
	r.connect(r.dial(), "c", 4, 0)
	r.await(nil, "Warning: listen on ipv4 port")
}

func TestListenersOnTwoAddresses(t *testing.T) {
	r := start(t, func(_ *rig, l *config.Listener) { l.SocketDomain = "ipv4"; l.Address = "localhost" })
	if a := r.b.Addresses(); len(a) != 1 || !strings.HasPrefix(a[0], "127.0.0.1:") {
		t.Errorf("%v", a)
	}
	taken := prepare(t, func(_ *rig, l *config.Listener) { fmt.Sscanf(r.addr, "127.0.0.1:%d", &l.Port) })
	if err := taken.b.Start(); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "ipv4 port "+r.addr[len("127.0.0.1:"):]) {
		t.Errorf("%v", err)
	}
}
