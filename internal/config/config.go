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
	"time"

	"github.com/midgemq/midge/internal/logging"
)

// Config is a whole configuration: command line and files put together.
type Config struct {
	Global

	// Listeners to open, in the order of the file. In local-only mode these
	// are the loopback addresses, one pair for each port.
	Listeners []*Listener

	// LocalOnly: nothing said where to listen, so only this machine may
	// connect, without a user name.
	LocalOnly bool

	// File is the configuration file read last, the one that a reload reads
	// again; empty without one.
	File string
}

// Global holds the options that concern the whole broker.
type Global struct {
	AllowDuplicateMessages bool // false: one copy of a message for overlapping subscriptions of a 3.x client
	ConnectionMessages     bool // log clients that come and go
	RetainAvailable        bool // retained messages are kept and delivered
	SetTCPNodelay          bool // disable Nagle's algorithm on accepted sockets

	// AllowAnonymous is the value for listeners; Load has copied it there.
	AllowAnonymous bool

	GlobalMaxConnections int // open sockets over all listeners; 0 means no limit
	MaxInflightMessages  int // QoS 1 and 2 in flight per client and direction, 0 (no limit) to 65534
	MaxKeepAlive         int // seconds, 0 (no limit) to 65535
	MaxPacketSize        int // bytes of an incoming packet, at least 20
	MaxQueuedBytes       int // payload bytes queued per client; 0 means no limit
	MaxQueuedMessages    int // messages queued per client; 0 means no limit
	MessageSizeLimit     int // payload bytes of an incoming PUBLISH; 0 means no limit
	SysInterval          int // seconds between updates of $SYS, 0 (never) to 65535

	// PersistentClientExpiration bounds how long an offline session lives; 0
	// means no bound.
	PersistentClientExpiration time.Duration

	Persistence bool // always false in this version; true is refused

	LogTypes           logging.Type
	LogDest            logging.Dest
	LogFile            string
	LogFacility        int // 1 to 8 for local0 to local7; 0 means daemon
	LogTimestamp       bool
	LogTimestampFormat string // strftime; empty means seconds since the epoch

	User    string // whom to become when started as root
	PIDFile string // empty means none

	MaxOutputBytes int    // bytes waiting in the output buffer of one connection
	Loops          int    // event loops; 0 means one for each CPU
	ControlSocket  string // path; empty means the default place, "none" no socket
}

// Protocol is what a listener speaks.
type Protocol string

// The protocols a listener can have.
const (
	MQTT       Protocol = "mqtt"
	WebSockets Protocol = "websockets"
)

// Listener is one `listener` section, or the implicit one that port and
// bind_address describe.
type Listener struct {
	Port     int    // 1 to 65535
	Address  string // host name or address; empty means every IPv4 and IPv6 address
	Protocol Protocol

	Versions VersionSet // accept_protocol_versions

	AllowAnonymous      bool // a client without user name may connect
	MaxConnections      int  // open sockets of this listener; 0 means no limit
	MaxTopicAlias       int  // aliases a client may set, 0 to 65535
	MaxTopicAliasBroker int  // aliases the broker sets towards a client, 0 to 65535

	Implicit bool   // made by an option outside any section, or for local-only mode
	File     string // where the section begins, for messages; empty in local-only mode
	Line     int
}

// VersionSet is a set of protocol levels 3, 4 and 5.
type VersionSet uint8

// AllVersions admits MQTT 3.1, 3.1.1 and 5.0.
const AllVersions VersionSet = 1<<3 | 1<<4 | 1<<5

// Has reports whether the set holds the protocol level.
func (s VersionSet) Has(level byte) bool { return level < 8 && s&(1<<level) != 0 }

// Logging translates the log_ options for the logger.
func (g *Global) Logging() logging.Options {
	return logging.Options{
		Types:           g.LogTypes,
		Dest:            g.LogDest,
		File:            g.LogFile,
		Facility:        g.LogFacility - 1,
		Timestamp:       g.LogTimestamp,
		TimestampFormat: g.LogTimestampFormat,
		HideConnections: !g.ConnectionMessages,
	}
}

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
