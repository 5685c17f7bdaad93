package tlsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/midgemq/midge/internal/testkit/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines collects log lines.
type lines struct {
	mu   sync.Mutex
	list []string
}

func (l *lines) Info(f string, a ...any)    { l.add(f, a...) }
func (l *lines) Warning(f string, a ...any) { l.add(f, a...) }
func (l *lines) Error(f string, a ...any)   { l.add(f, a...) }

func (l *lines) add(f string, a ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, fmt.Sprintf(f, a...))
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.list, func(s string) bool { return strings.Contains(s, text) })
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRefusedOptions(t *testing.T) {
	dir := t.TempDir()
	ca := must[*pki.CA](t)(pki.New(dir, "ca"))
	s := must[*pki.Leaf](t)(ca.Server("server"))
	other := must[*pki.Leaf](t)(ca.Server("other"))
	junk := write(t, filepath.Join(dir, "junk"), "no certificate\n")
	broken := write(t, filepath.Join(dir, "broken"), "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")
	locked := write(t, filepath.Join(dir, "locked"), "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n")
	missing := filepath.Join(dir, "missing")
	good := Options{CertFile: s.CertFile, KeyFile: s.KeyFile}
	for _, tt := range []struct {
		name, option, text string
		change             func(*Options)
	}{
		{"no certificate", "certfile", `Unable to load server certificate "` + missing + `". Check certfile. (open `, func(o *Options) { o.CertFile = missing }},
		{"junk certificate", "certfile", `. Check certfile. (no certificate in PEM form found)`, func(o *Options) { o.CertFile = junk }},
		{"broken certificate", "certfile", `Unable to load server certificate "` + broken, func(o *Options) { o.CertFile = broken }},
		{"directory", "certfile", `is not a regular file`, func(o *Options) { o.CertFile = dir }},
		{"no key", "keyfile", `Unable to load server key file "` + missing + `". Check keyfile.`, func(o *Options) { o.KeyFile = missing }},
		{"junk key", "keyfile", `no private key in PEM form found`, func(o *Options) { o.KeyFile = junk }},
		{"locked key", "keyfile", `protected by a pass phrase`, func(o *Options) { o.KeyFile = locked }},
		{"other key", "keyfile", `Server certificate/key are inconsistent.`, func(o *Options) { o.KeyFile = other.KeyFile }},
		{"no authority", "cafile", `Unable to load CA certificates. Check cafile "` + missing + `".`, func(o *Options) { o.CAFile = missing }},
		{"junk authority", "cafile", `Check cafile "` + junk + `". (no certificate`, func(o *Options) { o.CAFile = junk }},
		{"no directory", "capath", `Unable to load CA certificates. Check capath "` + missing + `".`, func(o *Options) { o.CAPath = missing }},
		{"no list", "crlfile", `Unable to load certificate revocation file "` + missing + `". Check crlfile.`, func(o *Options) { o.CRLFile = missing }},
		{"junk list", "crlfile", `no revocation list in PEM form found`, func(o *Options) { o.CRLFile = junk }},
		{"version", "tls_version", `Unsupported tls_version "tlsv1.4".`, func(o *Options) { o.Version = "tlsv1.4" }},
		{"no cipher", "ciphers", `Unable to set TLS ciphers. Check cipher list "DHE-RSA-AES256-SHA". (no cipher remains`, func(o *Options) { o.Ciphers = "DHE-RSA-AES256-SHA" }},
		{"command", "ciphers", `@LEVEL is no command`, func(o *Options) { o.Ciphers = "HIGH:@LEVEL" }},
		{"narrow", "ciphers_tls1.3", `TLS_AES_128_GCM_SHA256 is left out, but the TLS library of Go always offers`, func(o *Options) { o.Ciphers13 = "TLS_AES_256_GCM_SHA384" }},
		{"unknown suite", "ciphers_tls1.3", `"AES" is no cipher suite of TLS 1.3`, func(o *Options) { o.Ciphers13 = "AES" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := good
			tt.change(&o)
			_, err := New("8883", o, &lines{})
			var e *Error
			if !errors.As(err, &e) || e.Option != tt.option || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%+v, want %s: %s", err, tt.option, tt.text)
			}
		})
	}
	if _, err := New("8883", good, &lines{}); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestWarnings(t *testing.T) {
	dir := t.TempDir()
	ca := must[*pki.CA](t)(pki.New(dir, "ca"))
	s := must[*pki.Leaf](t)(ca.Server("server"))
	if err := os.Chmod(s.KeyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	o := Options{
		CertFile: s.CertFile, KeyFile: s.KeyFile, CAPath: dir, Version: "tlsv1.1", Ciphers: "ECDHE+AESGCM:FOO-BAR",
		Ciphers13: "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_AES_128_CCM_SHA256",
	}
	src := must[*Source](t)(New("8883", o, log))
	for _, w := range []string{
		"TLS v1.1 is obsolete", `The cipher "FOO-BAR" in 'ciphers' is not known`, `The cipher "TLS_AES_128_CCM_SHA256"`,
		"has world readable permissions", "holds no certificate under a hashed name",
	} {
		if !log.has(w) {
			t.Errorf("no warning %q in %q", w, log.list)
		}
	}
	if v := src.Config().MinVersion; v != tls.VersionTLS11 {
		t.Errorf("lowest version %x", v)
	}
	o = Options{CertFile: s.CertFile, KeyFile: s.KeyFile, RequireCertificate: true}
	must[*Source](t)(New("8883", o, log))
	if !log.has("refuses every client") {
		t.Errorf("no warning in %q", log.list)
	}
}

func TestCipherLists(t *testing.T) {
	for _, tt := range []struct {
		list string
		want string // names, comma-separated; "+n" for a number of them
	}{
		{"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"},
		{"AES256-SHA:ECDHE-ECDSA-AES256-SHA", "ECDHE-ECDSA-AES256-SHA,AES256-SHA"},
		{"ECDHE+AESGCM:!ECDSA", "ECDHE-RSA-AES128-GCM-SHA256,ECDHE-RSA-AES256-GCM-SHA384"},
		{"HIGH:!aNULL:!MD5:!kRSA:-AES", "ECDHE-ECDSA-CHACHA20-POLY1305,ECDHE-RSA-CHACHA20-POLY1305"},
		{"AES128-SHA:!AES128-SHA:AES128-SHA:AES256-SHA", "AES256-SHA"},
		{"AES128-SHA:-AES128-SHA:AES128-SHA", "AES128-SHA"},
		{"AES128-SHA:+AES128-SHA @STRENGTH,@SECLEVEL=1", "AES128-SHA"},
		{"TLS_RSA_WITH_AES_256_CBC_SHA", "AES256-SHA"},
		{"DHE+AES:kRSA+AES256+SHA1", "AES256-SHA"},
		{"DEFAULT:!aNULL:!eNULL:!LOW:!EXPORT:!SSLv2:@STRENGTH", "+10"},
		{"ALL", "+17"},
		{"TLSv1.2+CHACHA20+aRSA", "ECDHE-RSA-CHACHA20-POLY1305"},
	} {
		ids, err := cipherSuites(tt.list, func(f string, a ...any) { t.Errorf("%s: "+f, append([]any{tt.list}, a...)...) })
		var names []string
		for _, id := range ids {
			names = append(names, CipherName(id))
		}
		got := strings.Join(names, ",")
		if strings.HasPrefix(tt.want, "+") {
			got = fmt.Sprintf("+%d", len(ids))
		}
		if err != nil || got != tt.want {
			t.Errorf("%s: %s %v, want %s", tt.list, names, err, tt.want)
		}
	}
	for _, s := range suites {
		if s.id == 0 || !strings.HasPrefix(tls.CipherSuiteName(s.id), "TLS_") {
			t.Errorf("%s: no suite %x", s.name, s.id)
		}
	}
}

// connect shakes hands as a client with c and returns both ends' errors and what
// the server knows.
func connect(t testing.TB, server, client *tls.Config) (cs tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		tc := tls.Client(c, client)
		if err := tc.Handshake(); err != nil {
			done <- err
			return
		}
		// With TLS 1.3 the server's refusal, and its tickets, come afterwards.
		_, err = tc.Read(make([]byte, 1))
		done <- err
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tc := tls.Server(c, server)
	serverErr = tc.Handshake()
	cs = tc.ConnectionState()
	if serverErr == nil {
		tc.Write([]byte("x")) //nolint:errcheck // the client's error tells
	}
	clientErr = <-done
	return cs, serverErr, clientErr
}

func clientConfig(ca *pki.CA, l *pki.Leaf) *tls.Config {
	c := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}
	c.RootCAs.AddCert(ca.Cert)
	if l != nil {
		c.Certificates = []tls.Certificate{{Certificate: [][]byte{l.Cert.Raw}, PrivateKey: l.Key}}
	}
	return c
}

