//go:build unix

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/admin"
)

// patience bounds every wait in these tests.
const patience = 5 * time.Minute

// process is a broker process.
type process struct {
	cmd    *exec.Cmd
	port   int
	dir    string
	exited chan struct{}

	mu  sync.Mutex
	log bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *process) lines() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return untimed(p.log.String())
}

// freePort returns a port that was free a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// spawn starts the program with args in a directory of its own, which has the
// file m.conf. PORT in the file stands for a free port.
func spawn(t *testing.T, conf, program string, args ...string) *process {
	t.Helper()
	dir, err := os.MkdirTemp("", "cli")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &process{port: freePort(t), dir: dir, exited: make(chan struct{})}
	conf = strings.ReplaceAll(conf, "PORT", strconv.Itoa(p.port))
	if err := os.WriteFile(filepath.Join(dir, "m.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "PORT", strconv.Itoa(p.port))
	}
	p.cmd = exec.Command(os.Args[0], args...)
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), asProgram+"="+program)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.exited) }()
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); <-p.exited })
	return p
}

// await waits for a line that contains text.
func (p *process) await(t *testing.T, text string) {
	t.Helper()
	for limit := time.Now().Add(patience); !strings.Contains(p.lines(), text); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("no %q in %q", text, p.lines())
		}
	}
}

// status waits for the end.
func (p *process) status(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatalf("still running: %q", p.lines())
		return -1
	}
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

const running = "mosquitto version 2.1.2 (midge test) running\n"

// plain is a configuration that runs as root, too, and does not touch the
// machine's default control socket.
const plain = "listener PORT 127.0.0.1\nallow_anonymous true\nuser root\ncontrol_socket ctl\npid_file pid\n"

// ordered reports whether the texts appear in s one after the other.
func ordered(s string, texts ...string) error {
	for _, text := range texts {
		at := strings.Index(s, text)
		if at < 0 {
			return fmt.Errorf("no %q, in its place, in %q", text, s)
		}
		s = s[at+len(text):]
	}
	return nil
}

func TestLifeOfABroker(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{"mosquitto": syscall.SIGTERM, "midge": syscall.SIGINT} {
		args := []string{"-c", "m.conf"}
		if name == "midge" {
			args = append([]string{"serve"}, args...)
		}
		p := spawn(t, plain, name, args...)
		p.await(t, "Try: ")
		pid, err := os.ReadFile(filepath.Join(p.dir, "pid"))
		if err != nil || string(pid) != strconv.Itoa(p.cmd.Process.Pid) {
			t.Errorf("pid file holds %q, %v", pid, err)
		}
		for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE} {
			p.signal(t, s)
		}
		p.await(t, "There is nothing to save: persistence is off.\n")
		p.await(t, "Subscriptions:\n")
		p.signal(t, sig)
		if status := p.status(t); status != 0 {
			t.Errorf("%v: status %d", sig, status)
		}
		if err := ordered(p.lines(),
			"Info: running mosquitto as user: ",
			"mosquitto version 2.1.2 (midge test) starting\n",
			"Config loaded from m.conf.\n",
			"Persistence support available.\n",
			"TLS support available.\n",
			"Websockets support available.\n",
			fmt.Sprintf("Opening ipv4 listen socket on port %d.\n", p.port),
			running,
			fmt.Sprintf("Clients can connect, without a user name, to 127.0.0.1 port %d.\n", p.port),
			"mosquitto version 2.1.2 (midge test) terminating\n",
		); err != nil {
			t.Error(err)
		}
		for _, left := range []string{"pid", "ctl"} {
			if _, err := os.Lstat(filepath.Join(p.dir, left)); !os.IsNotExist(err) {
				t.Errorf("%s is left: %v", left, err)
			}
		}
	}
}

func TestLocalOnly(t *testing.T) {
	p := spawn(t, "control_socket none\nuser root\n", "mosquitto", "-c", "m.conf", "-p", "PORT")
	p.await(t, "Try: ")
	for _, address := range []string{"127.0.0.1", "::1"} {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(address, strconv.Itoa(p.port)), patience)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		c.Close()
	}
	p.signal(t, syscall.SIGTERM)
	if status := p.status(t); status != 0 {
		t.Errorf("status %d", status)
	}
	if err := ordered(p.lines(),
		"Starting in local only mode. Connections will only be possible from clients running on this machine.\n",
		"Create a configuration file which defines a listener to allow remote access.\n",
		"For more details see https://mosquitto.org/documentation/authentication-methods/\n",
		running,
		fmt.Sprintf("Clients on this machine can connect, without a user name, to port %d.\n", p.port)); err != nil {
		t.Error(err)
	}
}

