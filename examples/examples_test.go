package examples

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	"github.com/midgemq/midge/internal/testkit/target"
	"github.com/midgemq/midge/mqtt"
)

const patience = 5 * time.Minute

var programs string // folder of the built examples

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "midge-examples-")
	if err == nil {
		programs = dir
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "examples:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// build reads the sources too: go test must see that its result depends on them.
func build(dir string) error {
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			_, err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		return err
	}
	if out, err := exec.Command("go", "build", "-o", dir, "./...").CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}

// startMidge starts a broker in this process on an address; "": a free one.
func startMidge(t *testing.T, addr string) (server string, stop func()) {
	t.Helper()
	for try := 0; ; try++ {
		at := addr
		if at == "" {
			port, err := target.FreePort()
			if err != nil {
				t.Fatal(err)
			}
			at = fmt.Sprintf("127.0.0.1:%d", port)
		}
		b, err := newMidge(t, at)
		if errors.Is(err, syscall.EADDRINUSE) && addr == "" && try < 5 {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		stopped := false
		stop := func() {
			if stopped {
				return
			}
			stopped = true
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := b.Close(ctx); err != nil {
				t.Error(err)
			}
		}
		t.Cleanup(stop)
		return "mqtt://" + at, stop
	}
}

func newMidge(t *testing.T, addr string) (*broker.Broker, error) {
	host, port, _ := strings.Cut(addr, ":")
	file := filepath.Join(t.TempDir(), "midge.conf")
	text := fmt.Sprintf("listener %s %s\nallow_anonymous true\nsys_interval 1\n", port, host)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	c, err := config.Load(config.Args{Files: []string{file}}, nil)
	if err != nil {
		return nil, err
	}
	b, err := broker.New(broker.Options{Config: c})
	if err != nil {
		return nil, err
	}
	return b, b.Start()
}

func startMosquitto(t *testing.T) (server string) {
	t.Helper()
	// A listener of the test's own, opened before the target's, tells the address.
	port, err := target.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{"sys_interval 1", fmt.Sprintf("listener %d 127.0.0.1", port)}
	b, err := target.Mosquitto(target.Config{Dir: t.TempDir(), Lines: lines})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return fmt.Sprintf("mqtt://127.0.0.1:%d", port)
}

func eachBroker(t *testing.T, f func(t *testing.T, server string)) {
	t.Run("midge", func(t *testing.T) {
		server, _ := startMidge(t, "")
		f(t, server)
	})
	t.Run("mosquitto", func(t *testing.T) { f(t, startMosquitto(t)) })
}

// process is a running example.
type process struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	lines chan string
	seen  []string
}

func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: exec.Command(filepath.Join(programs, name), args...), lines: make(chan string, 10000)}
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			p.lines <- in.Text()
		}
	}()
	t.Cleanup(p.kill)
	return p
}

// kill ends the process without a chance to say goodbye.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		p.cmd.Process.Kill()
		p.drain()
		p.cmd.Wait() // killed: the status says nothing
	}
}

func (p *process) drain() {
	for s := range p.lines {
		p.seen = append(p.seen, s)
	}
}

// interrupt ends the process as Ctrl-C does; it must leave with status 0.
func (p *process) interrupt() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		p.t.Fatal(err)
	}
	p.wait()
}

// wait waits for the end, which must be a good one.
func (p *process) wait() {
	p.t.Helper()
	timer := time.AfterFunc(patience, func() { p.cmd.Process.Kill() })
	defer timer.Stop()
	p.drain()
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("%s: %v; it wrote %q", p.name, err, p.seen)
	}
}

// until reads lines up to one that begins with a text.
func (p *process) until(begin string) string {
	p.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case s, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("%s ended without %q; it wrote %q", p.name, begin, p.seen)
			}
			p.seen = append(p.seen, s)
			if strings.HasPrefix(s, begin) {
				return s
			}
		case <-timer.C:
			p.t.Fatalf("%s did not write %q within %v; it wrote, at last, %q", p.name, begin, patience, p.seen[max(0, len(p.seen)-20):])
		}
	}
}

// saw is until with the lines that have been read already.
func (p *process) saw(begin string) {
	p.t.Helper()
	if !slices.ContainsFunc(p.seen, func(s string) bool { return strings.HasPrefix(s, begin) }) {
		p.until(begin)
	}
}

