package client_test

import (
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

func TestMain(m *testing.M) {
	// The server of the examples lives as long as the tests.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/midgemq/midge/client_test.startServer.func1"))
}

var versions = []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5}

func eachVersion(t *testing.T, f func(t *testing.T, v mqtt.Version)) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) { bubble(t, func(t *testing.T) { f(t, v) }) })
	}
}

// covers: 5:3.1.3-1 3:3.1.3-1 31:U31-01
func TestConnectFields(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		s := newPeers(t)
		o := s.options(v)
		o.UserName, o.Password = "user", []byte{0, 255}
		o.Will = &client.Will{Topic: "will", Payload: []byte("gone"), QoS: 1, Retain: true}
		c, err := client.New(o)
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		p, k := s.accept(v, false, nil)
		defer func() { p.nc.Close(); c.Close() }()
		if string(k.ClientID) != "c1" || string(k.UserName) != "user" || string(k.Password) != "\x00\xff" || string(k.WillTopic) != "will" ||
			string(k.WillPayload) != "gone" || k.WillQoS != 1 || !k.WillRetain || !k.CleanStart || k.KeepAlive != 60 || k.Version != v {
			t.Errorf("CONNECT %+v", k)
		}
	})
}

// covers: 5:4.3.1-1 3:4.3.1-1 5:2.2.1-2
func TestPublishQoS0(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		s := newPeers(t)
		c, p := connected(t, s, s.options(v), v, nil)
		h, err := c.PublishAsync(t.Context(), mqtt.Message{Topic: "t", Payload: []byte("x"), Dup: true})
		if err != nil {
			t.Fatal(err)
		}
		f, err := p.frame()
		if err != nil || f[0] != 0x30 {
			t.Fatalf("% x %v", f, err)
		}
		if err := h.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// covers: 5:4.3.2-2 5:4.3.3-2 3:4.3.3-1
func TestPublishQoS1And2(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		s := newPeers(t)
		c, p := connected(t, s, s.options(v), v, nil)
		one, err := c.PublishAsync(t.Context(), mqtt.Message{Topic: "t", Payload: []byte("1"), QoS: 1})
		if err != nil {
			t.Fatal(err)
		}
		two, err := c.PublishAsync(t.Context(), mqtt.Message{Topic: "t", Payload: []byte("2"), QoS: 2})
		if err != nil {
			t.Fatal(err)
		}
		k := p.publish("t", "1", 1)
		if k.Dup || k.PacketID == 0 {
			t.Errorf("%+v", k)
		}
		id1 := k.PacketID
		k = p.publish("t", "2", 2)
		if k.Dup || k.PacketID == id1 {
			t.Errorf("%+v", k)
		}
		p.send(ack(packet.PUBREC, k.PacketID))
		p.ackOf(packet.PUBREL, k.PacketID)
		select {
		case <-two.Done():
			t.Error("done before PUBCOMP")
		default:
		}
		p.send(ack(packet.PUBCOMP, k.PacketID), ack(packet.PUBACK, id1))
		if err := errors.Join(two.Wait(t.Context()), one.Wait(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

// covers: 5:3.3.4-1 3:3.3.4-1 3:4.3.3-2
func TestReceive(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		s := newPeers(t)
		c, p := connected(t, s, s.options(v), v, nil)
		got := make(chan string, 10)
		done := make(chan error)
		go func() {
			done <- c.Handle(t.Context(), "a/+", 2, func(m *client.Message) { got <- m.Topic + " " + string(m.Payload) })
		}()
		p.granted()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		pub := func(id uint16, q mqtt.QoS, payload string) *packet.Publish {
			return &packet.Publish{Topic: []byte("a/b"), PacketID: id, QoS: q, Payload: []byte(payload)}
		}
		p.send(pub(0, 0, "zero"), pub(7, 1, "one"), pub(9, 2, "two"))
		for _, want := range []string{"a/b zero", "a/b one", "a/b two"} {
			if m := <-got; m != want {
				t.Errorf("got %q, want %q", m, want)
			}
		}
		p.ackOf(packet.PUBACK, 7)
		p.ackOf(packet.PUBREC, 9)
		p.send(pub(9, 2, "two"))
		p.ackOf(packet.PUBREC, 9)
		p.send(ack(packet.PUBREL, 9))
		p.ackOf(packet.PUBCOMP, 9)
		p.send(pub(9, 2, "again"))
		if m := <-got; m != "a/b again" {
			t.Errorf("got %q", m)
		}
		p.ackOf(packet.PUBREC, 9)
	})
}

// covers: 5:3.14.4-1 3:3.14.4-1 3:3.14.4-2
func TestCloseSendsDisconnectLast(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		s := newPeers(t)
		c, p := connected(t, s, s.options(v), v, nil)
		closed := make(chan error)
		go func() { closed <- c.Close() }()
		if k := expect[*packet.Disconnect](p); k.Code != 0 {
			t.Errorf("%+v", k)
		}
		if code := p.closed(); code != -1 {
			t.Errorf("second DISCONNECT %d", code)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if err := c.Publish(t.Context(), mqtt.Message{Topic: "t"}); !errors.Is(err, client.ErrClosed) || !client.SafeToRetry(err) {
			t.Errorf("publish after Close: %v", err)
		}
	})
}
