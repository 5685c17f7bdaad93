package client_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// echo answers CONNECT, acknowledges and sends back what is published; it stands in for a server over every kind of stream.
func echo(nc net.Conn) {
	defer nc.Close()
	p := &peer{nc: nc, v: mqtt.V5}
	for {
		k, err := p.read()
		if err != nil {
			return
		}
		var b []byte
		switch k := k.(type) {
		case *packet.Connect:
			b = (&packet.Connack{}).Append(nil, p.v)
		case *packet.Subscribe:
			b = (&packet.Suback{PacketID: k.PacketID, Codes: make([]byte, k.Len())}).Append(nil, p.v)
		case *packet.Publish:
			b = packet.AppendAck(nil, packet.PUBACK, p.v, k.PacketID, 0)
			k.QoS = 0
			b = k.Append(b, p.v)
		case *packet.Disconnect:
			return
		}
		if _, err := nc.Write(b); err != nil {
			return
		}
	}
}

// serve runs f for each connection of a listener until the test ends.
func serve(t *testing.T, l net.Listener, f func(net.Conn)) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { f(nc) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
}

func listen(t *testing.T, network, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// certificate makes a self-signed one and its pool.
func certificate(t *testing.T, template x509.Certificate) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	template.IsCA, template.BasicConstraintsValid = true, true
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// roundTrip connects, subscribes, publishes and receives.
func roundTrip(t *testing.T, o client.Options) error {
	t.Helper()
	o.Version = orV5(o.Version)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := client.Connect(ctx, o)
	if err != nil {
		return err
	}
	defer c.Close()
	got := make(chan *client.Message, 1)
	if err := c.Handle(ctx, "t", 0, func(m *client.Message) { got <- m }); err != nil {
		return err
	}
	payload := strings.Repeat("x", 70000) // more than any buffer on the way
	if err := c.Publish(ctx, mqtt.Message{Topic: "t", Payload: []byte(payload), QoS: 1}); err != nil {
		return err
	}
	select {
	case m := <-got:
		if string(m.Payload) != payload {
			return errors.New("payload changed on the way")
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func orV5(v mqtt.Version) mqtt.Version {
	if v == 0 {
		return mqtt.V5
	}
	return v
}

// webSocket serves echo behind a WebSocket upgrade that wants a header.
func webSocket(t *testing.T, secure bool, seen *[]string) *httptest.Server {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Key") != "secret" || r.URL.Path != "/mqtt" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		*seen = append(*seen, r.Header.Get("Sec-WebSocket-Protocol"))
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}})
		if err != nil {
			return
		}
		ws.SetReadLimit(-1)
		echo(websocket.NetConn(context.Background(), ws, websocket.MessageBinary))
	})
	s := httptest.NewUnstartedServer(h)
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// covers: 5:4.2.0-1 3:7.1.2-1 5:6.0.0-3
func TestTransports(t *testing.T) {
	tcp := listen(t, "tcp", "127.0.0.1:0")
	serve(t, tcp, echo)
	path := filepath.Join(t.TempDir(), "s")
	unix := listen(t, "unix", path)
	serve(t, unix, echo)
	cert, pool := certificate(t, x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	secure := tls.NewListener(listen(t, "tcp", "127.0.0.1:0"), &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"mqtt"}})
	serve(t, secure, echo)
	var offered []string
	ws, wss := webSocket(t, false, &offered), webSocket(t, true, &offered)
	header := http.Header{"X-Key": {"secret"}}
	wssPool := x509.NewCertPool()
	wssPool.AddCert(wss.Certificate())
	for name, o := range map[string]client.Options{
		"tcp":  {Servers: []string{tcp.Addr().String()}},
		"unix": {Servers: []string{"unix://" + path}},
		"tls": {Servers: []string{"mqtts://" + secure.Addr().String()}, TLS: &tls.Config{
			RootCAs: pool, NextProtos: []string{"mqtt"},
			VerifyConnection: func(cs tls.ConnectionState) error {
				if cs.NegotiatedProtocol != "mqtt" {
					return errors.New("ALPN")
				}
				return nil
			},
		}},
		"ws":  {Servers: []string{"ws" + strings.TrimPrefix(ws.URL, "http")}, Header: header},
		"wss": {Servers: []string{"wss" + strings.TrimPrefix(wss.URL, "https") + "/mqtt"}, Header: header, TLS: &tls.Config{RootCAs: wssPool}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := roundTrip(t, o); err != nil {
				t.Error(err)
			}
		})
	}
	if len(offered) != 2 || offered[0] != "mqtt" {
		t.Errorf("subprotocols offered: %q", offered)
	}
	o := client.Options{Servers: []string{"ws" + strings.TrimPrefix(ws.URL, "http")}}
	if _, err := client.DialConn(t.Context(), o); !client.SafeToRetry(err) || !strings.Contains(err.Error(), "403") {
		t.Errorf("refused upgrade: %v", err)
	}
}

