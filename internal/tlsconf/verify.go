package tlsconf

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/midgemq/midge/internal/wsproto"
)

// verifier decides on client certificates. It is immutable.
type verifier struct {
	roots    *x509.CertPool
	crls     []*revocation // nil without crlfile
	anyDates bool
}

// connection is the VerifyConnection of a tls.Config: it sees every handshake,
// resumed ones included.
func (v *verifier) connection(cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("the client has no certificate")
	}
	return v.verify(cs.PeerCertificates, time.Now())
}

// verify checks a chain as sent, the client's own certificate first.
func (v *verifier) verify(sent []*x509.Certificate, now time.Time) error {
	leaf := sent[0]
	opts := x509.VerifyOptions{
		Roots: v.roots, Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, c := range sent[1:] {
		opts.Intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(opts)
	if err != nil && v.anyDates && isDate(err) {
		// Dates do not matter: a time is looked for at which the rest holds.
		for _, at := range []time.Time{leaf.NotBefore, leaf.NotAfter, middle(leaf)} {
			opts.CurrentTime = at
			if chains, err = leaf.Verify(opts); err == nil {
				break
			}
		}
	}
	if err != nil {
		return err
	}
	if v.crls == nil {
		return nil
	}
	for _, chain := range chains {
		issuer := chain[0]
		if len(chain) > 1 {
			issuer = chain[1]
		}
		if err = v.revoked(leaf, issuer, now); err == nil {
			return nil
		}
	}
	return err
}

func middle(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 2)
}

func isDate(err error) bool {
	var e x509.CertificateInvalidError
	return errors.As(err, &e) && e.Reason == x509.Expired
}

// revocation is one list of a crlfile.
type revocation struct {
	list    *x509.RevocationList
	serials map[string]struct{}
}

// revoked asks the lists of the issuer. Without a list in force nothing is known
// about the certificate, and it is refused.
func (v *verifier) revoked(c, issuer *x509.Certificate, now time.Time) error {
	err := errors.New("no revocation list of its issuer")
	found := false
	for _, r := range v.crls {
		switch {
		case !bytes.Equal(r.list.RawIssuer, c.RawIssuer):
			continue
		case r.list.CheckSignatureFrom(issuer) != nil:
			err = errors.New("the revocation list is not signed by its issuer")
			continue
		}
		if _, listed := r.serials[string(c.SerialNumber.Bytes())]; listed {
			return fmt.Errorf("the certificate with serial number %x is revoked", c.SerialNumber)
		}
		switch {
		case now.Before(r.list.ThisUpdate):
			err = errors.New("the revocation list of its issuer is not yet valid")
		case !r.list.NextUpdate.IsZero() && now.After(r.list.NextUpdate):
			err = errors.New("the revocation list of its issuer has expired")
		default:
			found = true
		}
	}
	if found {
		return nil
	}
	return err
}

// revocations reads crlfile; nil without one.
func revocations(o *Options) ([]*revocation, error) {
	if o.CRLFile == "" {
		return nil, nil
	}
	bad := func(err error) error {
		return &Error{"crlfile", fmt.Sprintf("Unable to load certificate revocation file %q. Check crlfile.", o.CRLFile), err}
	}
	data, err := readFile(o.CRLFile)
	if err != nil {
		return nil, bad(err)
	}
	var out []*revocation
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			break
		}
		if b.Type != "X509 CRL" {
			continue
		}
		l, err := x509.ParseRevocationList(b.Bytes)
		if err != nil {
			return nil, bad(err)
		}
		r := &revocation{list: l, serials: make(map[string]struct{}, len(l.RevokedCertificateEntries))}
		for _, e := range l.RevokedCertificateEntries {
			r.serials[string(e.SerialNumber.Bytes())] = struct{}{}
		}
		l.RevokedCertificateEntries = nil
		out = append(out, r)
	}
	if len(out) == 0 {
		return nil, bad(errors.New("no revocation list in PEM form found"))
	}
	return out, nil
}

// Identity says who a client is after its handshake: a tlslayer.Identity.
func Identity(cs *tls.ConnectionState) *wsproto.Peer {
	p := &wsproto.Peer{TLSVersion: VersionName(cs.Version), Cipher: CipherName(cs.CipherSuite)}
	if len(cs.PeerCertificates) > 0 {
		// No configuration of this package asks for a certificate it does not verify.
		p.Certificate = true
		p.CommonName, p.Subject = names(cs.PeerCertificates[0].RawSubject)
	}
	return p
}
