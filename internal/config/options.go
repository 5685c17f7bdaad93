package config

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/midgemq/midge/internal/logging"
)

// place says where in a file an option may stand.
type place uint8

const (
	anywhere      place = iota
	inListener          // after a listener, the implicit one included
	inOwnListener       // after a `listener` line
	opensImplicit       // for the current listener; makes the implicit one when there is none
	ofImplicit          // for the implicit listener, which it makes when there is none
	opensSection        // anywhere; the value belongs to the listener it opens
)

// Option is one name that may stand in a configuration file.
type Option struct {
	Name    string
	Section string // where it belongs, for the reference: global, listener, bridge ...
	Values  string // what may follow, for the reference
	Default string // as one would write it; empty means none
	Reload  bool   // a changed value takes effect on SIGHUP
	Own     bool   // midge's, unknown to Mosquitto
	Meaning string
	Hint    string // what to use instead, when the option is deprecated

	place place
	field field  // nil: not supported, or gone
	gone  string // the warning for an option that Mosquitto, too, only swallows
}

// Supported reports whether the option has an effect in this version.
func (o *Option) Supported() bool { return o.field != nil }

func (o *Option) listenerScope() bool { return o.place != anywhere }

const (
	boolValues = "`true` or `false`"

	// defaultLogTypes stands for the four types in the default column.
	defaultLogTypes = "error+warning+notice+information"
)

// options is every option, in alphabetical order. Lookup, defaults, checks,
// reload and the reference come from this table and from nowhere else. Its
// parts stand in the files of their subject.
var options = sorted(brokerOptions)

func sorted(parts ...[]Option) []Option {
	return slices.SortedFunc(slices.Values(slices.Concat(parts...)), func(a, b Option) int { return strings.Compare(a.Name, b.Name) })
}

