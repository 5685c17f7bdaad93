package broker

import (
	"flag"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// `make reload-load` gives larger numbers.
var (
	reloads = flag.Int("reloads", 20, "reloads of TestReloadUnderLoad")
	crowd   = flag.Int("clients", 100, "clients of TestReloadUnderLoad")
)

// load is a publisher and the subscriber of its topic.
type load struct {
	pub, sub *peer
	topic    string
	sent     atomic.Int64
	got      int64
}

// publish sends numbered messages until stop, each once the one before is
// acknowledged; then -1.
func (l *load) publish(t *testing.T, tick time.Duration, stop <-chan struct{}) {
	clock := time.NewTicker(tick)
	defer clock.Stop()
	for n := int64(0); ; n++ {
		text := fmt.Append(nil, n)
		select {
		case <-stop:
			text = []byte("-1")
		case <-clock.C:
		}
		l.pub.send(&packet.Publish{Topic: []byte(l.topic), QoS: mqtt.AtLeastOnce, PacketID: uint16(n%60000 + 1), Payload: text})
		f, _, err := l.pub.next()
		if err != nil || packet.Type(f>>4) != packet.PUBACK {
			t.Errorf("publisher of %s: %v %v", l.topic, packet.Type(f>>4), err)
			return
		}
		if len(text) == 2 && text[0] == '-' {
			return
		}
		l.sent.Store(n + 1)
	}
}

// receive reads messages until -1; each number must follow the one before.
func (l *load) receive(t *testing.T) {
	for {
		f, body, err := l.sub.next()
		var m packet.Publish
		if err == nil {
			err = m.Decode(l.sub.v, f, body)
		}
		if err != nil {
			t.Errorf("subscriber of %s after %d messages: %v", l.topic, l.got, err)
			return
		}
		l.sub.send(&packet.Ack{Type: packet.PUBACK, PacketID: m.PacketID})
		if string(m.Payload) == "-1" {
			return
		}
		if want := fmt.Sprint(l.got); string(m.Payload) != want {
			t.Errorf("subscriber of %s: message %s, expected %s", l.topic, m.Payload, want)
			return
		}
		l.got++
	}
}

// Reloads while clients are connected and busy: nobody is dropped, nothing is
// lost, and rights that change with a reload are in force when it is done.
func TestReloadUnderLoad(t *testing.T) {
	const rules = "user pub\ntopic write load/#\ntopic write flip/#\ntopic write sync/#\nuser sub\ntopic read load/#\ntopic read sync/#\n"
	g := protect(t, rules, nil, "pub", "sub")
	var loads []*load
	for i := range *crowd / 2 {
		l := &load{topic: fmt.Sprintf("load/%d", i)}
		l.sub = g.as(fmt.Sprintf("sub%d", i), "sub", mqtt.V311)
		l.sub.subscribe(t, l.topic, mqtt.AtLeastOnce)
		l.pub = g.as(fmt.Sprintf("pub%d", i), "pub", mqtt.V311)
		_ = l.pub.SetDeadline(time.Now().Add(10 * time.Minute))
		_ = l.sub.SetDeadline(time.Now().Add(10 * time.Minute))
		loads = append(loads, l)
	}
	probe, talker := g.as("probe", "sub", mqtt.V311), g.as("talker", "pub", mqtt.V5)
	_ = probe.SetDeadline(time.Now().Add(10 * time.Minute))
	_ = talker.SetDeadline(time.Now().Add(10 * time.Minute))
	probe.subscribe(t, "flip/#", mqtt.AtLeastOnce)
	probe.subscribe(t, "sync/#", mqtt.AtLeastOnce)
	stop := make(chan struct{})
	var pubs, subs sync.WaitGroup
	tick := max(20*time.Millisecond, time.Duration(*crowd)*100*time.Microsecond)
	for _, l := range loads {
		pubs.Go(func() { l.publish(t, tick, stop) })
		subs.Go(func() { l.receive(t) })
	}
	for n := range *reloads {
		open := n%2 == 0
		if open {
			g.write("acl", rules+"topic read flip/#\n")
		} else {
			g.write("acl", rules)
		}
		g.users("pub", "sub", fmt.Sprintf("new%d", n%3))
		g.must(nil)
		g.publish(talker, fmt.Sprintf("flip/%d", n), false)
		g.publish(talker, fmt.Sprintf("sync/%d", n), false)
		got := until(t, probe, fmt.Sprintf("sync/%d", n))
		if want := fmt.Sprintf("flip/%d", n); strings.Contains(got, want) != open {
			t.Fatalf("reload %d: flip is open: %v, received: %s", n, open, got)
		}
	}
	close(stop)
	pubs.Wait()
	subs.Wait()
	total := int64(0)
	for _, l := range loads {
		if l.got != l.sent.Load() {
			t.Errorf("%s: %d of %d messages", l.topic, l.got, l.sent.Load())
		}
		total += l.got
	}
	if total == 0 {
		t.Error("no traffic")
	}
	t.Logf("%d reloads, %d clients, %d messages", *reloads, 2*len(loads)+2, total)
}

// until reads topics up to the last one.
func until(t *testing.T, p *peer, last string) string {
	t.Helper()
	var got []string
	for {
		f, body, err := p.next()
		var m packet.Publish
		if err == nil {
			err = m.Decode(p.v, f, body)
		}
		if err != nil {
			t.Fatalf("probe: %v", err)
		}
		p.send(&packet.Ack{Type: packet.PUBACK, PacketID: m.PacketID})
		got = append(got, string(m.Topic))
		if string(m.Topic) == last {
			return strings.Join(got, " ")
		}
	}
}
