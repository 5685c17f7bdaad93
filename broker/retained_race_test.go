package broker

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// Subscribers that come while a retained topic changes, on other loops than its
// publisher's, never see an old value behind a newer one, and the last one they
// read is the newest.
//
// covers: E120
func TestRetainedNeverGoesBack(t *testing.T) {
	_, addr := start(t, nil)
	const subscribers, rounds, after = 4, 60, 3
	p, _ := dial(t, addr, packet.Connect{Version: mqtt.V311, CleanStart: true, ClientID: []byte("pub")})
	var sent atomic.Int64
	publish := func() int64 {
		n := sent.Add(1)
		p.send(&packet.Publish{Topic: []byte("gauge"), QoS: mqtt.AtLeastOnce, PacketID: uint16(n%60000 + 1), Retain: true, Payload: fmt.Append(nil, n)})
		if _, _, err := p.next(); err != nil {
			t.Errorf("PUBACK: %v", err)
		}
		return n
	}
	publish()
	var wg sync.WaitGroup
	var busy atomic.Int64
	for i := range subscribers {
		wg.Add(1)
		busy.Add(1)
		go func() {
			defer wg.Done()
			defer busy.Add(-1)
			for k := range rounds {
				s, _ := dial(t, addr, packet.Connect{Version: mqtt.V311, CleanStart: true, ClientID: fmt.Appendf(nil, "sub%d-%d", i, k)})
				asked := sent.Load()
				s.subscribe(t, "gauge", mqtt.QoS(k%2))
				last, live := asked-1, 0
				// A value that is overtaken before it was sent may be left out: the
				// newer one comes as a live message.
				for live < after {
					n, retain := s.gauge(t)
					if n < last {
						t.Errorf("%d after %d (retain %v)", n, last, retain)
						return
					}
					last = n
					if !retain {
						live++
					}
				}
				_ = s.Close()
			}
		}()
	}
	for busy.Load() > 0 {
		publish()
	}
	wg.Wait()
	s, _ := dial(t, addr, packet.Connect{Version: mqtt.V311, CleanStart: true, ClientID: []byte("last")})
	s.subscribe(t, "gauge", mqtt.AtMostOnce)
	if n, retain := s.gauge(t); n != sent.Load() || !retain {
		t.Errorf("the retained value is %d (retain %v), %d was published last", n, retain, sent.Load())
	}
}

// gauge reads one message with a number, and acknowledges it.
func (p *peer) gauge(t *testing.T) (n int64, retain bool) {
	f, body, err := p.next()
	if err != nil {
		t.Errorf("read: %v", err)
		return 0, false
	}
	var m packet.Publish
	if err := m.Decode(p.v, f, body); err != nil {
		t.Errorf("decode %02x: %v", f, err)
	}
	if m.QoS > 0 {
		p.send(&packet.Ack{Type: packet.PUBACK, PacketID: m.PacketID})
	}
	_, _ = fmt.Sscan(string(m.Payload), &n)
	return n, m.Retain
}