var brokerOptions = []Option{
	{
		Name: "accept_protocol_versions", Section: "listener", place: inOwnListener,
		Values: "a list of `3`, `4`, `5`", Default: "3,4,5",
		Meaning: "Protocol levels that may connect: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0.",
		field:   versionsField{},
	},
	{
		Name: "allow_anonymous", Section: "global", Values: boolValues,
		Meaning: "Whether a client without user name may connect. Without the option: yes in local-only mode, no otherwise.",
		field:   boolField{at: func(g *Global, _ *Listener) *bool { return &g.AllowAnonymous }},
	},
	{
		Name: "allow_duplicate_messages", Section: "global", Values: boolValues, Default: "true",
		Hint:    "The behaviour will default to true.",
		Meaning: "Whether a 3.1 or 3.1.1 client with overlapping subscriptions gets one copy for each. MQTT 5 clients always do.",
		field:   boolField{at: func(g *Global, _ *Listener) *bool { return &g.AllowDuplicateMessages }},
	},
	{
		Name: "bind_address", Section: "listener", place: ofImplicit, Values: "host name or address",
		Hint:    "Please use 'listener' instead.",
		Meaning: "Address of the default listener, the one without a `listener` line.",
		field:   textField{at: func(_ *Global, l *Listener) *string { return &l.Address }},
	},
	{
		Name: "connection_messages", Section: "global", Values: boolValues, Default: "true", Reload: true,
		Meaning: "Whether clients that come and go are logged.",
		field:   boolField{at: func(g *Global, _ *Listener) *bool { return &g.ConnectionMessages }},
	},
	{
		Name: "control_socket", Section: "global", Own: true, Values: "path, or `none`",
		Meaning: "Unix socket through which `midge status` and the other tools reach the broker. Without the option: `midge.sock` in `$XDG_RUNTIME_DIR`, or `/run/midge/midge.sock` when there is none.",
		field:   textField{at: func(g *Global, _ *Listener) *string { return &g.ControlSocket }},
	},
	{
		Name: "dhparamfile", Section: "none", Values: "path",
		Meaning: "Obsolete: read, warned about, without effect.",
		gone:    "Warning: The '%s' option is not required any more.",
	},
	{
		Name: "global_max_connections", Section: "global", Values: "number", Default: "-1",
		Meaning: "Open sockets over all listeners; 0 or less means no limit.",
		field:   intField{at: func(g *Global, _ *Listener) *int { return &g.GlobalMaxConnections }, check: notNegative},
	},
	{
		Name: "listener", Section: "listener", Values: "port, then optionally a host name or address",
		Meaning: "Begins the section of a listener; the listener options up to the next one belong to it. Without an address it listens on every IPv4 and IPv6 address.",
		field:   listenerField{}, place: opensSection,
	},
	{
		Name: "log_dest", Section: "global", Reload: true, Default: "stderr",
		Values:  "`stderr`, `stdout`, `syslog`, `topic`, `none`, or `file` and a path",
		Meaning: "Where log lines go. Several lines add up; `none` clears those before it. `topic` publishes below `$SYS/broker/log/`.",
		field:   logDestField{},
	},
	{
		Name: "log_facility", Section: "global", Values: "0 to 7", Reload: true,
		Meaning: "Facility for syslog, local0 to local7. Without the option: daemon.",
		field: intField{
			at: func(g *Global, _ *Listener) *int { return &g.LogFacility },
			check: func(n int) (int, string) {
				n, wrong := between(0, 7, "Error: Invalid 'log_facility' value (%d).")(n)
				return n + 1, wrong
			},
		},
	},
	{
		Name: "log_timestamp", Section: "global", Values: boolValues, Default: "true", Reload: true,
		Meaning: "Whether each line begins with the time.",
		field:   boolField{at: func(g *Global, _ *Listener) *bool { return &g.LogTimestamp }},
	},
	{
		Name: "log_timestamp_format", Section: "global", Values: "strftime format", Reload: true,
		Meaning: "Format of the time, in local time. Without the option: seconds since the epoch.",
		field:   textField{at: func(g *Global, _ *Listener) *string { return &g.LogTimestampFormat }},
	},
	{
		Name: "log_type", Section: "global", Default: defaultLogTypes, Reload: true,
		Values:  "`error`, `warning`, `notice`, `information`, `debug`, `subscribe`, `unsubscribe`, `internal`, `websockets`, `none` or `all`",
		Meaning: "Which lines are logged. Several lines add up; `none` clears those before it. Without the option: error, warning, notice and information. `-v` and `-q` win over it.",
		field:   logTypeField{},
	},
	{
		Name: "loops", Section: "global", Own: true, Values: "number", Default: "0",
		Meaning: "Event loops that serve the connections; 0 means one for each CPU.",
		field: intField{
			at:    func(g *Global, _ *Listener) *int { return &g.Loops },
			check: between(0, 1024, "Error: Invalid 'loops' value (%d)."),
		},
	},
	{
		Name: "max_connections", Section: "listener", place: opensImplicit, Values: "number", Default: "-1",
		Meaning: "Open sockets of the listener; 0 or less means no limit.",
		field:   intField{at: func(_ *Global, l *Listener) *int { return &l.MaxConnections }, check: notNegative},
	},
	{
		Name: "max_inflight_messages", Section: "global", Values: "0 to 65535", Default: "20",
		Meaning: "QoS 1 and 2 messages in flight for each client and direction; 0 and 65535 mean no limit. MQTT 5 clients are told it as Receive Maximum.",
		field: intField{
			at: func(g *Global, _ *Listener) *int { return &g.MaxInflightMessages },
			check: func(n int) (int, string) {
				if n > math.MaxUint16 {
					return 0, "Error: 'max_inflight_messages' must be <= 65535."
				}
				if n < 0 || n == math.MaxUint16 {
					return 0, ""
				}
				return n, ""
			},
		},
	},
	{
		Name: "max_keepalive", Section: "global", Values: "seconds, 0 to 65535", Default: "0",
		Meaning: "Longest keep-alive; 0 means no limit. An MQTT 5 client that asks for more is given this one, an older one is refused.",
		field: intField{
			at:    func(g *Global, _ *Listener) *int { return &g.MaxKeepAlive },
			check: between(0, math.MaxUint16, "Error: Invalid 'max_keepalive' value (%d)."),
		},
	},
	{
		Name: "max_output_bytes", Section: "global", Own: true, Values: "bytes, at least 4096", Default: "1048576",
		Meaning: "Bytes that may wait in the output buffer of one connection. At the limit QoS 0 messages for it are dropped and counted, others stay queued.",
		field: intField{
			at:    func(g *Global, _ *Listener) *int { return &g.MaxOutputBytes },
			check: between(4096, math.MaxInt32, "Error: 'max_output_bytes' must be >= 4096."),
		},
	},
	{
		Name: "max_packet_size", Section: "global", Values: "bytes, at least 20", Default: "2000000",
		Meaning: "Longest packet a client may send; MQTT 5 clients are told it. A longer one ends the connection.",
		field: intField{
			at:    func(g *Global, _ *Listener) *int { return &g.MaxPacketSize },
			check: between(20, math.MaxInt32, "Error: 'max_packet_size' must be >= 20."),
		},
	},
	{
		Name: "max_queued_bytes", Section: "global", Values: "bytes", Default: "0",
		Meaning: "Payload bytes of QoS 1 and 2 messages queued for each client; 0 means no limit.",
		field:   intField{at: func(g *Global, _ *Listener) *int { return &g.MaxQueuedBytes }, check: notNegative},
	},
	{
		Name: "max_queued_messages", Section: "global", Values: "number", Default: "1000",
		Meaning: "QoS 1 and 2 messages queued for each client; 0 means no limit.",
		field:   intField{at: func(g *Global, _ *Listener) *int { return &g.MaxQueuedMessages }, check: notNegative},
	},
	{
		Name: "max_topic_alias", Section: "listener", place: inListener, Values: "0 to 65535", Default: "10",
		Meaning: "Topic aliases an MQTT 5 client may set towards the broker.",
		field: intField{
			at:    func(_ *Global, l *Listener) *int { return &l.MaxTopicAlias },
			check: between(0, math.MaxUint16, "Error: Invalid 'max_topic_alias' value in configuration."),
		},
	},
	{
		Name: "max_topic_alias_broker", Section: "listener", place: inListener, Values: "0 to 65535", Default: "10",
		Meaning: "Topic aliases the broker sets towards an MQTT 5 client, within the client's own limit.",
		field: intField{
			at:    func(_ *Global, l *Listener) *int { return &l.MaxTopicAliasBroker },
			check: between(0, math.MaxUint16, "Error: Invalid 'max_topic_alias_broker' value in configuration."),
		},
	},
	{
		Name: "message_size_limit", Section: "global", Values: "bytes, 0 to 268435455", Default: "0",
		Meaning: "Longest payload that is accepted; a message above it is acknowledged, with 0x97 for MQTT 5, and dropped. 0 means no limit. Prefer `max_packet_size`.",
		field:   sizeLimitField{},
	},
	{
		Name: "persistence", Section: "global", Values: "`false`", Default: "false",
		Meaning: "Whether sessions and retained messages survive a restart. This version keeps them in memory and refuses `true`.",
		field:   boolField{at: func(g *Global, _ *Listener) *bool { return &g.Persistence }, refuse: refusePersistence},
	},
	{
		Name: "persistent_client_expiration", Section: "global", Values: "number and `s`, `h`, `d`, `w`, `m` (30 days) or `y` (365 days)",
		Meaning: "How long the session of a client that is away lives at most; without the option there is no bound but the client's own.",
		field:   expirationField{},
	},
	{
		Name: "pid_file", Section: "global", Values: "path",
		Meaning: "File for the process id, removed at the end.",
		field:   textField{at: func(g *Global, _ *Listener) *string { return &g.PIDFile }},
	},
	{
		Name: "port", Section: "listener", place: ofImplicit, Values: "1 to 65535",
		Hint:    "Please use 'listener' instead.",
		Meaning: "Port of the default listener, the one without a `listener` line.",
		field:   portField{},
	},
	{
		Name: "protocol", Section: "listener", place: opensImplicit, Values: "`mqtt` or `websockets`", Default: "mqtt",
		Meaning: "What the listener speaks.",
		field:   protocolField{},
	},
	{
		Name: "retain_available", Section: "global", Values: boolValues, Default: "true",
		Meaning: "Whether messages can be retained. When not, a client that asks for it is disconnected.",
		field:   boolField{at: func(g *Global, _ *Listener) *bool { return &g.RetainAvailable }},
	},
	{
		Name: "retained_persistence", Section: "global", Values: "`false`",
		Meaning: "Same as `persistence`.",
		field:   boolField{at: func(g *Global, _ *Listener) *bool { return &g.Persistence }, refuse: refusePersistence},
	},
	{
		Name: "retry_interval", Section: "none", Values: "number",
		Meaning: "Obsolete: read, warned about, without effect.",
		gone:    "Warning: The '%s' option is no longer available.",
	},
	{
		Name: "set_tcp_nodelay", Section: "global", Values: boolValues, Default: "false",
		Meaning: "Whether Nagle's algorithm is off on accepted sockets.",
		field:   boolField{at: func(g *Global, _ *Listener) *bool { return &g.SetTCPNodelay }},
	},
	{
		Name: "sys_interval", Section: "global", Values: "seconds, 0 to 65535", Default: "10",
		Meaning: "Time between updates of `$SYS`; 0 switches the tree off.",
		field: intField{
			at:    func(g *Global, _ *Listener) *int { return &g.SysInterval },
			check: between(0, math.MaxUint16, "Error: Invalid 'sys_interval' value (%d)."),
		},
	},
	{
		Name: "user", Section: "global", Values: "user name", Default: "mosquitto",
		Meaning: "Whom the broker becomes when root starts it. If `mosquitto` does not exist, `nobody`; `root` keeps the rights, with a warning.",
		field:   textField{at: func(g *Global, _ *Listener) *string { return &g.User }, replace: true},
	},
}

