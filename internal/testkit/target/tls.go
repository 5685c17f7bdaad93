package target

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
)

// DialTLS connects to addr by TLS and checks that the broker's certificate comes
// from the authority in caFile. Scripts see plain bytes; CloseWrite ends the
// connection with close_notify.
func DialTLS(addr, caFile string) (Pipe, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", addr, cfg)
	if err != nil {
		return nil, err
	}
	return NewPipe(c), nil
}
