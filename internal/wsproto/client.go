package wsproto

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// ClientOptions say what a client asks for. How the TCP or TLS connection is
// made, and through which proxy, is the caller's affair.
type ClientOptions struct {
	// Host is the Host header: name, with the port unless it is the scheme's.
	Host string
	// Path is the request target; empty means "/mqtt", which most brokers
	// and proxies route.
	Path string
	// Header holds further header fields (Origin, Authorization, Cookie …).
	Header http.Header
	// Subprotocols are offered in this order; none means "mqtt"
	// [MQTT-6.0.0-3].
	Subprotocols []string
	// MaxHeader is the limit of the server's reply in bytes; 0 means 16384.
	MaxHeader int
}

// Client is the client's end of one WebSocket connection.
type Client struct {
	frames
	opts        ClientOptions
	key         string
	request     []byte // until Start
	handshake   headerBuffer
	open        bool
	subprotocol string
}

var _ Layer = (*Client)(nil)

// NewClient prepares the client's end of a connection. It fails when an option
// cannot be put into a request.
func NewClient(opts ClientOptions) (*Client, error) {
	if opts.Path == "" {
		opts.Path = "/mqtt"
	}
	if len(opts.Subprotocols) == 0 {
		opts.Subprotocols = []string{SubprotocolMQTT}
	}
	if opts.MaxHeader <= 0 {
		opts.MaxHeader = clientMaxHeader
	}
	var nonce [16]byte
	rand.Read(nonce[:]) //nolint:errcheck // documented never to fail
	c := &Client{frames: clientFrames(), opts: opts, key: base64.StdEncoding.EncodeToString(nonce[:])}
	if err := c.buildRequest(); err != nil {
		return nil, fmt.Errorf("websocket request: %w", err)
	}
	return c, nil
}

// buildRequest checks the options and fills c.request.
func (c *Client) buildRequest() error {
	if c.opts.Host == "" || strings.ContainsAny(c.opts.Host, " \t/\\") || !isFieldValue([]byte(c.opts.Host)) {
		return fmt.Errorf("invalid host %q", c.opts.Host)
	}
	if !strings.HasPrefix(c.opts.Path, "/") || strings.ContainsAny(c.opts.Path, " \t#") || !isFieldValue([]byte(c.opts.Path)) {
		return fmt.Errorf("invalid path %q", c.opts.Path)
	}
	for _, p := range c.opts.Subprotocols {
		if !isToken([]byte(p)) {
			return fmt.Errorf("invalid subprotocol %q", p)
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n", c.opts.Path, c.opts.Host)
	fmt.Fprintf(&b, "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n", c.key)
	fmt.Fprintf(&b, "Sec-WebSocket-Protocol: %s\r\n", strings.Join(c.opts.Subprotocols, ", "))
	for _, name := range sortedKeys(c.opts.Header) {
		if !isToken([]byte(name)) || reservedField(name) {
			return fmt.Errorf("header field %q cannot be set", name)
		}
		for _, v := range c.opts.Header[name] {
			if !isFieldValue([]byte(v)) {
				return fmt.Errorf("header field %q has a value with control characters", name)
			}
			fmt.Fprintf(&b, "%s: %s\r\n", name, v)
		}
	}
	b.WriteString("\r\n")
	c.request = b.Bytes()
	return nil
}

// reservedField reports whether the handshake itself sets the field.
func reservedField(name string) bool {
	switch n := strings.ToLower(name); n {
	case "host", "upgrade", "connection", "content-length", "transfer-encoding":
		return true
	default:
		return strings.HasPrefix(n, "sec-websocket-")
	}
}

func sortedKeys(h http.Header) []string {
	keys := make([]string, 0, len(h))
	for k := range h {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Start appends the upgrade request.
func (c *Client) Start(out []byte) []byte {
	out = append(out, c.request...)
	c.request = nil
	return out
}

// Open reports whether the server has accepted the upgrade.
func (c *Client) Open() bool { return c.open }

// Subprotocol returns the name the server selected, empty before Open.
func (c *Client) Subprotocol() string { return c.subprotocol }

// Inbound consumes bytes of the server; see Layer.
func (c *Client) Inbound(dst, raw, out []byte) (newDst, newOut []byte, err error) {
	if c.open || c.err != nil || len(raw) == 0 {
		return c.inbound(dst, raw, out)
	}
	header, rest, err := c.handshake.add(raw, c.opts.MaxHeader)
	if err != nil {
		c.err = &HandshakeError{Reason: fmt.Sprintf("reply header is longer than %d bytes", c.opts.MaxHeader)}
		return dst, out, c.err
	}
	if header == nil {
		return dst, out, nil
	}
	if e := c.accept(header); e != nil {
		c.err = e
		return dst, out, e
	}
	c.open = true
	return c.inbound(dst, rest, out)
}

// Outbound appends app as one masked binary frame; see Layer.
func (c *Client) Outbound(out, app []byte) []byte {
	if !c.open {
		return out
	}
	return c.outbound(out, app)
}

// Close appends the closing frame; see Layer.
func (c *Client) Close(out []byte, code uint16) []byte {
	if !c.open {
		return out
	}
	return c.close(out, code)
}

// accept checks the server's reply against RFC 6455 section 4.1.
func (c *Client) accept(header []byte) *HandshakeError {
	lines := headerLines{rest: header}
	proto, status, _ := bytes.Cut(lines.line(), []byte(" "))
	digits, phrase, _ := bytes.Cut(status, []byte(" "))
	code, err := strconv.Atoi(string(digits))
	if !bytes.HasPrefix(proto, []byte("HTTP/1.")) || err != nil || len(digits) != 3 || code < 100 {
		return &HandshakeError{Reason: "server did not answer in HTTP"}
	}
	var upgrade, connection, accept, extensions, subprotocol, location string
	for {
		name, value, ok, err := lines.next()
		if err != nil {
			return &HandshakeError{Status: code, Reason: "malformed reply: " + err.Error()}
		}
		if !ok {
			break
		}
		switch strings.ToLower(name) {
		case "upgrade":
			upgrade = joinList(upgrade, value)
		case "connection":
			connection = joinList(connection, value)
		case "sec-websocket-accept":
			accept = joinList(accept, value)
		case "sec-websocket-extensions":
			extensions = joinList(extensions, value)
		case "sec-websocket-protocol":
			subprotocol = joinList(subprotocol, value)
		case "location":
			location = value
		}
	}
	fail := func(reason string) *HandshakeError { return &HandshakeError{Status: code, Reason: reason} }
	switch {
	case code != http.StatusSwitchingProtocols:
		e := fail("server refused the upgrade")
		if isFieldValue(phrase) && len(phrase) > 0 {
			e.Reason += ": " + strings.ToValidUTF8(string(phrase[:min(len(phrase), 100)]), "")
		}
		e.Location = location
		return e
	case !listHas(upgrade, "websocket", true):
		return fail("server did not upgrade to websocket")
	case !listHas(connection, "upgrade", true):
		return fail("the reply's Connection header does not contain upgrade")
	case accept != acceptKey(c.key):
		return fail("the Sec-WebSocket-Accept does not fit the key")
	case extensions != "":
		return fail("server uses an extension that was not offered")
	case !slices.Contains(c.opts.Subprotocols, subprotocol):
		return fail(fmt.Sprintf("server selected the subprotocol %q, which was not offered", subprotocol))
	}
	c.subprotocol = subprotocol
	return nil
}
