package reach

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/midgemq/midge/internal/cli/flagtable"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

func TestSetURL(t *testing.T) {
	for _, tt := range []struct{ in, url, user, topic, err string }{
		{"host", "mqtt://host:1883", "", "", ""},
		{"host:99", "mqtt://host:99", "", "", ""},
		{"mqtts://h", "mqtts://h:8883", "", "", ""},
		{"ssl://[::1]:7/a/b", "mqtts://[::1]:7", "", "a/b", ""},
		{"ws://h/x?y=1", "ws://h:80/x?y=1", "", "", ""},
		{"wss://h", "wss://h:443/mqtt", "", "", ""},
		{"unix:///run/m.sock", "unix:///run/m.sock", "", "", ""},
		{"mqtt://anna:secret@h/t", "mqtt://h:1883", "anna", "t", ""},
		{"http://h", "", "", "", "scheme"},
		{"mqtt://h:0", "", "", "", "port"},
		{"mqtt://h:99999", "", "", "", "port"},
		{"mqtt://", "", "", "", "no host"},
		{"unix://", "", "", "", "no path"},
		{"mqtt://a:se%cret@h", "", "", "", "not a valid URL"},
	} {
		o := Defaults()
		err := o.SetURL(tt.in)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "cret") {
				t.Errorf("%s: error %v, want %q", tt.in, err, tt.err)
			}
			continue
		}
		if err != nil || o.URL() != tt.url || o.User != tt.user || o.Topic != tt.topic {
			t.Errorf("%s: %v, %s, user %q, topic %q", tt.in, err, o.URL(), o.User, o.Topic)
		}
		if tt.user != "" && (o.Password == nil || *o.Password != "secret") {
			t.Errorf("%s: password %v", tt.in, o.Password)
		}
	}
}

func FuzzSetURL(f *testing.F) {
	f.Add("mqtt://a:b@h:1/t")
	f.Fuzz(func(t *testing.T, s string) {
		o := Defaults()
		if o.SetURL(s) == nil && o.Address() == "" {
			t.Errorf("%q: no address", s)
		}
	})
}

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{"1": time.Second, "0.25": 250 * time.Millisecond, "200ms": 200 * time.Millisecond, "2m": 2 * time.Minute} {
		if got, err := ParseDuration(in); err != nil || got != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "x", "-1", "-2s", "NaN", "1e99", "999999h"} {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("%s: %v", in, got)
		}
	}
}

func TestParse(t *testing.T) {
	o := Defaults()
	sections := []Section{{Title: "Connection", Flags: o.Flags("P")}}
	c := Describe(flagtable.Command{Name: "x", Operands: []flagtable.Operand{{Name: "A"}}}, sections...)
	rest, err := Parse([]string{"-b", "h", "one", "--port=5", "-u", "anna", "--password", "p", "-V", "mqttv31", "--header", "A: b:c", "--", "-p"}, c, sections...)
	if err != nil || !reflect.DeepEqual(rest, []string{"one", "-p"}) {
		t.Fatalf("rest %q, %v", rest, err)
	}
	if o.URL() != "mqtt://h:5" || o.User != "anna" || *o.Password != "p" || o.Version != mqtt.V31 || o.Header.Get("a") != "b:c" {
		t.Errorf("%+v", o)
	}
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"-p", "0"}, "-p/--port"},
		{[]string{"-V", "4.4"}, "none of 31, 311, 5"},
		{[]string{"-P", "x"}, "-P"},
		{[]string{"--port"}, "--port"},
		{[]string{"--header", "x"}, "Name: value"},
	} {
		if _, err := Parse(tt.args, c, sections...); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%q: %v", tt.args, err)
		}
	}
	if _, err := Parse([]string{"--help"}, c, sections...); !errors.Is(err, ErrHelp) {
		t.Errorf("--help: %v", err)
	}
}

// listen serves each connection with f until the test ends.
func listen(t *testing.T, f func(net.Conn)) *net.TCPAddr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f(c)
		}
	}()
	return l.Addr().(*net.TCPAddr)
}

func optionsFor(a *net.TCPAddr) *Options {
	o := Defaults()
	o.Host, o.Port, o.Timeout = a.IP.String(), a.Port, 5*time.Second
	return &o
}

