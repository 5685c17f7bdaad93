// Package pki makes certificates for tests: an authority, what it signs, and its
// list of what it takes back, all as PEM files in a directory. Test code alone
// uses it, from one goroutine for each authority.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// CA is an authority with its directory.
type CA struct {
	Dir  string
	File string // the certificate
	Cert *x509.Certificate

	key  crypto.Signer
	next int64
}

// Leaf is a certificate with its key, and the files they are in.
type Leaf struct {
	CertFile, KeyFile string
	Cert              *x509.Certificate
	Key               crypto.Signer
}

// Option changes a certificate before it is signed.
type Option func(*x509.Certificate)

// Subject replaces the subject, which otherwise is the common name alone.
func Subject(n pkix.Name) Option {
	return func(c *x509.Certificate) { c.Subject = n }
}

// Dates sets when the certificate is valid.
func Dates(from, to time.Time) Option {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = from, to }
}

// Usage says what the certificate is for; without it, it may be anything.
func Usage(u ...x509.ExtKeyUsage) Option {
	return func(c *x509.Certificate) { c.ExtKeyUsage = u }
}

// New makes an authority that keeps its files in dir.
func New(dir, name string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{"midge tests"}},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	ca := &CA{Dir: dir, File: filepath.Join(dir, name+".crt"), Cert: cert, key: key, next: 2}
	return ca, writePEM(ca.File, "CERTIFICATE", der)
}

// Server makes a certificate for localhost and the loopback addresses.
func (ca *CA) Server(name string) (*Leaf, error) {
	return ca.Issue(name, func(c *x509.Certificate) {
		c.Subject.CommonName = "localhost"
		c.DNSNames, c.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
}

// RSAServer is Server with a key of the older kind.
func (ca *CA) RSAServer(name string) (*Leaf, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return ca.issue(name, key, func(c *x509.Certificate) {
		c.Subject.CommonName, c.DNSNames = "localhost", []string{"localhost"}
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	})
}

// Issue makes a certificate with the common name name and writes name.crt and
// name.key.
func (ca *CA) Issue(name string, options ...Option) (*Leaf, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return ca.issue(name, key, options...)
}

func (ca *CA) issue(name string, key crypto.Signer, options ...Option) (*Leaf, error) {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(ca.next), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(12 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	ca.next++
	for _, o := range options {
		o(t)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.Cert, key.Public(), ca.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	l := &Leaf{CertFile: filepath.Join(ca.Dir, name+".crt"), KeyFile: filepath.Join(ca.Dir, name+".key"), Cert: cert, Key: key}
	if err := writePEM(l.CertFile, "CERTIFICATE", der); err != nil {
		return nil, err
	}
	der, err = x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return l, writePEM(l.KeyFile, "PRIVATE KEY", der)
}

// Revoke writes the list of what the authority takes back, valid until then.
func (ca *CA) Revoke(file string, until time.Time, leaves ...*Leaf) error {
	t := &x509.RevocationList{Number: big.NewInt(ca.next), ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: until}
	ca.next++
	for _, l := range leaves {
		t.RevokedCertificateEntries = append(t.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: l.Cert.SerialNumber, RevocationTime: time.Now().Add(-time.Hour)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, t, ca.Cert, ca.key)
	if err != nil {
		return err
	}
	return writePEM(file, "X509 CRL", der)
}

// writePEM replaces a file at one stroke, as a good renewal does.
func writePEM(path, kind string, der []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
