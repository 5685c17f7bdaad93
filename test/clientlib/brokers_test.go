package clientlib

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
)

const mosquittoPath = "/usr/sbin/mosquitto"

var midgePath string

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	dir, err := os.MkdirTemp("", "midge-clientlib-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/clientlib:", err)
		os.Exit(1)
	}
	midgePath = filepath.Join(dir, "midge")
	cmd := exec.Command("go", "build", "-o", midgePath, "./cmd/midge")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "test/clientlib: build midge: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// broker is a broker process of one test.
type broker struct {
	addr string
	cmd  *exec.Cmd
	done chan struct{}
	log  bytes.Buffer
	once sync.Once
}

// eachBroker runs a test with midge and with Mosquitto.
func eachBroker(t *testing.T, f func(t *testing.T, b *broker)) {
	for _, name := range []string{"midge", "mosquitto"} {
		t.Run(name, func(t *testing.T) { f(t, start(t, name, "")) })
	}
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

// start starts a broker on addr, or on a free port, and waits until it accepts.
func start(t *testing.T, name, addr string) *broker {
	t.Helper()
	if addr == "" {
		addr = freeAddr(t)
	}
	dir := t.TempDir()
	b := &broker{addr: addr, done: make(chan struct{})}
	_, port, _ := net.SplitHostPort(addr)
	lines := []string{
		"allow_anonymous true", "max_queued_messages 100000", "sys_interval 1", "set_tcp_nodelay true", "listener " + port + " 127.0.0.1", "",
	}
	if name == "mosquitto" {
		// Mosquitto 2.0.11 sends nothing more when a full window of QoS 2 messages has ended at once.
		lines = append([]string{"max_inflight_messages 1000"}, lines...)
	}
	if os.Getuid() == 0 {
		lines = append([]string{"user root"}, lines...)
	}
	conf := filepath.Join(dir, "broker.conf")
	if err := os.WriteFile(conf, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	b.cmd = exec.Command(mosquittoPath, "-c", conf)
	if name == "midge" {
		b.cmd = exec.Command(midgePath, "serve", "-c", conf)
	}
	b.cmd.Dir, b.cmd.Stdout, b.cmd.Stderr = dir, &b.log, &b.log
	if err := b.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() { b.cmd.Wait(); close(b.done) }()
	t.Cleanup(func() {
		b.kill()
		if t.Failed() {
			t.Logf("log of %s:\n%.4000s", name, b.log.String())
		}
	})
	deadline := time.Now().Add(20 * time.Second)
	for {
		nc, err := net.Dial("tcp", addr)
		if err == nil {
			nc.Close()
			return b
		}
		select {
		case <-b.done:
			t.Fatalf("%s ended: %s", name, b.log.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen on %s: %s", name, addr, b.log.String())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// kill ends the broker at once.
func (b *broker) kill() {
	b.once.Do(func() {
		b.cmd.Process.Kill()
		<-b.done
	})
}

func options(addr string, v mqtt.Version, id string) client.Options {
	return client.Options{
		Servers: []string{addr}, Version: v, ClientID: id, Backoff: client.Backoff{Min: time.Millisecond, Max: 20 * time.Millisecond},
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func connect(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.Connect(within(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// log collects payloads.
type received struct {
	mu    sync.Mutex
	count map[string]int
	order []string
}

func collect(t *testing.T, c *client.Client, filter string, q mqtt.QoS) *received {
	t.Helper()
	r := &received{count: map[string]int{}}
	err := c.Handle(within(t), filter, q, func(m *client.Message) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.count[string(m.Payload)]++
		r.order = append(r.order, string(m.Payload))
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// waitFor waits until the payload has come.
func (r *received) waitFor(t *testing.T, payload string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		r.mu.Lock()
		n := r.count[payload]
		r.mu.Unlock()
		if n > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q did not come; there are %d others", payload, len(r.order))
		}
		time.Sleep(time.Millisecond)
	}
}

func (r *received) times(payload string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count[payload]
}
