//go:build foreign

package tools

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/cli/reach"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/testkit/target"
)

// patience is how long anything may take.
const patience = 5 * time.Minute

// run calls a tool and returns its exit status and outputs.
func run(t *testing.T, tool func(*reach.Env, []string) int, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out, errs bytes.Buffer
	status = tool(&reach.Env{Context: ctx, Program: "midge tool", Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Version: "test"}, args)
	return status, out.String(), errs.String()
}

func freePort(t *testing.T) int {
	t.Helper()
	p, err := target.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mosquitto starts Debian's broker with a configuration in which PORT stands for a free port, and returns that port.
func mosquitto(t *testing.T, conf string) int {
	t.Helper()
	port := freePort(t)
	file := filepath.Join(t.TempDir(), "m.conf")
	write(t, file, strings.ReplaceAll(conf, "PORT", fmt.Sprint(port))+"\nlog_type none\n")
	start(t, port, target.MosquittoPath, "-c", file)
	return port
}

// midge starts midge in this process in the same way.
func midge(t *testing.T, conf string) int {
	t.Helper()
	port := freePort(t)
	file := filepath.Join(t.TempDir(), "m.conf")
	write(t, file, strings.ReplaceAll(conf, "PORT", fmt.Sprint(port))+"\n")
	c, err := config.Load(config.Args{Files: []string{file}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(broker.Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return port
}

// start runs a broker until the end of the test and waits until it listens.
func start(t *testing.T, port int, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(patience):
			cmd.Process.Kill()
		}
	})
	for end := time.Now().Add(patience); ; {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v\n%s", program, err, out.String())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not listen on %d\n%s", program, port, out.String())
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// authority makes certificates.
type authority struct {
	t    *testing.T
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	n    int64
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	// The broker gives its rights up before it reads some files: its user must be able to enter.
	for d := a.dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(1000 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.pem("ca.crt", "CERTIFICATE", der)
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) pem(name, kind string, der []byte) {
	a.t.Helper()
	write(a.t, a.path(name), string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

// issue makes NAME.crt and NAME.key; change may alter the certificate.
func (a *authority) issue(name string, change func(*x509.Certificate)) (crt, key string) {
	a.t.Helper()
	a.n++
	k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1 + a.n), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-100 * time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &k.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, _ := x509.MarshalPKCS8PrivateKey(k)
	a.pem(name+".crt", "CERTIFICATE", der)
	a.pem(name+".key", "PRIVATE KEY", raw)
	return a.path(name + ".crt"), a.path(name + ".key")
}
