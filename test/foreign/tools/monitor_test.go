//go:build foreign

package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/cli/monitor"
	"github.com/midgemq/midge/internal/cli/reach"
)

// lockedBuffer is read while somebody writes it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// send publishes with Debian's client.
func send(t *testing.T, port int, args ...string) {
	t.Helper()
	if out, err := exec.Command("mosquitto_pub", append([]string{"-p", fmt.Sprint(port)}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub %v: %v\n%s", args, err, out)
	}
}

// TestMonitorLines follows topics where stdout is no terminal.
func TestMonitorLines(t *testing.T) {
	for name, start := range brokers {
		for _, version := range []string{"5", "311"} {
			t.Run(name+"/"+version, func(t *testing.T) {
				port := start(t, everybody)
				send(t, port, "-t", "home/door", "-m", "shut", "-r")
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				var out, errs lockedBuffer
				done := make(chan int, 1)
				go func() {
					done <- monitor.Run(&reach.Env{Context: ctx, Program: "midge monitor", Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs},
						[]string{"-b", "127.0.0.1", "-p", fmt.Sprint(port), "-c", "-d", "0.5", "-n", "4", "-V", version, "-t", "home/#"})
				}()
				for end := time.Now().Add(patience); !strings.Contains(out.String(), "shut"); {
					if time.Sleep(5 * time.Millisecond); time.Now().After(end) {
						t.Fatalf("no retained message: %s%s", out.String(), errs.String())
					}
				}
				for _, v := range []string{"open", "open", "shut\x1b[2J"} {
					send(t, port, "-t", "home/door", "-m", v)
				}
				send(t, port, "-t", "work/door", "-m", "open")
				send(t, port, "-t", "home/light", "-m", "on")
				if status := <-done; status != monitor.ExitOK {
					t.Errorf("status %d: %s", status, errs.String())
				}
				var got []string
				for _, l := range strings.Split(strings.TrimSpace(out.String()), "\n") {
					got = append(got, l[len("12:00:00.000 "):])
				}
				want := []string{"R home/door shut", "  home/door open", `  home/door shut\x1b[2J`, "  home/light on"}
				if strings.Join(got, "\n") != strings.Join(want, "\n") {
					t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			})
		}
	}
}

// TestMonitorJSON has every message as an object, bytes that are no text in base64.
func TestMonitorJSON(t *testing.T) {
	port := mosquitto(t, everybody)
	send(t, port, "-t", "a", "-m", "\xff\x01", "-r")
	status, out, errs := run(t, monitor.Run, "--json", "-n", "1", fmt.Sprintf("mqtt://127.0.0.1:%d/a", port))
	var l map[string]any
	if err := json.Unmarshal([]byte(out), &l); err != nil || status != monitor.ExitOK {
		t.Fatalf("status %d, %v: %s%s", status, err, out, errs)
	}
	if l["topic"] != "a" || l["payload"] != "/wE=" || l["base64"] != true || l["retain"] != true || l["changed"] != true {
		t.Errorf("%v", l)
	}
}
