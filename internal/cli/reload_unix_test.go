//go:build unix

package cli

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// rewrite replaces the process's configuration.
func (p *process) rewrite(t *testing.T, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, "PORT", strconv.Itoa(p.port))
	if err := os.WriteFile(filepath.Join(p.dir, "m.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStrictReload(t *testing.T) {
	p := spawn(t, plain, "mosquitto", "-c", "m.conf", "--strict-reload")
	p.await(t, running)
	p.rewrite(t, plain+"foo\n")
	p.signal(t, syscall.SIGHUP)
	if status := p.status(t); status != 3 {
		t.Errorf("status %d, %q", status, p.lines())
	}
}

func TestReloadByTheControlSocket(t *testing.T) {
	p := spawn(t, plain, "mosquitto", "-c", "m.conf")
	p.await(t, running)
	socket := filepath.Join(p.dir, "ctl")
	ask := func(args ...string) result {
		t.Helper()
		return call(t, append(append([]string{"midge"}, args...), "--socket", socket)...)
	}
	if got := ask("config", "diff"); got.status != 0 || got.out != "Nothing has changed.\n" {
		t.Errorf("without a change: %+v", got)
	}
	p.rewrite(t, plain+"max_queued_messages 7\nmax_keepalive 9\nloops 3\n")
	const left = "The change of 'loops' from '0' to '3' needs a restart.\n"
	want := left +
		"The change of 'max_keepalive' from '0' to '9' takes effect for new connections.\n" +
		"The change of 'max_queued_messages' from '1000' to '7' takes effect at once.\n"
	for range 2 { // asking changes nothing
		if got := ask("config", "diff"); got.status != 0 || got.out != want {
			t.Errorf("diff: %+v", got)
		}
	}
	if got := ask("reload"); got.status != 0 || got.out != "The configuration was reloaded.\n"+left {
		t.Errorf("reload: %+v", got)
	}
	if got := ask("config", "diff"); got.out != left {
		t.Errorf("after the reload: %+v", got)
	}
	p.rewrite(t, plain+"foo 1\n")
	for _, command := range []string{"config diff", "reload"} {
		if got := ask(strings.Fields(command)...); got.status != 1 || !strings.Contains(got.err, "Error: Unknown configuration variable 'foo'.") {
			t.Errorf("%s of a broken file: %+v", command, got)
		}
	}
	p.signal(t, syscall.SIGTERM)
	if status := p.status(t); status != 0 {
		t.Errorf("status %d", status)
	}
}

func TestEnvironment(t *testing.T) {
	for _, tc := range []struct {
		env    string
		root   bool // concerns root only
		status int
		want   string
	}{
		{"UMASK_SET=999", false, 3, "Error: Invalid UMASK_SET value '999'.\n"},
		{"UMASK_SET=1000", false, 3, "Error: Invalid UMASK_SET value '1000'.\n"},
		{"PUID=x", true, 3, "Error: Invalid PUID value 'x'.\n"},
		{"PGID=-1", true, 3, "Error: Invalid PGID value '-1'.\n"},
		{"PUID=99999999999", true, 3, "Error: Invalid PUID value '99999999999'.\n"},
	} {
		if tc.root && os.Geteuid() != 0 {
			continue
		}
		key, value, _ := strings.Cut(tc.env, "=")
		t.Run(key+value, func(t *testing.T) {
			t.Setenv(key, value)
			p := spawn(t, plain, "mosquitto", "-c", "m.conf")
			if status := p.status(t); status != tc.status || !strings.HasSuffix(p.lines(), tc.want) {
				t.Errorf("status %d, %q", status, p.lines())
			}
		})
	}
}

func TestIDsFromTheEnvironment(t *testing.T) {
	if os.Geteuid() != 0 {
		return // others stay who they are, see TestUserThatDoesNotExist
	}
	t.Setenv("PUID", "12345")
	t.Setenv("PGID", "12346")
	t.Setenv("UMASK_SET", "027")
	p := spawn(t, "listener PORT 127.0.0.1\ncontrol_socket none\n", "mosquitto", "-c", "m.conf")
	p.await(t, running)
	status, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Uid:\t12345\t12345\t12345", "Gid:\t12346\t12346\t12346", "Umask:\t0027"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("no %q in %s", want, status)
		}
	}
	p.await(t, "Info: running mosquitto as user id: 12345.\n")
	p.signal(t, syscall.SIGTERM)
	if status := p.status(t); status != 0 {
		t.Errorf("status %d", status)
	}
}
