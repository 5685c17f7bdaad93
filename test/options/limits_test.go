package options

import (
	"strings"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

const (
	receiveMaximum = 0x21
	aliasMaximum   = 0x22
	maximumQoS     = 0x24
	retainPossible = 0x25
	packetMaximum  = 0x27
	serverKeep     = 0x13
	assignedID     = 0x12
)

// property returns a number from a CONNACK, or a default.
func property(p *rawmqtt.Packet, id byte, def uint32) uint32 {
	if p == nil {
		return def
	}
	return p.Props.Num(id, def)
}

func TestMaxConnections(t *testing.T) {
	for _, option := range []string{"max_connections", "global_max_connections"} {
		t.Run(option, func(t *testing.T) {
			r := start(t, head+option+" 1\n")
			one := r.open(4, "one")
			r.dial(4).closed(0)
			r.awaitLog("denied: max_connections exceeded.")
			r.reload(head + option + " 2\n")
			r.open(4, "two")
			r.dial(4).closed(0)
			r.reload(head + option + " 0\n")
			r.open(4, "three")
			one.nothing()
		})
	}
}

func TestGlobalMaxClients(t *testing.T) {
	r := start(t, head+"global_max_clients 1\n")
	away := r.open(5, "one", keepSession)
	away.leave()
	if _, got := r.ask(5, "two"); got == nil || got.Reason != 0x89 {
		t.Errorf("MQTT 5: %v", got)
	}
	if _, got := r.ask(4, "two"); got != nil {
		t.Errorf("MQTT 3.1.1: %v", got)
	}
	r.open(5, "one", keepSession).leave()
	r.reload(head + "global_max_clients 2\n")
	r.open(5, "two")
}

func TestMaxInflightMessages(t *testing.T) {
	r := start(t, head+"max_inflight_messages 2\n")
	old, ack := r.ask(5, "s", keepSession)
	if n := property(ack, receiveMaximum, 0); n != 2 {
		t.Errorf("Receive Maximum %d", n)
	}
	old.subscribe("t", 1)
	p := r.open(4, "p")
	for range 4 {
		p.publish("t", "x", 1)
	}
	ids := []uint16{old.expect(rawmqtt.PUBLISH).ID, old.expect(rawmqtt.PUBLISH).ID}
	old.nothing()
	r.reload(head + "max_inflight_messages 3\n")
	// What the connection was told stays to its end.
	for _, id := range ids {
		old.send(&rawmqtt.Packet{Type: rawmqtt.PUBACK, ID: id})
	}
	old.expect(rawmqtt.PUBLISH)
	old.expect(rawmqtt.PUBLISH)
	old.nothing()
	for range 4 {
		p.publish("t", "x", 1)
	}
	old.leave()
	now, ack := r.ask(5, "s", keepSession)
	if n := property(ack, receiveMaximum, 0); n != 3 {
		t.Errorf("after the reload Receive Maximum %d", n)
	}
	for range 3 {
		now.expect(rawmqtt.PUBLISH)
	}
	now.nothing()
}

func TestMaxInflightBytes(t *testing.T) {
	r := start(t, head+"max_inflight_bytes 150\n")
	s, p := r.open(4, "s"), r.open(4, "p")
	s.subscribe("t", 1)
	payload := strings.Repeat("x", 100)
	for range 6 {
		p.publish("t", payload, 1)
	}
	// The one that crosses the limit still goes.
	first := s.expect(rawmqtt.PUBLISH)
	second := s.expect(rawmqtt.PUBLISH)
	s.nothing()
	s.send(&rawmqtt.Packet{Type: rawmqtt.PUBACK, ID: first.ID})
	s.expect(rawmqtt.PUBLISH)
	s.nothing()
	r.reload(head + "max_inflight_bytes 0\n")
	s.send(&rawmqtt.Packet{Type: rawmqtt.PUBACK, ID: second.ID})
	for range 3 {
		s.expect(rawmqtt.PUBLISH)
	}
}

func TestMaxKeepAlive(t *testing.T) {
	r := start(t, head+"max_keepalive 10\n")
	if _, got := r.ask(5, "five", keepAlive(60)); property(got, serverKeep, 0) != 10 {
		t.Errorf("MQTT 5: %v", got)
	}
	if _, got := r.ask(4, "four", keepAlive(60)); got == nil || got.Reason != 2 {
		t.Errorf("MQTT 3.1.1: %v", got)
	}
	r.open(4, "four", keepAlive(10))
	r.reload(head + "max_keepalive 60\n")
	if _, got := r.ask(5, "five", keepAlive(60)); property(got, serverKeep, 0) != 0 {
		t.Errorf("after the reload: %v", got)
	}
	r.open(4, "four", keepAlive(60))
}

func TestMaxPacketSize(t *testing.T) {
	r := start(t, head+"max_packet_size 100\n")
	long := strings.Repeat("x", 120)
	r.open(4, "small").publish("t", "x", 1)
	old, ack := r.ask(5, "old")
	if n := property(ack, packetMaximum, 0); n != 100 {
		t.Errorf("Maximum Packet Size %d", n)
	}
	r.reload(head + "max_packet_size 200\n")
	now, ack := r.ask(5, "new")
	if n := property(ack, packetMaximum, 0); n != 200 {
		t.Errorf("after the reload Maximum Packet Size %d", n)
	}
	if code := now.publish("t", long, 1); code != 0x10 {
		t.Errorf("code 0x%02X", code)
	}
	old.publish("t", long, 0)
	old.closed(0x95)
	// Who was told the larger size keeps it.
	r.reload(head + "max_packet_size 100\n")
	if code := now.publish("t", long, 1); code != 0x10 {
		t.Errorf("after the second reload code 0x%02X", code)
	}
	r.open(4, "four").publish("t", "x", 1)
}

// queued counts the messages that a client finds when it comes back.
func queued(t *testing.T, r *rig, option string, payloads ...string) int {
	t.Helper()
	s := r.open(4, "s", session)
	s.subscribe("t", 1)
	s.leave()
	p := r.open(4, "p")
	for _, text := range payloads {
		p.publish("t", text, 1)
	}
	s = r.open(4, "s", session)
	s.send(&rawmqtt.Packet{Type: rawmqtt.PINGREQ})
	n := 0
	for {
		got := s.next()
		if got.Type == rawmqtt.PINGRESP {
			break
		}
		n++
		s.send(&rawmqtt.Packet{Type: rawmqtt.PUBACK, ID: got.ID})
	}
	s.leave()
	p.leave()
	return n
}

func TestMaxQueued(t *testing.T) {
	for _, tc := range []struct{ option, small, large string }{
		{"max_queued_messages", "2", "3"},
		{"max_queued_bytes", "150", "250"},
	} {
		t.Run(tc.option, func(t *testing.T) {
			r := start(t, head+tc.option+" "+tc.small+"\n")
			text := strings.Repeat("x", 100)
			if n := queued(t, r, tc.option, text, text, text, text); n != 2 {
				t.Errorf("%d messages with %s", n, tc.small)
			}
			r.reload(head + tc.option + " " + tc.large + "\n")
			if n := queued(t, r, tc.option, text, text, text, text); n != 3 {
				t.Errorf("%d messages with %s after the reload", n, tc.large)
			}
		})
	}
}

func TestMessageSizeLimit(t *testing.T) {
	r := start(t, head+"message_size_limit 10\n")
	c := r.open(5, "c")
	if code := c.publish("t", "12345678901", 1); code != 0x97 {
		t.Errorf("code 0x%02X", code)
	}
	r.reload(head + "message_size_limit 11\n")
	if code := c.publish("t", "12345678901", 1); code != 0x10 {
		t.Errorf("after the reload code 0x%02X", code)
	}
}

func TestTopicAliases(t *testing.T) {
	r := start(t, head+"max_topic_alias 3\nmax_topic_alias_broker 1\n")
	takes := func(p *rawmqtt.Packet) { p.Props = rawmqtt.Props{{ID: aliasMaximum, Num: 5}} }
	aliases := func(id string, want ...uint32) {
		t.Helper()
		s := r.open(5, id, takes)
		s.subscribe("#", 0)
		p := r.open(4, "p")
		for _, topic := range []string{"a", "b", "c"} {
			p.publish(topic, "x", 1)
		}
		for i, n := range want {
			if got := s.expect(rawmqtt.PUBLISH).Props.Num(0x23, 0); got != n {
				t.Errorf("%s: message %d has alias %d, want %d", id, i, got, n)
			}
		}
	}
	_, ack := r.ask(5, "x")
	if n := property(ack, aliasMaximum, 0); n != 3 {
		t.Errorf("Topic Alias Maximum %d", n)
	}
	aliases("one", 1, 0, 0)
	r.reload(head + "max_topic_alias 0\nmax_topic_alias_broker 2\n")
	_, ack = r.ask(5, "x")
	if _, there := ack.Props.Get(aliasMaximum); there {
		t.Errorf("after the reload: %v", ack)
	}
	aliases("two", 1, 2, 0)
}

func TestMaxQoS(t *testing.T) {
	for _, option := range []string{"max_qos", "maximum_qos"} {
		t.Run(option, func(t *testing.T) {
			r := start(t, head+option+" 1\n")
			five, ack := r.ask(5, "five")
			if n := property(ack, maximumQoS, 2); n != 1 {
				t.Errorf("Maximum QoS %d", n)
			}
			if q := five.subscribe("t", 2); q != 1 {
				t.Errorf("granted %d", q)
			}
			five.send(&rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: 4, ID: 9, Topic: "t"})
			five.closed(0x9B)
			four := r.open(4, "four")
			four.send(&rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: 4, ID: 9, Topic: "t"})
			four.closed(0)
			r.reload(head + option + " 2\n")
			five, ack = r.ask(5, "five")
			if _, there := ack.Props.Get(maximumQoS); there {
				t.Errorf("after the reload: %v", ack)
			}
			five.publish("t", "x", 2)
		})
	}
}

