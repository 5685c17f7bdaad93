// Package tlsconf makes crypto/tls configurations of the options that
// mosquitto.conf has for listeners, verifies client certificates by them, and
// keeps them up to date when their files change.
//
// It never speaks on a connection (package tlslayer does) and never guesses:
// what crypto/tls cannot do is an error that says so. Files are read by [New],
// [Source.Prepare] and the goroutine of [Watch], never by a handshake. A
// [Source] may be used from any goroutine.
package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Options are those of one listener, as written in mosquitto.conf.
type Options struct {
	CertFile, KeyFile string // certfile, keyfile: PEM, both needed
	CAFile, CAPath    string // cafile, capath: whom client certificates may come from
	CRLFile           string // crlfile: PEM, revoked client certificates
	Ciphers           string // ciphers: an OpenSSL cipher list; empty means the default
	Ciphers13         string // ciphers_tls1.3; empty means the default
	Version           string // tls_version: the lowest; empty means tlsv1.2

	RequireCertificate bool // require_certificate
	AnyDates           bool // disable_client_cert_date_checks

	KeyLog io.Writer // where the secrets of all connections go, nil for nowhere; see OpenKeyLog
}

// Log receives what is worth telling while files are read.
type Log interface {
	Info(format string, args ...any)
	Warning(format string, args ...any)
	Error(format string, args ...any)
}

// Error is an option that cannot be honoured.
type Error struct {
	Option string // its name
	Text   string // the sentence Mosquitto users know
	Cause  error  // what is behind it, nil for nothing more
}

func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Text
	}
	return fmt.Sprintf("%s (%v)", e.Text, e.Cause)
}

func (e *Error) Unwrap() error { return e.Cause }

// maxFile bounds a file of certificates or revocations, in bytes.
const maxFile = 64 << 20

// load makes the configuration. warn gets whole sentences.
func load(o *Options, warn func(format string, args ...any)) (*tls.Config, error) {
	c := &tls.Config{
		SessionTicketsDisabled: false,
		// Everything that is due in a batch goes out in one piece anyway.
		DynamicRecordSizingDisabled: true,
		KeyLogWriter:                o.KeyLog,
	}
	var err error
	if c.MinVersion, err = minVersion(o.Version, warn); err != nil {
		return nil, err
	}
	if c.CipherSuites, err = cipherSuites(o.Ciphers, warn); err != nil {
		return nil, err
	}
	if err := checkSuites13(o.Ciphers13, warn); err != nil {
		return nil, err
	}
	cert, err := keyPair(o, warn)
	if err != nil {
		return nil, err
	}
	c.Certificates = []tls.Certificate{cert}
	roots, err := authorities(o, warn)
	if err != nil {
		return nil, err
	}
	crls, err := revocations(o)
	if err != nil {
		return nil, err
	}
	if o.RequireCertificate {
		if o.CAFile == "" && o.CAPath == "" {
			warn("Warning: 'require_certificate' without 'cafile' or 'capath' refuses every client.")
		}
		// Verified below, also when a session is resumed: crypto/tls itself would
		// know neither crlfile nor disable_client_cert_date_checks.
		c.ClientAuth = tls.RequireAnyClientCert
		c.ClientCAs = roots
		v := &verifier{roots: roots, crls: crls, anyDates: o.AnyDates}
		c.VerifyConnection = v.connection
	}
	return c, nil
}

func minVersion(name string, warn func(string, ...any)) (uint16, error) {
	switch name {
	case "", "tlsv1.2":
		return tls.VersionTLS12, nil
	case "tlsv1.3":
		return tls.VersionTLS13, nil
	case "tlsv1.1":
		warn("Warning: TLS v1.1 is obsolete and known to be weak; clients should speak TLS v1.2 at least.")
		warn("Warning: 'tls_version tlsv1.1' admits TLS v1.1 and everything newer.")
		return tls.VersionTLS11, nil
	}
	return 0, &Error{Option: "tls_version", Text: fmt.Sprintf("Unsupported tls_version %q.", name)}
}

