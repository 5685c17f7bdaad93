package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/logging"
)

// asProgram has the test binary run Main in place of the tests, under the name
// that the variable holds.
const asProgram = "MIDGE_TEST_PROGRAM"

func TestMain(m *testing.M) {
	name := os.Getenv(asProgram)
	if name == "" {
		os.Exit(m.Run())
	}
	os.Exit(Main(&Env{
		Args:  append([]string{name}, os.Args[1:]...),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Version: "test", NewServer: newTestBroker,
	}))
}

func newTestBroker(c *config.Config, l *logging.Logger, version string) (Server, error) {
	return broker.New(broker.Options{Config: c, Logger: l, Version: version})
}

// result is what a command left.
type result struct {
	status   int
	out, err string
}

// call runs Main in this process, for commands that end by themselves.
func call(t *testing.T, args ...string) result {
	t.Helper()
	var out, errOut bytes.Buffer
	status := Main(&Env{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errOut, Version: "test"})
	return result{status, out.String(), errOut.String()}
}

// untimed takes the seconds since the epoch from the front of log lines.
func untimed(log string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		if at := strings.Index(line, ": "); at > 0 && strings.Trim(line[:at], "0123456789") == "" {
			line = line[at+2:]
		}
		b.WriteString(line)
	}
	return b.String()
}

func TestServeArguments(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"good.conf": "listener 1\n", "bad.conf": "\nfoo bar\n", "later.conf": "psk_file x\n", "plugin.conf": "plugin /x.so\n", "bridge.conf": "connection b\naddress a\ntopic #\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		args   string
		status int
		err    string // without timestamps
		out    string // beginning
	}{
		{"-h", 0, "", "X version 2.1.2 (midge test)\n\nX is an MQTT v5.0/v3.1.1/v3.1 broker.\n\nUsage: X "},
		{"--help", 0, "", "X version"},
		{"--version", 0, "", "mosquitto 2.1.2 (midge test)\nCopyright the midge authors.\nLicense Apache-2.0.\n"},
		{"--bogus", 3, "Error: Unknown option '--bogus'.\n", "X version"},
		{"-p1883", 3, "Error: Unknown option '-p1883'.\n", "X version"},
		{"--port=1", 3, "Error: Unknown option '--port=1'.\n", "X version"},
		{"-c", 3, "Error: -c argument given, but no config file specified.\n", ""},
		{"-p", 3, "Error: -p argument given, but no port specified.\n", ""},
		{"-p abc", 3, "Error: Invalid port specified (0).\n", ""},
		{"-p 65536", 3, "Error: Invalid port specified (65536).\n", ""},
		{"-p 1 -p 2 -p 3 -p 4 -p 5 -p 6 -p 7 -p 8 -p 9 -p 10 -p 11", 3, "Error: Only 10 ports can be specified on the command line.\n", ""},
		// flag: mosquitto --tls-keylog
		{"--tls-keylog", 3, "Error: --tls-keylog argument given, but no file specified.\n", ""},
		{"--test-config", 3, "Please provide a configuration file to test.\n", ""},
		{"--test-config -c good.conf", 0, "Configuration file is OK.\n", ""},
		{"-q --test-config -c good.conf", 0, "Configuration file is OK.\n", ""},
		{"-c bad.conf", 3, "Error: Unknown configuration variable 'foo'.\nError found at bad.conf:2.\n", ""},
		{"--test-config --config-file bad.conf", 3, "Error: Unknown configuration variable 'foo'.\nError found at bad.conf:2.\n", ""},
		{"-c later.conf", 3, "Error: The 'psk_file' option is not supported by midge. Go's TLS has no pre-shared keys; use certificates, 'certfile' and 'keyfile'.\nError found at later.conf:1.\n", ""},
		{
			"-c plugin.conf", 13, "Error: Unable to load plugin '/x.so'. midge loads no shared objects; it has password files, access control files and the store built in, " +
				"and programs can decide on rights through the library's Policy.\nError found at plugin.conf:1.\n", "",
		},
		{"-c bridge.conf", 3, "Error: The bridge 'b' cannot run: bridges are not in this version of midge.\nError found at bridge.conf:1.\n", ""},
		{"-c none.conf", 3, "Error: Unable to open config file 'none.conf'.\n", ""},
		{"-c .", 3, "Error: Config file '.' is a directory.\n", ""},
	} {
		for _, program := range [][]string{{"/usr/sbin/mosquitto"}, {"/usr/bin/midge", "serve"}, {"/usr/bin/midge"}} {
			called := "mosquitto"
			if strings.HasSuffix(program[0], "midge") {
				called = "midge serve"
			}
			if first, _, _ := strings.Cut(tc.args, " "); len(program) == 1 && called != "mosquitto" && first != "-c" && first != "-p" {
				continue // needs the word, these two mean it
			}
			got := call(t, append(program, strings.Fields(tc.args)...)...)
			out := strings.ReplaceAll(tc.out, "X ", called+" ")
			if got.status != tc.status || untimed(got.err) != tc.err || !strings.HasPrefix(got.out, out) || (out == "") != (got.out == "") {
				t.Errorf("%s %s: status %d, stderr %q, stdout %q; want %d, %q, %q", called, tc.args, got.status, got.err, got.out, tc.status, tc.err, out)
			}
		}
	}
}

