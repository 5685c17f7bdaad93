package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/midgemq/midge/internal/wsproto"
)

// ProxyOptions say which PROXY header a listener's connections begin with, and
// what it has to say. The header is believed: such a listener must be reachable
// by the proxy alone.
type ProxyOptions struct {
	Version            int  // enable_proxy_protocol: 1 or 2; 0 means none
	RequireTLS         bool // proxy_protocol_v2_require_tls
	RequireCertificate bool // require_certificate: by the word of a version 2 header
}

const (
	// maxProxy1 is the longest header of version 1, with its CRLF: the longest
	// line of the specification is 107 bytes with a final zero.
	maxProxy1 = 108
	// maxProxy2 bounds what stands behind the fixed part of a version 2 header.
	maxProxy2 = 500
	// fixedProxy2 is the length of that fixed part.
	fixedProxy2 = 16
)

// signature2 begins every header of version 2.
const signature2 = "\r\n\r\n\x00\r\nQUIT\n"

// proxyHeader is what a PROXY header says.
type proxyHeader struct {
	source      string // A:P, empty for the socket's own
	local       bool   // the proxy itself connects, to see whether somebody is there
	tls         bool   // the client came to the proxy by TLS
	certificate bool   // and showed a certificate that the proxy verified
	version     string
	cipher      string
	commonName  string
}

var errProxy = errors.New("corrupt PROXY header")

// proxy is the layer that takes the header and then gives way to the next.
type proxy struct {
	opts *ProxyOptions
	peer string // the proxy's address
	next wsproto.Layer
	buf  []byte
	head proxyHeader
	done bool
	err  error
}

var _ wsproto.Preface = (*proxy)(nil)

func newProxy(o *ProxyOptions, peer string, next wsproto.Layer) *proxy {
	return &proxy{opts: o, peer: peer, next: next}
}

// Start appends nothing: the proxy speaks first.
func (p *proxy) Start(out []byte) []byte { return out }

// Open reports false: nothing is ever sent through this layer.
func (p *proxy) Open() bool { return false }

// Outbound appends nothing.
func (p *proxy) Outbound(out, _ []byte) []byte { return out }

// Close appends nothing.
func (p *proxy) Close(out []byte, _ uint16) []byte { return out }

// Inbound takes the header; what stands behind it goes to dst.
func (p *proxy) Inbound(dst, raw, out []byte) (newDst, newOut []byte, err error) {
	if p.err != nil || p.done {
		return dst, out, p.err
	}
	before := len(p.buf)
	p.buf = append(p.buf, raw[:min(len(raw), fixedProxy2+maxProxy2-before)]...)
	n, err := 0, error(nil)
	if p.opts.Version == 1 {
		p.head, n, err = parseProxy1(p.buf)
	} else {
		p.head, n, err = parseProxy2(p.buf)
	}
	switch {
	case err != nil:
		line := "Connection rejected, corrupt PROXY header."
		if p.opts.Version == 2 {
			line = fmt.Sprintf("Connection from %s rejected, corrupt PROXY header.", p.peer)
		}
		p.err = &wsproto.HandshakeError{Reason: err.Error(), Line: line}
	case n == 0:
		return dst, out, nil
	default:
		p.err = p.judge()
	}
	p.buf = nil
	if p.err != nil {
		return dst, out, p.err
	}
	p.done = true
	return append(dst, raw[n-before:]...), out, nil
}

// judge applies the demands of the listener.
func (p *proxy) judge() error {
	h := &p.head
	from := h.source
	if from == "" {
		from = p.peer
	}
	var why string
	switch {
	case h.local:
		return &wsproto.HandshakeError{Reason: "health check of a proxy", Quiet: true}
	case p.opts.Version != 2:
		return nil
	case p.opts.RequireTLS && !h.tls:
		why = "client did not connect using TLS"
	case p.opts.RequireCertificate && !h.certificate:
		why = "client did not provide a certificate"
	default:
		return nil
	}
	return &wsproto.HandshakeError{Reason: why, Line: fmt.Sprintf("Connection from %s rejected, %s.", from, why)}
}

// After implements wsproto.Preface.
func (p *proxy) After() (next wsproto.Layer, addr string, done bool) {
	return p.next, p.head.source, p.done
}

// Peer implements wsproto.Identified.
func (p *proxy) Peer() *wsproto.Peer {
	if !p.done || !p.head.tls {
		return nil
	}
	peer := &wsproto.Peer{TLSVersion: p.head.version, Cipher: p.head.cipher, Certificate: p.head.certificate}
	if p.head.certificate {
		peer.CommonName = p.head.commonName
	}
	return peer
}

