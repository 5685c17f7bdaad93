//go:build foreign

package foreign

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"testing"
)

// versionName is how people write a protocol level.
var versionName = map[int]string{3: "3.1", 4: "3.1.1", 5: "5.0"}

// scenario is one thing that a real client must find working; version is the protocol level it uses.
type scenario struct {
	name string
	run  func(t *testing.T, b *broker, d *driver, version int)
	v5   bool // only MQTT 5 has it
}

var scenarios = []scenario{
	{name: "each QoS", run: eachQoS},
	{name: "retained", run: retained},
	{name: "will of a killed client", run: willOfKilledClient},
	{name: "takeover", run: takeover},
	{name: "persistent session", run: persistentSession},
	{name: "shared subscription", run: sharedSubscription},
	{name: "properties", run: propertiesRoundTrip, v5: true},
	{name: "10 MiB", run: largePayload},
}

func TestLibraries(t *testing.T) {
	for _, lib := range libraries {
		t.Run(lib.name, func(t *testing.T) {
			b := startBroker(t)
			for _, version := range lib.versions {
				t.Run(versionName[version], func(t *testing.T) {
					d := startDriver(t, lib)
					for _, s := range scenarios {
						if s.v5 && version != 5 {
							continue
						}
						t.Run(s.name, func(t *testing.T) { s.run(t, b, d.use(t), version) })
					}
				})
			}
		})
	}
}

// unique makes client ids and topics that no other scenario on this broker uses.
func unique(version int, what string) string { return fmt.Sprintf("%s-v%d", what, version) }

func eachQoS(t *testing.T, b *broker, d *driver, version int) {
	topic := unique(version, "qos")
	sub, _ := d.connect(b, unique(version, "qos-sub"), request{Version: version, Clean: true})
	pub, _ := d.connect(b, unique(version, "qos-pub"), request{Version: version, Clean: true})
	sub.subscribe(topic+"/+", 2, 0)
	for qos := range 3 {
		pub.publish(request{Topic: fmt.Sprintf("%s/%d", topic, qos), Payload: fmt.Sprintf("at %d, äöü", qos), QoS: qos})
		if e := sub.message(fmt.Sprintf("%s/%d", topic, qos), fmt.Sprintf("at %d, äöü", qos), qos); e.Retain {
			t.Fatal("a live message has its retain flag set")
		}
	}
	sub.disconnect()
	pub.disconnect()
}

func retained(t *testing.T, b *broker, d *driver, version int) {
	topic := unique(version, "retained")
	pub, _ := d.connect(b, unique(version, "ret-pub"), request{Version: version, Clean: true})
	pub.publish(request{Topic: topic, Payload: "old", QoS: 1, Retain: true})
	pub.publish(request{Topic: topic, Payload: "last", QoS: 1, Retain: true})
	first, _ := d.connect(b, unique(version, "ret-1"), request{Version: version, Clean: true})
	first.subscribe(topic, 1, 0)
	if e := first.message(topic, "last", 1); !e.Retain {
		t.Fatal("a retained message has no retain flag")
	}
	pub.publish(request{Topic: topic, QoS: 1, Retain: true})
	if e := first.message(topic, "", 1); e.Retain {
		t.Fatal("the message that clears the topic was sent as a retained one")
	}
	second, _ := d.connect(b, unique(version, "ret-2"), request{Version: version, Clean: true})
	second.subscribe(topic, 1, 0)
	pub.publish(request{Topic: topic, Payload: "live", QoS: 1})
	second.message(topic, "live", 1)
}

func willOfKilledClient(t *testing.T, b *broker, d *driver, version int) {
	topic := unique(version, "will")
	watcher, _ := d.connect(b, unique(version, "will-watch"), request{Version: version, Clean: true})
	watcher.subscribe(topic, 1, 0)
	// A client that says goodbye leaves no will.
	polite := startDriver(t, d.lib)
	p, _ := polite.connect(b, unique(version, "will-polite"), request{
		Version: version, Clean: true, Will: &will{Topic: topic, Payload: "never", QoS: 1},
	})
	p.disconnect()
	victim := startDriver(t, d.lib)
	victim.connect(b, unique(version, "will-victim"), request{
		Version: version, Clean: true, Will: &will{Topic: topic, Payload: "killed", QoS: 1, Retain: true},
	})
	victim.kill()
	if e := watcher.message(topic, "killed", 1); e.Retain {
		t.Fatal("a live will has its retain flag set")
	}
	late, _ := d.connect(b, unique(version, "will-late"), request{Version: version, Clean: true})
	late.subscribe(topic, 1, 0)
	if e := late.message(topic, "killed", 1); !e.Retain {
		t.Fatal("the retained will has no retain flag")
	}
}

func takeover(t *testing.T, b *broker, d *driver, version int) {
	id, topic := unique(version, "taken"), unique(version, "takeover")
	old, _ := d.connect(b, unique(version, "old"), request{ID: id, Version: version, Clean: true})
	old.subscribe(topic, 1, 0)
	young, e := d.connect(b, unique(version, "young"), request{ID: id, Version: version, Clean: true})
	if e.SP {
		t.Fatal("Session Present with a clean start")
	}
	lost := old.next("lost")
	// Mosquitto 2.0 closes without a word.
	if version == 5 && isMidge && !d.lib.hidesReason && lost.Code != 0x8E {
		t.Fatalf("the old connection ended with reason %#x, want 0x8e", lost.Code)
	}
	young.subscribe(topic, 1, 0)
	young.publish(request{Topic: topic, Payload: "mine", QoS: 1})
	young.message(topic, "mine", 1)
}

