package pubsub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/internal/tlsconf"
)

// tlsOptions are the flags of TLS.
type tlsOptions struct {
	caFile, caPath string
	cert, key      string
	keyForm        string
	version        string
	ciphers        string
	alpn           string
	keyLog         string
	insecure       bool
	osCerts        bool
	off            bool
}

// check judges what can be judged without reading a file.
func (t *tlsOptions) check() error {
	switch {
	case (t.cert == "") != (t.key == ""):
		return usagef("Both certfile and keyfile must be provided if one of them is set.")
	case t.keyForm != "" && t.key == "":
		return usagef("If keyform is set, keyfile must be also specified.")
	case t.keyForm == "engine":
		return usagef("The option '--keyform engine' is not supported: %s.", noEngine)
	case t.keyForm != "" && t.keyForm != "pem":
		return usagef("Problem setting key form, it must be one of 'pem' or 'engine'.")
	case t.version != "" && t.version != "tlsv1.2" && t.version != "tlsv1.3":
		return usagef("Problem setting TLS options, --tls-version must be tlsv1.2 or tlsv1.3.")
	}
	return nil
}

// secure reports whether the connection has TLS. Port 8883 without any authority trusts those of the system.
func (o *options) secure() bool {
	t := &o.tls
	return !t.off && o.unix == "" && (t.caFile != "" || t.caPath != "" || t.osCerts || o.port == 8883)
}

// config makes the TLS configuration. warn gets what is not known. The caller closes what closing returns, when the last connection
// has ended.
func (t *tlsOptions) config(host string, warn func(string)) (c *tls.Config, closing func(), err error) {
	c = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	closing = func() {}
	if t.version == "tlsv1.3" {
		c.MinVersion = tls.VersionTLS13
	}
	if t.alpn != "" {
		c.NextProtos = []string{t.alpn}
	}
	if c.RootCAs, err = t.roots(); err != nil {
		return nil, nil, err
	}
	if t.cert != "" {
		pair, err := tls.LoadX509KeyPair(t.cert, t.key)
		if err != nil {
			return nil, nil, fmt.Errorf("client certificate %s and key %s: %w", t.cert, t.key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if c.CipherSuites, err = tlsconf.CipherSuites(t.ciphers, func(f string, args ...any) { warn(fmt.Sprintf(f, args...)) }); err != nil {
		return nil, nil, err
	}
	if t.insecure {
		anyName(c)
	}
	if t.keyLog != "" {
		f, err := tlsconf.OpenKeyLog(t.keyLog)
		if err != nil {
			return nil, nil, err
		}
		c.KeyLogWriter, closing = f, func() { _ = f.Close() }
	}
	return c, closing, nil
}

// roots reads the authorities; nil means those of the system.
func (t *tlsOptions) roots() (*x509.CertPool, error) {
	if t.caFile == "" && t.caPath == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if t.osCerts {
		system, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("certificates of the system: %w", err)
		}
		pool = system
	}
	files := []string{t.caFile}
	if t.caFile == "" {
		files = nil
	}
	if t.caPath != "" {
		entries, err := os.ReadDir(t.caPath)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !e.IsDir() {
				files = append(files, filepath.Join(t.caPath, e.Name()))
			}
		}
	}
	found := false
	for _, name := range files {
		pem, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if pool.AppendCertsFromPEM(pem) {
			found = true
		} else if name == t.caFile {
			return nil, fmt.Errorf("%s has no certificate in PEM form", name)
		}
	}
	if !found {
		return nil, fmt.Errorf("%s has no certificates in PEM form", t.caPath)
	}
	return pool, nil
}

// anyName takes a certificate of a trusted authority for any host. The chain is checked all the same: whoever wants no check at all
// wants no TLS.
func anyName(c *tls.Config) {
	roots := c.RootCAs
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(s tls.ConnectionState) error {
		opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		for _, p := range s.PeerCertificates[1:] {
			opts.Intermediates.AddCert(p)
		}
		_, err := s.PeerCertificates[0].Verify(opts)
		return err
	}
}

// staticAuth is the method and data of -D connect authentication-method and authentication-data: one word, no answer to a challenge.
type staticAuth struct {
	name string
	data []byte
}

// Name is the authentication method.
func (a *staticAuth) Name() string { return a.name }

// Begin starts an exchange.
func (a *staticAuth) Begin(context.Context) client.AuthExchange { return a }

// Start gives the data of CONNECT.
func (a *staticAuth) Start() ([]byte, error) { return a.data, nil }

// Respond cannot answer.
func (a *staticAuth) Respond([]byte) ([]byte, error) {
	return nil, errors.New("the broker asks for more than the data of -D")
}

// Finish takes what the broker says for granted.
func (a *staticAuth) Finish([]byte) error { return nil }

// tlsFault is the text for an error of TLS.
func tlsFault(err error) string {
	return "Error: A TLS error occurred: " + strings.TrimPrefix(err.Error(), "tls: ") + "."
}
