//go:build foreign

package foreign

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The clients of Debian's package mosquitto-clients are programs: each invocation is one connection.

// mosquittoVersions are their names of the protocol levels.
var mosquittoVersions = []string{"31", "311", "5"}

func TestMosquittoClients(t *testing.T) {
	b := startBroker(t)
	for _, v := range mosquittoVersions {
		for _, s := range []struct {
			name string
			run  func(m *mosquittoClients)
		}{
			{"each QoS", (*mosquittoClients).eachQoS},
			{"retained", (*mosquittoClients).retained},
			{"will of a killed client", (*mosquittoClients).willOfKilledClient},
			{"takeover", (*mosquittoClients).takeover},
			{"persistent session", (*mosquittoClients).persistentSession},
			{"shared subscription", (*mosquittoClients).sharedSubscription},
			{"properties", (*mosquittoClients).properties},
			{"10 MiB", (*mosquittoClients).largePayload},
		} {
			if s.name == "properties" && v != "5" {
				continue
			}
			t.Run(versionOf(v)+"/"+s.name, func(t *testing.T) {
				s.run(&mosquittoClients{t: t, port: b.tcp, version: v})
			})
		}
	}
}

func versionOf(v string) string {
	return map[string]string{"31": "3.1", "311": "3.1.1", "5": "5.0"}[v]
}

// TestMosquittoExactlyOnce feeds mosquitto_pub line by line while the subscriber is cut again and again. With MQTT 5
// it is left alone: libmosquitto 2.0 counts a PUBLISH that is repeated after a cut twice against its own receive
// maximum and gives up.
func TestMosquittoExactlyOnce(t *testing.T) {
	for _, v := range []string{"311", "5"} {
		t.Run(versionOf(v), func(t *testing.T) {
			b := startBroker(t, "max_queued_messages 0")
			p := startProxy(t, "the subscriber", b.tcp, false)
			m := &mosquittoClients{t: t, port: b.tcp, version: v}
			sub := (&mosquittoClients{t: t, port: p.port, version: v}).sub(m.keep("-i", "once", "-q", "2", "-t", "once")...)
			var lines strings.Builder
			for i := range streamLength {
				fmt.Fprintln(&lines, i)
			}
			done := make(chan error, 1)
			go func() {
				_, err := m.run(strings.NewReader(lines.String()+"end\n"), "mosquitto_pub", "-i", "once-pub", "-q", "2", "-t", "once", "-l")
				done <- err
			}()
			// Seen in a trace: mosquitto_sub 2.0.11 was sent a PUBREL before a cut and
			// again after it, and printed the messages on both sides of that one, but
			// not the message. One for each cut is the client's, at the most.
			cutAt, forgiven := -1000, true
			for i := 0; i < streamLength; i++ {
				got := sub.message()
				if !forgiven && i-cutAt <= 40 && got == fmt.Sprintf("once 2 0 %d", i+1) {
					t.Logf("mosquitto_sub did not print number %d, across the cut behind number %d", i, cutAt)
					forgiven = true
					i++
				}
				if got != fmt.Sprintf("once 2 0 %d", i) {
					t.Fatalf("got %q, want number %d", got, i)
				}
				// The client waits a second before it connects again.
				if v == "311" && i%1500 == 1000 {
					p.cut()
					cutAt, forgiven = i, false
				}
			}
			if got := sub.message(); got != "once 2 0 end" {
				t.Fatalf("got %q behind the last message", got)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		})
	}
}

// mosquittoClients runs mosquitto_pub and mosquitto_sub against a port.
type mosquittoClients struct {
	t       *testing.T
	port    int
	version string
}

func (m *mosquittoClients) args(args []string) []string {
	return append([]string{"-h", "127.0.0.1", "-p", strconv.Itoa(m.port), "-V", "mqttv" + m.version}, args...)
}

// keep adds what makes a session outlive its connection.
func (m *mosquittoClients) keep(args ...string) []string {
	if m.version == "5" {
		args = append(args, "-x", "3600")
	}
	return append(args, "-c")
}

// unique marks names with the version, because all versions share a broker.
func (m *mosquittoClients) unique(name string) string { return name + "-" + m.version }

// run runs a client to its end, which must be a good one, and returns what it printed.
func (m *mosquittoClients) run(stdin io.Reader, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/usr/bin/"+name, m.args(args)...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), errors.Join(err, ctx.Err()), out)
	}
	return string(out), nil
}

