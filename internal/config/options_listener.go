package config

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/midgemq/midge/mqtt"
)

// maxAutoIDPrefix is the longest prefix of generated client ids in bytes.
const maxAutoIDPrefix = 50

// listenerOptions belong to the listener before them.
var listenerOptions = []Option{
	{
		Name: "accept_protocol_versions", Section: "listener", place: inOwnListener, Reload: NextConnection,
		Values: "a list of `3`, `4`, `5`", Default: "3,4,5",
		Meaning: "Protocol levels that may connect: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0.",
		field:   versionsField{},
	},
	{
		Name: "bind_address", Section: "listener", place: ofImplicit, Values: "host name or address",
		Hint:    "Please use 'listener' instead.",
		Meaning: "Address of the default listener, the one without a `listener` line.",
		field:   textField{at: func(t target) *string { return &t.l.Address }},
	},
	{
		Name: "bind_interface", Section: "listener", place: opensImplicit, Values: "interface name",
		Meaning: "Listen on the addresses of this network interface only. Linux.",
		field:   textField{at: func(t target) *string { return &t.l.BindInterface }},
	},
	{
		Name: "enable_proxy_protocol", Section: "listener", place: inListener, Values: "1 or 2",
		Meaning: "Expect a header of this version of the PROXY protocol before anything else; who sends none is disconnected. Version 2 does not go with `certfile`, `keyfile` or `use_subject_as_username`.",
		field: intField{
			at:    func(t target) *int { return &t.l.ProxyProtocol },
			check: between(1, 2, "Error: Invalid 'enable_proxy_protocol' value (%d)."),
		},
	},
	{
		Name: "http_dir", Section: "listener", place: inListener, Values: "directory",
		Meaning: "Files to serve on an `http_api` or `websockets` listener. The directory must exist.",
		field:   textField{at: func(t target) *string { return &t.l.HTTPDir }, check: existingDir},
	},
	{
		Name: "listener", Section: "listener", Values: "port, then optionally a host name or address; or 0 and the path of a Unix socket",
		Meaning: "Begins the section of a listener; the listener options up to the next one belong to it. Without an address it listens on every IPv4 and IPv6 address.",
		field:   listenerField{}, place: opensSection,
	},
	{
		Name: "listener_allow_anonymous", Section: "listener", place: inListener, Values: boolValues, Reload: AtOnce,
		Meaning: "Wins over `allow_anonymous` for this listener.",
		field:   triField{at: func(t target) **bool { return &t.l.AnonymousOwn }},
	},
	{
		Name: "listener_auto_id_prefix", Section: "listener", place: inListener, Values: "text of at most 50 bytes", Reload: NextConnection,
		Meaning: "Wins over `auto_id_prefix` for this listener.",
		field:   textField{at: func(t target) *string { return &t.l.autoIDPrefix }, check: shortPrefix},
	},
	{
		Name: "max_connections", Section: "listener", place: opensImplicit, Values: "number", Default: "-1", Reload: AtOnce,
		Meaning: "Open sockets of the listener; 0 or less means no limit.",
		field:   intField{at: func(t target) *int { return &t.l.MaxConnections }, check: notNegative},
	},
	{
		Name: "max_qos", Section: "listener", place: opensImplicit, Values: "0 to 2", Reload: NextConnection,
		Meaning: "Highest QoS a client may publish with, and be delivered. MQTT 5 clients are told it. Without the option: 2.",
		field:   qosField{},
	},
	{
		Name: "max_topic_alias", Section: "listener", place: inListener, Values: "0 to 65535", Default: "10", Reload: NextConnection,
		Meaning: "Topic aliases an MQTT 5 client may set towards the broker.",
		field: intField{
			at:    func(t target) *int { return &t.l.MaxTopicAlias },
			check: between(0, math.MaxUint16, "Error: Invalid 'max_topic_alias' value in configuration."),
		},
	},
	{
		Name: "max_topic_alias_broker", Section: "listener", place: inListener, Values: "0 to 65535", Default: "10", Reload: NextConnection,
		Meaning: "Topic aliases the broker sets towards an MQTT 5 client, within the client's own limit.",
		field: intField{
			at:    func(t target) *int { return &t.l.MaxTopicAliasBroker },
			check: between(0, math.MaxUint16, "Error: Invalid 'max_topic_alias_broker' value in configuration."),
		},
	},
	{
		Name: "maximum_qos", Section: "listener", place: opensImplicit, Values: "0 to 2", Reload: NextConnection,
		Meaning: "Same as `max_qos`.",
		field:   qosField{},
	},
	{
		Name: "mount_point", Section: "listener", place: inListener, Values: "text without `+` and `#`", Reload: NextConnection,
		Meaning: "Text in front of every topic and filter of this listener's clients, who do not see it. Nothing is put between; the group of a shared subscription stays in front. What is not below it, `$SYS` included, cannot be reached. Rights are asked for with the whole topic. A second line replaces the first.",
		field:   textField{at: func(t target) *string { return &t.l.MountPoint }, replace: true, check: plainTopic},
	},
	{
		Name: "port", Section: "listener", place: ofImplicit, Values: "1 to 65535",
		Hint:    "Please use 'listener' instead.",
		Meaning: "Port of the default listener, the one without a `listener` line.",
		field:   portField{},
	},
	{
		Name: "protocol", Section: "listener", place: opensImplicit, Values: "`mqtt`, `websockets` or `http_api`", Default: "mqtt",
		Meaning: "What the listener speaks.",
		field:   protocolField{},
	},
	{
		Name: "proxy_protocol_v2_require_tls", Section: "listener", place: inListener, Values: boolValues, Default: "false",
		Meaning: "With version 2 of the PROXY protocol: refuse clients that came to the proxy without TLS.",
		field:   boolField{at: func(t target) *bool { return &t.l.ProxyRequireTLS }},
	},
	{
		Name: "socket_domain", Section: "listener", place: opensImplicit, Values: "`ipv4` or `ipv6`",
		Meaning: "Restricts the listener to one family of addresses.",
		field: wordField{
			at:    func(t target) *string { return &t.l.SocketDomain },
			words: []string{"ipv4", "ipv6"}, wrong: "Error: Invalid 'socket_domain' value (%s).",
		},
	},
	{
		Name: "use_username_as_clientid", Section: "listener", place: opensImplicit, Values: boolValues, Default: "false", Reload: NextConnection,
		Meaning: "The user name becomes the client id, so that each user has one session. Who brings no user name is refused.",
		field:   boolField{at: func(t target) *bool { return &t.l.UseUsernameAsClientID }},
	},
	{
		Name: "websockets_origin", Section: "listener", place: inListener, Values: "origin", Reload: NextConnection,
		Meaning: "An upgrade request with an `Origin` header must have one of these values, whole. May be repeated; without the option any origin passes.",
		field:   originField{},
	},
}

