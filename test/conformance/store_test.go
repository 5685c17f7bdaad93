package conformance

import (
	"errors"
	"testing"

	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/memstore"
	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// brokenStore answers at once and can be made to refuse.
type brokenStore struct {
	*memstore.Store
	fail bool
}

func (s *brokenStore) Commit(b *store.Batch, l store.Level, done func(error)) {
	if s.fail {
		done(errors.New("disk full"))
		return
	}
	s.Store.Commit(b, l, done)
}

// TestNotAcknowledgedWhenRefusedAtOnce: with an engine that answers inside the
// call, what it refuses is not acknowledged either: neither the publisher's own
// record (QoS 2) nor a recipient's (QoS 1).
// covers: E084 5:4.3.2-4 5:4.3.3-8
func TestNotAcknowledgedWhenRefusedAtOnce(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		st := &brokenStore{Store: memstore.New()}
		r := newRig(t, st, nil)
		s := r.connect(rawmqtt.V5, "s", false)
		s.want(rawmqtt.CONNACK, 0)
		s.subscribe("t", 2)
		s.want(rawmqtt.SUBACK, 65000)
		p := r.connect(rawmqtt.V5, "p", false)
		p.want(rawmqtt.CONNACK, 0)
		st.fail = true
		p.send(p.publish("t", "lost", qos, 7))
		r.e.Settle()
		if m := p.next(); m.Type != rawmqtt.DISCONNECT || m.Reason != 0x83 {
			t.Fatalf("QoS %d: %s 0x%02X came instead of DISCONNECT", qos, rawmqtt.TypeName(m.Type), m.Reason)
		}
		if !p.p.Over() {
			t.Fatalf("QoS %d: the connection is open", qos)
		}
	}
}
