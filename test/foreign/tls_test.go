//go:build foreign

package foreign

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/testkit/pki"
)

// secured is a broker with listeners for TLS, for client certificates and for
// secure WebSocket, and the files of an authority.
type secured struct {
	*broker
	ca                    *pki.CA
	server                *pki.Leaf
	device, taken         *pki.Leaf
	tls, mutual, wss, rsa int // ports
}

func startSecured(t *testing.T, www string) *secured {
	t.Helper()
	if !isMidge {
		t.Log("the files are the same for every broker; http_dir is midge's")
	}
	dir := t.TempDir()
	s := &secured{tls: freePort(t), mutual: freePort(t), wss: freePort(t), rsa: freePort(t)}
	var err error
	check := func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s.ca, err = pki.New(dir, "ca")
	check()
	s.server, err = s.ca.Server("server")
	check()
	rsa, err := s.ca.RSAServer("rsa")
	check()
	s.device, err = s.ca.Issue("device")
	check()
	s.taken, err = s.ca.Issue("taken")
	check()
	crl := filepath.Join(dir, "crl.pem")
	err = s.ca.Revoke(crl, time.Now().Add(time.Hour), s.taken)
	check()
	files := []string{"certfile " + s.server.CertFile, "keyfile " + s.server.KeyFile}
	var lines []string
	add := func(port int, more ...string) {
		lines = append(append(lines, fmt.Sprintf("listener %d 127.0.0.1", port)), more...)
	}
	add(s.tls, files...)
	add(s.mutual, append(files, "cafile "+s.ca.File, "crlfile "+crl, "require_certificate true", "use_identity_as_username true")...)
	add(s.rsa, "certfile "+rsa.CertFile, "keyfile "+rsa.KeyFile, "ciphers ECDHE-RSA-AES256-GCM-SHA384")
	add(s.wss, append(files, "protocol websockets", "http_dir "+www)...)
	s.broker = startBroker(t, lines...)
	return s
}

// run runs a program with text on its stdin and returns what it says.
func run(t *testing.T, stdin string, name string, args ...string) (out string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	b, err := cmd.CombinedOutput()
	if ctx.Err() != nil || cmd.ProcessState == nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, b)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

const connect311 = "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01o"

func TestOpenSSL(t *testing.T) {
	s := startSecured(t, t.TempDir())
	client := func(port int, stdin string, args ...string) (string, int) {
		t.Helper()
		return run(t, stdin, "openssl", append([]string{"s_client", "-connect", fmt.Sprintf("127.0.0.1:%d", port), "-CAfile", s.ca.File, "-verify_return_error"}, args...)...)
	}
	for _, tt := range []struct {
		name string
		port int
		args []string
		want string // in the output; empty: the handshake fails
	}{
		{"1.3", s.tls, []string{"-tls1_3"}, "New, TLSv1.3, Cipher is TLS_"},
		{"1.2", s.tls, []string{"-tls1_2"}, "New, TLSv1.2, Cipher is ECDHE-ECDSA-"},
		{"1.1", s.tls, []string{"-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"}, ""},
		{"name", s.tls, []string{"-verify_hostname", "localhost"}, "Verify return code: 0 (ok)"},
		{"cipher", s.rsa, []string{"-tls1_2"}, "Cipher is ECDHE-RSA-AES256-GCM-SHA384"},
		{"other cipher", s.rsa, []string{"-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"}, ""},
		{"certificate", s.mutual, []string{"-tls1_2", "-cert", s.device.CertFile, "-key", s.device.KeyFile}, "Verify return code: 0 (ok)"},
		{"authorities", s.mutual, []string{"-tls1_2", "-cert", s.device.CertFile, "-key", s.device.KeyFile}, "Acceptable client certificate CA names"},
		{"no certificate", s.mutual, []string{"-tls1_2"}, ""},
		{"revoked", s.mutual, []string{"-tls1_2", "-cert", s.taken.CertFile, "-key", s.taken.KeyFile}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, status := client(tt.port, "", tt.args...)
			switch {
			case tt.want == "" && (status == 0 || !strings.Contains(out, "alert")):
				t.Errorf("status %d\n%s", status, out)
			case tt.want != "" && !strings.Contains(out, tt.want):
				t.Errorf("no %q in\n%s", tt.want, out)
			}
		})
	}
	t.Run("mqtt", func(t *testing.T) {
		// -quiet keeps the connection until the broker closes it, after DISCONNECT.
		out, _ := client(s.tls, connect311+"\xe0\x00", "-quiet")
		if !strings.Contains(out, "\x20\x02\x00\x00") {
			t.Errorf("no CONNACK in %q", out)
		}
	})
	t.Run("renegotiation", func(t *testing.T) {
		// R begins one; a server that takes part would show its certificate again.
		out, _ := client(s.tls, "R\n", "-tls1_2")
		if !strings.Contains(out, "RENEGOTIATING") || !strings.Contains(out, "no renegotiation") && !strings.Contains(out, "alert") && !strings.Contains(out, "error") {
			t.Errorf("renegotiation is not refused:\n%s", out)
		}
	})
}

