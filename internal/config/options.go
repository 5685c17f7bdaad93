package config

import (
	"slices"
	"strings"
)

// place says where in a file an option may stand.
type place uint8

const (
	anywhere      place = iota
	inListener          // after a listener, the implicit one included
	inOwnListener       // after a `listener` line
	inSecurity          // anywhere; with per_listener_settings after a listener, to which it then belongs
	opensImplicit       // for the current listener; makes the implicit one when there is none
	ofImplicit          // for the implicit listener, which it makes when there is none
	opensSection        // anywhere; the value belongs to the listener it opens
	inBridge            // after a `connection` line
	inPlugin            // after a line that names a plugin
)

// Effect says when a changed value is in force after a reload.
type Effect uint8

// When a change takes effect.
const (
	Restart        Effect = iota // not before the next start
	AtOnce                       // with the reload
	NextConnection               // for connections made after the reload
)

// String says it in words.
func (e Effect) String() string {
	switch e {
	case AtOnce:
		return "at once"
	case NextConnection:
		return "next connection"
	default:
		return "restart"
	}
}

// Option is one name that may stand in a configuration file.
type Option struct {
	Name    string
	Section string // where it belongs, for the reference: global, security, listener, plugin, bridge or none
	Values  string // what may follow, for the reference
	Default string // as one would write it; empty means none
	Reload  Effect // when a changed value takes effect
	Own     bool   // midge's, unknown to Mosquitto
	Meaning string
	Hint    string // what to use instead, when the option is deprecated

	place place
	field field  // nil: not supported, or gone
	gone  string // the warning for an option that Mosquitto, too, only swallows
}

// Supported reports whether the option has an effect in this version.
func (o *Option) Supported() bool {
	_, refused := o.field.(refusedField)
	return o.field != nil && !refused
}

// Refused reports whether a line with the option, or with some of its values,
// is an error because midge does not do what it asks for.
func (o *Option) Refused() bool {
	_, refused := o.field.(refusedField)
	return refused
}

// Family reports whether the name is the beginning of many, with a free end.
func (o *Option) Family() bool { return strings.HasSuffix(o.Name, "_*") }

// scope is what one value of an option is for.
type scope uint8

const (
	broker    scope = iota
	inSection       // a listener
	perBridge
	nowhere // nothing to compare: sections and plugins are compared as a whole
)

func (o *Option) scope() scope {
	switch o.place {
	case anywhere, inSecurity:
		return broker
	case inBridge:
		return perBridge
	case inPlugin:
		return nowhere
	default:
		return inSection
	}
}

const boolValues = "`true` or `false`"

// options is every option, in alphabetical order. Lookup, defaults, checks,
// reload and the reference come from this table and from nowhere else. Its
// parts stand in the files of their subject.
var options = sorted(brokerOptions, guardOptions, logOptions, persistenceOptions, listenerOptions, tlsOptions, securityOptions, ownSecurityOptions, pluginOptions, bridgeOptions)

func sorted(parts ...[]Option) []Option {
	return slices.SortedFunc(slices.Values(slices.Concat(parts...)), func(a, b Option) int { return strings.Compare(a.Name, b.Name) })
}

// Options returns the table, in alphabetical order. It must not be changed.
func Options() []Option { return options }

// byName indexes the table, the families without their star.
var byName, families = index()

func index() (m map[string]*Option, families []*Option) {
	m = make(map[string]*Option, len(options))
	for i := range options {
		o := &options[i]
		if o.Family() {
			families = append(families, o)
			continue
		}
		m[o.Name] = o
	}
	return m, families
}

// lookup returns the option called name, nil when Mosquitto does not know it
// either.
func lookup(name string) *Option {
	if o := byName[name]; o != nil {
		return o
	}
	for _, f := range families {
		if strings.HasPrefix(name, strings.TrimSuffix(f.Name, "*")) {
			o := *f
			o.Name = name
			return &o
		}
	}
	return nil
}
