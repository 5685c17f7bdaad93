package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/logging"
)

var update = flag.Bool("update", false, "write docs/configuration.md")

// load reads text as the file t.conf and returns the reported lines with it.
func load(t *testing.T, text string, a Args) (*Config, []string, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("t.conf", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a.Files = append(a.Files, "t.conf")
	var reported []string
	c, err := Load(a, func(_ logging.Type, s string) { reported = append(reported, s) })
	return c, reported, err
}

func mustLoad(t *testing.T, text string) *Config {
	t.Helper()
	c, _, err := load(t, text, Args{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// optionCase is one row of the table test. Text stands for a whole file; %s
// in get's result is never used.
type optionCase struct {
	option string
	get    func(*Config) any
	def    any            // value in a file with only a listener line
	good   map[string]any // value text -> value
	bad    map[string]string
	prefix string // lines before the option
}

func global[T any](f func(*Global) T) func(*Config) any {
	return func(c *Config) any { return f(&c.Global) }
}

func first[T any](f func(*Listener) T) func(*Config) any {
	return func(c *Config) any { return f(c.Listeners[0]) }
}

const listenerFirst = "listener 1884\n"

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
		boolCase("allow_anonymous", false, global(func(g *Global) bool { return g.AllowAnonymous })),
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
				"android":                 "Error: Invalid 'log_dest' value (android).",
				"dlt":                     "Error: The 'log_dest' value 'dlt' is not supported in this version of midge.",
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
		persistenceCase("persistence"),
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
			good: map[string]any{"mqtt": MQTT, "websockets # ws": WebSockets},
			bad: map[string]string{
				"":         "Error: Empty 'protocol' value in configuration.",
				"MQTT":     "Error: Invalid 'protocol' value (MQTT).",
				"http_api": "Error: The 'protocol' value 'http_api' is not supported in this version of midge.",
			},
		},
		boolCase("retain_available", true, global(func(g *Global) bool { return g.RetainAvailable })),
		persistenceCase("retained_persistence"),
		boolCase("set_tcp_nodelay", false, global(func(g *Global) bool { return g.SetTCPNodelay })),
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
				"8 #host": "8", "9 host  # comment": "9 host",
			},
			bad: map[string]string{
				"":          "Error: Empty 'listener port' value in configuration.",
				"x":         "Error: 'listener port' value not a number.",
				"-1":        "Error: Invalid 'port' value (-1).",
				"65536":     "Error: Invalid 'port' value (65536).",
				"0":         "Error: A listener with port 0 must provide a Unix socket path.",
				"0 /m.sock": "Error: The 'listener' option with a Unix socket path is not supported in this version of midge.",
			},
		},
	}
}

func persistenceCase(name string) optionCase {
	c := boolCase(name, false, global(func(g *Global) bool { return g.Persistence }))
	c.good = map[string]any{"false": false, "0": false}
	c.bad["true"] = "Error: The 'persistence true' setting is not supported in this version of midge, which keeps everything in memory. Use 'persistence false'."
	return c
}

func TestEveryOption(t *testing.T) {
	for _, tc := range cases() {
		t.Run(tc.option, func(t *testing.T) {
			o := lookup(tc.option)
			if o == nil || !o.Supported() {
				t.Fatal("not in the table")
			}
			prefix := tc.prefix
			if o.place != anywhere && o.place != ofImplicit && o.place != opensSection {
				prefix = listenerFirst
			}
			if got := tc.get(mustLoad(t, listenerFirst)); got != tc.def {
				t.Errorf("default is %v, want %v", got, tc.def)
			}
			for text, want := range tc.good {
				c, _, err := load(t, prefix+tc.option+" "+text+"\n", Args{})
				if err != nil {
					t.Errorf("%q: %v", text, err)
					continue
				}
				if got := tc.get(c); got != want {
					t.Errorf("%q gives %v, want %v", text, got, want)
				}
			}
			for text, want := range tc.bad {
				_, _, err := load(t, prefix+tc.option+" "+text+"\n", Args{})
				line := 1 + strings.Count(prefix, "\n") + strings.Count(text, "\n")
				want = fmt.Sprintf("%s\nError found at t.conf:%d.", want, line)
				if err == nil || err.Error() != want {
					t.Errorf("%q gives error %v, want %q", text, err, want)
				}
			}
		})
	}
}

func TestEveryOptionHasACase(t *testing.T) {
	var have []string
	for _, c := range cases() {
		have = append(have, c.option)
	}
	for i := range options {
		if o := &options[i]; o.Supported() && !slices.Contains(have, o.Name) {
			t.Errorf("option %s has no row in the table test", o.Name)
		}
	}
}

