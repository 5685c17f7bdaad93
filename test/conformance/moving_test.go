package conformance

import (
	"fmt"
	"slices"
	"testing"

	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/store/memstore"
	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// TestMovingWaitsForTheFence: a subscriber leaves for another loop while a letter
// for it lies unread on the old one, and one more is sent to the new one. The new
// loop has its turn first: it must keep the letter until the older one has been
// worked on.
func TestMovingWaitsForTheFence(t *testing.T) {
	r := &rig{t: t, e: engine(logging.Discard(), memstore.New(), 3, nil)}
	p, s, q := r.open(rawmqtt.V311, "publisher", true), r.open(rawmqtt.V311, "subscriber", true), r.open(rawmqtt.V311, "other", true)
	s.send(&rawmqtt.Packet{Type: rawmqtt.SUBSCRIBE, ID: 1, Filters: []rawmqtt.Filter{{Filter: "t"}}})
	s.read()
	s.queue = nil
	n := 0
	publish := func(from *peer) {
		n++
		sh := from.p.Env().Shard
		sh.Begin(r.e.Now())
		from.p.Input((&rawmqtt.Packet{Type: rawmqtt.PUBLISH, Topic: "t", Payload: fmt.Append(nil, n)}).Encode(rawmqtt.V311))
		sh.End()
	}
	from, to := s.p.Env().Shard, q.p.Env().Shard
	turn := func() {
		to.Begin(r.e.Now())
		to.Turn()
		to.End()
	}
	publish(p)
	from.Begin(r.e.Now())
	if !from.Depart(s.p.Client(), to, s.p) {
		t.Fatal("the subscriber stays")
	}
	s.p.Halt()
	from.Fence()
	from.End()
	from.Ship()
	publish(p)
	turn()
	publish(q)
	turn()
	r.e.Settle()
	var got []string
	s.read()
	for _, k := range s.queue {
		if k.Type == rawmqtt.PUBLISH {
			got = append(got, string(k.Payload))
		}
	}
	if !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("%q came", got)
	}
	if at := s.p.Env().Shard; at != to || from.Count.Moved != 1 {
		t.Errorf("the subscriber is on loop %d, %d have moved", at.ID, from.Count.Moved)
	}
}
