package crash

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
	"github.com/midgemq/midge/internal/testkit/target"
)

var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "midge-crash")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = os.Getenv("MIDGE")
	if program == "" {
		program = filepath.Join(dir, "midge")
		out, err := exec.Command("go", "build", "-o", program, "github.com/midgemq/midge/cmd/midge").CombinedOutput()
		if err != nil {
			fmt.Fprintf(os.Stderr, "build midge: %v\n%s", err, out)
			os.Exit(1)
		}
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// setting is a number from the environment.
func setting(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is not a number from 1", name, text)
	}
	return n
}

func rounds(t *testing.T) int { return setting(t, "ROUNDS", 4) }

// world is one broker with its clients.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	dir     string
	addr    string
	conf    string
	cmd     *exec.Cmd
	ended   chan error // has how cmd ended
	log     *os.File
	repeats atomic.Int64

	held atomic.Bool // clients wait before they connect

	mu          sync.Mutex
	failures    []string
	tolerant    bool // the store has reported a loss
	differences []difference

	pubs     []*publisher
	retainer *publisher
	online   []*subscriber
	away     []*subscriber
	changers []*changer
	values   [10]atomic.Pointer[string] // retained values as last sent
	flips    flips
}

func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.failures) < 20 {
		w.failures = append(w.failures, fmt.Sprintf(format, args...))
	}
}

func (w *world) check() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.failures) == 0 {
		return
	}
	for _, f := range w.failures {
		w.t.Error(f)
	}
	w.t.Fatalf("store and log are in %s", w.keep())
}

// keep saves the store from being removed with the test's directory.
func (w *world) keep() string {
	to, err := os.MkdirTemp("", "midge-crash-kept")
	if err != nil {
		return err.Error()
	}
	if err := os.CopyFS(filepath.Join(to, "data"), os.DirFS(filepath.Join(w.dir, "data"))); err != nil {
		return err.Error()
	}
	if b, err := os.ReadFile(filepath.Join(w.dir, "log")); err == nil {
		_ = os.WriteFile(filepath.Join(to, "log"), b, 0o600)
	}
	return to
}

// padding makes messages of different sizes.
func padding(n int) string {
	switch n % 7 {
	case 0:
		return " " + strings.Repeat("x", 1500)
	case 1:
		return ""
	}
	return " " + strings.Repeat("y", n%90)
}

func newWorld(t *testing.T, extra string) *world {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("SEED: %v", err)
		}
		seed = n
	}
	t.Logf("SEED=%d", seed)
	port, err := target.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir(), addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	w.conf = filepath.Join(w.dir, "m.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\ncontrol_socket %s\nuser root\npersistence true\npersistence_location %s\n%s",
		port, filepath.Join(w.dir, "c.sock"), filepath.Join(w.dir, "data"), extra)
	if err := os.WriteFile(w.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if w.log, err = os.Create(filepath.Join(w.dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if w.cmd != nil {
			w.kill()
		}
		_ = w.log.Close()
	})
	return w
}