func TestClientCertificates(t *testing.T) {
	dir := t.TempDir()
	ca := must[*pki.CA](t)(pki.New(dir, "ca"))
	stranger := must[*pki.CA](t)(pki.New(t.TempDir(), "stranger"))
	issue := func(ca *pki.CA, name string, o ...pki.Option) *pki.Leaf {
		return must[*pki.Leaf](t)(ca.Issue(name, o...))
	}
	now := time.Now()
	server := must[*pki.Leaf](t)(ca.Server("server"))
	plain := issue(ca, "plain") // a common name and nothing else
	purpose := issue(ca, "purpose", pki.Usage(x509.ExtKeyUsageServerAuth))
	expired := issue(ca, "expired", pki.Dates(now.Add(-3*time.Hour), now.Add(-2*time.Hour)))
	early := issue(ca, "early", pki.Dates(now.Add(2*time.Hour), now.Add(3*time.Hour)))
	taken := issue(ca, "taken")
	foreign := issue(stranger, "foreign")
	foreignOld := issue(stranger, "foreignold", pki.Dates(now.Add(-3*time.Hour), now.Add(-2*time.Hour)))
	crl := filepath.Join(dir, "list.pem")
	if err := ca.Revoke(crl, now.Add(time.Hour), taken); err != nil {
		t.Fatal(err)
	}
	oldCRL := filepath.Join(dir, "old.pem")
	if err := ca.Revoke(oldCRL, now.Add(-time.Hour), taken); err != nil {
		t.Fatal(err)
	}
	strangersCRL := filepath.Join(dir, "stranger.pem")
	if err := stranger.Revoke(strangersCRL, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	hash := filepath.Join(dir, "0a1b2c3d.0")
	if err := os.Link(ca.File, hash); err != nil {
		t.Fatal(err)
	}
	base := Options{CertFile: server.CertFile, KeyFile: server.KeyFile, CAFile: ca.File, RequireCertificate: true}
	with := func(f func(*Options)) Options { o := base; f(&o); return o }
	any := with(func(o *Options) { o.AnyDates = true })
	listed := with(func(o *Options) { o.CRLFile = crl })
	for _, tt := range []struct {
		name string
		o    Options
		leaf *pki.Leaf
		want string // part of the error, empty for none
	}{
		{"good", base, plain, ""},
		{"none", base, nil, "client didn't provide a certificate"},
		{"other authority", base, foreign, "unknown authority"},
		{"other purpose", base, purpose, "incompatible key usage"},
		{"expired", base, expired, "expired"},
		{"not yet", base, early, "not yet valid"},
		{"expired is fine", any, expired, ""},
		{"not yet is fine", any, early, ""},
		{"expired of another authority", any, foreignOld, "unknown authority"},
		{"not revoked", listed, plain, ""},
		{"revoked", listed, taken, "is revoked"},
		{"expired, with a list", with(func(o *Options) { o.CRLFile, o.AnyDates = crl, true }), expired, ""},
		{"old list", with(func(o *Options) { o.CRLFile = oldCRL }), plain, "has expired"},
		{"old list, revoked", with(func(o *Options) { o.CRLFile = oldCRL }), taken, "is revoked"},
		{"list of another", with(func(o *Options) { o.CRLFile = strangersCRL }), plain, "no revocation list of its issuer"},
		{"directory", with(func(o *Options) { o.CAFile, o.CAPath = "", dir }), plain, ""},
		{"no authority", with(func(o *Options) { o.CAFile = "" }), plain, "unknown authority"},
		{"not wanted", with(func(o *Options) { o.RequireCertificate = false }), foreign, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				src := must[*Source](t)(New("8883", tt.o, &lines{}))
				cc := clientConfig(ca, tt.leaf)
				cc.MaxVersion = v
				if tt.leaf != nil { // also to a server that names other authorities
					cert := cc.Certificates[0]
					cc.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
				}
				cs, serr, cerr := connect(t, src.Config(), cc)
				switch {
				case tt.want == "" && (serr != nil || cerr != nil):
					t.Errorf("%s: server %v, client %v", tls.VersionName(v), serr, cerr)
				case tt.want != "" && (serr == nil || !strings.Contains(serr.Error(), tt.want) || cerr == nil):
					t.Errorf("%s: server %v, client %v; want %q", tls.VersionName(v), serr, cerr, tt.want)
				case tt.want == "" && tt.o.RequireCertificate:
					if p := Identity(&cs); !p.Certificate || p.CommonName != tt.leaf.Cert.Subject.CommonName || p.TLSVersion != VersionName(v) {
						t.Errorf("identity %+v", p)
					}
				case tt.want == "":
					if p := Identity(&cs); p.Certificate || p.CommonName != "" {
						t.Errorf("identity %+v of a client that was not asked", p)
					}
				}
			}
		})
	}
}