func TestTableIsSortedAndComplete(t *testing.T) {
	mosquitto := len(unsupportedPrefixes)
	for i := range options {
		o := &options[i]
		if i > 0 && options[i-1].Name >= o.Name {
			t.Errorf("%s stands behind %s", o.Name, options[i-1].Name)
		}
		if o.Meaning == "" || o.Values == "" || o.Section == "" {
			t.Errorf("%s has no meaning, values or section", o.Name)
		}
		if o.Supported() == (o.gone != "") {
			t.Errorf("%s is neither supported nor gone", o.Name)
		}
		if !o.Own {
			mosquitto++
		}
	}
	for section, names := range unsupported {
		for _, n := range strings.Fields(names) {
			mosquitto++
			if o := byName[n]; o.Supported() || o.Section != section {
				t.Errorf("%s is listed twice", n)
			}
		}
	}
	// Mosquitto 2.1.2 knows 141 names, the two families counted as one each.
	if mosquitto != 141 {
		t.Errorf("the table knows %d of Mosquitto's 141 names", mosquitto)
	}
}

func TestRefusedOptions(t *testing.T) {
	var names []string
	for _, list := range unsupported {
		names = append(names, strings.Fields(list)...)
	}
	names = append(names, "plugin_opt_file", "auth_opt_x")
	for _, n := range names {
		_, _, err := load(t, "# comment\n\n"+n+" true\n", Args{})
		want := "Error: The '" + n + "' option is not supported in this version of midge.\nError found at t.conf:3."
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v", n, err)
		}
	}
}

