//go:build foreign

package tools

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/cli/doctor"
)

type findings struct {
	Problems int
	Findings []struct {
		Severity, Code, Message, Advice, Path, Mode string
		UID                                         *int
		Line                                        int
	}
}

// examine runs the doctor and returns the codes of the problems.
func examine(t *testing.T, args ...string) (codes []string, f findings) {
	t.Helper()
	status, out, errs := run(t, doctor.Run, append([]string{"--json", "--timeout", "2"}, args...)...)
	if err := json.Unmarshal([]byte(out), &f); err != nil {
		t.Fatalf("doctor %v: %v\n%s%s", args, err, out, errs)
	}
	for _, x := range f.Findings {
		if x.Severity == "problem" {
			codes = append(codes, x.Code)
			if x.Message == "" {
				t.Errorf("%s: no message", x.Code)
			}
		}
	}
	want := doctor.ExitOK
	if len(codes) > 0 {
		want = doctor.ExitProblem
	}
	if status != want || f.Problems != len(codes) {
		t.Errorf("doctor %v: status %d with problems %v (%d)", args, status, codes, f.Problems)
	}
	return codes, f
}

// TestDoctorBroker breaks one setting after the other, at midge and at Debian's broker.
func TestDoctorBroker(t *testing.T) {
	for name, start := range brokers {
		t.Run(name, func(t *testing.T) { doctorBroker(t, start) })
	}
}

