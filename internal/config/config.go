// Package config reads mosquitto.conf: its grammar, its options with defaults
// and limits, the checks that follow, and what a reload changes.
//
// One table (options.go) is the only place where an option exists; parsing,
// defaults, the generated reference and the comparison at reload come from it.
// An option of Mosquitto that this version does not carry out is refused by
// name, file and line, never skipped. Texts of errors are Mosquitto's own,
// since scripts look for them, upper case and full stop included.
//
// The package opens configuration files and nothing else: no socket, no log,
// no password file. Its functions may be called from any goroutine; a Config
// is written by Load alone and only read afterwards.
package config

import (
	"slices"

	"github.com/midgemq/midge/internal/logging"
)

// Args is what the command line contributes.
type Args struct {
	Files   []string // -c, in order; options of a later file overwrite
	Ports   []int    // -p, only used when no file says where to listen
	Verbose bool     // -v: every log type, whatever the files say
	Quiet   bool     // -q: no log type at all; wins over Verbose
}

// Reporter receives warnings and notices about a configuration that is valid.
type Reporter func(t logging.Type, text string)

// Default is the configuration without file and arguments.
func Default() *Config {
	c, err := Load(Args{}, nil)
	if err != nil {
		panic(err) // the defaults in the table are wrong: a test catches it first
	}
	return c
}

// Load reads the files and applies the arguments. An error is an *Error.
// report may be nil.
func Load(a Args, report Reporter) (*Config, error) {
	p := newParser(report)
	for _, f := range a.Files {
		if err := p.readFile(f); err != nil {
			return nil, err
		}
	}
	p.finish(a)
	return p.c, nil
}

// finish applies what can only be known when everything is read.
func (p *parser) finish(a Args) {
	c := p.c
	switch {
	case a.Quiet:
		c.LogTypes = logging.None
	case a.Verbose:
		c.LogTypes = logging.All
	}
	c.LocalOnly = !p.listens
	if c.LocalOnly {
		p.localOnly(a.Ports)
	} else if len(a.Ports) > 0 {
		p.report(logging.Warning, "Warning: The -p argument has no effect because the configuration file defines a listener.")
	}
	if !p.given["allow_anonymous"] {
		c.AllowAnonymous = c.LocalOnly
	}
	for _, l := range c.Listeners {
		l.AllowAnonymous = c.AllowAnonymous
	}
}

// defaultPort is the port of MQTT without TLS.
const defaultPort = 1883

// localOnly replaces the listeners by the loopback addresses. What options
// outside any section said about the implicit listener is lost in this mode.
func (p *parser) localOnly(ports []int) {
	for _, l := range p.c.Listeners {
		p.report(logging.Warning, "Warning: The options for the default listener, from "+l.File+" on, have no effect because no 'listener' is defined.")
	}
	p.c.Listeners = nil
	if len(ports) == 0 {
		ports = []int{defaultPort}
	}
	for _, port := range ports {
		for _, address := range []string{"127.0.0.1", "::1"} {
			l := newListener()
			l.Port, l.Address, l.Implicit = port, address, true
			p.c.Listeners = append(p.c.Listeners, l)
		}
	}
}

// CopyReloadable takes over from new the options that take effect without a
// restart.
func (c *Config) CopyReloadable(new *Config) {
	g, n := &c.Global, &new.Global
	g.ConnectionMessages = n.ConnectionMessages
	g.LogTypes, g.LogDest, g.LogFile, g.LogFacility = n.LogTypes, n.LogDest, n.LogFile, n.LogFacility
	g.LogTimestamp, g.LogTimestampFormat = n.LogTimestamp, n.LogTimestampFormat
}

// Change is one option whose value differs between two configurations.
type Change struct {
	Option   string
	Listener string // which listener, empty for a global option
	From, To string
	Reload   bool // takes effect without a restart
}

// Diff lists what changed from old to new, in the order of the table.
// Listeners are matched by port and address; one that only one side has
// appears as a change of the option listener.
func Diff(old, new *Config) []Change {
	var out []Change
	for i := range options {
		o := &options[i]
		if o.field == nil || o.listenerScope() {
			continue
		}
		if from, to := o.field.format(&old.Global, nil), o.field.format(&new.Global, nil); from != to {
			out = append(out, Change{Option: o.Name, From: from, To: to, Reload: o.Reload})
		}
	}
	for _, was := range old.Listeners {
		i := slices.IndexFunc(new.Listeners, was.same)
		if i < 0 {
			out = append(out, Change{Option: "listener", From: was.Name()})
			continue
		}
		out = append(out, was.diff(new, new.Listeners[i])...)
	}
	for _, is := range new.Listeners {
		if !slices.ContainsFunc(old.Listeners, is.same) {
			out = append(out, Change{Option: "listener", To: is.Name()})
		}
	}
	return out
}

func (l *Listener) diff(c *Config, is *Listener) []Change {
	var out []Change
	for i := range options {
		o := &options[i]
		if o.field == nil || !o.listenerScope() {
			continue
		}
		if from, to := o.field.format(&c.Global, l), o.field.format(&c.Global, is); from != to {
			out = append(out, Change{Option: o.Name, Listener: l.Name(), From: from, To: to, Reload: o.Reload})
		}
	}
	return out
}

func (l *Listener) same(m *Listener) bool { return l.Port == m.Port && l.Address == m.Address }
