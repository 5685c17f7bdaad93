package options

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

func TestLogTypeAndConnectionMessages(t *testing.T) {
	r := start(t, head)
	comes := func(id string) bool {
		t.Helper()
		r.open(4, id).leave()
		r.log.Error("mark %s", id)
		return strings.Contains(r.logged(), " as "+id+" (p4, c1, k0)")
	}
	if !comes("a") {
		t.Error("no line without an option")
	}
	r.reload(head + "connection_messages false\n")
	if comes("b") {
		t.Error("a line with connection_messages false")
	}
	r.reload(head + "log_type error\n")
	if comes("c") {
		t.Error("a line with log_type error")
	}
	r.reload(head + "log_type debug\n")
	r.open(4, "d")
	r.awaitLog("Sending CONNACK to d (0, 0)")
}

func TestLogTimestamp(t *testing.T) {
	r := start(t, head)
	last := func() string {
		r.log.Error("mark")
		lines := strings.Split(strings.TrimSuffix(r.logged(), "\n"), "\n")
		return lines[len(lines)-1]
	}
	stamp, _, _ := strings.Cut(last(), ": ")
	if n, err := strconv.ParseInt(stamp, 10, 64); err != nil || time.Since(time.Unix(n, 0)).Abs() > time.Minute {
		t.Errorf("stamp %q", stamp)
	}
	r.reload(head + "log_timestamp_format year %Y\n")
	if got := last(); !strings.HasPrefix(got, "year 2") || !strings.HasSuffix(got, ": mark") {
		t.Errorf("%q", got)
	}
	r.reload(head + "log_timestamp false\n")
	if got := last(); got != "mark" {
		t.Errorf("%q", got)
	}
}

func TestLogDest(t *testing.T) {
	r := start(t, head+"log_timestamp false\n")
	s := r.open(4, "s")
	s.subscribe("$SYS/broker/log/#", 0)
	r.reload(head + "log_timestamp false\nlog_dest topic\nlog_dest file DIR/log\n")
	r.log.Error("there")
	for {
		if p := s.expect(rawmqtt.PUBLISH); p.Topic == "$SYS/broker/log/E" {
			if string(p.Payload) != "there" {
				t.Errorf("%v", p)
			}
			break
		}
	}
	text, err := os.ReadFile(filepath.Join(r.dir, "log"))
	if err != nil || !strings.HasSuffix(string(text), "there\n") {
		t.Errorf("file: %q, %v", text, err)
	}
	if strings.Contains(r.logged(), "there") {
		t.Error("on stderr, too")
	}
	r.reload(head + "log_timestamp false\nlog_dest none\n")
	r.log.Error("nowhere")
	if again, _ := os.ReadFile(filepath.Join(r.dir, "log")); strings.Contains(string(again), "nowhere") {
		t.Error("a line with log_dest none")
	}
}

func TestIncludeDir(t *testing.T) {
	r := prepare(t)
	if err := os.Mkdir(filepath.Join(r.dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	r.file("d/aa.conf", "max_keepalive 10\n")
	r.run(head + "include_dir DIR/d\nmax_connections 5\n")
	if r.cfg.Listeners[0].MaxConnections != 5 {
		t.Error("the section of the main file ended with the included one")
	}
	c, got := r.ask(5, "c", keepAlive(60))
	if property(got, serverKeep, 0) != 10 {
		t.Errorf("%v", got)
	}
	c.leave()
	r.file("d/aa.conf", "max_keepalive 20\n")
	r.reload(head + "include_dir DIR/d\nmax_connections 5\n")
	if _, got := r.ask(5, "c", keepAlive(60)); property(got, serverKeep, 0) != 20 {
		t.Errorf("after the reload: %v", got)
	}
}

func TestSubscriptionsAreDumped(t *testing.T) {
	r := start(t, head+"sys_interval 0\n")
	a, b := r.open(4, "a"), r.open(4, "b")
	for _, f := range []string{"home/+/t", "home", "$share/g/x"} {
		a.subscribe(f, 1)
	}
	b.subscribe("home/+/t", 0)
	var out strings.Builder
	if err := r.b.DumpSubscriptions(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	want := "Subscriptions:\n  $share\n    g\n      x (a, 1)\n  home (a, 1)\n    +\n      t (a, 1) (b, 0)\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
