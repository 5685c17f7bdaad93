package reach

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
)

// Options say which broker, how to get there and who to be.
type Options struct {
	Host string
	Port int    // 0: the transport's usual one
	Unix string // path of a socket, in place of host and port
	TLS  bool
	WS   bool
	Path string // of the WebSocket; empty means /mqtt

	Version   mqtt.Version // 0: 5.0, then 3.1.1 if the broker refuses it
	ClientID  string
	User      string
	Password  *string
	KeepAlive int // seconds
	Timeout   time.Duration

	CAFile, CertFile, KeyFile string
	// CertificateAsked, when not nil, is called when the broker asks for a
	// certificate and there is none to give.
	CertificateAsked func()
	Insecure         bool
	ServerName       string
	ALPN             string
	Subprotocol      string
	Header           http.Header

	// Topic is what a URL's path names where the transport has no path of its own, as mqtt://host/topic.
	Topic string
}

// Defaults are the options of a tool that was told nothing.
func Defaults() Options {
	return Options{Host: "localhost", KeepAlive: 60, Timeout: 10 * time.Second}
}

// Flags is the table of connection flags. skip names short letters that the tool uses for something else.
func (o *Options) Flags(skip string) []Flag {
	host := func(v string) error {
		if v == "" {
			return errors.New("no host")
		}
		if strings.Contains(v, "://") {
			return o.SetURL(v)
		}
		o.Host = v
		return nil
	}
	table := []Flag{
		{Short: "b", Long: "broker", Arg: "HOST", Help: "host name or address of the broker, or its URL (localhost)", Set: host},
		{Short: "h", Long: "host", Arg: "HOST", Help: "the same", Set: host},
		{Short: "L", Long: "url", Arg: "URL", Help: "mqtt://, mqtts://, ws://, wss:// or unix://, with user:password@ if need be", Set: o.SetURL},
		Number("p", "port", "PORT", "port (1883; 8883 TLS, 80 ws, 443 wss)", &o.Port, 1, 65535),
		Text("u", "username", "NAME", "user name", &o.User),
		{Short: "P", Long: "password", Arg: "TEXT", Help: "password", Set: func(v string) error { o.Password = &v; return nil }},
		Text("i", "id", "TEXT", "client identifier (a random one)", &o.ClientID),
		{Short: "V", Long: "protocol-version", Arg: "VERSION", Help: "31, 311 or 5 (5, and 311 where the broker refuses it)", Set: o.setVersion},
		Number("k", "keepalive", "SECONDS", "keep alive (60)", &o.KeepAlive, 0, mqtt.MaxKeepAlive),
		Duration("", "timeout", "SECONDS", "how long each step may take (10)", &o.Timeout),
		Switch("", "tls", "use TLS", &o.TLS),
		{Long: "cafile", Arg: "FILE", Help: "certificates to trust, PEM; implies --tls (the system's)", Set: func(v string) error {
			o.CAFile, o.TLS = v, true
			return nil
		}},
		Text("", "cert", "FILE", "own certificate, PEM", &o.CertFile),
		Text("", "key", "FILE", "key of the own certificate, PEM", &o.KeyFile),
		Switch("", "insecure", "do not check the broker's certificate", &o.Insecure),
		Text("", "servername", "NAME", "name that the certificate must have (the host)", &o.ServerName),
		Text("", "alpn", "NAME", "application protocol offered in TLS", &o.ALPN),
		Switch("", "ws", "use WebSocket", &o.WS),
		{Long: "ws-path", Arg: "PATH", Help: "path of the WebSocket; implies --ws (/mqtt)", Set: func(v string) error {
			o.Path, o.WS = v, true
			return nil
		}},
		Text("", "ws-subprotocol", "NAME", "subprotocol offered (mqtt)", &o.Subprotocol),
		{Long: "header", Arg: "TEXT", Help: "further header line of the WebSocket request, Name: value", Set: o.setHeader},
		Text("", "unix", "PATH", "Unix socket in place of host and port", &o.Unix),
	}
	for i := range table {
		if table[i].Short != "" && strings.Contains(skip, table[i].Short) {
			table[i].Short = ""
		}
	}
	return table
}

