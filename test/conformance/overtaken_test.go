package conformance

import (
	"fmt"
	"slices"
	"testing"

	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/store/memstore"
	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// TestRetainedOvertakes: a publisher on another loop changes a retained message
// after the subscription is there and before the look-up begins. The newest value
// is the one that is found, the older ones are still on their way: they must not
// come behind it.
//
// covers: E120
func TestRetainedOvertakes(t *testing.T) {
	for _, qos := range []byte{0, 1} {
		t.Run(fmt.Sprintf("qos%d", qos), func(t *testing.T) { testRetainedOvertakes(t, qos) })
	}
}

func testRetainedOvertakes(t *testing.T, qos byte) {
	log, err := logging.New(logging.Options{Types: logging.Subscribe, Dest: logging.ToTopic})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, e: engine(log, memstore.New(), 2, nil)}
	p, s := r.open(rawmqtt.V311, "publisher", true), r.open(rawmqtt.V311, "subscriber", true)
	if p.p.Env() == s.p.Env() {
		t.Fatal("both are on one loop")
	}
	n := 0
	publish := func() {
		n++
		b := (&rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: 1, Topic: "gauge", Payload: fmt.Append(nil, n)}).Encode(rawmqtt.V311)
		p.p.Env().Shard.Begin(r.e.Now())
		p.p.Input(b)
		p.p.Env().Shard.End()
	}
	publish()
	// The line about a subscription is written between the two moments.
	log.PublishTo(func(string, []byte) {
		for range 3 {
			publish()
		}
	})
	s.send(&rawmqtt.Packet{Type: rawmqtt.SUBSCRIBE, ID: 1, Filters: []rawmqtt.Filter{{Filter: "gauge", Options: qos}}})
	log.PublishTo(nil)
	publish()
	r.e.Settle()
	var got []string
	s.read()
	for _, k := range s.queue {
		if k.Type == rawmqtt.PUBLISH {
			got = append(got, string(k.Payload))
		}
	}
	if n != 5 || !slices.IsSorted(got) || len(got) < 2 || got[0] != "4" || got[len(got)-1] != "5" {
		t.Errorf("%d values were published, %q came", n, got)
	}
}
