package options

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/testkit/pki"
	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// secure is a rig whose directory has certificates.
type secure struct {
	*rig
	ca *pki.CA
}

func prepareTLS(t *testing.T) *secure {
	t.Helper()
	r := prepare(t)
	ca, err := pki.New(r.dir, "ca")
	if err != nil {
		t.Fatal(err)
	}
	s := &secure{r, ca}
	if _, err := ca.Server("server"); err != nil {
		t.Fatal(err)
	}
	return s
}

const tlsHead = "listener PORT 127.0.0.1\nallow_anonymous true\ncertfile DIR/server.crt\nkeyfile DIR/server.key\n"

func (s *secure) issue(name string, o ...pki.Option) tls.Certificate {
	s.t.Helper()
	l, err := s.ca.Issue(name, o...)
	if err != nil {
		s.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{l.Cert.Raw}, PrivateKey: l.Key, Leaf: l.Cert}
}

// shake opens a TLS connection and says CONNECT; err is what the broker or the
// library objects to, and user the name the broker logs.
func (s *secure) shake(id string, change func(c *tls.Config)) (*client, tls.ConnectionState, *rawmqtt.Packet) {
	s.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(s.ca.Cert)
	cfg := &tls.Config{RootCAs: pool, ServerName: "localhost"}
	if change != nil {
		change(cfg)
	}
	raw, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", port(s.port)), patience)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { raw.Close() })
	c := tls.Client(raw, cfg)
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	if err := c.Handshake(); err != nil {
		return nil, tls.ConnectionState{}, nil
	}
	x := &client{t: s.t, c: c, v: 5}
	if _, err := c.Write(connectPacket(5, id).Encode(5)); err != nil {
		return nil, c.ConnectionState(), nil
	}
	b := make([]byte, 1000)
	n, err := c.Read(b) // with TLS 1.3 a refused certificate shows here
	if err != nil {
		return nil, c.ConnectionState(), nil
	}
	p, err := rawmqtt.Decode(5, b[:n], true)
	if err != nil {
		s.t.Fatal(err)
	}
	return x, c.ConnectionState(), p
}

func (s *secure) letsIn(want bool, what string, certs ...tls.Certificate) {
	s.t.Helper()
	_, _, p := s.shake("probe", func(c *tls.Config) { c.Certificates = certs })
	if is := p != nil && p.Reason == 0; is != want {
		s.t.Errorf("%s: let in %v, want %v: %v; log: %s", what, is, want, p, s.logged())
	}
}

func TestCertificateOfTheServer(t *testing.T) {
	s := prepareTLS(t)
	s.run(tlsHead)
	_, before, p := s.shake("c", nil)
	if p == nil || p.Reason != 0 {
		t.Fatalf("%v", p)
	}
	if _, err := s.ca.Server("server"); err != nil { // the same files with another certificate
		t.Fatal(err)
	}
	s.reload(tlsHead)
	_, after, _ := s.shake("c", nil)
	if after.PeerCertificates[0].Equal(before.PeerCertificates[0]) {
		t.Error("the certificate is the old one after a reload")
	}
}

func TestClientCertificates(t *testing.T) {
	s := prepareTLS(t)
	good := s.issue("ann")
	bad := s.issue("bob")
	late := s.issue("old", pki.Dates(time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)))
	leaf, err := x509.ParseCertificate(bad.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	crl := filepath.Join(s.dir, "crl.pem")
	const asked = tlsHead + "cafile DIR/ca.crt\nrequire_certificate true\n"
	s.run(asked)
	s.letsIn(false, "no certificate")
	s.letsIn(true, "good certificate", good)
	s.letsIn(true, "second certificate", bad)
	s.letsIn(false, "expired certificate", late)

	s.reload(asked + "disable_client_cert_date_checks true\n")
	s.letsIn(true, "expired certificate without date checks", late)

	if err := s.ca.Revoke(crl, time.Now().Add(time.Hour), &pki.Leaf{Cert: leaf}); err != nil {
		t.Fatal(err)
	}
	s.reload(asked + "crlfile DIR/crl.pem\n")
	s.letsIn(true, "good certificate with a revocation list", good)
	s.letsIn(false, "revoked certificate", bad)

	s.reload(tlsHead + "cafile DIR/ca.crt\nrequire_certificate false\n")
	s.letsIn(true, "no certificate where none is asked for")

	other, err := pki.New(t.TempDir(), "other")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(other.File)
	if err != nil {
		t.Fatal(err)
	}
	s.file("other.crt", string(text))
	s.reload(tlsHead + "cafile DIR/other.crt\nrequire_certificate true\n")
	s.letsIn(false, "certificate of an authority that is not trusted any more", good)

	if err := os.Mkdir(filepath.Join(s.dir, "authorities"), 0o700); err != nil {
		t.Fatal(err)
	}
	trusted, err := os.ReadFile(s.ca.File)
	if err != nil {
		t.Fatal(err)
	}
	s.file("authorities/0a1b2c3d.0", string(trusted))
	s.reload(tlsHead + "capath DIR/authorities\nrequire_certificate true\n")
	s.letsIn(true, "certificate of an authority in capath", good)
}

func TestNameOfTheCertificate(t *testing.T) {
	s := prepareTLS(t)
	ann := s.issue("file", pki.Subject(pkix.Name{CommonName: "ann", Organization: []string{"x"}}))
	const asked = tlsHead + "cafile DIR/ca.crt\nrequire_certificate true\n"
	s.run(asked + "use_identity_as_username true\n")
	s.letsIn(true, "identity", ann)
	s.awaitLog("u'ann'")
	s.reload(asked + "use_subject_as_username true\n")
	s.letsIn(true, "subject", ann)
	s.awaitLog("u'CN=ann,O=x'")
}

func TestVersionsAndCiphers(t *testing.T) {
	s := prepareTLS(t)
	s.run(tlsHead)
	state := func(most uint16) (uint16, uint16) {
		t.Helper()
		_, st, _ := s.shake("c", func(c *tls.Config) { c.MaxVersion = most })
		return st.Version, st.CipherSuite
	}
	if v, _ := state(tls.VersionTLS12); v != tls.VersionTLS12 {
		t.Errorf("version %x", v)
	}
	s.reload(tlsHead + "tls_version tlsv1.3\n")
	if v, _ := state(tls.VersionTLS12); v != 0 {
		t.Errorf("version %x with tls_version tlsv1.3", v)
	}
	if v, _ := state(tls.VersionTLS13); v != tls.VersionTLS13 {
		t.Errorf("version %x", v)
	}
	s.reload(tlsHead + "ciphers ECDHE-ECDSA-AES256-GCM-SHA384\n")
	if _, c := state(tls.VersionTLS12); c != tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 {
		t.Errorf("cipher %x", c)
	}
	s.reload(tlsHead + "ciphers ECDHE-ECDSA-CHACHA20-POLY1305\nciphers_tls1.3 TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256\n")
	if _, c := state(tls.VersionTLS12); c != tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 {
		t.Errorf("cipher %x", c)
	}
}
