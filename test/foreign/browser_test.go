//go:build foreign

package foreign

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBrowserPage opens the page of examples/browser in headless Chromium: it follows the random numbers, publishes, and comes
// back after its connection was cut.
func TestBrowserPage(t *testing.T) {
	b := startBroker(t)
	p := startProxy(t, "browser", b.ws, true)
	peer := startDriver(t, libraries[0])
	c, _ := peer.connect(b, "peer", request{Version: 4, Clean: true})
	c.subscribe("random_numbers/page", 1, 0)
	c.publish(request{Topic: "random_numbers/p1", Payload: "7", QoS: 0, Retain: true})
	c.publish(request{Topic: "status/p1", Payload: "<b>here</b>", QoS: 1, Retain: true})

	broker := fmt.Sprintf("ws://127.0.0.1:%d/mqtt", p.port)
	page := openPage(t, serveExample(t)+"?broker="+url.QueryEscape(broker))
	page.do("wait", "#state", "connected")
	page.do("wait", "#values td", "random_numbers/p1")
	page.do("wait", "#values td", "7")
	page.do("wait", "#values td", "<b>here</b>") // text, not markup
	c.publish(request{Topic: "random_numbers/p1", Payload: "8", QoS: 1})
	page.do("wait", "#values td", "8")

	page.do("fill", "input[name=payload]", "41")
	page.do("click", "button", "")
	c.message("random_numbers/page", "41", 1)
	page.do("wait", "#published", "acknowledged: 41")
	page.do("wait", "#values td", "41")

	p.hold(true)
	p.cut()
	page.do("wait", "#state", "disconnected")
	p.hold(false)
	page.do("wait", "#state", "connected")
	c.publish(request{Topic: "random_numbers/p1", Payload: "9", QoS: 1})
	page.do("wait", "#values td", "9")
	page.close()
}

// serveExample runs the program examples/browser and returns the address it announces.
func serveExample(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "browser")
	if err := goBuild("../../examples/browser", path, "."); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-listen", "127.0.0.1:0", "-mqttjs", "js/node_modules/mqtt/dist/mqtt.min.js")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // killed: the status says nothing
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("examples/browser: %v", err)
	}
	return strings.TrimSpace(line)
}

// page is a page in a browser.
type page struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Scanner
}

func openPage(t *testing.T, address string) *page {
	t.Helper()
	p := &page{t: t, cmd: exec.Command("node", "js/browser.js", address, t.TempDir())}
	p.cmd.Stderr = os.Stderr
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(stdout)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	p.answer("open " + address)
	return p
}

func (p *page) do(what, selector, text string) {
	p.t.Helper()
	b, err := json.Marshal(map[string]string{"do": what, "selector": selector, "text": text})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.stdin.Write(append(b, '\n')); err != nil {
		p.t.Fatalf("browser: %v", err)
	}
	p.answer(string(b))
}

// answer reads one answer; the driver gives one within its own time limit.
func (p *page) answer(to string) {
	p.t.Helper()
	var a struct{ Error string }
	if !p.out.Scan() {
		p.t.Fatalf("browser: no answer to %s", to)
	}
	if err := json.Unmarshal(p.out.Bytes(), &a); err != nil || a.Error != "" {
		p.t.Fatalf("browser: %s: %s %v", to, a.Error, err)
	}
}

// close ends the browser.
func (p *page) close() {
	if p.cmd.ProcessState != nil {
		return
	}
	p.stdin.Close()
	timer := time.AfterFunc(patience, func() { p.cmd.Process.Kill() })
	defer timer.Stop()
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("browser: %v", err)
	}
}
