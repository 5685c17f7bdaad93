package session

import (
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/mqtt"
)

func TestPublish(t *testing.T) {
	const refuse = mqtt.NotAuthorized
	tests := []struct {
		name    string
		version mqtt.Version
		expiry  uint32
		q       mqtt.QoS
		code    mqtt.ReasonCode
		verdict Verdict
		want    string // effects of Publish
		then    string // of Published with one match
		nobody  string // of Published with none
		open    int    // QoS 2 exchanges
	}{
		{"QoS 0", mqtt.V5, 9, 0, 0, Route, "", "", "", 0},
		{"QoS 0 refused", mqtt.V5, 9, 0, refuse, Settled, "", "", "", 0},
		{"QoS 1", mqtt.V5, 9, 1, 0, Route, "", "PUBACK 5", "PUBACK 5 10", 0},
		{"QoS 1, MQTT 3", mqtt.V311, 9, 1, 0, Route, "", "PUBACK 5", "PUBACK 5", 0},
		{"QoS 1 refused", mqtt.V5, 9, 1, refuse, Settled, `PUBACK 5 87 "why"`, "", "", 0},
		{"QoS 1 refused, MQTT 3", mqtt.V311, 9, 1, refuse, Settled, "PUBACK 5", "", "", 0},
		{"QoS 2", mqtt.V5, 9, 2, 0, Route, "save in 5", "PUBREC 5", "PUBREC 5", 1},
		{"QoS 2 of a short session", mqtt.V5, 0, 2, 0, Route, "", "PUBREC 5", "PUBREC 5", 1},
		{"QoS 2 refused", mqtt.V5, 9, 2, refuse, Settled, `PUBREC 5 87 "why"`, "", "", 0},
		{"QoS 2 refused, MQTT 3", mqtt.V311, 9, 2, refuse, Settled, "save in 5; PUBREC 5", "", "", 1},
		{"QoS 2, a code that is no error", mqtt.V5, 9, 2, mqtt.NoMatchingSubscribers, Route, "save in 5", "PUBREC 5", "PUBREC 5", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for matched, want := range []string{tt.nobody, tt.then} {
				tr := online(t, Rules{MaxInflight: 2}, Connection{Version: tt.version, Expiry: tt.expiry})
				is(t, "open before", tr.s.QoS2Open(), 0)
				is(t, "in use before", tr.s.InUse(5), false)
				is(t, "verdict", tr.s.Publish(5, tt.q, tt.code, "why", &tr.fx), tt.verdict)
				tr.want(tt.want)
				if tt.verdict == Route {
					tr.s.Published(5, tt.q, matched, &tr.fx)
					tr.want(want)
				}
				is(t, "open", tr.s.QoS2Open(), tt.open)
				is(t, "in use", tr.s.InUse(5), tt.open > 0)
				is(t, "another in use", tr.s.InUse(6), false)
			}
		})
	}
}

// TestPublishTwice: a QoS 2 message is routed once until its PUBREL, even when it may no longer be published and the
// receive maximum is reached.
func TestPublishTwice(t *testing.T) {
	tr := online(t, Rules{MaxInflight: 2}, stored(0))
	tr.s.Publish(5, mqtt.ExactlyOnce, 0, "", &tr.fx)
	tr.s.Publish(6, mqtt.ExactlyOnce, 0, "", &tr.fx)
	tr.want("save in 5; save in 6")
	for _, code := range []mqtt.ReasonCode{mqtt.Success, mqtt.NotAuthorized} {
		is(t, "again", tr.s.Publish(5, mqtt.ExactlyOnce, code, "why", &tr.fx), Settled)
		tr.want("PUBREC 5")
	}
	is(t, "a third", tr.s.Publish(7, mqtt.ExactlyOnce, 0, "", &tr.fx), Exceeded)
	is(t, "a third, refused", tr.s.Publish(7, mqtt.AtLeastOnce, mqtt.NotAuthorized, "", &tr.fx), Exceeded)
	is(t, "QoS 0 has no limit", tr.s.Publish(0, mqtt.AtMostOnce, 0, "", &tr.fx), Route)
	tr.want("")
	tr.s.Pubrel(5, &tr.fx)
	tr.want("delete in 5; PUBCOMP 5")
	is(t, "open", tr.s.QoS2Open(), 1)
	is(t, "after PUBREL", tr.s.Publish(5, mqtt.ExactlyOnce, 0, "", &tr.fx), Route)
	tr.want("save in 5")
	// QoS 1 with the identifier of a QoS 2 exchange is a message of its own.
	tr.s.Pubrel(6, &tr.fx)
	tr.fx.Reset()
	is(t, "QoS 1", tr.s.Publish(5, mqtt.AtLeastOnce, 0, "", &tr.fx), Route)
	tr.want("")
}