func (m *mosquittoClients) pub(args ...string) {
	m.t.Helper()
	if _, err := m.run(nil, "mosquitto_pub", args...); err != nil {
		m.t.Fatal(err)
	}
}

// subscriber is a running mosquitto_sub.
type subscriber struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
}

// sub starts mosquitto_sub and waits until it has its SUBACK. Its messages are printed as topic, QoS, retain flag and
// payload.
func (m *mosquittoClients) sub(args ...string) *subscriber {
	m.t.Helper()
	args = m.args(append([]string{"-d", "-F", "MSG %t %q %r %p"}, args...))
	// Into a pipe it would write in blocks.
	cmd := exec.Command("stdbuf", append([]string{"-oL", "/usr/bin/mosquitto_sub"}, args...)...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	s := &subscriber{t: m.t, cmd: cmd, lines: make(chan string, 2*streamLength)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(s.lines)
		in := bufio.NewScanner(stdout)
		for in.Scan() {
			if l := in.Text(); !strings.Contains(l, " sending ") {
				s.lines <- l
			}
		}
	}()
	m.t.Cleanup(func() {
		cmd.Process.Kill()
		for range s.lines { // what nobody read must not keep the reader
		}
		<-ended
		cmd.Wait() // killed: the status says nothing
	})
	s.until("received SUBACK")
	return s
}

// until skips lines up to one that contains text.
func (s *subscriber) until(text string) string {
	s.t.Helper()
	timeout := time.After(patience)
	last := ""
	for {
		select {
		case l, ok := <-s.lines:
			if !ok {
				s.t.Fatalf("mosquitto_sub ended before it printed %q; its last line is %q", text, last)
			}
			if strings.Contains(l, text) {
				return l
			}
			last = l
		case <-timeout:
			s.t.Fatalf("mosquitto_sub did not print %q", text)
		}
	}
}

// message returns the next message.
func (s *subscriber) message() string {
	s.t.Helper()
	return strings.TrimPrefix(s.until("MSG "), "MSG ")
}

func (s *subscriber) expect(want string) {
	s.t.Helper()
	if got := s.message(); got != want {
		s.t.Fatalf("got message %q, want %q", got, want)
	}
}

func (m *mosquittoClients) eachQoS() {
	topic := m.unique("mqos")
	sub := m.sub("-q", "2", "-t", topic+"/#")
	for qos := range 3 {
		m.pub("-t", fmt.Sprintf("%s/%d", topic, qos), "-m", "hello wörld", "-q", strconv.Itoa(qos))
		sub.expect(fmt.Sprintf("%s/%d %d 0 hello wörld", topic, qos, qos))
	}
}

func (m *mosquittoClients) retained() {
	topic := m.unique("mretained")
	m.pub("-t", topic, "-m", "old", "-q", "1", "-r")
	m.pub("-t", topic, "-m", "last", "-q", "1", "-r")
	m.sub("-q", "1", "-t", topic).expect(topic + " 1 1 last")
	m.pub("-t", topic, "-n", "-q", "1", "-r")
	sub := m.sub("-q", "1", "-t", topic)
	m.pub("-t", topic, "-m", "live", "-q", "1")
	sub.expect(topic + " 1 0 live")
}

func (m *mosquittoClients) willOfKilledClient() {
	topic := m.unique("mwill")
	watcher := m.sub("-q", "1", "-t", topic)
	victim := m.sub("-t", topic+"/x", "--will-topic", topic, "--will-payload", "killed", "--will-qos", "1", "--will-retain")
	victim.cmd.Process.Kill()
	watcher.expect(topic + " 1 0 killed")
	m.sub("-q", "1", "-t", topic).expect(topic + " 1 1 killed")
}

// takeover: the subscriber is pushed out by a client that comes and goes. Told the reason, which only MQTT 5 can (and
// Mosquitto 2.0 does not), it ends; otherwise it connects again.
func (m *mosquittoClients) takeover() {
	id, topic := m.unique("mtaken"), m.unique("mtakeover")
	sub := m.sub("-i", id, "-q", "1", "-t", topic)
	m.pub("-i", id, "-t", topic, "-m", "from its successor", "-q", "1")
	if m.version == "5" && isMidge {
		sub.until("Received DISCONNECT (142)")
		return
	}
	sub.until("received SUBACK")
	m.pub("-t", topic, "-m", "back", "-q", "1")
	sub.expect(topic + " 1 0 back")
}

func (m *mosquittoClients) persistentSession() {
	topic := m.unique("mpersistent")
	args := m.keep("-i", m.unique("mpers"), "-q", "2", "-t", topic+"/#")
	// -E leaves after the SUBACK, with a DISCONNECT.
	if _, err := m.run(nil, "mosquitto_sub", append(args, "-E")...); err != nil {
		m.t.Fatal(err)
	}
	for i := range 6 {
		m.pub("-t", topic+"/x", "-m", strconv.Itoa(i), "-q", strconv.Itoa(1+i%2))
	}
	// Mixed, because QoS 2 messages are printed when their exchange is over.
	out, err := m.run(nil, "mosquitto_sub", append(args, "-C", "6", "-F", "%q%p")...)
	if err != nil {
		m.t.Fatal(err)
	}
	got := map[string]string{}
	for _, l := range strings.Fields(out) {
		got[l[:1]] += l[1:]
	}
	if got["1"] != "024" || got["2"] != "135" || len(got) != 2 {
		m.t.Fatalf("the session kept %q", out)
	}
}

func (m *mosquittoClients) sharedSubscription() {
	topic := m.unique("mshared")
	var members []*subscriber
	for range 2 {
		members = append(members, m.sub("-q", "1", "-t", "$share/g/"+topic))
	}
	for i := range 6 {
		m.pub("-t", topic, "-m", strconv.Itoa(i), "-q", "1")
	}
	seen := map[string]bool{}
	for _, s := range members {
		for range 3 {
			msg := s.message()
			if seen[msg] || !strings.HasPrefix(msg, topic+" 1 0 ") {
				m.t.Fatalf("got %q, have %v", msg, seen)
			}
			seen[msg] = true
		}
	}
}

func (m *mosquittoClients) properties() {
	sub := m.sub("-q", "1", "-t", "mprop", "-F", "MSG %j")
	m.pub("-t", "mprop", "-m", "x", "-q", "1",
		"-D", "publish", "content-type", "text/plain", "-D", "publish", "response-topic", "mprop/reply",
		"-D", "publish", "correlation-data", "corr", "-D", "publish", "payload-format-indicator", "1",
		"-D", "publish", "message-expiry-interval", "300", "-D", "publish", "user-property", "k", "v")
	var got struct {
		Topic, Payload string
		QoS            int
		Properties     map[string]any
	}
	line := sub.message()
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		m.t.Fatalf("%v: %s", err, line)
	}
	expiry, ok := got.Properties["message-expiry-interval"].(float64)
	delete(got.Properties, "message-expiry-interval")
	want := `{"content-type":"text/plain","correlation-data":"corr","payload-format-indicator":1,` +
		`"response-topic":"mprop/reply","user-properties":{"k":"v"}}`
	props, err := json.Marshal(got.Properties)
	if err != nil || string(props) != want || !ok || expiry < 1 || expiry > 300 || got.Payload != "x" || got.QoS != 1 {
		m.t.Fatalf("got %s", line)
	}
}

func (m *mosquittoClients) largePayload() {
	topic := m.unique("mlarge")
	payload := pattern(10 << 20)
	file := filepath.Join(m.t.TempDir(), "payload")
	if err := os.WriteFile(file, payload, 0o600); err != nil {
		m.t.Fatal(err)
	}
	sub := exec.Command("/usr/bin/mosquitto_sub", m.args([]string{"-q", "1", "-t", topic, "-C", "1", "-N", "-W", "60"})...)
	m.pub("-t", topic, "-f", file, "-q", "1", "-r")
	out, err := sub.Output()
	if err != nil || sha256.Sum256(out) != sha256.Sum256(payload) {
		m.t.Fatalf("got %d bytes, equal %v, %v", len(out), bytes.Equal(out, payload), err)
	}
	m.pub("-t", topic, "-n", "-q", "1", "-r")
}