func TestFailuresToStart(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	taken := strconv.Itoa(busy.Addr().(*net.TCPAddr).Port)
	for _, tc := range []struct {
		name, conf string
		status     int
		want       string
	}{
		{"port in use", "listener " + taken + " 127.0.0.1\nuser root\ncontrol_socket none\n", 1, "ddress already in use"},
		{"second port in use", "listener PORT 127.0.0.1\nlistener " + taken + " 127.0.0.1\nuser root\ncontrol_socket none\n", 1, "ddress already in use"},
		{"control socket", "listener PORT 127.0.0.1\nuser root\ncontrol_socket no/such/dir/s\n", 1, "control socket no/such/dir/s"},
		{"pid file", "listener PORT 127.0.0.1\nuser root\npid_file no/such/dir/p\ncontrol_socket none\n", 14, "Error: Unable to write pid file.\n"},
	} {
		p := spawn(t, tc.conf, "mosquitto", "-c", "m.conf")
		if status := p.status(t); status != tc.status || !strings.Contains(p.lines(), tc.want) || strings.Contains(p.lines(), running) {
			t.Errorf("%s: status %d, %q", tc.name, status, p.lines())
		}
	}
}

func TestUserThatDoesNotExist(t *testing.T) {
	p := spawn(t, "listener PORT 127.0.0.1\nuser no-such-user\ncontrol_socket none\n", "mosquitto", "-c", "m.conf")
	if os.Geteuid() != 0 {
		// The option is for root; others stay who they are.
		p.await(t, running)
		p.signal(t, syscall.SIGTERM)
		if status := p.status(t); status != 0 {
			t.Errorf("status %d", status)
		}
		return
	}
	want := "Error: Unable to drop privileges to 'no-such-user' because this user does not exist.\n"
	if status := p.status(t); status != 3 || p.lines() != want {
		t.Errorf("status %d, %q", status, p.lines())
	}
}

func TestRootBecomesTheUser(t *testing.T) {
	p := spawn(t, "listener PORT 127.0.0.1\nuser nobody\ncontrol_socket none\n", "mosquitto", "-c", "m.conf")
	p.await(t, running)
	want := "user: "
	if os.Geteuid() == 0 {
		want = "Info: running mosquitto as user: nobody.\n"
	}
	if !strings.Contains(p.lines(), want) {
		t.Errorf("%q", p.lines())
	}
	p.signal(t, syscall.SIGTERM)
	if status := p.status(t); status != 0 {
		t.Errorf("status %d", status)
	}
}

