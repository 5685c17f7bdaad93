package config

import (
	"path/filepath"
	"strconv"
	"strings"
)

// Plugin is a line that names a plugin. midge loads no shared object: the ones
// that come with Mosquitto are built in and chosen by their file names.
type Plugin struct {
	Kind    PluginKind
	Name    string // plugin_load's name, empty for the other lines
	Path    string
	Options []PluginOption

	// Listener is the section the plugin belongs to, nil for all listeners.
	// UsedBy are the listeners with a plugin_use line for it.
	Listener *Listener
	UsedBy   []*Listener

	option string // the option of the line that names it
	file   string
	line   int
}

// PluginOption is one plugin_opt_ line.
type PluginOption struct {
	Key, Value string

	err *Error // what to say when the value cannot be used
}

// PluginKind is one of the plugins that are built in.
type PluginKind string

// The plugins of Mosquitto by the names they give themselves.
const (
	DynamicSecurity PluginKind = "dynamic-security"
	PasswordFile    PluginKind = "password-file"
	ACLFile         PluginKind = "acl-file"
	PersistSQLite   PluginKind = "persist-sqlite"
	SparkplugAware  PluginKind = "sparkplug-aware"
)

// pluginFiles are the plugins by the file names they are installed under,
// without directory and ending.
var pluginFiles = map[string]PluginKind{
	"mosquitto_dynamic_security": DynamicSecurity,
	"mosquitto_password_file":    PasswordFile,
	"mosquitto_acl_file":         ACLFile,
	"mosquitto_persist_sqlite":   PersistSQLite,
	"mosquitto_sparkplug_aware":  SparkplugAware,
}

// pluginOptions name plugins and give them their values.
var pluginOptions = []Option{
	{
		Name: "auth_opt_*", Section: "plugin", place: inPlugin, Values: "text", Reload: AtOnce,
		Meaning: "Same as `plugin_opt_*`.", field: pluginOptField{},
	},
	{
		Name: "auth_plugin", Section: "plugin", place: inSecurity, Values: "path", Reload: AtOnce,
		Meaning: "Same as `plugin`.", field: pluginField{},
	},
	{
		Name: "auth_plugin_deny_special_chars", Section: "plugin", place: inPlugin, Values: boolValues,
		Meaning: "Concerns plugins of older interfaces than those built in, which refuse such names where they matter: checked, without effect.",
		field:   denySpecialField{},
	},
	{
		Name: "global_plugin", Section: "plugin", Values: "path", Reload: AtOnce,
		Meaning: "Like `plugin`, and for all listeners with `per_listener_settings`, too.", field: pluginField{global: true},
	},
	{
		Name: "plugin", Section: "plugin", place: inSecurity, Values: "path", Reload: AtOnce,
		Meaning: "Switches on what the plugin of this file name does: `mosquitto_password_file.so`, `mosquitto_acl_file.so`, `mosquitto_persist_sqlite.so`. It is built in, the file need not exist. `mosquitto_dynamic_security.so` and `mosquitto_sparkplug_aware.so` are not in this version; any other is refused.",
		field:   pluginField{},
	},
	{
		Name: "plugin_load", Section: "plugin", Values: "name and path", Reload: AtOnce,
		Meaning: "Likewise under a name, for the listeners with a `plugin_use` line. Without one it is an error.", field: pluginLoadField{},
	},
	{
		Name: "plugin_opt_*", Section: "plugin", place: inPlugin, Values: "text", Reload: AtOnce,
		Meaning: "A value for the plugin in the line before: `plugin_opt_password_file`, `plugin_opt_acl_file`; `plugin_opt_db_file`, `plugin_opt_sync`, `plugin_opt_flush_period` and `plugin_opt_page_size` for persist-sqlite.",
		field:   pluginOptField{},
	},
	{
		Name: "plugin_use", Section: "plugin", place: inOwnListener, Values: "name", Reload: AtOnce,
		Meaning: "The listener uses the plugin that `plugin_load` has given this name.", field: pluginUseField{},
	},
}

// pluginField is plugin, auth_plugin and global_plugin.
type pluginField struct{ global bool }