func doctorBroker(t *testing.T, start func(*testing.T, string) int) {
	ca, other := newAuthority(t, "Test CA"), newAuthority(t, "Other CA")
	crt, key := ca.issue("server", nil)
	secure := func(crt, key, more string) string {
		return "listener PORT 127.0.0.1\nallow_anonymous true\ncafile " + ca.path("ca.crt") + "\ncertfile " + crt + "\nkeyfile " + key + "\n" + more
	}
	plain := start(t, "listener PORT 127.0.0.1\nallow_anonymous true")
	tlsPort := start(t, secure(crt, key, ""))
	client := start(t, secure(crt, key, "require_certificate true"))
	// Debian's mosquitto cannot bind a WebSocket listener to an address.
	websocket := midge(t, "listener PORT 127.0.0.1\nprotocol websockets\nallow_anonymous true")
	dated := func(from, to time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Now().Add(from), time.Now().Add(to) }
	}
	oldCrt, oldKey := ca.issue("old", dated(-50*time.Hour, -time.Hour))
	soonCrt, soonKey := ca.issue("soon", dated(time.Hour, 50*time.Hour))
	nameCrt, nameKey := ca.issue("name", func(c *x509.Certificate) {
		c.Subject.CommonName, c.DNSNames, c.IPAddresses = "other.example", []string{"other.example"}, nil
	})
	cnCrt, cnKey := ca.issue("cn", func(c *x509.Certificate) {
		c.Subject.CommonName, c.DNSNames, c.IPAddresses = "broker.example", nil, nil
	})
	expired, notYet := start(t, secure(oldCrt, oldKey, "")), start(t, secure(soonCrt, soonKey, ""))
	misnamed, commonName := start(t, secure(nameCrt, nameKey, "")), start(t, secure(cnCrt, cnKey, ""))
	dir := ca.dir
	passwords, acl := filepath.Join(dir, "passwd"), filepath.Join(dir, "acl")
	if out, err := exec.Command("mosquitto_passwd", "-b", "-c", passwords, "anna", "right").CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v\n%s", err, out)
	}
	os.Chmod(passwords, 0o644)
	write(t, acl, "user anna\ntopic readwrite open/#\ntopic write only/write\ntopic read only/read\n")
	closed := start(t, "listener PORT 127.0.0.1\nallow_anonymous false\npassword_file "+passwords+"\nacl_file "+acl)
	free := freePort(t)
	trust := []string{"--cafile", ca.path("ca.crt")}
	anna := []string{"-u", "anna", "-P", "right"}

	for _, tt := range []struct {
		name string
		url  string
		args []string
		want string // code of the one problem, empty for none
		says string // in its message or advice
	}{
		{"all well", fmt.Sprintf("mqtt://127.0.0.1:%d", plain), nil, "", ""},
		{"name", "mqtt://no-such-host.invalid", nil, "name-unknown", "no-such-host.invalid"},
		{"port closed", fmt.Sprintf("mqtt://127.0.0.1:%d", free), nil, "port-closed", fmt.Sprint(free)},
		{"local only", fmt.Sprintf("mqtt://127.0.0.2:%d", plain), nil, "listener-local-only", "127.0.0.1"},
		{"anonymous", fmt.Sprintf("mqtt://127.0.0.1:%d", closed), nil, "anonymous-refused", "allow_anonymous"},
		{"anonymous 3.1.1", fmt.Sprintf("mqtt://127.0.0.1:%d", closed), []string{"-V", "311"}, "anonymous-refused", ""},
		{"wrong password", fmt.Sprintf("mqtt://anna:wrong@127.0.0.1:%d", closed), nil, "wrong-password", "anna"},
		{"TLS to plain", fmt.Sprintf("mqtts://127.0.0.1:%d", plain), nil, "tls-to-plain-port", "without TLS"},
		{"plain to TLS", fmt.Sprintf("mqtt://127.0.0.1:%d", tlsPort), nil, "plain-to-tls-port", "--tls"},
		{"TLS", fmt.Sprintf("mqtts://127.0.0.1:%d", tlsPort), trust, "", ""},
		{"CA missing", fmt.Sprintf("mqtts://127.0.0.1:%d", tlsPort), nil, "ca-missing", "Test CA"},
		{"CA wrong", fmt.Sprintf("mqtts://127.0.0.1:%d", tlsPort), []string{"--cafile", other.path("ca.crt")}, "ca-wrong", "Test CA"},
		{"certificate expired", fmt.Sprintf("mqtts://127.0.0.1:%d", expired), trust, "certificate-date", "expired"},
		{"certificate too early", fmt.Sprintf("mqtts://127.0.0.1:%d", notYet), trust, "certificate-date", "clock"},
		{"certificate name", fmt.Sprintf("mqtts://127.0.0.1:%d", misnamed), trust, "certificate-name", "other.example"},
		{"common name", fmt.Sprintf("mqtts://127.0.0.1:%d", commonName), trust, "certificate-name", "Common Name"},
		{"common name fits", fmt.Sprintf("mqtts://127.0.0.1:%d", commonName), append([]string{"--servername", "broker.example"}, trust...), "", ""},
		{"client certificate", fmt.Sprintf("mqtts://127.0.0.1:%d", client), trust, "client-certificate-missing", "--cert"},
		{"MQTT to WebSocket", fmt.Sprintf("mqtt://127.0.0.1:%d", websocket), nil, "mqtt-to-websocket-port", "--ws"},
		{"WebSocket", fmt.Sprintf("ws://127.0.0.1:%d", websocket), nil, "", ""},
		{"WebSocket to MQTT", fmt.Sprintf("ws://127.0.0.1:%d", plain), nil, "websocket-to-mqtt-port", ""},
		{"subprotocol", fmt.Sprintf("ws://127.0.0.1:%d", websocket), []string{"--ws-subprotocol", "amqp"}, "websocket-subprotocol", "amqp"},
		{"rights", fmt.Sprintf("mqtt://127.0.0.1:%d", closed), append([]string{"-t", "open/door"}, anna...), "", ""},
		{"no right to publish", fmt.Sprintf("mqtt://127.0.0.1:%d", closed), append([]string{"-t", "only/read"}, anna...), "acl-publish", "topic write only/read"},
		{"no right to read", fmt.Sprintf("mqtt://127.0.0.1:%d", closed), append([]string{"-t", "only/write"}, anna...), "acl-read", "topic read only/write"},
		{"no right, 3.1.1", fmt.Sprintf("mqtt://127.0.0.1:%d", closed), append([]string{"-V", "311", "-t", "only/read"}, anna...), "acl-silent", "-V 5"},
		{"CA file missing", fmt.Sprintf("mqtts://127.0.0.1:%d", tlsPort), []string{"--cafile", dir + "/none.crt"}, "file-missing", "none.crt"},
		{"CA file empty", fmt.Sprintf("mqtts://127.0.0.1:%d", tlsPort), []string{"--cafile", passwords}, "certificate-unreadable", "PEM"},
		{"key of another", fmt.Sprintf("mqtts://127.0.0.1:%d", tlsPort), append([]string{"--cert", crt, "--key", oldKey}, trust...), "key-mismatch", ""},
		{"socket", "unix://" + dir + "/none.sock", nil, "socket-missing", "none.sock"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			codes, f := examine(t, append([]string{tt.url}, tt.args...)...)
			var want []string
			if tt.want != "" {
				want = []string{tt.want}
			}
			if !slices.Equal(codes, want) {
				t.Fatalf("problems %v, want %v\n%+v", codes, want, f.Findings)
			}
			for _, x := range f.Findings {
				if x.Code == tt.want && !strings.Contains(x.Message+" "+x.Advice, tt.says) {
					t.Errorf("%q and %q do not say %q", x.Message, x.Advice, tt.says)
				}
				if strings.Contains(x.Message+x.Advice, "wrong@") || strings.Contains(x.Message+x.Advice, "right@") {
					t.Errorf("a password in %q", x.Message)
				}
			}
		})
	}
}

