package options

import (
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/password"
	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// userLines is a password file in which everybody's password is secret.
func userLines(names ...string) string {
	h, err := password.New(password.SHA512PBKDF2, 10, []byte("secret"))
	if err != nil {
		panic(err)
	}
	var b strings.Builder
	for _, n := range names {
		b.WriteString(n + ":" + h.String() + "\n")
	}
	return b.String()
}

const closed = "listener PORT 127.0.0.1\n"

func (r *rig) letsIn(v byte, want bool, change ...func(p *rawmqtt.Packet)) {
	r.t.Helper()
	c, got := r.ask(v, "", append(change, func(p *rawmqtt.Packet) { p.Connect.ClientID = "probe" })...)
	if is := got != nil && got.Reason == 0; is != want {
		r.t.Errorf("let in %v, want %v: %v", is, want, got)
	}
	c.c.Close()
}

func TestAllowAnonymous(t *testing.T) {
	r := start(t, closed)
	r.letsIn(4, false)
	r.reload(head)
	c := r.open(5, "c")
	r.letsIn(4, true)
	r.reload(closed + "listener_allow_anonymous true\n")
	r.letsIn(4, true)
	c.nothing()
	r.reload(head + "listener_allow_anonymous false\n")
	r.letsIn(4, false)
	c.closed(0x87) // who may not be there any more is not
}

func TestPasswordFile(t *testing.T) {
	for name, conf := range map[string]string{
		"password_file": closed + "password_file DIR/p\n",
		"plugin":        "plugin /usr/lib/mosquitto_password_file.so\nplugin_opt_password_file DIR/p\n" + closed,
		"auth_plugin":   "auth_plugin mosquitto_password_file\nauth_opt_password_file DIR/p\n" + closed,
		"global_plugin": "global_plugin x/mosquitto_password_file.so\nplugin_opt_password_file DIR/p\n" + closed,
		"plugin_use":    "plugin_load pw mosquitto_password_file.so\nplugin_opt_password_file DIR/p\n" + closed + "plugin_use pw\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := prepare(t)
			r.file("p", userLines("ann"))
			r.run(conf)
			r.letsIn(4, true, login("ann", "secret"))
			r.letsIn(4, false, login("ann", "wrong"))
			r.letsIn(4, false, login("bob", "secret"))
			r.letsIn(4, false)
			ann := r.open(5, "c", login("ann", "secret"))
			r.file("p", userLines("bob"))
			r.reload(conf)
			ann.closed(0x87)
			r.letsIn(4, true, login("bob", "secret"))
			r.letsIn(4, false, login("ann", "secret"))
		})
	}
}

func TestACLFile(t *testing.T) {
	for name, conf := range map[string]string{
		"acl_file": head + "acl_file DIR/a\n",
		"plugin":   "plugin mosquitto_acl_file.so\nplugin_opt_acl_file DIR/a\n" + head,
	} {
		t.Run(name, func(t *testing.T) {
			r := prepare(t)
			r.file("a", "topic write w\ntopic read r\n")
			r.run(conf)
			c := r.open(5, "c")
			if code := c.publish("r", "x", 1); code != 0x87 {
				t.Errorf("code 0x%02X", code)
			}
			c.subscribe("#", 0)
			c.publish("w", "x", 1)
			c.nothing()
			r.file("a", "topic readwrite #\n")
			r.reload(conf)
			c.publish("r", "x", 1)
			c.message("r", "x", 0)
		})
	}
}

func TestPerListenerSettings(t *testing.T) {
	other := freePort(t)
	conf := func(first, second string) string {
		return "per_listener_settings true\n" + closed + first + "listener " + port(other) + " 127.0.0.1\n" + second
	}
	r := start(t, conf("allow_anonymous true\nauto_id_prefix a-\n", "allow_anonymous false\n"))
	r.letsIn(4, true)
	_, ack := r.ask(5, "")
	if p, _ := ack.Props.Get(assignedID); !strings.HasPrefix(p.Str, "a-") {
		t.Errorf("client id %q", p.Str)
	}
	second := r.dialPort(4, other)
	if got := second.connect("x"); got == nil || got.Reason != 5 {
		t.Errorf("second listener: %v", got)
	}
	r.reload(conf("allow_anonymous false\n", "allow_anonymous true\n"))
	r.letsIn(4, false)
	second = r.dialPort(4, other)
	if got := second.connect("x"); got == nil || got.Reason != 0 {
		t.Errorf("second listener after the reload: %v", got)
	}
	// The same lines for all of them.
	r.reload(head + "listener " + port(other) + " 127.0.0.1\n")
	r.letsIn(4, true)
}

// TestReloadIsWholeOrNothing: one file that cannot be read keeps everything else
// of the new configuration out, too.
func TestReloadIsWholeOrNothing(t *testing.T) {
	const conf = closed + "allow_anonymous false\npassword_file DIR/p\nmax_keepalive 10\n"
	r := prepare(t)
	r.file("p", userLines("ann"))
	r.run(conf)
	r.file("p", "this is no password file:\n")
	next := config.Reloaded(r.cfg, r.read(strings.Replace(conf, "10", "20", 1)))
	if err := r.b.Reload(next); err == nil {
		t.Fatal("a broken password file was taken")
	}
	if _, got := r.ask(5, "c", login("ann", "secret"), keepAlive(60)); got == nil || got.Reason != 0 || property(got, serverKeep, 0) != 10 {
		t.Errorf("%v", got)
	}
	if r.b.Config().MaxKeepAlive != 10 {
		t.Errorf("max_keepalive %d", r.b.Config().MaxKeepAlive)
	}
}
