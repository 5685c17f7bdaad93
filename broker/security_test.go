package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/midgemq/midge/internal/admin"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/password"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// guarded is a broker with security files.
type guarded struct {
	*Broker
	t    *testing.T
	addr string
	dir  string
	log  *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (g *guarded) write(name, content string) {
	g.t.Helper()
	p := filepath.Join(g.dir, name)
	if err := os.WriteFile(p+".tmp", []byte(content), 0o600); err != nil {
		g.t.Fatal(err)
	}
	if err := os.Rename(p+".tmp", p); err != nil {
		g.t.Fatal(err)
	}
}

// users writes a password file; every password is the name with "pw" behind it.
func (g *guarded) users(names ...string) {
	g.t.Helper()
	var s strings.Builder
	for _, n := range names {
		fmt.Fprintf(&s, "%s:%s\n", n, hashOf(g.t, n))
	}
	g.write("passwd", s.String())
}

var hashes sync.Map

// hashOf gives the same hash each time, as a file that was not touched has it.
func hashOf(t *testing.T, name string) string {
	t.Helper()
	if h, ok := hashes.Load(name); ok {
		return h.(string)
	}
	h, err := password.New(password.SHA512PBKDF2, 2, []byte(name+"pw"))
	if err != nil {
		t.Fatal(err)
	}
	hashes.Store(name, h.String())
	return h.String()
}

// protect starts a broker; acl "" is without an ACL file.
func protect(t *testing.T, acl string, change func(*config.Config), users ...string) *guarded {
	t.Helper()
	g := &guarded{t: t, dir: t.TempDir(), log: new(lockedBuffer)}
	g.users(users...)
	g.write("acl", acl)
	log, err := logging.New(logging.Options{Types: logging.All &^ logging.Debug, Dest: logging.ToStderr, Stderr: g.log})
	if err != nil {
		t.Fatal(err)
	}
	g.Broker, g.addr = start(t, func(o *Options) {
		o.Logger = log
		l := o.Config.Listeners[0]
		l.AllowAnonymous = false
		l.Security.PasswordFile = filepath.Join(g.dir, "passwd")
		if acl != "" {
			l.Security.ACLFile = filepath.Join(g.dir, "acl")
		}
		if change != nil {
			change(o.Config)
		}
	})
	return g
}

// reload reads everything again; change alters the configuration.
func (g *guarded) reload(change func(*config.Config)) error {
	c := *g.Config()
	c.Listeners = nil
	for _, l := range g.Config().Listeners {
		n := *l
		c.Listeners = append(c.Listeners, &n)
	}
	if change != nil {
		change(&c)
	}
	return g.Reload(&c)
}

func (g *guarded) must(change func(*config.Config)) {
	g.t.Helper()
	if err := g.reload(change); err != nil {
		g.t.Fatal(err)
	}
}

func login(id, user string, v mqtt.Version) packet.Connect {
	c := packet.Connect{Version: v, CleanStart: true, ClientID: []byte(id)}
	if user != "" {
		c.HasUserName, c.UserName, c.HasPassword, c.Password = true, []byte(user), true, []byte(user+"pw")
	}
	return c
}

// as connects as a user and must be let in.
func (g *guarded) as(id, user string, v mqtt.Version) *peer {
	g.t.Helper()
	p, ack := dial(g.t, g.addr, login(id, user, v))
	if ack.Code != 0 {
		g.t.Fatalf("%s as %s: code %d", id, user, ack.Code)
	}
	return p
}

// publish sends a QoS 1 message and returns the code of its PUBACK.
func (g *guarded) publish(p *peer, topic string, retain bool) mqtt.ReasonCode {
	g.t.Helper()
	p.send(&packet.Publish{Topic: []byte(topic), QoS: mqtt.AtLeastOnce, PacketID: 7, Payload: []byte("x"), Retain: retain})
	for {
		f, body, err := p.next()
		if err != nil {
			g.t.Fatalf("PUBACK: %v", err)
		}
		if packet.Type(f>>4) != packet.PUBACK {
			continue
		}
		a := packet.Ack{Type: packet.PUBACK}
		if err := a.Decode(p.v, f, body); err != nil {
			g.t.Fatal(err)
		}
		return a.Code
	}
}

// topics reads what has come, up to the answer to a PINGREQ.
func (g *guarded) topics(p *peer) string {
	g.t.Helper()
	p.send(&packet.Pingreq{})
	var got []string
	for {
		f, body, err := p.next()
		if err != nil {
			g.t.Fatalf("read: %v", err)
		}
		switch packet.Type(f >> 4) {
		case packet.PINGRESP:
			return strings.Join(got, " ")
		case packet.PUBLISH:
			var m packet.Publish
			if err := m.Decode(p.v, f, body); err != nil {
				g.t.Fatal(err)
			}
			if m.QoS > 0 {
				p.send(&packet.Ack{Type: packet.PUBACK, PacketID: m.PacketID})
			}
			got = append(got, string(m.Topic))
		default: // what else comes was asked for
		}
	}
}

// settle waits until what loops have for each other has arrived.
func (g *guarded) settle() {
	for range 3 {
		_ = g.onAll(context.Background(), func(*hub.Shard) {})
	}
}

func (g *guarded) expect(p *peer, want string) {
	g.t.Helper()
	g.settle()
	if got := g.topics(p); got != want {
		g.t.Errorf("got %q, want %q", got, want)
	}
}

// Who may connect, and what each version is told.
func TestLogins(t *testing.T) {
	g := protect(t, "", nil, "alice", "bob")
	for _, c := range []struct {
		user, pw string
		v        mqtt.Version
		code     byte
	}{
		{"alice", "alicepw", mqtt.V311, 0},
		{"bob", "bobpw", mqtt.V5, 0},
		{"alice", "bobpw", mqtt.V311, 5},
		{"alice", "bobpw", mqtt.V5, 0x87},
		{"mallory", "x", mqtt.V5, 0x87},
		{"", "", mqtt.V5, 0x87},
		{"", "", mqtt.V31, 5},
	} {
		k := packet.Connect{Version: c.v, CleanStart: true, ClientID: []byte("c")}
		if c.user != "" {
			k.HasUserName, k.UserName, k.HasPassword, k.Password = true, []byte(c.user), true, []byte(c.pw)
		}
		if _, ack := dial(t, g.addr, k); ack.Code != c.code {
			t.Errorf("%s/%s: code %d, want %d", c.user, c.pw, ack.Code, c.code)
		}
	}
	// A known user without a password is refused, too.
	k := packet.Connect{Version: mqtt.V311, CleanStart: true, ClientID: []byte("c"), HasUserName: true, UserName: []byte("alice")}
	if _, ack := dial(t, g.addr, k); ack.Code != 5 {
		t.Errorf("no password: code %d", ack.Code)
	}
}

// Changed rights are in force with the reload: for publishing, for live
// subscriptions, for retained and queued messages and for wills.
func TestRightsFollowTheFile(t *testing.T) {
	g := protect(t, "topic readwrite #\nuser pub\ntopic write #\nuser sub\ntopic read a/#\ntopic read b/#\n", nil, "pub", "sub")
	pub := g.as("pub", "pub", mqtt.V5)
	dying := login("dying", "pub", mqtt.V311)
	dying.WillFlag, dying.WillTopic, dying.WillPayload = true, []byte("a/will"), []byte("x")
	dies, _ := dial(t, g.addr, dying)
	live := g.as("live", "sub", mqtt.V311)
	live.subscribe(t, "#", mqtt.AtLeastOnce)
	away := login("away", "sub", mqtt.V311)
	away.CleanStart = false
	p, _ := dial(t, g.addr, away)
	p.subscribe(t, "+/1", mqtt.AtLeastOnce)
	p.send(&packet.Disconnect{})
	for _, topic := range []string{"a/1", "b/1", "c/1"} {
		if code := g.publish(pub, topic, true); code.IsError() {
			t.Fatal(code)
		}
	}
	g.expect(live, "a/1 b/1")

	g.write("acl", "user pub\ntopic write b/#\nuser sub\ntopic read b/#\ntopic read c/#\n")
	g.must(nil)
	if code := g.publish(pub, "a/1", false); code != mqtt.NotAuthorized {
		t.Errorf("publish: %v", code)
	}
	_ = dies.Close() // its will is on a/will
	for _, topic := range []string{"b/2", "b/3"} {
		g.publish(pub, topic, false)
	}
	g.expect(live, "b/2 b/3")
	p, ack := dial(t, g.addr, away)
	if !ack.SessionPresent {
		t.Error("the session is gone")
	}
	g.expect(p, "b/1") // a/1 was queued, c/1 was never permitted
	fresh := g.as("fresh", "sub", mqtt.V311)
	fresh.subscribe(t, "#", mqtt.AtMostOnce)
	g.expect(fresh, "b/1") // nor does the publisher of the retained c/1 have the right any more

	// A broken file changes nothing, and says so.
	g.write("acl", "user pub\ntopic maybe b/#\n")
	if err := g.reload(nil); err == nil || !strings.HasPrefix(err.Error(), "Error: Invalid topic access type in ACL file (") {
		t.Errorf("%v", err)
	}
	if code := g.publish(pub, "b/4", false); code.IsError() {
		t.Errorf("after a broken file: %v", code)
	}
	// An empty one denies everybody.
	g.write("acl", "")
	g.must(nil)
	if code := g.publish(pub, "b/5", false); code != mqtt.NotAuthorized {
		t.Errorf("after an empty file: %v", code)
	}
	if !strings.Contains(g.log.String(), "has no rules in it") {
		t.Error("an empty file is not warned about")
	}
	// Without any file everything is permitted.
	g.must(func(c *config.Config) { c.Listeners[0].Security.ACLFile = "" })
	if code := g.publish(pub, "a/6", false); code.IsError() {
		t.Errorf("without a file: %v", code)
	}
}

// A file that comes with a reload holds for those who are connected already.
func TestFirstFileAtReload(t *testing.T) {
	g := protect(t, "topic read x\n", func(c *config.Config) {
		l := c.Listeners[0]
		l.AllowAnonymous, l.Security.PasswordFile, l.Security.ACLFile = true, "", ""
	})
	p := g.as("p", "", mqtt.V5)
	if code := g.publish(p, "t", false); code.IsError() {
		t.Fatal(code)
	}
	g.must(func(c *config.Config) { c.Listeners[0].Security.ACLFile = filepath.Join(g.dir, "acl") })
	if code := g.publish(p, "t", false); code != mqtt.NotAuthorized {
		t.Errorf("%v", code)
	}
}

// ended reports whether the broker closes the connection, and with which
// DISCONNECT.
func ended(p *peer) (code mqtt.ReasonCode, closed bool) {
	for {
		f, body, err := p.next()
		if err != nil {
			return code, !errors.Is(err, os.ErrDeadlineExceeded)
		}
		if packet.Type(f>>4) == packet.DISCONNECT {
			var d packet.Disconnect
			_ = d.Decode(p.v, f, body)
			code = d.Code
		}
	}
}

// Logins that do not stand any more end with the reload, the others do not
// notice it.
func TestLoginsFollowTheFile(t *testing.T) {
	g := protect(t, "", func(c *config.Config) { c.Listeners[0].AllowAnonymous = true }, "alice", "bob", "carol")
	alice, bob, carol := g.as("a", "alice", mqtt.V5), g.as("b", "bob", mqtt.V311), g.as("c", "carol", mqtt.V311)
	nobody := g.as("n", "", mqtt.V311)
	g.must(nil)
	for _, p := range []*peer{alice, bob, carol, nobody} {
		g.expect(p, "")
	}
	// alice is gone, carol has another password.
	g.write("passwd", "bob:"+hashOf(t, "bob")+"\ncarol:"+hashOf(t, "alice")+"\n")
	g.must(nil)
	if code, closed := ended(alice); !closed || code != mqtt.NotAuthorized {
		t.Errorf("alice: %v %v", code, closed)
	}
	if _, closed := ended(carol); !closed {
		t.Error("carol is still there")
	}
	g.expect(bob, "")
	g.expect(nobody, "")
	g.must(func(c *config.Config) { c.Listeners[0].AllowAnonymous = false })
	if _, closed := ended(nobody); !closed {
		t.Error("anonymous access is off and nobody is still there")
	}
	g.expect(bob, "")
	g.write("passwd", "bob:plain\n")
	if err := g.reload(nil); err == nil || !strings.HasPrefix(err.Error(), "Error: Unable to decode line in password file (") {
		t.Errorf("%v", err)
	}
	g.expect(bob, "")
	if !strings.Contains(g.log.String(), "Client a may not be connected any more: the user is not in the password file any more.") {
		t.Error("no line says why")
	}
}

// Subscriptions that are denied rest, and are there again when they are not.
func TestSubscriptionsRest(t *testing.T) {
	const open = "user u\ntopic readwrite #\n"
	g := protect(t, open, nil, "u")
	p := g.as("p", "u", mqtt.V5)
	p.subscribe(t, "a/#", mqtt.AtMostOnce)
	q := g.as("q", "u", mqtt.V5)
	q.subscribe(t, "b", mqtt.AtMostOnce)
	say := func() {
		for _, topic := range []string{"a/1", "b"} {
			g.publish(p, topic, false)
		}
	}
	g.write("acl", open+"topic deny-subscribe b\n")
	g.must(nil)
	say()
	g.expect(q, "")
	g.write("acl", open)
	g.must(nil)
	say()
	g.expect(q, "b")
}

// Rules on client ids and names, by listener.
func TestIDRules(t *testing.T) {
	g := protect(t, "", func(c *config.Config) {
		c.ClientIDPrefix = "dev-"
		l := c.Listeners[0]
		l.AllowAnonymous = true
		l.Security.AutoIDPrefix = "dev-auto-"
	}, "dev-u")
	for id, want := range map[string]byte{"dev-1": 0, "other": 0x87, "DEV-1": 0x87, "": 0} {
		_, ack := dial(t, g.addr, login(id, "", mqtt.V5))
		if ack.Code != want {
			t.Errorf("%q: code %d", id, ack.Code)
		}
		if v, _ := ack.Props.Bytes(packet.PropAssignedClientID); id == "" && (!strings.HasPrefix(string(v), "dev-auto-") || len(v) != 9+36) {
			t.Errorf("assigned %q", v)
		}
	}
	g.must(func(c *config.Config) { c.Listeners[0].Security.RefuseEmptyClientID = true })
	for v, want := range map[mqtt.Version]byte{mqtt.V5: 0x80, mqtt.V311: 2} {
		if _, ack := dial(t, g.addr, login("", "", v)); ack.Code != want {
			t.Errorf("%v: code %d", v, ack.Code)
		}
	}
	g.must(func(c *config.Config) { c.Listeners[0].UseUsernameAsClientID = true })
	g.as("dev-x", "dev-u", mqtt.V311)
	if g.hub.Find("dev-u") == nil || g.hub.Find("dev-x") != nil {
		t.Error("the client does not go by its user name")
	}
	if _, ack := dial(t, g.addr, login("dev-x", "", mqtt.V311)); ack.Code != 5 {
		t.Errorf("without a user name: code %d", ack.Code)
	}
}

// Too many failures lock out, and an MQTT 5 client is told so.
func TestLockout(t *testing.T) {
	g := protect(t, "", func(c *config.Config) {
		c.Login = config.LoginRules{FailuresUser: 2, Lockout: 600, LockoutMax: 600}
	}, "alice", "bob")
	wrong := login("c", "alice", mqtt.V5)
	wrong.Password = []byte("wrong")
	for range 2 {
		dial(t, g.addr, wrong)
	}
	_, ack := dial(t, g.addr, login("c", "alice", mqtt.V5))
	reason, _ := ack.Props.Bytes(packet.PropReasonString)
	if mqtt.ReasonCode(ack.Code) != mqtt.Banned || !strings.HasPrefix(string(reason), "too many failed logins") {
		t.Errorf("code %d, %q", ack.Code, reason)
	}
	g.as("c", "bob", mqtt.V5)
}

// The verdict of the running broker, with the rule it stands on.
func TestACLTest(t *testing.T) {
	g := protect(t, "user u\ntopic read a\npattern write dev/%c\n", nil, "u")
	user := "u"
	for _, c := range []struct {
		q    admin.ACLQuery
		ok   bool
		line int
		why  string
	}{
		{admin.ACLQuery{User: &user, Client: "c", Action: "read", Topic: "a"}, true, 2, ""},
		{admin.ACLQuery{User: &user, Client: "c", Action: "write", Topic: "a"}, false, 0, "no rule permits it"},
		{admin.ACLQuery{Client: "c", Action: "write", Topic: "dev/c"}, true, 3, ""},
		{admin.ACLQuery{User: &user, Client: "c", Action: "write", Topic: "$SYS/x"}, false, 0, "the topic is reserved to the broker"},
	} {
		a, err := g.Admin().(admin.ACLTester).TestACL(context.Background(), c.q)
		if err != nil || a.Allowed != c.ok || a.Line != c.line || a.Why != c.why {
			t.Errorf("%+v: %+v %v", c.q, a, err)
		}
	}
	if _, err := g.Admin().(admin.ACLTester).TestACL(context.Background(), admin.ACLQuery{Client: "c", Action: "read", Topic: "a", Listener: "9"}); err == nil {
		t.Error("a listener that is not there")
	}
}

// Files that cannot be used end the start.
func TestStartFailsClosed(t *testing.T) {
	c := config.Default()
	c.Listeners = c.Listeners[:1]
	c.Listeners[0].Security.PasswordFile = filepath.Join(t.TempDir(), "none")
	if _, err := New(Options{Config: c}); err == nil || !strings.HasPrefix(err.Error(), "Error: Unable to open password file (") {
		t.Errorf("%v", err)
	}
}

// A storm of logins leaves the loops their time: a stream of messages goes on
// meanwhile, and every login is answered.
func TestStreamDuringLogins(t *testing.T) {
	g := protect(t, "", nil, "u")
	slow, err := password.New(password.SHA512PBKDF2, 500, []byte("spw"))
	if err != nil {
		t.Fatal(err)
	}
	g.write("passwd", "u:"+hashOf(t, "u")+"\ns:"+slow.String()+"\n")
	g.must(nil)
	pub, sub := g.as("pub", "u", mqtt.V311), g.as("sub", "u", mqtt.V311)
	sub.subscribe(t, "t", mqtt.AtMostOnce)
	const logins = 40
	answered := make(chan byte, logins)
	for i := range logins {
		go func() {
			_, ack := dial(t, g.addr, login(fmt.Sprintf("s%d", i), "s", mqtt.V311))
			answered <- ack.Code
		}()
	}
	during, done := 0, 0
	for done < logins {
		pub.send(&packet.Publish{Topic: []byte("t"), Payload: []byte("x")})
		if _, _, err := sub.next(); err != nil {
			t.Fatal(err)
		}
		during++
		select {
		case code := <-answered:
			if code != 0 {
				t.Errorf("a login was answered with %d", code)
			}
			done++
		default:
		}
	}
	if during < logins {
		t.Errorf("%d messages while %d clients logged in", during, logins)
	}
}

// With per_listener_settings a retained message stays readable when the client
// that published it is gone, as long as some listener's rules let it write.
func TestRetainedOfTheAbsent(t *testing.T) {
	g := protect(t, "user pub\ntopic write t\nuser sub\ntopic read #\n", func(c *config.Config) { c.PerListenerSettings = true }, "pub", "sub")
	pub := g.as("pub", "pub", mqtt.V5)
	g.publish(pub, "t", true)
	pub.send(&packet.Disconnect{})
	_, _, _ = pub.next()
	s := g.as("s", "sub", mqtt.V311)
	s.subscribe(t, "#", mqtt.AtMostOnce)
	g.expect(s, "t")
	g.write("acl", "user pub\ntopic write u\nuser sub\ntopic read #\n")
	g.must(nil)
	s.subscribe(t, "#", mqtt.AtMostOnce)
	g.expect(s, "")
}