// TestDoctorConfig breaks what a configuration names.
func TestDoctorConfig(t *testing.T) {
	ca := newAuthority(t, "Test CA")
	crt, key := ca.issue("server", nil)
	oldCrt, oldKey := ca.issue("old", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-50*time.Hour), time.Now().Add(-time.Hour)
	})
	secret := ca.path("secret")
	write(t, secret, "anna:$7$x\n")
	hidden := ca.path("hidden")
	if err := os.Mkdir(hidden, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(hidden, "acl"), "topic readwrite #\n")
	// Root asks for the user that the broker becomes, everybody else for themselves.
	fileMode, dirMode := os.FileMode(0o600), os.FileMode(0o700)
	if os.Geteuid() != 0 {
		fileMode, dirMode = 0, 0
		t.Cleanup(func() { os.Chmod(hidden, 0o700) })
	}
	for path, mode := range map[string]os.FileMode{secret: fileMode, hidden: dirMode} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	used := mosquitto(t, "listener PORT 127.0.0.1\nallow_anonymous true")
	listener := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\n", freePort(t))

	for _, tt := range []struct {
		name, conf, want, says string
	}{
		{"file missing", listener + "password_file /none/passwd", "file-missing", "line 3"},
		{"acl missing", listener + "acl_file /none/acl", "file-missing", "/none/acl"},
		{"key unreadable", listener + "password_file " + secret, "file-permission", fmt.Sprintf("%04o", fileMode)},
		{"directory closed", listener + "acl_file " + filepath.Join(hidden, "acl"), "directory-permission", fmt.Sprintf("%04o", dirMode)},
		{"certificate expired", listener + "certfile " + oldCrt + "\nkeyfile " + oldKey, "certificate-date", "expired"},
		{"key of another", listener + "certfile " + crt + "\nkeyfile " + oldKey, "key-mismatch", ""},
		{"key missing", listener + "certfile " + crt, "config-error", "keyfile"},
		{"port in use", fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true", used), "port-in-use", "mosquitto"},
		{"address", fmt.Sprintf("listener %d 192.0.2.1\nallow_anonymous true", freePort(t)), "address-not-here", "192.0.2.1"},
		{"persistence", listener + "persistence true\npersistence_location " + hidden + "/", "directory-not-writable", fmt.Sprintf("%04o", dirMode)},
		{"persistence missing", listener + "persistence true\npersistence_location /none/such/", "directory-missing", "mkdir"},
		{"log directory", listener + "log_dest file " + hidden + "/log", "directory-not-writable", ""},
		{"unknown option", listener + "no_such_option true", "config-error", "no_such_option"},
		{"good", listener + "certfile " + crt + "\nkeyfile " + key, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "m.conf")
			write(t, file, "user mosquitto\n"+tt.conf+"\n")
			_, f := examine(t, file)
			found := false
			for _, x := range f.Findings {
				if x.Severity != "problem" {
					continue
				}
				if x.Code != tt.want {
					t.Errorf("unexpected problem %s: %s", x.Code, x.Message)
					continue
				}
				found = true
				says := fmt.Sprintf("%s %s %s", x.Message, x.Advice, x.Mode)
				if !strings.Contains(says, strings.Replace(tt.says, "line 3", "line 4", 1)) {
					t.Errorf("%q does not say %q", says, tt.says)
				}
				if strings.HasSuffix(x.Code, "permission") && (x.Path == "" || x.Mode == "" || x.UID == nil) {
					t.Errorf("%s without path, mode or uid: %+v", x.Code, x)
				}
			}
			if tt.want != "" && !found {
				t.Errorf("no problem %s: %+v", tt.want, f.Findings)
			}
		})
	}
}
