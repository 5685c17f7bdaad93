//go:build linux

package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/midgemq/midge/internal/testkit/pki"
	"github.com/midgemq/midge/internal/testkit/target"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// crowd is how many connections are being opened at a time.
const crowd = 128

// beyondIdle holds memory of a connection against the limit.
func beyondIdle(binary, name string, n int, k kind, limit float64) error {
	idle, err := measureReal(binary, "idle", n, kinds["idle"], settled)
	if err != nil {
		return err
	}
	each, err := measureReal(binary, name, n, k, settled)
	if err != nil {
		return err
	}
	more := (each - idle) / 1024
	fmt.Printf("%s: %.1f KiB each beyond an idle one\n", name, more)
	if more > limit {
		return fmt.Errorf("%s: a connection takes %.1f KiB beyond an idle one, the limit is %.1f", name, more, limit)
	}
	return nil
}

// measureReal starts the broker and the clients, and returns the bytes of resident memory that each connection takes.
func measureReal(binary, name string, n int, k kind, look func(pid int) (sight, error)) (each float64, err error) {
	dir, err := os.MkdirTemp("", "midge-scale-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	port, err := target.FreePort()
	if err != nil {
		return 0, err
	}
	conf := []string{"allow_anonymous true", "user root", "control_socket none", "log_type error", fmt.Sprintf("listener %d 127.0.0.1", port)}
	if k.ws {
		conf = append(conf, "protocol websockets")
	}
	if k.tls > 0 {
		ca, err := pki.New(dir, "ca")
		if err != nil {
			return 0, err
		}
		server, err := ca.Server("server")
		if err != nil {
			return 0, err
		}
		conf = append(conf, "certfile "+server.CertFile, "keyfile "+server.KeyFile)
	}
	file := filepath.Join(dir, "midge.conf")
	if err := os.WriteFile(file, []byte(strings.Join(conf, "\n")+"\n"), 0o600); err != nil {
		return 0, err
	}
	b := exec.Command(binary, "serve", "-c", file)
	b.Stderr = os.Stderr
	if err := b.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = b.Process.Signal(syscall.SIGTERM)
		_ = b.Wait() // what it says does not matter any more
	}()
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	warm, err := openAll(addr, 64, "warm", k) // so that what is made once does not count
	if err != nil {
		return 0, err
	}
	defer closeAll(warm)
	before, err := look(b.Process.Pid)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	c := exec.Command(os.Args[0], "-client", addr, "-kind", name, "-n", strconv.Itoa(n))
	c.Stderr = os.Stderr
	done, err := c.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := c.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = done.Close() // which ends it
		_ = c.Wait()
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return 0, fmt.Errorf("clients: %q: %w", line, err)
	}
	took := time.Since(start)
	after, err := look(b.Process.Pid)
	if err != nil {
		return 0, err
	}
	f := float64(n)
	each = float64(after.resident-before.resident) / f
	fmt.Printf("%-14s %6d real connections in %v: broker %.0f B and %.1f us of CPU each; kernel, both ends, %.0f B each\n", name, n,
		took.Round(time.Millisecond), each, (after.cpu-before.cpu)*1e6/f, float64(after.slab-before.slab)/f)
	return each, nil
}

// sight is what is seen of the broker and the kernel, in bytes and seconds.
type sight struct {
	resident, slab int
	cpu            float64
}

func look(pid int) (s sight, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return s, err
	}
	memory, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return s, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return s, err
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, at := range []int{11, 12} { // user and system time in hundredths
		n, err := strconv.Atoi(fields[at])
		if err != nil {
			return s, err
		}
		s.cpu += float64(n) / 100
	}
	if s.resident, err = kib(string(status), "VmRSS:"); err != nil {
		return s, err
	}
	s.slab, err = kib(string(memory), "Slab:")
	return s, err
}

// settled looks once the resident memory has stopped to change much.
func settled(pid int) (s sight, err error) {
	const rounds, little = 4, 256 << 10
	last, same := 0, 0
	for deadline := time.Now().Add(30 * time.Second); same < rounds && time.Now().Before(deadline); time.Sleep(time.Second) {
		if s, err = look(pid); err != nil {
			return s, err
		}
		same++
		if d := s.resident - last; d > little || d < -little {
			same = 0
		}
		last = s.resident
	}
	return s, nil
}

func kib(text, name string) (int, error) {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, name); ok {
			n, err := strconv.Atoi(strings.Fields(v)[0])
			return n << 10, err
		}
	}
	return 0, errors.New("no " + name)
}

// serveClients is the second process: it connects, says so, and stays until its
// input ends.
func serveClients(addr string, n int, k kind) error {
	conns, err := openAll(addr, n, "c", k)
	defer closeAll(conns)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		if c != nil {
			_ = c.Close()
		}
	}
}

func openAll(addr string, n int, prefix string, k kind) ([]net.Conn, error) {
	conns := make([]net.Conn, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	var once sync.Once
	var failed error
	for range crowd {
		wg.Go(func() {
			for i := int(next.Add(1) - 1); i < n; i = int(next.Add(1) - 1) {
				c, err := open(addr, prefix, i, k)
				if err != nil {
					once.Do(func() { failed = err })
					return
				}
				conns[i] = c
			}
		})
	}
	wg.Wait()
	return conns, failed
}

// open connects one client and subscribes for it.
func open(addr, prefix string, i int, k kind) (net.Conn, error) {
	var c net.Conn
	var err error
	// Several addresses: finding a free port takes ever longer when an address has used more than half of them. The port is chosen by
	// connect: one that bind has chosen nobody else could use until a minute after the end.
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%8))}, Control: func(_, _ string, c syscall.RawConn) (err error) {
		other := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1) })
		return errors.Join(err, other)
	}}
	for try := 0; ; try++ { // the broker may not listen yet
		if k.tls > 0 {
			c, err = tls.DialWithDialer(&from, "tcp", addr, &tls.Config{MaxVersion: k.tls, InsecureSkipVerify: true}) // a certificate made a moment ago
		} else {
			c, err = from.Dial("tcp", addr)
		}
		if err == nil {
			break
		}
		if try == 100 || !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, err
		}
		time.Sleep(20 * time.Millisecond)
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	defer func() { _ = c.SetDeadline(time.Time{}) }()
	p := packet.Connect{Version: mqtt.V311, ClientID: fmt.Appendf(nil, "%s-%d", prefix, i), CleanStart: k.clean}
	in := p.Append(nil, p.Version)
	if k.ws {
		if _, err := c.Write([]byte(upgrade)); err != nil {
			return nil, err
		}
		for answer := []byte(nil); !strings.HasSuffix(string(answer), "\r\n\r\n"); {
			var b [1]byte
			if _, err := io.ReadFull(c, b[:]); err != nil {
				return nil, fmt.Errorf("handshake: %w", err)
			}
			answer = append(answer, b[0])
		}
		in = append([]byte{0x82, 0x80 | byte(len(in)), 0, 0, 0, 0}, in...)
	}
	want := 4
	if k.ws {
		want += 2
	}
	if k.subs > 0 {
		s := packet.Subscribe{PacketID: 1}
		for j := range k.subs {
			s.AddFilter(topicOf(i, j), packet.MakeSubOptions(mqtt.AtLeastOnce, false, false, 0))
		}
		in = s.Append(in, p.Version)
		want += 4 + k.subs
	}
	if _, err := c.Write(in); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(c, make([]byte, want)); err != nil {
		return nil, fmt.Errorf("CONNACK: %w", err)
	}
	return c, nil
}