func TestRetainAvailable(t *testing.T) {
	r := start(t, head+"retain_available false\n")
	c, ack := r.ask(5, "five")
	if n := property(ack, retainPossible, 1); n != 0 {
		t.Errorf("Retain Available %d", n)
	}
	c.publish("t", "x", 0, true)
	c.closed(0x9A)
	r.reload(head)
	c = r.open(5, "five")
	c.publish("t", "x", 1, true)
	c.subscribe("t", 0)
	c.message("t", "x", 0)
}

func TestMemoryLimit(t *testing.T) {
	r := start(t, head)
	s := r.open(4, "s", session)
	s.subscribe("t", 1)
	s.leave()
	p := r.open(4, "p")
	p.publish("t", "before", 1)
	r.reload(head + "memory_limit 1\n")
	if _, got := r.ask(5, "new"); got == nil || got.Reason != 0x89 {
		t.Errorf("MQTT 5: %v", got)
	}
	if _, got := r.ask(4, "new"); got != nil {
		t.Errorf("MQTT 3.1.1: %v", got)
	}
	p.publish("t", "during", 1)
	r.awaitLog("memory_limit is reached")
	r.reload(head + "memory_limit 99999999999\n")
	p.publish("t", "after", 1)
	s = r.open(4, "s", session) // known clients always come in
	s.message("t", "before", 1)
	s.message("t", "after", 1)
	r.open(5, "new")
}

func TestMaxOutputBytes(t *testing.T) {
	r := start(t, head+"max_output_bytes 4096\nmax_queued_messages 0\n")
	payload := strings.Repeat("x", 64<<10)
	// drops floods a subscriber that does not read and waits for the first drop.
	drops := func(id string) int64 {
		t.Helper()
		before := r.dropped()
		s := r.open(4, id)
		s.subscribe(id, 0)
		p := r.open(4, "p")
		sent := int64(0)
		for end := time.Now().Add(patience); r.dropped() == before; sent++ {
			p.publish(id, payload, 0)
			p.publish("elsewhere", "x", 1) // the broker has taken the one before
			if time.Now().After(end) {
				t.Fatal("nothing is dropped")
			}
		}
		p.leave()
		return sent
	}
	small := drops("a")
	r.reload(head + "max_output_bytes 16777216\nmax_queued_messages 0\n")
	if large := drops("b"); large < small+100 {
		t.Errorf("%d messages with 16 MiB, %d with 4 KiB", large, small)
	}
}