func TestErrorsOfTheConfigurationHaveATime(t *testing.T) {
	got := call(t, "mosquitto", "-c", "/does/not/exist")
	if untimed(got.err) == got.err {
		t.Errorf("%q begins with no time", got.err)
	}
}

func TestCommandTable(t *testing.T) {
	for _, tc := range []struct {
		args   string
		status int
		out    string // contained
		err    string // contained
	}{
		{"", 0, "Usage: midge <command>", ""},
		{"--help", 0, "Disconnect a client", ""},
		{"status --help", 0, "--socket", ""},
		{"version", 0, "midge test\nfollows Mosquitto 2.1.2\n", ""},
		{"bogus", 2, "", "unexpected argument bogus"},
		{"status --bogus", 2, "", "unknown flag --bogus"},
		{"disconnect", 2, "", "clientid"},
		{"disconnect x --reason banned --socket /nowhere", 2, "", `"banned" is no reason code`},
		{"status --socket /does/not/exist", 1, "", "is a broker running?"},
		{"pub --version", 0, "midge pub version 2.1.2 running on midge test.", ""},
		{"sub --version", 0, "midge sub version 2.1.2", ""},
	} {
		got := call(t, append([]string{"midge"}, strings.Fields(tc.args)...)...)
		if got.status != tc.status || !strings.Contains(got.out, tc.out) || !strings.Contains(got.err, tc.err) ||
			(tc.out == "") != (got.out == "") || (tc.err == "") != (got.err == "") {
			t.Errorf("midge %s: status %d, stdout %q, stderr %q", tc.args, got.status, got.out, got.err)
		}
	}
	for name, want := range map[string]string{"mosquitto_pub": "mosquitto_pub version", "/usr/bin/mosquitto_sub": "mosquitto_sub version", "mosquitto.exe": "mosquitto 2.1.2"} {
		if got := call(t, name, "--version"); !strings.HasPrefix(got.out, want) {
			t.Errorf("%s: %q", name, got.out)
		}
	}
}

func TestReach(t *testing.T) {
	local := &config.Config{LocalOnly: true, Global: config.Global{AllowAnonymous: true}}
	add := func(c *config.Config, port int, address string, p config.Protocol) {
		c.Listeners = append(c.Listeners, &config.Listener{Port: port, Address: address, Protocol: p, AllowAnonymous: c.AllowAnonymous})
	}
	add(local, 1883, "127.0.0.1", config.MQTT)
	add(local, 1883, "::1", config.MQTT)
	open := &config.Config{Global: config.Global{AllowAnonymous: true}}
	add(open, 9001, "", config.WebSockets)
	add(open, 1884, "10.0.0.1", config.MQTT)
	closed := &config.Config{}
	add(closed, 1883, "", config.MQTT)
	webOnly := &config.Config{Global: config.Global{AllowAnonymous: true}}
	add(webOnly, 80, "", config.WebSockets)
	mixed := &config.Config{}
	mixed.Listeners = []*config.Listener{
		{Port: 9883, Protocol: config.HTTPAPI},
		{Port: 8883, Protocol: config.MQTT, TLS: config.TLS{CertFile: "c"}, AllowAnonymous: true},
		{Port: 1884, Protocol: config.MQTT},
		{Port: 1883, Protocol: config.MQTT, Security: config.Security{PasswordFile: "p"}},
		{Port: 8084, Protocol: config.WebSockets, TLS: config.TLS{CertFile: "c"}, AllowAnonymous: true},
		{Path: "/run/m.sock", Protocol: config.MQTT, AllowAnonymous: true},
	}
	for _, tc := range []struct {
		c    *config.Config
		want string
	}{
		{mixed, "Clients can connect, without a user name, to port 8883 of every address of this machine (TLS), port 8084 of every address of this machine (WebSocket over TLS), the socket /run/m.sock.\nClients who can log in can connect to port 1883 of every address of this machine.\nNobody can connect to port 1884 of every address of this machine: 'allow_anonymous' is false and there is no other way to log in.\nTry: midge sub --unix /run/m.sock -t hello -v & midge pub --unix /run/m.sock -t hello -m world"},
		{local, "Clients on this machine can connect, without a user name, to port 1883.\nTry: midge sub -t hello -v & midge pub -t hello -m world"},
		{open, "Clients can connect, without a user name, to port 9001 of every address of this machine (WebSocket), 10.0.0.1 port 1884.\nTry: midge sub -h 10.0.0.1 -p 1884 -t hello -v & midge pub -h 10.0.0.1 -p 1884 -t hello -m world"},
		{closed, "Nobody can connect to port 1883 of every address of this machine: 'allow_anonymous' is false and there is no other way to log in."},
		{webOnly, "Clients can connect, without a user name, to port 80 of every address of this machine (WebSocket)."},
	} {
		if got := strings.Join(reachable(tc.c), "\n"); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{"pump-7": "pump-7", "a b": `"a b"`, "x\x1b[2J": `"x\x1b[2J"`, `q"`: `"q\""`, "é": "é"} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %s, want %s", in, got, want)
		}
	}
}
