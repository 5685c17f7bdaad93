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
	"github.com/midgemq/midge/internal/logging"
)

// Args is what the command line contributes.
type Args struct {
	Files     []string // -c, in order; options of a later file overwrite
	Ports     []int    // -p, only used when no file says where to listen
	Verbose   bool     // -v: every log type, whatever the files say
	Quiet     bool     // -q: no log type at all; wins over Verbose
	TLSKeyLog string   // --tls-keylog: file for the secrets of TLS sessions
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
	if err := p.finish(a); err != nil {
		return nil, err
	}
	return p.c, nil
}

// finish applies what can only be known when everything is read.
func (p *parser) finish(a Args) error {
	c := p.c
	c.TLSKeyLog = a.TLSKeyLog
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
		p.warning("Warning: The -p argument has no effect because the configuration file defines a listener.")
	}
	for _, l := range c.Listeners {
		if err := l.check(); err != nil {
			return err
		}
	}
	p.settleSecurity()
	if err := p.finishPlugins(); err != nil {
		return err
	}
	return p.finishBridges()
}

// settleSecurity gives every listener the security options that are in force
// for it.
func (p *parser) settleSecurity() {
	c := p.c
	allowed := func(own *bool) bool { return own != nil && *own || own == nil && c.LocalOnly }
	c.AllowAnonymous = allowed(c.Security.anonymous)
	if c.Security.AutoIDPrefix == "" {
		c.Security.AutoIDPrefix = defaultAutoID
	}
	for _, l := range c.Listeners {
		if c.PerListenerSettings && !c.LocalOnly {
			l.AllowAnonymous = allowed(l.Security.anonymous)
		} else {
			l.Security, l.AllowAnonymous = c.Security, c.AllowAnonymous
		}
		if l.AnonymousOwn != nil {
			l.AllowAnonymous = *l.AnonymousOwn
		}
		if l.autoIDPrefix != "" {
			l.Security.AutoIDPrefix = l.autoIDPrefix
		}
		if l.Security.AutoIDPrefix == "" {
			l.Security.AutoIDPrefix = defaultAutoID
		}
	}
}

// check makes the checks that need the whole section.
func (l *Listener) check() error {
	t := &l.TLS
	wrong := ""
	switch {
	case (t.CertFile == "") != (t.KeyFile == ""):
		wrong = "Error: Both certfile and keyfile must be provided to enable a TLS listener."
	case t.CertFile == "" && (t.CAFile != "" || t.CAPath != ""):
		wrong = "Error: cafile and capath need certfile and keyfile to enable a TLS listener."
	case l.ProxyProtocol == 2 && (t.CertFile != "" || l.UseSubjectAsUsername):
		wrong = "Error: enable_proxy_protocol 2 cannot be combined with certfile, keyfile or use_subject_as_username."
	case l.Path != "" && l.Protocol == HTTPAPI:
		wrong = "Error: A listener with protocol http_api needs a port, not a Unix socket."
	}
	if wrong != "" {
		return at(l.File, l.Line, "%s", wrong)
	}
	return nil
}

const (
	// defaultPort is the port of MQTT without TLS.
	defaultPort = 1883
	// defaultAutoID stands in front of generated client ids.
	defaultAutoID = "auto-"
)

// localOnly replaces the listeners by the loopback addresses. What options
// outside any section said about the implicit listener is lost in this mode.
func (p *parser) localOnly(ports []int) {
	for _, l := range p.c.Listeners {
		p.warning("%s", "Warning: The options for the default listener, from "+l.File+" on, have no effect because no 'listener' is defined.")
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
