package cli

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/midgemq/midge/broker"
	midge "github.com/midgemq/midge/internal/cli"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/logging"
)

// patience bounds every wait.
const patience = 5 * time.Minute

func TestMain(m *testing.M) {
	run := func() {
		os.Exit(midge.Main(&midge.Env{
			Args: os.Args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Version: "test",
			NewServer: func(c *config.Config, l *logging.Logger, version string) (midge.Server, error) {
				return broker.New(broker.Options{Config: c, Logger: l, Version: version})
			},
		}))
	}
	commands := map[string]func(){}
	for _, name := range strings.Fields("midge mosquitto mosquitto_pub mosquitto_sub mosquitto_rr mosquitto_passwd mosquitto_signal mosquitto_db_dump") {
		commands[name] = run
	}
	testscript.Main(m, commands)
}

// side is whose programs a script runs.
type side struct{ debianTools, debianBroker bool }

func TestScripts(t *testing.T) { runScripts(t, side{}) }

// runScripts runs all scripts; those named *_midge.txtar are about what Debian's tools do not have.
func runScripts(t *testing.T, s side) {
	all, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(all) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	var files []string
	for _, f := range all {
		if !s.debianTools || !strings.HasSuffix(f, "_midge.txtar") {
			files = append(files, f)
		}
	}
	testscript.Run(t, testscript.Params{
		Files: files, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, "xdg"))
			e.Setenv("TZ", "UTC")
			if s.debianTools {
				e.Setenv("PATH", "/usr/bin:"+e.Getenv("PATH"))
			}
			return os.MkdirAll(filepath.Join(e.WorkDir, "xdg"), 0o700)
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "debian-tools":
				return s.debianTools, nil
			case "debian-broker":
				return s.debianBroker, nil
			}
			return false, fmt.Errorf("no condition %q", cond)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"broker": func(ts *testscript.TestScript, _ bool, args []string) { startBroker(ts, s, args) },
			"run":    runTool, "start": startTool, "finish": finishTool, "interrupt": interruptTool, "scrub": scrub,
			"certs": makeCerts, "tlsproxy": tlsProxy, "socks": socksProxy, "unixproxy": unixProxy, "answer": answer,
		},
	})
}

// environ is the script's environment.
func environ(ts *testscript.TestScript) []string {
	env := []string{}
	for _, k := range strings.Fields("PATH HOME TMPDIR XDG_CONFIG_HOME TZ WORK") {
		env = append(env, k+"="+ts.Getenv(k))
	}
	return env
}

// command makes a process of the program that the script's PATH leads to.
func command(ts *testscript.TestScript, args []string) *exec.Cmd {
	path := ""
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if st, err := os.Stat(filepath.Join(dir, args[0])); err == nil && !st.IsDir() {
			path = filepath.Join(dir, args[0])
			break
		}
	}
	if path == "" {
		ts.Fatalf("no program %s", args[0])
	}
	if strings.HasPrefix(path, "/usr/bin/") { // into a pipe they would write in blocks
		path, args = "/usr/bin/stdbuf", append([]string{"stdbuf", "-oL", path}, args[1:]...)
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Dir, cmd.Env = ts.MkAbs("."), environ(ts)
	return cmd
}

func freePort(ts *testscript.TestScript) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// startBroker runs a broker for the script: "broker [LINE...]", each a line of its configuration in which PORT2 is a further port.
// The tools find it by their options files, so that a script can have commands as guides have them.
func startBroker(ts *testscript.TestScript, s side, lines []string) {
	port, port2 := freePort(ts), freePort(ts)
	conf := "listener " + port + " 127.0.0.1\n"
	anonymous := "allow_anonymous true\n"
	for _, l := range lines {
		if strings.HasPrefix(l, "allow_anonymous") {
			anonymous = ""
		}
		conf += strings.ReplaceAll(l, "PORT2", port2) + "\n"
	}
	conf += anonymous
	cmd := command(ts, []string{"mosquitto", "-c", "broker.conf"})
	if s.debianBroker {
		cmd.Path, cmd.Args = "/usr/sbin/mosquitto", []string{"mosquitto", "-c", "broker.conf"}
		conf = "user root\n" + conf
	}
	ts.Check(os.WriteFile(ts.MkAbs("broker.conf"), []byte(conf), 0o600))
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	for limit := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(limit) {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			ts.Fatalf("the broker does not listen: %s", log.String())
		}
	}
	ts.Setenv("PORT", port)
	ts.Setenv("PORT2", port2)
	for _, tool := range []string{"pub", "sub", "rr"} {
		ts.Check(os.WriteFile(filepath.Join(ts.Getenv("XDG_CONFIG_HOME"), "mosquitto_"+tool), []byte("-p "+port+"\n"), 0o600))
	}
}

