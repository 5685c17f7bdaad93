// Command tls measures what a TLS connection takes in the broker beyond a plain
// one: it starts the binary twice, opens the same number of MQTT connections
// each time, and compares the growth of its resident memory. It ends with status
// 1 when a TLS connection takes more than the limit. `make bench-tls` runs it.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
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

	"github.com/midgemq/midge/internal/testkit/pki"
	"github.com/midgemq/midge/internal/testkit/target"
)

var (
	binary  = flag.String("broker", "bin/midge", "the broker's binary")
	number  = flag.Int("n", 5000, "connections")
	limit   = flag.Float64("limit", 16, "KiB that a TLS connection may take beyond a plain one; 0: no limit")
	crowd   = flag.Int("crowd", 64, "connections being opened at a time")
	message = flag.Int("message", 0, "bytes that each client publishes once before memory is read")
	version = flag.Int("tls", 13, "TLS version of the clients, 12 or 13")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/tls:", err)
		os.Exit(1)
	}
}

func run() error {
	dir, err := os.MkdirTemp("", "midge-tls-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ca, err := pki.New(dir, "ca")
	if err != nil {
		return err
	}
	server, err := ca.Server("server")
	if err != nil {
		return err
	}
	cfg := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}
	cfg.RootCAs.AddCert(ca.Cert)
	if *version == 12 {
		cfg.MaxVersion = tls.VersionTLS12
	}
	plain, err := measure(dir, nil, nil)
	if err != nil {
		return fmt.Errorf("plain: %w", err)
	}
	secure, err := measure(dir, cfg, []string{"certfile " + server.CertFile, "keyfile " + server.KeyFile})
	if err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	more := secure - plain
	fmt.Printf("%d connections: plain %.1f KiB each, TLS %.1f KiB each, TLS beyond plain %.1f KiB\n", *number, plain, secure, more)
	if *limit > 0 && more > *limit {
		return fmt.Errorf("a TLS connection takes %.1f KiB beyond a plain one, the limit is %.1f", more, *limit)
	}
	return nil
}

// measure returns the growth of the broker's resident memory in KiB for each
// connection.
func measure(dir string, cfg *tls.Config, lines []string) (float64, error) {
	port, err := target.FreePort()
	if err != nil {
		return 0, err
	}
	conf := []string{"allow_anonymous true", "user root", "control_socket none", "log_type error", fmt.Sprintf("listener %d 127.0.0.1", port)}
	file := filepath.Join(dir, "midge.conf")
	if err := os.WriteFile(file, []byte(strings.Join(append(conf, lines...), "\n")+"\n"), 0o600); err != nil {
		return 0, err
	}
	cmd := exec.Command(*binary, "serve", "-c", file)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // what it says does not matter any more
	}()
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	// A few first, so that what is made once does not count.
	warm, err := openAll(addr, cfg, 50)
	if err != nil {
		return 0, err
	}
	defer closeAll(warm)
	before, err := settled(cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	conns, err := openAll(addr, cfg, *number)
	if err != nil {
		return 0, err
	}
	defer closeAll(conns)
	took := time.Since(start)
	after, err := settled(cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	kind := "plain"
	if cfg != nil {
		kind = "TLS"
	}
	fmt.Printf("%s: %d connections in %v, resident memory %d -> %d KiB\n", kind, *number, took.Round(time.Millisecond), before, after)
	return float64(after-before) / float64(*number), nil
}

// settled reads the resident memory once it has stopped to change much.
func settled(pid int) (kib int, err error) {
	const rounds = 4
	last, same := 0, 0
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Second) {
		if kib, err = resident(pid); err != nil {
			return 0, err
		}
		if d := kib - last; d < 256 && d > -256 {
			if same++; same == rounds {
				return kib, nil
			}
		} else {
			same = 0
		}
		last = kib
	}
	return kib, nil
}

func resident(pid int) (kib int, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "VmRSS:"); ok {
			return strconv.Atoi(strings.Fields(v)[0])
		}
	}
	return 0, errors.New("no VmRSS")
}

func openAll(addr string, cfg *tls.Config, n int) ([]net.Conn, error) {
	conns := make([]net.Conn, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	var once sync.Once
	var failed error
	for range *crowd {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				c, err := open(addr, cfg, int(i))
				if err != nil {
					once.Do(func() { failed = err })
					return
				}
				conns[i] = c
			}
		}()
	}
	wg.Wait()
	return conns, failed
}

// open connects as an MQTT 3.1.1 client without keep alive.
func open(addr string, cfg *tls.Config, i int) (net.Conn, error) {
	var c net.Conn
	var err error
	for try := 0; ; try++ { // the broker may not listen yet
		if cfg == nil {
			c, err = net.Dial("tcp", addr)
		} else {
			c, err = tls.Dial("tcp", addr, cfg)
		}
		if err == nil {
			break
		}
		if try == 100 || !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, err
		}
		time.Sleep(20 * time.Millisecond)
	}
	id := fmt.Sprintf("c%d", i)
	p := append([]byte{0x10, byte(12 + len(id)), 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, byte(len(id))}, id...)
	if n := *message; n > 0 {
		p = append(p, 0x30)
		for rest := n + 3; ; {
			b := byte(rest & 0x7F)
			if rest >>= 7; rest > 0 {
				p = append(p, b|0x80)
				continue
			}
			p = append(p, b)
			break
		}
		p = append(p, 0, 1, 't')
		p = append(p, make([]byte, n)...)
	}
	if _, err := c.Write(p); err != nil {
		return nil, err
	}
	var ack [4]byte
	if _, err := io.ReadFull(c, ack[:]); err != nil {
		return nil, err
	}
	if ack != [4]byte{0x20, 2, 0, 0} {
		return nil, fmt.Errorf("CONNACK %x", ack)
	}
	return c, nil
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		if c != nil {
			_ = c.Close()
		}
	}
}