func persistentSession(t *testing.T, b *broker, d *driver, version int) {
	topic := unique(version, "persistent")
	pub, _ := d.connect(b, unique(version, "pers-pub"), request{Version: version, Clean: true})
	r := request{ID: unique(version, "pers-sub"), Version: version}
	if version == 5 {
		r.Expiry = 3600
	}
	away, e := d.connect(b, unique(version, "away"), r)
	if e.SP {
		t.Fatal("Session Present for a new session")
	}
	away.subscribe(topic+"/#", 2, 0)
	away.disconnect()
	for i := range 30 {
		pub.publish(request{Topic: topic + "/" + strconv.Itoa(i%3), Payload: strconv.Itoa(i), QoS: 1 + i%2})
	}
	back, e := d.connect(b, unique(version, "back"), r)
	// MQTT 3.1 has no Session Present.
	if version > 3 && !e.SP {
		t.Fatal("no Session Present for a kept session")
	}
	// Order is promised for each QoS: some libraries deliver QoS 2 on the PUBREL, behind later messages with QoS 1.
	next := map[int]int{1: 0, 2: 1}
	for range 30 {
		e := back.next("message")
		i := next[e.QoS]
		if e.Payload != strconv.Itoa(i) || e.Topic != topic+"/"+strconv.Itoa(i%3) {
			t.Fatalf("got %q on %q with QoS %d, want %d", e.Payload, e.Topic, e.QoS, i)
		}
		next[e.QoS] = i + 2
	}
	back.disconnect()
	r.Clean = true
	r.Expiry = 0
	fresh, e := d.connect(b, unique(version, "fresh"), r)
	if e.SP {
		t.Fatal("Session Present after a clean start")
	}
	pub.publish(request{Topic: topic + "/x", Payload: "nobody", QoS: 1})
	fresh.subscribe(topic+"/y", 1, 0)
	pub.publish(request{Topic: topic + "/y", Payload: "somebody", QoS: 1})
	fresh.message(topic+"/y", "somebody", 1)
}

func sharedSubscription(t *testing.T, b *broker, d *driver, version int) {
	topic := unique(version, "shared")
	var members []*client
	for i := range 2 {
		m, _ := d.connect(b, unique(version, fmt.Sprintf("member%d", i)), request{Version: version, Clean: true})
		m.subscribe("$share/group/"+topic+"/#", 1, 0)
		members = append(members, m)
	}
	pub, _ := d.connect(b, unique(version, "shared-pub"), request{Version: version, Clean: true})
	const n = 20
	for i := range n {
		pub.publish(request{Topic: topic + "/x", Payload: strconv.Itoa(i), QoS: 1})
	}
	// Each member gets its half, in order; a message for both would come as one too many before the end marks.
	seen := map[string]bool{}
	for _, m := range members {
		last := -1
		for range n / 2 {
			e := m.next("message")
			i, err := strconv.Atoi(e.Payload)
			if err != nil || i <= last || seen[e.Payload] {
				t.Fatalf("message %q after %d", e.Payload, last)
			}
			last, seen[e.Payload] = i, true
		}
	}
	for range members {
		pub.publish(request{Topic: topic + "/end", Payload: "end", QoS: 1})
	}
	for _, m := range members {
		m.message(topic+"/end", "end", 1)
	}
}

func propertiesRoundTrip(t *testing.T, b *broker, d *driver, version int) {
	sub, _ := d.connect(b, "prop-sub", request{Version: version, Clean: true})
	pub, _ := d.connect(b, "prop-pub", request{Version: version, Clean: true})
	sub.subscribe("prop/#", 2, 77)
	sent := properties{
		ContentType: "text/plain; charset=utf-8", ResponseTopic: "prop/reply/ü", Correlation: "00ff10",
		User: [][2]string{{"a", "1"}, {"a", "2"}, {"b", ""}, {"ключ", "значение"}}, Format: 1, Expiry: 300,
	}
	pub.publish(request{Topic: "prop/x", Payload: "hello", QoS: 2, Props: &sent})
	got := sub.message("prop/x", "hello", 2).Props
	if got == nil {
		t.Fatal("no properties arrived")
	}
	want := sent
	want.SubIDs = []int{77}
	if got.Expiry < 1 || got.Expiry > 300 {
		t.Errorf("message expiry interval %d, want at most 300", got.Expiry)
	}
	want.Expiry = got.Expiry
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("properties\n got %+v\nwant %+v", *got, want)
	}
}

// pattern is the payload that drivers generate for a size.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

func largePayload(t *testing.T, b *broker, d *driver, version int) {
	size := 10 << 20
	if d.lib.ws && !isMidge {
		// libwebsockets in Debian's Mosquitto 2.0 never gets a large message out.
		size = 32 << 10
	}
	topic := unique(version, "large")
	sub, _ := d.connect(b, unique(version, "large-sub"), request{Version: version, Clean: true})
	pub, _ := d.connect(b, unique(version, "large-pub"), request{Version: version, Clean: true})
	sub.subscribe(topic, 2, 0)
	pub.publish(request{Topic: topic, Size: size, QoS: 1})
	e := sub.next("message")
	sum := sha256.Sum256(pattern(size))
	if e.Size != size || e.SHA256 != hex.EncodeToString(sum[:]) || e.QoS != 1 {
		t.Fatalf("got %d bytes with QoS %d and hash %s", e.Size, e.QoS, e.SHA256)
	}
}
