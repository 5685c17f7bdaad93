package passwd

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/password"
)

// call runs the tool in a directory of its own.
type call struct {
	t   *testing.T
	dir string
}

func (c *call) path(name string) string { return filepath.Join(c.dir, name) }

func (c *call) write(name, content string) {
	c.t.Helper()
	if err := os.WriteFile(c.path(name), []byte(content), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func (c *call) read(name string) string {
	b, err := os.ReadFile(c.path(name))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (c *call) run(program, stdin string, args ...string) (code int, out, err string) {
	var o, e bytes.Buffer
	for i, a := range args {
		if strings.HasPrefix(a, "@") {
			args[i] = c.path(a[1:])
		}
	}
	code = Run(&Env{Program: program, Stdin: strings.NewReader(stdin), Stdout: &o, Stderr: &e}, args)
	return code, strings.ReplaceAll(o.String(), c.dir+"/", "@"), strings.ReplaceAll(e.String(), c.dir+"/", "@")
}

var salted = regexp.MustCompile(`(\$[67]\$|\$argon2id\$)\S*`)

// users is the content of a file with what is random cut off.
func users(content string) string { return salted.ReplaceAllString(content, "${1}…") }

// Messages, exit statuses and files, case by case.
func TestRun(t *testing.T) {
	const existing = "# users\nalice:$6$x$y\n\nbob:$6$x$y"
	for _, c := range []struct {
		name, stdin, args string
		code              int
		out, err, file    string // file: of @f afterwards
	}{
		{"create", "pw\npw\n", "-c @new alice", 0, "Password: \nReenter password: \nAdding password for user alice\n", "", existing},
		{"create batch", "", "-c -b @new alice pw", 0, "Adding password for user alice\n", "", existing},
		{"create existing", "pw\npw\n", "-c @f alice", 1, "Password: \nReenter password: \n", "Error: Unable to open file @f for writing. File exists.\n", existing},
		{"stdout", "", "-c -b - alice pw", 0, "alice:$7$…\n", "", existing},
		{"add", "pw\r\npw\r\n", "@f carol", 0, "Password: \nReenter password: \nAdding password for user carol\n", "", existing + "\ncarol:$7$…\n"},
		{"update", "", "-b @f alice pw", 0, "Updating password for user alice\n", "", "# users\nalice:$7$…\n\nbob:$6$…\n"},
		{"dash", "", "-b @f alice -pw", 0, "Updating password for user alice\n", "", "# users\nalice:$7$…\n\nbob:$6$…\n"},
		{"type", "", "-H sha512 -b @f bob pw", 0, "Updating password for user bob\n", "", "# users\nalice:$6$…\n\nbob:$6$…\n"},
		{"argon2id", "", "-H argon2id -b @f bob pw", 0, "Updating password for user bob\n", "", "# users\nalice:$6$…\n\nbob:$argon2id$…\n"},
		{"iterations", "", "-I 7 -b @f bob pw", 0, "Updating password for user bob\n", "", "# users\nalice:$6$…\n\nbob:$7$…\n"},
		{"delete", "", "-D @f alice", 0, "", "", "# users\n\nbob:$6$…\n"},
		{"delete nobody", "", "-D @f carol", 1, "", "Warning: User carol not found in password file.\n", existing},
		{"differ", "pw\nwp\n", "@f carol", 2, "Password: \nReenter password: \n", "Error: Passwords do not match.\n", existing},
		{"empty", "\n", "@f carol", 1, "Password: ", "Error: Empty password.\n", existing},
		{"no second", "pw\n", "@f carol", 1, "Password: \nReenter password: ", "Error: Empty password.\n", existing},
		{"end", "", "@f carol", 1, "Password: ", "Error: Empty password.\n", existing},
		{"empty batch", "", "-b @f carol EMPTY", 1, "", "Error: Empty password.\n", existing},
		{"missing file", "", "-b @none carol pw", 1, "", "Error: Unable to open password file @none. No such file or directory.\n", existing},
		{"directory", "", "-b @dir carol pw", 1, "", "Error: Unable to open password file @dir. Not a regular file.\n", existing},
		{"missing delete", "", "-D @none carol", 1, "", "Error: Unable to open password file @none. No such file or directory.\n", existing},
		{"missing update", "", "-U @none", 1, "", "Error: Unable to open password file @none. No such file or directory.\n", existing},
		{"corrupt", "", "-b @corrupt carol pw", 1, "", "Error: Corrupt password file at line 3.\n", existing},
		{"corrupt delete", "", "-D @corrupt alice", 1, "", "Error: Corrupt password file at line 3.\n", existing},
		{"colon", "", "-b @f a:b pw", 1, "", "Error: Username must not contain the ':' character.\n", existing},
		{"control", "", "-b @f a\tb pw", 1, "", "Error: Username must not contain control characters.\n", existing},
		{"no name", "", "-b @f EMPTY pw", 1, "", "Error: Username must not be empty.\n", existing},
		{"comment", "", "-b @f #a pw", 1, "", "Error: Username must not begin with '#' nor begin or end with a blank.\n", existing},
		{"long", "", "-b @f LONG pw", 1, "", "Error: Username must be less than 65536 characters long.\n", existing},
		{"hash", "", "-H md5 -b @f u p", 1, "", "Error: Unknown hash type 'md5'\n", existing},
		{"-H", "", "-H", 1, "", "Error: -H argument given but not enough other arguments.\n", existing},
		{"-I", "", "-I", 1, "", "Error: -I argument given but not enough other arguments.\n", existing},
		{"-I 0", "", "-I 0 -b @f u p", 1, "", "Error: Number of iterations must be > 0.\n", existing},
		{"-I x", "", "-I x -b @f u p", 1, "", "Error: Number of iterations must be > 0.\n", existing},
		{"-I high", "", "-I 5000001 -b @f u p", 1, "", "Error: Number of iterations must be <= 5000000.\n", existing},
		{"-c", "", "-c @f", 1, "", "Error: -c argument given but password file or username missing.\n", existing},
		{"-c -b", "", "-c -b @f u", 1, "", "Error: -c argument given but password file, username, or password missing.\n", existing},
		{"-D", "", "-D", 1, "", "Error: -D argument given but password file or username missing.\n", existing},
		{"-U", "", "-U", 1, "", "Error: -U argument given but password file missing.\n", existing},
		{"-c -D", "", "-c -D @f u", 1, "", "Error: -c and -D cannot be used together.\n", existing},
		{"-c -U", "", "-c -U @f", 1, "", "Error: -c and -U cannot be used together.\n", existing},
		{"-D -U", "", "-D -U @f", 1, "", "Error: -D and -U cannot be used together.\n", existing},
		{"-b -D", "", "-b -D @f u", 1, "", "Error: -b and -D cannot be used together.\n", existing},
		{"-b -U", "", "-b -U @f", 1, "", "Error: -b and -U cannot be used together.\n", existing},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &call{t, t.TempDir()}
			w.write("f", existing)
			w.write("corrupt", "alice:$6$x$y\n\nbob\n")
			if err := os.Mkdir(w.path("dir"), 0o700); err != nil {
				t.Fatal(err)
			}
			args := strings.Split(c.args, " ")
			for i, a := range args {
				switch a {
				case "EMPTY":
					args[i] = ""
				case "LONG":
					args[i] = strings.Repeat("a", maxUser+1)
				}
			}
			code, out, msg := w.run("mosquitto_passwd", c.stdin, args...)
			if code != c.code || users(out) != c.out || msg != c.err {
				t.Errorf("exit %d\nstdout %q\nstderr %q", code, out, msg)
			}
			if got := users(w.read("f")); got != users(c.file) {
				t.Errorf("file %q, not %q", got, users(c.file))
			}
			if w.read("corrupt") != "alice:$6$x$y\n\nbob\n" {
				t.Error("the corrupt file was changed")
			}
			if l, _ := filepath.Glob(w.path("*.new.*")); len(l) > 0 {
				t.Errorf("left behind: %q", l)
			}
		})
	}
}

// What was written is what the broker verifies, with the layout of 2.1.
func TestWrites(t *testing.T) {
	w := &call{t, t.TempDir()}
	for i, c := range []struct{ flag, prefix string }{{"-b", "$7$1000$"}, {"-H sha512 -b", "$6$"}, {"-I 5 -b", "$7$5$"}, {"-H argon2id -b", "$argon2id$v=19$m=47104,t=1,p=1$"}} {
		name := string(rune('a' + i))
		if code, _, msg := w.run("mosquitto_passwd", "", append(append([]string{"-c"}, strings.Split(c.flag, " ")...), "@"+name, "u", "sesame")...); code != 0 {
			t.Fatal(msg)
		}
		text, ok := strings.CutPrefix(w.read(name), "u:"+c.prefix)
		if !ok {
			t.Fatalf("%q", w.read(name))
		}
		h, err := password.Parse(c.prefix + strings.TrimSuffix(text, "\n"))
		if err != nil || !h.Verify([]byte("sesame")) {
			t.Errorf("%s: %v", c.flag, err)
		}
		if st, _ := os.Stat(w.path(name)); st.Mode().Perm()&0o077 != 0 {
			t.Errorf("mode %o", st.Mode().Perm())
		}
	}
}

// -U hashes plain text once, however often it is called.
func TestUpdate(t *testing.T) {
	w := &call{t, t.TempDir()}
	w.write("f", "# c\na:b\nc:d:e\n\ng h:i j")
	if code, out, msg := w.run("mosquitto_passwd", "", "-U", "@f"); code != 0 || out != "" || msg != "" {
		t.Fatalf("%d %q %q", code, out, msg)
	}
	once := w.read("f")
	if got, want := users(once), "# c\na:$7$…\nc:$7$…\n\ng h:$7$…\n"; got != want {
		t.Errorf("%q", got)
	}
	for i, pw := range map[int]string{1: "b", 2: "d", 4: "i j"} {
		_, text, _ := strings.Cut(strings.Split(once, "\n")[i], ":")
		if h, err := password.Parse(text); err != nil || !h.Verify([]byte(pw)) {
			t.Errorf("%q: %v", pw, err)
		}
	}
	w.run("mosquitto_passwd", "", "-U", "@f")
	if w.read("f") != once {
		t.Error("hashed twice")
	}
}

// A link is not followed, and a user that stands there twice becomes one.
func TestSafety(t *testing.T) {
	w := &call{t, t.TempDir()}
	w.write("f", "u:x\nv:y\nu:z\n")
	if err := os.Symlink(w.path("f"), w.path("link")); err != nil {
		t.Fatal(err)
	}
	if code, _, msg := w.run("mosquitto_passwd", "", "-b", "@link", "u", "pw"); code != 1 || msg != "Error: Unable to open password file @link. Not a regular file.\n" {
		t.Errorf("%d %q", code, msg)
	}
	if code, _, _ := w.run("mosquitto_passwd", "", "-b", "@f", "u", "pw"); code != 0 || users(w.read("f")) != "u:$7$…\nv:y\n" {
		t.Errorf("%d %q", code, w.read("f"))
	}
}

// Readable names under midge, and only there.
func TestNames(t *testing.T) {
	w := &call{t, t.TempDir()}
	if code, _, msg := w.run("midge passwd", "", "--create", "--hash=sha512", "--batch", "@f", "u", "pw"); code != 0 {
		t.Fatal(msg)
	}
	if got := users(w.read("f")); got != "u:$6$…\n" {
		t.Errorf("%q", got)
	}
	if code, out, _ := w.run("mosquitto_passwd", "", "--delete", "@f", "u"); code != 1 || !strings.HasPrefix(out, "mosquitto_passwd is a tool for managing password files for mosquitto.\n\nUsage: mosquitto_passwd ") {
		t.Errorf("%d %q", code, out)
	}
	if code, out, msg := w.run("midge passwd", "", "--foo"); code != 1 || !strings.HasPrefix(out, "Usage: midge passwd ") || msg != "Error: Unknown flag '--foo'.\n" {
		t.Errorf("%d %q %q", code, out, msg)
	}
	if code, _, msg := w.run("midge passwd", "", "--delete", "@f", "u"); code != 0 || w.read("f") != "" {
		t.Errorf("%d %q", code, msg)
	}
	for _, args := range [][]string{nil, {"@f"}, {"-b", "@f", "u"}, {"-h"}, {"-x"}, {"@f", "u", "extra"}} {
		if code, out, _ := w.run("mosquitto_passwd", "", args...); code != 1 || !strings.Contains(out, "Usage:") {
			t.Errorf("%q: %d %q", args, code, out)
		}
	}
}
