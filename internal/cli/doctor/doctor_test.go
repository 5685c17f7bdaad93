package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/midgemq/midge/internal/cli/reach"
)

func call(args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = Run(&reach.Env{Context: context.Background(), Program: "midge doctor", Stdout: &out, Stderr: &errs}, args)
	return status, out.String(), errs.String()
}

func TestArguments(t *testing.T) {
	for _, tt := range []struct{ args, says string }{
		{"a b", "unexpected"}, {"ftp://x", "scheme"}, {"-t a#b h", "--topic"}, {"--nonsense", "nonsense"},
	} {
		if status, out, errs := call(strings.Fields(tt.args)...); status != ExitUsage || !strings.Contains(errs, tt.says) || out != "" {
			t.Errorf("%s: status %d, %q, %q", tt.args, status, out, errs)
		}
	}
	for arg, want := range map[string]bool{"x.conf": true, "./x": true, "mqtt://x/y": false, "host:1883": false} {
		if got := isFile(arg); got != want {
			t.Errorf("%s: file %v", arg, got)
		}
	}
}

// TestOddServers meets servers that are no brokers.
func TestOddServers(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		serve      func(net.Conn)
	}{
		{"silent", "no-connack", func(c net.Conn) { io.Copy(io.Discard, c) }},
		{"closes", "closed-without-answer", func(c net.Conn) { c.Close() }},
		{"HTTP", "no-mqtt", func(c net.Conn) {
			c.Read(make([]byte, 1000))
			io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			c.Close()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go tt.serve(c)
				}
			}()
			status, out, _ := call("--timeout", "0.2", "--json", l.Addr().String())
			if status != ExitProblem || !strings.Contains(out, `"code":"`+tt.want+`"`) {
				t.Errorf("status %d\n%s", status, out)
			}
		})
	}
}

// TestWebSocketServers meets web servers that are no brokers, or have them elsewhere.
func TestWebSocketServers(t *testing.T) {
	for path, tt := range map[string]struct{ want, says string }{
		"/none":  {"websocket-path", "404"},
		"/login": {"websocket-login", "401"},
		"/moved": {"websocket-redirect", "http://elsewhere.example/mqtt"},
		"/sub":   {"websocket-subprotocol", "subprotocol"},
		"/down":  {"websocket-refused", "503"},
	} {
		t.Run(path[1:], func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/login":
					w.WriteHeader(http.StatusUnauthorized)
				case "/moved":
					http.Redirect(w, r, "http://elsewhere.example/mqtt", http.StatusMovedPermanently)
				case "/sub":
					if c, err := websocket.Accept(w, r, nil); err == nil {
						c.CloseNow()
					}
				case "/down":
					w.WriteHeader(http.StatusServiceUnavailable)
				default:
					http.NotFound(w, r)
				}
			}))
			defer server.Close()
			status, out, _ := call("--timeout", "2", "--json", strings.Replace(server.URL, "http", "ws", 1)+path)
			if status != ExitProblem || !strings.Contains(out, `"code":"`+tt.want+`"`) || !strings.Contains(out, tt.says) {
				t.Errorf("status %d\n%s", status, out)
			}
		})
	}
}

func TestReport(t *testing.T) {
	status, out, _ := call("--timeout", "1", "mqtt://127.0.0.1:1")
	if status != ExitProblem || !strings.Contains(out, "PROBLEM  [port-closed] nothing listens on 127.0.0.1:1") || !strings.Contains(out, "-> ") || !strings.Contains(out, "1 problem(s)") {
		t.Errorf("status %d\n%s", status, out)
	}
	status, out, _ = call("--timeout", "1", "--json", "mqtt://127.0.0.1:1")
	var f struct {
		Subject  string
		Problems int
		Findings []finding
	}
	if err := json.Unmarshal([]byte(out), &f); err != nil || status != ExitProblem || f.Problems != 1 || f.Subject != "mqtt://127.0.0.1:1" || len(f.Findings) != 1 {
		t.Errorf("status %d, %v\n%s", status, err, out)
	}
}

// TestSettings reads a configuration with a directory of further files.
func TestSettings(t *testing.T) {
	dir := t.TempDir()
	more := filepath.Join(dir, "conf.d")
	if err := os.Mkdir(more, 0o700); err != nil {
		t.Fatal(err)
	}
	main := filepath.Join(dir, "m.conf")
	for file, text := range map[string]string{
		main:                            "# comment\n\nlistener 1884 127.0.0.1\ninclude_dir " + more + "\nuser nobody\n",
		filepath.Join(more, "b.conf"):   "acl_file /b\n",
		filepath.Join(more, "a.conf"):   "acl_file   /a with space \n",
		filepath.Join(more, "c.ignore"): "acl_file /c\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := settings(main, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range list {
		got = append(got, fmt.Sprintf("%s=%s@%s:%d", s.name, s.value, filepath.Base(s.file), s.line))
	}
	want := "listener=1884 127.0.0.1@m.conf:3 include_dir=" + more + "@m.conf:4 acl_file=/a with space@a.conf:1 acl_file=/b@b.conf:1 user=nobody@m.conf:5"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
}

func TestDeepest(t *testing.T) {
	dir := t.TempDir()
	if got := deepest(filepath.Join(dir, "a", "b")); !strings.HasSuffix(got, dir) {
		t.Errorf("%q", got)
	}
}

func TestShell(t *testing.T) {
	for in, want := range map[string]string{"anna": "anna", "a b": "'a b'", "it's": `'it'\''s'`, "": "''"} {
		if got := shell(in); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
}