// keyPair reads the server's certificate and key.
func keyPair(o *Options, warn func(string, ...any)) (tls.Certificate, error) {
	certPEM, err := readFile(o.CertFile)
	if err == nil && !hasBlock(certPEM, "CERTIFICATE") {
		err = errors.New("no certificate in PEM form found")
	}
	if err == nil {
		_, err = certificates(certPEM)
	}
	if err != nil {
		return tls.Certificate{}, &Error{"certfile", fmt.Sprintf("Unable to load server certificate %q. Check certfile.", o.CertFile), err}
	}
	bad := func(err error) (tls.Certificate, error) {
		return tls.Certificate{}, &Error{"keyfile", fmt.Sprintf("Unable to load server key file %q. Check keyfile.", o.KeyFile), err}
	}
	keyPEM, err := readFile(o.KeyFile)
	if err != nil {
		return bad(err)
	}
	switch {
	case encrypted(keyPEM):
		return bad(errors.New("the key is protected by a pass phrase, and nobody is there to be asked for it; write it without one: openssl pkey -in KEY -out NEWKEY"))
	case !hasBlock(keyPEM, "PRIVATE KEY"):
		return bad(errors.New("no private key in PEM form found"))
	}
	if st, err := os.Stat(o.KeyFile); err == nil && st.Mode().Perm()&0o004 != 0 {
		warn("Warning: File %s has world readable permissions, and it holds the private key of the listener.", o.KeyFile)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	switch {
	case err == nil:
		return pair, nil
	case strings.Contains(err.Error(), "does not match"):
		return tls.Certificate{}, &Error{"keyfile", "Server certificate/key are inconsistent.", err}
	}
	return bad(err)
}

// authorities reads cafile and capath. The pool is never nil: a nil one would be
// the system's, which nobody named.
func authorities(o *Options, warn func(string, ...any)) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if o.CAFile != "" {
		data, err := readFile(o.CAFile)
		var list []*x509.Certificate
		if err == nil {
			list, err = certificates(data)
		}
		if err == nil && len(list) == 0 {
			err = errors.New("no certificate in PEM form found")
		}
		if err != nil {
			return nil, &Error{"cafile", fmt.Sprintf("Unable to load CA certificates. Check cafile %q.", o.CAFile), err}
		}
		for _, c := range list {
			pool.AddCert(c)
		}
	}
	if o.CAPath == "" {
		return pool, nil
	}
	entries, err := os.ReadDir(o.CAPath)
	n := 0
	for _, e := range entries {
		if !hashed.MatchString(e.Name()) {
			continue
		}
		data, rerr := readFile(filepath.Join(o.CAPath, e.Name()))
		var list []*x509.Certificate
		if rerr == nil {
			list, rerr = certificates(data)
		}
		if rerr != nil {
			warn("Warning: %s in capath is left out: %v.", e.Name(), rerr)
			continue
		}
		for _, c := range list {
			pool.AddCert(c)
			n++
		}
	}
	if err != nil {
		return nil, &Error{"capath", fmt.Sprintf("Unable to load CA certificates. Check capath %q.", o.CAPath), err}
	}
	if n == 0 {
		warn("Warning: capath %q holds no certificate under a hashed name; run 'openssl rehash' on it.", o.CAPath)
	}
	return pool, nil
}

// hashed are the names that openssl rehash gives to certificates. Others are not
// trusted: a directory may hold certificates that nobody made an authority.
var hashed = regexp.MustCompile(`^[0-9a-f]{8}\.[0-9]+$`)

func certificates(data []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			return list, nil
		}
		if b.Type != "CERTIFICATE" && b.Type != "TRUSTED CERTIFICATE" && b.Type != "X509 CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
}

func hasBlock(data []byte, suffix string) bool {
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			return false
		}
		if strings.HasSuffix(b.Type, suffix) {
			return true
		}
	}
}

func encrypted(data []byte) bool {
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			return false
		}
		if b.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED") {
			return true
		}
	}
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case st.Size() > maxFile:
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}
