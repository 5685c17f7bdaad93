package reach

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
)

// ErrCommonName is in the chain of errors of a certificate that has no subject alternative name and the wrong Common Name.
var ErrCommonName = errors.New("certificate without subject alternative name")

// tlsConfig reads the files and sets up the check of the broker's certificate.
func (o *Options) tlsConfig() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.ServerName}
	if c.ServerName == "" {
		c.ServerName = o.Host
	}
	if o.ALPN != "" {
		c.NextProtos = []string{o.ALPN}
	}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("CA file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA file %s has no certificate in PEM form", o.CAFile)
		}
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("a certificate needs its key and a key its certificate (--cert and --key)")
	}
	if o.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("own certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	} else if o.CertificateAsked != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			o.CertificateAsked()
			return new(tls.Certificate), nil // none
		}
	}
	// crypto/tls judges names before VerifyConnection and knows no Common Name, so its check is replaced as a whole.
	c.InsecureSkipVerify = true
	if !o.Insecure {
		roots, host := c.RootCAs, c.ServerName
		c.VerifyConnection = func(s tls.ConnectionState) error { return verify(s.PeerCertificates, roots, host) }
	}
	return c, nil
}

// verify judges the broker's certificate: its chain, its dates, its name. A certificate without any subject alternative name
// counts for its Common Name, as OpenSSL has it: the guides have people make such ones.
func verify(peer []*x509.Certificate, roots *x509.CertPool, host string) error {
	if len(peer) == 0 {
		return errors.New("broker sent no certificate")
	}
	leaf := peer[0]
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range peer[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(opts); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: peer, Err: err}
	}
	err := leaf.VerifyHostname(host)
	if OnlyCommonName(leaf) {
		byName := &x509.Certificate{Raw: leaf.Raw, Subject: leaf.Subject, Extensions: leaf.Extensions}
		if ip := net.ParseIP(leaf.Subject.CommonName); ip != nil {
			byName.IPAddresses = []net.IP{ip}
		} else {
			byName.DNSNames = []string{leaf.Subject.CommonName}
		}
		if err = byName.VerifyHostname(host); err != nil {
			err = fmt.Errorf("%w: %w", ErrCommonName, err)
		}
	}
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: peer, Err: err}
	}
	return nil
}

// OnlyCommonName reports whether a certificate names its owner only in the Common Name.
func OnlyCommonName(c *x509.Certificate) bool {
	return len(c.DNSNames)+len(c.IPAddresses)+len(c.EmailAddresses)+len(c.URIs) == 0 && c.Subject.CommonName != ""
}