// TestPlaceComesBack: a QoS 1 message holds its place until its PUBACK has left, a QoS 2 one until PUBREL.
func TestPlaceComesBack(t *testing.T) {
	tr := online(t, Rules{MaxInflight: 2}, stored(0))
	publish := func(id uint16, q mqtt.QoS) Verdict { return tr.s.Publish(id, q, 0, "", &tr.fx) }
	is(t, "first", publish(1, mqtt.AtLeastOnce), Route)
	is(t, "second", publish(2, mqtt.ExactlyOnce), Route)
	is(t, "third", publish(3, mqtt.AtLeastOnce), Exceeded)
	tr.s.Acked()
	is(t, "after PUBACK", publish(3, mqtt.AtLeastOnce), Route)
	is(t, "and one more", publish(4, mqtt.AtLeastOnce), Exceeded)
	tr.s.Pubrel(2, &tr.fx)
	is(t, "after PUBREL", publish(4, mqtt.AtLeastOnce), Route)
	tr.s.Acked()
	tr.s.Acked()
	tr.s.Acked() // one too many gives nothing
	is(t, "then one", publish(5, mqtt.AtLeastOnce), Route)
	is(t, "and two", publish(6, mqtt.AtLeastOnce), Route)
	is(t, "not three", publish(7, mqtt.AtLeastOnce), Exceeded)
}

// TestPlacesAfterReconnect: what waits for PUBREL from an earlier connection takes a place again when it is sent again.
func TestPlacesAfterReconnect(t *testing.T) {
	tr := online(t, Rules{MaxInflight: 2}, stored(0))
	publish := func(id uint16, q mqtt.QoS) Verdict { return tr.s.Publish(id, q, 0, "", &tr.fx) }
	publish(1, mqtt.ExactlyOnce)
	publish(2, mqtt.ExactlyOnce)
	tr.reconnect(stored(0))
	is(t, "open", tr.s.QoS2Open(), 2)
	is(t, "a new one", publish(3, mqtt.AtLeastOnce), Route)
	is(t, "a repeat", publish(1, mqtt.ExactlyOnce), Settled)
	tr.want("PUBREC 1")
	is(t, "another new one", publish(4, mqtt.AtLeastOnce), Exceeded)
	is(t, "the same repeat", publish(1, mqtt.ExactlyOnce), Settled)
	tr.want("PUBREC 1")
	is(t, "a repeat above the limit", publish(2, mqtt.ExactlyOnce), Exceeded)
	tr.want("")

	// MQTT 3 sets no limit, whatever the connection before it had.
	tr.reconnect(Connection{Version: mqtt.V311, Expiry: NeverExpires})
	for id := uint16(1); id <= 2; id++ {
		is(t, "a repeat in MQTT 3", publish(id, mqtt.ExactlyOnce), Settled)
	}
	for id := uint16(3); id <= 6; id++ {
		is(t, "a new one in MQTT 3", publish(id, mqtt.ExactlyOnce), Route)
	}
}

