//go:build soak

// Package soak keeps the real binary busy for SOAKTIME (default ten minutes) with
// connects, disconnects, takeovers, subscriptions and traffic of every QoS, and
// demands that its memory stays flat. Run it with `make soak`.
package soak

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/testkit"
	"github.com/midgemq/midge/internal/testkit/target"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

const (
	workers = 40
	// growthLimit is how much the resident memory may grow from the first third to
	// the last, in bytes: the collector's own swing.
	growthLimit = 24 << 20
)

func soakTime(t *testing.T) time.Duration {
	text := os.Getenv("SOAKTIME")
	if text == "" {
		text = "10m"
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("SOAKTIME: %v", err)
	}
	return d
}

func rss(t *testing.T, pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(string(b), "\n") {
		if f := strings.Fields(l); len(f) > 1 && f[0] == "VmRSS:" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

func TestSoak(t *testing.T) {
	port, err := target.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "m.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\ncontrol_socket none\nlog_type error\nloops 2\nmax_queued_messages 50\n", port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("../../bin/midge", "serve", "-c", conf)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	testkit.WaitFor(t, 10*time.Second, "the listener", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	d := soakTime(t)
	end := time.Now().Add(d)
	var rounds, messages atomic.Int64
	var wg sync.WaitGroup
	for i := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := rand.New(rand.NewPCG(uint64(i), 7))
			for time.Now().Before(end) {
				messages.Add(int64(session(addr, r)))
				rounds.Add(1)
			}
		}()
	}
	var samples []int64
	for time.Now().Before(end) {
		time.Sleep(d / 60)
		samples = append(samples, rss(t, cmd.Process.Pid))
	}
	wg.Wait()
	third := len(samples) / 3
	first, last := mean(samples[third/2:third+third/2]), mean(samples[len(samples)-third:])
	t.Logf("%d connections, %d messages; resident %d MB early, %d MB late", rounds.Load(), messages.Load(), first>>20, last>>20)
	if last-first > growthLimit {
		t.Errorf("resident memory grew by %d MB: %v", (last-first)>>20, samples)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("broker ended with %v", err)
	}
}

func mean(v []int64) (m int64) {
	for _, x := range v {
		m += x
	}
	return m / int64(len(v))
}

// session is one connection's life and returns how many messages it sent.
func session(addr string, r *rand.Rand) (sent int) {
	n, err := net.Dial("tcp", addr)
	if err != nil {
		return 0
	}
	defer n.Close()
	_ = n.SetDeadline(time.Now().Add(20 * time.Second))
	v := []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5}[r.IntN(3)]
	c := packet.Connect{Version: v, CleanStart: r.IntN(3) > 0, KeepAlive: 30, ClientID: fmt.Appendf(nil, "soak%d", r.IntN(200))}
	if v == mqtt.V5 {
		c.Props = packet.AppendUint(nil, packet.PropSessionExpiry, uint32(r.IntN(2)*20))
	}
	if r.IntN(2) == 0 {
		c.WillFlag, c.WillTopic, c.WillPayload = true, []byte("soak/will"), []byte("gone")
	}
	out := c.Append(nil, v)
	s := packet.Subscribe{PacketID: 1}
	for range 1 + r.IntN(3) {
		s.AddFilter([]string{"soak/#", "$share/g/soak/+/x", "soak/1/x", "soak/+/y"}[r.IntN(4)], packet.MakeSubOptions(mqtt.QoS(r.IntN(3)), false, false, 0))
	}
	out = s.Append(out, v)
	_, _ = n.Write(out)
	rd := bufio.NewReader(n)
	for i := range 20 + r.IntN(60) {
		m := packet.Publish{
			Topic: fmt.Appendf(nil, "soak/%d/%s", r.IntN(50), []string{"x", "y"}[r.IntN(2)]), QoS: mqtt.QoS(r.IntN(3)),
			PacketID: uint16(i + 1), Payload: make([]byte, r.IntN(500)), Retain: r.IntN(10) == 0,
		}
		if _, err := n.Write(m.Append(nil, v)); err != nil {
			return sent
		}
		sent++
		for range r.IntN(4) {
			if !answer(rd, n, v) {
				return sent
			}
		}
	}
	if r.IntN(2) == 0 {
		_, _ = n.Write((&packet.Disconnect{}).Append(nil, v))
	}
	return sent
}

// answer reads one packet, if one is there soon, and gives the reply it needs.
func answer(rd *bufio.Reader, n net.Conn, v mqtt.Version) bool {
	if rd.Buffered() == 0 {
		_ = n.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		_, err := rd.Peek(1)
		_ = n.SetReadDeadline(time.Now().Add(20 * time.Second))
		if err != nil {
			return os.IsTimeout(err)
		}
	}
	first, err := rd.ReadByte()
	if err != nil {
		return false
	}
	size, err := binary.ReadUvarint(rd)
	if err != nil {
		return false
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(rd, body); err != nil {
		return false
	}
	var reply packet.Type
	id := uint16(0)
	switch t := packet.Type(first >> 4); t {
	case packet.PUBLISH:
		var m packet.Publish
		if m.Decode(v, first, body) != nil || m.QoS == 0 {
			return true
		}
		reply, id = packet.PUBACK, m.PacketID
		if m.QoS == 2 {
			reply = packet.PUBREC
		}
	case packet.PUBREC, packet.PUBREL:
		reply, id = packet.PUBREL, binary.BigEndian.Uint16(body)
		if t == packet.PUBREL {
			reply = packet.PUBCOMP
		}
	default:
		return true
	}
	_, err = n.Write(packet.AppendAck(nil, reply, v, id, 0))
	return err == nil
}
