package crash

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// TestLimits: with the limits that midge has by default, what was accepted is
// what was delivered and what was counted as dropped, also over SIGKILL.
func TestLimits(t *testing.T) {
	for _, policy := range []string{"drop-newest", "drop-oldest"} {
		t.Run(policy, func(t *testing.T) { testLimits(t, policy) })
	}
}

func testLimits(t *testing.T, policy string) {
	w := newWorld(t, "queue_policy "+policy+"\n")
	w.launch()
	var subs []*subscriber
	for i, id := range []string{"one", "two", "three"} {
		s := newSubscriber(w, id, rawmqtt.V5, byte(1+i%2))
		s.limited = true
		s.run()
		<-s.suback
		s.stop(true)
		subs = append(subs, s)
	}
	w.kill() // so that the sessions are spread over the loops
	w.launch()
	accepted := 0
	p := w.mustDial("publisher", rawmqtt.V311)
	q := w.mustDial("other", rawmqtt.V311)
	for n := 1; n <= 700; n++ {
		for i, l := range []*link{p, q} {
			k := &rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: 2, ID: 1, Topic: "p/" + string(rune('a'+i)), Payload: []byte(strconv.Itoa(n) + padding(n))}
			must(t, l.send(k))
			w.next(l, rawmqtt.PUBACK)
			accepted++
		}
	}
	dropped := map[string]int{}
	for _, s := range subs {
		dropped[s.id] = w.dropped(s.id)
	}
	w.kill()
	w.launch()
	for _, s := range subs {
		want := accepted - dropped[s.id]
		if dropped[s.id] == 0 || want != 1000 {
			t.Errorf("%s: %d of %d dropped", s.id, dropped[s.id], accepted)
		}
		s.run()
		sum := func() (n int) {
			s.m.Lock()
			defer s.m.Unlock()
			for _, c := range s.count {
				n += c
			}
			return n
		}
		w.wait(s.id+" to get what was kept", func() bool { return sum() >= want })
		s.stop(true)
		if got := sum(); got != want {
			t.Errorf("%s: %d accepted, %d delivered, %d dropped", s.id, accepted, got, dropped[s.id])
		}
		if policy == "drop-oldest" && (s.behind("p/a", 700) != 0 || s.behind("p/b", 700) != 0) {
			t.Errorf("%s: the newest messages are missing", s.id)
		}
	}
	w.terminate()
	w.check()
}

// dropped asks the broker how many messages a session has lost to limits.
func (w *world) dropped(id string) int {
	w.t.Helper()
	out, err := exec.Command(program, "sessions", "--json", "--limit", "0", "--socket", filepath.Join(w.dir, "c.sock")).Output()
	if err != nil {
		w.t.Fatalf("midge sessions: %v", err)
	}
	var list struct {
		Sessions []struct {
			ID      string `json:"id"`
			Dropped int    `json:"dropped"`
		} `json:"sessions"`
	}
	must(w.t, json.Unmarshal(out, &list))
	for _, s := range list.Sessions {
		if s.ID == id {
			return s.Dropped
		}
	}
	w.t.Fatalf("there is no session %s", id)
	return 0
}
