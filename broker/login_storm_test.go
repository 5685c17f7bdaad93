package broker

import (
	"encoding/binary"
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/password"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// `make login-storm` measures; without it the test is short and only looks
// whether the stream goes on.
var storm = flag.Bool("storm", false, "measure delays in TestLoginStormDelay")

// stream publishes at a rate of 1,000 messages a second and returns the delays of
// n messages, sorted.
func stream(t *testing.T, pub, sub *peer, n int) []time.Duration {
	t.Helper()
	start := time.Now()
	go func() {
		clock := time.NewTicker(time.Millisecond)
		defer clock.Stop()
		for range n {
			<-clock.C
			pub.send(&packet.Publish{Topic: []byte("t"), Payload: binary.BigEndian.AppendUint64(nil, uint64(time.Since(start)))})
		}
	}()
	delays := make([]time.Duration, 0, n)
	for range n {
		f, body, err := sub.next()
		var m packet.Publish
		if err == nil {
			err = m.Decode(sub.v, f, body)
		}
		if err != nil {
			t.Fatalf("stream: %v", err)
		}
		delays = append(delays, time.Since(start)-time.Duration(binary.BigEndian.Uint64(m.Payload)))
	}
	slices.Sort(delays)
	return delays
}

// The delay of a stream while clients log in all the time stays near that at
// rest, because hashes have threads of their own at low priority.
func TestLoginStormDelay(t *testing.T) {
	n, iterations := 300, 2000
	if *storm {
		n, iterations = 20_000, 20_000
	}
	g := protect(t, "", nil, "u")
	slow, err := password.New(password.SHA512PBKDF2, iterations, []byte("spw"))
	if err != nil {
		t.Fatal(err)
	}
	g.write("passwd", "u:"+hashOf(t, "u")+"\ns:"+slow.String()+"\n")
	g.must(nil)
	pub, sub := g.as("pub", "u", mqtt.V311), g.as("sub", "u", mqtt.V311)
	sub.subscribe(t, "t", mqtt.AtMostOnce)
	rest := stream(t, pub, sub, n)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var logins [8]int
	for i := range logins {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				p, ack := dial(t, g.addr, login(fmt.Sprintf("s%d", i), "s", mqtt.V311))
				if ack.Code != 0 {
					t.Errorf("a login was answered with %d", ack.Code)
				}
				_ = p.Close()
				logins[i]++
			}
		})
	}
	busy := stream(t, pub, sub, n)
	close(stop)
	wg.Wait()
	sum := 0
	for _, k := range logins {
		sum += k
	}
	at := func(d []time.Duration) time.Duration { return d[len(d)*99/100] }
	t.Logf("p99 at rest %v, during %d logins %v", at(rest), sum, at(busy))
	if sum == 0 {
		t.Error("nobody logged in meanwhile")
	}
	// Below a millisecond the clock of the test itself decides.
	if limit := 3 * max(at(rest), time.Millisecond); *storm && at(busy) > limit {
		t.Errorf("p99 is %v during logins, more than %v", at(busy), limit)
	}
}
