// Package migrate moves sessions, queues and retained messages between Debian's
// Mosquitto and midge, both ways, and asks their clients whether anything is
// missing. It needs Debian's package mosquitto.
package migrate

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/memstore"
	"github.com/midgemq/midge/internal/store/mosqdb"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

const patience = 5 * time.Minute

// peer is one connection that acknowledges only what the test tells it to.
type peer struct {
	t  *testing.T
	c  *client.Conn
	v  mqtt.Version
	id uint16
}

func connect(t *testing.T, addr, id string, v mqtt.Version, o func(*client.Options)) *peer {
	t.Helper()
	opts := client.Options{
		Servers: []string{addr}, ClientID: id, Version: v, Resume: true, SessionExpiry: time.Hour, KeepAlive: -1, TopicAliases: -1,
	}
	if o != nil {
		o(&opts)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := client.DialConn(ctx, opts)
	if err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	t.Cleanup(func() { c.Close() })
	return &peer{t: t, c: c, v: v, id: 1000}
}

func (p *peer) send(packets ...packet.Packet) {
	p.t.Helper()
	if err := p.c.WritePacket(packets...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) read() packet.Packet {
	p.t.Helper()
	type result struct {
		p   packet.Packet
		err error
	}
	done := make(chan result, 1)
	go func() {
		x, err := p.c.ReadPacket()
		done <- result{x, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			p.t.Fatal(r.err)
		}
		return r.p
	case <-time.After(patience):
		p.t.Fatal("no packet came")
		return nil
	}
}

func (p *peer) wantAck(typ packet.Type, id uint16) {
	p.t.Helper()
	if a, ok := p.read().(*packet.Ack); !ok || a.Type != typ || a.PacketID != id || a.Code.IsError() {
		p.t.Fatalf("got %+v, want type %d id %d", a, typ, id)
	}
}

func (p *peer) wantPublish(topic string) *packet.Publish {
	p.t.Helper()
	x, ok := p.read().(*packet.Publish)
	if !ok || string(x.Topic) != topic {
		p.t.Fatalf("got %+v, want a PUBLISH of %s", x, topic)
	}
	return x
}

func (p *peer) ack(typ packet.Type, id uint16) { p.send(&packet.Ack{Type: typ, PacketID: id}) }

func (p *peer) subscribe(filter string, o packet.SubOptions, subID uint32) {
	p.t.Helper()
	s := &packet.Subscribe{PacketID: 1}
	if subID != 0 {
		s.Props = packet.AppendUint(nil, packet.PropSubscriptionID, subID)
	}
	s.AddFilter(filter, o)
	p.send(s)
	if a, ok := p.read().(*packet.Suback); !ok || a.Codes[0] > 2 {
		p.t.Fatalf("SUBACK %+v", a)
	}
}

// publish hands a message over, to the end of its exchange.
func (p *peer) publish(m *packet.Publish) {
	p.t.Helper()
	if m.QoS > 0 {
		p.id++
		m.PacketID = p.id
	}
	p.send(m)
	switch m.QoS {
	case mqtt.AtLeastOnce:
		p.wantAck(packet.PUBACK, m.PacketID)
	case mqtt.ExactlyOnce:
		p.wantAck(packet.PUBREC, m.PacketID)
		p.ack(packet.PUBREL, m.PacketID)
		p.wantAck(packet.PUBCOMP, m.PacketID)
	default:
	}
}

// leave disconnects and waits until the broker has seen it.
func (p *peer) leave() {
	p.t.Helper()
	// Not with Disconnect, which closes at once: the broker's close says that it
	// knows the session to be away.
	p.send(&packet.Disconnect{})
	for {
		if _, err := p.c.ReadPacket(); err != nil {
			_ = p.c.Close()
			return
		}
	}
}

// drain acknowledges everything until n messages have come and nothing is left,
// and lists what came.
func (p *peer) drain(n int) []string {
	p.t.Helper()
	var got []string
	pinged := false
	for open, seen := 0, 0; ; {
		if seen >= n && open == 0 && !pinged {
			pinged = true
			p.send(&packet.Pingreq{})
		}
		switch x := p.read().(type) {
		case *packet.Publish:
			seen++
			line := fmt.Sprintf("%s %s q%d", x.Topic, x.Payload, x.QoS)
			if x.Dup {
				line += fmt.Sprintf(" dup id%d", x.PacketID)
			}
			if x.Retain {
				line += " retain"
			}
			if id, ok := x.Props.Uint(packet.PropSubscriptionID); ok {
				line += fmt.Sprintf(" sub%d", id)
			}
			if s, ok := x.Props.Bytes(packet.PropContentType); ok {
				line += fmt.Sprintf(" type %s", s)
			}
			if s, ok := x.Props.Uint(packet.PropMessageExpiry); ok && s > 3000 && s <= 3600 {
				line += " expires"
			}
			got = append(got, line)
			switch x.QoS {
			case mqtt.AtLeastOnce:
				p.ack(packet.PUBACK, x.PacketID)
			case mqtt.ExactlyOnce:
				open++
				p.ack(packet.PUBREC, x.PacketID)
			default:
			}
		case *packet.Ack:
			if x.Type != packet.PUBREL {
				p.t.Fatalf("got %+v", x)
			}
			if open--; open < 0 {
				open = 0
				got = append(got, fmt.Sprintf("PUBREL id%d", x.PacketID))
			}
			p.ack(packet.PUBCOMP, x.PacketID)
		case *packet.Pingresp:
			return got
		default:
			p.t.Fatalf("got %+v", x)
		}
	}
}

const offline = 6

// stage leaves sessions in every state that a broker stores.
func stage(t *testing.T, addr string) {
	three := connect(t, addr, "three", mqtt.V311, func(o *client.Options) { o.UserName = "bob"; o.Password = []byte("x") })
	three.subscribe("a/#", 2, 0)
	five := connect(t, addr, "five", mqtt.V5, func(o *client.Options) { o.ReceiveMaximum = 1 })
	five.subscribe("a/+", 2|packet.SubOptions(mosqdb.OptionRetainAsPublished), 42)
	pub := connect(t, addr, "pub", mqtt.V5, func(o *client.Options) { o.SessionExpiry = 0; o.Resume = false })

	props := packet.AppendString(nil, packet.PropContentType, "text/x")
	props = packet.AppendPair(props, "k", "v")
	pub.publish(&packet.Publish{Topic: []byte("a/1"), Payload: []byte("one"), QoS: 1})
	pub.publish(&packet.Publish{Topic: []byte("a/2"), Payload: []byte("two"), QoS: 2, Props: props})
	pub.publish(&packet.Publish{Topic: []byte("a/3"), Payload: []byte("three"), QoS: 2})
	// The three messages go unanswered, gets its PUBREC, and goes unanswered.
	three.wantPublish("a/1")
	second := three.wantPublish("a/2")
	three.wantPublish("a/3")
	three.ack(packet.PUBREC, second.PacketID)
	three.wantAck(packet.PUBREL, second.PacketID)
	three.leave()
	five.wantPublish("a/1")
	five.leave()

	for i := range offline {
		m := &packet.Publish{Topic: fmt.Appendf(nil, "a/q%d", i), Payload: fmt.Appendf(nil, "queued %d", i), QoS: mqtt.QoS(1 + i%2), Retain: i == 3}
		if i == 1 {
			m.Props = packet.AppendUint(bytes.Clone(props), packet.PropMessageExpiry, 3600)
		}
		pub.publish(m)
	}
	pub.publish(&packet.Publish{Topic: []byte("r/1"), Payload: []byte("kept"), QoS: 1, Retain: true, Props: props})
	pub.publish(&packet.Publish{Topic: []byte("r/2"), Payload: []byte("kept too"), QoS: 0, Retain: true})
	pub.publish(&packet.Publish{Topic: []byte("r/3"), Payload: []byte("cleared"), QoS: 1, Retain: true})
	pub.publish(&packet.Publish{Topic: []byte("r/3"), QoS: 1, Retain: true})
	pub.leave()

	half := connect(t, addr, "half", mqtt.V311, nil)
	half.send(&packet.Publish{Topic: []byte("a/half"), Payload: []byte("begun"), QoS: 2, PacketID: 77})
	half.wantAck(packet.PUBREC, 77)
	half.leave()
}

// verify connects everybody again. inbound: the identifier of the publisher that
// was interrupted has come along.
func verify(t *testing.T, addr string, inbound bool) {
	present := func(p *peer, name string) {
		t.Helper()
		if !p.c.Info().SessionPresent {
			t.Errorf("%s: no session", name)
		}
	}
	half := connect(t, addr, "half", mqtt.V311, nil)
	present(half, "half")
	if inbound {
		// The client has not seen the PUBREC: it must not count twice.
		half.send(&packet.Publish{Topic: []byte("a/half"), Payload: []byte("begun"), QoS: 2, PacketID: 77, Dup: true})
		half.wantAck(packet.PUBREC, 77)
	}
	half.ack(packet.PUBREL, 77)
	half.wantAck(packet.PUBCOMP, 77)
	half.leave()

	three := connect(t, addr, "three", mqtt.V311, func(o *client.Options) { o.UserName = "bob"; o.Password = []byte("x") })
	present(three, "three")
	want := []string{"a/1 one q1 dup id1", "PUBREL id2", "a/3 three q2 dup id3"}
	var queued []string
	for i := range offline {
		queued = append(queued, fmt.Sprintf("a/q%d queued %d q%d", i, i, 1+i%2))
	}
	want = append(append(want, queued...), "a/half begun q2")
	if got := three.drain(len(want) - 1); !slices.Equal(got, want) {
		t.Errorf("three: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	five := connect(t, addr, "five", mqtt.V5, nil)
	present(five, "five")
	want = []string{"a/1 one q1 dup id1 sub42", "a/2 two q2 sub42 type text/x", "a/3 three q2 sub42"}
	for i, q := range queued {
		switch i {
		case 1:
			q += " sub42 type text/x expires"
		case 3:
			q += " retain sub42"
		default:
			q += " sub42"
		}
		want = append(want, q)
	}
	want = append(want, "a/half begun q2 sub42")
	if got := five.drain(len(want)); !slices.Equal(got, want) {
		t.Errorf("five: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	late := connect(t, addr, "late", mqtt.V5, func(o *client.Options) { o.SessionExpiry = 0 })
	late.subscribe("#", 2, 0)
	got := late.drain(3)
	slices.Sort(got)
	want = []string{"a/q3 queued 3 q2 retain", "r/1 kept q1 retain type text/x", "r/2 kept too q0 retain"}
	if !slices.Equal(got, want) {
		t.Errorf("retained: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// Their subscriptions are in force.
	late.leave()
	pub := connect(t, addr, "pub", mqtt.V5, func(o *client.Options) { o.SessionExpiry = 0 })
	pub.publish(&packet.Publish{Topic: []byte("a/new"), Payload: []byte("x"), QoS: 1})
	if x := three.wantPublish("a/new"); x.QoS != 1 {
		t.Errorf("%+v", x)
	}
	five.wantPublish("a/new")
}

// mosquitto is Debian's broker on a directory.
type mosquitto struct {
	t    *testing.T
	addr string
	cmd  *exec.Cmd
	log  bytes.Buffer
	done chan error
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func startMosquitto(t *testing.T, dir string, lines ...string) *mosquitto {
	t.Helper()
	m := &mosquitto{t: t, addr: freeAddr(t), done: make(chan error, 1)}
	_, port, _ := net.SplitHostPort(m.addr)
	lines = append(lines, "persistence true", "persistence_location "+dir+"/", "allow_anonymous true", "log_type all", "listener "+port+" 127.0.0.1")
	if os.Getuid() == 0 {
		lines = append([]string{"user root"}, lines...)
	}
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(conf, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.cmd = exec.Command("/usr/sbin/mosquitto", "-c", conf)
	m.cmd.Stdout, m.cmd.Stderr = &m.log, &m.log
	if err := m.cmd.Start(); err != nil {
		t.Fatalf("%v (apt-get install mosquitto)", err)
	}
	go func() { m.done <- m.cmd.Wait() }()
	t.Cleanup(func() {
		m.cmd.Process.Kill()
		m.done <- <-m.done
		if t.Failed() {
			t.Logf("mosquitto:\n%.6000s", m.log.String())
		}
	})
	for deadline := time.Now().Add(patience); ; {
		nc, err := net.Dial("tcp", m.addr)
		if err == nil {
			nc.Close()
			return m
		}
		if time.Now().After(deadline) {
			t.Fatalf("mosquitto does not listen: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stop ends the broker, which writes its file.
func (m *mosquitto) stop() {
	m.t.Helper()
	m.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-m.done:
		m.done <- err
		if err != nil {
			m.t.Fatalf("mosquitto: %v", err)
		}
	case <-time.After(patience):
		m.t.Fatal("mosquitto does not end")
	}
}

// startMidge runs a broker with its store in dir.
func startMidge(t *testing.T, dir string, lines ...string) (addr string, stop func()) {
	t.Helper()
	addr = freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	conf := filepath.Join(t.TempDir(), "midge.conf")
	lines = append(lines, "persistence true", "persistence_location "+dir+"/", "allow_anonymous true", "listener "+port+" 127.0.0.1", "")
	if err := os.WriteFile(conf, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Args{Files: []string{conf}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(broker.Options{Config: c, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	closed := false
	stop = func() {
		if closed {
			return
		}
		closed = true
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return addr, stop
}

func readDB(t *testing.T, dir string) *mosqdb.DB {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "mosquitto.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	db, err := mosqdb.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// TestMosquittoItself shows that the test asks for nothing that Mosquitto itself
// does not keep over a restart.
func TestMosquittoItself(t *testing.T) {
	dir := t.TempDir()
	m := startMosquitto(t, dir)
	stage(t, m.addr)
	m.stop()
	verify(t, startMosquitto(t, dir).addr, true)
}

func TestFromMosquitto(t *testing.T) {
	dir := t.TempDir()
	m := startMosquitto(t, dir)
	stage(t, m.addr)
	m.stop()
	db := readDB(t, dir)
	if len(db.Clients) != 3 || len(db.Retained) != 3 || len(db.Subscriptions) != 2 {
		t.Errorf("%+v", db)
	}
	addr, stop := startMidge(t, dir)
	verify(t, addr, true)
	stop()
	// The next start finds a store and takes the file for what it is: old.
	addr, _ = startMidge(t, dir)
	three := connect(t, addr, "three", mqtt.V311, nil)
	// What verify left unanswered, and nothing of the file.
	if got := three.drain(1); len(got) != 1 || !strings.HasPrefix(got[0], "a/new x q1 dup id") {
		t.Errorf("second start: %q", got)
	}
}

func TestToMosquitto(t *testing.T) {
	dir := t.TempDir()
	addr, stop := startMidge(t, dir, "persistence_file mosquitto.db")
	stage(t, addr)
	stop()
	m := startMosquitto(t, dir)
	verify(t, m.addr, false)
	m.stop() // nothing writes to the log any more
	for line := range strings.Lines(m.log.String()) {
		if (strings.Contains(line, "Warning") || strings.Contains(line, "Error")) && !strings.Contains(line, "run as root") {
			t.Errorf("mosquitto complains: %s", line)
		}
	}
}

// TestSharedToMosquitto: Mosquitto takes a shared subscription that it would not
// have written.
func TestSharedToMosquitto(t *testing.T) {
	st := memstore.New()
	ops := []record.Op{
		{Kind: record.PutSession, Session: &record.Session{Key: 1, ClientID: "s", Expiry: mqtt.NeverExpires, Version: mqtt.V5}},
		{Kind: record.PutSubscription, Key: 1, Sub: &record.Subscription{Filter: "$share/g/s/#", QoS: 1}},
	}
	st.Commit(&store.Batch{Ops: ops}, store.Flush, func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	})
	dir := t.TempDir()
	if _, err := mosqdb.Export(t.Context(), st, filepath.Join(dir, "mosquitto.db"), mosqdb.ExportOptions{Wall: time.Now()}); err != nil {
		t.Fatal(err)
	}
	m := startMosquitto(t, dir)
	pub := connect(t, m.addr, "pub", mqtt.V5, func(o *client.Options) { o.SessionExpiry = 0 })
	for i := range 3 {
		pub.publish(&packet.Publish{Topic: []byte("s/t"), Payload: []byte(strconv.Itoa(i)), QoS: 1})
	}
	s := connect(t, m.addr, "s", mqtt.V5, nil)
	if got, want := s.drain(3), []string{"s/t 0 q1", "s/t 1 q1", "s/t 2 q1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
