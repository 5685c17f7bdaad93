//go:build foreign

package foreign

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// saltedHash is what differs with each call: salt and hash. 2.1 and midge take longer salts than 2.0, and 1000 iterations
// where 2.0 took 101.
var saltedHash = regexp.MustCompile(`(\$6\$|\$7\$)(?:(?:101|1000)\$)?\S+`)

// only21 are lines that mosquitto_passwd prints since 2.1.
var only21 = regexp.MustCompile(`(Adding|Updating) password for user .*\n`)

// passwdRun is what one call did.
type passwdRun struct {
	code        int
	out, errout string
	files       string
}

func runPasswd(t *testing.T, tool []string, dir, stdin string, args []string) passwdRun {
	t.Helper()
	cmd := exec.Command(tool[0], append(tool[1:len(tool):len(tool)], args...)...)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(stdin)
	var out, errout strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errout
	err := cmd.Run()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		t.Fatal(err)
	}
	r := passwdRun{code: cmd.ProcessState.ExitCode(), out: only21.ReplaceAllString(out.String(), ""), errout: strings.ReplaceAll(errout.String(), dir+"/", "")}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		r.files += filepath.Base(n) + "=" + saltedHash.ReplaceAllString(string(b), "${1}…") + ";"
	}
	return r
}

// midge passwd under Mosquitto's name does what Debian's mosquitto_passwd does: same output, status and file, but for
// salts. What the tool of 2.1 does differently from Debian's 2.0 is tested beside the source.
func TestPasswdAgainstMosquitto(t *testing.T) {
	if !isMidge {
		return
	}
	link := filepath.Join(t.TempDir(), "mosquitto_passwd")
	if err := os.Symlink(brokerPath, link); err != nil {
		t.Fatal(err)
	}
	const existing = "alice:$7$101$x\nbob:$6$y\n"
	for _, c := range []struct{ args, stdin string }{
		{"-c -b new u p", ""},
		{"-I 101 -c new u", "pw\npw\n"},
		{"-I 101 -b f carol p", ""},
		{"-I 101 -b f alice p", ""},
		{"-I 101 f alice", "pw\npw\n"},
		{"-H sha512 -b f alice p", ""},
		{"-H sha512-pbkdf2 -I 5 -b f alice p", ""},
		{"-D f alice", ""},
		{"-D f nobody", ""},
		{"-D none u", ""},
		{"-b none u p", ""},
		{"-U none", ""},
		{"f u", "pw\nwp\n"},
		{"f u", "\n"},
		{"f u", "pw\n"},
		{"f u", ""},
		{"f u", "p w\r\np w\r\n"},
		{"-I 101 -U plain", ""},
		{"-b f a:b p", ""},
		{"-b f a\tb p", ""},
		{"-H md5 -b f u p", ""},
		{"-H", ""},
		{"-I", ""},
		{"-I 0 -b f u p", ""},
		{"-I x -b f u p", ""},
		{"-c", ""},
		{"-c f", ""},
		{"-c -b f u", ""},
		{"-D", ""},
		{"-D f", ""},
		{"-U", ""},
		{"-U f x", ""},
		{"-c -D f u", ""},
		{"-c -U f", ""},
		{"-D -U f", ""},
		{"-b -D f u", ""},
		{"-b f u", ""},
		{"f", ""},
		{"f u x", ""},
		{"-h", ""},
		{"-x", ""},
		{"", ""},
	} {
		var got [2]passwdRun
		for i, tool := range [][]string{{"/usr/bin/mosquitto_passwd"}, {link}} {
			dir := t.TempDir()
			for name, content := range map[string]string{"f": existing, "plain": "a:b\nc:d\n"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var args []string
			if c.args != "" {
				args = strings.Split(c.args, " ")
			}
			if strings.HasPrefix(c.args, "-c -b new") {
				args = append([]string{"-I", "101"}, args...)
			}
			got[i] = runPasswd(t, tool, dir, c.stdin, args)
			// The usage names other flags in 2.1.
			if head, _, ok := strings.Cut(got[i].out, "\n\nUsage: "); ok {
				got[i].out = head
			}
		}
		if got[0] != got[1] {
			t.Errorf("%q < %q:\nmosquitto_passwd %+v\nmidge            %+v", c.args, c.stdin, got[0], got[1])
		}
	}
}
