package config

import (
	"math"
	"strconv"
	"strings"

	"github.com/midgemq/midge/mqtt"
)

const (
	mixedBridge   = "Error: Cannot use both certificate and psk encryption in a single bridge."
	mixedIdentity = "Error: Cannot use both certificate and identity encryption in a single bridge."
)

// maxALPN is the longest name of an application protocol in bytes.
const maxALPN = 254

// bridgeOptions belong to the connection before them.
var bridgeOptions = inBridges([]Option{
	{Name: "address", Meaning: "Remote brokers, in order of preference.", Values: "`host[:port] ...`", field: addressField{}},
	{Name: "addresses", Meaning: "Same as `address`.", Values: "`host[:port] ...`", field: addressField{}},
	bridgeText("bridge_alpn", "Application protocol to offer in TLS.", func(b *Bridge) *string { return &b.TLS.ALPN }, textField{check: shortALPN}),
	bridgeBool("bridge_attempt_unsubscribe", "true", "Whether topics that only go out are unsubscribed at each connect.", func(b *Bridge) *bool { return &b.AttemptUnsubscribe }),
	bridgeText("bridge_bind_address", "Local address to connect from.", func(b *Bridge) *string { return &b.BindAddress }, textField{}),
	bridgeText("bridge_cafile", "Certificates to trust; switches TLS on.", func(b *Bridge) *string { return &b.TLS.CAFile }, textField{check: noBridgePSK}),
	bridgeText("bridge_capath", "Directory of certificates to trust; switches TLS on.", func(b *Bridge) *string { return &b.TLS.CAPath }, textField{check: noBridgePSK}),
	bridgeText("bridge_certfile", "Client certificate.", func(b *Bridge) *string { return &b.TLS.CertFile }, textField{check: noBridgePSK}),
	bridgeText("bridge_ciphers", "Ciphers for TLS 1.2 and older.", func(b *Bridge) *string { return &b.TLS.Ciphers }, textField{}),
	bridgeText("bridge_ciphers_tls1.3", "Ciphers for TLS 1.3.", func(b *Bridge) *string { return &b.TLS.Ciphers13 }, textField{}),
	bridgeText("bridge_identity", "Identity of the pre-shared key.", func(b *Bridge) *string { return &b.TLS.Identity }, textField{check: noBridgeCertificate(mixedIdentity)}),
	bridgeBool("bridge_insecure", "false", "Whether the name in the server's certificate goes unchecked.", func(b *Bridge) *bool { return &b.TLS.Insecure }),
	bridgeText("bridge_keyfile", "Client key.", func(b *Bridge) *string { return &b.TLS.KeyFile }, textField{replace: true, check: noBridgePSK}),
	bridgeInt("bridge_max_packet_size", "0", "bytes", "Longest packet to send; 0 means no limit.", intField{check: notNegative}, func(b *Bridge) *int { return &b.MaxPacketSize }),
	bridgeInt("bridge_max_topic_alias", "10", "0 to 65535", "Topic aliases in each direction.",
		intField{check: between(0, math.MaxUint16, "Error: Invalid 'bridge_max_topic_alias' value in configuration.")}, func(b *Bridge) *int { return &b.MaxTopicAlias }),
	bridgeBool("bridge_outgoing_retain", "true", "Whether the retain flag stays on what goes out.", func(b *Bridge) *bool { return &b.OutgoingRetain }),
	{Name: "bridge_protocol_version", Default: "mqttv311", Meaning: "Version to speak.", Values: "`mqttv31`, `mqttv311` or `mqttv50`", field: bridgeVersionField{}},
	bridgeText("bridge_psk", "Pre-shared key, in hexadecimal.", func(b *Bridge) *string { return &b.TLS.PSK }, textField{check: noBridgeCertificate(mixedBridge)}),
	bridgeInt("bridge_receive_maximum", "", "1 to 65535", "Receive Maximum to ask for.",
		intField{check: between(1, math.MaxUint16, "Error: Invalid 'bridge_receive_maximum' value (%d).")}, func(b *Bridge) *int { return &b.ReceiveMaximum }),
	bridgeWord("bridge_reload_type", "lazy", []string{"lazy", "immediate"}, "When a reload takes effect.", "Error: Invalid 'bridge_reload_type' value (%s).", func(b *Bridge) *string { return &b.ReloadType }),
	bridgeBool("bridge_require_ocsp", "false", "Whether the server must staple an OCSP response.", func(b *Bridge) *bool { return &b.TLS.RequireOCSP }),
	bridgeInt("bridge_session_expiry_interval", "0", "seconds", "Session expiry to ask for.",
		intField{check: between(0, math.MaxInt32, "Error: Invalid 'bridge_session_expiry_interval' value (%d).")}, func(b *Bridge) *int { return &b.SessionExpiry }),
	{Name: "bridge_tcp_keepalive", Meaning: "Keep-alive of the socket.", Values: "idle, interval and count", field: tcpKeepAliveField{}},
	bridgeInt("bridge_tcp_user_timeout", "0", "milliseconds", "How long sent data may stay unacknowledged.",
		intField{check: between(0, math.MaxInt32, "Error: Invalid 'bridge_tcp_user_timeout' value (%d).")}, func(b *Bridge) *int { return &b.TCPUserTimeout }),
	bridgeBool("bridge_tls_use_os_certs", "false", "Whether the system's certificates are trusted; switches TLS on.", func(b *Bridge) *bool { return &b.TLS.UseOSCerts }),
	bridgeText("bridge_tls_version", "Lowest version of TLS.", func(b *Bridge) *string { return &b.TLS.Version }, textField{}),
	bridgeBool("cleansession", "false", "Whether the remote session starts anew each time.", func(b *Bridge) *bool { return &b.CleanSession }),
	bridgeText("clientid", "Same as `remote_clientid`.", func(b *Bridge) *string { return &b.RemoteClientID }, textField{}),
	{Name: "connection", place: anywhere, Meaning: "Begins the section of a bridge.", Values: "name", field: connectionField{}},
	bridgeInt("idle_timeout", "60", "seconds", "How long a lazy bridge stays connected without traffic.",
		intField{check: atLeast(1), raise: "idle_timeout interval too low, using 1 second."}, func(b *Bridge) *int { return &b.IdleTimeout }),
	bridgeInt("keepalive_interval", "60", "seconds, 5 to 65535", "Keep-alive towards the remote broker.", intField{
		raise: "keepalive interval too low, using 5 seconds.",
		check: func(n int) (int, string) {
			if n > math.MaxUint16 {
				return 0, "Error: Bridge keepalive value too high."
			}
			return max(n, 5), ""
		},
	}, func(b *Bridge) *int { return &b.KeepAlive }),
	{
		Name: "local_cleansession", Meaning: "Whether the local session starts anew; follows `cleansession`.", Values: boolValues,
		field: triField{at: func(t target) **bool { return &t.b.LocalCleanSession }},
	},
	bridgeText("local_clientid", "Client id here.", func(b *Bridge) *string { return &b.LocalClientID }, textField{}),
	bridgeText("local_password", "Password here.", func(b *Bridge) *string { return &b.LocalPassword }, textField{}),
	bridgeText("local_username", "User name here.", func(b *Bridge) *string { return &b.LocalUserName }, textField{}),
	bridgeText("notification_topic", "Topic of the bridge's state.", func(b *Bridge) *string { return &b.NotificationTopic }, textField{}),
	bridgeBool("notifications", "true", "Whether the bridge's state is published.", func(b *Bridge) *bool { return &b.Notifications }),
	bridgeBool("notifications_local_only", "false", "Whether that is done here only.", func(b *Bridge) *bool { return &b.NotificationsLocalOnly }),
	bridgeText("password", "Same as `remote_password`.", func(b *Bridge) *string { return &b.RemotePassword }, textField{}),
	bridgeText("remote_clientid", "Client id there.", func(b *Bridge) *string { return &b.RemoteClientID }, textField{}),
	bridgeText("remote_password", "Password there.", func(b *Bridge) *string { return &b.RemotePassword }, textField{}),
	bridgeText("remote_username", "User name there.", func(b *Bridge) *string { return &b.RemoteUserName }, textField{}),
	{Name: "restart_timeout", Meaning: "Delay before a new attempt.", Values: "base, then optionally cap and stable time, seconds", field: restartField{}},
	bridgeBool("round_robin", "false", "Whether all addresses are equal.", func(b *Bridge) *bool { return &b.RoundRobin }),
	{Name: "start_type", Default: "automatic", Meaning: "When to connect.", Values: "`automatic`, `lazy` or `once`", field: startTypeField{}},
	bridgeInt("threshold", "10", "number", "Waiting messages at which a lazy bridge connects.",
		intField{check: atLeast(1), raise: "threshold too low, using 1 message."}, func(b *Bridge) *int { return &b.Threshold }),
	{Name: "topic", Meaning: "Which topics cross, in which direction.", Values: "`pattern [direction [qos [local-prefix [remote-prefix]]]]`", field: topicField{}},
	bridgeBool("try_private", "true", "Whether to say that this is a bridge.", func(b *Bridge) *bool { return &b.TryPrivate }),
	bridgeText("username", "Same as `remote_username`.", func(b *Bridge) *string { return &b.RemoteUserName }, textField{}),
})

