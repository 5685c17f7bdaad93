package dial

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// dialProxy reaches addr through a proxy: HTTP CONNECT, or SOCKS5 (RFC 1928) with or without user name and password (RFC 1929). The
// proxy resolves the name.
func dialProxy(ctx context.Context, dial dialFunc, proxy, addr string) (net.Conn, error) {
	u, err := url.Parse(proxy)
	if err != nil {
		return nil, errors.New("proxy: not a valid URL") // url's error would repeat a password
	}
	var ask func(net.Conn, *url.URL, string) (net.Conn, error)
	port := u.Port()
	switch u.Scheme {
	case "http", "https":
		ask = askHTTPProxy
		port = orElse(port, map[string]string{"http": "80", "https": "443"}[u.Scheme])
	case "socks5", "socks5h":
		ask = askSOCKS5
		port = orElse(port, "1080")
	default:
		return nil, fmt.Errorf("proxy %s: scheme %q is none of http, https, socks5", u.Redacted(), u.Scheme)
	}
	nc, err := dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", u.Redacted(), err)
	}
	stop := Interrupt(ctx, nc)
	if u.Scheme == "https" {
		nc = tls.Client(nc, &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12})
	}
	through, err := ask(nc, u, addr)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("proxy %s: %w", u.Redacted(), err)
	}
	return through, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// Interrupt makes ctx end what is being read or written on nc. stop ends the watch and reports whether ctx had not ended.
func Interrupt(ctx context.Context, nc net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
}

func askHTTPProxy(nc net.Conn, u *url.URL, addr string) (net.Conn, error) {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if u.User != nil {
		password, _ := u.User.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)))
	}
	if err := req.Write(nc); err != nil {
		return nil, err
	}
	r := bufio.NewReader(io.LimitReader(nc, 64<<10)) // a proxy that answers without end
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("refused: HTTP status %s", resp.Status)
	}
	// Bytes behind the answer belong to the server.
	early, _ := r.Peek(r.Buffered())
	return &prefixedConn{Conn: nc, early: append([]byte(nil), early...)}, nil
}

// prefixedConn gives back what was read too far.
type prefixedConn struct {
	net.Conn
	early []byte // owned by the reading goroutine
}

func (c *prefixedConn) Read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// SOCKS5 words (RFC 1928).
const (
	socksVersion  = 5
	socksNoAuth   = 0
	socksPassword = 2
	socksConnect  = 1
	socksName     = 3
)

var socksReplies = [...]string{
	"succeeded", "general failure", "connection not allowed by ruleset", "network unreachable", "host unreachable",
	"connection refused", "TTL expired", "command not supported", "address type not supported",
}

func askSOCKS5(nc net.Conn, u *url.URL, addr string) (net.Conn, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q: %w", portText, err)
	}
	if len(host) > 255 {
		return nil, errors.New("host name is longer than 255 bytes")
	}
	if err := socksGreet(nc, u.User); err != nil {
		return nil, err
	}
	req := append([]byte{socksVersion, socksConnect, 0, socksName, byte(len(host))}, host...)
	if _, err := nc.Write(append(req, byte(port>>8), byte(port))); err != nil {
		return nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(nc, head[:]); err != nil {
		return nil, err
	}
	if head[0] != socksVersion {
		return nil, errors.New("does not speak SOCKS5")
	}
	if code := int(head[1]); code != 0 {
		if code < len(socksReplies) {
			return nil, errors.New("refused: " + socksReplies[code])
		}
		return nil, fmt.Errorf("refused: code %d", code)
	}
	return nc, skipSOCKSAddress(nc, head[3])
}

// skipSOCKSAddress reads the bound address, of which nobody makes use.
func skipSOCKSAddress(nc net.Conn, kind byte) error {
	n := map[byte]int{1: 4, 4: 16}[kind]
	if kind == socksName {
		var l [1]byte
		if _, err := io.ReadFull(nc, l[:]); err != nil {
			return err
		}
		n = int(l[0])
	} else if n == 0 {
		return fmt.Errorf("address type %d in the reply", kind)
	}
	_, err := io.ReadFull(nc, make([]byte, n+2))
	return err
}

func socksGreet(nc net.Conn, user *url.Userinfo) error {
	hello := []byte{socksVersion, 1, socksNoAuth}
	if user != nil {
		hello = []byte{socksVersion, 2, socksNoAuth, socksPassword}
	}
	if _, err := nc.Write(hello); err != nil {
		return err
	}
	var answer [2]byte
	if _, err := io.ReadFull(nc, answer[:]); err != nil {
		return err
	}
	switch {
	case answer[0] != socksVersion:
		return errors.New("does not speak SOCKS5")
	case answer[1] == socksNoAuth:
		return nil
	case answer[1] != socksPassword || user == nil:
		return errors.New("wants an authentication that was not offered")
	}
	name := user.Username()
	password, _ := user.Password()
	if len(name) > 255 || len(password) > 255 {
		return errors.New("user name or password is longer than 255 bytes")
	}
	msg := append([]byte{1, byte(len(name))}, name...)
	msg = append(append(msg, byte(len(password))), password...)
	if _, err := nc.Write(msg); err != nil {
		return err
	}
	if _, err := io.ReadFull(nc, answer[:]); err != nil {
		return err
	}
	if answer[1] != 0 {
		return errors.New("user name or password refused")
	}
	return nil
}