func TestCurl(t *testing.T) {
	www := t.TempDir()
	if err := os.WriteFile(filepath.Join(www, "index.html"), []byte("<h1>files</h1>"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startSecured(t, www)
	curl := func(port int, args ...string) (string, int) {
		t.Helper()
		scheme := "https"
		if port == s.ws {
			scheme = "http"
		}
		path := "/"
		if strings.HasPrefix(args[0], "/") {
			path, args = args[0], args[1:]
		}
		args = append(args, "-sS", "-i", "--http1.1", "--path-as-is", "--cacert", s.ca.File, "--max-time", "2", fmt.Sprintf("%s://localhost:%d%s", scheme, port, path))
		return run(t, "", "curl", args...)
	}
	upgrade := []string{
		"/mqtt", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13",
		"-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "-H", "Sec-WebSocket-Protocol: mqtt",
	}
	for _, port := range []int{s.ws, s.wss} {
		out, _ := curl(port, upgrade...)
		if !strings.Contains(out, "HTTP/1.1 101 ") || !strings.Contains(out, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") {
			t.Errorf("port %d: %s", port, out)
		}
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"/"}, "<h1>files</h1>"},
		{[]string{"/index.html", "-I"}, "Content-Length: 14"},
		{[]string{"/none"}, "HTTP/1.1 404 "},
		{[]string{"/../../../../etc/passwd"}, "HTTP/1.1 404 "},
		{[]string{"/%2e%2e/%2e%2e/etc/passwd"}, "HTTP/1.1 404 "},
		{[]string{"/", "-X", "DELETE"}, "HTTP/1.1 405 "},
		{[]string{"/", "-d", "x=1"}, "HTTP/1.1 405 "},
	} {
		if out, _ := curl(s.wss, tt.args...); !strings.Contains(out, tt.want) {
			t.Errorf("%q: no %q in\n%s", tt.args, tt.want, out)
		}
	}
	if out, _ := curl(s.ws, "/"); !strings.HasPrefix(out, "HTTP/1.1 426 ") {
		t.Errorf("a listener without files: %s", out)
	}
}

func TestMosquittoCertificates(t *testing.T) {
	s := startSecured(t, t.TempDir())
	with := func(port int, leaf *pki.Leaf, more ...string) []string {
		a := []string{"-h", "localhost", "-p", fmt.Sprint(port), "--cafile", s.ca.File, "-t", "tls/x"}
		if leaf != nil {
			a = append(a, "--cert", leaf.CertFile, "--key", leaf.KeyFile)
		}
		return append(a, more...)
	}
	for _, v := range []string{"tlsv1.2", "tlsv1.3"} {
		for _, q := range []string{"0", "1", "2"} {
			text := "hello " + v + " " + q
			if out, status := run(t, "", "/usr/bin/mosquitto_pub", with(s.tls, nil, "-r", "-q", q, "-m", text, "--tls-version", v)...); status != 0 {
				t.Errorf("mosquitto_pub: %d %s", status, out)
			}
			out, status := run(t, "", "/usr/bin/mosquitto_sub", with(s.mutual, s.device, "-q", q, "-C", "1", "-W", "20", "--tls-version", v)...)
			if status != 0 || out != text+"\n" {
				t.Errorf("mosquitto_sub, %s, QoS %s: %d %q", v, q, status, out)
			}
		}
	}
	if _, status := run(t, "", "/usr/bin/mosquitto_pub", with(s.mutual, s.device, "-m", "x")...); status != 0 {
		t.Errorf("a good certificate: status %d", status)
	}
	for name, leaf := range map[string]*pki.Leaf{"none": nil, "revoked": s.taken} {
		if out, status := run(t, "", "/usr/bin/mosquitto_pub", with(s.mutual, leaf, "-m", "x")...); status == 0 {
			t.Errorf("certificate %s: let in\n%s", name, out)
		}
	}
	if out, status := run(t, "", "/usr/bin/mosquitto_pub", "-h", "localhost", "-p", fmt.Sprint(s.tls), "-t", "x", "-m", "x"); status == 0 {
		t.Errorf("without TLS: let in\n%s", out)
	}
}

// TestSecureBrowserPage loads the page of examples/browser from the broker itself,
// by https, and follows its topics by wss, in headless Chromium.
func TestSecureBrowserPage(t *testing.T) {
	www := t.TempDir()
	for _, f := range []string{"../../examples/browser/index.html", "js/node_modules/mqtt/dist/mqtt.min.js"} {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(www, filepath.Base(f)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := startSecured(t, www)
	peer := startDriver(t, libraries[0])
	c, _ := peer.connect(s.broker, "peer", request{Version: 4, Clean: true})
	c.subscribe("random_numbers/page", 1, 0)
	c.publish(request{Topic: "random_numbers/p1", Payload: "7", QoS: 0, Retain: true})

	// Chromium trusts this one key beside those of its own authorities.
	sum := sha256.Sum256(s.server.Cert.RawSubjectPublicKeyInfo)
	t.Setenv("MIDGE_BROWSER_SPKI", base64.StdEncoding.EncodeToString(sum[:]))
	at := fmt.Sprintf("localhost:%d", s.wss)
	page := openPage(t, "https://"+at+"/?broker="+url.QueryEscape("wss://"+at+"/mqtt"))
	page.do("wait", "#state", "connected")
	page.do("wait", "#values td", "random_numbers/p1")
	page.do("wait", "#values td", "7")
	page.do("fill", "input[name=payload]", "41")
	page.do("click", "button", "")
	c.message("random_numbers/page", "41", 1)
	page.do("wait", "#published", "acknowledged: 41")
	page.close()
}
