package client_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// sink is a connection that accepts CONNECT, swallows what is written, and gives to read what the test puts in.
type sink struct {
	net.Conn // only for the addresses, which nobody asks for
	in       chan []byte
	rest     []byte
	closed   chan struct{}
}

func newSink() *sink {
	s := &sink{in: make(chan []byte, 16), closed: make(chan struct{})}
	s.in <- (&packet.Connack{}).Append(nil, mqtt.V5)
	return s
}

func (s *sink) Read(b []byte) (int, error) {
	if len(s.rest) == 0 {
		select {
		case s.rest = <-s.in:
		case <-s.closed:
			return 0, io.EOF
		}
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// Write answers a SUBSCRIBE that comes alone.
func (s *sink) Write(b []byte) (int, error) {
	if packet.Type(b[0]>>4) == packet.SUBSCRIBE {
		id := uint16(b[2])<<8 | uint16(b[3])
		s.in <- (&packet.Suback{PacketID: id, Codes: []byte{0}}).Append(nil, mqtt.V5)
	}
	return len(b), nil
}

func (s *sink) Close() error                       { close(s.closed); return nil }
func (s *sink) SetDeadline(time.Time) error        { return nil }
func (s *sink) SetWriteDeadline(t time.Time) error { return nil }

func sunk(t testing.TB) (*client.Client, *sink) {
	t.Helper()
	s := newSink()
	c, err := client.Connect(context.Background(), client.Options{
		Servers: []string{"sink"}, Version: mqtt.V5, NoReconnect: true,
		Dial: func(context.Context, string, string) (net.Conn, error) { return s, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, s
}

// A QoS 0 message costs no allocation, sent or received, beyond what is shared by many.
func TestAllocations(t *testing.T) {
	c, s := sunk(t)
	ctx := context.Background()
	m := mqtt.Message{Topic: "topic/of/the/test", Payload: make([]byte, 64)}
	const n = 1000
	send := func() {
		for range n {
			if _, err := c.PublishAsync(ctx, m); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if a := testing.AllocsPerRun(20, send) / n; a > 0.1 {
		t.Errorf("%.3f allocations for each message sent", a)
	}

	got := make(chan struct{})
	left := 0
	err := c.Handle(ctx, "topic/#", 0, func(*client.Message) {
		if left--; left == 0 {
			got <- struct{}{}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var many []byte
	for range n {
		many = (&packet.Publish{Topic: []byte(m.Topic), Payload: m.Payload}).Append(many, mqtt.V5)
	}
	receive := func() {
		left = n
		s.in <- many
		<-got
	}
	if a := testing.AllocsPerRun(20, receive) / n; a > 0.25 {
		t.Errorf("%.3f allocations for each message received", a)
	}
}
