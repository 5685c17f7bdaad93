//go:build !fuzz

package pubsub

import (
	"bufio"
	"bytes"
	"context"
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
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// patience bounds every wait in these tests.
const patience = 5 * time.Minute

// start runs a broker and returns its port.
func start(t *testing.T, change ...func(*config.Config)) string {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	c := config.Default()
	c.Listeners = c.Listeners[:1]
	c.Listeners[0].Port = 0
	for _, f := range change {
		f(c)
	}
	b, err := broker.New(broker.Options{Config: c, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	_, port, err := net.SplitHostPort(b.Addresses()[0])
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// buffer can be read while a tool writes.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// tool is one running tool.
type tool struct {
	out, err buffer
	status   chan int
}

func run(f func(*Env, []string) int, stdin string, args ...string) *tool {
	r := &tool{status: make(chan int, 1)}
	e := &Env{Program: "mosquitto_x", Stdin: strings.NewReader(stdin), Stdout: &r.out, Stderr: &r.err, Version: "7", Compatible: "2.1.2"}
	go func() { r.status <- f(e, args) }()
	return r
}

func (r *tool) wait(t *testing.T) int {
	t.Helper()
	select {
	case s := <-r.status:
		return s
	case <-time.After(patience):
		t.Fatalf("still running; printed %q and %q", r.out.String(), r.err.String())
		return -1
	}
}

// subscribe starts sub and returns once the broker acknowledged it; the lines
// of -d tell.
func subscribe(t *testing.T, args ...string) *tool {
	t.Helper()
	r := run(Sub, "", append([]string{"-d"}, args...)...)
	for limit := time.Now().Add(patience); !strings.Contains(r.out.String(), "Subscribed (mid: "); {
		if time.Now().After(limit) || len(r.status) > 0 {
			t.Fatalf("no subscription: %q %q", r.out.String(), r.err.String())
		}
		time.Sleep(time.Millisecond)
	}
	return r
}

// printed gives what the tool printed without its debug lines.
func printed(r *tool) string {
	var keep strings.Builder
	for line := range strings.Lines(r.out.String()) {
		if !strings.HasPrefix(line, "Client ") && !strings.HasPrefix(line, "Subscribed ") {
			keep.WriteString(line)
		}
	}
	return keep.String()
}

func publish(t *testing.T, port, stdin string, args ...string) {
	t.Helper()
	r := run(Pub, stdin, append([]string{"-h", "127.0.0.1", "-p", port}, args...)...)
	if status := r.wait(t); status != 0 || r.err.String() != "" {
		t.Errorf("pub %q: status %d, %q", args, status, r.err.String())
	}
}

func TestMessagesArriveByteForByte(t *testing.T) {
	port := start(t)
	file := filepath.Join(t.TempDir(), "payload")
	if err := os.WriteFile(file, []byte("from\x00file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		for qos := range 3 {
			q := strconv.Itoa(qos)
			sub := subscribe(t, "-h", "127.0.0.1", "-p", port, "-V", version, "-q", q, "-t", "m/#", "-t", "other", "-C", "7", "-v")
			common := []string{"-V", version, "-q", q, "-t", "m/t"}
			want := ""
			for _, one := range []struct {
				stdin, printed string
				flags          []string
			}{
				{"", "m/t argument\n", []string{"-m", "argument"}},
				{"", "m/t (null)\n", []string{"-n"}},
				{"", "m/t from\x00file\n\n", []string{"-f", file}},
				{"all\nof it\n", "m/t all\nof it\n\n", []string{"-s"}},
				{"one\r\n\nlast", "m/t one\r\nm/t (null)\nm/t last\n", []string{"-l"}},
			} {
				publish(t, port, one.stdin, append(common, one.flags...)...)
				want += one.printed
				// Nothing orders the messages of different connections, so each waits
				// for the one before.
				for limit := time.Now().Add(patience); len(printed(sub)) < len(want) && time.Now().Before(limit); {
					time.Sleep(time.Millisecond)
				}
			}
			if status := sub.wait(t); status != 0 || printed(sub) != want {
				t.Errorf("%s QoS %d: status %d, printed %q, want %q", version, qos, status, printed(sub), want)
			}
		}
	}
}

// TestOutputFlags lets a session queue the messages first, so that no debug
// lines are needed to know when to publish.
func TestOutputFlags(t *testing.T) {
	port := start(t)
	for i, tc := range []struct {
		flags []string
		want  string
	}{
		{nil, "a\nb\n"},
		{[]string{"-N"}, "ab"},
		{[]string{"-v"}, "x/1 a\nx/2 (null)\nx/3 b\n"},
		{[]string{"-v", "-N"}, "x/1 ax/3 b"},
		{[]string{"-v", "-T", "x/1", "-T", "+/2", "-C", "1"}, "x/3 b\n"},
		{[]string{"-C", "1"}, "a\n"},
	} {
		args := []string{"-h", "127.0.0.1", "-p", port, "-t", "x/#", "-q", "1", "-c", "-i", fmt.Sprint("s", i), "-C", "3"}
		if status := run(Sub, "", append(args, "-E")...).wait(t); status != 0 {
			t.Fatalf("status %d", status)
		}
		publish(t, port, "", "-q", "1", "-t", "x/1", "-m", "a")
		publish(t, port, "", "-q", "1", "-t", "x/2", "-n")
		publish(t, port, "", "-q", "1", "-t", "x/3", "-m", "b")
		sub := run(Sub, "", append(args, tc.flags...)...)
		if status := sub.wait(t); status != 0 || sub.out.String() != tc.want {
			t.Errorf("%q: status %d, printed %q, want %q", tc.flags, status, sub.out.String(), tc.want)
		}
	}
}

func TestRetained(t *testing.T) {
	port := start(t)
	publish(t, port, "", "-t", "r/kept", "-m", "old", "-r", "-q", "1")
	sub := subscribe(t, "-h", "127.0.0.1", "-p", port, "-t", "r/#", "-C", "1", "-v")
	if status := sub.wait(t); status != 0 || printed(sub) != "r/kept old\n" {
		t.Errorf("status %d, printed %q", status, printed(sub))
	}
	for _, version := range []string{"mqttv311", "mqttv5"} {
		sub = subscribe(t, "-h", "127.0.0.1", "-p", port, "-t", "r/#", "-C", "1", "-v", "-R", "-V", version)
		publish(t, port, "", "-t", "r/live", "-m", "new")
		if status := sub.wait(t); status != 0 || printed(sub) != "r/live new\n" {
			t.Errorf("%s -R: status %d, printed %q", version, status, printed(sub))
		}
	}
}

func TestPersistentSession(t *testing.T) {
	port := start(t)
	for _, version := range []string{"mqttv311", "mqttv5"} {
		args := []string{"-h", "127.0.0.1", "-p", port, "-V", version, "-q", "1", "-c", "-i", "keeper" + version, "-t", "p"}
		first := subscribe(t, append(args, "-E")...)
		if status := first.wait(t); status != 0 {
			t.Errorf("-E: status %d", status)
		}
		publish(t, port, "", "-t", "p", "-m", "while away", "-q", "1")
		again := run(Sub, "", append(args, "-C", "1")...)
		if status := again.wait(t); status != 0 || again.out.String() != "while away\n" {
			t.Errorf("%s: status %d, printed %q", version, status, again.out.String())
		}
	}
}

func TestTimeout(t *testing.T) {
	port := start(t)
	sub := run(Sub, "", "-h", "127.0.0.1", "-p", port, "-t", "silence", "-W", "1")
	if status := sub.wait(t); status != 27 || sub.err.String() != "Timed out\n" {
		t.Errorf("status %d, %q", status, sub.err.String())
	}
}

func TestRepeat(t *testing.T) {
	port := start(t)
	sub := subscribe(t, "-h", "127.0.0.1", "-p", port, "-t", "rep", "-C", "3", "-q", "2")
	publish(t, port, "", "-t", "rep", "-m", "x", "-q", "2", "--repeat", "3", "--repeat-delay", "0.01")
	if status := sub.wait(t); status != 0 || printed(sub) != "x\nx\nx\n" {
		t.Errorf("status %d, printed %q", status, printed(sub))
	}
}

func TestManyLinesStayInOrder(t *testing.T) {
	port := start(t, func(c *config.Config) { c.MaxQueuedMessages = 0 })
	var lines strings.Builder
	for i := range 500 {
		fmt.Fprintln(&lines, i)
	}
	sub := subscribe(t, "-h", "127.0.0.1", "-p", port, "-t", "many", "-C", "500", "-q", "2", "-V", "5")
	publish(t, port, lines.String(), "-t", "many", "-l", "-q", "2", "-V", "5")
	if status := sub.wait(t); status != 0 || printed(sub) != lines.String() {
		t.Errorf("status %d, %d bytes of %d", status, len(printed(sub)), lines.Len())
	}
}

func TestURLAndOptionsFile(t *testing.T) {
	port := start(t)
	sub := subscribe(t, "-L", "mqtt://me:secret@127.0.0.1:"+port+"/a/b", "-C", "1")
	dir := os.Getenv("XDG_CONFIG_HOME")
	text := "# mine\n-h 127.0.0.1\n-p " + port + "\n-m from a file with blanks \n"
	if err := os.WriteFile(filepath.Join(dir, "mosquitto_pub"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := run(Pub, "", "-t", "a/b"); r.wait(t) != 0 {
		t.Errorf("pub: %q", r.err.String())
	}
	if status := sub.wait(t); status != 0 || printed(sub) != "from a file with blanks \n" {
		t.Errorf("status %d, printed %q", status, printed(sub))
	}
}

func TestPublishLimitsOfTheBroker(t *testing.T) {
	port := start(t, func(c *config.Config) { c.MaxPacketSize = 100; c.RetainAvailable = false })
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"-m", strings.Repeat("x", 200)}, "Error: Message payload is too large, the broker takes packets of 100 bytes.\n"},
		{[]string{"-m", "x", "-r"}, "Error: Retained messages are not supported by the broker.\n"},
	} {
		r := run(Pub, "", append([]string{"-h", "127.0.0.1", "-p", port, "-V", "5", "-t", "a"}, tc.args...)...)
		if status := r.wait(t); status != 1 || r.err.String() != tc.want {
			t.Errorf("status %d, %q", status, r.err.String())
		}
	}
}

func TestDebugLines(t *testing.T) {
	port := start(t)
	sub := subscribe(t, "-h", "127.0.0.1", "-p", port, "-t", "d", "-q", "2", "-i", "s", "-C", "1")
	r := run(Pub, "", "-h", "127.0.0.1", "-p", port, "-t", "d", "-m", "xyz", "-q", "2", "-i", "p", "-d")
	want := `Client p sending CONNECT
Client p received CONNACK (0)
Client p sending PUBLISH (d0, q2, r0, m1, 'd', ... (3 bytes))
Client p received PUBREC (Mid: 1)
Client p sending PUBREL (m1)
Client p received PUBCOMP (Mid: 1, RC:0)
Client p sending DISCONNECT
`
	if status := r.wait(t); status != 0 || r.out.String() != want {
		t.Errorf("status %d, printed %q", status, r.out.String())
	}
	want = `Client s sending CONNECT
Client s received CONNACK (0)
Client s sending SUBSCRIBE (Mid: 1, Topic: d, QoS: 2, Options: 0x00)
Client s received SUBACK
Subscribed (mid: 1): 2
Client s received PUBLISH (d0, q2, r0, m1, 'd', ... (3 bytes))
Client s sending PUBREC (m1, rc0)
Client s received PUBREL (Mid: 1)
Client s sending PUBCOMP (m1)
xyz
Client s sending DISCONNECT
`
	if status := sub.wait(t); status != 0 || sub.out.String() != want {
		t.Errorf("status %d, printed %q", status, sub.out.String())
	}
}

func TestWrongArguments(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for _, tc := range []struct {
		tool func(*Env, []string) int
		args string
		want string
	}{
		{Pub, "-q 5", "Error: Invalid QoS given: 5"},
		{Pub, "-p 70000", "Error: Invalid port given: 70000"},
		{Pub, "-k 2", "Error: Invalid keepalive given, it must be between 5 and 65535 inclusive."},
		{Pub, "-V 9", "Error: Invalid protocol version argument given."},
		{Pub, "-t a/# -m x", "Error: Invalid publish topic 'a/#', does it contain '+' or '#'?"},
		{Pub, "-h", "Error: -h argument given but no host specified."},
		{Pub, "-M", "Error: -M argument given but max_inflight not specified."},
		{Pub, "-c -t a -m x", "Error: You must provide a client id if you are using the -c option."},
		{Pub, "-m a -n", "Error: Only one type of message can be sent at once."},
		{Pub, "-W 1", "Error: Unknown option '-W'."},
		{Pub, "-q1", "Error: Unknown option '-q1'."},
		{Pub, "--will-payload x -t a -m b", "Error: Will payload given, but no will topic given."},
		{Pub, "--will-retain -t a -m b", "Error: Will retain given, but no will topic given."},
		{Pub, "--will-topic a/+ -t a -m b", "Error: Invalid will topic 'a/+', does it contain '+' or '#'?"},
		{Pub, "--will-qos 3", "Error: Invalid will QoS 3."},
		{Pub, "--repeat 0", "Error: --repeat argument must be >0."},
		{Pub, "--repeat-delay -1", "Error: --repeat-delay argument must be >=0.0."},
		{Pub, "-P x -t a -m b", "Error: Problem setting username and/or password."},
		{Sub, "", "Error: You must specify a topic to subscribe to."},
		{Sub, "-t a/#/b", "Error: Invalid subscription topic 'a/#/b', are all '+' and '#' wildcards correct?"},
		{Sub, "-T a/#/b", "Error: Invalid filter topic 'a/#/b', are all '+' and '#' wildcards correct?"},
		{Sub, "-W 0", `Error: Invalid timeout "0".`},
		{Sub, "-C x", `Error: Invalid message count "0".`},
		{Sub, "-i x -I y", "Error: -i and -I argument cannot be used together."},
		{Sub, "-I x -i y", "Error: -i and -I argument cannot be used together."},
		{Sub, "-L foo://x/y", "Error: Unsupported URL scheme."},
		{Sub, "-L mqtt://x", "Error: Invalid URL for -L argument specified - topic missing."},
		{Sub, "-L mqtt://x:0/t", "Error: Invalid port given: 0"},
		{Sub, "-t a -m x", "Error: Unknown option '-m'."},
		{Sub, "-o a -o b", "Error: Duplicate -o argument given."},
	} {
		r := run(tc.tool, "", strings.Fields(tc.args)...)
		want := tc.want + "\n\nUse 'mosquitto_x --help' to see usage.\n"
		if status := r.wait(t); status != 1 || r.err.String() != want || r.out.String() != "" {
			t.Errorf("%s: status %d, %q, want %q", tc.args, status, r.err.String(), want)
		}
	}
	for _, args := range []string{"-t a", "-m x", ""} {
		r := run(Pub, "", strings.Fields(args)...)
		if status := r.wait(t); status != 1 || !strings.HasPrefix(r.err.String(), "Error: Both topic and message must be supplied.\nmosquitto_x is an MQTT client") {
			t.Errorf("%q: status %d, %q", args, status, r.err.String())
		}
	}
}

func TestInputErrors(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	r := run(Pub, "", "-t", "a", "-s")
	if status := r.wait(t); status != 1 || r.err.String() != "Error: Zero length input.\nError loading input from stdin.\n" {
		t.Errorf("status %d, %q", status, r.err.String())
	}
	r = run(Pub, "", "-t", "a", "-f", "/does/not/exist")
	if want := "Error: Unable to open file \"/does/not/exist\".\nError loading input file \"/does/not/exist\".\n"; r.wait(t) != 1 || r.err.String() != want {
		t.Errorf("%q", r.err.String())
	}
}

func TestHelpAndVersion(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for _, f := range []func(*Env, []string) int{Pub, Sub, RR} {
		r := run(f, "", "--version")
		if want := "mosquitto_x version 2.1.2 running on midge 7.\n"; r.wait(t) != 1 || r.out.String() != want {
			t.Errorf("%q", r.out.String())
		}
		r = run(f, "", "--help")
		if r.wait(t) != 1 || !strings.Contains(r.out.String(), "Usage: mosquitto_x") {
			t.Errorf("%q", r.out.String())
		}
	}
}

// readPacket reads one packet into memory of its own.
func readPacket(in *bufio.Reader, v mqtt.Version) (packet.Packet, error) {
	var head []byte
	for {
		b, err := in.ReadByte()
		if err != nil {
			return nil, err
		}
		head = append(head, b)
		first, remaining, n, err := packet.ParseHeader(head, v == mqtt.V5)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			continue
		}
		body := make([]byte, remaining)
		if _, err := io.ReadFull(in, body); err != nil {
			return nil, err
		}
		return packet.Decode(v, first, body)
	}
}

// peer is a server that answers CONNECT with fixed bytes and then calls then.
func peer(t *testing.T, connack []byte, then func(net.Conn, *bufio.Reader)) string {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(c)
			if _, err := readPacket(in, mqtt.V311); err == nil {
				_, _ = c.Write(connack)
				if then != nil {
					then(c, in)
				}
			}
			c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		version string
		connack []byte
		status  int
		want    string
	}{
		{"311", []byte{0x20, 2, 0, 1}, 1, "Connection error: Connection Refused: unacceptable protocol version."},
		{"31", []byte{0x20, 2, 0, 2}, 2, "Connection error: Connection Refused: identifier rejected."},
		{"311", []byte{0x20, 2, 0, 3}, 3, "Connection error: Connection Refused: broker unavailable."},
		{"311", []byte{0x20, 2, 0, 4}, 4, "Connection error: Connection Refused: bad user name or password."},
		{"311", []byte{0x20, 2, 0, 5}, 5, "Connection error: Connection Refused: not authorised."},
		{"5", []byte{0x20, 3, 0, 0x87, 0}, 135, "Connection error: Not authorized"},
		{"5", []byte{0x20, 3, 0, 0x84, 0}, 132, "Connection error: Unsupported Protocol Version. Try connecting to an MQTT v5 broker, or use MQTT v3.x mode."},
	} {
		port := peer(t, tc.connack, nil)
		for name, f := range map[string]func(*Env, []string) int{"pub": Pub, "sub": Sub} {
			args := []string{"-h", "127.0.0.1", "-p", port, "-V", tc.version, "-t", "a"}
			if name == "pub" {
				args = append(args, "-m", "x")
			}
			r := run(f, "", args...)
			if status := r.wait(t); status != tc.status || r.err.String() != tc.want+"\n" {
				t.Errorf("%s: status %d, %q, want %d, %q", name, status, r.err.String(), tc.status, tc.want)
			}
		}
	}
}

func TestNobodyListens(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "Error: Connection refused\n"},
		{[]string{"--quiet"}, ""},
	} {
		r := run(Sub, "", append([]string{"-h", "127.0.0.1", "-p", port, "-t", "a"}, tc.args...)...)
		if status := r.wait(t); status != 1 || r.err.String() != tc.want {
			t.Errorf("status %d, %q", status, r.err.String())
		}
	}
}

