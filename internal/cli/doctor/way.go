package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/internal/cli/reach"
	"github.com/midgemq/midge/internal/wsproto"
	"github.com/midgemq/midge/mqtt"
)

// broker is a connection that was accepted.
type broker struct {
	conn *client.Conn
	tap  *reach.Tap
}

func (b *broker) close() { b.conn.Disconnect(mqtt.NormalDisconnection, nil) }

func (r *report) connect(ctx context.Context) (*broker, reach.Times, error) {
	c, tap, t, err := r.o.conn.Conn(ctx, nil)
	if err != nil {
		return nil, t, err
	}
	return &broker{c, tap}, t, nil
}

// steps reports a way without obstacle.
func (r *report) steps(t *reach.Times) {
	o := &r.o.conn
	if t.DNS > 0 {
		r.ok("name", "%s is found in %v", o.Host, t.DNS.Round(time.Microsecond))
	}
	r.ok("port", "%s accepts connections (%v)", t.Address, t.TCP.Round(time.Microsecond))
	if o.TLS {
		r.ok("tls", "TLS handshake and certificate are good (%v)", t.TLS.Round(time.Microsecond))
		r.certificateAdvice()
	}
	if o.WS {
		r.ok("websocket", "WebSocket upgrade is accepted (%v)", t.WebSocket.Round(time.Microsecond))
	}
}

// explain finds the reason for which the way ended.
func (r *report) explain(ctx context.Context, err error) {
	e, ok := errors.AsType[*reach.StepError](err)
	if !ok {
		r.bad("unknown", "", "%v", err)
		return
	}
	switch e.Step {
	case reach.Name:
		r.bad("name-unknown", "check the spelling, or use the address; 'getent hosts "+r.o.conn.Host+"' asks the same as this program", "the name %s is not found: %v", r.o.conn.Host, e.Err)
	case reach.TCP:
		r.explainTCP(ctx, e)
	case reach.TLS:
		r.explainTLS(ctx, e)
	case reach.WebSocket:
		r.explainWebSocket(ctx, e)
	case reach.Connect:
		r.explainConnect(ctx, e)
	default:
		r.bad("unknown", "", "%v", err)
	}
}

func (r *report) explainTCP(ctx context.Context, e *reach.StepError) {
	o := &r.o.conn
	if o.Unix != "" {
		r.explainUnix(e)
		return
	}
	host, port, _ := net.SplitHostPort(e.Address)
	switch {
	case refused(e.Err):
		if local := r.localOnly(ctx, host, port); local != "" {
			r.bad("listener-local-only", "give the broker a listener for other machines: 'listener "+port+"' in its configuration, and say who may connect (password_file, or allow_anonymous true)",
				"a broker listens on %s, not on %s: its listener is for this machine alone", local, e.Address)
			return
		}
		advice := "start the broker, or give the port it listens on"
		if others := r.otherPorts(ctx, host, port); others != "" {
			advice += "; " + host + " has open: " + others
		}
		if !thisMachine(host) {
			advice += "; a broker without a listener line in its configuration is there for its own machine only"
		}
		r.bad("port-closed", advice, "nothing listens on %s: connection refused", e.Address)
	case errors.Is(e.Err, context.DeadlineExceeded) || os.IsTimeout(e.Err):
		r.bad("no-answer", "look for a firewall on the way or on the broker's machine that drops packets to port "+port, "%s does not answer within %v", e.Address, o.Timeout)
	case errors.Is(e.Err, syscall.EHOSTUNREACH), errors.Is(e.Err, syscall.ENETUNREACH):
		r.bad("no-route", "check the address and this machine's network", "no way leads to %s: %v", host, cause(e.Err))
	default:
		r.bad("tcp", "", "no connection to %s: %v", e.Address, cause(e.Err))
	}
}

// refused reports whether nothing listens there. Windows has a number of its own for it.
func refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(err.Error(), "refused")
}

