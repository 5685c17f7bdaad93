package wsproto

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// ServerOptions are the settings of a listener; connections share one value
// and read it only.
type ServerOptions struct {
	// MaxHeader is the limit of the upgrade request in bytes
	// (packet_buffer_size); 0 selects DefaultMaxHeader.
	MaxHeader int
	// Origins are the values of the Origin header that may connect
	// (websockets_origin); none allows all. A request without that header
	// passes: only browsers send it, and only they need the check.
	Origins []string
	// Files answers requests that ask for no upgrade; nil refuses them.
	Files Files
}

// Server is the broker's end of one WebSocket connection.
type Server struct {
	frames
	opts        *ServerOptions
	handshake   headerBuffer
	open        bool
	subprotocol string
	wake        func()
	answer      Answer // of a request for a file
}

var _ Layer = (*Server)(nil)

// NewServer returns the server's end of a connection that has just been
// accepted.
func NewServer(opts *ServerOptions) *Server {
	return &Server{opts: opts}
}

// Start appends nothing: the client speaks first.
func (s *Server) Start(out []byte) []byte { return out }

// Open reports whether the handshake is complete.
func (s *Server) Open() bool { return s.open }

// Subprotocol returns the name agreed on, empty before Open.
func (s *Server) Subprotocol() string { return s.subprotocol }