func TestEverySubscriptionDenied(t *testing.T) {
	port := peer(t, []byte{0x20, 2, 0, 0}, func(c net.Conn, in *bufio.Reader) {
		if p, err := readPacket(in, mqtt.V311); err == nil && p.Kind() == packet.SUBSCRIBE {
			_, _ = c.Write([]byte{0x90, 4, 0, 1, 0x80, 0x80})
			_, _ = io.Copy(io.Discard, in)
		}
	})
	r := run(Sub, "", "-h", "127.0.0.1", "-p", port, "-t", "a", "-t", "b")
	if status := r.wait(t); status != 0 || r.err.String() != "All subscription requests were denied.\n" {
		t.Errorf("status %d, %q", status, r.err.String())
	}
}

func TestPublishRefusedByReason(t *testing.T) {
	port := peer(t, []byte{0x20, 3, 0, 0, 0}, func(c net.Conn, in *bufio.Reader) {
		if p, err := readPacket(in, mqtt.V5); err == nil && p.Kind() == packet.PUBLISH {
			_, _ = c.Write([]byte{0x40, 10, 0, 1, 0x87, 6, 0x1f, 0, 3, 'w', 'h', 'y'})
			_, _ = io.Copy(io.Discard, in)
		}
	})
	r := run(Pub, "", "-h", "127.0.0.1", "-p", port, "-V", "5", "-q", "1", "-t", "a", "-m", "x")
	if status := r.wait(t); status != 0 || r.err.String() != "Warning: Publish 1 failed: Not authorized.\nwhy\n" {
		t.Errorf("status %d, %q", status, r.err.String())
	}
}