// connack answers a CONNECT: with a refusal unless it is of the version.
func connack(only mqtt.Version) func(net.Conn) {
	return func(c net.Conn) {
		defer c.Close()
		in := bufio.NewReader(c)
		head, err := in.Peek(2)
		if err != nil {
			return
		}
		body := make([]byte, 2+int(head[1]))
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		v := mqtt.Version(body[8])
		a := packet.Connack{}
		if v != only {
			a.Code = byte(mqtt.UnsupportedProtocolVersion)
		}
		c.Write(a.Append(nil, v))
		io.Copy(io.Discard, in)
	}
}

func TestConnFallsBack(t *testing.T) {
	o := optionsFor(listen(t, connack(mqtt.V311)))
	c, tap, times, err := o.Conn(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Info().Version != mqtt.V311 || times.Connect <= 0 || times.DNS != 0 || times.Total() < times.TCP {
		t.Errorf("version %v, times %+v", c.Info().Version, times)
	}
	if in, out := tap.In(packet.CONNACK), tap.Out(packet.CONNECT); in != (Count{1, 4}) || out.Packets != 1 {
		t.Errorf("CONNACK %v, CONNECT %v", in, out)
	}
	o.Version = mqtt.V5
	if _, _, _, err := o.Conn(context.Background(), nil); err == nil || !Reached(err) {
		t.Errorf("version 5 alone: %v", err)
	}
}

func TestSteps(t *testing.T) {
	step := func(o *Options) Step {
		t.Helper()
		_, _, _, err := o.Conn(context.Background(), nil)
		e, ok := errors.AsType[*StepError](err)
		if !ok {
			t.Fatalf("error %v", err)
		}
		return e.Step
	}
	silent := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	o := optionsFor(silent)
	o.Timeout = 50 * time.Millisecond
	if got := step(o); got != Connect {
		t.Errorf("silent server: %s", got)
	}
	o.TLS = true
	if got := step(o); got != TLS {
		t.Errorf("silent TLS server: %s", got)
	}
	o.TLS, o.WS = false, true
	if got := step(o); got != WebSocket {
		t.Errorf("silent WebSocket server: %s", got)
	}
	o = optionsFor(silent)
	o.Host = "no-such-name.invalid"
	if got := step(o); got != Name {
		t.Errorf("no such name: %s", got)
	}
	o = optionsFor(silent)
	o.Unix = t.TempDir() + "/none"
	if got := step(o); got != TCP {
		t.Errorf("no socket: %s", got)
	}
	o = optionsFor(silent)
	o.TLS, o.CAFile = true, t.TempDir()+"/none"
	if got := step(o); got != TLS {
		t.Errorf("no CA file: %s", got)
	}
}

// TestWebSocket sends bytes through a WebSocket server of another make, which echoes them.
func TestWebSocket(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}})
		if err != nil {
			return
		}
		nc := websocket.NetConn(r.Context(), c, websocket.MessageBinary)
		io.Copy(nc, nc)
	})}
	go server.Serve(l)
	defer server.Close()
	o := optionsFor(l.Addr().(*net.TCPAddr))
	o.WS = true
	nc, times, err := o.Stream(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	sent := bytes.Repeat([]byte("0123456789"), 30_000)
	go nc.Write(sent)
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(nc, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("echo: %v", err)
	}
	if times.WebSocket <= 0 {
		t.Errorf("times %+v", times)
	}
}

// TestTap counts packets that come in pieces of every size.
func TestTap(t *testing.T) {
	stream := (&packet.Publish{Topic: []byte("a"), Payload: make([]byte, 200)}).Append(nil, mqtt.V311)
	stream = (&packet.Pingreq{}).Append(stream, mqtt.V311)
	stream = packet.AppendAck(stream, packet.PUBACK, mqtt.V311, 1, 0)
	for size := 1; size < len(stream); size++ {
		var m meter
		for rest := stream; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			m.feed(rest[:min(size, len(rest))])
		}
		if m.count[packet.PUBLISH] != (Count{1, 206}) || m.count[packet.PINGREQ] != (Count{1, 2}) || m.count[packet.PUBACK] != (Count{1, 4}) {
			t.Fatalf("pieces of %d: %v", size, m.count)
		}
	}
	var m meter
	m.feed(bytes.Repeat([]byte{0xff}, 100)) // no MQTT: counting ends, nothing breaks
	m.feed(stream)
	if m.count[packet.PUBLISH].Packets != 0 {
		t.Errorf("after nonsense: %v", m.count)
	}
}
