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

func TestEveryOption(t *testing.T) {
	for _, tc := range cases() {
		t.Run(tc.option, func(t *testing.T) {
			o := lookup(tc.option)
			if o == nil || o.field == nil {
				t.Fatal("not in the table")
			}
			if len(tc.good) == 0 && !o.Refused() {
				t.Error("no accepted value")
			}
			if len(tc.bad) == 0 {
				t.Error("no rejected value")
			}
			prefix := tc.prefix
			switch o.place {
			case inListener, inOwnListener, opensImplicit:
				if prefix == "" {
					prefix = listenerFirst
				}
			case inBridge:
				prefix = bridgeFirst
			default:
			}
			if got := tc.get(tc.load(t, listenerFirst)); tc.prefix == "" && got != tc.def {
				t.Errorf("default is %v, want %v", got, tc.def)
			}
			for text, want := range tc.good {
				c, err := tc.try(t, prefix+tc.option+" "+text+"\n")
				if err != nil {
					t.Errorf("%q: %v", text, err)
					continue
				}
				if got := tc.get(c); got != want {
					t.Errorf("%q gives %v, want %v", text, got, want)
				}
			}
			for text, want := range tc.bad {
				_, err := tc.try(t, prefix+tc.option+" "+text+"\n")
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
		o := &options[i]
		name := strings.Replace(o.Name, "*", "file", 1)
		if o.gone == "" && !slices.Contains(have, name) {
			t.Errorf("option %s has no row in the table test", o.Name)
		}
	}
}

func TestTableIsSortedAndComplete(t *testing.T) {
	mosquitto := 0
	for i := range options {
		o := &options[i]
		if i > 0 && options[i-1].Name >= o.Name {
			t.Errorf("%s stands behind %s", o.Name, options[i-1].Name)
		}
		if o.Meaning == "" || o.Values == "" || o.Section == "" {
			t.Errorf("%s has no meaning, values or section", o.Name)
		}
		if o.field == nil && o.gone == "" {
			t.Errorf("%s is neither supported nor gone", o.Name)
		}
		if !o.Own {
			mosquitto++
		}
	}
	// Mosquitto 2.1.2 knows 141 names, the two families counted as one each.
	if mosquitto != 141 {
		t.Errorf("the table knows %d of Mosquitto's 141 names", mosquitto)
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
		{Option: "log_type", From: "error", To: "debug", Effect: AtOnce},
		{Option: "sys_interval", From: "5", To: "6", Effect: AtOnce},
		{Option: "max_connections", Listener: "7", From: "1", To: "2", Effect: AtOnce},
		{Option: "listener", From: "8"},
		{Option: "listener", To: "9"},
	}
	if got := Diff(old, now); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestReloadedTakesExactlyWhatTheTableSays(t *testing.T) {
	dir := t.TempDir()
	const a, b = 0, 1
	values := func(which int) string {
		var text strings.Builder
		text.WriteString("listener 7\nlistener 8\n")
		for _, v := range reloadable {
			fmt.Fprintf(&text, "%s %s\n", v[0], v[1+which])
		}
		for _, v := range fixed {
			fmt.Fprintf(&text, "%s %s\n", v[0], v[1+which])
		}
		return strings.ReplaceAll(text.String(), "DIR", dir)
	}
	for i := range options {
		o := &options[i]
		listed := slices.ContainsFunc(reloadable, func(v [3]string) bool { return v[0] == o.Name })
		exempt := o.field == nil || o.Refused() || o.Section == "bridge" || o.Section == "plugin" || o.Name == "include_dir" || o.Name == "message_size_limit" || o.Name == "per_listener_settings"
		if o.Reload != Restart && !exempt && !listed {
			t.Errorf("%s can be reloaded and is not in the test", o.Name)
		}
	}
	old, now := mustLoad(t, values(a)), mustLoad(t, values(b))
	before := Diff(old, now)
	for _, v := range slices.Concat(reloadable, fixed) {
		if !slices.ContainsFunc(before, func(c Change) bool { return c.Option == v[0] }) && v[0] != "maximum_qos" && v[0] != "listener" {
			t.Errorf("the change of %s is not reported", v[0])
		}
	}
	after := Diff(Reloaded(old, now), now)
	for _, c := range after {
		if c.Effect != Restart {
			t.Errorf("%s was not taken over: %+v", c.Option, c)
		}
	}
	if len(after) != len(fixed) {
		t.Errorf("%d changes are left, want %d: %+v", len(after), len(fixed), after)
	}
	if d := Diff(old, Reloaded(old, old)); d != nil {
		t.Errorf("a reload of the same changes: %+v", d)
	}
}

// reloadable are two values of every option that a reload puts in force, fixed
// of some that it does not.
var reloadable = [][3]string{
	{"accept_protocol_versions", "4", "5"},
	{"acl_deny_slash", "true", "false"},
	{"login_failures_address", "4", "5"},
	{"login_failures_user", "4", "5"},
	{"login_lockout", "4", "5"},
	{"login_lockout_max", "4", "5"},
	{"acl_file", "a", "b"},
	{"allow_anonymous", "true", "false"},
	{"allow_duplicate_messages", "true", "false"},
	{"allow_zero_length_clientid", "true", "false"},
	{"auto_id_prefix", "a", "b"},
	{"autosave_interval", "1", "2"},
	{"autosave_on_changes", "true", "false"},
	{"cafile", "a", "b"},
	{"capath", "a", "b"},
	{"certfile", "a", "b"},
	{"check_retain_source", "true", "false"},
	{"ciphers", "a", "b"},
	{"ciphers_tls1.3", "a", "b"},
	{"clientid_prefixes", "a", "b"},
	{"connection_messages", "true", "false"},
	{"crlfile", "a", "b"},
	{"disable_client_cert_date_checks", "true", "false"},
	{"enable_control_api", "true", "false"},
	{"global_max_clients", "1", "2"},
	{"global_max_connections", "1", "2"},
	{"keyfile", "a", "b"},
	{"listener_allow_anonymous", "true", "false"},
	{"listener_auto_id_prefix", "a", "b"},
	{"listener_persistence_sync", "flush", "write"},
	{"log_dest", "stdout", "file /x"},
	{"log_facility", "1", "2"},
	{"log_timestamp", "true", "false"},
	{"log_timestamp_format", "%H", "%M"},
	{"log_type", "error", "debug"},
	{"max_connections", "1", "2"},
	{"max_inflight_bytes", "1", "2"},
	{"max_inflight_messages", "1", "2"},
	{"max_keepalive", "1", "2"},
	{"max_output_bytes", "5000", "6000"},
	{"max_packet_size", "20", "30"},
	{"max_queued_age", "1h", "2h"},
	{"max_total_queued_bytes", "1", "2"},
	{"queue_policy", "refuse", "drop-oldest"},
	{"connect_timeout", "5", "6"},
	{"log_format", "json", "text"},
	{"max_connection_rate", "1", "2"},
	{"max_qos", "1", "2"},
	{"max_queued_bytes", "1", "2"},
	{"max_queued_messages", "1", "2"},
	{"max_topic_alias", "1", "2"},
	{"max_topic_alias_broker", "1", "2"},
	{"maximum_qos", "0", "1"},
	{"memory_limit", "1", "2"},
	{"mount_point", "a", "b"},
	{"password_file", "a", "b"},

	{"persistent_client_expiration", "1h", "2h"},
	{"queue_qos0_messages", "true", "false"},
	{"require_certificate", "true", "false"},
	{"retain_available", "true", "false"},
	{"retain_expiry_interval", "1", "2"},
	{"set_tcp_nodelay", "true", "false"},
	{"sys_interval", "1", "2"},
	{"tls_version", "tlsv1.2", "tlsv1.3"},
	{"upgrade_outgoing_qos", "true", "false"},
	{"use_identity_as_username", "true", "false"},
	{"use_subject_as_username", "true", "false"},
	{"use_username_as_clientid", "true", "false"},
	{"websockets_origin", "a", "b"},
}

var fixed = [][3]string{{"loops", "1", "2"}, {"pid_file", "a", "b"}, {"user", "a", "b"}, {"control_socket", "a", "b"}, {"packet_buffer_size", "1", "2"}}

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
		if err := p.finish(Args{}); err != nil {
			return
		}
		c := p.c
		if len(c.Listeners) == 0 || c.MaxPacketSize < 20 || c.MaxInflightMessages < 0 || c.MaxInflightMessages > 65534 ||
			c.SysInterval < 0 || c.SysInterval > 65535 || c.MaxQueuedMessages < 0 || c.PersistentClientExpiration < 0 {
			t.Fatalf("accepted %+v", c.Global)
		}
		for _, l := range c.Listeners {
			if (l.Port < 1) != (l.Path != "") || l.Port > 65535 || l.Versions&^AllVersions != 0 || l.Versions == 0 {
				t.Fatalf("accepted listener %+v", *l)
			}
		}
		if d := Diff(c, c); d != nil {
			t.Fatalf("differs from itself: %+v", d)
		}
	})
}

func TestBridgesAreRefused(t *testing.T) {
	const whole = "listener 1\nconnection b\naddress a\ntopic # in\n"
	for text, want := range map[string]string{
		whole:                         "Error: The bridge 'b' cannot run: bridges are not in this version of midge.\nError found at t.conf:2.",
		"connection b\ntopic # in\n":  "Error: Invalid bridge configuration: no remote addresses defined.\nError found at t.conf:1.",
		"connection b\naddress a\n":   "Error: Invalid bridge configuration: no topics defined.\nError found at t.conf:1.",
		whole + "bridge_psk aa\n":     "Error: Invalid bridge configuration: missing bridge_identity.\nError found at t.conf:2.",
		whole + "bridge_identity a\n": "Error: Invalid bridge configuration: missing bridge_psk.\nError found at t.conf:2.",
		whole + "local_clientid x\nconnection c\naddress a\ntopic #\nlocal_clientid x\n": "Error: Bridge local_clientid 'x' is not unique. Try changing or setting the local_clientid value for one of the bridges.\nError found at t.conf:6.",
	} {
		if _, _, err := load(t, text, Args{}); err == nil || err.Error() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, o := range Options() {
		if o.Section != "bridge" || o.Name == "connection" {
			continue
		}
		_, _, err := load(t, o.Name+" x\n", Args{})
		want := "Error: The '" + o.Name + "' option requires a bridge to be defined first.\nError found at t.conf:1."
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v", o.Name, err)
		}
	}
}

func TestPluginsThatAreNotThere(t *testing.T) {
	for text, want := range map[string]string{
		"plugin /x/mosquitto_dynamic_security.so\nplugin_opt_config_file f\n": "Error: Unable to load plugin '/x/mosquitto_dynamic_security.so'. The dynamic-security plugin is not in this version of midge.\nError found at t.conf:1.",
		"\nglobal_plugin mosquitto_sparkplug_aware.so\n":                      "Error: Unable to load plugin 'mosquitto_sparkplug_aware.so'. The sparkplug-aware plugin is not in this version of midge.\nError found at t.conf:2.",
		"plugin mosquitto_acl_file.so\n":                                      "Error: The acl-file plugin needs 'plugin_opt_acl_file'.\nError found at t.conf:1.",
	} {
		_, _, err := load(t, text, Args{})
		var e *Error
		if !errors.As(err, &e) || e.Error() != want || !e.Plugin {
			t.Errorf("%q: %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"plugin_load a mosquitto_acl_file.so\nplugin_opt_acl_file f\nlistener 1\n":      "Error: The plugin 'a' is loaded and no listener uses it. Add 'plugin_use a' to one.\nError found at t.conf:1.",
		"plugin mosquitto_acl_file.so\nplugin_opt_other f\n":                            "Error: Unknown option 'plugin_opt_other' for the acl-file plugin.\nError found at t.conf:2.",
		"plugin mosquitto_persist_sqlite.so\nplugin_opt_sync maybe\n":                   "Error: Invalid 'plugin_opt_sync' value (maybe).\nError found at t.conf:2.",
		"persistence true\nplugin mosquitto_persist_sqlite.so\n":                        "Error: The persist-sqlite plugin must not be combined with 'persistence true'.\nError found at t.conf:2.",
		"acl_file a\nlistener 1\nplugin mosquitto_acl_file.so\nplugin_opt_acl_file b\n": "Error: The listener '1' has two of 'acl_file', 'a' and 'b'; midge reads one.\nError found at t.conf:3.",

		"plugin_opt_acl_file b\n":                                             "Error: The 'plugin_opt_acl_file' option requires plugin/global_plugin/plugin_load to be defined first.\nError found at t.conf:1.",
		"plugin mosquitto_acl_file.so\nplugin_opt_ab b\n":                     "Error: Invalid 'plugin_opt_ab' config option.\nError found at t.conf:2.",
		"allow_anonymous true\nper_listener_settings true\n":                  "Error: per_listener_settings must be set before any other security settings.\nError found at t.conf:2.",
		"per_listener_settings true\nacl_file a\n":                            "Error: The 'acl_file' option requires a listener to be defined first.\nError found at t.conf:2.",
		"listener 1\ncertfile a\n":                                            "Error: Both certfile and keyfile must be provided to enable a TLS listener.\nError found at t.conf:1.",
		"listener 1\ncafile a\n":                                              "Error: cafile and capath need certfile and keyfile to enable a TLS listener.\nError found at t.conf:1.",
		"listener 1\nenable_proxy_protocol 2\nuse_subject_as_username true\n": "Error: enable_proxy_protocol 2 cannot be combined with certfile, keyfile or use_subject_as_username.\nError found at t.conf:1.",
		"listener 1\ncertfile a\npsk_file b\n":                                "Error: Cannot use both certificate and psk encryption in a single listener.\nError found at t.conf:3.",
	} {
		_, _, err := load(t, text, Args{})
		var e *Error
		if !errors.As(err, &e) || e.Error() != want || e.Plugin {
			t.Errorf("%q: %v", text, err)
		}
	}
	c := mustLoad(t, "plugin mosquitto_persist_sqlite.so\nplugin_opt_db_file x\n")
	if !c.Persistence || c.Storage.SQLite != "x" {
		t.Errorf("persist-sqlite: %+v", c.Storage)
	}
}

func TestIncludedFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir("d", 0o700); err != nil {
		t.Fatal(err)
	}
	write("m.conf", "listener 7\ninclude_dir d\nmax_connections 3\n")
	for name, text := range map[string]string{
		"d/bb.conf": "user two\nlog_type error\n", "d/Ba.conf": "user one\nlog_type debug\n", "d/ba.conf": "user half\n",
		"d/.conf": "user five\n", "d/x.txt": "user text\n", "d/aa.CONF": "user case\n", "d/dir.conf.d": "user dots\n",
	} {
		write(name, text)
	}
	var told []string
	c, err := Load(Args{Files: []string{"m.conf"}}, func(_ logging.Type, s string) { told = append(told, s) })
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Loading config file d/Ba.conf", "Loading config file d/ba.conf", "Loading config file d/bb.conf"}
	if !slices.Equal(told, want) || c.User != "two" || c.Listeners[0].MaxConnections != 3 || c.File != "m.conf" || c.LogTypes != logging.Error|logging.Debug {
		t.Errorf("told %q, got %+v", told, c.Global)
	}
	for text, want := range map[string]string{
		"foo 1\n":             "Error: Unknown configuration variable 'foo'.\nError found at 'd/bb.conf:1'.\nError found at m.conf:2.",
		"include_dir d\n":     "Error: The 'include_dir' option is only allowed in the main configuration file.\nError found at 'd/bb.conf:1'.\nError found at m.conf:2.",
		"max_topic_alias 1\n": "Error: The 'max_topic_alias' option requires a listener to be defined first.\nError found at 'd/bb.conf:1'.\nError found at m.conf:2.",
	} {
		write("d/bb.conf", text)
		if _, err := Load(Args{Files: []string{"m.conf"}}, nil); err == nil || err.Error() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}
