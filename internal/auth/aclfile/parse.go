package aclfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/safefile"
	"github.com/midgemq/midge/mqtt"
)

// Load reads an ACL file. warnings are for the log: wrong owner or mode, no rule
// in it, patterns without a variable.
func Load(path string) (l *List, warnings []string, err error) {
	data, warnings, err := safefile.Read(path)
	if err != nil {
		return nil, warnings, auth.NewFileError(path, 0, "Unable to open ACL file", safefile.Cause(err))
	}
	l, more, err := Parse(path, data)
	return l, append(warnings, more...), err
}

// access are the words that say what a rule is about. The last three are
// midge's own.
var access = map[string]rule{
	"read":           {allow: mayRead},
	"write":          {allow: mayWrite},
	"readwrite":      {allow: mayRead | mayWrite},
	"deny":           {deny: mayRead | mayWrite},
	"deny-read":      {deny: mayRead},
	"deny-write":     {deny: mayWrite},
	"deny-subscribe": {deny: maySubscribe},
}

// Parse reads the content of an ACL file; path is for messages.
func Parse(path string, data []byte) (l *List, warnings []string, err error) {
	l = &List{path: path, anonymous: new(section), users: make(map[string]*section), patterns: new(section)}
	p := parser{l: l, to: l.anonymous}
	for n := 1; len(data) > 0; n++ {
		var line []byte
		line, data, _ = bytes.Cut(data, []byte("\n"))
		if f := p.line(string(line), n); f != nil {
			return nil, p.warnings, auth.NewFileError(path, n, f.what, f.cause)
		}
	}
	if p.rules == 0 {
		p.warnings = append(p.warnings, fmt.Sprintf("Warning: ACL file %s has no rules in it, so everything is denied to everybody.", path))
	}
	l.anonymous.index()
	l.patterns.index()
	for _, s := range l.users {
		s.index()
	}
	return l, p.warnings, nil
}

type parser struct {
	l        *List
	to       *section // of the last user line, or the anonymous one
	rules    int
	warnings []string
}

type fault struct {
	what  string
	cause error
}

// line takes one line. Only the blank separates words; white space at the end
// does not count.
func (p *parser) line(line string, n int) *fault {
	line = strings.TrimRight(line, " \t\r\v\f")
	if line == "" || line[0] == '#' {
		return nil
	}
	word, rest := cutWord(line)
	switch word {
	case "user":
		name := strings.TrimSpace(rest)
		if name == "" {
			return &fault{"Missing username in ACL file", errors.New("a user line needs a name")}
		}
		if p.l.users[name] == nil {
			p.l.users[name] = new(section)
		}
		p.to = p.l.users[name]
		return nil
	case "topic":
		return p.rule(p.to, line, rest, n, false)
	case "pattern":
		return p.rule(p.l.patterns, line, rest, n, true)
	}
	return &fault{"Invalid line in ACL file", fmt.Errorf("%q is neither user, topic nor pattern", word)}
}

// cutWord cuts the first word off.
func cutWord(s string) (word, rest string) {
	word, rest, _ = strings.Cut(strings.TrimLeft(s, " "), " ")
	return word, rest
}

func (p *parser) rule(to *section, line, rest string, n int, pattern bool) *fault {
	word, filter := cutWord(rest)
	filter = strings.TrimSpace(filter)
	r := rule{allow: mayRead | mayWrite}
	switch {
	case word == "":
		return &fault{"Empty topic in ACL file", errors.New("the line names no topic")}
	case filter == "":
		filter = word // one word is the filter, also when it reads like an access word
	default:
		var ok bool
		if r, ok = access[word]; !ok {
			return &fault{"Invalid topic access type in ACL file", fmt.Errorf("%q is none of read, write, readwrite, deny, deny-read, deny-write, deny-subscribe", word)}
		}
	}
	if err := mqtt.CheckFilter(filter); err != nil {
		return &fault{"Invalid ACL topic in ACL file", fmt.Errorf("%q: %w", filter, err)}
	}
	r.line, r.text = n, strings.TrimLeft(line, " ")
	r.dollar = filter[0] == '$'
	for _, l := range strings.Split(filter, "/") {
		r.levels = append(r.levels, levelOf(l, pattern))
	}
	if pattern {
		for _, l := range r.levels {
			r.user = r.user || l.kind == userName
			r.vars = r.vars || l.kind == userName || l.kind == clientID
		}
		if !r.vars {
			p.warnings = append(p.warnings, fmt.Sprintf("Warning: ACL pattern '%s' does not contain '%%c' or '%%u' (%s, line %d).", filter, p.l.path, n))
		}
	}
	p.rules++
	if r.deny != 0 {
		to.denies = append(to.denies, r)
	} else {
		to.allows = append(to.allows, r)
	}
	return nil
}

func levelOf(s string, pattern bool) level {
	switch {
	case s == "+":
		return level{kind: plus}
	case s == "#":
		return level{kind: hash}
	case pattern && s == "%c":
		return level{kind: clientID}
	case pattern && s == "%u":
		return level{kind: userName}
	}
	return level{kind: literal, text: s}
}
