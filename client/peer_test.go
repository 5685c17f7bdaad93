package client_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// peers is a scripted server: each dial of the client gives the test one end of a pipe. Inside a synctest bubble time is that of
// the test, so nothing waits in earnest.
type peers struct {
	t     testing.TB
	conns chan net.Conn
	addrs chan string
}

func newPeers(t testing.TB) *peers {
	return &peers{t: t, conns: make(chan net.Conn, 16), addrs: make(chan string, 64)}
}

func (s *peers) dial(_ context.Context, _, addr string) (net.Conn, error) {
	a, b := net.Pipe()
	s.conns <- b
	s.addrs <- addr
	return a, nil
}

// options are those of a client of these peers.
func (s *peers) options(v mqtt.Version) client.Options {
	return client.Options{
		Servers: []string{"mqtt://peer"}, Version: v, ClientID: "c1", Dial: s.dial,
		Backoff: client.Backoff{Min: time.Second, Max: 8 * time.Second},
	}
}

// peer is one connection of the scripted server.
type peer struct {
	t   testing.TB
	nc  net.Conn
	v   mqtt.Version
	buf []byte
}

// next waits for the client's next connection.
func (s *peers) next(v mqtt.Version) *peer {
	s.t.Helper()
	select {
	case nc := <-s.conns:
		p := &peer{t: s.t, nc: nc, v: v}
		s.t.Cleanup(func() { nc.Close() })
		return p
	case <-time.After(time.Hour):
		s.t.Fatal("the client does not connect")
		return nil
	}
}

// accept takes a CONNECT and answers success.
func (s *peers) accept(v mqtt.Version, present bool, props *mqtt.Properties) (*peer, *packet.Connect) {
	s.t.Helper()
	p := s.next(v)
	c := expect[*packet.Connect](p)
	p.connack(present, 0, props)
	return p, c
}

func (p *peer) connack(present bool, code byte, props *mqtt.Properties) {
	p.t.Helper()
	p.send(&packet.Connack{SessionPresent: present, Code: code, Props: packet.AppendProperties(nil, packet.CONNACK, props)})
}

func (p *peer) send(packets ...packet.Packet) {
	p.t.Helper()
	var b []byte
	for _, k := range packets {
		b = k.Append(b, p.v)
	}
	p.raw(b)
}

func (p *peer) raw(b []byte) {
	p.t.Helper()
	p.nc.SetDeadline(time.Now().Add(time.Hour))
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatalf("peer writes % x: %v", b, err)
	}
}

// hex sends bytes written as in "30 05 00 01 61".
func (p *peer) hex(s string) {
	p.t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		p.t.Fatal(err)
	}
	p.raw(b)
}

// frame reads one packet of the client as bytes.
func (p *peer) frame() ([]byte, error) {
	for {
		_, remaining, n, err := packet.ParseHeader(p.buf, false)
		if err != nil {
			return nil, err
		}
		if n > 0 && len(p.buf) >= n+remaining {
			f := bytes.Clone(p.buf[:n+remaining])
			p.buf = p.buf[n+remaining:]
			return f, nil
		}
		b := make([]byte, 4096)
		p.nc.SetDeadline(time.Now().Add(time.Hour))
		k, err := p.nc.Read(b)
		p.buf = append(p.buf, b[:k]...)
		if err != nil {
			return nil, err
		}
	}
}

// read reads one packet of the client.
func (p *peer) read() (packet.Packet, error) {
	f, err := p.frame()
	if err != nil {
		return nil, err
	}
	_, _, n, _ := packet.ParseHeader(f, false)
	k, err := packet.Decode(p.v, f[0], f[n:])
	if err != nil {
		return nil, fmt.Errorf("client sent % x: %w", f, err)
	}
	if k, ok := k.(*packet.Connect); ok {
		p.v = k.Version
	}
	return k, nil
}

// expect reads a packet that must be of one kind; PINGREQ between is answered.
func expect[T packet.Packet](p *peer) T {
	p.t.Helper()
	for {
		k, err := p.read()
		if err != nil {
			var want T
			p.t.Fatalf("waiting for %T: %v", want, err)
		}
		if got, ok := k.(T); ok {
			return got
		}
		if _, ok := k.(*packet.Pingreq); ok {
			p.send(&packet.Pingresp{})
			continue
		}
		var want T
		p.t.Fatalf("got %v %+v, want %T", k.Kind(), k, want)
	}
}

// publish reads a PUBLISH and checks what matters.
func (p *peer) publish(topic, payload string, qos mqtt.QoS) *packet.Publish {
	p.t.Helper()
	k := expect[*packet.Publish](p)
	if string(k.Topic) != topic || string(k.Payload) != payload || k.QoS != qos {
		p.t.Fatalf("got PUBLISH %q %q QoS %d, want %q %q QoS %d", k.Topic, k.Payload, k.QoS, topic, payload, qos)
	}
	return k
}

// ackOf reads an acknowledgement of one type.
func (p *peer) ackOf(t packet.Type, id uint16) *packet.Ack {
	p.t.Helper()
	a := expect[*packet.Ack](p)
	if a.Type != t || a.PacketID != id {
		p.t.Fatalf("got %v %d, want %v %d", a.Type, a.PacketID, t, id)
	}
	return a
}

func ack(t packet.Type, id uint16) *packet.Ack { return &packet.Ack{Type: t, PacketID: id} }

// granted answers a SUBSCRIBE.
func (p *peer) granted() *packet.Subscribe {
	p.t.Helper()
	s := expect[*packet.Subscribe](p)
	codes := make([]byte, s.Len())
	i := 0
	it, f := s.Filters(), packet.SubFilter{}
	for it.Next(&f) {
		codes[i] = byte(f.Options.QoS())
		i++
	}
	p.send(&packet.Suback{PacketID: s.PacketID, Codes: codes})
	return s
}

// closed waits for the end of the connection; code is that of the DISCONNECT before it, -1 for none.
func (p *peer) closed() (code int) {
	p.t.Helper()
	code = -1
	for {
		k, err := p.read()
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
				p.t.Fatalf("waiting for the end: %v", err)
			}
			return code
		}
		if code >= 0 {
			p.t.Fatalf("%v behind DISCONNECT", k.Kind())
		}
		if d, ok := k.(*packet.Disconnect); ok {
			code = int(d.Code)
		}
	}
}

// quiet reports that the client sends nothing until everything waits.
func (p *peer) quiet() {
	p.t.Helper()
	synctest.Wait()
	p.nc.SetReadDeadline(time.Now().Add(time.Millisecond))
	b := make([]byte, 4096)
	n, err := p.nc.Read(b)
	if n > 0 || len(p.buf) > 0 {
		p.t.Fatalf("client sent % x, want nothing", append(p.buf, b[:n]...))
	}
	var ne net.Error
	if !errors.As(err, &ne) || !ne.Timeout() {
		p.t.Fatalf("want a silent connection, got %v", err)
	}
}

// connected makes a client with a connection.
func connected(t *testing.T, s *peers, o client.Options, v mqtt.Version, props *mqtt.Properties) (*client.Client, *peer) {
	t.Helper()
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	c.Start()
	p, _ := s.accept(v, false, props)
	if err := c.WaitConnected(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.nc.Close(); c.Close() })
	return c, p
}

// bubble runs a test with fake time.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func ptr[T any](v T) *T { return &v }