// runTool is "run STATUS [<FILE] PROGRAM ARGS...": it must end with the status; its output is in the files out and err.
func runTool(ts *testscript.TestScript, _ bool, args []string) {
	stdin := ""
	if strings.HasPrefix(args[1], "<") {
		stdin = ts.ReadFile(args[1][1:])
		args = append(args[:1:1], args[2:]...)
	}
	cmd := command(ts, args[1:])
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	ts.Check(cmd.Start())
	status := wait(ts, cmd)
	ts.Check(os.WriteFile(ts.MkAbs("out"), out.Bytes(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("err"), errOut.Bytes(), 0o600))
	if strconv.Itoa(status) != args[0] {
		ts.Fatalf("%q: status %d, want %s\n%s%s", args[1:], status, args[0], out.String(), errOut.String())
	}
}

// wait waits for the end of a process and returns its status.
func wait(ts *testscript.TestScript, cmd *exec.Cmd) int {
	watch := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer watch.Stop()
	err := cmd.Wait()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%q: %v", cmd.Args, err)
	}
	return cmd.ProcessState.ExitCode()
}

// running is a tool in the background.
type running struct {
	cmd *exec.Cmd
	err bytes.Buffer

	mu  sync.Mutex
	out bytes.Buffer
	new chan struct{} // has a token when out grew
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case r.new <- struct{}{}:
	default:
	}
	return r.out.Write(p)
}

func (r *running) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.String()
}

var (
	toolsMu sync.Mutex
	tools   = map[string]*running{} // by work directory and name
)

func key(ts *testscript.TestScript, name string) string { return ts.MkAbs(name) }

// startTool is "start NAME PATTERN PROGRAM ARGS...": the tool runs on once its output has matched.
func startTool(ts *testscript.TestScript, _ bool, args []string) {
	r := &running{cmd: command(ts, args[2:]), new: make(chan struct{}, 1)}
	r.cmd.Stdout, r.cmd.Stderr = r, &r.err
	ts.Check(r.cmd.Start())
	ts.Defer(func() { _ = r.cmd.Process.Kill() })
	toolsMu.Lock()
	tools[key(ts, args[0])] = r
	toolsMu.Unlock()
	pattern := regexp.MustCompile(args[1])
	for limit := time.After(patience); !pattern.MatchString(r.text()); {
		select {
		case <-r.new:
		case <-limit:
			ts.Fatalf("%q printed no %q:\n%s", args[2:], args[1], r.text())
		}
	}
}

func tool(ts *testscript.TestScript, name string) *running {
	toolsMu.Lock()
	defer toolsMu.Unlock()
	r := tools[key(ts, name)]
	if r == nil {
		ts.Fatalf("nothing runs as %s", name)
	}
	return r
}

// finishTool is "finish NAME [STATUS]": the tool ends by itself; its output is in NAME.out and NAME.err.
func finishTool(ts *testscript.TestScript, _ bool, args []string) {
	r := tool(ts, args[0])
	status := strconv.Itoa(wait(ts, r.cmd))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".out"), []byte(r.text()), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".err"), r.err.Bytes(), 0o600))
	want := "0"
	if len(args) > 1 {
		want = args[1]
	}
	if status != want {
		ts.Fatalf("%s: status %s, want %s\n%s%s", args[0], status, want, r.text(), r.err.String())
	}
}

// interruptTool is "interrupt NAME [PATTERN]": SIGINT, once the output has matched.
func interruptTool(ts *testscript.TestScript, _ bool, args []string) {
	r := tool(ts, args[0])
	if len(args) > 1 {
		pattern := regexp.MustCompile(args[1])
		for limit := time.After(patience); !pattern.MatchString(r.text()); {
			select {
			case <-r.new:
			case <-limit:
				ts.Fatalf("%s printed no %q:\n%s", args[0], args[1], r.text())
			}
		}
	}
	ts.Check(r.cmd.Process.Signal(os.Interrupt))
}

// scrub is "scrub FILE PATTERN TEXT": what differs from run to run is replaced.
func scrub(ts *testscript.TestScript, _ bool, args []string) {
	by := strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(args[2])
	text := regexp.MustCompile(args[1]).ReplaceAllString(ts.ReadFile(args[0]), by)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}