func TestGrammar(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       string // error; empty means accepted
	}{
		{"empty file", "", ""},
		{"no line feed at the end", "sys_interval 5", ""},
		{"blank lines", "\n\r\n   \n\n", ""},
		{"comments", "#x\n# y\n#\n", ""},
		{"CR LF", "sys_interval 5\r\nuser a\r\n", ""},
		{"leading blanks", "   sys_interval    5\n", ""},
		{"comment after blanks", "  # x\n", "Error: Unknown configuration variable '#'."},
		{"unknown", "foo bar\n", "Error: Unknown configuration variable 'foo'."},
		{"case matters", "User x\n", "Error: Unknown configuration variable 'User'."},
		{"tab is no separator", "sys_interval\t5\n", "Error: Unknown configuration variable 'sys_interval\t5'."},
		{"only a name", "user\n", "Error: Empty 'user' value in configuration."},
		{"long line", "user " + strings.Repeat("a", 65535) + "\n", ""},
		{"too long", "user " + strings.Repeat("a", 65536) + "\n", "Error: The 'user' value is longer than 65535 bytes."},
		{"bad UTF-8", "user \xff\n", "Error: Malformed UTF-8 in configuration."},
		{"NUL", "user a\x00b\n", "Error: Malformed UTF-8 in configuration."},
		{"non-character", "user \ufdd0\n", "Error: Malformed UTF-8 in configuration."},
		{"C1 control", "user \u0080\n", "Error: Malformed UTF-8 in configuration."},
		{"needs a listener", "max_topic_alias 1\n", "Error: The 'max_topic_alias' option requires a listener to be defined first."},
		{"needs its own listener", "port 1\naccept_protocol_versions 5\n", "Error: The 'accept_protocol_versions' option requires a listener to be defined first."},
		{"implicit listener is enough", "port 1\nmax_topic_alias 1\n", ""},
		{"second bind address", "bind_address a\nbind_address b\n", "Error: Duplicate 'bind_address' value in configuration."},
	} {
		_, _, err := load(t, tc.text, Args{})
		if tc.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
			continue
		}
		var e *Error
		if !errors.As(err, &e) || e.Text != tc.want || e.File != "t.conf" || e.Line == 0 {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestFileErrors(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		dir:                        "Error: Config file '" + dir + "' is a directory.",
		filepath.Join(dir, "none"): "Error: Unable to open config file '" + filepath.Join(dir, "none") + "'.",
		"/dev/zero":                "Error: Unable to read config file '/dev/zero': larger than 16 MiB.",
	} {
		if _, err := Load(Args{Files: []string{path}}, nil); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func names(c *Config) string {
	var out []string
	for _, l := range c.Listeners {
		out = append(out, l.Name())
	}
	return strings.Join(out, ", ")
}

func TestWhereToListen(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		ports      []int
		want       string
		local      bool
		anonymous  bool
		warned     string
	}{
		{"nothing", "", nil, "1883 127.0.0.1, 1883 ::1", true, true, ""},
		{"-p", "", []int{5, 6}, "5 127.0.0.1, 5 ::1, 6 127.0.0.1, 6 ::1", true, true, ""},
		{"listener", "listener 7\n", nil, "7", false, false, ""},
		{"listener and -p", "listener 7\n", []int{5}, "7", false, false, "Warning: The -p argument has no effect because the configuration file defines a listener."},
		{"two listeners", "listener 7\nlistener 8 ::1\n", nil, "7, 8 ::1", false, false, ""},
		{"port", "port 9\n", nil, "9", false, false, "The 'port' option is now deprecated and will be removed in version 3.0. Please use 'listener' instead."},
		{"bind_address", "bind_address 10.0.0.1\n", nil, "1883 10.0.0.1", false, false, "Creating default listener due to 'bind_address' option."},
		{"bind_address and port", "bind_address a\nport 9\n", nil, "9 a", false, false, ""},
		{"port behind a listener", "listener 7\nport 9\n", nil, "7, 9", false, false, ""},
		{"only an option of the default listener", "max_connections 3\n", []int{5}, "5 127.0.0.1, 5 ::1", true, true, "Warning: The options for the default listener, from t.conf on, have no effect because no 'listener' is defined."},
		{"anonymous refused locally", "allow_anonymous false\n", nil, "1883 127.0.0.1, 1883 ::1", true, false, ""},
		{"anonymous allowed remotely", "listener 7\nallow_anonymous true\n", nil, "7", false, true, ""},
	} {
		c, reported, err := load(t, tc.text, Args{Ports: tc.ports})
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if got := names(c); got != tc.want || c.LocalOnly != tc.local {
			t.Errorf("%s: listeners %s, local only %v; want %s, %v", tc.name, got, c.LocalOnly, tc.want, tc.local)
		}
		for _, l := range c.Listeners {
			if l.AllowAnonymous != tc.anonymous || l.Protocol != MQTT || l.MaxTopicAlias != 10 {
				t.Errorf("%s: listener %+v", tc.name, *l)
			}
		}
		if tc.warned != "" && !slices.Contains(reported, tc.warned) {
			t.Errorf("%s: reported %q, want %q", tc.name, reported, tc.warned)
		}
	}
}

func TestSectionsKeepTheirOptions(t *testing.T) {
	c := mustLoad(t, "max_connections 1\nlistener 7\nmax_connections 2\nprotocol websockets\nlistener 8\nport 9\nmax_topic_alias 3\n")
	if got, want := names(c), "9, 7, 8"; got != want {
		t.Fatalf("listeners %s, want %s", got, want)
	}
	if a, b, d := c.Listeners[0], c.Listeners[1], c.Listeners[2]; a.MaxConnections != 1 || a.MaxTopicAlias != 3 || !a.Implicit ||
		b.MaxConnections != 2 || b.Protocol != WebSockets || b.Line != 2 || b.File != "t.conf" || d.MaxConnections != 0 || d.Protocol != MQTT {
		t.Errorf("got %+v %+v %+v", *a, *b, *d)
	}
}

func TestReportedLines(t *testing.T) {
	for text, want := range map[string]string{
		"retry_interval 5\n":              "Warning: The 'retry_interval' option is no longer available.",
		"dhparamfile\n":                   "Warning: The 'dhparamfile' option is not required any more.",
		"message_size_limit 5\n":          "Note: It is recommended to replace `message_size_limit` with `max_packet_size`.",
		"allow_duplicate_messages true\n": "The 'allow_duplicate_messages' option is now deprecated and will be removed in version 3.0. The behaviour will default to true.",
		"protocol websockets\n":           "It is best practice to define a 'listener' first. Using the 'protocol' option without a listener will be disabled in the future.",
		"port 5\nport 6\n":                "Warning: Default listener port specified multiple times. Only the latest will be used.",
	} {
		_, reported, err := load(t, text, Args{})
		if err != nil || !slices.Contains(reported, want) {
			t.Errorf("%q: reported %q, %v", text, reported, err)
		}
	}
	if _, reported, _ := load(t, "port 5\n", Args{}); strings.Contains(strings.Join(reported, ""), "multiple times") {
		t.Errorf("one port line reported as several: %q", reported)
	}
}

func TestCommandLineWinsOverLogTypes(t *testing.T) {
	for _, tc := range []struct {
		a    Args
		want logging.Type
	}{
		{Args{}, logging.Error},
		{Args{Verbose: true}, logging.All},
		{Args{Quiet: true, Verbose: true}, logging.None},
	} {
		c, _, err := load(t, "log_type error\n", tc.a)
		if err != nil || c.LogTypes != tc.want {
			t.Errorf("%+v: %v, %v", tc.a, c, err)
		}
	}
}

func TestLaterFileOverwrites(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "1"), filepath.Join(dir, "2")
	for path, text := range map[string]string{
		one: "log_dest stdout\nlog_type error\nsys_interval 5\nlistener 7\n",
		two: "log_dest syslog\nlog_type debug\nlistener 8\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(Args{Files: []string{one, two}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.LogDest != logging.ToSyslog || c.LogTypes != logging.Debug || c.SysInterval != 5 || names(c) != "7, 8" || c.File != two {
		t.Errorf("got %+v, listeners %s", c.Global, names(c))
	}
}

