package session

import (
	"testing"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/mqtt"
)

func will(topic string, delay uint32) *record.Will {
	return &record.Will{Msg: message(topic), Delay: delay}
}

func TestAttach(t *testing.T) {
	tests := []struct {
		name  string
		rules Rules
		first *Connection // an earlier connection that was lost
		c     Connection
		want  string
	}{
		{"ends with its connection", Rules{}, nil, Connection{Version: mqtt.V5}, ""},
		{"its will is not stored", Rules{}, nil, Connection{Version: mqtt.V5, Will: will("w", 0)}, ""},
		{"stored", Rules{}, nil, Connection{Version: mqtt.V5, Expiry: 1, UserName: "u"}, `save v5 c "u" expiry=1`},
		{
			"stored with its will",
			Rules{},
			nil,
			Connection{Version: mqtt.V311, Expiry: NeverExpires, Will: will("w", 0)},
			`save v4 c "" expiry=4294967295; save will w`,
		},
		{"at the longest interval", Rules{MaxExpiry: 50}, nil, Connection{Version: mqtt.V5, Expiry: 50}, `save v5 c "" expiry=50`},
		{"above it", Rules{MaxExpiry: 50}, nil, Connection{Version: mqtt.V5, Expiry: 51}, `save v5 c "" expiry=51`},
		{"back", Rules{}, &Connection{Version: mqtt.V311, Expiry: NeverExpires, UserName: "u"}, stored(0), `save v5 c "" expiry=100`},
		{
			"back, the old will gone",
			Rules{},
			&Connection{Version: mqtt.V5, Expiry: 9, Will: will("w", 5)}, stored(0),
			`save v5 c "" expiry=100; delete will`,
		},
		{
			"back with another will",
			Rules{},
			&Connection{Version: mqtt.V5, Expiry: 9, Will: will("w", 5)},
			Connection{Version: mqtt.V5, Expiry: 8, Will: will("x", 0)},
			`save v5 c "" expiry=8; save will x`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := fresh(t, tt.rules)
			if tt.first != nil {
				tr.s.Attach(tt.first, &tr.fx)
				tr.s.Detach(Ending{}, tr.now, &tr.fx)
				tr.fx.Reset()
			}
			is(t, "online before", tr.s.Online(), false)
			tr.s.Attach(&tt.c, &tr.fx)
			tr.want(tt.want)
			is(t, "online", tr.s.Online(), true)
			is(t, "persistent", tr.s.Persistent(), tt.c.Expiry > 0)
			is(t, "version", tr.s.Version(), tt.c.Version)
			is(t, "user name", tr.s.UserName(), tt.c.UserName)
			is(t, "will", tr.s.Will(), tt.c.Will)
			is(t, "due", tr.s.Due(), 0)
		})
	}
}

// TestStoredSessionTurnsShort: a session that the store keeps comes back with an interval of 0. What happens to it still
// reaches the store, above all its end.
func TestStoredSessionTurnsShort(t *testing.T) {
	tr := online(t, Rules{MaxInflight: 10}, stored(0))
	tr.fill(mqtt.AtLeastOnce, 1)
	tr.s.Detach(Ending{}, tr.now, &tr.fx)
	tr.fx.Reset()
	tr.s.Attach(&Connection{Version: mqtt.V5}, &tr.fx)
	tr.want(`save v5 c "" expiry=0`)
	tr.s.Resume(tr.now, &tr.fx)
	tr.want("PUBLISH 1 m1 q1 dup")
	tr.puback(1)
	tr.want("dequeue 1")
	is(t, "ended", tr.s.Detach(Ending{}, tr.now, &tr.fx), true)
	tr.s.End(&tr.fx)
	tr.want("forget")
}

