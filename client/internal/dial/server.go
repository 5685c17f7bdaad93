package dial

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Server is one entry of a list of servers, taken apart.
type Server struct {
	URL    string // as given, without the password that a URL may hold
	kind   transportKind
	secure bool
	host   string // without port; the path of a Unix socket
	addr   string // host:port
	path   string // of the WebSocket
}

type transportKind uint8

const (
	transportStream transportKind = iota
	transportWebSocket
	transportUnix
)

// ParseServer reads a server URL; see Options.Servers for the forms.
func ParseServer(s string) (Server, error) {
	text := s
	if !strings.Contains(text, "://") {
		text = "mqtt://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return Server{}, fmt.Errorf("server %q: %w", s, err)
	}
	if u.User != nil {
		return Server{}, fmt.Errorf("server %q: user name and password belong into the options", u.Redacted())
	}
	srv := Server{URL: s}
	var port string
	switch u.Scheme {
	case "mqtt", "tcp":
		port = "1883"
	case "mqtts", "ssl", "tls", "tcps":
		port, srv.secure = "8883", true
	case "ws":
		port, srv.kind = "80", transportWebSocket
	case "wss":
		port, srv.kind, srv.secure = "443", transportWebSocket, true
	case "unix":
		srv.kind, srv.host, srv.addr = transportUnix, u.Host+u.Path, u.Host+u.Path
		if srv.addr == "" {
			return Server{}, fmt.Errorf("server %q: no path of a socket", s)
		}
		return srv, nil
	default:
		return Server{}, fmt.Errorf("server %q: scheme %q is none of mqtt, mqtts, ws, wss, unix, tcp, tls, ssl", s, u.Scheme)
	}
	if u.Hostname() == "" {
		return Server{}, fmt.Errorf("server %q: no host", s)
	}
	if p := u.Port(); p != "" {
		port = p
	}
	if srv.kind == transportWebSocket {
		if srv.path = u.RequestURI(); srv.path == "/" && u.Path == "" {
			srv.path = "/mqtt"
		}
	} else if u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return Server{}, fmt.Errorf("server %q: a path is only for ws, wss and unix", s)
	}
	srv.host = u.Hostname()
	srv.addr = net.JoinHostPort(srv.host, port)
	return srv, nil
}

// Refer makes the server that a Server Reference names: the first of a list of "host" or "host:port", reached in the same way as
// the one that refers to it (5.0, section 4.11).
func (s Server) Refer(reference string) (Server, error) {
	fields := strings.Fields(reference)
	if len(fields) == 0 {
		return Server{}, fmt.Errorf("server reference %q is empty", reference)
	}
	ref := fields[0]
	if strings.Contains(ref, "://") {
		return ParseServer(ref)
	}
	host, port, err := net.SplitHostPort(ref)
	if err != nil {
		host = strings.Trim(ref, "[]")
		if _, port, err = net.SplitHostPort(s.addr); err != nil {
			port = "1883"
			if s.secure {
				port = "8883"
			}
		}
	}
	if host == "" || strings.ContainsAny(host, "/ ") {
		return Server{}, fmt.Errorf("server reference %q names no host", reference)
	}
	r := Server{kind: s.kind, secure: s.secure, host: host, addr: net.JoinHostPort(host, port), path: s.path}
	if s.kind == transportUnix {
		r.kind = transportStream
	}
	scheme := map[bool]string{false: "mqtt", true: "mqtts"}[r.secure]
	if r.kind == transportWebSocket {
		scheme = map[bool]string{false: "ws", true: "wss"}[r.secure]
	}
	r.URL = scheme + "://" + r.addr + r.path
	return r, nil
}
