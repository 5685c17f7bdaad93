// Package limits runs the real binary against clients that take more than their
// share, and looks at what it costs: memory, other clients, messages.
package limits

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/testkit"
	"github.com/midgemq/midge/internal/testkit/target"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "midge-limits")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = filepath.Join(dir, "midge")
	out, err := exec.Command("go", "build", "-o", program, "github.com/midgemq/midge/cmd/midge").CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "build midge: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

type process struct {
	cmd  *exec.Cmd
	addr string
	log  *strings.Builder
}

// launch starts the binary with default limits and the given extra lines.
func launch(t *testing.T, extra string) *process {
	t.Helper()
	port, err := target.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "m.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\ncontrol_socket none\n%s", port, extra)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), log: new(strings.Builder)}
	p.cmd = exec.Command(program, "serve", "-c", conf)
	p.cmd.Stderr, p.cmd.Dir = p.log, dir
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("broker: %v\n%s", err, p.log)
		}
	})
	testkit.WaitFor(t, 10*time.Second, "the listener", func() bool {
		c, err := net.Dial("tcp", p.addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return p
}

// rss returns the resident memory in bytes.
func (p *process) rss(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatalf("resident memory is read from /proc, which %s lacks: %v", runtime.GOOS, err)
	}
	for _, l := range strings.Split(string(b), "\n") {
		if f := strings.Fields(l); len(f) > 1 && f[0] == "VmHWM:" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

type client struct {
	net.Conn
	r *bufio.Reader
}

func (p *process) connect(t *testing.T, id string) *client {
	t.Helper()
	n, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	_ = n.SetDeadline(time.Now().Add(2 * time.Minute))
	c := &client{Conn: n, r: bufio.NewReaderSize(n, 64<<10)}
	k := packet.Connect{Version: mqtt.V311, CleanStart: true, ClientID: []byte(id)}
	c.send(t, k.Append(nil, 0))
	c.expect(t, packet.CONNACK)
	return c
}

func (c *client) send(t *testing.T, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

func (c *client) next() (first byte, body []byte, err error) {
	if first, err = c.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(c.r)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(c.r, body)
	return first, body, err
}

func (c *client) expect(t *testing.T, want packet.Type) {
	t.Helper()
	f, _, err := c.next()
	if err != nil || packet.Type(f>>4) != want {
		t.Fatalf("got %s, %v instead of %s", packet.Type(f>>4), err, want)
	}
}

func (c *client) subscribe(t *testing.T, filter string, q mqtt.QoS) {
	t.Helper()
	s := packet.Subscribe{PacketID: 1}
	s.AddFilter(filter, packet.MakeSubOptions(q, false, false, 0))
	c.send(t, s.Append(nil, mqtt.V311))
}

// fence returns when everything sent before has been worked on.
func (c *client) fence(t *testing.T) {
	t.Helper()
	c.send(t, []byte{0xC0, 0})
	c.expect(t, packet.PINGRESP)
}

// Subscribers that read nothing cost no more than their output limit, and nobody
// else notices them.
// covers: E101
func TestSlowSubscribersAreBounded(t *testing.T) {
	p := launch(t, "")
	for i := range 300 {
		c := p.connect(t, fmt.Sprintf("deaf%d", i))
		c.subscribe(t, "flood/#", mqtt.AtMostOnce)
		c.expect(t, packet.SUBACK)
	}
	reader := p.connect(t, "reader")
	reader.subscribe(t, "small", mqtt.AtMostOnce)
	reader.expect(t, packet.SUBACK)
	pub := p.connect(t, "pub")
	big := (&packet.Publish{Topic: []byte("flood/x"), Payload: make([]byte, 10_000)}).Append(nil, mqtt.V311)
	small := (&packet.Publish{Topic: []byte("small"), Payload: []byte("s")}).Append(nil, mqtt.V311)
	const rounds = 1500
	for range rounds {
		pub.send(t, big)
		pub.send(t, small)
	}
	for range rounds {
		reader.expect(t, packet.PUBLISH)
	}
	pub.fence(t)
	got, limit := p.rss(t), int64(400<<20)
	t.Logf("%d MB resident at the most", got>>20)
	if got > limit {
		t.Errorf("%d MB resident, limit %d MB", got>>20, limit>>20)
	}
}

// All of a large number of retained messages reach one subscriber, whatever its
// queue limits.
func TestRetainedAreDeliveredWhole(t *testing.T) {
	p := launch(t, "")
	pub := p.connect(t, "pub")
	const n = 100_000
	w := bufio.NewWriterSize(pub.Conn, 1<<16)
	for i := range n {
		m := packet.Publish{Topic: fmt.Appendf(nil, "r/%d/%d", i%97, i), Payload: []byte("v"), Retain: true, QoS: mqtt.QoS(i % 2), PacketID: uint16(i%60000 + 1)}
		_, _ = w.Write(m.Append(nil, mqtt.V311))
		if i%2 == 1 && i%199 == 0 {
			_ = w.Flush()
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	for range n / 2 {
		pub.expect(t, packet.PUBACK)
	}
	pub.fence(t)
	for _, q := range []mqtt.QoS{mqtt.AtMostOnce, mqtt.AtLeastOnce} {
		sub := p.connect(t, fmt.Sprintf("sub%d", q))
		sub.subscribe(t, "r/#", q)
		sub.expect(t, packet.SUBACK)
		seen := make(map[string]bool, n)
		for len(seen) < n {
			f, body, err := sub.next()
			if err != nil {
				t.Fatalf("QoS %d: %v after %d of %d", q, err, len(seen), n)
			}
			var m packet.Publish
			if err := m.Decode(mqtt.V311, f, body); err != nil {
				t.Fatal(err)
			}
			if !m.Retain || seen[string(m.Topic)] {
				t.Fatalf("QoS %d: %s: retain %v, seen before %v", q, m.Topic, m.Retain, seen[string(m.Topic)])
			}
			seen[string(m.Topic)] = true
			if m.QoS > 0 {
				sub.send(t, packet.AppendAck(nil, packet.PUBACK, mqtt.V311, m.PacketID, 0))
			}
		}
	}
}
