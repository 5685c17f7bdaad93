package options

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// patience bounds every wait.
const patience = 5 * time.Minute

// rig is a broker in this process and its configuration.
type rig struct {
	t    *testing.T
	b    *broker.Broker
	cfg  *config.Config
	log  *logging.Logger
	dir  string
	port int

	conns []net.Conn

	mu   sync.Mutex
	text bytes.Buffer
}

// Write takes log lines.
func (r *rig) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *rig) logged() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// freePort returns a port that was free a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// head opens a listener for everybody; PORT stands for the rig's port and DIR
// for a directory of its own.
const head = "listener PORT 127.0.0.1\nallow_anonymous true\n"

// start runs a broker with the lines of a file.
func start(t *testing.T, conf string) *rig {
	t.Helper()
	r := prepare(t)
	r.run(conf)
	return r
}

// run starts the broker.
func (r *rig) run(conf string) {
	t := r.t
	t.Helper()
	r.cfg = r.read(conf)
	o := r.cfg.Logging()
	o.Stdout, o.Stderr = r, r
	var err error
	if r.log, err = logging.New(o); err != nil {
		t.Fatal(err)
	}
	if r.b, err = broker.New(broker.Options{Config: r.cfg, Logger: r.log, Version: "test"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.stop)
	if err := r.b.Start(); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) stop() {
	for _, c := range r.conns {
		c.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.b.Close(ctx); err != nil {
		r.t.Errorf("close: %v", err)
	}
}

// read parses the lines of a file.
func (r *rig) read(conf string) *config.Config {
	r.t.Helper()
	conf = strings.NewReplacer("PORT", strconv.Itoa(r.port), "DIR", r.dir).Replace(conf)
	file := r.file("m.conf", conf)
	c, err := config.Load(config.Args{Files: []string{file}}, func(t logging.Type, s string) {
		if r.log != nil {
			r.log.Printf(t, "%s", s)
		}
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// file writes a file into the rig's directory and returns its path.
func (r *rig) file(name, text string) string {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// reload puts other lines in force, as SIGHUP does.
func (r *rig) reload(conf string) {
	r.t.Helper()
	next := config.Reloaded(r.cfg, r.read(conf))
	if err := r.b.Reload(next); err != nil {
		r.t.Fatal(err)
	}
	r.cfg = next
	o := next.Logging()
	o.Stdout, o.Stderr = r, r
	if err := r.log.Reconfigure(o); err != nil {
		r.t.Fatal(err)
	}
}

// await waits for a condition.
func (r *rig) await(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("%s: not after %v; log: %s", what, patience, r.logged())
		}
	}
}

func (r *rig) awaitLog(text string) {
	r.t.Helper()
	r.await("log line "+text, func() bool { return strings.Contains(r.logged(), text) })
}

// client is a connection to the rig.
type client struct {
	t    *testing.T
	c    net.Conn
	v    byte
	rest []byte
	id   uint16
	held []*rawmqtt.Packet // messages that came before an acknowledgement
}

// dial opens a connection that says nothing yet.
func (r *rig) dial(v byte) *client {
	r.t.Helper()
	return r.dialPort(v, r.port)
}

func (r *rig) dialPort(v byte, port int) *client {
	r.t.Helper()
	c, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), patience)
	if err != nil {
		r.t.Fatal(err)
	}
	r.conns = append(r.conns, c)
	return &client{t: r.t, c: c, v: v}
}

func connectPacket(v byte, id string) *rawmqtt.Packet {
	name := "MQTT"
	if v == rawmqtt.V31 {
		name = "MQIsdp"
	}
	return &rawmqtt.Packet{Type: rawmqtt.CONNECT, Connect: &rawmqtt.Connect{Name: name, Level: v, Clean: true, ClientID: id}}
}

// ask connects and returns the answer, nil when the broker closes.
func (r *rig) ask(v byte, id string, change ...func(p *rawmqtt.Packet)) (*client, *rawmqtt.Packet) {
	r.t.Helper()
	c := r.dial(v)
	return c, c.connect(id, change...)
}

func (c *client) connect(id string, change ...func(p *rawmqtt.Packet)) *rawmqtt.Packet {
	c.t.Helper()
	p := connectPacket(c.v, id)
	for _, f := range change {
		f(p)
	}
	c.send(p)
	return c.next()
}

// open connects and insists on success.
func (r *rig) open(v byte, id string, change ...func(p *rawmqtt.Packet)) *client {
	r.t.Helper()
	c, got := r.ask(v, id, change...)
	if got == nil || got.Type != rawmqtt.CONNACK || got.Reason != 0 {
		r.t.Fatalf("connect %s: %v; log: %s", id, got, r.logged())
	}
	return c
}

func session(p *rawmqtt.Packet) { p.Connect.Clean = false }

func keepSession(p *rawmqtt.Packet) {
	p.Connect.Clean = false
	p.Props = append(p.Props, rawmqtt.Prop{ID: 0x11, Num: 1000})
}

func keepAlive(seconds uint16) func(p *rawmqtt.Packet) {
	return func(p *rawmqtt.Packet) { p.Connect.KeepAlive = seconds }
}

func login(user, password string) func(p *rawmqtt.Packet) {
	return func(p *rawmqtt.Packet) { p.Connect.User, p.Connect.Password = &user, &password }
}

func (c *client) send(p *rawmqtt.Packet) {
	c.t.Helper()
	if _, err := c.c.Write(p.Encode(c.v)); err != nil {
		c.t.Fatal(err)
	}
}

// next reads one packet; nil means that the broker has closed.
func (c *client) next() *rawmqtt.Packet {
	c.t.Helper()
	if len(c.held) > 0 {
		p := c.held[0]
		c.held = c.held[1:]
		return p
	}
	return c.read()
}

// answer reads an answer and holds the messages before it.
func (c *client) answer(kind byte) *rawmqtt.Packet {
	c.t.Helper()
	for {
		p := c.read()
		if p == nil || p.Type != rawmqtt.PUBLISH {
			if p == nil || p.Type != kind {
				c.t.Fatalf("got %v, want %s", p, rawmqtt.TypeName(kind))
			}
			return p
		}
		c.held = append(c.held, p)
	}
}

func (c *client) read() *rawmqtt.Packet {
	c.t.Helper()
	if err := c.c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	for {
		raw, rest, err := rawmqtt.Split(c.rest)
		if err != nil && !errors.Is(err, rawmqtt.ErrShort) {
			c.t.Fatal(err)
		}
		if err == nil {
			c.rest = rest
			p, err := rawmqtt.Decode(c.v, raw, true)
			if err != nil {
				c.t.Fatal(err)
			}
			return p
		}
		n, err := c.c.Read(buf)
		c.rest = append(c.rest, buf[:n]...)
		switch {
		case n > 0:
		case errors.Is(err, io.EOF), strings.Contains(fmt.Sprint(err), "reset"):
			return nil
		case err != nil:
			c.t.Fatal(err)
		}
	}
}

// expect reads one packet of a type.
func (c *client) expect(kind byte) *rawmqtt.Packet {
	c.t.Helper()
	p := c.next()
	if p == nil || p.Type != kind {
		c.t.Fatalf("got %v, want %s", p, rawmqtt.TypeName(kind))
	}
	return p
}

// nothing shows that no message is under way: an answer to a ping comes first.
func (c *client) nothing() {
	c.t.Helper()
	c.send(&rawmqtt.Packet{Type: rawmqtt.PINGREQ})
	if p := c.next(); p == nil || p.Type != rawmqtt.PINGRESP {
		c.t.Fatalf("got %v, want nothing but PINGRESP", p)
	}
}

// closed shows that the broker closes, after a DISCONNECT with this code for MQTT
// 5; 0: without one.
func (c *client) closed(code byte) {
	c.t.Helper()
	p := c.next()
	if c.v == rawmqtt.V5 && code != 0 {
		if p == nil || p.Type != rawmqtt.DISCONNECT || p.Reason != code {
			c.t.Fatalf("got %v, want DISCONNECT 0x%02X", p, code)
		}
		p = c.next()
	}
	if p != nil {
		c.t.Fatalf("got %v, want the end", p)
	}
}

func (c *client) nextID() uint16 { c.id++; return c.id }

// subscribe returns the code of the answer.
func (c *client) subscribe(filter string, qos byte) byte {
	c.t.Helper()
	c.send(&rawmqtt.Packet{Type: rawmqtt.SUBSCRIBE, Flags: 2, ID: c.nextID(), Filters: []rawmqtt.Filter{{Filter: filter, Options: qos}}})
	return c.answer(rawmqtt.SUBACK).Codes[0]
}

// publish sends a message and returns the code of the acknowledgement, of PUBREC
// for QoS 2.
func (c *client) publish(topic, payload string, qos byte, retain ...bool) byte {
	c.t.Helper()
	p := &rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: qos << 1, Topic: topic, Payload: []byte(payload)}
	if len(retain) > 0 {
		p.Flags |= 1
	}
	if qos > 0 {
		p.ID = c.nextID()
	}
	c.send(p)
	switch qos {
	case 1:
		return c.answer(rawmqtt.PUBACK).Reason
	case 2:
		code := c.answer(rawmqtt.PUBREC).Reason
		if code < 0x80 {
			c.send(&rawmqtt.Packet{Type: rawmqtt.PUBREL, Flags: 2, ID: p.ID})
			c.answer(rawmqtt.PUBCOMP)
		}
		return code
	}
	return 0
}

// message reads a PUBLISH and compares topic, payload and QoS; QoS 1 is
// acknowledged.
func (c *client) message(topic, payload string, qos byte) *rawmqtt.Packet {
	c.t.Helper()
	p := c.expect(rawmqtt.PUBLISH)
	if p.Topic != topic || string(p.Payload) != payload || p.QoS() != qos {
		c.t.Fatalf("got %v, want %s %q at QoS %d", p, topic, payload, qos)
	}
	if qos == 1 {
		c.send(&rawmqtt.Packet{Type: rawmqtt.PUBACK, ID: p.ID})
	}
	return p
}

// leave ends the connection and waits until the broker has noticed.
func (c *client) leave() {
	c.t.Helper()
	c.send(&rawmqtt.Packet{Type: rawmqtt.DISCONNECT})
	if p := c.next(); p != nil {
		c.t.Fatalf("got %v after DISCONNECT", p)
	}
}

// both runs a test with MQTT 3.1.1 and MQTT 5.
func both(t *testing.T, f func(t *testing.T, v byte)) {
	t.Helper()
	for _, v := range []byte{rawmqtt.V311, rawmqtt.V5} {
		t.Run(fmt.Sprintf("v%d", v), func(t *testing.T) { f(t, v) })
	}
}

// dropped counts the messages that the broker has dropped.
func (r *rig) dropped() (n int64) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := r.b.Admin().Status(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, d := range s.Drops {
		n += d
	}
	return n
}

// prepare makes a rig whose broker run starts, for files that have to be there.
func prepare(t *testing.T) *rig {
	t.Helper()
	return &rig{t: t, port: freePort(t), dir: t.TempDir()}
}

// metric reads one of the broker's figures.
func (r *rig) metric(name string) int64 {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := r.b.Admin().Status(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	n, ok := s.Metrics[name]
	if !ok {
		r.t.Fatalf("no figure %s in %v", name, s.Metrics)
	}
	return n
}
