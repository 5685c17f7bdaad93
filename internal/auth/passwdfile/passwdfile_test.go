package passwdfile

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/password"
	"github.com/midgemq/midge/mqtt"
)

// inline runs at once.
type inline struct{ err error }

func (i inline) Do(_ context.Context, f func()) error {
	if i.err == nil {
		f()
	}
	return i.err
}

func hash(t testing.TB, pw string) string {
	t.Helper()
	h, err := password.New(password.SHA512PBKDF2, 10, []byte(pw))
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

func ask(f *File, user, pw string) auth.Decision {
	r := &auth.Request{Client: auth.Client{ID: "c", UserName: user, HasUserName: true}, Password: []byte(pw), HasPassword: true}
	return f.Authenticate(context.Background(), r)
}

func TestAuthenticate(t *testing.T) {
	a, b := hash(t, "sesame"), hash(t, " blanks ")
	content := "# users\n\nno colon here\n alice : " + a + " \r\npeggy peg:" + b + ":third:parts\n"
	f, err := Parse("passwd", []byte(content), inline{})
	if err != nil {
		t.Fatal(err)
	}
	if f.Users() != 2 {
		t.Errorf("%d users", f.Users())
	}
	for _, c := range []struct {
		user, pw string
		ok       bool
	}{
		{"alice", "sesame", true},
		{"alice", "sesame\x00", true},
		{"alice", "Sesame", false},
		{"alice", "", false},
		{"alice", a, false},
		{"mallory", "sesame", false},
		{"", "sesame", false},
		{"peggy peg", " blanks ", true},
		{"peggy peg", "blanks", false},
	} {
		d := ask(f, c.user, c.pw)
		if d.Outcome != auth.Decided || d.Code.IsError() == c.ok || !c.ok && d.Code != mqtt.NotAuthorized {
			t.Errorf("%q %q: %+v", c.user, c.pw, d)
		}
	}
	if d := f.Authenticate(context.Background(), &auth.Request{Password: []byte("x"), HasPassword: true}); d.Outcome != auth.Ignored {
		t.Errorf("no user name: %+v", d)
	}
	f.run = inline{context.DeadlineExceeded}
	if d := ask(f, "alice", "sesame"); d.Code != mqtt.ServerBusy {
		t.Errorf("no thread: %+v", d)
	}
}

// Who has logged in stays as long as the line does.
func TestStands(t *testing.T) {
	a := hash(t, "x")
	f, _ := Parse("p", []byte("alice:"+a+"\nbob:"+a), inline{})
	proof := ask(f, "alice", "x").Proof
	who := &auth.Client{ID: "c", UserName: "alice", HasUserName: true}
	for content, want := range map[string]bool{
		"bob:" + a + "\nalice:" + a:     true,
		"alice:" + hash(t, "x"):         false,
		"bob:" + a:                      false,
		"":                              false,
		"# alice:" + a + "\nalice:" + a: true,
	} {
		n, err := Parse("p", []byte(content), inline{})
		if err != nil {
			t.Fatal(err)
		}
		if ok, why := n.Stands(who, proof, true); ok != want || ok == (why != "") {
			t.Errorf("%.40q: %v %q", content, ok, why)
		}
	}
}

// What cannot be understood is an error that names file and line, and repeats no
// password.
func TestErrors(t *testing.T) {
	a := hash(t, "x")
	const inv, dec = "Error: Invalid line in password file (p, line 2): ", "Error: Unable to decode line in password file (p, line 2): "
	for line, want := range map[string]string{
		":" + a:                              inv + "the user name is empty.",
		"  :" + a:                            inv + "the user name is empty.",
		"alice:" + a:                         inv + `user "alice" stands there twice.`,
		"bob":                                "",
		"bob:":                               inv + `user "bob" has no password hash.`,
		"bob: :x":                            inv + `user "bob" has no password hash.`,
		"bob:hunter2":                        dec + `user "bob": unknown hash type: neither $6$, $7$ nor $argon2id$.`,
		"bob:$7$0$x$y":                       dec + `user "bob": iteration count is below 1.`,
		strings.Repeat("b", 65536) + ":" + a: inv + "a part is longer than 65535 bytes.",
		"b\x00b:" + a:                        inv + "the user name holds a NUL byte.",
	} {
		_, err := Parse("p", []byte("alice:"+a+"\n"+line+"\n"), inline{})
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%.30q: %s", line, got)
		}
		if strings.Contains(got, "hunter2") {
			t.Error("the password is in the message")
		}
	}
}

func TestLoad(t *testing.T) {
	p := filepath.Join(t.TempDir(), "passwd")
	_, _, err := Load(p, inline{})
	if want := "Error: Unable to open password file (" + p + "): no such file or directory."; err == nil || err.Error() != want || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(p, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// `touch passwd` lets nobody in, and says so.
	f, warnings, err := Load(p, inline{})
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) == 0 || !strings.Contains(warnings[len(warnings)-1], "has no users in it, so nobody can log in.") {
		t.Errorf("%q", warnings)
	}
	if d := ask(f, "alice", "x"); d.Code != mqtt.NotAuthorized {
		t.Errorf("%+v", d)
	}
	if err := os.WriteFile(p, []byte("x:y"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(p, inline{}); err == nil {
		t.Error("plain text accepted")
	}
}

func FuzzParse(f *testing.F) {
	a := hash(f, "x")
	f.Add([]byte("alice:" + a + "\n# c\n\nbob:" + a + ":x\n"))
	f.Add([]byte(":\n::\nx:y\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse("p", b, inline{})
		if err != nil {
			if !strings.HasPrefix(err.Error(), "Error: ") {
				t.Fatal(err)
			}
			return
		}
		for u, h := range p.users {
			if u == "" || h == nil || !strings.Contains(string(b), u) {
				t.Fatalf("user %q", u)
			}
		}
	})
}
