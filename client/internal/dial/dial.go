package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"

	"github.com/midgemq/midge/mqtt"
)

// Options say how to reach a server; their fields are those of the same names in client.Options.
type Options struct {
	Version mqtt.Version
	TLS     *tls.Config
	Header  http.Header
	Proxy   string
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
	Warn    func(string)
}

// Open opens the byte stream to a server: socket, proxy, TLS, WebSocket, in that order. ctx bounds all of it.
func Open(ctx context.Context, s Server, o *Options) (net.Conn, error) {
	nc, err := dialSocket(ctx, s, o)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", s.URL, err)
	}
	if s.secure {
		tc := tls.Client(nc, tlsConfig(s.host, o))
		if err := tc.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, fmt.Errorf("dial %s: %w", s.URL, err)
		}
		nc = tc
	}
	if s.kind == transportWebSocket {
		wc, err := dialWebSocket(ctx, nc, s, o)
		if err != nil {
			nc.Close()
			return nil, fmt.Errorf("dial %s: %w", s.URL, err)
		}
		nc = wc
	}
	return nc, nil
}

func dialSocket(ctx context.Context, s Server, o *Options) (net.Conn, error) {
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	if s.kind == transportUnix {
		return dial(ctx, "unix", s.addr)
	}
	if o.Proxy != "" {
		return dialProxy(ctx, dial, o.Proxy, s.addr)
	}
	return dial(ctx, "tcp", s.addr)
}

// tlsConfig adds the server's name, and the check that accepts a Common Name where there is no subject alternative name. A caller
// who verifies in their own way, or not at all, is left alone.
func tlsConfig(host string, o *Options) *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLS != nil {
		cfg = o.TLS.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	if cfg.InsecureSkipVerify {
		return cfg
	}
	name, roots, user, clock := cfg.ServerName, cfg.RootCAs, cfg.VerifyConnection, cfg.Time
	// crypto/tls judges names before VerifyConnection is called, so its own check is replaced as a whole.
	cfg.InsecureSkipVerify = true
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		if clock != nil {
			opts.CurrentTime = clock()
		}
		for _, c := range cs.PeerCertificates[1:] {
			opts.Intermediates.AddCert(c)
		}
		leaf := cs.PeerCertificates[0]
		chains, err := leaf.Verify(opts)
		if err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
		}
		if err := verifyName(leaf, name, o.Warn); err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
		}
		cs.VerifiedChains = chains
		if user != nil {
			return user(cs)
		}
		return nil
	}
	return cfg
}

// verifyName judges the certificate's name. OpenSSL falls back to the Common Name when there is no subject alternative name at all,
// and the certificates that MQTT guides have people make are like that; the comparison is x509's own, on a copy in which the
// Common Name is the only name.
func verifyName(leaf *x509.Certificate, name string, warn func(string)) error {
	if len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses)+len(leaf.URIs) > 0 || leaf.Subject.CommonName == "" {
		return leaf.VerifyHostname(name)
	}
	cn := leaf.Subject.CommonName
	only := &x509.Certificate{Raw: leaf.Raw, Subject: leaf.Subject, DNSNames: []string{cn}, Extensions: leaf.Extensions}
	if ip := net.ParseIP(cn); ip != nil {
		only.DNSNames, only.IPAddresses = nil, []net.IP{ip}
	}
	if err := only.VerifyHostname(name); err != nil {
		return fmt.Errorf("certificate without subject alternative name, Common Name %q: %w", cn, err)
	}
	if warn != nil {
		warn(fmt.Sprintf("server certificate names %q only in its Common Name; make one with a subject alternative name", cn))
	}
	return nil
}

// subprotocols are what a WebSocket handshake offers: "mqtt" always [MQTT-6.0.0-3]; mqttv3.1 too where 3.1 is wanted [U31-28].
func subprotocols(v mqtt.Version) []string {
	if v == mqtt.V31 {
		return []string{"mqttv3.1", "mqtt"}
	}
	return []string{"mqtt"}
}
