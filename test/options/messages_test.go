package options

import (
	"strings"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

func TestAllowDuplicateMessages(t *testing.T) {
	r := start(t, head+"allow_duplicate_messages false\n")
	s := r.open(4, "s")
	s.subscribe("a/#", 1)
	s.subscribe("a/b", 1)
	p := r.open(4, "p")
	p.publish("a/b", "x", 1)
	s.message("a/b", "x", 1)
	s.nothing()
	r.reload(head)
	p.publish("a/b", "y", 1)
	s.message("a/b", "y", 1)
	s.message("a/b", "y", 1)
	s.nothing()
}

func TestQueueQoS0Messages(t *testing.T) {
	both(t, func(t *testing.T, v byte) {
		r := start(t, head+"queue_qos0_messages true\nmax_inflight_messages 1\n")
		s := r.open(v, "s", keep(v))
		s.subscribe("#", 1)
		s.leave()
		p := r.open(4, "p")
		p.publish("t", "1", 1)
		p.publish("t", "2", 1)
		p.publish("t", "zero", 0)
		p.publish("sync", "x", 1)
		s = r.open(v, "s", keep(v))
		one := s.expect(rawmqtt.PUBLISH)
		p.publish("t", "live", 0) // must not overtake what waits
		p.publish("sync", "y", 1)
		s.send(&rawmqtt.Packet{Type: rawmqtt.PUBACK, ID: one.ID})
		s.message("t", "2", 1)
		s.message("t", "zero", 0)
		s.message("sync", "x", 1)
		s.message("t", "live", 0)
		s.message("sync", "y", 1)
		s.nothing()
		r.reload(head)
		s.leave()
		p.publish("t", "gone", 0)
		p.publish("t", "kept", 1)
		s = r.open(v, "s", keep(v))
		s.message("t", "kept", 1)
		s.nothing()
	})
}

// keep asks for a session that outlives the connection.
func keep(v byte) func(p *rawmqtt.Packet) {
	if v == rawmqtt.V5 {
		return keepSession
	}
	return session
}

func TestUpgradeOutgoingQoS(t *testing.T) {
	r := start(t, head+"upgrade_outgoing_qos true\n")
	s, p := r.open(4, "s"), r.open(4, "p")
	p.publish("kept", "x", 0, true)
	s.subscribe("kept", 1)
	s.message("kept", "x", 1)
	s.subscribe("t", 1)
	s.subscribe("zero", 0)
	p.publish("t", "x", 0)
	s.message("t", "x", 1)
	p.publish("zero", "x", 1)
	s.message("zero", "x", 0)
	r.reload(head)
	p.publish("t", "y", 0)
	s.message("t", "y", 0)
}

func TestCheckRetainSource(t *testing.T) {
	const conf = "listener PORT 127.0.0.1\nallow_anonymous false\npassword_file DIR/p\nacl_file DIR/a\n"
	r := prepare(t)
	r.file("p", userLines("writer", "reader"))
	r.file("a", "user writer\ntopic readwrite #\nuser reader\ntopic read #\n")
	r.run(conf)
	w := r.open(4, "w", login("writer", "secret"))
	w.publish("t", "x", 1, true)
	read := func(want bool) {
		t.Helper()
		s := r.open(4, "s", login("reader", "secret"))
		s.subscribe("t", 0)
		if want {
			s.message("t", "x", 0)
		}
		s.nothing()
		s.leave()
	}
	read(true)
	r.file("a", "user writer\ntopic write other\nuser reader\ntopic read #\n")
	r.reload(conf)
	read(false)
	r.reload(conf + "check_retain_source false\n")
	read(true)
}

func TestRetainExpiryInterval(t *testing.T) {
	r := start(t, head+"retain_expiry_interval 1\n")
	p := r.open(5, "p")
	p.send(&rawmqtt.Packet{
		Type: rawmqtt.PUBLISH, Flags: 2 | 1, ID: 1, Topic: "t", Payload: []byte("x"),
		Props: rawmqtt.Props{{ID: 0x02, Num: 30}},
	})
	p.expect(rawmqtt.PUBACK)
	if n := r.metric("retained_messages"); n < 1 {
		t.Errorf("%d retained messages", n)
	}
	before := r.metric("retained_messages")
	r.b.AdvanceForTest(time.Minute)
	if n := r.metric("retained_messages"); n != before-1 {
		t.Errorf("%d retained messages after a minute, %d before", n, before)
	}
	r.reload(head + "retain_expiry_interval 2\n")
}

func TestPersistentClientExpiration(t *testing.T) {
	r := start(t, head+"persistent_client_expiration 1h\n")
	leave := func(id string) {
		t.Helper()
		c := r.open(4, id, session)
		c.subscribe("t", 1)
		c.leave()
	}
	present := func(id string) bool {
		t.Helper()
		c, ack := r.ask(4, id, session)
		c.leave()
		return ack.SessionPresent
	}
	leave("a")
	r.b.AdvanceForTest(59 * time.Minute)
	if !present("a") {
		t.Error("gone before the hour")
	}
	r.b.AdvanceForTest(61 * time.Minute)
	if present("a") {
		t.Error("there after the hour")
	}
	// A reload concerns those that are away already.
	leave("b")
	r.reload(head + "persistent_client_expiration 1d\n")
	r.b.AdvanceForTest(2 * time.Hour)
	if !present("b") {
		t.Error("gone before the day")
	}
	r.reload(head + "persistent_client_expiration 1h\n")
	r.b.AdvanceForTest(61 * time.Minute)
	if present("b") {
		t.Error("there after the hour of the reload")
	}
}

func TestSysInterval(t *testing.T) {
	r := start(t, head+"sys_interval 0\n")
	s := r.open(4, "s")
	s.subscribe("$SYS/broker/uptime", 0)
	s.nothing()
	r.reload(head + "sys_interval 1\n")
	if p := s.expect(rawmqtt.PUBLISH); !strings.HasSuffix(string(p.Payload), " seconds") {
		t.Errorf("%v", p)
	}
	s.expect(rawmqtt.PUBLISH)
}

func TestEnableControlAPI(t *testing.T) {
	const request, answer = "$CONTROL/broker/v1", "$CONTROL/broker/v1/response"
	r := start(t, head)
	c := r.open(4, "c")
	c.subscribe(answer, 0)
	ask := func() { c.publish(request, `{"commands":[{"command":"listListeners"}]}`, 0) }
	ask()
	c.nothing()
	r.reload(head + "enable_control_api true\n")
	ask()
	if p := c.expect(rawmqtt.PUBLISH); p.Topic != answer || !strings.Contains(string(p.Payload), "listeners") {
		t.Errorf("%v", p)
	}
	r.reload(head)
	ask()
	c.nothing()
}

func TestMountPoint(t *testing.T) {
	both(t, func(t *testing.T, v byte) {
		other := freePort(t)
		conf := func(point string) string {
			return head + "listener " + port(other) + " 127.0.0.1\nmount_point " + point + "\n"
		}
		r := start(t, conf("in/"))
		out := r.open(v, "out")
		out.subscribe("#", 1)
		in := r.dialPort(v, other)
		in.connect("in", func(p *rawmqtt.Packet) {
			p.Connect.Will = &rawmqtt.Will{Topic: "will", Payload: "w"}
		})
		in.subscribe("#", 1)
		in.subscribe("$share/g/s", 1)

		in.publish("t", "from inside", 1)
		out.message("in/t", "from inside", 1)
		in.message("t", "from inside", 1)
		out.publish("in/t", "from outside", 1)
		in.message("t", "from outside", 1)
		out.message("in/t", "from outside", 1)
		out.publish("t", "not for inside", 1)
		out.message("t", "not for inside", 1)
		out.publish("in", "the level above", 1) // which in/# matches
		out.message("in", "the level above", 1)
		in.nothing()
		out.publish("in/s", "shared", 1)
		out.message("in/s", "shared", 1)
		in.message("s", "shared", 1)
		in.message("s", "shared", 1)

		in.publish("kept", "k", 1, true)
		in.message("kept", "k", 1)
		out.message("in/kept", "k", 1)
		in.subscribe("kept", 0)
		in.message("kept", "k", 0)

		in.send(&rawmqtt.Packet{Type: rawmqtt.UNSUBSCRIBE, Flags: 2, ID: 99, Filters: []rawmqtt.Filter{{Filter: "#"}}})
		in.expect(rawmqtt.UNSUBACK)
		out.publish("in/t", "unsubscribed", 1)
		in.nothing()
		out.message("in/t", "unsubscribed", 1)

		r.reload(conf("other/"))
		in.publish("t", "as before", 1) // this connection keeps its mount point
		out.message("in/t", "as before", 1)
		now := r.dialPort(v, other)
		now.connect("now")
		now.publish("t", "x", 1)
		out.message("other/t", "x", 1)
		in.c.Close()
		out.message("in/will", "w", 0)
	})
}

func TestMountPointIsNotLeft(t *testing.T) {
	r := start(t, head+"mount_point in/\nsys_interval 1\n")
	c := r.open(5, "c")
	if code := c.subscribe("$SYS/#", 0); code != 0 {
		t.Errorf("code 0x%02X", code)
	}
	c.publish("$SYS/broker/uptime", "x", 1) // an ordinary topic below the mount point
	c.message("$SYS/broker/uptime", "x", 0)
	long := strings.Repeat("t", 65535)
	if code := c.subscribe(long, 0); code != 0x8F {
		t.Errorf("a filter that is too long: code 0x%02X", code)
	}
	c.publish(long, "x", 0)
	c.closed(0x90)
}