// Inbound consumes bytes of the client; see Layer.
func (s *Server) Inbound(dst, raw, out []byte) (newDst, newOut []byte, err error) {
	if s.answer != nil && s.err == nil {
		return s.goOn(dst, out)
	}
	if s.open || s.err != nil || len(raw) == 0 {
		return s.inbound(dst, raw, out)
	}
	if len(s.handshake.buf) == 0 {
		if e := foreignProtocol(raw[0]); e != nil {
			s.err = e
			return dst, out, e
		}
	}
	header, rest, err := s.handshake.add(raw, s.maxHeader())
	if err != nil {
		return s.refuse(dst, out, http.StatusRequestHeaderFieldsTooLarge,
			fmt.Sprintf("request header is longer than %d bytes", s.maxHeader()))
	}
	if header == nil {
		return dst, out, nil
	}
	u, status, err := parseUpgrade(header)
	if err == nil && s.opts.Files != nil && u.asksForFile() {
		return s.serve(&u, dst, out)
	}
	if err == nil {
		status, err = u.verify(s.opts.Origins)
	}
	if err != nil {
		return s.refuse(dst, out, status, err.Error())
	}
	s.open = true
	s.subprotocol = u.selected()
	out = append(out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	out = append(out, acceptKey(u.key)...)
	out = append(out, "\r\nSec-WebSocket-Protocol: "...)
	out = append(out, s.subprotocol...)
	out = append(out, "\r\n\r\n"...)
	return s.inbound(dst, rest, out)
}

// Outbound appends app as one binary frame; see Layer.
func (s *Server) Outbound(out, app []byte) []byte {
	if !s.open {
		return out
	}
	return s.outbound(out, app)
}

// OutboundHead appends the header of a binary frame whose payload, n bytes of
// MQTT (1 to MaxFrame), the caller sends unchanged right behind it. It spares
// the copy of a large message that many connections share. ok is false when
// nothing may be sent.
func (s *Server) OutboundHead(out []byte, n int) (newOut []byte, ok bool) {
	if !s.open || s.closeSent || s.err != nil || n < 1 || n > MaxFrame {
		return out, false
	}
	return appendHead(out, opBinary, n, false), true
}

// Close appends the closing frame; see Layer. Before Open it appends nothing:
// a peer that has not finished its handshake expects no frames.
func (s *Server) Close(out []byte, code uint16) []byte {
	if !s.open {
		return out
	}
	return s.close(out, code)
}

func (s *Server) maxHeader() int {
	if s.opts.MaxHeader > 0 {
		return s.opts.MaxHeader
	}
	return DefaultMaxHeader
}

// foreignProtocol recognises by their first byte the peers that speak
// something else and would not understand an HTTP answer.
func foreignProtocol(first byte) *HandshakeError {
	switch {
	case first == 0x16:
		return &HandshakeError{TLS: true, Reason: "client appears to be using TLS to connect to a non-TLS listener"}
	case first == 0x10:
		return &HandshakeError{Reason: "client sent an MQTT CONNECT to a WebSocket listener"}
	case first < 'A' || first > 'Z':
		return &HandshakeError{Reason: "first byte is not that of an HTTP request"}
	}
	return nil
}

// refuse answers with a short HTTP error and ends the connection.
func (s *Server) refuse(dst, out []byte, status int, reason string) (newDst, newOut []byte, err error) {
	text := http.StatusText(status) + ": " + reason + "\n"
	out = append(out, "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(status), 10)
	out = append(out, ' ')
	out = append(out, http.StatusText(status)...)
	out = append(out, "\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"...)
	switch status {
	case http.StatusUpgradeRequired:
		out = append(out, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"...)
	case http.StatusMethodNotAllowed:
		out = append(out, "Allow: GET, HEAD\r\n"...)
	}
	out = append(out, "Content-Length: "...)
	out = strconv.AppendInt(out, int64(len(text)), 10)
	out = append(out, "\r\n\r\n"...)
	out = append(out, text...)
	s.err = &HandshakeError{Status: status, Reason: reason}
	return dst, out, s.err
}

// upgrade is what a server needs of an upgrade request. Its strings are copies.
type upgrade struct {
	method       string
	target       string
	upgrade      string
	connection   string
	key          string
	keys         int
	version      string
	versions     int
	subprotocols string
	origin       string
	modified     string
	hasOrigin    bool
	hasBody      bool
}

// parseUpgrade reads a whole request header. status is the HTTP status that
// answers an error.
func parseUpgrade(header []byte) (u upgrade, status int, err error) {
	lines := headerLines{rest: header}
	method, target, ok1 := bytes.Cut(lines.line(), []byte(" "))
	target, version, ok2 := bytes.Cut(target, []byte(" "))
	if !ok1 || !ok2 || !isToken(method) || len(target) == 0 {
		return u, http.StatusBadRequest, fmt.Errorf("malformed request line")
	}
	for _, c := range target {
		if c <= ' ' || c == 0x7F {
			return u, http.StatusBadRequest, fmt.Errorf("request target with invalid characters")
		}
	}
	if len(version) != len("HTTP/1.1") || !bytes.HasPrefix(version, []byte("HTTP/1.")) || version[7] < '1' || version[7] > '9' {
		return u, http.StatusHTTPVersionNotSupported, fmt.Errorf("request is not HTTP/1.1")
	}
	u.method, u.target = string(method), string(target)
	for {
		name, value, ok, err := lines.next()
		if err != nil {
			return u, http.StatusBadRequest, err
		}
		if !ok {
			return u, 0, nil
		}
		u.field(name, value)
	}
}

// field keeps one header field that matters.
func (u *upgrade) field(name, value string) {
	switch strings.ToLower(name) {
	case "upgrade":
		u.upgrade = joinList(u.upgrade, value)
	case "connection":
		u.connection = joinList(u.connection, value)
	case "sec-websocket-key":
		u.key = value
		u.keys++
	case "sec-websocket-version":
		u.version = value
		u.versions++
	case "sec-websocket-protocol":
		u.subprotocols = joinList(u.subprotocols, value)
	case "origin":
		u.origin, u.hasOrigin = value, true
	case "if-modified-since":
		u.modified = value
	case "content-length":
		u.hasBody = u.hasBody || value != "0"
	case "transfer-encoding":
		u.hasBody = true
	}
}

// verify applies the rules for an upgrade to MQTT over WebSocket. A body is
// refused because its bytes would otherwise be read as frames.
func (u *upgrade) verify(origins []string) (status int, err error) {
	switch {
	case u.method != "GET" && u.method != "HEAD":
		return http.StatusMethodNotAllowed, fmt.Errorf("method is not GET")
	case u.hasBody:
		return http.StatusBadRequest, fmt.Errorf("upgrade request with a body")
	case !listHas(u.upgrade, "websocket", true):
		return http.StatusUpgradeRequired, fmt.Errorf("request does not ask for an upgrade to websocket")
	case !listHas(u.connection, "upgrade", true):
		return http.StatusUpgradeRequired, fmt.Errorf("the Connection header does not contain upgrade")
	case u.versions > 1 || u.versions == 1 && u.version != "13":
		return http.StatusUpgradeRequired, fmt.Errorf("the Sec-WebSocket-Version is not 13")
	case u.keys != 1 || u.key == "":
		return http.StatusBadRequest, fmt.Errorf("the Sec-WebSocket-Key is missing, empty or repeated")
	case u.selected() == "":
		return http.StatusBadRequest, fmt.Errorf("the Sec-WebSocket-Protocol header offers neither mqtt nor mqttv3.1")
	case u.hasOrigin && len(origins) > 0 && !slices.Contains(origins, u.origin):
		return http.StatusForbidden, fmt.Errorf("non-matching http origin")
	}
	return 0, nil
}

// selected returns the subprotocol to agree on: mqtt when it is offered
// [MQTT-6.0.0-4], else mqttv3.1 for clients of MQTT 3.1.
func (u *upgrade) selected() string {
	for _, p := range []string{SubprotocolMQTT, SubprotocolMQTT31} {
		if listHas(u.subprotocols, p, false) {
			return p
		}
	}
	return ""
}
