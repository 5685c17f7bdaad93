package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// authority signs the certificates of one script.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func writePEM(ts *testscript.TestScript, name, kind string, der []byte) {
	ts.Check(os.WriteFile(ts.MkAbs(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

func (a *authority) issue(ts *testscript.TestScript, name string, c *x509.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	c.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<62))
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := c, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	ts.Check(err)
	if a.cert == nil {
		a.cert, err = x509.ParseCertificate(der)
		ts.Check(err)
		a.key = key
	}
	writePEM(ts, name+".crt", "CERTIFICATE", der)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	writePEM(ts, name+".key", "PRIVATE KEY", private)
}

// makeCerts is "certs": ca.crt, and certificates of it with a subject alternative name (server), with a Common Name alone (cn), for
// another host (other) and for a client.
func makeCerts(ts *testscript.TestScript, _ bool, _ []string) {
	a := new(authority)
	a.issue(ts, "ca", &x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	a.issue(ts, "server", &x509.Certificate{Subject: pkix.Name{CommonName: "s"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	a.issue(ts, "cn", &x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}})
	a.issue(ts, "other", &x509.Certificate{Subject: pkix.Name{CommonName: "o"}, DNSNames: []string{"other.example"}})
	a.issue(ts, "client", &x509.Certificate{Subject: pkix.Name{CommonName: "client"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	ts.Check(os.Mkdir(ts.MkAbs("cadir"), 0o700))
	ts.Check(os.WriteFile(ts.MkAbs("cadir/ca.pem"), []byte(ts.ReadFile("ca.crt")), 0o600))
}

// serve accepts connections until the script ends, and joins each with a new one to the broker; accept may change or end it.
func serve(ts *testscript.TestScript, l net.Listener, accept func(net.Conn) (in net.Conn, to string, ok bool)) {
	ts.Defer(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in, to, ok := accept(c)
				if !ok {
					return
				}
				out, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer out.Close()
				go func() {
					_, _ = io.Copy(out, in)
					out.Close()
				}()
				_, _ = io.Copy(in, out)
			}()
		}
	}()
}

func listen(ts *testscript.TestScript, variable string) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(variable, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	return l
}

// tlsProxy is "tlsproxy VARIABLE CERT [BACKEND]": a port with TLS in front of the broker (or of another port). A client certificate is
// wanted; who it was, version, cipher suite and ALPN of each connection go to the file tls.log.
func tlsProxy(ts *testscript.TestScript, _ bool, args []string) {
	pair, err := tls.LoadX509KeyPair(ts.MkAbs(args[1]+".crt"), ts.MkAbs(args[1]+".key"))
	ts.Check(err)
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert, NextProtos: []string{"mqtt"}}
	if len(args) > 3 && args[3] == "1.2" {
		cfg.MaxVersion = tls.VersionTLS12
	}
	to := "127.0.0.1:" + ts.Getenv("PORT")
	if len(args) > 2 && args[2] != "" {
		to = "127.0.0.1:" + args[2]
	}
	log := ts.MkAbs("tls.log")
	serve(ts, listen(ts, args[0]), func(c net.Conn) (net.Conn, string, bool) {
		tc := tls.Server(c, cfg)
		if tc.Handshake() != nil {
			return nil, "", false
		}
		s := tc.ConnectionState()
		who := "nobody"
		if len(s.PeerCertificates) > 0 {
			who = s.PeerCertificates[0].Subject.CommonName
		}
		line := who + " " + tls.VersionName(s.Version) + " " + tls.CipherSuiteName(s.CipherSuite) + " alpn=" + s.NegotiatedProtocol + "\n"
		return tc, to, os.WriteFile(log, []byte(line), 0o600) == nil
	})
}

// socksProxy is "socks VARIABLE": a SOCKS5 proxy that wants user u and password p@:%.
func socksProxy(ts *testscript.TestScript, _ bool, args []string) {
	log := ts.MkAbs("socks.log")
	serve(ts, listen(ts, args[0]), func(c net.Conn) (net.Conn, string, bool) {
		b := make([]byte, 512)
		if _, err := io.ReadFull(c, b[:2]); err != nil {
			return nil, "", false
		}
		if _, err := io.ReadFull(c, b[:b[1]]); err != nil {
			return nil, "", false
		}
		_, _ = c.Write([]byte{5, 2})
		n, err := c.Read(b) // one small packet on loopback
		login := "\x01\x01u\x04p@:%"
		if err != nil || string(b[:n]) != login {
			_, _ = c.Write([]byte{1, 1})
			return nil, "", false
		}
		_, _ = c.Write([]byte{1, 0})
		if _, err := io.ReadFull(c, b[:5]); err != nil {
			return nil, "", false
		}
		name := make([]byte, int(b[4])+2)
		if _, err := io.ReadFull(c, name); err != nil {
			return nil, "", false
		}
		port := int(name[len(name)-2])<<8 | int(name[len(name)-1])
		host := string(name[:len(name)-2])
		_, _ = c.Write([]byte{5, 0, 0, 1, 127, 0, 0, 1, 0, 0})
		return c, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), os.WriteFile(log, []byte(host+"\n"), 0o600) == nil
	})
}

// unixProxy is "unixproxy FILE": a Unix socket in front of the broker.
func unixProxy(ts *testscript.TestScript, _ bool, args []string) {
	dir, err := os.MkdirTemp("", "u") // the work directory may be too long for a socket's name
	ts.Check(err)
	ts.Defer(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, args[0])
	l, err := net.Listen("unix", path)
	ts.Check(err)
	ts.Setenv("SOCKET", path)
	to := "127.0.0.1:" + ts.Getenv("PORT")
	serve(ts, l, func(c net.Conn) (net.Conn, string, bool) { return c, to, true })
}

// answer is "answer VARIABLE BYTES": a server that answers the first packet with these bytes, hexadecimal, and closes.
func answer(ts *testscript.TestScript, _ bool, args []string) {
	n, ok := new(big.Int).SetString(args[1], 16)
	if !ok {
		ts.Fatalf("answer: %q is not hexadecimal", args[1])
	}
	reply := n.FillBytes(make([]byte, len(args[1])/2))
	serve(ts, listen(ts, args[0]), func(c net.Conn) (net.Conn, string, bool) {
		b := make([]byte, 4096)
		if _, err := c.Read(b); err == nil {
			_, _ = c.Write(reply)
			_, _ = io.Copy(io.Discard, c)
		}
		return nil, "", false
	})
}
