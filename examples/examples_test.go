package examples

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/config"
)

var binaries string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "midge-examples-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "examples:", err)
		os.Exit(1)
	}
	binaries = dir
	cmd := exec.Command("go", "build", "-o", dir, "./...")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "examples: build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// start runs a broker on a free port and returns its URL.
func start(t *testing.T) (url string, stop func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "broker.conf")
	if err := os.WriteFile(file, []byte("allow_anonymous true\nsys_interval 1\nlistener 1883 127.0.0.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Args{Files: []string{file}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Listeners[0].Port = 0 // any free one
	b, err := broker.New(broker.Options{Config: c, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop = func() { once.Do(func() { b.Close(context.Background()) }) }
	t.Cleanup(stop)
	return "mqtt://" + b.Addresses()[0], stop
}

// program is a running example.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	log   bytes.Buffer
}

func run(t *testing.T, stdin string, name string, args ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command(filepath.Join(binaries, name), args...), lines: make(chan string, 1000)}
	p.cmd.Stdin, p.cmd.Stderr = strings.NewReader(stdin), &p.log
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
	t.Cleanup(func() { p.cmd.Process.Kill(); p.cmd.Wait() })
	return p
}

// expect waits for a line that matches.
func (p *program) expect(pattern string) string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(20 * time.Second)
	for {
		select {
		case line, open := <-p.lines:
			if !open {
				p.t.Fatalf("%s ended without %q: %s", p.cmd.Path, pattern, p.log.String())
			}
			if re.MatchString(line) {
				return line
			}
		case <-deadline:
			p.t.Fatalf("%s did not print %q: %s", p.cmd.Path, pattern, p.log.String())
		}
	}
}

func TestProducerAndConsumer(t *testing.T) {
	url, _ := start(t)
	consumer := run(t, "", "consumer", "-server", url)
	consumer.expect(`^\$SYS/broker/clients/connected: \d+$`)
	producer := run(t, "", "producer", "-server", url, "-id", "p1", "-interval", "10ms")
	producer.expect(`^published \d+$`)
	consumer.expect(`^status/p1: online$`)
	consumer.expect(`^random_numbers/p1: \d+, average of [3-9]: \d+\.\d\d$`)
	producer.cmd.Process.Kill() // the will tells
	consumer.expect(`^status/p1: gone$`)
	producer = run(t, "", "producer", "-server", url, "-id", "p2", "-interval", "10ms")
	consumer.expect(`^status/p2: online$`)
	producer.cmd.Process.Signal(os.Interrupt)
	consumer.expect(`^status/p2: gone$`)

	consumer.cmd.Process.Signal(os.Interrupt)
	if err := consumer.cmd.Wait(); err != nil {
		t.Errorf("consumer: %v: %s", err, consumer.log.String())
	}
	run(t, "", "producer", "-server", url, "-id", "p3", "-interval", "1h").expect("published")
	// The session has kept the status that came while the consumer was away.
	consumer = run(t, "", "consumer", "-server", url)
	consumer.expect(`^status/p3: online$`)
}

func TestRequest(t *testing.T) {
	url, _ := start(t)
	run(t, "", "request", "-server", url, "-serve").expect("serving")
	caller := run(t, "", "request", "-server", url, "3", "1.5", "x")
	for _, want := range []string{"^3: 9$", `^1\.5: 2\.25$`, "^x: not a number$"} {
		caller.expect(want)
	}
}

func TestOutbox(t *testing.T) {
	file := filepath.Join(t.TempDir(), "outbox")
	away := run(t, "one\ntwo\n", "outbox", "-server", "mqtt://127.0.0.1:1", "-file", file, "-wait", "10ms")
	away.expect("^saved: one$")
	away.expect("^saved: two$")
	away.expect("^still in the outbox: 2$")
	if err := away.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	url, _ := start(t)
	again := run(t, "three\n", "outbox", "-server", url, "-file", file)
	again.expect("^left by an earlier run: 2$")
	again.expect("^saved: three$")
	again.expect("^all delivered$")
}

func TestFailover(t *testing.T) {
	one, stop := start(t)
	two, _ := start(t)
	p := run(t, "", "failover", "-servers", one+","+two, "-interval", "10ms", "-back", "1h")
	p.expect("^connected to " + regexp.QuoteMeta(one) + "$")
	stop()
	p.expect("^connected to " + regexp.QuoteMeta(two) + "$")
}

func TestBrowser(t *testing.T) {
	js := filepath.Join(t.TempDir(), "mqtt.min.js")
	if err := os.WriteFile(js, []byte("// mqtt.js"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := run(t, "", "browser", "-listen", "127.0.0.1:0", "-mqttjs", js)
	base := p.expect("^http://")
	get := func(path string) string {
		resp, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d, %v", path, resp.StatusCode, err)
		}
		return string(b)
	}
	page := get("")
	for _, m := range regexp.MustCompile(`src="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if get(m[1]) == "" {
			t.Errorf("%s is empty", m[1])
		}
	}
	if !strings.Contains(get("app.js"), `"random_numbers/+"`) {
		t.Error("the page does not ask for the numbers")
	}
}