// parseProxy1 reads a header of version 1 at the start of b. n is its length, 0
// while it is incomplete.
func parseProxy1(b []byte) (h proxyHeader, n int, err error) {
	const begin = "PROXY "
	if !bytes.HasPrefix(b, []byte(begin[:min(len(begin), len(b))])) {
		return h, 0, errProxy
	}
	end := bytes.IndexByte(b[:min(len(b), maxProxy1)], '\n')
	if end < 0 {
		if len(b) >= maxProxy1 {
			return h, 0, errProxy
		}
		return h, 0, nil
	}
	line, ok := strings.CutSuffix(string(b[:end]), "\r")
	if !ok {
		return h, 0, errProxy
	}
	words := strings.Split(line[len(begin):], " ")
	if words[0] == "UNKNOWN" {
		return h, end + 1, nil // whatever stands behind it
	}
	if len(words) != 5 || words[0] != "TCP4" && words[0] != "TCP6" {
		return h, 0, errProxy
	}
	var ends [2]netip.AddrPort
	for i := range ends {
		a, err := netip.ParseAddr(words[1+i])
		if err != nil || a.Is4() != (words[0] == "TCP4") || a.Zone() != "" {
			return h, 0, errProxy
		}
		port, err := strconv.ParseUint(words[3+i], 10, 16)
		if err != nil || port == 0 || words[3+i][0] == '0' {
			return h, 0, errProxy
		}
		ends[i] = netip.AddrPortFrom(a, uint16(port))
	}
	h.source = FormatAddr(ends[0])
	return h, end + 1, nil
}

// parseProxy2 reads a header of version 2 at the start of b. n is its length, 0
// while it is incomplete.
func parseProxy2(b []byte) (h proxyHeader, n int, err error) {
	if !bytes.HasPrefix(b, []byte(signature2[:min(len(signature2), len(b))])) {
		return h, 0, errProxy
	}
	if len(b) < fixedProxy2 {
		return h, 0, nil
	}
	const version2 = 0x20
	size := int(binary.BigEndian.Uint16(b[14:]))
	command := b[12] & 0x0F
	if b[12]&0xF0 != version2 || command > 1 || size > maxProxy2 {
		return h, 0, errProxy
	}
	n = fixedProxy2 + size
	if len(b) < n {
		return h, 0, nil
	}
	rest := b[fixedProxy2:n]
	if command == 0 {
		// LOCAL. Without an address it is a health check; else the addresses are
		// those of the socket, whatever stands here.
		h.local = size == 0
		return h, n, nil
	}
	source, rest, ok := proxySource(b[13], rest)
	if !ok {
		return h, 0, errProxy
	}
	h.source = source
	for len(rest) > 0 {
		kind, value, next, ok := cutTLV(rest)
		if !ok {
			return h, 0, errProxy
		}
		rest = next
		if kind == tlvSSL && !h.readSSL(value) {
			return h, 0, errProxy
		}
	}
	return h, n, nil
}

// proxySource reads the addresses of a version 2 header.
func proxySource(family byte, b []byte) (source string, rest []byte, ok bool) {
	const unix, unixPath = 216, 108
	switch family {
	case 0x00: // unspecified: the socket's own
		return "", nil, true
	case 0x11: // TCP over IPv4
		if len(b) < 12 {
			return "", nil, false
		}
		a := netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), binary.BigEndian.Uint16(b[8:]))
		return FormatAddr(a), b[12:], true
	case 0x21: // TCP over IPv6
		if len(b) < 36 {
			return "", nil, false
		}
		a := netip.AddrPortFrom(netip.AddrFrom16([16]byte(b)), binary.BigEndian.Uint16(b[32:]))
		return FormatAddr(a), b[36:], true
	case 0x31: // a Unix stream
		if len(b) < unix {
			return "", nil, false
		}
		path, _, _ := bytes.Cut(b[:unixPath], []byte{0})
		if len(path) == 0 {
			return "", b[unix:], true
		}
		return cleanText(path) + ":0", b[unix:], true
	}
	return "", nil, false
}

// Types of the values behind the addresses.
const (
	tlvSSL        = 0x20
	tlvSSLVersion = 0x21
	tlvSSLName    = 0x22
	tlvSSLCipher  = 0x23
)

func cutTLV(b []byte) (kind byte, value, rest []byte, ok bool) {
	if len(b) < 3 {
		return 0, nil, nil, false
	}
	n := 3 + int(binary.BigEndian.Uint16(b[1:]))
	if len(b) < n {
		return 0, nil, nil, false
	}
	return b[0], b[3:n], b[n:], true
}

// readSSL reads what a proxy says about the client's TLS.
func (h *proxyHeader) readSSL(b []byte) bool {
	const byTLS, withCertificate = 0x01, 0x02 | 0x04 // on this connection, or in its session
	if len(b) < 5 {
		return false
	}
	h.tls = b[0]&byTLS != 0
	h.certificate = h.tls && b[0]&withCertificate != 0 && binary.BigEndian.Uint32(b[1:]) == 0
	for b = b[5:]; len(b) > 0; {
		kind, value, next, ok := cutTLV(b)
		if !ok {
			return false
		}
		b = next
		switch kind {
		case tlvSSLVersion:
			h.version = cleanText(value)
		case tlvSSLCipher:
			h.cipher = cleanText(value)
		case tlvSSLName:
			if !utf8.Valid(value) || bytes.IndexByte(value, 0) >= 0 {
				return false
			}
			h.commonName = string(value)
		}
	}
	return true
}

// cleanText makes text for the log of what a proxy sends.
func cleanText(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F || r == utf8.RuneError {
			return '?'
		}
		return r
	}, string(b))
}
