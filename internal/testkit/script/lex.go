package script

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// word is one token of a statement.
type word struct {
	src    string // as written, without its condition
	cond   string // "[v5]" in front of the token, without brackets
	name   string // the part before '=' of name=value
	value  string // the value, or the whole token when there is no name; unescaped
	quoted bool   // the value was written in quotes: no wildcards, ranges or generators
	stop   byte   // '{', '}', ';' or '\n' for structure, 0 for an ordinary token
	line   int
}

// is tells whether the word is the bare token s.
func (w word) is(s string) bool { return w.name == "" && !w.quoted && w.value == s }

var (
	reCond = regexp.MustCompile(`^\[(!?[a-z0-9]+(?:,!?[a-z0-9]+)*)\]`)
	reName = regexp.MustCompile(`^-?[a-z][a-z0-9.-]*=`)
)

// lex cuts one line of a script's body into words. A line whose first character
// is '#' is a comment; '#' elsewhere is an ordinary character, as in filters.
func lex(line string, no int) ([]word, error) {
	var out []word
	if s := strings.TrimSpace(line); s == "" || s[0] == '#' || s == "----" {
		return nil, nil
	}
	for {
		line = strings.TrimLeft(line, " \t")
		if line == "" {
			return append(out, word{stop: '\n', line: no}), nil
		}
		src, rest, err := cutToken(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", no, err)
		}
		line = rest
		w := word{src: src, line: no}
		if len(src) == 1 && strings.Contains("{};", src) {
			w.stop = src[0]
			out = append(out, w)
			continue
		}
		if err := w.split(); err != nil {
			return nil, fmt.Errorf("line %d: %w", no, err)
		}
		out = append(out, w)
	}
}

// cutToken returns the token at the start of line: everything up to a blank
// outside quotes.
func cutToken(line string) (tok, rest string, err error) {
	in := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && in:
			i++
		case c == '"':
			in = !in
		case (c == ' ' || c == '\t') && !in:
			return line[:i], line[i:], nil
		}
	}
	if in {
		return "", "", fmt.Errorf("quote not closed in %s", line)
	}
	return line, "", nil
}

func (w *word) split() error {
	s := w.src
	if m := reCond.FindStringSubmatch(s); m != nil {
		w.cond = m[1]
		s = s[len(m[0]):]
		w.src = s
	}
	if n := reName.FindString(s); n != "" {
		w.name = n[:len(n)-1]
		s = s[len(n):]
	}
	v, quoted, err := unquote(s)
	w.value, w.quoted = v, quoted
	return err
}

// unquote resolves quoted stretches with Go's escapes; quoted tells whether
// there was one.
func unquote(s string) (out string, quoted bool, err error) {
	if !strings.Contains(s, `"`) {
		return s, false, nil
	}
	var b strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '"')
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		end := i + 1
		for end < len(s) && s[end] != '"' {
			if s[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(s) {
			return "", true, fmt.Errorf("quote not closed in %s", s)
		}
		q, err := strconv.Unquote(s[i : end+1])
		if err != nil {
			return "", true, fmt.Errorf("bad quoted text %s", s[i:end+1])
		}
		b.WriteString(q)
		s = s[end+1:]
	}
	return b.String(), true, nil
}

// env holds what a run knows: variables, protocol version and target.
type env struct {
	version byte
	target  string
	vars    map[string]string
	// foreign forgives what only this project's broker promises.
	foreign bool
	// check marks a dry run that only builds packets and matchers: unknown
	// variables read as 1.
	check bool
}

// literal dollar words of MQTT, never variables.
var reserved = map[string]bool{"share": true, "SYS": true, "CONTROL": true, "queue": true}

var reVar = regexp.MustCompile(`\$\$|\$\{?([A-Za-z][A-Za-z0-9]*)\}?`)

// expand replaces $name and ${name}; $$ stands for a dollar sign.
func (e *env) expand(s string) (string, error) {
	if !strings.Contains(s, "$") {
		return s, nil
	}
	var err error
	out := reVar.ReplaceAllStringFunc(s, func(m string) string {
		if m == "$$" {
			return "$"
		}
		name := strings.Trim(m[1:], "{}")
		if v, ok := e.vars[name]; ok {
			return v
		}
		if name == "v" {
			return strconv.Itoa(int(e.version))
		}
		if reserved[name] {
			return m
		}
		if !e.check {
			err = fmt.Errorf("variable %s is not set", m)
		}
		return "1"
	})
	return out, err
}

// holds evaluates a condition such as "v3,v4" or "!mosquitto": one of the listed
// versions and one of the listed targets, and none of those behind '!'.
func (e *env) holds(cond string) bool {
	if cond == "" {
		return true
	}
	seen := map[bool]bool{}  // kind (version?) -> listed positively
	match := map[bool]bool{} // kind -> one of them is ours
	for _, c := range strings.Split(cond, ",") {
		c, not := strings.CutPrefix(c, "!")
		isVersion := len(c) == 2 && c[0] == 'v'
		own := c == e.target || isVersion && c[1] == '0'+e.version
		if not {
			if own {
				return false
			}
			continue
		}
		seen[isVersion] = true
		match[isVersion] = match[isVersion] || own
	}
	return (!seen[true] || match[true]) && (!seen[false] || match[false])
}

var (
	reSize   = regexp.MustCompile(`^([0-9]+)(B|KB|MB)$`)
	reRepeat = regexp.MustCompile(`(?s)^(.+)\*([0-9]+)$`)
)

// text is the value of a word with variables and generators resolved: 10KB gives
// that many bytes of a fixed pattern, ab*3 gives ababab.
func (e *env) text(w word) (string, error) {
	if w.quoted {
		return e.expand(w.value)
	}
	s, err := e.expand(w.value)
	if err != nil {
		return "", err
	}
	if m := reSize.FindStringSubmatch(s); m != nil && w.name == "payload" {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return "", err
		}
		return pattern(n * map[string]int{"B": 1, "KB": 1 << 10, "MB": 1 << 20}[m[2]]), nil
	}
	if m := reRepeat.FindStringSubmatch(s); m != nil {
		n, err := strconv.Atoi(m[2])
		if err != nil {
			return "", err
		}
		if n*len(m[1]) > 64<<20 {
			return "", fmt.Errorf("%s: more than 64 MB", w.src)
		}
		return strings.Repeat(m[1], n), nil
	}
	return s, nil
}

// pattern gives n printable bytes that show where they come from when cut.
func pattern(n int) string {
	const line = "0123456789abcdef0123456789ABCDEF"
	return strings.Repeat(line, n/len(line)+1)[:n]
}

// number reads an integer value in decimal or with 0x.
func (e *env) number(w word, max uint64) (uint64, error) {
	s, err := e.expand(w.value)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil || n > max {
		return 0, fmt.Errorf("%s: a number up to %d is wanted", w.src, max)
	}
	return n, nil
}

// flag reads a token that may stand alone (true) or as name=0|1|true|false.
func (e *env) flag(w word) (bool, error) {
	if w.name == "" {
		return true, nil
	}
	switch s, err := e.expand(w.value); {
	case err != nil:
		return false, err
	case s == "1" || s == "true":
		return true, nil
	case s == "0" || s == "false":
		return false, nil
	}
	return false, fmt.Errorf("%s: true or false is wanted", w.src)
}