func (f pluginField) parse(p *parser, o *Option, rest string) error {
	// The path follows exactly one blank and keeps the others.
	if strings.TrimSpace(rest) == "" {
		return p.errorf("Error: Empty '%s' value in configuration.", o.Name)
	}
	g, err := p.addPlugin(o, rest)
	if err != nil {
		return err
	}
	if !f.global && p.c.PerListenerSettings {
		g.Listener = p.listener
	}
	return nil
}

func (pluginField) format(target) string { return "" }
func (pluginField) carry(_, _ target)    {}

// addPlugin begins a plugin, whose options may follow.
func (p *parser) addPlugin(o *Option, path string) (*Plugin, error) {
	base := filepath.Base(strings.TrimSpace(path))
	for _, ending := range []string{".so", ".dll", ".dylib"} {
		base = strings.TrimSuffix(base, ending)
	}
	kind, ok := pluginFiles[strings.TrimPrefix(base, "lib")]
	if !ok {
		e := p.errorf("Error: Unable to load plugin '%s'. midge loads no shared objects; it has %s built in, and programs can decide on rights through the library's Policy.",
			path, "password files, access control files and the store")
		e.Plugin = true
		return nil, e
	}
	p.plugin = &Plugin{Kind: kind, Path: path, option: o.Name, file: p.file, line: p.line}
	p.c.Plugins = append(p.c.Plugins, p.plugin)
	if kind == DynamicSecurity {
		for _, other := range p.c.Plugins[:len(p.c.Plugins)-1] {
			if other.Kind == kind {
				e := p.errorf("Error: Dynamic security plugin can currently only be loaded once.")
				e.Plugin = true
				return nil, e
			}
		}
	}
	return p.plugin, nil
}

// pluginLoadField is plugin_load.
type pluginLoadField struct{}

func (pluginLoadField) parse(p *parser, o *Option, rest string) error {
	name, path := cutWord(rest)
	switch {
	case name == "":
		return p.errorf("Error: Empty '%s' value in configuration.", o.Name)
	case strings.TrimSpace(path) == "":
		return p.errorf("Error: Empty '%s' path in configuration.", o.Name)
	case p.c.plugin(name) != nil:
		return p.errorf("Error: Duplicate '%s' name '%s' in configuration.", o.Name, name)
	}
	g, err := p.addPlugin(o, path)
	if err != nil {
		return err
	}
	g.Name = name
	return nil
}

func (pluginLoadField) format(target) string { return "" }
func (pluginLoadField) carry(_, _ target)    {}

// plugin returns the one that plugin_load called name.
func (c *Config) plugin(name string) *Plugin {
	for _, g := range c.Plugins {
		if g.Name == name {
			return g
		}
	}
	return nil
}

// pluginUseField is plugin_use.
type pluginUseField struct{}

func (pluginUseField) parse(p *parser, o *Option, rest string) error {
	name, err := p.word(o.Name, rest)
	if err != nil {
		return err
	}
	g := p.c.plugin(name)
	if g == nil {
		return p.errorf("Error: Plugin '%s' not found for '%s'. It has to be named by 'plugin_load' first.", name, o.Name)
	}
	g.UsedBy = append(g.UsedBy, p.listener)
	p.plugin = g
	return nil
}

func (pluginUseField) format(target) string { return "" }
func (pluginUseField) carry(_, _ target)    {}

// pluginOptField is the family plugin_opt_ with its old name auth_opt_.
type pluginOptField struct{}

func (pluginOptField) parse(p *parser, o *Option, rest string) error {
	key := strings.TrimPrefix(strings.TrimPrefix(o.Name, "plugin_opt_"), "auth_opt_")
	if len(key) < 3 {
		return p.errorf("Error: Invalid '%s' config option.", o.Name)
	}
	value := strings.TrimLeft(rest, " ")
	if value == "" {
		return p.errorf("Error: Empty '%s' value in configuration.", key)
	}
	p.plugin.Options = append(p.plugin.Options, PluginOption{Key: key, Value: value, err: p.errorf("")})
	return nil
}

func (pluginOptField) format(target) string { return "" }
func (pluginOptField) carry(_, _ target)    {}

// denySpecialField is auth_plugin_deny_special_chars.
type denySpecialField struct{}

func (denySpecialField) parse(p *parser, o *Option, rest string) error {
	_, err := p.parseBool(o.Name, rest)
	return err
}

func (denySpecialField) format(target) string { return "" }
func (denySpecialField) carry(_, _ target)    {}

