package options

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// again ends the broker and starts another one on the same directory.
func (r *rig) again(conf string) *rig {
	r.t.Helper()
	r.stop()
	n := &rig{t: r.t, port: freePort(r.t), dir: r.dir}
	n.run(conf)
	return n
}

func TestPersistence(t *testing.T) {
	for name, conf := range map[string]string{
		"persistence":            head + "persistence true\npersistence_location DIR\n",
		"retained_persistence":   head + "retained_persistence true\npersistence_location DIR\n",
		"persistence_sync":       head + "persistence true\npersistence_location DIR\npersistence_sync interval 1\n",
		"persistence_sync_topic": head + "persistence true\npersistence_location DIR\npersistence_sync write\npersistence_sync_topic t flush\nlistener_persistence_sync flush\n",
		"persist-sqlite":         head + "persistence_location DIR\nplugin mosquitto_persist_sqlite.so\nplugin_opt_sync full\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, conf)
			s := r.open(5, "s", keepSession)
			s.subscribe("t", 1)
			s.leave()
			p := r.open(4, "p")
			p.publish("t", "queued", 1)
			p.publish("kept", "k", 1, true)
			r = r.again(conf)
			s = r.open(5, "s", keepSession)
			s.message("t", "queued", 1)
			s.subscribe("kept", 0)
			s.message("kept", "k", 0)
		})
	}
	t.Run("off", func(t *testing.T) {
		r := start(t, head)
		r.open(4, "p").publish("kept", "k", 1, true)
		r = r.again(head)
		s := r.open(4, "s")
		s.subscribe("kept", 0)
		s.nothing()
	})
}

func TestPersistenceLocationOfTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("MOSQUITTO_PERSISTENCE_LOCATION", dir)
	r := start(t, head+"persistence true\npersistence_location DIR/no/such/place\n")
	r.open(4, "p").publish("kept", "k", 1, true)
	if list, err := os.ReadDir(dir); err != nil || len(list) == 0 {
		t.Errorf("nothing in the directory of the environment: %v, %v", list, err)
	}
}

// exported reports the size of Mosquitto's file.
func (r *rig) exported(name string) int64 {
	info, err := os.Stat(filepath.Join(r.dir, name))
	if err != nil {
		return -1
	}
	return info.Size()
}

func TestAutosave(t *testing.T) {
	const conf = head + "persistence true\npersistence_location DIR\npersistence_file own.db\n"
	r := start(t, conf+"autosave_on_changes true\nautosave_interval 1\n")
	p := r.open(4, "p")
	p.publish("kept", "k", 1, true)
	r.await("an export after a change", func() bool { return r.exported("own.db") > 0 })
	r.reload(conf + "autosave_on_changes false\nautosave_interval 1\n")
	before := r.exported("own.db")
	p.publish("more", "k", 1, true)
	r.await("an export after a second", func() bool { return r.exported("own.db") > before })
}

func TestPersistenceFile(t *testing.T) {
	r := start(t, head+"persistence true\npersistence_location DIR\npersistence_file own.db\nautosave_interval 0\n")
	r.open(4, "p").publish("kept", "k", 1, true)
	if r.exported("own.db") >= 0 {
		t.Error("exported before the end")
	}
	r.stop()
	if r.exported("own.db") <= 0 {
		t.Error("not exported at the end")
	}
}

func TestQueuePolicy(t *testing.T) {
	const conf = head + "max_queued_messages 2\n"
	r := start(t, conf)
	s := r.open(4, "s", session)
	s.subscribe("t", 1)
	s.leave()
	p := r.open(5, "p")
	fill := func(texts ...string) (codes []byte) {
		t.Helper()
		for _, text := range texts {
			codes = append(codes, p.publish("t", text, 1))
		}
		return codes
	}
	fill("1", "2", "3")
	s = r.open(4, "s", session)
	s.message("t", "1", 1)
	s.message("t", "2", 1)
	s.nothing()
	s.leave()
	r.reload(conf + "queue_policy drop-oldest\n")
	fill("4", "5", "6")
	s = r.open(4, "s", session)
	s.message("t", "5", 1)
	s.message("t", "6", 1)
	s.nothing()
	s.leave()
	r.reload(conf + "queue_policy refuse\n")
	if codes := fill("7", "8", "9"); codes[2] != 0x97 {
		t.Errorf("codes % X", codes)
	}
}

