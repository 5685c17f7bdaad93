//go:build foreign

package foreign

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long any single expectation may take.
const patience = 5 * time.Minute

var (
	brokerPath string // the program under test
	isMidge    bool
	gopahoPath string // the driver of Paho's Go libraries
)

func TestMain(m *testing.M) {
	code, err := prepare(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/foreign:", err)
		code = 1
	}
	os.Exit(code)
}

// prepare builds what the tests run and checks that the clients are there.
func prepare(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "midge-foreign-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	for _, c := range [][]string{
		{"/usr/bin/mosquitto_pub"},
		{"/usr/bin/mosquitto_sub"},
		{"/usr/bin/python3", "-c", "import paho.mqtt.client"},
		{"/usr/bin/chromium"},
		{"node", "-e", "require('./js/node_modules/mqtt'); require('./js/node_modules/playwright-core')"},
	} {
		var missing error
		if len(c) == 1 {
			_, missing = os.Stat(c[0])
		} else {
			missing = exec.Command(c[0], c[1:]...).Run()
		}
		if missing != nil {
			return 1, fmt.Errorf("%s: %w; run ./tools/deps.sh foreign", strings.Join(c, " "), missing)
		}
	}
	gopahoPath = filepath.Join(dir, "gopaho")
	if err := goBuild("gopaho", gopahoPath, "."); err != nil {
		return 1, err
	}
	brokerPath = os.Getenv("MIDGE_FOREIGN_BROKER")
	if brokerPath == "" {
		isMidge = true
		brokerPath = filepath.Join(dir, "midge")
		if err := goBuild("../..", brokerPath, "-tags="+os.Getenv("MIDGE_FOREIGN_TAGS"), "./cmd/midge"); err != nil {
			return 1, err
		}
	}
	return m.Run(), nil
}

func goBuild(dir, output string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-o", output}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", output, err, out)
	}
	return nil
}

// broker is a broker process of one test.
type broker struct {
	tcp, ws int    // ports
	control string // control socket, of midge only
	dir     string
	cmd     *exec.Cmd
}

// running is the log line after which both listeners accept.
var running = regexp.MustCompile(`version .* running`)

// startBroker starts the broker with two listeners on 127.0.0.1 and further lines of configuration, and stops it when
// the test ends.
func startBroker(t *testing.T, config ...string) *broker {
	t.Helper()
	b := &broker{dir: t.TempDir()}
	if isMidge {
		// A short path: a Unix socket's has at most 107 bytes.
		dir, err := os.MkdirTemp("", "midge-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		b.control = filepath.Join(dir, "control")
		config = append(config, "control_socket "+b.control)
	}
	b.tcp, b.ws = freePort(t), freePort(t)
	lines := []string{
		"allow_anonymous true",
		"max_packet_size 20000000",
		"set_tcp_nodelay true",
		"sys_interval 1",
	}
	if os.Getuid() == 0 {
		// Otherwise the broker would give up root and could not read this directory.
		lines = append(lines, "user root")
	}
	lines = append(lines, config...)
	lines = append(lines,
		fmt.Sprintf("listener %d 127.0.0.1", b.tcp),
		fmt.Sprintf("listener %d 127.0.0.1", b.ws),
		"protocol websockets", "")
	file := filepath.Join(b.dir, "broker.conf")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-c", file}
	if isMidge {
		args = append([]string{"serve"}, args...)
	}
	b.cmd = exec.Command(brokerPath, args...)
	b.cmd.Dir = b.dir
	stderr, err := b.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	b.cmd.Stdout = b.cmd.Stderr
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	up, ended := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	var log bytes.Buffer
	go func() {
		defer close(ended)
		var once sync.Once
		in := bufio.NewScanner(stderr)
		for in.Scan() {
			mu.Lock()
			log.WriteString(in.Text() + "\n")
			mu.Unlock()
			if running.MatchString(in.Text()) {
				once.Do(func() { close(up) })
			}
		}
	}()
	t.Cleanup(func() {
		b.stop(t, ended)
		if t.Failed() {
			mu.Lock()
			defer mu.Unlock()
			t.Logf("log of the broker:\n%s", tail(log.String(), 60))
		}
	})
	select {
	case <-up:
	case <-ended:
		t.Fatal("the broker ended while starting")
	case <-time.After(patience):
		t.Fatal("the broker did not say that it is running")
	}
	return b
}

// stop ends the broker the way a service manager does; it must leave with status 0.
func (b *broker) stop(t *testing.T, ended <-chan struct{}) {
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("stop broker: %v", err)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the broker did not end after SIGTERM")
		b.cmd.Process.Kill()
		<-ended
	}
	if err := b.cmd.Wait(); err != nil {
		t.Errorf("the broker ended with %v", err)
	}
}

func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// proxy stands between a client and the broker and cuts connections without a word.
type proxy struct {
	port   int
	target string
	trace  *trace

	mu     sync.Mutex
	conns  map[*net.TCPConn]bool
	closed bool
	held   bool // new connections are refused
	sent   int  // bytes that clients have sent
	every  int  // cut each time they have sent so many more; 0 is never
	cuts   int  // how often that may still happen
	wg     sync.WaitGroup
}

func startProxy(t *testing.T, name string, target int, ws bool) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{
		port: ln.Addr().(*net.TCPAddr).Port, target: fmt.Sprintf("127.0.0.1:%d", target),
		trace: newTrace(t, name, ws), conns: map[*net.TCPConn]bool{},
	}
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p.serve(c.(*net.TCPConn))
		}
	}()
	t.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		ln.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

// serve forwards one connection, both ways.
func (p *proxy) serve(client *net.TCPConn) {
	s, err := net.Dial("tcp", p.target)
	p.mu.Lock()
	if err != nil || p.held || p.closed {
		p.mu.Unlock()
		client.Close()
		if err == nil {
			s.Close()
		}
		return
	}
	server := s.(*net.TCPConn)
	p.conns[client], p.conns[server] = true, true
	p.wg.Add(2)
	p.mu.Unlock()
	p.trace.line("-- connected")
	for i, pair := range [][2]*net.TCPConn{{client, server}, {server, client}} {
		var seen io.Writer = &direction{tr: p.trace, arrow: []string{"->", "<-"}[i]}
		if i == 0 {
			seen = io.MultiWriter(seen, (*counter)(p))
		}
		go func() {
			defer p.wg.Done()
			_, _ = io.Copy(pair[1], io.TeeReader(pair[0], seen))
			client.Close()
			server.Close()
			p.mu.Lock()
			delete(p.conns, pair[0])
			p.mu.Unlock()
		}()
	}
}

// cutEvery cuts each time clients have sent n more bytes, at most times times.
func (p *proxy) cutEvery(n, times int) {
	p.mu.Lock()
	p.every, p.cuts = n, times
	p.mu.Unlock()
}

// counter is the proxy as it counts the bytes of clients.
type counter proxy

func (c *counter) Write(b []byte) (int, error) {
	p := (*proxy)(c)
	p.mu.Lock()
	before := p.sent
	p.sent += len(b)
	due := p.every > 0 && p.cuts > 0 && p.sent/p.every > before/p.every
	if due {
		p.cuts--
	}
	p.mu.Unlock()
	if due {
		p.cut()
	}
	return len(b), nil
}

// cut resets all connections: bytes on their way are lost.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trace.line("-- cut")
	for c := range p.conns {
		_ = c.SetLinger(0)
		c.Close()
	}
}

// hold refuses new connections until it is called with false.
func (p *proxy) hold(on bool) {
	p.mu.Lock()
	p.held = on
	p.mu.Unlock()
}