func TestConnectionLostBeforeTheAcknowledgement(t *testing.T) {
	port := peer(t, []byte{0x20, 2, 0, 0}, func(_ net.Conn, in *bufio.Reader) { _, _ = readPacket(in, mqtt.V311) })
	r := run(Pub, "", "-h", "127.0.0.1", "-p", port, "-q", "1", "-t", "a", "-m", "x")
	if status := r.wait(t); status != 7 || !strings.HasPrefix(r.err.String(), "Error: ") {
		t.Errorf("status %d, %q", status, r.err.String())
	}
}

func TestSubReconnects(t *testing.T) {
	n := 0
	port := peer(t, []byte{0x20, 2, 0, 0}, func(c net.Conn, in *bufio.Reader) {
		n++
		if _, err := readPacket(in, mqtt.V311); err != nil || n == 1 {
			return
		}
		_, _ = c.Write([]byte{0x90, 3, 0, 1, 0, 0x30, 4, 0, 1, 'a', 'x'})
		_, _ = io.Copy(io.Discard, in)
	})
	r := run(Sub, "", "-h", "127.0.0.1", "-p", port, "-t", "a", "-C", "1")
	if status := r.wait(t); status != 0 || r.out.String() != "x\n" {
		t.Errorf("status %d, %q %q", status, r.out.String(), r.err.String())
	}
}