// inBridges completes what all options of a bridge share.
func inBridges(list []Option) []Option {
	for i := range list {
		o := &list[i]
		o.Section, o.Reload = "bridge", AtOnce
		if o.Name != "connection" {
			o.place = inBridge
		}
	}
	return list
}

func bridgeBool(name, def, meaning string, at func(*Bridge) *bool) Option {
	return Option{
		Name: name, Default: def, Values: boolValues, Meaning: meaning,
		field: boolField{at: func(t target) *bool { return at(t.b) }, then: warnInsecure(name)},
	}
}

// warnInsecure warns about bridge_insecure; nil for the other options.
func warnInsecure(name string) func(*parser, bool) string {
	if name != "bridge_insecure" {
		return nil
	}
	return func(p *parser, v bool) string {
		if v {
			p.warning("Warning: Bridge %s using insecure mode.", p.bridge.Name)
		}
		return ""
	}
}

func bridgeText(name, meaning string, at func(*Bridge) *string, f textField) Option {
	f.at = func(t target) *string { return at(t.b) }
	return Option{Name: name, Values: "text", Meaning: meaning, field: f}
}

func bridgeInt(name, def, values, meaning string, f intField, at func(*Bridge) *int) Option {
	f.at = func(t target) *int { return at(t.b) }
	return Option{Name: name, Default: def, Values: values, Meaning: meaning, field: f}
}

