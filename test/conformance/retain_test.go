package conformance

import (
	"testing"
	"time"

	"github.com/midgemq/midge/internal/store/memstore"
	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// TestRetainedExpires shows that an expired retained message leaves the memory although nobody subscribes, and that one
// published in its place stays.
//
// covers: 5:U5-3.3.1-1 E118
func TestRetainedExpires(t *testing.T) {
	r := newRig(t, memstore.New(), nil)
	p := r.open(rawmqtt.V5, "p", true)
	retain := func(topic, payload string, expiry ...uint32) {
		m := p.publish(topic, payload, 0, 0)
		m.Flags |= 1 // RETAIN
		for _, n := range expiry {
			m.Props = append(m.Props, rawmqtt.Prop{ID: 0x02, Num: n})
		}
		p.send(m)
	}
	retain("kept", "x")
	for _, topic := range []string{"a", "b", "c", "replaced"} {
		retain(topic, "x", 2)
	}
	retain("replaced", "y")
	retain("unused", "")
	if n := r.e.Hub.Retained.Len(); n != 5 {
		t.Fatalf("%d retained messages before the expiry, want 5", n)
	}
	r.e.Advance(time.Second)
	if n := r.e.Hub.Retained.Len(); n != 5 {
		t.Fatalf("%d retained messages after half of the time, want 5", n)
	}
	r.e.Advance(2 * time.Second)
	if n := r.e.Hub.Retained.Len(); n != 2 {
		t.Fatalf("%d retained messages after the expiry, want 2", n)
	}
}
