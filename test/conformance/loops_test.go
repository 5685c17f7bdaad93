package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/testkit"
	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// loopsBroker is a whole broker whose connections are spread over its loops from
// the first on.
func loopsBroker(t *testing.T) (addr string) {
	t.Helper()
	testkit.VerifyNoLeaks(t)
	c := config.Default()
	c.Listeners = []*config.Listener{{Address: "127.0.0.1", Protocol: config.MQTT, Versions: config.AllVersions, AllowAnonymous: true}}
	c.Loops, c.SysInterval = 4, 0
	b, err := broker.New(broker.Options{Config: c, Version: "test", ConnectionsPerLoop: 1})
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

// wireClient is a blocking client over TCP.
type wireClient struct {
	t *testing.T
	net.Conn
	buf []byte
}

func dialWire(t *testing.T, addr, id string) *wireClient {
	t.Helper()
	n, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	w := &wireClient{t: t, Conn: n}
	w.send(&rawmqtt.Packet{Type: rawmqtt.CONNECT, Connect: &rawmqtt.Connect{Name: "MQTT", Level: 5, Clean: true, ClientID: id}})
	w.want(rawmqtt.CONNACK)
	return w
}

func (w *wireClient) send(p *rawmqtt.Packet) {
	w.t.Helper()
	if p.Flags == 0 {
		p.Flags = rawmqtt.FixedFlags(p.Type)
	}
	w.patient()
	if _, err := w.Write(p.Encode(rawmqtt.V5)); err != nil {
		w.t.Fatal(err)
	}
}

// patient bounds the next step alone: a whole test may take long on a busy
// machine.
func (w *wireClient) patient() {
	w.t.Helper()
	if err := w.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wireClient) want(typ byte) *rawmqtt.Packet {
	w.t.Helper()
	for {
		raw, rest, err := rawmqtt.Split(w.buf)
		if err == nil && raw != nil {
			p, err := rawmqtt.Decode(rawmqtt.V5, raw, true)
			if err != nil || p.Type != typ {
				w.t.Fatalf("% X came instead of %s: %v", raw, rawmqtt.TypeName(typ), err)
			}
			w.buf = bytes.Clone(rest)
			return p
		}
		b := make([]byte, 64<<10)
		w.patient()
		n, err := w.Read(b)
		if err != nil && !errors.Is(err, io.EOF) || n == 0 {
			w.t.Fatalf("%s is awaited: %v", rawmqtt.TypeName(typ), err)
		}
		w.buf = append(w.buf, b[:n]...)
	}
}

// TestExpiryZeroAcrossLoops: a message with expiry 0 reaches every subscriber
// that can take it at once, on whichever loop it is.
// covers: E165 5:3.3.2-5
func TestExpiryZeroAcrossLoops(t *testing.T) {
	addr := loopsBroker(t)
	var subs []*wireClient
	for i := range 4 {
		s := dialWire(t, addr, fmt.Sprintf("s%d", i))
		s.send(&rawmqtt.Packet{Type: rawmqtt.SUBSCRIBE, ID: 1, Filters: []rawmqtt.Filter{{Filter: "t", Options: 1}}})
		s.want(rawmqtt.SUBACK)
		subs = append(subs, s)
	}
	p := dialWire(t, addr, "p")
	for i := range 20 {
		for qos := byte(0); qos < 2; qos++ {
			m := &rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: qos << 1, Topic: "t", Payload: fmt.Append(nil, i), ID: 9, Props: rawmqtt.Props{{ID: 0x02, Num: 0}}}
			p.send(m)
			if qos == 1 {
				p.want(rawmqtt.PUBACK)
			}
			for _, s := range subs {
				got := s.want(rawmqtt.PUBLISH)
				if string(got.Payload) != fmt.Sprint(i) || got.QoS() != qos {
					t.Fatalf("payload %s at QoS %d came instead of %d at QoS %d", got.Payload, got.QoS(), i, qos)
				}
				if qos == 1 {
					s.send(&rawmqtt.Packet{Type: rawmqtt.PUBACK, ID: got.ID})
				}
			}
		}
	}
}