// cause is the innermost error, without the addresses that the message names already.
func cause(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// thisMachine reports whether an address belongs to this machine.
func thisMachine(host string) bool {
	ip := net.ParseIP(host)
	if ip == nil {
		return false
	}
	if ip.IsLoopback() {
		return true
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(ip) {
			return true
		}
	}
	return false
}

// localOnly looks whether the port is open on the loopback address when another address of this machine refuses.
func (r *report) localOnly(ctx context.Context, host, port string) string {
	if !thisMachine(host) {
		return ""
	}
	for _, l := range []string{"127.0.0.1", "::1"} {
		address := net.JoinHostPort(l, port)
		if l != host && open(ctx, address) {
			return address
		}
	}
	return ""
}

func open(ctx context.Context, address string) bool {
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// otherPorts looks at the ports that MQTT is usually on.
func (r *report) otherPorts(ctx context.Context, host, not string) string {
	var found []string
	for _, p := range []struct{ port, what string }{{"1883", "MQTT"}, {"8883", "MQTT over TLS"}, {"9001", "WebSocket"}, {"8080", "WebSocket"}} {
		if p.port != not && open(ctx, net.JoinHostPort(host, p.port)) {
			found = append(found, p.port+" ("+p.what+", usually)")
		}
	}
	return strings.Join(found, ", ")
}

// try goes the way again with other settings and reports whether a broker answers it, with whatever answer.
func (r *report) try(ctx context.Context, change func(o *reach.Options)) bool {
	o := r.o.conn
	o.Timeout = min(o.Timeout, 3*time.Second)
	change(&o)
	c, _, _, err := o.Conn(ctx, nil)
	if err == nil {
		c.Disconnect(mqtt.NormalDisconnection, nil)
		return true
	}
	_, answered := client.ReasonOf(err)
	return answered
}

// asksForCertificate reports whether the broker wants a certificate of its
// clients.
func (r *report) asksForCertificate(ctx context.Context) (asked bool) {
	o := r.o.conn
	o.Timeout = min(o.Timeout, 3*time.Second)
	o.CertificateAsked = func() { asked = true }
	nc, _, err := o.Stream(ctx)
	if err == nil {
		_ = nc.Close()
	}
	return asked
}

func (r *report) explainTLS(ctx context.Context, e *reach.StepError) {
	o := &r.o.conn
	err := e.Err
	if r.explainCertificate(e) {
		return
	}
	if r.try(ctx, func(o *reach.Options) { o.TLS = false }) {
		r.bad("tls-to-plain-port", "connect without TLS ("+plainURL(*o)+"), or use the broker's TLS port, usually 8883",
			"%s speaks MQTT without TLS, this client speaks TLS", e.Address)
		return
	}
	text := err.Error()
	switch {
	case clientCertificate(text):
		r.explainClientCertificate(text)
	case strings.Contains(text, "protocol version"):
		r.bad("tls-version", "allow TLS 1.2 or 1.3 at the broker (tls_version)", "the broker offers no TLS version this client takes: %v", err)
	case strings.Contains(text, "handshake failure"), strings.Contains(text, "internal error"):
		r.bad("tls-refused", "look into the broker's log; a broker without a certificate that can be used, or with other ciphers, answers like this", "the broker ended the TLS handshake: %v", err)
	case strings.Contains(text, "does not look like a TLS handshake"):
		r.bad("tls-to-plain-port", "check the port", "%s does not speak TLS, nor MQTT", e.Address)
	default:
		r.bad("tls", "check whether port "+strconv.Itoa(portOf(e.Address))+" is the broker's TLS port", "TLS handshake with %s failed: %v", e.Address, err)
	}
}

func portOf(address string) int {
	_, p, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(p)
	return n
}

func plainURL(o reach.Options) string {
	o.TLS = false
	return o.URL()
}

// explainCertificate names what is wrong with the broker's certificate.
func (r *report) explainCertificate(e *reach.StepError) bool {
	bad, ok := errors.AsType[*tls.CertificateVerificationError](e.Err)
	if !ok || len(bad.UnverifiedCertificates) == 0 {
		return false
	}
	leaf := bad.UnverifiedCertificates[0]
	subject := "the broker's certificate (" + leaf.Subject.String() + ")"
	if name, ok := errors.AsType[x509.HostnameError](bad.Err); ok {
		advice := "connect by a name the certificate has, give --servername, or make a certificate for " + name.Host
		if errors.Is(bad.Err, reach.ErrCommonName) {
			advice += "; make it with a subject alternative name, which most clients demand"
		}
		r.bad("certificate-name", advice, "%s is for %s, not for %s", subject, names(leaf), name.Host)
		return true
	}
	if inv, ok := errors.AsType[x509.CertificateInvalidError](bad.Err); ok && inv.Reason == x509.Expired {
		which := leaf
		if inv.Cert != nil {
			which = inv.Cert
		}
		now := time.Now()
		if now.Before(which.NotBefore) {
			r.bad("certificate-date", "check this machine's clock ("+now.Format(time.RFC3339)+")", "%s is valid only from %s", subject, which.NotBefore.Format(time.RFC3339))
		} else {
			r.bad("certificate-date", "renew the certificate; if it is new, check this machine's clock ("+now.Format(time.RFC3339)+")", "%s expired on %s", subject, which.NotAfter.Format(time.RFC3339))
		}
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](bad.Err); ok {
		issuer := leaf.Issuer.String()
		if len(bad.UnverifiedCertificates) > 1 {
			issuer = bad.UnverifiedCertificates[len(bad.UnverifiedCertificates)-1].Issuer.String()
		}
		if r.o.conn.CAFile == "" {
			r.bad("ca-missing", "give the certificate of the authority that signed it with --cafile", "%s was signed by %s, which this system does not trust", subject, issuer)
		} else {
			r.bad("ca-wrong", "use the certificate of the authority that signed it", "%s was signed by %s, which %s does not contain", subject, issuer, r.o.conn.CAFile)
		}
		return true
	}
	r.bad("certificate", "", "%s is not accepted: %v", subject, bad.Err)
	return true
}

// names lists what a certificate is for.
func names(c *x509.Certificate) string {
	list := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		list = append(list, ip.String())
	}
	if len(list) == 0 {
		return c.Subject.CommonName + " (Common Name)"
	}
	return strings.Join(list, ", ")
}

// clientCertificate reports whether an alert is about this client's certificate.
func clientCertificate(text string) bool {
	for _, alert := range []string{"certificate required", "bad certificate", "unknown certificate authority", "certificate unknown", "unknown certificate", "unsupported certificate"} {
		if strings.Contains(text, "remote error: tls: "+alert) {
			return true
		}
	}
	return false
}

func (r *report) explainClientCertificate(text string) {
	if r.o.conn.CertFile == "" {
		r.bad("client-certificate-missing", "give --cert and --key", "the broker wants a certificate from this client (%s)", text)
		return
	}
	r.bad("client-certificate-refused", "the broker's cafile must contain the authority that signed it, and it must not be expired or revoked",
		"the broker does not accept the certificate %s (%s)", r.o.conn.CertFile, text)
}

// certificateAdvice warns of certificates that work and will not for long or for all.
func (r *report) certificateAdvice() {
	o := r.o.conn
	o.Insecure, o.WS = true, false
	nc, _, err := o.Stream(context.Background())
	if err != nil {
		return
	}
	defer nc.Close()
	tc, ok := nc.(*tls.Conn)
	if !ok || len(tc.ConnectionState().PeerCertificates) == 0 {
		return
	}
	leaf := tc.ConnectionState().PeerCertificates[0]
	if left := time.Until(leaf.NotAfter); left < 14*24*time.Hour && left > 0 {
		r.warn("certificate-expires", "renew it", "the broker's certificate expires on %s", leaf.NotAfter.Format(time.RFC3339))
	}
	if reach.OnlyCommonName(leaf) {
		r.warn("certificate-common-name", "make one with a subject alternative name", "the broker's certificate names %q only in its Common Name; browsers and most libraries refuse it", leaf.Subject.CommonName)
	}
	if r.o.conn.Insecure {
		r.warn("certificate-unchecked", "give --cafile in place of --insecure", "the certificate was not checked: anybody could be the broker")
	}
}

func (r *report) explainWebSocket(ctx context.Context, e *reach.StepError) {
	o := &r.o.conn
	if clientCertificate(e.Err.Error()) {
		r.explainClientCertificate(e.Err.Error())
		return
	}
	h, answered := errors.AsType[*wsproto.HandshakeError](e.Err)
	switch {
	case answered && (h.Status == 404 || h.Status == 403 && h.Location == ""):
		r.bad("websocket-path", "try --ws-path /mqtt, / or /ws, or ask for the path of the proxy in front of the broker", "the path %s of the WebSocket is not there: HTTP status %d", pathOf(o), h.Status)
	case answered && h.Status == 101 && strings.Contains(h.Reason, "subprotocol"):
		r.bad("websocket-subprotocol", "offer mqtt (the default), or mqttv3.1 for an old broker", "the broker does not take the subprotocol %q: %s", subprotocol(o), h.Reason)
	case answered && h.Status >= 300 && h.Status < 400:
		r.bad("websocket-redirect", "connect to "+h.Location, "%s redirects to %s", e.Address, h.Location)
	case answered && h.Status == 401:
		r.bad("websocket-login", "give the credentials of the proxy with --header 'Authorization: …'", "a server in front of the broker wants a login: HTTP status 401")
	case r.try(ctx, func(o *reach.Options) { o.Subprotocol = "" }):
		r.bad("websocket-subprotocol", "offer mqtt (the default)", "the broker does not take the subprotocol %q", subprotocol(o))
	case r.try(ctx, func(o *reach.Options) { o.Path = "/mqtt" }):
		r.bad("websocket-path", "use the path /mqtt", "the path %s of the WebSocket is not there; /mqtt is", pathOf(o))
	case r.try(ctx, func(o *reach.Options) { o.WS = false }):
		r.bad("websocket-to-mqtt-port", "connect without WebSocket, or use the port of a listener with 'protocol websockets'", "%s speaks MQTT, not WebSocket", e.Address)
	case !o.TLS && r.try(ctx, func(o *reach.Options) { o.TLS, o.Insecure = true, true }):
		r.bad("plain-to-tls-port", "use wss://", "%s speaks TLS, this client does not", e.Address)
	case answered && h.Status != 0 && h.Status != 101:
		r.bad("websocket-refused", "", "the server refused the WebSocket: HTTP status %d, %s", h.Status, h.Reason)
	default:
		r.bad("websocket", "check whether port "+strconv.Itoa(portOf(e.Address))+" is one for WebSocket", "no WebSocket at %s: %v", e.Address, e.Err)
	}
}

func pathOf(o *reach.Options) string {
	if o.Path == "" {
		return "/mqtt"
	}
	return o.Path
}

func subprotocol(o *reach.Options) string {
	if o.Subprotocol == "" {
		return "mqtt"
	}
	return o.Subprotocol
}

func (r *report) explainUnix(e *reach.StepError) {
	path := r.o.conn.Unix
	switch {
	case errors.Is(e.Err, os.ErrNotExist):
		r.bad("socket-missing", "start the broker, or check the path in 'listener 0 PATH'", "there is no socket %s", path)
	case errors.Is(e.Err, os.ErrPermission):
		r.add(access(path, "socket-permission", "write to the socket", self(), 2))
	case refused(e.Err):
		r.bad("socket-dead", "start the broker; it replaces the file", "nobody listens on %s any more", path)
	default:
		r.bad("socket", "", "%s: %v", path, cause(e.Err))
	}
}

// describe words an error of MQTT without the address that stands elsewhere.
func describeError(err error) string {
	if errors.Is(err, client.ErrNoConnack) {
		return "no answer to CONNECT in time"
	}
	return fmt.Sprint(cause(err))
}