func bridgeWord(name, def string, words []string, meaning, wrong string, at func(*Bridge) *string) Option {
	return Option{
		Name: name, Default: def, Values: "`" + strings.Join(words, "` or `") + "`", Meaning: meaning,
		field: wordField{at: func(t target) *string { return at(t.b) }, words: words, wrong: wrong},
	}
}

func shortALPN(_ *parser, s string) (string, string) {
	if len(s) > maxALPN {
		return "", "Error: 'bridge_alpn' length must be <= 254."
	}
	return s, ""
}

func noBridgePSK(p *parser, s string) (string, string) {
	if p.bridge.TLS.PSK != "" || p.bridge.TLS.Identity != "" {
		return "", mixedBridge
	}
	return s, ""
}

func noBridgeCertificate(wrong string) func(*parser, string) (string, string) {
	return func(p *parser, s string) (string, string) {
		if p.bridge.TLS.certificates() {
			return "", wrong
		}
		return s, ""
	}
}

// connectionField opens the section of a bridge.
type connectionField struct{}

func (connectionField) parse(p *parser, o *Option, rest string) error {
	name, err := p.word(o.Name, rest)
	if err != nil {
		return err
	}
	for _, b := range p.c.Bridges {
		if b.Name == name {
			return p.errorf("Error: Duplicate bridge name '%s'.", name)
		}
	}
	b := &Bridge{Name: name, File: p.file, Line: p.line, RestartBase: 5, RestartCap: 30}
	applyDefaults(target{g: new(Global), b: b}, perBridge)
	p.c.Bridges = append(p.c.Bridges, b)
	p.bridge = b
	return nil
}