func refusePersistence(v bool) string {
	if v {
		return "Error: The 'persistence true' setting is not supported in this version of midge, which keeps everything in memory. Use 'persistence false'."
	}
	return ""
}

// sizeLimitField is message_size_limit, which comes with a recommendation.
type sizeLimitField struct{}

func (sizeLimitField) parse(p *parser, o *Option, rest string) error {
	const maxPayload = 268435455
	p.report(logging.Notice, "Note: It is recommended to replace `message_size_limit` with `max_packet_size`.")
	n, err := p.parseInt(o.Name, rest)
	if err != nil {
		return err
	}
	if n < 0 || n > maxPayload {
		// Mosquitto reads the number as unsigned.
		return p.errorf("Error: Invalid '%s' value (%d).", o.Name, uint32(n))
	}
	p.c.MessageSizeLimit = n
	return nil
}

func (sizeLimitField) format(g *Global, _ *Listener) string { return fmt.Sprint(g.MessageSizeLimit) }

// unsupported lists the names that Mosquitto 2.1.2 knows and this version
// refuses, by the section they belong to.
var unsupported = map[string]string{
	"global": `allow_zero_length_clientid auto_id_prefix autosave_interval autosave_on_changes check_retain_source
		clientid_prefixes enable_control_api global_max_clients global_plugin include_dir max_inflight_bytes memory_limit
		packet_buffer_size per_listener_settings persistence_file persistence_location plugin_load queue_qos0_messages
		retain_expiry_interval upgrade_outgoing_qos websockets_headers_size websockets_log_level`,
	"listener": `bind_interface cafile capath certfile ciphers ciphers_tls1.3 crlfile disable_client_cert_date_checks
		enable_proxy_protocol http_dir keyfile listener_allow_anonymous listener_auto_id_prefix max_qos maximum_qos
		mount_point plugin_use proxy_protocol_v2_require_tls psk_hint require_certificate socket_domain tls_engine
		tls_engine_kpass_sha1 tls_keyform tls_version use_identity_as_username use_subject_as_username
		use_username_as_clientid websockets_origin`,
	"security": `acl_file auth_plugin auth_plugin_deny_special_chars password_file plugin psk_file`,
	"bridge": `address addresses bridge_alpn bridge_attempt_unsubscribe bridge_bind_address bridge_cafile bridge_capath
		bridge_certfile bridge_ciphers bridge_ciphers_tls1.3 bridge_identity bridge_insecure bridge_keyfile
		bridge_max_packet_size bridge_max_topic_alias bridge_outgoing_retain bridge_protocol_version bridge_psk
		bridge_receive_maximum bridge_reload_type bridge_require_ocsp bridge_session_expiry_interval bridge_tcp_keepalive
		bridge_tcp_user_timeout bridge_tls_use_os_certs bridge_tls_version cleansession clientid connection idle_timeout
		keepalive_interval local_cleansession local_clientid local_password local_username notification_topic
		notifications notifications_local_only password remote_clientid remote_password remote_username restart_timeout
		round_robin start_type threshold topic try_private username`,
}

// unsupportedPrefixes are the families of names whose end is free.
var unsupportedPrefixes = []string{"auth_opt_", "plugin_opt_"}

// byName indexes the table and the refused names.
var byName = index()

func index() map[string]*Option {
	m := make(map[string]*Option, 150)
	for i := range options {
		m[options[i].Name] = &options[i]
	}
	for section, names := range unsupported {
		for _, n := range strings.Fields(names) {
			m[n] = &Option{Name: n, Section: section}
		}
	}
	return m
}

// lookup returns the option called name, nil when Mosquitto does not know it
// either.
func lookup(name string) *Option {
	if o := byName[name]; o != nil {
		return o
	}
	for _, prefix := range unsupportedPrefixes {
		if strings.HasPrefix(name, prefix) {
			return &Option{Name: name, Section: "security"}
		}
	}
	return nil
}
