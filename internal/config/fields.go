package config

import (
	"fmt"
	"strconv"
	"strings"
)

// target is what an option's value belongs to: the broker, and, where it has
// sections, the current one.
type target struct {
	g *Global
	l *Listener
	b *Bridge
}

// security is where the security options stand at present.
func (t target) security() *Security {
	if t.g.PerListenerSettings && t.l != nil {
		return &t.l.Security
	}
	return &t.g.Security
}

// field reads an option's value into the configuration, writes it back as text
// and carries it from one configuration to another. rest is what follows the
// name and one blank.
type field interface {
	parse(p *parser, o *Option, rest string) error
	format(t target) string
	carry(to, from target)
}

// boolField is `true`, `1`, `false` or `0`; further words are tolerated, so a
// comment may follow.
type boolField struct {
	at      func(t target) *bool
	inverse bool                                   // the value in the configuration is the opposite
	then    func(p *parser, v bool) (wrong string) // what else a value entails, and the text of an error; may be nil
}

func (f boolField) parse(p *parser, o *Option, rest string) error {
	v, err := p.parseBool(o.Name, rest)
	if err != nil {
		return err
	}
	if f.then != nil {
		if wrong := f.then(p, v); wrong != "" {
			return p.errorf("%s", wrong)
		}
	}
	*f.at(p.target()) = v != f.inverse
	return nil
}

func (f boolField) format(t target) string { return strconv.FormatBool(*f.at(t) != f.inverse) }
func (f boolField) carry(to, from target)  { *f.at(to) = *f.at(from) }

// triField is a truth value that may be absent.
type triField struct {
	at func(t target) **bool
}

func (f triField) parse(p *parser, o *Option, rest string) error {
	v, err := p.parseBool(o.Name, rest)
	if err != nil {
		return err
	}
	*f.at(p.target()) = &v
	return nil
}

func (f triField) format(t target) string {
	if v := *f.at(t); v != nil {
		return strconv.FormatBool(*v)
	}
	return ""
}

func (f triField) carry(to, from target) { *f.at(to) = *f.at(from) }

// intField is a number with limits.
type intField struct {
	at    func(t target) *int
	label string // the name in messages when it is not the option's

	// check returns the value to keep, or the text of the error; nil keeps all.
	check func(n int) (keep int, wrong string)
	// raise is the notice about a value that check has changed; empty for none.
	raise string
	// show writes the value back; nil writes the number.
	show func(n int) string
}

func (f intField) parse(p *parser, o *Option, rest string) error {
	label := f.label
	if label == "" {
		label = o.Name
	}
	n, err := p.parseInt(label, rest)
	if err != nil {
		return err
	}
	keep := n
	if f.check != nil {
		var wrong string
		if keep, wrong = f.check(n); wrong != "" {
			return p.errorf("%s", wrong)
		}
	}
	if keep != n && f.raise != "" {
		p.notice("%s", f.raise)
	}
	*f.at(p.target()) = keep
	return nil
}

func (f intField) format(t target) string {
	if f.show != nil {
		return f.show(*f.at(t))
	}
	return strconv.Itoa(*f.at(t))
}

func (f intField) carry(to, from target) { *f.at(to) = *f.at(from) }

// notNegative takes a negative number as 0.
func notNegative(n int) (int, string) { return max(n, 0), "" }

// atLeast raises what is below lo.
func atLeast(lo int) func(int) (int, string) {
	return func(n int) (int, string) { return max(n, lo), "" }
}

// between refuses what is outside lo..hi with a text that may hold a verb for
// the number.
func between(lo, hi int, text string) func(int) (int, string) {
	return func(n int) (int, string) {
		if n < lo || n > hi {
			if strings.Contains(text, "%d") {
				return 0, fmt.Sprintf(text, n)
			}
			return 0, text
		}
		return n, ""
	}
}

// textField is the rest of the line.
type textField struct {
	at      func(t target) *string
	replace bool // a second line replaces the first; otherwise it is an error

	// check returns the value to keep, or the text of the error; nil keeps all.
	check func(p *parser, s string) (keep, wrong string)
}

func (f textField) parse(p *parser, o *Option, rest string) error {
	at := f.at(p.target())
	if !f.replace && *at != "" {
		return p.errorf("Error: Duplicate '%s' value in configuration.", o.Name)
	}
	s, err := p.parseString(o.Name, rest)
	if err != nil {
		return err
	}
	if f.check != nil {
		var wrong string
		if s, wrong = f.check(p, s); wrong != "" {
			return p.errorf("%s", wrong)
		}
	}
	*at = s
	return nil
}

func (f textField) format(t target) string { return *f.at(t) }
func (f textField) carry(to, from target)  { *f.at(to) = *f.at(from) }

// wordField is one of a few words; further words are tolerated.
type wordField struct {
	at    func(t target) *string
	words []string
	wrong string // the text of the error, with a verb for the word
}

func (f wordField) parse(p *parser, o *Option, rest string) error {
	w, err := p.word(o.Name, rest)
	if err != nil {
		return err
	}
	for _, known := range f.words {
		if w == known {
			*f.at(p.target()) = w
			return nil
		}
	}
	return p.errorf(f.wrong, w)
}

func (f wordField) format(t target) string { return *f.at(t) }
func (f wordField) carry(to, from target)  { *f.at(to) = *f.at(from) }

// refusedField is an option that midge knows and cannot honour: its line is an
// error that says why. read checks the value first, so that a slip in it is
// named as such.
type refusedField struct {
	read func(p *parser, o *Option, rest string) error
	why  string // full sentence
	// tolerate reports that the value asks for nothing that midge does not do.
	tolerate func(rest string) bool
}

func (f refusedField) parse(p *parser, o *Option, rest string) error {
	if f.tolerate != nil && f.tolerate(rest) {
		return nil
	}
	if f.read != nil {
		if err := f.read(p, o, rest); err != nil {
			return err
		}
	}
	return p.errorf("Error: The '%s' option is not supported by midge. %s", o.Name, f.why)
}

func (refusedField) format(target) string { return "" }
func (refusedField) carry(_, _ target)    {}

// readText checks a value that is the rest of the line.
func readText(p *parser, o *Option, rest string) error {
	_, err := p.parseString(o.Name, rest)
	return err
}