func TestMaxQueuedAge(t *testing.T) {
	r := start(t, head+"max_queued_age 10s\n")
	wait := func(d time.Duration, there bool) {
		t.Helper()
		s := r.open(4, "s", session)
		s.subscribe("t", 1)
		s.leave()
		r.open(4, "p").publish("t", "x", 1)
		r.b.AdvanceForTest(d)
		s = r.open(4, "s", session)
		if there {
			s.message("t", "x", 1)
		}
		s.nothing()
		s.leave()
	}
	wait(9*time.Second, true)
	wait(11*time.Second, false)
	r.reload(head + "max_queued_age 1h\n")
	wait(11*time.Second, true)
}

func TestMaxTotalQueuedBytes(t *testing.T) {
	r := start(t, head+"max_total_queued_bytes 10\n")
	for _, id := range []string{"a", "b"} {
		s := r.open(4, id, session)
		s.subscribe(id, 1)
		s.leave()
	}
	p := r.open(4, "p")
	p.publish("a", "0123456789", 1)
	r.await("the sum", func() bool { return r.metric("queued_bytes") >= 10 })
	p.publish("b", "x", 1)
	r.reload(head + "max_total_queued_bytes 20\n")
	p.publish("b", "y", 1)
	s := r.open(4, "b", session)
	s.message("b", "y", 1)
	s.nothing()
}

func TestLoginLockout(t *testing.T) {
	conf := func(lines string) string {
		return closed + "password_file DIR/p\nlogin_lockout 600\nlogin_lockout_max 600\n" + lines
	}
	r := prepare(t)
	r.file("p", userLines("ann", "bob"))
	r.run(conf(""))
	code := func(user, password string) byte {
		t.Helper()
		c, p := r.ask(5, "probe", login(user, password))
		c.c.Close()
		if p == nil {
			return 0xFF
		}
		return p.Reason
	}
	for range 5 {
		code("ann", "wrong")
	}
	if got := code("ann", "secret"); got != 0 {
		t.Errorf("without the options 0x%02X", got)
	}
	r.reload(conf("login_failures_user 2\n"))
	code("ann", "wrong")
	code("ann", "wrong")
	if got := code("ann", "secret"); got != 0x8A {
		t.Errorf("after two failures 0x%02X", got)
	}
	if got := code("bob", "secret"); got != 0 {
		t.Errorf("another user 0x%02X", got)
	}
	r.reload(conf("login_failures_address 2\n"))
	code("x", "wrong")
	code("y", "wrong")
	if got := code("bob", "secret"); got != 0x8A {
		t.Errorf("after two failures of the address 0x%02X", got)
	}
}

func TestACLDenySlash(t *testing.T) {
	const conf = head + "acl_file DIR/a\n"
	r := prepare(t)
	r.file("a", "pattern readwrite shared/#\n")
	r.run(conf)
	may := func() bool {
		t.Helper()
		c := r.open(5, "a/b")
		defer c.leave()
		return c.publish("shared/t", "x", 1) < 0x80
	}
	if !may() {
		t.Error("a client id with a slash is refused without the option")
	}
	r.reload(conf + "acl_deny_slash true\n")
	if may() {
		t.Error("a client id with a slash is taken with the option")
	}
}

func TestConnectionLimits(t *testing.T) {
	r := start(t, head+"max_connection_rate 1\n")
	r.open(4, "one")
	r.await("a refusal", func() bool {
		_, p := r.ask(4, "more")
		return p == nil
	})
	r.reload(head + "max_connection_rate 0\n")
	for range 20 {
		r.open(4, "x")
	}
	r.reload(head + "connect_timeout 1\n")
	c := r.dial(4)
	begin := time.Now()
	c.closed(0)
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("closed after %v", d)
	}
}

func TestLogFormat(t *testing.T) {
	r := start(t, head)
	r.reload(head + "log_format json\n")
	r.open(4, "j")
	r.await("a line of JSON", func() bool {
		for line := range strings.Lines(r.logged()) {
			var v struct{ Text string }
			if json.Unmarshal([]byte(line), &v) == nil && strings.Contains(line, "New client connected") {
				return true
			}
		}
		return false
	})
}