// errorf is an error about the plugin's own line.
func (g *Plugin) errorf(format string, args ...any) *Error {
	return at(g.file, g.line, format, args...)
}

// finishPlugins puts in force what the plugins stand for.
func (p *parser) finishPlugins() error {
	for _, g := range p.c.Plugins {
		if g.Name != "" && len(g.UsedBy) == 0 {
			return g.errorf("Error: The plugin '%s' is loaded and no listener uses it. Add 'plugin_use %s' to one.", g.Name, g.Name)
		}
		if err := g.checkOptions(p); err != nil {
			return err
		}
		if err := p.usePlugin(g); err != nil {
			return err
		}
	}
	return nil
}

// usePlugin puts one plugin in force.
func (p *parser) usePlugin(g *Plugin) error {
	switch g.Kind {
	case DynamicSecurity, SparkplugAware:
		e := g.errorf("Error: Unable to load plugin '%s'. The %s plugin is not in this version of midge.", g.Path, g.Kind)
		e.Plugin = true
		return e
	case PersistSQLite:
		if p.given["persistence"] && p.c.Persistence || p.given["retained_persistence"] && p.c.Persistence {
			return g.errorf("Error: The persist-sqlite plugin must not be combined with 'persistence true'.")
		}
		return p.usePersistence(g)
	case PasswordFile:
		return p.useFile(g, "password_file", func(s *Security) *string { return &s.PasswordFile })
	case ACLFile:
		return p.useFile(g, "acl_file", func(s *Security) *string { return &s.ACLFile })
	}
	return nil
}

// useFile gives a plugin's file to the listeners the plugin is for. Each reads
// one such file: which of two would decide first cannot be said.
func (p *parser) useFile(g *Plugin, key string, at func(*Security) *string) error {
	path := ""
	for _, o := range g.Options {
		path = o.Value
	}
	if path == "" {
		e := g.errorf("Error: The %s plugin needs 'plugin_opt_%s'.", g.Kind, key)
		e.Plugin = true
		return e
	}
	for _, l := range p.c.Listeners {
		if !g.concerns(l) {
			continue
		}
		to := at(&l.Security)
		if *to != "" && *to != path {
			return g.errorf("Error: The listener '%s' has two of '%s', '%s' and '%s'; midge reads one.", l.Name(), key, *to, path)
		}
		*to = path
	}
	if g.Name == "" && g.Listener == nil {
		*at(&p.c.Security) = path
	}
	return nil
}

// concerns reports whether a listener has the plugin.
func (g *Plugin) concerns(l *Listener) bool {
	if g.Name == "" {
		return g.Listener == nil || g.Listener == l
	}
	for _, u := range g.UsedBy {
		if u == l {
			return true
		}
	}
	return false
}

// pluginKeys are the options of each plugin and the check of their values; nil
// takes every value.
var pluginKeys = map[PluginKind]map[string]func(string) bool{
	PasswordFile:    {"password_file": nil},
	ACLFile:         {"acl_file": nil},
	DynamicSecurity: {"config_file": nil, "password_init_file": nil},
	SparkplugAware:  nil,
	PersistSQLite: {
		"db_file":      nil,
		"sync":         func(v string) bool { return v == "extra" || v == "full" || v == "normal" || v == "off" },
		"flush_period": isNumber,
		"page_size":    isNumber,
	},
}

func isNumber(v string) bool {
	n, err := strconv.Atoi(v)
	return err == nil && n >= 0
}

// checkOptions refuses options that the plugin does not know, and values it
// cannot take. Names are compared without regard to case.
func (g *Plugin) checkOptions(*parser) error {
	if g.Kind == SparkplugAware {
		return nil // what it takes is judged when it is there
	}
	for i := range g.Options {
		o := &g.Options[i]
		key := strings.ToLower(o.Key)
		check, known := pluginKeys[g.Kind][key]
		switch {
		case !known:
			o.err.Text = "Error: Unknown option 'plugin_opt_" + o.Key + "' for the " + string(g.Kind) + " plugin."
			return o.err
		case check != nil && !check(o.Value):
			o.err.Text = "Error: Invalid 'plugin_opt_" + o.Key + "' value (" + o.Value + ")."
			return o.err
		}
		o.Key = key
	}
	return nil
}