func shortPrefix(_ *parser, s string) (string, string) {
	if len(s) > maxAutoIDPrefix {
		return "", "Error: 'auto_id_prefix' length must be <= 50."
	}
	return s, ""
}

func plainTopic(_ *parser, s string) (string, string) {
	if strings.ContainsAny(s, "+#") {
		return "", "Error: Invalid mount_point '" + s + "'. Does it contain a wildcard character?"
	}
	return s, ""
}

// existingDir resolves http_dir while the file is read, so that a path that is
// not there stops the start.
func existingDir(_ *parser, s string) (string, string) {
	path, err := filepath.Abs(s)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return "", "Error: The 'http_dir' path '" + s + "' does not exist."
	}
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return "", "Error: The 'http_dir' path '" + s + "' is no directory."
	}
	return strings.TrimSuffix(path, string(filepath.Separator)) + string(filepath.Separator), ""
}

// listenerField opens a section.
type listenerField struct{}

func (listenerField) parse(p *parser, _ *Option, rest string) error {
	port, err := p.parseInt("listener port", rest)
	if err != nil {
		return err
	}
	if port < 0 || port > 65535 {
		return p.errorf("Error: Invalid 'port' value (%d).", port)
	}
	_, rest = cutWord(rest)
	address, _ := cutWord(rest)
	if strings.HasPrefix(address, "#") {
		address = ""
	}
	path := ""
	if port == 0 {
		if path, address = address, ""; path == "" {
			return p.errorf("Error: A listener with port 0 must provide a Unix socket path.")
		}
	}
	l := p.addListener()
	l.Port, l.Address, l.Path = port, address, path
	p.listener, p.listens = l, true
	return nil
}

