package config

import "slices"

// Change is one option whose value differs between two configurations.
type Change struct {
	Option   string
	Listener string // which listener, empty for a global option
	From, To string
	Effect   Effect // when the new value is in force after a reload
}

// Diff lists what changed from old to new, in the order of the table.
// Listeners are matched by where they listen; one that only one side has
// appears as a change of the option listener.
func Diff(old, new *Config) []Change {
	var out []Change
	add := func(s scope, listener string, was, is target) {
		for i := range options {
			o := &options[i]
			if o.field == nil || o.scope() != s && (s != inSection || o.place != inSecurity) {
				continue
			}
			if s == inSection && o.place == inSecurity && !(old.PerListenerSettings && new.PerListenerSettings) {
				continue // compared as a whole
			}
			from, to := o.field.format(was), o.field.format(is)
			if from == to {
				continue
			}
			out = append(out, Change{Option: o.Name, Listener: listener, From: from, To: to, Effect: o.Reload})
		}
	}
	add(broker, "", target{g: &old.Global}, target{g: &new.Global})
	for _, was := range old.Listeners {
		i := slices.IndexFunc(new.Listeners, was.same)
		if i < 0 {
			out = append(out, Change{Option: "listener", From: was.Name(), Effect: Restart})
			continue
		}
		add(inSection, was.Name(), target{g: &old.Global, l: was}, target{g: &new.Global, l: new.Listeners[i]})
	}
	for _, is := range new.Listeners {
		if !slices.ContainsFunc(old.Listeners, is.same) {
			out = append(out, Change{Option: "listener", To: is.Name(), Effect: Restart})
		}
	}
	return dropAliases(out)
}

// dropAliases leaves one of two changes where an option has two names.
func dropAliases(list []Change) []Change {
	aliases := map[string]string{
		"maximum_qos": "max_qos", "retained_persistence": "persistence", "websockets_headers_size": "packet_buffer_size",
	}
	return slices.DeleteFunc(list, func(c Change) bool {
		_, alias := aliases[c.Option]
		return alias
	})
}

// Reloaded returns what is in force after old is reloaded as new: new, with the
// values of old for all that needs a restart. Neither is changed.
func Reloaded(old, new *Config) *Config {
	c := *new
	c.LocalOnly, c.TLSKeyLog = old.LocalOnly, old.TLSKeyLog
	carry := func(s scope, to, from target) {
		for i := range options {
			if o := &options[i]; o.field != nil && o.scope() == s && o.Reload == Restart {
				o.field.carry(to, from)
			}
		}
	}
	carry(broker, target{g: &c.Global}, target{g: &old.Global})
	c.Listeners = nil
	for _, was := range old.Listeners {
		l := *was
		if i := slices.IndexFunc(new.Listeners, was.same); i >= 0 {
			l = *new.Listeners[i]
		}
		carry(inSection, target{g: &c.Global, l: &l}, target{g: &old.Global, l: was})
		c.Listeners = append(c.Listeners, &l)
	}
	return &c
}

// same reports whether both listen in the same place.
func (l *Listener) same(m *Listener) bool {
	return l.Port == m.Port && l.Address == m.Address && l.Path == m.Path &&
		l.SocketDomain == m.SocketDomain && l.BindInterface == m.BindInterface
}
