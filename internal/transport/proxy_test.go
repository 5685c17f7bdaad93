package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/wsproto"
)

// header2 makes a version 2 header: command, family, and what stands behind.
func header2(command, family byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	b := append([]byte(signature2), 0x20|command, family)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(body))), body...)
}

func v4(src, dst string) []byte {
	a, b := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	out := append(a.Addr().AsSlice(), b.Addr().AsSlice()...)
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(out, a.Port()), b.Port())
}

func tlv(kind byte, value []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value))), value...)
}

func ssl(flags byte, verify uint32, subs ...[]byte) []byte {
	return tlv(tlvSSL, append(binary.BigEndian.AppendUint32([]byte{flags}, verify), bytes.Join(subs, nil)...))
}

var (
	addresses = v4("192.0.2.7:4711", "192.0.2.1:1883")
	version   = tlv(tlvSSLVersion, []byte("TLSv1.3"))
	cipher    = tlv(tlvSSLCipher, []byte("TLS_AES_256_GCM_SHA384"))
	name      = tlv(tlvSSLName, []byte("device-7"))
)

// ask gives the layer the bytes in pieces of n and returns what comes out of it.
func ask(o ProxyOptions, b []byte, n int) (p *proxy, rest []byte, err error) {
	p = newProxy(&o, "10.0.0.1:55", nil)
	b = bytes.Clone(b)
	for len(b) > 0 && err == nil {
		k := min(n, len(b))
		if p.done {
			rest = append(rest, b[:k]...)
		} else {
			var app []byte
			app, _, err = p.Inbound(nil, b[:k], nil)
			rest = append(rest, app...)
		}
		b = b[k:]
	}
	return p, rest, err
}

