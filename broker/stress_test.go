package broker

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/testkit"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// start runs a broker on a free port with several loops, each of which takes
// connections from the first on.
func start(t *testing.T, change func(*Options)) (*Broker, string) {
	t.Helper()
	testkit.VerifyNoLeaks(t)
	c := config.Default()
	c.Listeners = []*config.Listener{{
		Address: "127.0.0.1", Protocol: config.MQTT, Versions: config.AllVersions, AllowAnonymous: true,
		MaxTopicAlias: 10, MaxTopicAliasBroker: 10,
	}}
	c.Loops = 4
	c.SysInterval = 0
	c.MaxQueuedMessages = 0
	o := Options{Config: c, Version: "test", ConnectionsPerLoop: 1}
	if change != nil {
		change(&o)
	}
	b, err := New(o)
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
	return b, b.Addresses()[0]
}

// peer is a plain blocking client.
type peer struct {
	net.Conn
	r *bufio.Reader
	v mqtt.Version
}

func dial(t *testing.T, addr string, c packet.Connect) (*peer, packet.Connack) {
	t.Helper()
	n, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	p := &peer{Conn: n, r: bufio.NewReader(n), v: c.Version}
	_ = n.SetDeadline(time.Now().Add(60 * time.Second))
	p.send(&c)
	f, body, err := p.next()
	var ack packet.Connack
	if err == nil {
		err = ack.Decode(c.Version, f, body)
	}
	if err != nil {
		t.Fatalf("connect %s: %v", c.ClientID, err)
	}
	return p, ack
}

func (p *peer) send(k interface {
	Append([]byte, mqtt.Version) []byte
},
) {
	_, _ = p.Write(k.Append(nil, p.v))
}

func (p *peer) next() (first byte, body []byte, err error) {
	if first, err = p.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(p.r)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(p.r, body)
	return first, body, err
}

func (p *peer) subscribe(t *testing.T, filter string, q mqtt.QoS) {
	t.Helper()
	s := packet.Subscribe{PacketID: 1}
	s.AddFilter(filter, packet.MakeSubOptions(q, false, false, 0))
	p.send(&s)
	for {
		f, _, err := p.next()
		if err != nil {
			t.Fatalf("subscribe: %v", err)
		}
		if packet.Type(f>>4) == packet.SUBACK {
			return
		}
	}
}

// churn connects under few ids, so that sessions are taken over and moved
// between loops all the time, and uses every kind of subscription.
func churn(t *testing.T, addr string, seed uint64, rounds int) {
	r := rand.New(rand.NewPCG(seed, 1))
	for range rounds {
		n, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		v := []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5}[r.IntN(3)]
		p := &peer{Conn: n, r: bufio.NewReader(n), v: v}
		_ = n.SetDeadline(time.Now().Add(20 * time.Second))
		c := packet.Connect{Version: v, CleanStart: r.IntN(2) == 0, ClientID: fmt.Appendf(nil, "churn%d", r.IntN(6))}
		if v == mqtt.V5 {
			c.Props = packet.AppendUint(nil, packet.PropSessionExpiry, uint32(r.IntN(2)*100))
		}
		if r.IntN(2) == 0 {
			c.WillFlag, c.WillTopic, c.WillPayload = true, []byte("churn/will"), []byte("gone")
		}
		p.send(&c)
		s := packet.Subscribe{PacketID: 2}
		s.AddFilter([]string{"churn/#", "$share/g/churn/+", "churn/1", "+/2"}[r.IntN(4)], packet.MakeSubOptions(mqtt.QoS(r.IntN(3)), false, false, 0))
		p.send(&s)
		for i := range 5 {
			m := packet.Publish{Topic: fmt.Appendf(nil, "churn/%d", r.IntN(4)), QoS: mqtt.QoS(r.IntN(3)), PacketID: uint16(i + 1), Payload: []byte("x"), Retain: r.IntN(4) == 0}
			p.send(&m)
		}
		p.send(&packet.Pingreq{}) // so that there is an end, whatever others do
		for range r.IntN(12) {
			f, _, err := p.next()
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: no PINGRESP: %v", c.ClientID, err)
			}
			if err != nil || packet.Type(f>>4) == packet.PINGRESP {
				break
			}
		}
		if r.IntN(2) == 0 {
			p.send(&packet.Disconnect{})
		}
		_ = n.Close()
	}
}

// Order per publisher, topic and QoS holds over several loops while sessions are
// taken over and moved, and no QoS 1 message is lost.
// covers: 5:4.6.0-5 3:4.6.0-5 E088
func TestOrderAcrossLoops(t *testing.T) {
	b, addr := start(t, nil)
	orderAcrossLoops(t, b, addr)
}