func TestPubrel(t *testing.T) {
	tests := []struct {
		name    string
		version mqtt.Version
		expiry  uint32
		known   bool
		want    string
	}{
		{"known", mqtt.V5, 9, true, "delete in 5; PUBCOMP 5"},
		{"known, short session", mqtt.V5, 0, true, "PUBCOMP 5"},
		{"unknown", mqtt.V5, 9, false, "PUBCOMP 5 92"},
		{"unknown, MQTT 3", mqtt.V31, 9, false, "PUBCOMP 5"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := online(t, Rules{}, Connection{Version: tt.version, Expiry: tt.expiry})
			if tt.known {
				tr.s.Publish(5, mqtt.ExactlyOnce, 0, "", &tr.fx)
				tr.fx.Reset()
			}
			tr.s.Pubrel(5, &tr.fx)
			tr.want(tt.want)
			is(t, "open", tr.s.QoS2Open(), 0)
		})
	}
}

func TestPingreq(t *testing.T) {
	tr := online(t, Rules{}, stored(0))
	tr.s.Pingreq(&tr.fx)
	tr.want("PINGRESP")
}

func filters(s *Session) string {
	var out []string
	s.Subscriptions(func(p *record.Subscription) bool {
		out = append(out, fmt.Sprintf("%s/%d", p.Filter, p.QoS))
		return true
	})
	sort.Strings(out)
	return strings.Join(out, " ")
}

func TestSubscriptions(t *testing.T) {
	for _, expiry := range []uint32{9, 0} {
		tr := online(t, Rules{MaxSubscriptions: 2}, Connection{Version: mqtt.V5, Expiry: expiry})
		if expiry == 0 { // nothing of it reaches the store
			tr.s.Subscribe(record.Subscription{Filter: "a"}, &tr.fx)
			tr.s.Unsubscribe("a", &tr.fx)
			tr.want("")
		}
		step := func(filter string, q mqtt.QoS, existed, ok bool, want string) {
			t.Helper()
			e, o := tr.s.Subscribe(record.Subscription{Filter: filter, QoS: q}, &tr.fx)
			is(t, filter+" existed", e, existed)
			is(t, filter+" ok", o, ok)
			if expiry == 0 {
				want = ""
			}
			tr.want(want)
		}
		is(t, "unsubscribe from nothing", tr.s.Unsubscribe("a", &tr.fx), false)
		step("a", 0, false, true, "save sub a")
		step("b", 1, false, true, "save sub b")
		step("c", 0, false, false, "")
		step("a", 2, true, true, "save sub a")
		is(t, "subscriptions", filters(&tr.s), "a/2 b/1")
		is(t, "count", tr.s.SubscriptionCount(), 2)
		is(t, "unsubscribe from another", tr.s.Unsubscribe("c", &tr.fx), false)
		tr.want("")
		is(t, "unsubscribe", tr.s.Unsubscribe("a", &tr.fx), true)
		if expiry > 0 {
			tr.want("delete sub a")
		}
		tr.want("")
		is(t, "unsubscribe twice", tr.s.Unsubscribe("a", &tr.fx), false)
		step("c", 0, false, true, "save sub c")
		calls := 0
		tr.s.Subscriptions(func(*record.Subscription) bool { calls++; return false })
		is(t, "calls until false", calls, 1)
	}
}

// TestCodesOfOneStep: the codes of several answers in one step do not share their bytes.
func TestCodesOfOneStep(t *testing.T) {
	tr := online(t, Rules{}, stored(0))
	codes := []byte{0, 1}
	for round := range 2 {
		tr.s.Suback(3, codes, "why", &tr.fx)
		codes[0], codes[1] = 0x80, 0x87
		tr.s.Unsuback(4, codes, "", &tr.fx)
		is(t, "room behind the first", cap(tr.fx.Sends[0].Codes), 2)
		is(t, "bytes in use", len(tr.fx.codes), 4)
		tr.want(`SUBACK 3 [00 01] "why"; UNSUBACK 4 [80 87]`)
		codes[0], codes[1] = 0, 1
		is(t, fmt.Sprint("bytes in use after round ", round), len(tr.fx.codes), 0)
	}
}