func TestCommonName(t *testing.T) {
	run := func(template x509.Certificate, o client.Options) (warned []string, err error) {
		cert, pool := certificate(t, template)
		l := tls.NewListener(listen(t, "tcp", "127.0.0.1:0"), &tls.Config{Certificates: []tls.Certificate{cert}})
		serve(t, l, echo)
		o.Servers = []string{"mqtts://" + l.Addr().String()}
		if o.TLS == nil {
			o.TLS = &tls.Config{RootCAs: pool}
		}
		o.Warn = func(s string) { warned = append(warned, s) }
		o.NoReconnect = true
		err = roundTrip(t, o)
		return warned, err
	}
	for _, tc := range []struct {
		name     string
		template x509.Certificate
		ok, warn bool
	}{
		{"common name only", x509.Certificate{Subject: pkix.Name{CommonName: "127.0.0.1"}}, true, true},
		{"another common name", x509.Certificate{Subject: pkix.Name{CommonName: "127.0.0.2"}}, false, false},
		{"SAN beside a fitting common name", x509.Certificate{Subject: pkix.Name{CommonName: "127.0.0.1"}, DNSNames: []string{"x"}}, false, false},
		{"SAN", x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, true, false},
	} {
		warned, err := run(tc.template, client.Options{})
		if (err == nil) != tc.ok || (len(warned) > 0) != tc.warn {
			t.Errorf("%s: %v, warned %q", tc.name, err, warned)
		}
		if !tc.ok && !client.SafeToRetry(err) {
			t.Errorf("%s: outcome of %v", tc.name, err)
		}
	}
	if _, err := run(x509.Certificate{Subject: pkix.Name{CommonName: "127.0.0.1"}}, client.Options{TLS: &tls.Config{RootCAs: x509.NewCertPool()}}); err == nil {
		t.Error("accepted a certificate that nobody vouches for")
	}
}

// pipe copies both ways until one end closes.
func pipe(a, b net.Conn) {
	done := make(chan struct{}, 2)
	for _, x := range [][2]net.Conn{{a, b}, {b, a}} {
		go func() { io.Copy(x[0], x[1]); done <- struct{}{} }()
	}
	<-done
	a.Close()
	b.Close()
	<-done
}

func httpProxy(nc net.Conn) {
	r := bufio.NewReader(nc)
	req, err := http.ReadRequest(r)
	if err != nil {
		nc.Close()
		return
	}
	if req.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("u:p")) {
		io.WriteString(nc, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
		nc.Close()
		return
	}
	to, err := net.Dial("tcp", req.Host)
	if err != nil {
		nc.Close()
		return
	}
	io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\n")
	pipe(nc, to)
}

func socksProxy(nc net.Conn) {
	defer nc.Close()
	read := func(n int) []byte {
		b := make([]byte, n)
		if _, err := io.ReadFull(nc, b); err != nil {
			return make([]byte, n)
		}
		return b
	}
	methods := read(int(read(2)[1]))
	if len(methods) < 2 {
		nc.Write([]byte{5, 0xff})
		return
	}
	nc.Write([]byte{5, 2})
	user := string(read(int(read(2)[1])))
	password := string(read(int(read(1)[0])))
	if user != "u" || password != "p" {
		nc.Write([]byte{1, 1})
		return
	}
	nc.Write([]byte{1, 0})
	host := string(read(int(read(5)[4])))
	port := read(2)
	to, err := net.Dial("tcp", net.JoinHostPort(host, (&big.Int{}).SetBytes(port).String()))
	if err != nil {
		nc.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0})
		return
	}
	nc.Write([]byte{5, 0, 0, 3, 1, 'x', 0, 0})
	pipe(nc, to)
}

func TestProxies(t *testing.T) {
	server := listen(t, "tcp", "127.0.0.1:0")
	serve(t, server, echo)
	for scheme, f := range map[string]func(net.Conn){"http": httpProxy, "socks5": socksProxy} {
		l := listen(t, "tcp", "127.0.0.1:0")
		serve(t, l, f)
		o := client.Options{Servers: []string{server.Addr().String()}, Proxy: scheme + "://u:p@" + l.Addr().String()}
		if err := roundTrip(t, o); err != nil {
			t.Errorf("%s: %v", scheme, err)
		}
		o.NoReconnect = true
		for _, bad := range []string{"://u:wrong@", "://"} {
			o.Proxy = scheme + bad + l.Addr().String()
			if err := roundTrip(t, o); !client.SafeToRetry(err) || strings.Contains(err.Error(), "wrong") {
				t.Errorf("%s%s: %v", scheme, bad, err)
			}
		}
	}
	o := client.Options{Servers: []string{"x"}, Proxy: "gopher://x", NoReconnect: true}
	if err := roundTrip(t, o); !client.SafeToRetry(err) {
		t.Errorf("unknown proxy: %v", err)
	}
}

// covers: 5:3.1.0-1 3:3.1.0-1
func TestConn(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	serve(t, l, echo)
	c, err := client.DialConn(t.Context(), client.Options{Servers: []string{l.Addr().String()}, Version: mqtt.V311, ClientID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if i := c.Info(); i.Version != mqtt.V311 || i.ClientID != "x" || i.SessionPresent {
		t.Errorf("%+v", i)
	}
	if err := c.WritePacket(&packet.Publish{Topic: []byte("t"), QoS: 1, PacketID: 5, Payload: []byte("p")}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []packet.Type{packet.PUBACK, packet.PUBLISH} {
		k, err := c.ReadPacket()
		if err != nil || k.Kind() != want {
			t.Errorf("%v %v, want %v", k, err, want)
		}
	}
	if err := c.Disconnect(0, nil); err != nil {
		t.Error(err)
	}
	if err := c.WritePacket(&packet.Pingreq{}); err == nil {
		t.Error("wrote behind DISCONNECT")
	}
}