func (connectionField) format(target) string { return "" }
func (connectionField) carry(_, _ target)    {}

// addressField is address: the last colon of each word separates the port.
type addressField struct{}

func (addressField) parse(p *parser, o *Option, rest string) error {
	if len(p.bridge.Addresses) > 0 {
		return p.errorf("Error: Duplicate '%s' value in configuration.", o.Name)
	}
	if _, err := p.word(o.Name, rest); err != nil {
		return err
	}
	for _, w := range strings.Fields(rest) {
		if w[0] == '#' {
			break
		}
		a := Address{Host: w, Port: defaultPort}
		if i := strings.LastIndexByte(w, ':'); i >= 0 {
			port, err := strconv.Atoi(w[i+1:])
			if err != nil {
				port = 0
			}
			if port < 1 || port > math.MaxUint16 {
				return p.errorf("Error: Invalid 'port' value (%d).", port)
			}
			a = Address{Host: w[:i], Port: port}
		}
		p.bridge.Addresses = append(p.bridge.Addresses, a)
	}
	return nil
}

func (addressField) format(target) string { return "" }
func (addressField) carry(_, _ target)    {}

// bridgeVersionField is bridge_protocol_version, whose value is the whole rest
// of the line.
type bridgeVersionField struct{}

func (bridgeVersionField) parse(p *parser, o *Option, rest string) error {
	switch v := strings.TrimLeft(rest, " "); v {
	case "":
		return p.errorf("Error: Empty '%s' value in configuration.", o.Name)
	case "mqttv31", "mqttv311", "mqttv50":
		p.bridge.ProtocolVersion = v
		return nil
	default:
		return p.errorf("Error: Invalid '%s' value (%s).", o.Name, v)
	}
}

func (bridgeVersionField) format(t target) string { return t.b.ProtocolVersion }
func (bridgeVersionField) carry(to, from target)  { to.b.ProtocolVersion = from.b.ProtocolVersion }

// startTypeField is start_type.
type startTypeField struct{}

func (startTypeField) parse(p *parser, o *Option, rest string) error {
	w, err := p.word(o.Name, rest)
	if err != nil {
		return err
	}
	switch w {
	case "automatic", "lazy", "once":
		p.bridge.StartType = w
		return nil
	case "manual":
		return p.errorf("Error: Manual 'start_type' not supported.")
	}
	return p.errorf("Error: Invalid '%s' value in configuration (%s).", o.Name, w)
}

func (startTypeField) format(t target) string { return t.b.StartType }
func (startTypeField) carry(to, from target)  { to.b.StartType = from.b.StartType }

// tcpKeepAliveField is bridge_tcp_keepalive: three numbers, all of them.
type tcpKeepAliveField struct{}

func (tcpKeepAliveField) parse(p *parser, o *Option, rest string) error {
	var n [3]int
	for i, label := range []string{"bridge_tcp_keepalive idle", "bridge_tcp_keepalive interval", "bridge_tcp_keepalive counter"} {
		var err error
		if n[i], err = p.parseInt(label, rest); err != nil {
			return err
		}
		if n[i] < 1 {
			return p.errorf("Error: Invalid '%s' value (%d).", label, n[i])
		}
		_, rest = cutWord(rest)
	}
	p.bridge.TCPKeepAlive = n
	return nil
}

func (tcpKeepAliveField) format(target) string { return "" }
func (tcpKeepAliveField) carry(_, _ target)    {}

// restartField is restart_timeout: one number for a constant delay, a second
// for the longest, a third for what counts as a stable connection.
type restartField struct{}