func TestReload(t *testing.T) {
	p := spawn(t, plain+"log_type all\n", "mosquitto", "-c", "m.conf")
	p.await(t, running)
	rewrite := func(text string) {
		t.Helper()
		text = strings.ReplaceAll(text, "PORT", strconv.Itoa(p.port))
		if err := os.WriteFile(filepath.Join(p.dir, "m.conf"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p.signal(t, syscall.SIGHUP)
	}
	rewrite(plain + "log_type all\nfoo\n")
	p.await(t, "Error: The configuration was not reloaded, the one before stays in force.\n")
	rewrite(plain + "log_type all\nuser nobody\nlistener 1 127.0.0.1\n")
	p.await(t, "Warning: The new listener '1 127.0.0.1' needs a restart.\n")
	rewrite(plain + "log_type warning\nlog_timestamp_format T%Y\nloops 5\n")
	p.await(t, "Warning: The change of 'loops' from '0' to '5' needs a restart.\n")
	rewrite(plain + "log_type warning\nlog_timestamp_format T%Y\nloops 6\n")
	p.await(t, "T"+strconv.Itoa(time.Now().Year())+": Warning: The change of 'loops' from '0' to '6' needs a restart.\n")
	p.signal(t, syscall.SIGTERM)
	if status := p.status(t); status != 0 {
		t.Errorf("status %d", status)
	}
	if err := ordered(p.lines(),
		"Reloading config.\n",
		"Error: Unknown configuration variable 'foo'.\n",
		fmt.Sprintf("Error found at m.conf:%d.\n", strings.Count(plain, "\n")+2),
		"Reloading config.\n",
		"Warning: The change of 'user' from 'root' to 'nobody' needs a restart.\n"); err != nil {
		t.Error(err)
	}
	if strings.Contains(p.lines(), "terminating") {
		t.Errorf("information is logged although log_type is warning: %q", p.lines())
	}
}

func TestBackground(t *testing.T) {
	p := spawn(t, plain+"log_dest file log\n", "mosquitto", "-d", "-c", "m.conf")
	if status := p.status(t); status != 0 || p.lines() != "" {
		t.Fatalf("status %d, %q", status, p.lines())
	}
	var pid int
	for limit := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
		text, _ := os.ReadFile(filepath.Join(p.dir, "pid"))
		if pid, _ = strconv.Atoi(string(text)); pid > 0 && strings.Contains(string(log), "running") {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("no broker in the background: %q, %q", text, log)
		}
	}
	if pid == p.cmd.Process.Pid {
		t.Error("the process that was started goes on")
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for limit := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if _, err := os.Lstat(filepath.Join(p.dir, "pid")); os.IsNotExist(err) {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("the broker in the background does not end")
		}
	}
}

func TestControlCommands(t *testing.T) {
	p := spawn(t, plain, "mosquitto", "-c", "m.conf")
	p.await(t, running)
	socket := filepath.Join(p.dir, "ctl")
	client := spawn(t, "", "midge", "sub", "-p", strconv.Itoa(p.port), "-h", "127.0.0.1", "-t", "a/#", "-i", "pump 7", "-V", "5", "-d")
	client.await(t, "Subscribed (mid: 1): 0\n")

	got := call(t, "midge", "status", "--socket", socket)
	if got.status != 0 || !strings.Contains(got.out, fmt.Sprintf("127.0.0.1:%d mqtt, 1 connections\n", p.port)) {
		t.Errorf("status: %+v", got)
	}
	got = call(t, "midge", "status", "--socket", socket, "--json")
	var s admin.Status
	if err := json.Unmarshal([]byte(got.out), &s); err != nil || s.PID != p.cmd.Process.Pid || s.Metrics["clients_connected"] != 1 {
		t.Errorf("status --json: %+v, %v", got, err)
	}
	got = call(t, "midge", "clients", "--socket", socket)
	if got.status != 0 || !strings.HasPrefix(got.out, "CLIENT ") || !strings.Contains(got.out, `"pump 7"  connected  127.0.0.1:`) {
		t.Errorf("clients: %+v", got)
	}
	got = call(t, "midge", "clients", "pump 7", "--socket", socket, "--json")
	var list admin.ClientList
	if err := json.Unmarshal([]byte(got.out), &list); err != nil || len(list.Clients) != 1 || list.Clients[0].Version != 5 || list.Clients[0].Subscriptions != 1 {
		t.Errorf("clients --json: %+v, %v", got, err)
	}
	if got = call(t, "midge", "clients", "nobody", "--socket", socket); got.status != 1 || !strings.Contains(got.err, `no client with the id "nobody"`) {
		t.Errorf("clients nobody: %+v", got)
	}
	if got = call(t, "midge", "disconnect", "nobody", "--socket", socket); got.status != 1 || !strings.Contains(got.err, `no client with the id "nobody" is connected`) {
		t.Errorf("disconnect nobody: %+v", got)
	}
	if got = call(t, "midge", "disconnect", "pump 7", "--reason", "0x8a", "--socket", socket); got.status == 0 {
		t.Errorf("a reason that no server gives in DISCONNECT was taken: %+v", got)
	}
	if got = call(t, "midge", "disconnect", "pump 7", "--reason", "0x89", "--socket", socket); got.status != 0 || got.out != "\"pump 7\" is disconnected.\n" {
		t.Errorf("disconnect: %+v", got)
	}
	client.await(t, "Received DISCONNECT (137)\n")
}