// watch returns what comes for a filter.
func watch(t *testing.T, server, filter string) <-chan *client.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	t.Cleanup(cancel)
	c, err := client.Connect(ctx, client.Options{Servers: []string{server}, Backoff: client.Backoff{Min: time.Millisecond, Max: 50 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	ch, err := c.Channel(ctx, client.Subscription{Filter: filter, QoS: mqtt.ExactlyOnce})
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func next(t *testing.T, ch <-chan *client.Message) *client.Message {
	t.Helper()
	select {
	case m := <-ch:
		if m == nil {
			t.Fatal("the channel of messages ended")
		}
		return m
	case <-time.After(patience):
		t.Fatal("no message")
	}
	return nil
}

// want expects the next message to have a payload and a retain flag.
func want(t *testing.T, ch <-chan *client.Message, payload string, retain bool) {
	t.Helper()
	if m := next(t, ch); string(m.Payload) != payload || m.Retain != retain {
		t.Fatalf("got %s %q retain %t, want %q retain %t", m.Topic, m.Payload, m.Retain, payload, retain)
	}
}

func TestRandomNumbers(t *testing.T) {
	eachBroker(t, func(t *testing.T, server string) {
		consumer := start(t, "consumer", "-server", server, "-id", "c1")
		status := watch(t, server, "status/p1")
		numbers := watch(t, server, "random_numbers/p1")
		producer := start(t, "producer", "-server", server, "-id", "p1", "-interval", "10ms")
		want(t, status, "here", false)
		for range 10 {
			m := next(t, numbers)
			if n, err := strconv.Atoi(string(m.Payload)); err != nil || n < 0 || n > 50 || m.QoS != 0 {
				t.Fatalf("number %q with QoS %d", m.Payload, m.QoS)
			}
		}
		consumer.saw("p1 is here")
		checkAverage(t, consumer)
		consumer.saw("4 clients are connected")
		// The session is persistent: the next run learns what happened in between.
		consumer.interrupt()
		producer.kill()
		want(t, status, "gone", false)
		want(t, watch(t, server, "status/p1"), "gone", true)
		again := start(t, "consumer", "-server", server, "-id", "c1")
		again.saw("p1 is gone")
		again.saw("p1: ") // retained

		producer = start(t, "producer", "-server", server, "-id", "p1", "-interval", "10ms")
		want(t, status, "here", false)
		want(t, watch(t, server, "status/p1"), "here", true)
		if m := next(t, watch(t, server, "random_numbers/p1")); !m.Retain {
			t.Fatal("the number is not retained")
		}
		producer.interrupt()
		want(t, status, "gone", false)
		again.interrupt()
	})
}

// checkAverage adds up what the consumer wrote.
func checkAverage(t *testing.T, consumer *process) {
	t.Helper()
	for range 10 {
		consumer.until("p1: ")
	}
	sum, count := 0.0, 0
	for _, line := range consumer.seen {
		var n, average float64
		var k int
		if _, err := fmt.Sscanf(line, "p1: %f, average of %d: %f", &n, &k, &average); err != nil {
			continue
		}
		sum += n
		count++
		if k != count || fmt.Sprintf("%.2f", sum/float64(count)) != fmt.Sprintf("%.2f", average) {
			t.Fatalf("number %d, sum %v: the consumer wrote %q", count, sum, line)
		}
	}
	if count < 10 {
		t.Fatalf("%d averages in %q", count, consumer.seen)
	}
}

func TestRequest(t *testing.T) {
	eachBroker(t, func(t *testing.T, server string) {
		service := start(t, "request", "-server", server, "-serve")
		service.until("serving")
		for question, answer := range map[string]string{"1 2 3.5": "6.5", "1 x": "not an array of numbers"} {
			caller := start(t, "request", append([]string{"-server", server}, strings.Fields(question)...)...)
			caller.until(answer)
			caller.wait()
		}
		service.interrupt()
	})
}

func TestOutbox(t *testing.T) {
	server, stop := startMidge(t, "")
	stop()
	file := filepath.Join(t.TempDir(), "outbox")
	run := func(wait string, texts ...string) *process {
		t.Helper()
		p := start(t, "outbox", append([]string{"-server", server, "-file", file, "-wait", wait}, texts...)...)
		p.wait()
		return p
	}
	says := func(p *process, lines ...string) {
		t.Helper()
		if strings.Join(p.seen, "\n") != strings.Join(lines, "\n") {
			t.Fatalf("outbox wrote %q, want %q", p.seen, lines)
		}
	}
	says(run("1s", "one", "two"), "from earlier runs: 0", "delivered: 0, kept for the next run: 2")
	says(run("1s", "three"), "from earlier runs: 2", "delivered: 0, kept for the next run: 3")
	server, _ = startMidge(t, strings.TrimPrefix(server, "mqtt://"))
	all := watch(t, server, "outbox/example")
	says(run("30s"), "from earlier runs: 3", "delivered: 3, kept for the next run: 0")
	for _, text := range []string{"one", "two", "three"} {
		want(t, all, text, false)
	}
	says(run("30s", "four"), "from earlier runs: 0", "delivered: 1, kept for the next run: 0")
	want(t, all, "four", false)
}

func TestFailover(t *testing.T) {
	first, stopFirst := startMidge(t, "")
	second, _ := startMidge(t, "")
	got := map[string]chan string{first: make(chan string, 10000), second: make(chan string, 10000)}
	for server, ch := range got {
		in := watch(t, server, "failover/count")
		go func() {
			for m := range in {
				ch <- string(m.Payload)
			}
		}()
	}
	p := start(t, "failover", "-servers", first+","+second, "-interval", "2ms", "-failback", "100ms")
	p.until("connected to " + first)
	p.until("acknowledged 5")
	stopFirst()
	p.until("connected to " + second)
	var line string
	for range 20 {
		line = p.until("acknowledged ")
	}
	last, err := strconv.Atoi(strings.TrimPrefix(line, "acknowledged "))
	if err != nil {
		t.Fatal(err)
	}
	startMidge(t, strings.TrimPrefix(first, "mqtt://"))
	p.until("connected to " + first)
	for range 20 {
		p.until("acknowledged ")
	}
	p.interrupt()

	// Whatever was acknowledged has arrived, here or there. After the return the first broker's watcher may have been away.
	arrived := map[string]bool{}
	deadline := time.After(patience)
	for n := range last + 1 {
		for !arrived[strconv.Itoa(n)] {
			select {
			case s := <-got[first]:
				arrived[s] = true
			case s := <-got[second]:
				arrived[s] = true
			case <-deadline:
				t.Fatalf("%d did not arrive, though all up to %d were acknowledged", n, last)
			}
		}
	}
}