func TestLoggingOptions(t *testing.T) {
	c := mustLoad(t, "log_dest file /x\nlog_type debug\nlog_timestamp false\nlog_timestamp_format %H\nlog_facility 3\nconnection_messages false\n")
	got := c.Logging()
	want := logging.Options{Types: logging.Debug, Dest: logging.ToFile, File: "/x", Facility: 3, TimestampFormat: "%H", HideConnections: true}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestDiff(t *testing.T) {
	old := mustLoad(t, "listener 7\nmax_connections 1\nlistener 8\nlog_type error\nsys_interval 5\n")
	same := mustLoad(t, "sys_interval 5\nlog_type error\nlistener 8\nlistener 7\nmax_connections 1\n")
	if got := Diff(old, same); len(got) != 0 {
		t.Errorf("same configuration in another order differs: %+v", got)
	}
	now := mustLoad(t, "listener 7\nmax_connections 2\nlistener 9\nlog_type debug\nsys_interval 6\n")
	want := []Change{
		{Option: "log_type", From: "error", To: "debug", Reload: true},
		{Option: "sys_interval", From: "5", To: "6"},
		{Option: "max_connections", Listener: "7", From: "1", To: "2"},
		{Option: "listener", From: "8"},
		{Option: "listener", To: "9"},
	}
	if got := Diff(old, now); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestCopyReloadableTakesExactlyWhatTheTableSays(t *testing.T) {
	const changed = "connection_messages false\nlog_dest file /x\nlog_facility 3\nlog_timestamp false\nlog_timestamp_format %H\nlog_type debug\n"
	old, now := mustLoad(t, "sys_interval 5\n"), mustLoad(t, changed+"sys_interval 6\nmax_queued_messages 7\n")
	n := 0
	for i := range options {
		if options[i].Reload {
			n++
		}
	}
	if n != strings.Count(changed, "\n") {
		t.Fatalf("%d options can be reloaded, the test has another number", n)
	}
	old.CopyReloadable(now)
	want := []Change{{Option: "max_queued_messages", From: "1000", To: "7"}, {Option: "sys_interval", From: "5", To: "6"}}
	if got := Diff(old, now); !slices.Equal(got, want) {
		t.Errorf("differs still: %+v", got)
	}
}

func TestDefault(t *testing.T) {
	c := Default()
	if !c.LocalOnly || c.MaxPacketSize != 2000000 || c.MaxInflightMessages != 20 || c.MaxQueuedMessages != 1000 || len(c.Listeners) != 2 {
		t.Errorf("got %+v", c)
	}
}

func TestReferenceIsUpToDate(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "configuration.md")
	if *update {
		if err := os.WriteFile(path, []byte(Reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != Reference() {
		t.Error("docs/configuration.md is stale: run go test ./internal/config -update")
	}
}

func FuzzRead(f *testing.F) {
	for _, c := range cases() {
		for text := range c.good {
			f.Add(c.prefix + c.option + " " + text + "\n")
		}
		for text := range c.bad {
			f.Add(c.prefix + c.option + " " + text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		p := newParser(nil)
		if err := p.read("f", strings.NewReader(text)); err != nil {
			var e *Error
			if !errors.As(err, &e) || !strings.HasPrefix(e.Text, "Error: ") || e.Line < 1 || e.Line > 1+strings.Count(text, "\n") {
				t.Fatalf("error %#v", err)
			}
			return
		}
		p.finish(Args{})
		c := p.c
		if len(c.Listeners) == 0 || c.MaxPacketSize < 20 || c.MaxInflightMessages < 0 || c.MaxInflightMessages > 65534 ||
			c.SysInterval < 0 || c.SysInterval > 65535 || c.MaxQueuedMessages < 0 || c.PersistentClientExpiration < 0 {
			t.Fatalf("accepted %+v", c.Global)
		}
		for _, l := range c.Listeners {
			if l.Port < 1 || l.Port > 65535 || l.Versions&^AllVersions != 0 || l.Versions == 0 {
				t.Fatalf("accepted listener %+v", *l)
			}
		}
		if d := Diff(c, c); d != nil {
			t.Fatalf("differs from itself: %+v", d)
		}
	})
}