// One message at a time from every loop to a subscriber on one of them, so that
// the loops wait in between: each message has that loop work on it, whoever does.
func TestOneAtATimeAcrossLoops(t *testing.T) {
	_, addr := start(t, nil)
	sub, _ := dial(t, addr, packet.Connect{Version: mqtt.V311, CleanStart: true, ClientID: []byte("sub")})
	sub.subscribe(t, "one", mqtt.AtMostOnce)
	var pubs []*peer
	for i := range 7 {
		p, _ := dial(t, addr, packet.Connect{Version: mqtt.V311, CleanStart: true, ClientID: fmt.Appendf(nil, "pub%d", i)})
		pubs = append(pubs, p)
	}
	_ = sub.SetDeadline(time.Now().Add(20 * time.Second))
	for k := range 1000 {
		pubs[k%len(pubs)].send(&packet.Publish{Topic: []byte("one"), Payload: fmt.Append(nil, k)})
		f, body, err := sub.next()
		var m packet.Publish
		if err == nil {
			err = m.Decode(mqtt.V311, f, body)
		}
		if err != nil || string(m.Payload) != fmt.Sprint(k) {
			t.Fatalf("message %d: %q, %v", k, m.Payload, err)
		}
	}
}

// The order across loops, while connections move from one to the next all the time.
// covers: 5:4.6.0-5 3:4.6.0-5 E088
func TestOrderWhileMoving(t *testing.T) {
	b, addr := start(t, nil)
	b.MoveForTest(2)
	orderAcrossLoops(t, b, addr)
	s := b.snapshot(context.Background())
	if s.Moved < 20 {
		t.Fatalf("only %d connections have moved", s.Moved)
	}
}

// The same with a store on disk, whose commits connections wait for before they
// move, and a subscriber whose queue is there.
// covers: 5:4.6.0-5 3:4.6.0-5
func TestOrderWhileMovingDurable(t *testing.T) {
	b, addr := start(t, func(o *Options) {
		o.Config.Persistence, o.Config.Storage.Location = true, t.TempDir()
	})
	b.MoveForTest(2)
	orderAcrossLoops(t, b, addr)
	s := b.snapshot(context.Background())
	if s.Moved < 3 {
		t.Fatalf("only %d connections have moved", s.Moved)
	}
}

func orderAcrossLoops(t *testing.T, b *Broker, addr string) {
	t.Helper()
	const pubs, each = 6, 400
	sub, _ := dial(t, addr, packet.Connect{Version: mqtt.V311, CleanStart: !b.cfg.Persistence, ClientID: []byte("sub")})
	sub.subscribe(t, "order/#", mqtt.AtLeastOnce)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Add(1)
		go func() { defer wg.Done(); churn(t, addr, uint64(i), 40) }()
	}
	for i := range pubs {
		p, _ := dial(t, addr, packet.Connect{Version: mqtt.V5, CleanStart: true, ClientID: fmt.Appendf(nil, "pub%d", i)})
		wg.Add(1)
		go func() {
			defer wg.Done()
			for k := range each {
				q := mqtt.QoS(k % 2)
				m := packet.Publish{Topic: fmt.Appendf(nil, "order/%d/%d", i, q), QoS: q, Payload: fmt.Append(nil, k)}
				if q > 0 {
					m.PacketID = uint16(k%60000 + 1)
				}
				p.send(&m)
				if q > 0 {
					if _, _, err := p.next(); err != nil {
						t.Errorf("publisher %d: %v", i, err)
						return
					}
				}
			}
		}()
	}
	last := map[string]int{}
	for got := 0; got < pubs*each; got++ {
		f, body, err := sub.next()
		if err != nil {
			t.Fatalf("after %d messages: %v", got, err)
		}
		var m packet.Publish
		if err := m.Decode(mqtt.V311, f, body); err != nil {
			t.Fatalf("decode: %v", err)
		}
		if m.QoS > 0 {
			sub.send(&packet.Ack{Type: packet.PUBACK, PacketID: m.PacketID})
		}
		var k int
		_, _ = fmt.Sscan(string(m.Payload), &k)
		if prev, ok := last[string(m.Topic)]; ok && k <= prev {
			t.Fatalf("%s: %d after %d", m.Topic, k, prev)
		}
		last[string(m.Topic)] = k
	}
	wg.Wait()
	if n := len(b.hub.Shards); n != 4 {
		t.Fatalf("%d loops, not 4", n)
	}
	used := 0
	for _, sh := range b.hub.Shards {
		done := make(chan bool)
		sh.Post(func() { done <- sh.Count.Sockets > 0 })
		if <-done {
			used++
		}
	}
	if used < 3 {
		t.Fatalf("only %d of 4 loops had connections", used)
	}
}
