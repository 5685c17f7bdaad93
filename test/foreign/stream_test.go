//go:build foreign

package foreign

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"testing"
)

const (
	streamLength = 5000
	// The subscriber is cut each time so many messages have arrived, the publisher each time it has sent so many
	// bytes, four times at most; a message takes some 20.
	cutSubscriber, cutPublisher = 700, 20000
)

// TestExactlyOnce publishes a long stream with QoS 2 while both ends lose their connections again and again: every
// message arrives, once, in order.
func TestExactlyOnce(t *testing.T) {
	eachStream(t, func(t *testing.T, lib library, version int) {
		b := startBroker(t, "max_queued_messages 0")
		s := newStream(t, b, lib, version)
		s.start()
		for s.next < streamLength {
			s.receive(s.sub.next("message"))
			if s.next%cutSubscriber == 0 {
				s.subProxy.cut()
			}
		}
		s.end()
		// The cuts were felt.
		s.sub.next("lost")
		if !lib.resendsPublish {
			for range 4 {
				s.pub.next("lost")
			}
		}
	})
}

// TestDropsAreCounted does the same at the default of max_queued_messages with a subscriber that stays away for long:
// what was acknowledged is what was delivered and what is counted as dropped, for that client and with a cause.
func TestDropsAreCounted(t *testing.T) {
	eachStream(t, func(t *testing.T, lib library, version int) {
		b := startBroker(t)
		s := newStream(t, b, lib, version)
		s.gaps = true
		observer, _ := s.d.connect(b, "observer", request{Version: version, Clean: true})
		observer.subscribe("$SYS/broker/publish/messages/dropped", 0, 0)
		s.start()
		for s.received < 500 {
			s.receive(s.sub.next("message"))
		}
		s.subProxy.hold(true)
		s.subProxy.cut()
		s.pub.next("published")
		s.subProxy.hold(false)
		dropped := -1
		s.d.wait("delivered and dropped messages that make up those acknowledged", func() bool {
			for _, e := range s.d.take(s.sub, "message") {
				s.receive(e)
			}
			for _, e := range s.d.take(observer, "message") {
				var err error
				if dropped, err = strconv.Atoi(e.Payload); err != nil {
					t.Errorf("$SYS counts %q", e.Payload)
				}
			}
			return s.received+dropped == streamLength
		})
		if dropped == 0 {
			t.Fatal("nothing was dropped: the limit was not reached")
		}
		s.endMark()
		if isMidge {
			checkDrops(t, b, s.sub.base.ID, dropped)
		}
	})
}

// eachStream runs a test for each library in each version that has a session worth the name.
func eachStream(t *testing.T, run func(t *testing.T, lib library, version int)) {
	for _, lib := range libraries {
		for _, version := range lib.versions {
			if version > 3 {
				t.Run(lib.name+"/"+versionName[version], func(t *testing.T) { run(t, lib, version) })
			}
		}
	}
}

// stream is a publisher and a subscriber, each behind a proxy, with sessions that outlive their connections.
type stream struct {
	t                  *testing.T
	d                  *driver
	subProxy, pubProxy *proxy
	sub, pub           *client
	window             int
	gaps               bool // messages may be missing

	next     int            // the number expected, or the lowest possible one
	received int            // messages, without repetitions by the library
	byID     map[int]string // packet id → payload last seen with it
}

func newStream(t *testing.T, b *broker, lib library, version int) *stream {
	port := b.tcp
	if lib.ws {
		port = b.ws
	}
	s := &stream{
		t: t, d: startDriver(t, lib),
		subProxy: startProxy(t, "the subscriber", port, lib.ws), pubProxy: startProxy(t, "the publisher", port, lib.ws),
		window: lib.window, byID: map[int]string{},
	}
	if isMidge && version == 4 && lib.window > 1 {
		// More than any broker keeps in flight by default: clients of 3.1.1 cannot know a limit.
		s.window = 100
	}
	r := request{Version: version, Reconnect: true, Window: s.window}
	if version == 5 {
		r.Expiry = 3600
	}
	r.ID, r.Port = "stream-sub", s.subProxy.port
	s.sub, _ = s.d.connect(b, "sub", r)
	r.ID, r.Port = "stream-pub", s.pubProxy.port
	s.pub, _ = s.d.connect(b, "pub", r)
	s.sub.subscribe("stream", 2, 0)
	return s
}

func (s *stream) start() {
	if !s.d.lib.resendsPublish {
		s.pubProxy.cutEvery(cutPublisher, 4)
	}
	s.d.send(request{Op: "burst", C: s.pub.name, Topic: "stream", QoS: 2, N: streamLength, Window: s.window})
}

// receive checks one message of the subscriber.
func (s *stream) receive(e event) {
	s.t.Helper()
	if s.repetition(e) {
		return
	}
	i, err := strconv.Atoi(e.Payload)
	if err != nil || i < s.next || !s.gaps && i > s.next || e.QoS != 2 {
		s.t.Fatalf("got message %q with QoS %d (id %d, dup %v), want %d", e.Payload, e.QoS, e.ID, e.Dup, s.next)
	}
	s.next = i + 1
	s.received++
}

// repetition recognises what the library, not the broker, delivers twice.
func (s *stream) repetition(e event) bool {
	if !s.d.lib.redelivers {
		return false
	}
	if e.Dup && s.byID[e.ID] == e.Payload {
		return true
	}
	s.byID[e.ID] = e.Payload
	return false
}

// end waits for the last acknowledgement and makes sure that nothing more arrives.
func (s *stream) end() {
	s.t.Helper()
	s.pub.next("published")
	s.endMark()
}

// endMark publishes one more message, which must be the next to arrive.
func (s *stream) endMark() {
	s.t.Helper()
	s.pub.publish(request{Topic: "stream", Payload: "end", QoS: 2})
	for {
		e := s.sub.next("message")
		if s.repetition(e) {
			continue
		}
		if e.Payload != "end" {
			s.t.Fatalf("got %q behind the last message", e.Payload)
		}
		return
	}
}

// take returns the events of a kind that have arrived. Call it from within wait.
func (d *driver) take(c *client, kind string) []event {
	key := c.name + " " + kind
	q := d.events[key]
	delete(d.events, key)
	return q
}

// checkDrops asks midge how many messages it dropped for a client, and why.
func checkDrops(t *testing.T, b *broker, id string, want int) {
	t.Helper()
	out, err := exec.Command(brokerPath, "clients", "--json", "--socket", b.control, id).Output()
	if err != nil {
		t.Fatalf("midge clients: %v\n%s", err, out)
	}
	var list struct {
		Clients []struct {
			ID    string         `json:"id"`
			Drops map[string]int `json:"drops"`
		} `json:"clients"`
	}
	if err := json.Unmarshal(out, &list); err != nil || len(list.Clients) != 1 || list.Clients[0].ID != id {
		t.Fatalf("midge clients printed %s (%v)", out, err)
	}
	sum := 0
	var causes []string
	for cause, n := range list.Clients[0].Drops {
		sum += n
		causes = append(causes, fmt.Sprintf("%s %d", cause, n))
	}
	slices.Sort(causes)
	t.Logf("dropped: %v", causes)
	if _, nameless := list.Clients[0].Drops[""]; sum != want || nameless {
		t.Fatalf("client %s has drops %v, together %d; $SYS counts %d", id, causes, sum, want)
	}
}
