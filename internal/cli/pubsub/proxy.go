package pubsub

import (
	"net"
	"net/url"
	"strings"
)

// proxyURL puts the parts of --proxy together again, in the form that package client takes.
func (o *options) proxyURL(login, host, port string) error {
	u := url.URL{Scheme: "socks5h", Host: net.JoinHostPort(host, port)}
	if login != "" {
		name, password, hasPassword := strings.Cut(login, ":")
		name, ok := unescape(name)
		if !ok || name == "" {
			return usagef("Invalid proxy.")
		}
		u.User = url.User(name)
		if hasPassword {
			if password, ok = unescape(password); !ok {
				return usagef("Invalid proxy.")
			}
			u.User = url.UserPassword(name, password)
		}
	}
	o.proxy = u.String()
	return nil
}

// unescape decodes the escapes of user name and password.
func unescape(s string) (string, bool) {
	out := strings.NewReplacer("%25", "\x00", "%3A", ":", "%3a", ":", "%40", "@").Replace(s)
	if strings.ContainsAny(out, "%") {
		return "", false
	}
	return strings.ReplaceAll(out, "\x00", "%"), !strings.Contains(s, "\x00")
}