// TestResumedSessionsAreVerified takes a certificate back between two connections
// of a client that resumes its session.
func TestResumedSessionsAreVerified(t *testing.T) {
	dir := t.TempDir()
	ca := must[*pki.CA](t)(pki.New(dir, "ca"))
	s := must[*pki.Leaf](t)(ca.Server("server"))
	c := must[*pki.Leaf](t)(ca.Issue("client"))
	crl := filepath.Join(dir, "crl")
	if err := ca.Revoke(crl, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	o := Options{CertFile: s.CertFile, KeyFile: s.KeyFile, CAFile: ca.File, CRLFile: crl, RequireCertificate: true}
	src := must[*Source](t)(New("8883", o, &lines{}))
	cc := clientConfig(ca, c)
	cc.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	for i := range 2 {
		cs, serr, cerr := connect(t, src.Config(), cc)
		if serr != nil || cerr != nil || cs.DidResume != (i == 1) {
			t.Fatalf("%d: %v %v, resumed %v", i, serr, cerr, cs.DidResume)
		}
	}
	if err := ca.Revoke(crl, time.Now().Add(time.Hour), c); err != nil {
		t.Fatal(err)
	}
	apply, err := src.Prepare(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, serr, _ := connect(t, src.Config(), cc); serr != nil {
		t.Fatalf("before apply: %v", serr)
	}
	apply()
	if _, serr, _ := connect(t, src.Config(), cc); serr == nil || !strings.Contains(serr.Error(), "revoked") {
		t.Errorf("afterwards: %v", serr)
	}
}

func TestPrepareKeepsTheOldOne(t *testing.T) {
	dir := t.TempDir()
	ca := must[*pki.CA](t)(pki.New(dir, "ca"))
	s := must[*pki.Leaf](t)(ca.Server("server"))
	o := Options{CertFile: s.CertFile, KeyFile: s.KeyFile}
	src := must[*Source](t)(New("8883", o, &lines{}))
	was := src.Config()
	write(t, s.CertFile, "junk")
	if _, err := src.Prepare(o); err == nil {
		t.Fatal("junk is taken")
	}
	if src.Config() != was || src.Failed() != 1 {
		t.Errorf("configuration replaced, or %d failures", src.Failed())
	}
}

func TestWatch(t *testing.T) {
	for _, hints := range []bool{true, false} {
		t.Run(fmt.Sprintf("hints=%v", hints), func(t *testing.T) {
			dir := t.TempDir()
			ca := must[*pki.CA](t)(pki.New(dir, "ca"))
			s := must[*pki.Leaf](t)(ca.Server("server"))
			log := &lines{}
			src := must[*Source](t)(New("8883", Options{CertFile: s.CertFile, KeyFile: s.KeyFile}, log))
			poll := time.Hour
			if !hints {
				poll = 20 * time.Millisecond
			}
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			wg.Add(1)
			go func() {
				defer wg.Done()
				watch(ctx, []*Source{src}, poll, 10*time.Millisecond, 200*time.Millisecond)
			}()
			defer wg.Wait()
			defer cancel()
			serial := func() string {
				c, err := x509.ParseCertificate(src.Config().Certificates[0].Certificate[0])
				if err != nil {
					t.Fatal(err)
				}
				return c.SerialNumber.String()
			}
			// Until the watch stands, a change may go unseen by hints: write again.
			var next *pki.Leaf
			eventually(t, func() bool {
				if next == nil || hints && serial() != next.Cert.SerialNumber.String() {
					next = must[*pki.Leaf](t)(ca.Server("server"))
				}
				return serial() == next.Cert.SerialNumber.String()
			})
			if !log.has("The TLS files of listener 8883 changed and were read again.") {
				t.Errorf("log %q", log.list)
			}
			before := serial()
			write(t, s.KeyFile, "junk")
			eventually(t, func() bool { return src.Failed() == 1 })
			if serial() != before || !log.has("Unable to load server key file") || !log.has("stay in force") {
				t.Errorf("log %q", log.list)
			}
			next = must[*pki.Leaf](t)(ca.Server("server"))
			eventually(t, func() bool { return serial() == next.Cert.SerialNumber.String() })
			if n := src.Failed(); n != 1 {
				t.Errorf("%d failures, one was", n)
			}
		})
	}
}

func eventually(t testing.TB, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatal("does not come true")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestSubject holds texts that 'openssl x509 -nameopt RFC2253' wrote.
func TestSubject(t *testing.T) {
	ca := must[*pki.CA](t)(pki.New(t.TempDir(), "ca"))
	text := func(oid []int, v string) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: oid, Value: v}
	}
	l := must[*pki.Leaf](t)(ca.Issue("x", pki.Subject(pkix.Name{
		Country: []string{"AT"}, Province: []string{"Wien"}, Organization: []string{"A, B + \"C\""}, OrganizationalUnit: []string{"Prüfung"},
		CommonName: "#dev 1 ", ExtraNames: []pkix.AttributeTypeAndValue{
			text([]int{1, 2, 840, 113549, 1, 9, 1}, "a@b.example"), text([]int{0, 9, 2342, 19200300, 100, 1, 1}, "u1"),
		},
	})))
	cn, subject := names(l.Cert.RawSubject)
	want := `UID=u1,emailAddress=a@b.example,CN=\#dev 1\ ,OU=Pr\C3\BCfung,O=A\, B \+ \"C\",ST=Wien,C=AT`
	if cn != "#dev 1 " || subject != want {
		t.Errorf("%q\n%s\n%s", cn, subject, want)
	}
	two := must[*pki.Leaf](t)(ca.Issue("y", pki.Subject(pkix.Name{
		ExtraNames: []pkix.AttributeTypeAndValue{text([]int{2, 5, 4, 3}, "first"), text([]int{2, 5, 4, 3}, "second")},
	})))
	if cn, subject := names(two.Cert.RawSubject); cn != "first" || subject != "CN=second,CN=first" {
		t.Errorf("%q %q", cn, subject)
	}
	none := must[*pki.Leaf](t)(ca.Issue("z", pki.Subject(pkix.Name{Organization: []string{"O"}})))
	if cn, subject := names(none.Cert.RawSubject); cn != "" || subject != "O=O" {
		t.Errorf("%q %q", cn, subject)
	}
	zero := must[*pki.Leaf](t)(ca.Issue("n", pki.Subject(pkix.Name{
		ExtraNames: []pkix.AttributeTypeAndValue{{Type: []int{2, 5, 4, 3}, Value: "admin\x00.example"}},
	})))
	if cn, _ := names(zero.Cert.RawSubject); cn != "" {
		t.Errorf("a name with a zero byte is %q", cn)
	}
	if cn, subject := names([]byte("junk")); cn != "" || subject != "" {
		t.Errorf("junk is %q %q", cn, subject)
	}
}

func TestKeyLog(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keys")
	f := must[*os.File](t)(OpenKeyLog(path))
	defer f.Close()
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm()&0o077 != 0 {
		t.Errorf("mode %v %v", st.Mode(), err)
	}
	ca := must[*pki.CA](t)(pki.New(dir, "ca"))
	s := must[*pki.Leaf](t)(ca.Server("server"))
	src := must[*Source](t)(New("8883", Options{CertFile: s.CertFile, KeyFile: s.KeyFile, KeyLog: f}, &lines{}))
	connect(t, src.Config(), clientConfig(ca, nil))
	if b, err := os.ReadFile(path); err != nil || !strings.Contains(string(b), "SERVER_TRAFFIC_SECRET_0 ") {
		t.Errorf("%q %v", b, err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeyLog(link); err == nil {
		t.Error("a symbolic link is followed")
	}
	if _, err := OpenKeyLog(dir); err == nil {
		t.Error("a directory is opened")
	}
}

// FuzzCiphers: any list gives suites of the table or an error, and names that are
// excluded for good are not among them.
func FuzzCiphers(f *testing.F) {
	f.Add("DEFAULT:!aNULL:!eNULL:!LOW:!EXPORT:!SSLv2:@STRENGTH")
	f.Add("ECDHE+AESGCM:ECDHE+CHACHA20:-AES128:!SHA1")
	f.Add("ALL:+HIGH::,; !")
	f.Fuzz(func(t *testing.T, list string) {
		ids, err := cipherSuites(list, func(string, ...any) {})
		if (err == nil) == (len(ids) == 0 && list != "") {
			t.Fatalf("%d suites and %v", len(ids), err)
		}
		for _, id := range ids {
			if !slices.ContainsFunc(suites, func(s suite) bool { return s.id == id }) {
				t.Fatalf("suite %x", id)
			}
		}
		more, err := cipherSuites(list+":!AES256-SHA", func(string, ...any) {})
		if err == nil && slices.Contains(more, tls.TLS_RSA_WITH_AES_256_CBC_SHA) {
			t.Fatal("an excluded suite remains")
		}
		_ = checkSuites13(list, func(string, ...any) {})
	})
}

// FuzzNames: any subject gives text without control characters.
func FuzzNames(f *testing.F) {
	b, _ := pem.Decode([]byte("-----BEGIN X-----\nMAA=\n-----END X-----\n"))
	f.Add(b.Bytes)
	f.Add([]byte("0\x0e1\x0c0\x0a\x06\x03U\x04\x03\x0c\x03a,b"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		cn, subject := names(raw)
		if strings.ContainsFunc(subject, func(r rune) bool { return r < ' ' || r >= 0x7F }) || strings.Contains(cn, "\x00") {
			t.Fatalf("%q %q", cn, subject)
		}
	})
}