func TestIdentity(t *testing.T) {
	tr := fresh(t, Rules{})
	is(t, "client id", tr.s.ClientID(), "c")
	is(t, "key", tr.s.Key(), testKey)
	tr.s.Attach(&Connection{Version: mqtt.V5, Expiry: 7, MaximumPacketSize: 99}, &tr.fx)
	is(t, "expiry", tr.s.Expiry(), 7)
	is(t, "maximum packet size", tr.s.MaxPacket(), 99)
	r := tr.s.Record()
	tr.s.Detach(Ending{}, tr.now, &tr.fx)
	is(t, "disconnected in an earlier copy", r.Disconnected, 0)
	is(t, "disconnected", tr.s.Record().Disconnected, tr.now)
	tr.s.Attach(&Connection{Version: mqtt.V5, Expiry: 7}, &tr.fx)
	is(t, "disconnected while online", tr.s.Record().Disconnected, 0)
	is(t, "maximum packet size of the next connection", tr.s.MaxPacket(), 0)
}

// TestWindow: how many QoS 1 messages are sent without an acknowledgement.
func TestWindow(t *testing.T) {
	tests := []struct {
		name    string
		most    int
		version mqtt.Version
		recvMax uint16
		want    int
	}{
		{"configured", 3, mqtt.V311, 0, 3},
		{"a receive maximum means nothing to MQTT 3", 3, mqtt.V311, 2, 3},
		{"not given", 3, mqtt.V5, 0, 3},
		{"given", 3, mqtt.V5, 2, 2},
		{"given and higher", 3, mqtt.V5, 7, 7},
		{"no limit", 0, mqtt.V311, 0, 65535},
		{"far above", 70000, mqtt.V311, 0, 65535},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Connection{Version: tt.version, ReceiveMaximum: tt.recvMax}
			tr := online(t, Rules{MaxInflight: tt.most}, c)
			check := func(when string) {
				t.Helper()
				is(t, "room "+when, tr.s.outbound().snd.Free(), tt.want)
				n := 0
				for ; n < 10 && tr.s.CanStart(); n++ {
					is(t, "taken", tr.deliver("m", mqtt.AtLeastOnce), true)
				}
				is(t, "sent at once "+when, n, min(tt.want, 10))
				is(t, "sent "+when, len(tr.fx.Sends), n)
				is(t, "taken above it", tr.deliver("m", mqtt.AtLeastOnce), true)
				is(t, "sent above it "+when, len(tr.fx.Sends), min(tt.want, 11))
			}
			check("at first")
			// The next connection has its window whole, and its own.
			tr = online(t, Rules{MaxInflight: tt.most}, stored(1))
			tr.fill(mqtt.AtLeastOnce, 1)
			tr.puback(1)
			c.Expiry = 1
			tr.reconnect(c)
			check("on the second connection")
		})
	}
}

// TestReceiveMaximumInbound: how many QoS 1 and 2 messages the client may have open.
func TestReceiveMaximumInbound(t *testing.T) {
	tests := []struct {
		name    string
		most    int
		version mqtt.Version
		want    int // 0: no limit
	}{
		{"MQTT 5", 2, mqtt.V5, 2},
		{"MQTT 3 knows none", 2, mqtt.V311, 0},
		{"no limit", 0, mqtt.V5, 0},
		{"far above", 70000, mqtt.V5, 65535},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := online(t, Rules{MaxInflight: tt.most}, Connection{Version: tt.version, Expiry: 100})
			n := 0
			for ; n < 65540; n++ {
				if tr.s.Publish(uint16(n+1), mqtt.AtLeastOnce, 0, "", &tr.fx) == Exceeded {
					break
				}
			}
			if tt.want == 0 {
				tt.want = 65540
			}
			is(t, "taken", n, tt.want)
			tr.reconnect(Connection{Version: tt.version, Expiry: 100})
			is(t, "on the next connection", tr.s.Publish(1, mqtt.AtLeastOnce, 0, "", &tr.fx), Route)
		})
	}
}

func TestMayChangeExpiry(t *testing.T) {
	for _, tt := range []struct {
		asked, to uint32
		want      bool
	}{{0, 0, true}, {0, 1, false}, {1, 0, true}, {1, 5, true}} {
		tr := online(t, Rules{}, Connection{Version: mqtt.V5, Expiry: tt.asked, Asked: tt.asked})
		is(t, "may change", tr.s.MayChangeExpiry(tt.to), tt.want)
	}
}