func (listenerField) format(t target) string { return t.l.Name() }
func (listenerField) carry(to, from target) {
	to.l.Port, to.l.Address, to.l.Path = from.l.Port, from.l.Address, from.l.Path
}

// portField is the deprecated option port.
type portField struct{}

func (portField) parse(p *parser, o *Option, rest string) error {
	if p.given[o.Name] {
		p.warning("Warning: Default listener port specified multiple times. Only the latest will be used.")
	}
	n, err := p.parseInt(o.Name, rest)
	if err != nil {
		return err
	}
	if n < 1 || n > 65535 {
		return p.errorf("Error: Invalid 'port' value (%d).", n)
	}
	p.listener.Port = n
	return nil
}

func (portField) format(t target) string { return strconv.Itoa(t.l.Port) }
func (portField) carry(to, from target)  { to.l.Port = from.l.Port }

// protocolField is the option protocol.
type protocolField struct{}

func (protocolField) parse(p *parser, o *Option, rest string) error {
	w, err := p.word(o.Name, rest)
	if err != nil {
		return err
	}
	switch w {
	case string(MQTT), string(WebSockets), string(HTTPAPI):
		p.listener.Protocol = Protocol(w)
		return nil
	}
	return p.errorf("Error: Invalid '%s' value (%s).", o.Name, w)
}

func (protocolField) format(t target) string { return string(t.l.Protocol) }
func (protocolField) carry(to, from target)  { to.l.Protocol = from.l.Protocol }

// qosField is max_qos and its alias.
type qosField struct{}

func (qosField) parse(p *parser, o *Option, rest string) error {
	n, err := p.parseInt(o.Name, rest)
	if err != nil {
		return err
	}
	if n < 0 || n > 2 {
		return p.errorf("Error: 'max_qos' must be between 0 and 2 inclusive.")
	}
	q := mqtt.QoS(n)
	p.listener.MaxQoS = &q
	return nil
}

func (qosField) format(t target) string {
	if t.l.MaxQoS == nil {
		return "2"
	}
	return strconv.Itoa(int(*t.l.MaxQoS))
}

func (qosField) carry(to, from target) { to.l.MaxQoS = from.l.MaxQoS }

// versionsField is accept_protocol_versions. Mosquitto skips elements it does
// not know and then admits nobody; here they are errors.
type versionsField struct{}

func (versionsField) parse(p *parser, o *Option, rest string) error {
	var set VersionSet
	words := strings.FieldsFunc(rest, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' })
	if len(words) == 0 {
		return p.errorf("Error: Empty '%s' value in configuration.", o.Name)
	}
	for _, w := range words {
		if w != "3" && w != "4" && w != "5" {
			return p.errorf("Error: Invalid '%s' value (%s).", o.Name, w)
		}
		set |= 1 << (w[0] - '0')
	}
	p.listener.Versions = set
	return nil
}

func (versionsField) format(t target) string {
	var words []string
	for level := byte(3); level <= 5; level++ {
		if t.l.Versions.Has(level) {
			words = append(words, strconv.Itoa(int(level)))
		}
	}
	return strings.Join(words, ",")
}

func (versionsField) carry(to, from target) { to.l.Versions = from.l.Versions }

// originField is websockets_origin, whose lines add up.
type originField struct{}

func (originField) parse(p *parser, o *Option, rest string) error {
	s, err := p.parseString(o.Name, rest)
	if err != nil {
		return err
	}
	p.listener.WebSocketOrigins = append(p.listener.WebSocketOrigins, s)
	return nil
}

func (originField) format(t target) string { return strings.Join(t.l.WebSocketOrigins, ", ") }
func (originField) carry(to, from target) {
	to.l.WebSocketOrigins = slices.Clone(from.l.WebSocketOrigins)
}
