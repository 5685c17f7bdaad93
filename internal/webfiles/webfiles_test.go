package webfiles

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/midgemq/midge/internal/wsproto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func site(t testing.TB) (*Dir, string) {
	t.Helper()
	parent := t.TempDir()
	dir := filepath.Join(parent, "www")
	for name, text := range map[string]string{
		"www/index.html": "<h1>home</h1>", "www/js/app.js": "let x", "www/none": "data", "www/empty.txt": "", "secret": "secret", "www/a b.txt": "blank",
	} {
		p := filepath.Join(parent, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if n := d.open.Load(); n != 0 {
			t.Errorf("%d answers are open at the end", n)
		}
	})
	return d, dir
}

// get asks like a connection does: the answer's bytes are written one piece after
// the other. stop ends it after so many pieces, 0: at its end.
func get(t testing.TB, d *Dir, r wsproto.Request, stop int) (status int, head, body string, pieces int) {
	t.Helper()
	woken := make(chan struct{}, 16)
	a := d.Answer(r, func() { woken <- struct{}{} })
	defer a.Drop()
	var all []byte
	for {
		var out []byte
		var done bool
		out, status, done = a.Next(nil)
		if done {
			break
		}
		if len(out) > 0 {
			if len(out) > piece+1000 {
				t.Fatalf("a piece of %d bytes", len(out))
			}
			all = append(all, out...)
			if pieces++; pieces == stop {
				break
			}
			a.Drained()
			continue
		}
		select {
		case <-woken:
		case <-time.After(10 * time.Second):
			t.Fatal("no answer")
		}
	}
	head, body, _ = strings.Cut(string(all), "\r\n\r\n")
	return status, head, body, pieces
}

func TestAnswers(t *testing.T) {
	d, dir := site(t)
	if err := os.Symlink(filepath.Join(filepath.Dir(dir), "secret"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("none", filepath.Join(dir, "inside")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		target string
		status int
		kind   string
		body   string
	}{
		{"/", 200, "text/html; charset=utf-8", "<h1>home</h1>"},
		{"/index.html?x=1", 200, "text/html; charset=utf-8", "<h1>home</h1>"},
		{"/js/app.js", 200, "text/javascript; charset=utf-8", "let x"},
		{"/none", 200, "application/octet-stream", "data"},
		{"/a%20b.txt", 200, "text/plain; charset=utf-8", "blank"},
		{"/empty.txt", 200, "text/plain; charset=utf-8", ""},
		{"/inside", 200, "application/octet-stream", "data"},
		{"/js", 404, "", ""},
		{"/js/", 404, "", ""},
		{"/missing", 404, "", ""},
		{"/../secret", 404, "", ""},
		{"/js/../../secret", 404, "", ""},
		{"/%2e%2e/secret", 404, "", ""},
		{"/..%2fsecret", 404, "", ""},
		{"/js/..%5c..%5csecret", 404, "", ""},
		{"/link", 404, "", ""},
		{"//etc/passwd", 404, "", ""},
		{"/%00", 404, "", ""},
		{"/%zz", 404, "", ""},
		{"http://host/", 404, "", ""},
		{"*", 404, "", ""},
		{"/" + strings.Repeat("a", maxTarget), 404, "", ""},
	} {
		status, head, body, _ := get(t, d, wsproto.Request{Method: "GET", Target: tt.target}, 0)
		if status != tt.status || !strings.HasPrefix(head, fmt.Sprintf("HTTP/1.1 %d ", tt.status)) {
			t.Errorf("%s: status %d, %q", tt.target, status, head)
		}
		if tt.status == 200 && (body != tt.body || !strings.Contains(head, "\r\nContent-Type: "+tt.kind+"\r\n")) {
			t.Errorf("%s: %q\n%s", tt.target, body, head)
		}
		if strings.Contains(body, "secret") || !strings.Contains(head, "nosniff") {
			t.Errorf("%s: %q\n%s", tt.target, body, head)
		}
	}
}

func TestHeadAndConditions(t *testing.T) {
	d, dir := site(t)
	when := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	if err := os.Chtimes(filepath.Join(dir, "none"), when, when); err != nil {
		t.Fatal(err)
	}
	_, head, body, _ := get(t, d, wsproto.Request{Method: "HEAD", Target: "/none"}, 0)
	if body != "" || !strings.Contains(head, "Content-Length: 4\r\n") || !strings.Contains(head, "Last-Modified: Fri, 02 Jan 2026 03:04:05 GMT") {
		t.Errorf("%q %q", head, body)
	}
	r := wsproto.Request{Method: "GET", Target: "/none", IfModifiedSince: when.Format(http.TimeFormat)}
	if status, _, body, _ := get(t, d, r, 0); status != 304 || body != "" {
		t.Errorf("unchanged: %d %q", status, body)
	}
	r.IfModifiedSince = when.Add(-time.Second).Format(http.TimeFormat)
	if status, _, body, _ := get(t, d, r, 0); status != 200 || body != "data" {
		t.Errorf("changed: %d %q", status, body)
	}
}

func TestLargeFileInPieces(t *testing.T) {
	d, dir := site(t)
	want := make([]byte, 5*piece+17)
	rand.Read(want)
	if err := os.WriteFile(filepath.Join(dir, "large"), want, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, body, pieces := get(t, d, wsproto.Request{Method: "GET", Target: "/large"}, 0)
	if !bytes.Equal([]byte(body), want) || pieces != 6 {
		t.Errorf("%d bytes in %d pieces", len(body), pieces)
	}
	if _, _, body, _ = get(t, d, wsproto.Request{Method: "GET", Target: "/large"}, 2); len(body) != 2*piece {
		t.Errorf("%d bytes before the end of the connection", len(body))
	}
}

func TestFileThatShrinks(t *testing.T) {
	d, dir := site(t)
	name := filepath.Join(dir, "large")
	if err := os.WriteFile(name, make([]byte, 3*piece), 0o600); err != nil {
		t.Fatal(err)
	}
	woken := make(chan struct{}, 16)
	a := d.Answer(wsproto.Request{Method: "GET", Target: "/large"}, func() { woken <- struct{}{} })
	defer a.Drop()
	<-woken
	out, _, _ := a.Next(nil)
	if len(out) < piece {
		t.Fatalf("%d bytes", len(out))
	}
	if err := os.Truncate(name, piece); err != nil {
		t.Fatal(err)
	}
	a.Drained()
	<-woken
	if out, _, done := a.Next(nil); len(out) != 0 || !done {
		t.Errorf("%d bytes, %v", len(out), done)
	}
}

func TestTooManyAnswers(t *testing.T) {
	d, _ := site(t)
	d.open.Add(maxOpen)
	if status, _, _, _ := get(t, d, wsproto.Request{Method: "GET", Target: "/"}, 0); status != 503 {
		t.Errorf("status %d", status)
	}
	d.open.Add(-maxOpen)
	if status, _, _, _ := get(t, d, wsproto.Request{Method: "GET", Target: "/"}, 0); status != 200 {
		t.Errorf("afterwards %d", status)
	}
}

// FuzzFileName: whatever is asked for, the name stays below the directory.
func FuzzFileName(f *testing.F) {
	for _, s := range []string{"/", "/a/b.html?c", "/%2e%2e/x", "/a//b", "/..%2f", "/%c0%ae/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		name, ok := fileName(target)
		if ok && (!filepath.IsLocal(name) || strings.Contains(name, "..") && strings.Contains("/"+name+"/", "/../")) {
			t.Fatalf("%q gives %q", target, name)
		}
	})
}
