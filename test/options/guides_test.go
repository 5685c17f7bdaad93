package options

import (
	"embed"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/testkit/pki"
)

//go:embed testdata/guides
var guides embed.FS

// guide is a rig whose directory stands for the root of a system with the
// directories and files that packages and guides make.
func guide(t *testing.T, name string) (r *rig, conf string, web, tls int) {
	t.Helper()
	text, err := guides.ReadFile("testdata/guides/" + name)
	if err != nil {
		t.Fatal(err)
	}
	r = prepare(t)
	for _, d := range []string{
		"run/mosquitto", "var/lib/mosquitto", "var/log/mosquitto", "etc/mosquitto/conf.d", "etc/mosquitto/certs", "etc/mosquitto/ca_certificates",
		"mosquitto/config", "mosquitto/data", "mosquitto/log",
	} {
		if err := os.MkdirAll(filepath.Join(r.dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	r.file("etc/mosquitto/passwd", userLines("ann"))
	r.file("mosquitto/config/passwd", userLines("ann"))
	r.file("etc/mosquitto/acl", "user ann\ntopic readwrite home/#\n")
	web, tls = freePort(t), freePort(t)
	// Only where things are is changed, so that it runs beside a broker and
	// without root.
	conf = strings.NewReplacer(" /", " DIR/", "1883", "PORT", "9001", port(web), "8883", port(tls)).Replace(string(text))
	return r, conf, web, tls
}

func TestDebianConfiguration(t *testing.T) {
	r, conf, _, _ := guide(t, "debian.conf")
	r.run(conf + "port PORT\n") // else it would take port 1883
	r.letsIn(4, false)
	r = r.again(conf + "port PORT\nallow_anonymous true\n")
	c := r.open(4, "c")
	c.publish("kept", "x", 1, true)
	r = r.again(conf + "port PORT\nallow_anonymous true\n")
	c = r.open(4, "c")
	c.subscribe("kept", 0)
	c.message("kept", "x", 0)
	if text, err := os.ReadFile(filepath.Join(r.dir, "var/log/mosquitto/mosquitto.log")); err != nil || !strings.Contains(string(text), "New client connected") {
		t.Errorf("log file: %q, %v", text, err)
	}
	if r.cfg.PIDFile != r.dir+"/run/mosquitto/mosquitto.pid" {
		t.Errorf("pid_file %s", r.cfg.PIDFile)
	}
	// As installed it is local only.
	if c := r.read(conf); !c.LocalOnly || !c.AllowAnonymous || !c.Persistence {
		t.Errorf("as installed: %+v", c)
	}
}

func TestGuides(t *testing.T) {
	for name, see := range map[string]func(t *testing.T, r *rig, web int){
		"anonymous.conf": func(t *testing.T, r *rig, _ int) { r.letsIn(4, true) },
		"password.conf":  onlyAnn,
		"port.conf": func(t *testing.T, r *rig, web int) {
			onlyAnn(t, r, web)
			c := r.open(5, "c", login("ann", "secret"))
			if code := c.publish("elsewhere", "x", 1); code != 0x87 {
				t.Errorf("code 0x%02X", code)
			}
			c.publish("home/a", "x", 1)
		},
		"websockets.conf": func(t *testing.T, r *rig, web int) {
			r.letsIn(4, true)
			r.port = web
			if got := r.upgrade(); got != 101 {
				t.Errorf("upgrade: %d", got)
			}
		},
		"docker.conf": func(t *testing.T, r *rig, web int) {
			onlyAnn(t, r, web)
			r.open(4, "c", login("ann", "secret")).publish("t", "x", 1, true)
			for _, dir := range []string{"data", "log"} {
				if list, err := os.ReadDir(filepath.Join(r.dir, "mosquitto", dir)); err != nil || len(list) == 0 {
					t.Errorf("%s is empty: %v", dir, err)
				}
			}
			r.port = web
			if got := r.upgrade(); got != 101 {
				t.Errorf("upgrade: %d", got)
			}
		},
		"homeassistant.conf": onlyAnn,
	} {
		t.Run(name, func(t *testing.T) {
			r, conf, web, _ := guide(t, name)
			r.run(conf)
			see(t, r, web)
		})
	}
}

func onlyAnn(_ *testing.T, r *rig, _ int) {
	r.t.Helper()
	r.letsIn(4, true, login("ann", "secret"))
	r.letsIn(4, false, login("ann", "wrong"))
	r.letsIn(4, false)
}

func TestGuideWithCertificates(t *testing.T) {
	r, conf, _, tlsPort := guide(t, "tls.conf")
	ca, err := pki.New(filepath.Join(r.dir, "etc/mosquitto/ca_certificates"), "ca")
	if err != nil {
		t.Fatal(err)
	}
	server, err := ca.Server("server")
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{server.CertFile: "server.crt", server.KeyFile: "server.key"} {
		if err := os.Rename(from, filepath.Join(r.dir, "etc/mosquitto/certs", to)); err != nil {
			t.Fatal(err)
		}
	}
	s := &secure{r, ca}
	r.run(conf)
	r.port = tlsPort
	s.letsIn(false, "no certificate")
	s.letsIn(true, "a certificate", s.issue("ann"))
	r.awaitLog("u'ann'")
}