// launch starts the broker and waits until it answers.
func (w *world) launch() {
	w.t.Helper()
	w.cmd = exec.Command(program, "serve", "-c", w.conf)
	w.cmd.Stderr, w.cmd.Stdout, w.cmd.Dir = w.log, w.log, w.dir
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	cmd, ended := w.cmd, make(chan error, 1)
	w.ended = ended
	go func() { ended <- cmd.Wait() }()
	for began := time.Now(); ; {
		c, err := net.Dial("tcp", w.addr)
		if err == nil {
			_ = c.Close()
			return
		}
		select {
		case err := <-ended:
			w.cmd = nil
			w.t.Fatalf("the broker ends at its start: %v; see %s", err, w.keep())
		default:
		}
		if time.Since(began) > time.Minute {
			w.t.Fatalf("the broker does not listen after a minute; see %s", w.keep())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (w *world) kill() {
	_ = w.cmd.Process.Kill()
	<-w.ended
	w.cmd = nil
}

func (w *world) terminate() {
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	if err := <-w.ended; err != nil {
		w.fail("the broker did not stop in order: %v", err)
	}
	w.cmd = nil
}

func (w *world) wait(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !ok() {
		w.mu.Lock()
		bad := len(w.failures) > 0
		w.mu.Unlock()
		if bad {
			w.check()
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("waited a minute for %s; see %s", what, w.keep())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// people makes the clients and waits until every subscription is acknowledged.
func (w *world) people() {
	level := func(i int) byte { return []byte{rawmqtt.V311, rawmqtt.V5}[i%2] }
	for i := range 4 {
		w.online = append(w.online, newSubscriber(w, fmt.Sprint("online", i), level(i), byte(1+i/2)))
		w.away = append(w.away, newSubscriber(w, fmt.Sprint("away", i), level(i), byte(1+i/2)))
	}
	for i := range 3 {
		w.changers = append(w.changers, &changer{base: newBase(w, fmt.Sprintf("changer%d", i), level(i)), topics: 8, state: make([]int8, 8), seen: map[string]bool{}, endings: make(chan string, 4)})
	}
	for i := range 6 {
		w.pubs = append(w.pubs, &publisher{base: newBase(w, fmt.Sprintf("pub%d", i), level(i/2)), topic: fmt.Sprintf("p/%d", i), qos: byte(1 + i%2)})
	}
	w.retainer = &publisher{base: newBase(w, "retainer", rawmqtt.V5), qos: 1, retain: func(n int) (string, string) {
		k := n % len(w.values)
		v := fmt.Sprintf("value %d", n)
		if n%13 == 0 {
			v = "" // deletes
		}
		w.values[k].Store(&v)
		return fmt.Sprintf("r/%d", k), v
	}}
	for _, s := range w.subscribers() {
		s.run()
		<-s.suback
	}
	for _, s := range w.away {
		s.stop(w.rng.IntN(2) == 0)
	}
	for _, c := range w.changers {
		c.run()
	}
	for _, p := range w.publishers() {
		p.run()
	}
}

func (w *world) pause(yes bool) {
	for _, p := range w.publishers() {
		p.paused.Store(yes)
	}
	for _, c := range w.changers {
		c.paused.Store(yes)
	}
}

func (w *world) publishers() []*publisher { return append(slices.Clip(w.pubs), w.retainer) }

func (w *world) subscribers() []*subscriber { return append(slices.Clip(w.online), w.away...) }

// verify stops the traffic, holds everything against what was acknowledged and
// lets the traffic go on.
func (w *world) verify() {
	w.t.Helper()
	w.compare()
	w.resume()
}

func (w *world) compare() {
	w.t.Helper()
	w.pause(true)
	for _, s := range w.away {
		s.run()
	}
	w.acknowledged()
	if w.tolerant {
		w.markers()
	}
	w.delivered()
	w.verifyRetained()
	for _, c := range w.changers {
		w.verifyChanger(c)
	}
}

func (w *world) resume() {
	w.t.Helper()
	for _, s := range w.away {
		s.stop(w.rng.IntN(2) == 0)
	}
	w.check()
	w.pause(false)
}

// acknowledged waits until no publisher waits.
func (w *world) acknowledged() {
	w.t.Helper()
	for _, p := range w.publishers() {
		w.wait("the acknowledgements of "+p.id, func() bool { return p.waiting() == 0 })
	}
}

// delivered waits until every subscriber has the last message of each publisher.
func (w *world) delivered() {
	w.t.Helper()
	for _, s := range w.subscribers() {
		for _, p := range w.pubs {
			w.wait(fmt.Sprintf("%s to get all %d messages of %s", s.id, p.last(), p.id), func() bool { return s.behind(p.topic, p.last()) == 0 })
		}
	}
}

func (w *world) verifyRetained() {
	l, err := dial(w.addr, "", rawmqtt.V311, true)
	if err != nil {
		w.fail("look at the retained messages: %v", err)
		return
	}
	defer l.close()
	_ = l.c.SetDeadline(time.Now().Add(20 * time.Second))
	// The second subscription's answer says that the messages of the first have come.
	_ = l.send(&rawmqtt.Packet{Type: rawmqtt.SUBSCRIBE, Flags: 2, ID: 1, Filters: []rawmqtt.Filter{{Filter: "r/#"}}})
	_ = l.send(&rawmqtt.Packet{Type: rawmqtt.SUBSCRIBE, Flags: 2, ID: 2, Filters: []rawmqtt.Filter{{Filter: "none"}}})
	have := map[string]string{}
	for {
		k, err := l.read()
		if err != nil {
			w.fail("look at the retained messages: %v", err)
			return
		}
		if k.kind == rawmqtt.PUBLISH {
			have[k.topic] = k.payload
		}
		if k.kind == rawmqtt.SUBACK && k.id == 2 {
			break
		}
	}
	for k := range w.values {
		want := ""
		if v := w.values[k].Load(); v != nil {
			want = *v
		}
		topic := fmt.Sprintf("r/%d", k)
		if got := have[topic]; got != want {
			var n int
			if _, err := fmt.Sscanf(got, "value %d", &n); got != "" && (err != nil || n%len(w.values) != k || n > w.retainer.last()) {
				w.fail("retained %s is %q, which nobody published", topic, got)
			}
			w.differ(difference{client: fmt.Sprintf("%q in place of %q", got, want), what: retained, topic: topic})
			w.values[k].Store(&got)
		}
	}
}

var tokens atomic.Int64

// verifyChanger publishes to every topic that the client may have subscribed to.
func (w *world) verifyChanger(c *changer) {
	w.wait(c.id+" to connect", func() bool { return c.connected() && c.ready.Load() })
	for len(c.endings) > 0 {
		<-c.endings
	}
	l, err := dial(w.addr, "", rawmqtt.V311, true)
	if err != nil {
		w.fail("probe: %v", err)
		return
	}
	defer l.close()
	_ = l.c.SetDeadline(time.Now().Add(20 * time.Second))
	token := make([]string, c.topics+1)
	for k := range token {
		topic := fmt.Sprintf("c/%s/end", c.id)
		if k < c.topics {
			topic = c.topic(k)
		}
		token[k] = fmt.Sprint("token ", tokens.Add(1))
		if l.send(&rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: 2, ID: uint16(k + 1), Topic: topic, Payload: []byte(token[k])}) != nil {
			return
		}
		if a, err := l.read(); err != nil || a.kind != rawmqtt.PUBACK {
			w.fail("probe: no PUBACK: %v", err)
			return
		}
	}
	for {
		select {
		case got := <-c.endings:
			if got != token[c.topics] {
				continue
			}
		case <-time.After(30 * time.Second):
			w.fail("%s does not get the message that ends the probe: its subscription is lost", c.id)
		}
		break
	}
	c.m.Lock()
	defer c.m.Unlock()
	for k := range c.topics {
		seen := c.seen[token[k]]
		switch {
		case c.state[k] < 0: // no answer came before the end: either is right
			c.state[k] = 0
			if seen {
				c.state[k] = 1
			}
		case seen != (c.state[k] == 1):
			w.differ(difference{client: c.id, what: subscription, topic: c.topic(k), n: int(c.state[k])})
			c.state[k] = 1 - c.state[k]
		}
	}
	clear(c.seen)
}

// TestKill: nothing that was acknowledged is lost, QoS 2 is not doubled, order is
// kept. In every tenth round, or the last of a run of less than ten, a bit of
// the store is flipped, too: the broker starts, and what is missing then is what
// it reports.
func TestKill(t *testing.T) {
	w := newWorld(t, "max_queued_messages 0\nsys_interval 1\n")
	w.launch()
	w.people()
	n := rounds(t)
	every := min(setting(t, "FLIP_EVERY", 10), n)
	began := time.Now()
	for i := range n {
		time.Sleep(time.Duration(30+w.rng.IntN(700)) * time.Millisecond)
		if w.rng.IntN(3) == 0 { // somebody comes back and is cut off, too
			for _, s := range w.away {
				if w.rng.IntN(2) == 0 {
					s.run()
				}
			}
			time.Sleep(time.Duration(w.rng.IntN(60)) * time.Millisecond)
		}
		if w.rng.IntN(10) == 0 {
			w.terminate()
		} else {
			w.kill()
		}
		for _, s := range w.away {
			if s.wanted.Load() {
				s.stop(false)
			}
		}
		if i%every == every-1 {
			w.flipped(i)
			continue
		}
		w.launch()
		if i%3 == 2 && i != n-1 {
			continue // killed again before anything is in order
		}
		w.verify()
	}
	w.verify()
	w.pause(true)
	total := int64(0)
	for _, p := range w.pubs {
		total += p.acked.Load()
	}
	t.Logf("%d rounds in %v: %d messages acknowledged to their publishers, each for %d subscribers; %d QoS 1 repeats; %s",
		n, time.Since(began).Round(time.Second), total, len(w.online)+len(w.away), w.repeats.Load(), w.flips)
	for _, c := range w.everybody() {
		c.stop(true)
	}
	w.terminate()
	w.check()
}

func (w *world) everybody() (list []interface{ stop(bool) }) {
	for _, p := range w.publishers() {
		list = append(list, p)
	}
	for _, s := range w.online {
		list = append(list, s)
	}
	for _, c := range w.changers {
		list = append(list, c)
	}
	return list
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) mustDial(id string, level byte) *link {
	w.t.Helper()
	l, err := dial(w.addr, id, level, true)
	if err != nil {
		w.t.Fatalf("connect %s: %v", id, err)
	}
	w.t.Cleanup(l.close)
	return l
}

// next reads until a packet of this type comes.
func (w *world) next(l *link, kind byte) *packet {
	w.t.Helper()
	_ = l.c.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		k, err := l.read()
		if err != nil {
			w.t.Fatalf("waiting for packet type %d: %v", kind, err)
		}
		if k.kind == kind {
			return k
		}
	}
}