func (restartField) parse(p *parser, o *Option, rest string) error {
	base, err := p.parseInt(o.Name, rest)
	if err != nil {
		return err
	}
	if base < 1 {
		p.notice("restart_timeout interval too low, using 1 second.")
		base = 1
	}
	if base > 3600 {
		p.notice("restart_timeout interval too high, using 3600 seconds.")
		base = 3600
	}
	b := p.bridge
	b.RestartBase, b.RestartCap, b.RestartStable = base, 0, 0
	_, rest = cutWord(rest)
	if w, _ := cutWord(rest); w == "" {
		return nil
	}
	limit, err := p.parseInt("restart_timeout cap", rest)
	if err != nil {
		return err
	}
	if limit < base {
		return p.errorf("Error: backoff cap is lower than the base in restart_timeout.")
	}
	if limit > 7200 {
		p.notice("restart_timeout cap too high, using 7200 seconds.")
		limit = 7200
	}
	b.RestartCap = limit
	_, rest = cutWord(rest)
	if w, _ := cutWord(rest); w == "" {
		return nil
	}
	stable, err := p.parseInt("restart_timeout stable connection period", rest)
	if err != nil {
		return err
	}
	if stable < 0 {
		return p.errorf("Error: Invalid 'restart_timeout' stable connection period (%d).", stable)
	}
	b.RestartStable = stable
	return nil
}

func (restartField) format(target) string { return "" }
func (restartField) carry(_, _ target)    {}

// topicField is topic.
type topicField struct{}

func (topicField) parse(p *parser, o *Option, rest string) error {
	pattern, rest := cutQuoted(rest)
	if pattern == "" {
		return p.errorf("Error: Empty '%s' value in configuration.", o.Name)
	}
	t := BridgeTopic{Pattern: pattern, Direction: "out"}
	w, rest := cutWord(rest)
	switch strings.ToLower(w) {
	case "", "out":
	case "in", "both":
		t.Direction = strings.ToLower(w)
	default:
		return p.errorf("Error: Invalid bridge topic direction '%s'.", w)
	}
	if w, rest = cutWord(rest); w != "" && w[0] != '#' {
		if len(w) != 1 || w[0] < '0' || w[0] > '2' {
			return p.errorf("Error: Invalid bridge QoS level '%s'.", w)
		}
		t.QoS = int(w[0] - '0')
		var wrong string
		if t.LocalPrefix, t.RemotePrefix, wrong = prefixes(rest); wrong != "" {
			return p.errorf("%s", wrong)
		}
	}
	if t.Pattern == `""` {
		if t.LocalPrefix == "" || t.RemotePrefix == "" {
			return p.errorf("Error: Invalid bridge remapping.")
		}
		t.Pattern = ""
	}
	for _, whole := range []string{t.LocalPrefix + t.Pattern, t.RemotePrefix + t.Pattern} {
		if err := mqtt.CheckFilter(whole); err != nil {
			return p.errorf("Error: Invalid bridge topic '%s': %v.", whole, err)
		}
	}
	for _, old := range p.bridge.Topics {
		if old == t {
			p.notice("Duplicate bridge topic '%s', skipping", t.Pattern)
			return nil
		}
	}
	p.bridge.Topics = append(p.bridge.Topics, t)
	return nil
}

func (topicField) format(target) string { return "" }
func (topicField) carry(_, _ target)    {}

// prefixes reads the two optional words behind the QoS.
func prefixes(rest string) (local, remote, wrong string) {
	out := [2]string{}
	for i, side := range []string{"local", "remote"} {
		var w string
		w, rest = cutWord(rest)
		if w == "" || w[0] == '#' {
			break
		}
		if w == `""` {
			continue
		}
		if strings.ContainsAny(w, "+#") {
			return "", "", "Error: Invalid bridge topic " + side + " prefix '" + w + "'."
		}
		out[i] = w
	}
	return out[0], out[1], ""
}

// cutQuoted is cutWord for a pattern, which may stand in quotes when a blank is
// in it.
func cutQuoted(s string) (word, rest string) {
	s = strings.TrimLeft(s, " ")
	if len(s) > 1 && s[0] == '"' && s[1] != '"' {
		if i := strings.IndexByte(s[1:], '"'); i >= 0 {
			return s[1 : 1+i], strings.TrimPrefix(s[2+i:], " ")
		}
	}
	return cutWord(s)
}
