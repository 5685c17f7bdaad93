package httpapi

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/mqtt"
)

type source struct {
	policy    auth.Policy
	anonymous bool
}

func (source) SysTree() map[string]int64 {
	return map[string]int64{"$SYS/broker/clients/total": 3, "$SYS/broker/uptime": 9}
}

func (source) Listeners() []Listener {
	return []Listener{{Port: 1883, Protocol: "mqtt", AllowAnonymous: true}, {Path: "/run/m.sock", Protocol: "websockets", TLS: true, MutualTLS: true}}
}

func (s source) Policy() (auth.Policy, bool) { return s.policy, s.anonymous }

type users map[string]string

func (u users) Authenticate(_ context.Context, r *auth.Request) auth.Decision {
	if p, ok := u[r.UserName]; ok && p == string(r.Password) && r.ID == ClientID {
		return auth.Decision{}
	}
	return auth.Decision{Code: mqtt.BadUserNameOrPassword}
}

// rules permits reading what begins with one of its prefixes, to one user.
type rules struct{ user, prefix string }

func (r rules) Authorize(c *auth.Client, a auth.Action, topic string) mqtt.ReasonCode {
	if a == auth.Receive && c.ID == ClientID && c.UserName == r.user && strings.HasPrefix(topic, r.prefix) {
		return mqtt.Success
	}
	return mqtt.NotAuthorized
}

func serve(t *testing.T, o Options) *httptest.Server {
	t.Helper()
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func ask(t *testing.T, method, url, user, password string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

func TestEndpoints(t *testing.T) {
	s := serve(t, Options{Source: source{anonymous: true}, Version: "2.1.2 (midge x)"})
	for path, want := range map[string]string{
		"/api/v1/version": "2.1.2 (midge x)",
		"/api/v1/systree": `{"$SYS/broker/clients/total":3,"$SYS/broker/uptime":9}`,
		"/api/v1/listeners": `{"listeners":[{"port":1883,"protocol":"mqtt","tls":false,"mtls":false,"allow_anonymous":true},` +
			`{"path":"/run/m.sock","protocol":"websockets","tls":true,"mtls":true,"allow_anonymous":false}]}`,
	} {
		status, head, body := ask(t, "GET", s.URL+path, "", "")
		if json.Valid([]byte(body)) {
			var v any
			_ = json.Unmarshal([]byte(body), &v)
			var w any
			if err := json.Unmarshal([]byte(want), &w); err == nil {
				a, _ := json.Marshal(v)
				b, _ := json.Marshal(w)
				body, want = string(a), string(b)
			}
		}
		if status != 200 || body != want {
			t.Errorf("%s: %d %q, want %q", path, status, body, want)
		}
		if head.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: any page may read it", path)
		}
	}
	for path, want := range map[string]string{"/api/": "Not found.\n", "/api/v1/nothing": "Not found.\n", "/": "Not found.\n"} {
		if status, _, body := ask(t, "GET", s.URL+path, "", ""); status != 404 || body != want {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
		if status, head, body := ask(t, method, s.URL+"/api/v1/version", "", ""); status != 405 || body != "Invalid HTTP Method\n" || head.Get("Allow") == "" {
			t.Errorf("%s: %d %q", method, status, body)
		}
	}
}

// The path is asked for as a topic, under the client id http-api, for every
// request.
func TestRights(t *testing.T) {
	policy := auth.Policy{Authenticator: users{"ada": "secret", "bob": "pass"}, Authorizer: rules{"ada", "/api/v1/v"}}
	s := serve(t, Options{Source: source{policy: policy}, Version: "v"})
	for _, c := range []struct {
		user, password, path string
		status               int
	}{
		{"ada", "secret", "/api/v1/version", 200},
		{"ada", "secret", "/api/v1/systree", 401},
		{"ada", "wrong", "/api/v1/version", 401},
		{"bob", "pass", "/api/v1/version", 401},
		{"eve", "secret", "/api/v1/version", 401},
		{"", "", "/api/v1/version", 401},
		{"ada", "secret", "/api/v1/v" + strings.Repeat("x", 2000), 401},
	} {
		status, head, body := ask(t, "GET", s.URL+c.path, c.user, c.password)
		if status != c.status {
			t.Errorf("%s:%s %s: %d, want %d", c.user, c.password, c.path, status, c.status)
		}
		if status == 401 && (body != "Not authorised\n" || head.Get("WWW-Authenticate") != realm) {
			t.Errorf("%s: %q %q", c.path, body, head.Get("WWW-Authenticate"))
		}
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "secret")
	for name, text := range map[string]string{
		filepath.Join(dir, "index.html"): "<p>start", filepath.Join(dir, "a.js"): "1", outside: "no",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	s := serve(t, Options{Source: source{anonymous: true}, Dir: dir})
	for _, c := range []struct {
		path, body, kind string
		status           int
	}{
		{"/", "<p>start", "text/html; charset=utf-8", 200},
		{"/index.html", "<p>start", "text/html; charset=utf-8", 200},
		{"/a.js", "1", "text/javascript; charset=utf-8", 200},
		{"/sub", "404 page not found\n", "text/plain; charset=utf-8", 404},
		{"/sub/", "404 page not found\n", "text/plain; charset=utf-8", 404},
		{"/link", "404 page not found\n", "text/plain; charset=utf-8", 404},
		{"/../" + filepath.Base(outside), "404 page not found\n", "text/plain; charset=utf-8", 404},
		{"/%2e%2e/%2e%2e/etc/passwd", "404 page not found\n", "text/plain; charset=utf-8", 404},
		{"/none", "404 page not found\n", "text/plain; charset=utf-8", 404},
	} {
		status, head, body := ask(t, "GET", s.URL+c.path, "", "")
		if status != c.status || body != c.body || head.Get("Content-Type") != c.kind {
			t.Errorf("%s: %d %q %q", c.path, status, body, head.Get("Content-Type"))
		}
	}
	if _, err := New(Options{Dir: filepath.Join(dir, "none")}); err == nil {
		t.Error("a directory that is not there opens")
	}
}