func (o *Options) setVersion(v string) error {
	switch strings.ToLower(v) {
	case "31", "3.1", "3", "mqttv31":
		o.Version = mqtt.V31
	case "311", "3.1.1", "4", "mqttv311":
		o.Version = mqtt.V311
	case "5", "5.0", "mqttv5":
		o.Version = mqtt.V5
	default:
		return fmt.Errorf("%q is none of 31, 311, 5", v)
	}
	return nil
}

func (o *Options) setHeader(v string) error {
	key, value, ok := strings.Cut(v, ":")
	if !ok || key == "" {
		return fmt.Errorf("%q is not of the form Name: value", v)
	}
	if o.Header == nil {
		o.Header = http.Header{}
	}
	o.Header.Add(strings.TrimSpace(key), strings.TrimSpace(value))
	return nil
}

// SetURL takes everything that a URL says, "host" and "host:port" too. Errors never repeat a password.
func (o *Options) SetURL(v string) error {
	if !strings.Contains(v, "://") {
		v = "mqtt://" + v
	}
	u, err := url.Parse(v)
	if err != nil {
		return errors.New("not a valid URL")
	}
	switch u.Scheme {
	case "mqtt", "tcp":
	case "mqtts", "ssl", "tls":
		o.TLS = true
	case "ws":
		o.WS = true
	case "wss":
		o.WS, o.TLS = true, true
	case "unix":
		if o.Unix = u.Host + u.Path; o.Unix == "" {
			return errors.New("no path of a socket")
		}
		return nil
	default:
		return fmt.Errorf("scheme %q is none of mqtt, mqtts, ws, wss, unix, tcp, tls, ssl", u.Scheme)
	}
	if u.Hostname() == "" {
		return errors.New("no host")
	}
	o.Host = u.Hostname()
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("port %q is no number from 1 to 65535", p)
		}
		o.Port = int(n)
	}
	if u.User != nil {
		o.User = u.User.Username()
		if p, ok := u.User.Password(); ok {
			o.Password = &p
		}
	}
	if o.WS {
		if u.Path != "" {
			o.Path = u.RequestURI()
		}
	} else {
		o.Topic = strings.TrimPrefix(u.Path, "/")
	}
	return nil
}

// port is the one given or the transport's usual.
func (o *Options) port() int {
	switch {
	case o.Port != 0:
		return o.Port
	case o.WS && o.TLS:
		return 443
	case o.WS:
		return 80
	case o.TLS:
		return 8883
	}
	return 1883
}

// Address is host:port as people write it, or the path of the Unix socket.
func (o *Options) Address() string {
	if o.Unix != "" {
		return o.Unix
	}
	return net.JoinHostPort(o.Host, strconv.Itoa(o.port()))
}

// URL names the broker, without user and password.
func (o *Options) URL() string {
	if o.Unix != "" {
		return "unix://" + o.Unix
	}
	scheme := "mqtt"
	switch {
	case o.WS && o.TLS:
		scheme = "wss"
	case o.WS:
		scheme = "ws"
	case o.TLS:
		scheme = "mqtts"
	}
	path := ""
	if o.WS {
		path = o.path()
	}
	return scheme + "://" + o.Address() + path
}

func (o *Options) path() string {
	if o.Path == "" {
		return "/mqtt"
	}
	if !strings.HasPrefix(o.Path, "/") {
		return "/" + o.Path
	}
	return o.Path
}

// Client translates the options for package client, whose Dial it leaves alone.
func (o *Options) Client() (client.Options, error) {
	c := client.Options{
		Servers: []string{o.URL()}, Version: o.Version, ClientID: o.ClientID, UserName: o.User,
		KeepAlive: time.Duration(o.KeepAlive) * time.Second, ConnectTimeout: o.Timeout, Header: o.Header,
	}
	if o.KeepAlive == 0 {
		c.KeepAlive = -1
	}
	if o.Password != nil {
		c.Password = []byte(*o.Password)
	}
	if o.TLS {
		t, err := o.tlsConfig()
		if err != nil {
			return c, err
		}
		c.TLS = t
	}
	return c, nil
}

// SetBroker takes the words that were no flags: none, or one broker as SetURL
// reads it.
func (o *Options) SetBroker(rest []string) error {
	if len(rest) == 0 {
		return nil
	}
	if len(rest) > 1 {
		return fmt.Errorf("unexpected argument %q: one broker at a time", rest[1])
	}
	if err := o.SetURL(rest[0]); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	return nil
}
