package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/mqtt"
)

// optionCase is one row of the table test. Text stands for a whole file; %s
// in get's result is never used.
type optionCase struct {
	option string
	get    func(*Config) any
	def    any            // value in a file with only a listener line
	good   map[string]any // value text -> value
	bad    map[string]string
	prefix string // lines before the option

	// open: the text is no whole configuration; it is read and not finished.
	open bool
}

// load reads a file with the case's text in it.
func (c *optionCase) load(t *testing.T, text string) *Config {
	t.Helper()
	got, err := c.try(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (c *optionCase) try(t *testing.T, text string) (*Config, error) {
	t.Helper()
	if !c.open {
		got, _, err := load(t, text, Args{})
		return got, err
	}
	p := newParser(nil)
	if err := p.read("t.conf", strings.NewReader(text)); err != nil {
		return nil, err
	}
	return p.c, nil
}

func global[T any](f func(*Global) T) func(*Config) any {
	return func(c *Config) any { return f(&c.Global) }
}

func first[T any](f func(*Listener) T) func(*Config) any {
	return func(c *Config) any { return f(c.Listeners[0]) }
}

const (
	listenerFirst = "listener 1884\n"
	bridgeFirst   = "connection b\n"
)

// bridged reads the first bridge; without one what a new bridge has.
func bridged[T any](f func(*Bridge) T) func(*Config) any {
	return func(c *Config) any {
		if len(c.Bridges) == 0 {
			p := newParser(nil)
			if err := p.read("", strings.NewReader(bridgeFirst)); err != nil {
				panic(err)
			}
			return f(p.c.Bridges[0])
		}
		return f(c.Bridges[0])
	}
}

// textCase adds to the rows that every text shares. A second line replaces the
// first, or is an error.
func textCase(name string, replace bool, get func(*Config) any) optionCase {
	c := optionCase{
		option: name, get: get, def: "", open: true,
		good: map[string]any{"x": "x", "  a b  ": "a b", "a # b": "a # b"},
		bad: map[string]string{
			"":      "Error: Empty '" + name + "' value in configuration.",
			"a\x01": "Error: Malformed UTF-8 in configuration.",
		},
	}
	if second := "1\n" + name + " 2"; replace {
		c.good[second] = "2"
	} else {
		c.bad[second] = "Error: Duplicate '" + name + "' value in configuration."
	}
	return c
}

// with adds rows.
func (c optionCase) with(good map[string]any, bad map[string]string) optionCase {
	for k, v := range good {
		c.good[k] = v
	}
	for k, v := range bad {
		c.bad[k] = v
	}
	return c
}

// refusedCase is an option that midge knows and does not carry out.
func refusedCase(name, why string, values ...string) optionCase {
	c := optionCase{option: name, open: true, get: func(*Config) any { return nil }, bad: map[string]string{
		"": "Error: Empty '" + name + "' value in configuration.",
	}}
	for _, v := range values {
		c.bad[v] = "Error: The '" + name + "' option is not supported by midge. " + why
	}
	return c
}

func boolCase(name string, def bool, get func(*Config) any) optionCase {
	return optionCase{
		option: name, get: get, def: def,
		good: map[string]any{"true": true, "1": true, "false": false, "0": false, "  true  # comment": true},
		bad: map[string]string{
			"":     "Error: Empty '" + name + "' value in configuration.",
			"  ":   "Error: Empty '" + name + "' value in configuration.",
			"yes":  "Error: Invalid '" + name + "' value (yes).",
			"True": "Error: Invalid '" + name + "' value (True).",
		},
	}
}

// intCase adds to the rows that every number shares.
func intCase(name string, def int, get func(*Config) any, good map[string]any, bad map[string]string) optionCase {
	c := optionCase{option: name, get: get, def: def, good: good, bad: map[string]string{
		"":                     "Error: Empty '" + name + "' value in configuration.",
		"x":                    "Error: '" + name + "' value not a number.",
		"12a":                  "Error: '" + name + "' value not a number.",
		"1_0":                  "Error: '" + name + "' value not a number.",
		"--1":                  "Error: '" + name + "' value not a number.",
		"0x":                   "Error: '" + name + "' value not a number.",
		"089":                  "Error: '" + name + "' value not a number.",
		"-":                    "Error: '" + name + "' value not a number.",
		"2147483648":           "Error: '" + name + "' value out of range.",
		"-2147483649":          "Error: '" + name + "' value out of range.",
		"99999999999999999999": "Error: '" + name + "' value out of range.",
	}}
	for k, v := range bad {
		c.bad[k] = v
	}
	return c
}

func cases() []optionCase {
	return slices.Concat(brokerCases(), moreBrokerCases(), persistenceCases(), listenerCases(), securityCases(), bridgeCases())
}

func brokerCases() []optionCase {
	const day = 24 * time.Hour
	return []optionCase{
		{
			option: "accept_protocol_versions", prefix: listenerFirst, def: AllVersions,
			get:  first(func(l *Listener) VersionSet { return l.Versions }),
			good: map[string]any{"5": VersionSet(1 << 5), "3, 4": VersionSet(1<<3 | 1<<4), "3,4\t5": AllVersions},
			bad: map[string]string{
				"":    "Error: Empty 'accept_protocol_versions' value in configuration.",
				",":   "Error: Empty 'accept_protocol_versions' value in configuration.",
				"6":   "Error: Invalid 'accept_protocol_versions' value (6).",
				"4,x": "Error: Invalid 'accept_protocol_versions' value (x).",
			},
		},
		boolCase("allow_duplicate_messages", true, global(func(g *Global) bool { return g.AllowDuplicateMessages })),
		{
			option: "bind_address", get: first(func(l *Listener) string { return l.Address }), def: "",
			good: map[string]any{"127.0.0.1": "127.0.0.1", "  host name  ": "host name"},
			bad:  map[string]string{"": "Error: Empty 'bind_address' value in configuration.", "a\x01": "Error: Malformed UTF-8 in configuration."},
		},
		boolCase("connection_messages", true, global(func(g *Global) bool { return g.ConnectionMessages })),
		{
			option: "control_socket", get: global(func(g *Global) string { return g.ControlSocket }), def: "",
			good: map[string]any{"/run/m.sock": "/run/m.sock", "none": "none"},
			bad:  map[string]string{"": "Error: Empty 'control_socket' value in configuration."},
		},
		intCase("global_max_connections", 0, global(func(g *Global) int { return g.GlobalMaxConnections }),
			map[string]any{"7": 7, "0": 0, "-1": 0}, nil),
		intCase("log_facility", 0, global(func(g *Global) int { return g.LogFacility }),
			map[string]any{"0": 1, "7": 8}, map[string]string{"8": "Error: Invalid 'log_facility' value (8).", "-1": "Error: Invalid 'log_facility' value (-1)."}),
		{
			option: "log_dest", get: global(func(g *Global) string { return g.LogDest.String() + "|" + g.LogFile }), def: "stderr|",
			good: map[string]any{
				"stdout":                                    "stdout|",
				"stdout\nlog_dest syslog":                   "syslog stdout|",
				"stdout\nlog_dest none":                     "none|",
				"none\nlog_dest topic":                      "topic|",
				"file  /var/log/m 1.log ":                   "file|/var/log/m 1.log ",
				"stderr\nlog_dest file /x\nlog_dest stderr": "stderr file|/x",
			},
			bad: map[string]string{
				"":                        "Error: Empty 'log_dest' value in configuration.",
				"file":                    `Error: Empty "log_dest file" value in configuration.`,
				"file  ":                  `Error: Empty "log_dest file" value in configuration.`,
				"file a\nlog_dest file b": `Error: Duplicate "log_dest file" value.`,
				"paper":                   "Error: Invalid 'log_dest' value (paper).",
				"android":                 "Error: The 'log_dest' value 'android' is not supported by midge. Use stderr, stdout, syslog, topic or file.",
				"dlt":                     "Error: The 'log_dest' value 'dlt' is not supported by midge. Use stderr, stdout, syslog, topic or file.",
			},
		},
		boolCase("log_timestamp", true, global(func(g *Global) bool { return g.LogTimestamp })),
		{
			option: "log_timestamp_format", get: global(func(g *Global) string { return g.LogTimestampFormat }), def: "",
			good: map[string]any{"%Y-%m-%d %H:%M": "%Y-%m-%d %H:%M"},
			bad: map[string]string{
				"":                            "Error: Empty 'log_timestamp_format' value in configuration.",
				"%Y\nlog_timestamp_format %Y": "Error: Duplicate 'log_timestamp_format' value in configuration.",
			},
		},
		{
			option: "log_type", get: global(func(g *Global) string { return g.LogTypes.String() }), def: "error warning notice information",
			good: map[string]any{
				"error":                     "error",
				"error\nlog_type debug":     "error debug",
				"all":                       logging.All.String(),
				"all\nlog_type none":        "none",
				"none\nlog_type websockets": "websockets",
			},
			bad: map[string]string{"": "Error: Empty 'log_type' value in configuration.", "info": "Error: Invalid 'log_type' value (info)."},
		},
		intCase("loops", 0, global(func(g *Global) int { return g.Loops }),
			map[string]any{"0": 0, "4": 4}, map[string]string{"-1": "Error: Invalid 'loops' value (-1).", "1025": "Error: Invalid 'loops' value (1025)."}),
		intCase("max_connections", 0, first(func(l *Listener) int { return l.MaxConnections }),
			map[string]any{"5": 5, "-3": 0}, nil),
		intCase("max_inflight_messages", 20, global(func(g *Global) int { return g.MaxInflightMessages }),
			map[string]any{"0x10": 16, "010": 8, "0": 0, "-5": 0, "65535": 0, "65534": 65534, "1": 1},
			map[string]string{"65536": "Error: 'max_inflight_messages' must be <= 65535."}),
		intCase("max_keepalive", 0, global(func(g *Global) int { return g.MaxKeepAlive }),
			map[string]any{"65535": 65535, "0": 0, "\t30": 30},
			map[string]string{"65536": "Error: Invalid 'max_keepalive' value (65536).", "-1": "Error: Invalid 'max_keepalive' value (-1)."}),
		intCase("max_output_bytes", 1<<20, global(func(g *Global) int { return g.MaxOutputBytes }),
			map[string]any{"4096": 4096}, map[string]string{"4095": "Error: 'max_output_bytes' must be >= 4096."}),
		intCase("max_packet_size", 2000000, global(func(g *Global) int { return g.MaxPacketSize }),
			map[string]any{"20": 20}, map[string]string{"19": "Error: 'max_packet_size' must be >= 20."}),
		intCase("max_queued_bytes", 0, global(func(g *Global) int { return g.MaxQueuedBytes }),
			map[string]any{"9": 9, "-9": 0}, nil),
		intCase("max_queued_messages", 1000, global(func(g *Global) int { return g.MaxQueuedMessages }),
			map[string]any{"9": 9, "-9": 0, "0": 0, "+9 # more": 9}, nil),
		intCase("max_topic_alias", 10, first(func(l *Listener) int { return l.MaxTopicAlias }),
			map[string]any{"0": 0, "65535": 65535},
			map[string]string{"65536": "Error: Invalid 'max_topic_alias' value in configuration.", "-1": "Error: Invalid 'max_topic_alias' value in configuration."}),
		intCase("max_topic_alias_broker", 10, first(func(l *Listener) int { return l.MaxTopicAliasBroker }),
			map[string]any{"0": 0, "65535": 65535},
			map[string]string{"65536": "Error: Invalid 'max_topic_alias_broker' value in configuration."}),
		intCase("message_size_limit", 0, global(func(g *Global) int { return g.MessageSizeLimit }),
			map[string]any{"0": 0, "268435455": 268435455},
			map[string]string{"268435456": "Error: Invalid 'message_size_limit' value (268435456).", "-1": "Error: Invalid 'message_size_limit' value (4294967295)."}),
		{
			option: "persistent_client_expiration", def: time.Duration(0),
			get: global(func(g *Global) time.Duration { return g.PersistentClientExpiration }),
			good: map[string]any{
				"1s": time.Second, "2h": 2 * time.Hour, "3d": 3 * day, "1w": 7 * day, "1m": 30 * day, "2y": 730 * day,
			},
			bad: map[string]string{
				"":      "Error: Empty 'persistent_client_expiration' value in configuration.",
				"5":     "Error: Invalid 'persistent_client_expiration' duration in configuration.",
				"h":     "Error: Invalid 'persistent_client_expiration' duration in configuration.",
				"0d":    "Error: Invalid 'persistent_client_expiration' duration in configuration.",
				"-1d":   "Error: Invalid 'persistent_client_expiration' duration in configuration.",
				"5M":    "Error: Invalid 'persistent_client_expiration' duration in configuration.",
				"1x2h":  "Error: Invalid 'persistent_client_expiration' duration in configuration.",
				"9999y": "Error: Invalid 'persistent_client_expiration' duration in configuration.",
			},
		},
		{
			option: "pid_file", get: global(func(g *Global) string { return g.PIDFile }), def: "",
			good: map[string]any{"/run/m.pid": "/run/m.pid"},
			bad:  map[string]string{"a\npid_file b": "Error: Duplicate 'pid_file' value in configuration."},
		},
		intCase("port", 1884, first(func(l *Listener) int { return l.Port }),
			map[string]any{"1": 1, "65535": 65535, "5\nport 6": 6},
			map[string]string{"0": "Error: Invalid 'port' value (0).", "65536": "Error: Invalid 'port' value (65536).", "-1": "Error: Invalid 'port' value (-1)."}),
		{
			option: "protocol", get: first(func(l *Listener) Protocol { return l.Protocol }), def: MQTT, prefix: listenerFirst,
			good: map[string]any{"mqtt": MQTT, "websockets # ws": WebSockets, "http_api": HTTPAPI},
			bad: map[string]string{
				"":     "Error: Empty 'protocol' value in configuration.",
				"MQTT": "Error: Invalid 'protocol' value (MQTT).",
			},
		},
		boolCase("retain_available", true, global(func(g *Global) bool { return g.RetainAvailable })),
		boolCase("set_tcp_nodelay", true, global(func(g *Global) bool { return g.SetTCPNodelay })),
		intCase("sys_interval", 10, global(func(g *Global) int { return g.SysInterval }),
			map[string]any{"0": 0, "65535": 65535},
			map[string]string{"65536": "Error: Invalid 'sys_interval' value (65536).", "-1": "Error: Invalid 'sys_interval' value (-1)."}),
		{
			option: "user", get: global(func(g *Global) string { return g.User }), def: "mosquitto",
			good: map[string]any{"nobody": "nobody", "a\nuser b": "b"},
			bad:  map[string]string{"": "Error: Empty 'user' value in configuration."},
		},
		{
			option: "listener", get: first(func(l *Listener) string { return l.Name() }), def: "1884",
			good: map[string]any{
				"1 127.0.0.1": "1 127.0.0.1", "65535": "65535", "0x50 ::1": "80 ::1", "7 # comment": "7",
				"8 #host": "8", "9 host  # comment": "9 host", "0 /m.sock": "0 /m.sock",
			},
			bad: map[string]string{
				"":      "Error: Empty 'listener port' value in configuration.",
				"x":     "Error: 'listener port' value not a number.",
				"-1":    "Error: Invalid 'port' value (-1).",
				"65536": "Error: Invalid 'port' value (65536).",
				"0":     "Error: A listener with port 0 must provide a Unix socket path.",
				"0 #x":  "Error: A listener with port 0 must provide a Unix socket path.",
			},
		},
	}
}

// moreBrokerCases are the options that came with the whole of Mosquitto's table.
func moreBrokerCases() []optionCase {
	buffer := func(name, wrong string) optionCase {
		return intCase(name, 4096, global(func(g *Global) int { return g.PacketBufferSize }),
			map[string]any{"0": 0, "65535": 65535}, map[string]string{"65536": wrong, "-1": wrong})
	}
	memory := intCase("memory_limit", 0, global(func(g *Global) int { return g.MemoryLimit }),
		map[string]any{"0": 0, "99999999999": 99999999999}, map[string]string{"-1": "Error: Invalid 'memory_limit' value (-1)."})
	for _, beyond := range []string{"2147483648", "-2147483649"} {
		delete(memory.bad, beyond)
	}
	memory.good["2147483648"] = 1 << 31
	memory.bad["99999999999999999999"] = "Error: 'memory_limit' value out of range."
	return []optionCase{
		boolCase("check_retain_source", true, global(func(g *Global) bool { return g.CheckRetainSource })),
		textCase("clientid_prefixes", true, global(func(g *Global) string { return g.ClientIDPrefix })),
		boolCase("enable_control_api", false, global(func(g *Global) bool { return g.EnableControlAPI })),
		intCase("global_max_clients", 0, global(func(g *Global) int { return g.GlobalMaxClients }), map[string]any{"7": 7, "0": 0, "-1": 0}, nil),
		intCase("max_inflight_bytes", 0, global(func(g *Global) int { return g.MaxInflightBytes }), map[string]any{"9": 9, "-9": 0}, nil),
		memory,
		buffer("packet_buffer_size", "Error: Packet buffer size must be between 0 and 65535 inclusive."),
		buffer("websockets_headers_size", "Error: Websockets headers size must be between 0 and 65535 inclusive."),
		boolCase("per_listener_settings", false, global(func(g *Global) bool { return g.PerListenerSettings })).with(
			map[string]any{"true\nper_listener_settings false": true}, nil),
		boolCase("queue_qos0_messages", false, global(func(g *Global) bool { return g.QueueQoS0Messages })),
		intCase("retain_expiry_interval", 0, global(func(g *Global) int { return int(g.RetainExpiryInterval / time.Minute) }),
			map[string]any{"1": 1, "10000000": 10000000, "10000001": 10000000},
			map[string]string{"0": "Error: Invalid 'retain_expiry_interval' value (0).", "-1": "Error: Invalid 'retain_expiry_interval' value (-1)."}),
		boolCase("upgrade_outgoing_qos", false, global(func(g *Global) bool { return g.UpgradeOutgoingQoS })),
		{
			option: "include_dir", get: global(func(g *Global) int { return g.SysInterval }), def: 10,
			good: map[string]any{includeFixture(".conf", "sys_interval 3\n"): 10, includeFixture("aa.conf", "sys_interval 3\n"): 3},
			bad: map[string]string{
				"":      "Error: Empty 'include_dir' value in configuration.",
				"/none": "Error: Unable to open include_dir '/none'.",
			},
		},
	}
}

// includeFixture makes a directory with one file; it stays until the test
// binary ends.
func includeFixture(name, text string) string {
	dir, err := os.MkdirTemp(fixtures, "")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
	}
	if err != nil {
		panic(err)
	}
	return dir
}

// fixtures is where tests that have no directory of their own put files.
var fixtures string

func TestMain(m *testing.M) {
	var err error
	if fixtures, err = os.MkdirTemp("", "config"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(fixtures)
	os.Exit(code)
}

func qosCase(name string) optionCase {
	const wrong = "Error: 'max_qos' must be between 0 and 2 inclusive."
	return intCase(name, 2, first(func(l *Listener) int {
		if l.MaxQoS == nil {
			return 2
		}
		return int(*l.MaxQoS)
	}), map[string]any{"0": 0, "1": 1, "2": 2}, map[string]string{"3": wrong, "-1": wrong})
}

func listenerCases() []optionCase {
	const engine = "Keys are read from PEM files only, 'keyfile'."
	const psk = "Go's TLS has no pre-shared keys; use certificates, 'certfile' and 'keyfile'."
	long := strings.Repeat("a", 51)
	tls := func(name string, f func(*TLS) *string) optionCase {
		return textCase(name, name != "tls_version", first(func(l *Listener) string { return *f(&l.TLS) }))
	}
	dir := includeFixture("f", "")
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		panic(err)
	}
	return []optionCase{
		textCase("bind_interface", false, first(func(l *Listener) string { return l.BindInterface })),
		tls("cafile", func(t *TLS) *string { return &t.CAFile }),
		tls("capath", func(t *TLS) *string { return &t.CAPath }),
		tls("certfile", func(t *TLS) *string { return &t.CertFile }),
		tls("ciphers", func(t *TLS) *string { return &t.Ciphers }),
		tls("ciphers_tls1.3", func(t *TLS) *string { return &t.Ciphers13 }),
		tls("crlfile", func(t *TLS) *string { return &t.CRLFile }),
		tls("keyfile", func(t *TLS) *string { return &t.KeyFile }),
		tls("tls_version", func(t *TLS) *string { return &t.Version }),
		boolCase("disable_client_cert_date_checks", false, first(func(l *Listener) bool { return l.TLS.DisableClientCertDateChecks })),
		intCase("enable_proxy_protocol", 0, first(func(l *Listener) int { return l.ProxyProtocol }), map[string]any{"1": 1, "2": 2},
			map[string]string{"0": "Error: Invalid 'enable_proxy_protocol' value (0).", "3": "Error: Invalid 'enable_proxy_protocol' value (3)."}),
		{
			option: "http_dir", get: first(func(l *Listener) string { return l.HTTPDir }), def: "",
			good: map[string]any{dir: real + "/", dir + "/": real + "/"},
			bad: map[string]string{
				"":                        "Error: Empty 'http_dir' value in configuration.",
				"/none":                   "Error: The 'http_dir' path '/none' does not exist.",
				dir + "/f":                "Error: The 'http_dir' path '" + dir + "/f' is no directory.",
				dir + "\nhttp_dir " + dir: "Error: Duplicate 'http_dir' value in configuration.",
			},
		},
		boolCase("listener_allow_anonymous", false, first(func(l *Listener) bool { return l.AllowAnonymous })),
		textCase("listener_auto_id_prefix", false, first(func(l *Listener) string { return l.autoIDPrefix })).with(
			map[string]any{long[1:]: long[1:]}, map[string]string{long: "Error: 'auto_id_prefix' length must be <= 50."}),
		qosCase("max_qos"),
		qosCase("maximum_qos"),
		textCase("mount_point", true, first(func(l *Listener) string { return l.MountPoint })).without("a # b").with(nil, map[string]string{
			"a/#": "Error: Invalid mount_point 'a/#'. Does it contain a wildcard character?",
			"+":   "Error: Invalid mount_point '+'. Does it contain a wildcard character?",
		}),
		boolCase("proxy_protocol_v2_require_tls", false, first(func(l *Listener) bool { return l.ProxyRequireTLS })),
		refusedCase("psk_hint", psk, "x"),
		boolCase("require_certificate", false, first(func(l *Listener) bool { return l.TLS.RequireCertificate })),
		{
			option: "socket_domain", get: first(func(l *Listener) string { return l.SocketDomain }), def: "",
			good: map[string]any{"ipv4": "ipv4", "ipv6 # six": "ipv6"},
			bad:  map[string]string{"": "Error: Empty 'socket_domain' value in configuration.", "ipv5": "Error: Invalid 'socket_domain' value (ipv5)."},
		},
		refusedCase("tls_engine", engine, "x"),
		refusedCase("tls_engine_kpass_sha1", engine, strings.Repeat("0a", 20)).with(nil, map[string]string{
			"0a":                    "Error: Invalid 'tls_engine_kpass_sha1' value (0a).",
			strings.Repeat("g", 40): "Error: Invalid 'tls_engine_kpass_sha1' value (" + strings.Repeat("g", 40) + ").",
		}),
		refusedCase("tls_keyform", engine, "engine").tolerating("pem"),
		boolCase("use_identity_as_username", false, first(func(l *Listener) bool { return l.UseIdentityAsUsername })),
		boolCase("use_subject_as_username", false, first(func(l *Listener) bool { return l.UseSubjectAsUsername })),
		boolCase("use_username_as_clientid", false, first(func(l *Listener) bool { return l.UseUsernameAsClientID })),
		{
			option: "websockets_origin", get: first(func(l *Listener) string { return strings.Join(l.WebSocketOrigins, "|") }), def: "",
			good: map[string]any{"http://a": "http://a", "a\nwebsockets_origin b": "a|b"},
			bad:  map[string]string{"": "Error: Empty 'websockets_origin' value in configuration."},
		},
	}
}

// tolerating adds a value that asks for nothing that midge does not do.
func (c optionCase) tolerating(value string) optionCase {
	c.good = map[string]any{value: nil}
	return c
}

func securityCases() []optionCase {
	long := strings.Repeat("a", 51)
	const foreign = "Error: Unable to load plugin '/lib/other.so'. midge loads no shared objects; it has password files, access control files and the store built in, and programs can decide on rights through the library's Policy."
	plugins := func(c *Config) any {
		var out []string
		for _, g := range c.Plugins {
			out = append(out, fmt.Sprintf("%s%s%v", g.Name, g.Kind, len(g.UsedBy)))
			for _, o := range g.Options {
				out = append(out, o.Key+"="+o.Value)
			}
		}
		return strings.Join(out, " ")
	}
	plugin := func(name string) optionCase {
		return optionCase{
			option: name, get: plugins, def: "", open: true,
			good: map[string]any{"/lib/mosquitto_password_file.so": "password-file0", "mosquitto_acl_file": "acl-file0", "x\\libmosquitto_persist_sqlite.dll": nil},
			bad: map[string]string{
				"":              "Error: Empty '" + name + "' value in configuration.",
				"/lib/other.so": foreign,
				"/mosquitto_dynamic_security.so\n" + name + " mosquitto_dynamic_security.so": "Error: Dynamic security plugin can currently only be loaded once.",
			},
		}
	}
	option := func(family string) optionCase {
		return optionCase{
			option: family + "file", get: plugins, def: "", open: true, prefix: "plugin /mosquitto_acl_file.so\n",
			good: map[string]any{"a b ": "acl-file0 file=a b "},
			bad:  map[string]string{"": "Error: Empty 'file' value in configuration."},
		}
	}
	list := []optionCase{
		textCase("acl_file", true, global(func(g *Global) string { return g.Security.ACLFile })),
		boolCase("allow_anonymous", false, global(func(g *Global) bool { return g.AllowAnonymous })),
		boolCase("allow_zero_length_clientid", true, global(func(g *Global) bool { return !g.Security.RefuseEmptyClientID })),
		textCase("auto_id_prefix", false, global(func(g *Global) string { return g.Security.AutoIDPrefix })).with(
			map[string]any{long[1:]: long[1:]}, map[string]string{long: "Error: 'auto_id_prefix' length must be <= 50."}),
		textCase("password_file", true, global(func(g *Global) string { return g.Security.PasswordFile })),
		boolCase("acl_deny_slash", false, global(func(g *Global) bool { return g.Login.DenySlash })),
		intCase("login_failures_address", 0, global(func(g *Global) int { return g.Login.FailuresAddress }),
			map[string]any{"5": 5, "2147483647": 2147483647}, map[string]string{"-1": "Error: Invalid 'login_failures_address' value (-1)."}),
		intCase("login_failures_user", 0, global(func(g *Global) int { return g.Login.FailuresUser }),
			map[string]any{"5": 5}, map[string]string{"-1": "Error: Invalid 'login_failures_user' value (-1)."}),
		intCase("login_lockout", 60, global(func(g *Global) int { return g.Login.Lockout }),
			map[string]any{"1": 1, "604800": 604800},
			map[string]string{"0": "Error: Invalid 'login_lockout' value (0).", "604801": "Error: Invalid 'login_lockout' value (604801)."}),
		intCase("login_lockout_max", 3600, global(func(g *Global) int { return g.Login.LockoutMax }),
			map[string]any{"1": 1, "604800": 604800}, map[string]string{"0": "Error: Invalid 'login_lockout_max' value (0)."}),
		refusedCase("psk_file", "Go's TLS has no pre-shared keys; use certificates, 'certfile' and 'keyfile'.", "x"),
		plugin("plugin"), plugin("auth_plugin"), plugin("global_plugin"),
		option("plugin_opt_"), option("auth_opt_"),
		{
			option: "auth_plugin_deny_special_chars", get: plugins, def: "", open: true, prefix: "plugin /mosquitto_acl_file.so\n",
			good: map[string]any{"true": "acl-file0", "false": "acl-file0"},
			bad:  map[string]string{"": "Error: Empty 'auth_plugin_deny_special_chars' value in configuration.", "x": "Error: Invalid 'auth_plugin_deny_special_chars' value (x)."},
		},
		{
			option: "plugin_load", get: plugins, def: "", open: true,
			good: map[string]any{"a /mosquitto_acl_file.so": "aacl-file0"},
			bad: map[string]string{
				"":                "Error: Empty 'plugin_load' value in configuration.",
				"a":               "Error: Empty 'plugin_load' path in configuration.",
				"a /lib/other.so": foreign,
				"a /mosquitto_acl_file.so\nplugin_load a /mosquitto_acl_file.so": "Error: Duplicate 'plugin_load' name 'a' in configuration.",
			},
		},
		{
			option: "plugin_use", get: plugins, def: "", open: true, prefix: "plugin_load a /mosquitto_acl_file.so\nlistener 1884\n",
			good: map[string]any{"a": "aacl-file1", "a\nlistener 2\nplugin_use a": "aacl-file2"},
			bad: map[string]string{
				"":  "Error: Empty 'plugin_use' value in configuration.",
				"b": "Error: Plugin 'b' not found for 'plugin_use'. It has to be named by 'plugin_load' first.",
			},
		},
	}
	for i := range list {
		if c := &list[i]; c.open && strings.HasSuffix(c.option, "plugin") {
			delete(c.good, "x\\libmosquitto_persist_sqlite.dll")
		}
	}
	return list
}

func bridgeCases() []optionCase {
	list := slices.Concat(bridgeTexts(), bridgeNumbers(), bridgeWords())
	for i := range list {
		list[i].open = true
	}
	return list
}

func bridgeTexts() []optionCase {
	text := func(name string, f func(*Bridge) *string) optionCase {
		return textCase(name, name == "bridge_keyfile", bridged(func(b *Bridge) string { return *f(b) }))
	}
	const mixed = "Error: Cannot use both certificate and psk encryption in a single bridge."
	long := strings.Repeat("a", 255)
	file := func(name string, f func(*Bridge) *string) optionCase {
		return text(name, f).with(nil, map[string]string{})
	}
	return []optionCase{
		text("bridge_alpn", func(b *Bridge) *string { return &b.TLS.ALPN }).with(map[string]any{long[1:]: long[1:]}, map[string]string{long: "Error: 'bridge_alpn' length must be <= 254."}),
		text("bridge_bind_address", func(b *Bridge) *string { return &b.BindAddress }),
		file("bridge_cafile", func(b *Bridge) *string { return &b.TLS.CAFile }),
		file("bridge_capath", func(b *Bridge) *string { return &b.TLS.CAPath }),
		file("bridge_certfile", func(b *Bridge) *string { return &b.TLS.CertFile }),
		file("bridge_keyfile", func(b *Bridge) *string { return &b.TLS.KeyFile }),
		text("bridge_ciphers", func(b *Bridge) *string { return &b.TLS.Ciphers }),
		text("bridge_ciphers_tls1.3", func(b *Bridge) *string { return &b.TLS.Ciphers13 }),
		text("bridge_identity", func(b *Bridge) *string { return &b.TLS.Identity }).with(nil, map[string]string{"x\nbridge_cafile y": mixed}),
		text("bridge_psk", func(b *Bridge) *string { return &b.TLS.PSK }).with(nil, map[string]string{"aa\nbridge_certfile y": mixed}),
		text("bridge_tls_version", func(b *Bridge) *string { return &b.TLS.Version }),
		text("clientid", func(b *Bridge) *string { return &b.RemoteClientID }).with(nil, map[string]string{
			"a\nremote_clientid b": "Error: Duplicate 'remote_clientid' value in configuration.",
		}),
		text("remote_clientid", func(b *Bridge) *string { return &b.RemoteClientID }),
		text("local_clientid", func(b *Bridge) *string { return &b.LocalClientID }),
		text("local_password", func(b *Bridge) *string { return &b.LocalPassword }),
		text("local_username", func(b *Bridge) *string { return &b.LocalUserName }),
		text("notification_topic", func(b *Bridge) *string { return &b.NotificationTopic }),
		text("password", func(b *Bridge) *string { return &b.RemotePassword }),
		text("remote_password", func(b *Bridge) *string { return &b.RemotePassword }),
		text("remote_username", func(b *Bridge) *string { return &b.RemoteUserName }),
		text("username", func(b *Bridge) *string { return &b.RemoteUserName }),
	}
}

func bridgeNumbers() []optionCase {
	number := func(name string, def int, f func(*Bridge) int, good map[string]any, bad map[string]string) optionCase {
		return intCase(name, def, bridged(f), good, bad)
	}
	flag := func(name string, def bool, f func(*Bridge) bool) optionCase { return boolCase(name, def, bridged(f)) }
	local := boolCase("local_cleansession", false, bridged(func(b *Bridge) bool { return b.LocalCleanSession != nil && *b.LocalCleanSession }))
	return []optionCase{
		flag("bridge_attempt_unsubscribe", true, func(b *Bridge) bool { return b.AttemptUnsubscribe }),
		flag("bridge_insecure", false, func(b *Bridge) bool { return b.TLS.Insecure }),
		flag("bridge_outgoing_retain", true, func(b *Bridge) bool { return b.OutgoingRetain }),
		flag("bridge_require_ocsp", false, func(b *Bridge) bool { return b.TLS.RequireOCSP }),
		flag("bridge_tls_use_os_certs", false, func(b *Bridge) bool { return b.TLS.UseOSCerts }),
		flag("cleansession", false, func(b *Bridge) bool { return b.CleanSession }),
		local,
		flag("notifications", true, func(b *Bridge) bool { return b.Notifications }),
		flag("notifications_local_only", false, func(b *Bridge) bool { return b.NotificationsLocalOnly }),
		flag("round_robin", false, func(b *Bridge) bool { return b.RoundRobin }),
		flag("try_private", true, func(b *Bridge) bool { return b.TryPrivate }),
		number("bridge_max_packet_size", 0, func(b *Bridge) int { return b.MaxPacketSize }, map[string]any{"5": 5, "-5": 0}, nil),
		number("bridge_max_topic_alias", 10, func(b *Bridge) int { return b.MaxTopicAlias }, map[string]any{"0": 0, "65535": 65535},
			map[string]string{"65536": "Error: Invalid 'bridge_max_topic_alias' value in configuration."}),
		number("bridge_receive_maximum", 0, func(b *Bridge) int { return b.ReceiveMaximum }, map[string]any{"1": 1, "65535": 65535},
			map[string]string{"0": "Error: Invalid 'bridge_receive_maximum' value (0).", "65536": "Error: Invalid 'bridge_receive_maximum' value (65536)."}),
		number("bridge_session_expiry_interval", 0, func(b *Bridge) int { return b.SessionExpiry }, map[string]any{"0": 0, "2147483647": 2147483647},
			map[string]string{"-1": "Error: Invalid 'bridge_session_expiry_interval' value (-1)."}),
		number("bridge_tcp_user_timeout", 0, func(b *Bridge) int { return b.TCPUserTimeout }, map[string]any{"0": 0, "1": 1},
			map[string]string{"-1": "Error: Invalid 'bridge_tcp_user_timeout' value (-1)."}),
		number("idle_timeout", 60, func(b *Bridge) int { return b.IdleTimeout }, map[string]any{"5": 5, "0": 1, "-5": 1}, nil),
		number("keepalive_interval", 60, func(b *Bridge) int { return b.KeepAlive }, map[string]any{"4": 5, "65535": 65535},
			map[string]string{"65536": "Error: Bridge keepalive value too high."}),
		number("threshold", 10, func(b *Bridge) int { return b.Threshold }, map[string]any{"5": 5, "0": 1}, nil),
	}
}

func bridgeWords() []optionCase {
	addresses := func(name string) optionCase {
		return optionCase{
			option: name, get: bridged(func(b *Bridge) string { return fmt.Sprint(b.Addresses) }), def: "[]",
			good: map[string]any{
				"a": "[{a 1883}]", "a b:5": "[{a 1883} {b 5}]", "::1:1884 # more": "[{::1 1884}]", "a:1 #b c": "[{a 1}]",
			},
			bad: map[string]string{
				"":                  "Error: Empty '" + name + "' value in configuration.",
				"a:0":               "Error: Invalid 'port' value (0).",
				"a:65536":           "Error: Invalid 'port' value (65536).",
				"a:x":               "Error: Invalid 'port' value (0).",
				"a\n" + name + " a": "Error: Duplicate '" + name + "' value in configuration.",
			},
		}
	}
	return []optionCase{
		addresses("address"), addresses("addresses"),
		{
			option: "bridge_protocol_version", get: bridged(func(b *Bridge) string { return b.ProtocolVersion }), def: "mqttv311",
			good: map[string]any{"mqttv31": "mqttv31", "mqttv311": "mqttv311", "  mqttv50": "mqttv50"},
			bad: map[string]string{
				"":         "Error: Empty 'bridge_protocol_version' value in configuration.",
				"mqttv50 ": "Error: Invalid 'bridge_protocol_version' value (mqttv50 ).",
				"5":        "Error: Invalid 'bridge_protocol_version' value (5).",
			},
		},
		{
			option: "bridge_reload_type", get: bridged(func(b *Bridge) string { return b.ReloadType }), def: "lazy",
			good: map[string]any{"immediate": "immediate", "lazy": "lazy"},
			bad:  map[string]string{"": "Error: Empty 'bridge_reload_type' value in configuration.", "x": "Error: Invalid 'bridge_reload_type' value (x)."},
		},
		{
			option: "bridge_tcp_keepalive", get: bridged(func(b *Bridge) [3]int { return b.TCPKeepAlive }), def: [3]int{},
			good: map[string]any{"1 2 3": [3]int{1, 2, 3}},
			bad: map[string]string{
				"":      "Error: Empty 'bridge_tcp_keepalive idle' value in configuration.",
				"1 2":   "Error: Empty 'bridge_tcp_keepalive counter' value in configuration.",
				"1 0 3": "Error: Invalid 'bridge_tcp_keepalive interval' value (0).",
				"1 2 x": "Error: 'bridge_tcp_keepalive counter' value not a number.",
			},
		},
		{
			option: "connection", get: bridged(func(b *Bridge) string { return b.Name }), def: "b",
			good: map[string]any{"c": "c", "c d": "c"},
			bad:  map[string]string{"": "Error: Empty 'connection' value in configuration.", "c\nconnection c": "Error: Duplicate bridge name 'c'."},
		},
		{
			option: "restart_timeout", get: bridged(func(b *Bridge) [3]int { return [3]int{b.RestartBase, b.RestartCap, b.RestartStable} }), def: [3]int{5, 30, 0},
			good: map[string]any{"7": [3]int{7, 0, 0}, "0": [3]int{1, 0, 0}, "4000": [3]int{3600, 0, 0}, "1 2": [3]int{1, 2, 0}, "1 8000 5": [3]int{1, 7200, 5}},
			bad: map[string]string{
				"":       "Error: Empty 'restart_timeout' value in configuration.",
				"10 5":   "Error: backoff cap is lower than the base in restart_timeout.",
				"1 2 -1": "Error: Invalid 'restart_timeout' stable connection period (-1).",
				"1 x":    "Error: 'restart_timeout cap' value not a number.",
			},
		},
		{
			option: "start_type", get: bridged(func(b *Bridge) string { return b.StartType }), def: "automatic",
			good: map[string]any{"automatic": "automatic", "lazy": "lazy", "once # only": "once"},
			bad: map[string]string{
				"":       "Error: Empty 'start_type' value in configuration.",
				"manual": "Error: Manual 'start_type' not supported.",
				"x":      "Error: Invalid 'start_type' value in configuration (x).",
			},
		},
		{
			option: "topic", get: bridged(func(b *Bridge) string { return fmt.Sprint(b.Topics) }), def: "[]",
			good: map[string]any{
				"a":                            "[{a out 0  }]",
				"# BOTH 1":                     "[{# both 1  }]",
				`a in 2 l/ r/`:                 "[{a in 2 l/ r/}]",
				`"a b" out 1 "" r/`:            "[{a b out 1  r/}]",
				`"" out 0 x y`:                 "[{ out 0 x y}]",
				"a out 1 # none":               "[{a out 1  }]",
				"a out\ntopic a out 0":         "[{a out 0  }]",
				"a out\ntopic a out 0 \"\" r/": "[{a out 0  } {a out 0  r/}]",
			},
			bad: map[string]string{
				"":              "Error: Empty 'topic' value in configuration.",
				"a sideways":    "Error: Invalid bridge topic direction 'sideways'.",
				"a out 3":       "Error: Invalid bridge QoS level '3'.",
				`"" out 0`:      "Error: Invalid bridge remapping.",
				`"" out 0 x`:    "Error: Invalid bridge remapping.",
				"a out 0 a# b":  "Error: Invalid bridge topic local prefix 'a#'.",
				"a out 0 b b/+": "Error: Invalid bridge topic remote prefix 'b/+'.",
				"a#b out":       "Error: Invalid bridge topic 'a#b': " + filterError("a#b") + ".",
			},
		},
	}
}

func filterError(filter string) string { return fmt.Sprint(mqtt.CheckFilter(filter)) }

// without takes an accepted value away.
func (c optionCase) without(value string) optionCase {
	delete(c.good, value)
	return c
}

func persistenceCases() []optionCase {
	storage := func(f func(*Storage) any) func(*Config) any { return func(c *Config) any { return f(&c.Storage) } }
	level := func(name string) map[string]string {
		return map[string]string{
			"":                "Error: Empty '" + name + "' value in configuration.",
			"x":               "Error: Invalid '" + name + "' value (x).",
			"interval 0":      "Error: Invalid '" + name + "' interval (0).",
			"interval 100000": "Error: Invalid '" + name + "' interval (100000).",
			"interval x":      "Error: '" + name + "' value not a number.",
		}
	}
	age := func(s *Storage) any { return s.MaxQueuedAge }
	const wrongAge = "Error: Invalid 'max_queued_age' duration in configuration."
	return []optionCase{
		intCase("autosave_interval", 1800, storage(func(s *Storage) any { return s.AutosaveInterval }), map[string]any{"5": 5, "-5": 0}, nil),
		boolCase("autosave_on_changes", false, storage(func(s *Storage) any { return s.AutosaveOnChanges })),
		{
			option: "listener_persistence_sync", get: first(func(l *Listener) Sync { return l.Sync }), def: Sync(""),
			good: map[string]any{"flush": SyncFlush, "write # fast": SyncWrite, "interval": SyncInterval, "interval 5": SyncInterval}, bad: level("listener_persistence_sync"),
		},
		{
			option: "max_queued_age", get: storage(age), def: time.Duration(0),
			good: map[string]any{"2h": 2 * time.Hour, "1s": time.Second},
			bad: map[string]string{
				"": "Error: Empty 'max_queued_age' value in configuration.", "5": wrongAge, "0d": wrongAge, "200y": wrongAge, "h": wrongAge,
			},
		},
		intCase("max_total_queued_bytes", 0, storage(func(s *Storage) any { return s.MaxTotalQueuedBytes }), map[string]any{"5": 5, "-5": 0}, nil),
		boolCase("persistence", false, global(func(g *Global) bool { return g.Persistence })),
		boolCase("retained_persistence", false, global(func(g *Global) bool { return g.Persistence })),
		textCase("persistence_file", false, storage(func(s *Storage) any { return s.File })),
		textCase("persistence_location", false, storage(func(s *Storage) any { return s.Location })),
		{
			option: "persistence_sync", get: storage(func(s *Storage) any { return fmt.Sprint(s.Sync, s.Interval) }), def: "flush0s",
			good: map[string]any{"write": "write0s", "interval": "interval1s", "interval 7": "interval7s"}, bad: level("persistence_sync"),
		},
		{
			option: "persistence_sync_topic", get: storage(func(s *Storage) any { return fmt.Sprint(s.SyncTopics) }), def: "[]",
			good: map[string]any{"a/# write": "[{a/# write}]", "a write\npersistence_sync_topic b flush": "[{a write} {b flush}]"},
			bad: map[string]string{
				"":         "Error: Empty 'persistence_sync_topic' value in configuration.",
				"a":        "Error: Empty 'persistence_sync_topic' value in configuration.",
				"a x":      "Error: Invalid 'persistence_sync_topic' value (x).",
				"#a flush": "Error: Invalid 'persistence_sync_topic' topic filter (#a): " + filterError("#a") + ".",
			},
		},
		intCase("connect_timeout", 30, global(func(g *Global) int { return g.Guard.ConnectTimeout }), map[string]any{"1": 1, "3600": 3600},
			map[string]string{"0": "Error: Invalid 'connect_timeout' value (0).", "3601": "Error: Invalid 'connect_timeout' value (3601)."}),
		intCase("max_connection_rate", 0, global(func(g *Global) int { return g.Guard.MaxConnectionRate }), map[string]any{"5": 5, "0": 0},
			map[string]string{"-1": "Error: Invalid 'max_connection_rate' value (-1)."}),
		{
			option: "log_format", get: global(func(g *Global) any { return g.LogFormat }), def: "text",
			good: map[string]any{"json": "json", "text": "text"},
			bad:  map[string]string{"": "Error: Empty 'log_format' value in configuration.", "xml": "Error: Invalid 'log_format' value (xml)."},
		},
		{
			option: "queue_policy", get: storage(func(s *Storage) any { return s.QueuePolicy }), def: DropNewest,
			good: map[string]any{"refuse": Refuse, "drop-oldest": DropOldest, "drop-newest": DropNewest},
			bad:  map[string]string{"": "Error: Empty 'queue_policy' value in configuration.", "x": "Error: Invalid 'queue_policy' value (x)."},
		},
	}
}