func TestProxyHeaders(t *testing.T) {
	unix := append(append([]byte("/run/app"), make([]byte, 100)...), make([]byte, 108)...)
	v6 := netip.MustParseAddr("2001:db8::7").As16()
	sixes := binary.BigEndian.AppendUint32(append(v6[:], v6[:]...), 0x12670700)
	for _, tt := range []struct {
		name    string
		version int
		header  string
		addr    string
		peer    *wsproto.Peer
	}{
		{"v1", 1, "PROXY TCP4 192.0.2.7 192.0.2.1 4711 1883\r\n", "192.0.2.7:4711", nil},
		{"v1 six", 1, "PROXY TCP6 2001:db8::7 ::1 4711 1883\r\n", "2001:db8::7:4711", nil},
		{"v1 unknown", 1, "PROXY UNKNOWN\r\n", "", nil},
		{"v1 unknown, with words", 1, "PROXY UNKNOWN ffff:f::1 1 2 3\r\n", "", nil},
		{"v2", 2, string(header2(1, 0x11, addresses)), "192.0.2.7:4711", nil},
		{"v2 six", 2, string(header2(1, 0x21, sixes)), "2001:db8::7:4711", nil},
		{"v2 unix", 2, string(header2(1, 0x31, unix)), "/run/app:0", nil},
		{"v2 unspecified", 2, string(header2(1, 0x00)), "", nil},
		{"v2 local with addresses", 2, string(header2(0, 0x11, addresses)), "", nil},
		{"v2 other values", 2, string(header2(1, 0x11, addresses, tlv(4, []byte("pad")), tlv(0xEE, nil))), "192.0.2.7:4711", nil},
		{"v2 no tls", 2, string(header2(1, 0x11, addresses, ssl(0, 0))), "192.0.2.7:4711", nil},
		{
			"v2 tls", 2, string(header2(1, 0x11, addresses, ssl(1, 0, version, cipher))), "192.0.2.7:4711",
			&wsproto.Peer{TLSVersion: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384"},
		},
		{
			"v2 certificate", 2, string(header2(1, 0x11, addresses, ssl(7, 0, version, cipher, name))), "192.0.2.7:4711",
			&wsproto.Peer{TLSVersion: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384", Certificate: true, CommonName: "device-7"},
		},
		{
			"v2 certificate that does not verify", 2, string(header2(1, 0x11, addresses, ssl(7, 1, version, cipher, name))), "192.0.2.7:4711",
			&wsproto.Peer{TLSVersion: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384"},
		},
		{
			"v2 certificate without tls", 2, string(header2(1, 0x11, addresses, ssl(6, 0, name))), "192.0.2.7:4711", nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, n := range []int{1, 7, 1000} {
				p, rest, err := ask(ProxyOptions{Version: tt.version}, []byte(tt.header+"\x10MQTT"), n)
				if err != nil || string(rest) != "\x10MQTT" {
					t.Fatalf("by %d: %q behind it, %v", n, rest, err)
				}
				next, addr, done := p.After()
				if next != nil || addr != tt.addr || !done {
					t.Errorf("by %d: %v %q %v", n, next, addr, done)
				}
				if got, want := fmt.Sprintf("%+v", p.Peer()), fmt.Sprintf("%+v", tt.peer); got != want {
					t.Errorf("peer %s, want %s", got, want)
				}
			}
		})
	}
}

func TestProxyRefusals(t *testing.T) {
	corrupt1, corrupt2 := "Connection rejected, corrupt PROXY header.", "Connection from 10.0.0.1:55 rejected, corrupt PROXY header."
	tlsWanted, certWanted := ProxyOptions{Version: 2, RequireTLS: true}, ProxyOptions{Version: 2, RequireCertificate: true}
	v1, v2 := ProxyOptions{Version: 1}, ProxyOptions{Version: 2}
	const noTLS = "Connection from 192.0.2.7:4711 rejected, client did not connect using TLS."
	const noCert = "Connection from 192.0.2.7:4711 rejected, client did not provide a certificate."
	long := "PROXY UNKNOWN " + strings.Repeat("x", 200)
	wrongVersion := header2(1, 0x11, addresses)
	wrongVersion[12] = 0x11
	for _, tt := range []struct {
		name   string
		opts   ProxyOptions
		header string
		line   string
		quiet  bool
	}{
		{"mqtt", v1, "\x10\x0c\x00\x04MQTT", corrupt1, false},
		{"tls", v2, "\x16\x03\x01\x02\x00", corrupt2, false},
		{"v2 for v1", v1, signature2, corrupt1, false},
		{"v1 for v2", v2, "PROXY TCP4 ", corrupt2, false},
		{"no CR", v1, "PROXY TCP4 192.0.2.7 192.0.2.1 4711 1883\n", corrupt1, false},
		{"too long", v1, long, corrupt1, false},
		{"family", v1, "PROXY UDP4 192.0.2.7 192.0.2.1 4711 1883\r\n", corrupt1, false},
		{"address", v1, "PROXY TCP4 192.0.2.999 192.0.2.1 4711 1883\r\n", corrupt1, false},
		{"address of another family", v1, "PROXY TCP4 ::1 ::1 4711 1883\r\n", corrupt1, false},
		{"zone", v1, "PROXY TCP6 fe80::1%lo ::1 4711 1883\r\n", corrupt1, false},
		{"port", v1, "PROXY TCP4 192.0.2.7 192.0.2.1 0 1883\r\n", corrupt1, false},
		{"high port", v1, "PROXY TCP4 192.0.2.7 192.0.2.1 4711 65536\r\n", corrupt1, false},
		{"port with sign", v1, "PROXY TCP4 192.0.2.7 192.0.2.1 +4711 1883\r\n", corrupt1, false},
		{"words", v1, "PROXY TCP4 192.0.2.7 192.0.2.1 4711\r\n", corrupt1, false},
		{"two blanks", v1, "PROXY TCP4  192.0.2.7 192.0.2.1 4711 1883\r\n", corrupt1, false},
		{"version", v2, string(wrongVersion), corrupt2, false},
		{"command", v2, string(header2(2, 0x11, addresses)), corrupt2, false},
		{"datagram", v2, string(header2(1, 0x12, addresses)), corrupt2, false},
		{"short addresses", v2, string(header2(1, 0x11, addresses[:11])), corrupt2, false},
		{"short unix", v2, string(header2(1, 0x31, make([]byte, 215))), corrupt2, false},
		{"too much", v2, string(header2(1, 0x11, addresses, tlv(4, make([]byte, 500)))), corrupt2, false},
		{"short value", v2, string(header2(1, 0x11, addresses, []byte{4, 0, 9, 1})), corrupt2, false},
		{"short ssl", v2, string(header2(1, 0x11, addresses, tlv(tlvSSL, []byte{1, 0, 0}))), corrupt2, false},
		{"short ssl value", v2, string(header2(1, 0x11, addresses, tlv(tlvSSL, []byte{1, 0, 0, 0, 0, 0x21, 0, 5, 1}))), corrupt2, false},
		{"name with zero", v2, string(header2(1, 0x11, addresses, ssl(7, 0, tlv(tlvSSLName, []byte("a\x00b"))))), corrupt2, false},
		{"health check", v2, string(header2(0, 0x00)), "", true},
		{"no tls", tlsWanted, string(header2(1, 0x11, addresses)), noTLS, false},
		{"tls denied", tlsWanted, string(header2(1, 0x11, addresses, ssl(0, 0, version))), noTLS, false},
		{"no certificate", certWanted, string(header2(1, 0x11, addresses, ssl(1, 0, version))), noCert, false},
		{"bad certificate", certWanted, string(header2(1, 0x11, addresses, ssl(7, 18, version, name))), noCert, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, n := range []int{1, 1000} {
				p, rest, err := ask(tt.opts, []byte(tt.header), n)
				var hs *wsproto.HandshakeError
				if !errors.As(err, &hs) || hs.Line != tt.line || hs.Quiet != tt.quiet || len(rest) > 0 {
					t.Fatalf("by %d: %+v, %q behind it", n, err, rest)
				}
				if _, _, done := p.After(); done {
					t.Error("gives way")
				}
				if _, _, err := p.Inbound(nil, []byte("more"), nil); err == nil {
					t.Error("goes on")
				}
			}
		})
	}
}

// FuzzProxy: a header is taken or refused within its bound, whatever its pieces,
// and what stands behind it comes out whole.
func FuzzProxy(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.7 192.0.2.1 4711 1883\r\nrest"), uint8(1), uint8(3))
	f.Add([]byte("PROXY UNKNOWN \r\n"), uint8(1), uint8(200))
	f.Add(append(header2(1, 0x11, addresses, ssl(7, 0, version, cipher, name)), "rest"...), uint8(2), uint8(5))
	f.Add(header2(0, 0), uint8(2), uint8(16))
	f.Fuzz(func(t *testing.T, b []byte, v, n uint8) {
		o := ProxyOptions{Version: 1 + int(v)%2}
		whole, rest, err := ask(o, b, len(b)+1)
		parts, rest2, err2 := ask(o, b, int(n)+1)
		if (err == nil) != (err2 == nil) || whole.done != parts.done || !bytes.Equal(rest, rest2) {
			t.Fatalf("whole: %v %q %v; in parts: %v %q %v", whole.done, rest, err, parts.done, rest2, err2)
		}
		if !whole.done && err == nil && len(b) >= fixedProxy2+maxProxy2 {
			t.Fatal("waits for ever")
		}
		if whole.done && !bytes.HasSuffix(b, rest) {
			t.Fatal("what stands behind the header is changed")
		}
		if p := whole.Peer(); p != nil && strings.ContainsAny(p.Cipher+p.TLSVersion, "\r\n\x00") {
			t.Fatalf("%+v", p)
		}
	})
}
