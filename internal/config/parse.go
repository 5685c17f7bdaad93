package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/mqtt"
)

// maxFile bounds a configuration file in bytes, so that a path such as
// /dev/zero ends in an error and not in the end of memory.
const maxFile = 16 << 20

// maxString bounds a string value in bytes, as in a packet of MQTT.
const maxString = 65535

// Error is a configuration that cannot be used. Its text is one that
// Mosquitto's users know, and where in which file it was found.
type Error struct {
	Text string
	File string // empty when the fault is in no line
	Line int

	// IncludedBy is the file with the include_dir line that brought File in, and
	// IncludedAt that line; empty when File was named itself.
	IncludedBy string
	IncludedAt int

	// Plugin: a plugin cannot be had, which has an exit status of its own.
	Plugin bool
}

// Error gives the text and, on further lines, the place.
func (e *Error) Error() string { return strings.Join(e.Lines(), "\n") }

// Lines gives the lines to log.
func (e *Error) Lines() []string {
	switch {
	case e.Line == 0:
		return []string{e.Text}
	case e.IncludedBy != "":
		return []string{
			e.Text,
			fmt.Sprintf("Error found at '%s:%d'.", e.File, e.Line),
			fmt.Sprintf("Error found at %s:%d.", e.IncludedBy, e.IncludedAt),
		}
	}
	return []string{e.Text, fmt.Sprintf("Error found at %s:%d.", e.File, e.Line)}
}

// parser is the state while files are read.
type parser struct {
	c      *Config
	report Reporter

	file string // being read
	line int

	includedBy string // the file that includes this one, empty in the main one
	includedAt int

	listener *Listener // current section, nil outside
	implicit *Listener // the one made by options outside any section
	bridge   *Bridge   // current section, nil outside
	plugin   *Plugin   // what plugin_opt_ lines belong to, nil before any

	listens  bool            // listener, port or bind_address was seen
	security bool            // an option that per_listener_settings concerns was seen
	given    map[string]bool // options that appeared in any file

	// Per file: the first log_dest or log_type of a file starts a new set.
	logDestSet, logTypesSet bool
}

func newParser(report Reporter) *parser {
	if report == nil {
		report = func(logging.Type, string) {}
	}
	p := &parser{c: new(Config), report: report, given: make(map[string]bool)}
	applyDefaults(target{g: &p.c.Global}, broker)
	return p
}

func newListener() *Listener {
	l := new(Listener)
	applyDefaults(target{g: new(Global), l: l}, inSection)
	return l
}

// applyDefaults runs the defaults in the table through the same code that
// reads a file, those of one scope.
func applyDefaults(t target, s scope) {
	p := &parser{
		c:        &Config{Global: *t.g},
		report:   func(logging.Type, string) {},
		listener: t.l,
		bridge:   t.b,
		given:    make(map[string]bool),
	}
	for i := range options {
		o := &options[i]
		if o.field == nil || o.Default == "" || o.scope() != s {
			continue
		}
		if err := o.field.parse(p, o, o.Default); err != nil {
			panic(fmt.Sprintf("config: default of %s: %v", o.Name, err))
		}
	}
	*t.g = p.c.Global
}

func (p *parser) target() target { return target{g: &p.c.Global, l: p.listener, b: p.bridge} }

func (p *parser) errorf(format string, args ...any) *Error {
	return &Error{
		Text: fmt.Sprintf(format, args...), File: p.file, Line: p.line,
		IncludedBy: p.includedBy, IncludedAt: p.includedAt,
	}
}

// at makes an error that is found when everything is read appear at the section
// it is about.
func at(file string, line int, format string, args ...any) *Error {
	return &Error{Text: fmt.Sprintf(format, args...), File: file, Line: line}
}

func (p *parser) notice(format string, args ...any) {
	p.report(logging.Notice, fmt.Sprintf(format, args...))
}

func (p *parser) warning(format string, args ...any) {
	p.report(logging.Warning, fmt.Sprintf(format, args...))
}

// readFile reads one file given with -c, or found by include_dir.
func (p *parser) readFile(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return &Error{Text: fmt.Sprintf("Error: Config file '%s' is a directory.", path)}
	}
	f, err := os.Open(path)
	if err != nil {
		return &Error{Text: fmt.Sprintf("Error: Unable to open config file '%s'.", path)}
	}
	defer f.Close()
	return p.read(path, f)
}

// read reads the text of one file; name is for messages.
func (p *parser) read(name string, r io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = errors.New("larger than 16 MiB")
	}
	if err != nil {
		return &Error{Text: fmt.Sprintf("Error: Unable to read config file '%s': %v.", name, err)}
	}
	p.file, p.line = name, 0
	p.listener, p.bridge, p.plugin = nil, nil, nil
	if p.includedBy == "" {
		p.c.File = name
		p.logDestSet, p.logTypesSet = false, false
	}
	for len(text) > 0 {
		line := text
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			line, text = text[:i+1], text[i+1:]
		} else {
			text = nil
		}
		p.line++
		if err := p.parseLine(string(line)); err != nil {
			return err
		}
	}
	return nil
}

// parseLine reads one line with its line feed. A comment sign counts in the
// first column only; names end at a blank and at nothing else, so a tab
// belongs to the name.
func (p *parser) parseLine(line string) error {
	if line == "" || line[0] == '#' || line[0] == '\n' || line[0] == '\r' {
		return nil
	}
	name, rest := cutWord(strings.TrimRight(line, "\r\n"))
	if name == "" {
		return nil
	}
	o := lookup(name)
	if o == nil {
		return p.unknown(name)
	}
	if o.field == nil {
		if o.gone != "" {
			p.warning(o.gone, name)
			return nil
		}
		return p.errorf("Error: The '%s' option is not supported in this version of midge.", name)
	}
	if err := p.enter(o); err != nil {
		return err
	}
	if err := o.field.parse(p, o, rest); err != nil {
		return err
	}
	p.given[o.Name] = true
	return nil
}

func (p *parser) unknown(name string) error {
	if strings.ContainsRune(name, '\t') {
		p.report(logging.Notice, "Names and values in a configuration file are separated by blanks, not by tabs.")
	}
	return p.errorf("Error: Unknown configuration variable '%s'.", name)
}

// enter applies the rule on where an option may stand and makes the implicit
// listener when the option calls for it.
func (p *parser) enter(o *Option) error {
	if o.Hint != "" {
		p.notice("The '%s' option is now deprecated and will be removed in version 3.0. %s", o.Name, o.Hint)
	}
	missing := ""
	switch o.place {
	case inListener:
		if p.listener == nil {
			missing = "a listener"
		}
	case inOwnListener:
		if p.listener == nil || p.listener == p.implicit {
			missing = "a listener"
		}
	case inSecurity:
		p.security = true
		if p.c.PerListenerSettings && p.listener == nil {
			missing = "a listener"
		}
	case opensImplicit:
		if p.listener == nil {
			p.openImplicit(o.Name)
		}
	case ofImplicit:
		p.openImplicit(o.Name)
		p.listens = true
	case inBridge:
		if p.bridge == nil {
			missing = "a bridge"
		}
	case inPlugin:
		if p.plugin == nil {
			missing = "plugin/global_plugin/plugin_load"
		}
	case anywhere, opensSection:
	}
	if missing != "" {
		return p.errorf("Error: The '%s' option requires %s to be defined first.", o.Name, missing)
	}
	return nil
}

// openImplicit makes the implicit listener current, creating it when needed.
func (p *parser) openImplicit(name string) {
	if p.implicit == nil {
		p.report(logging.Information, fmt.Sprintf("Creating default listener due to '%s' option.", name))
		p.report(logging.Information, fmt.Sprintf("It is best practice to define a 'listener' first. Using the '%s' option without a listener will be disabled in the future.", name))
		l := p.addListener()
		l.Port, l.Implicit = defaultPort, true
		p.implicit = l
	}
	p.listener = p.implicit
}

func (p *parser) addListener() *Listener {
	l := newListener()
	l.File, l.Line = p.file, p.line
	p.c.Listeners = append(p.c.Listeners, l)
	return l
}

// cutWord returns the first blank-separated word of s and what follows the
// blank behind it.
func cutWord(s string) (word, rest string) {
	word, rest, _ = strings.Cut(strings.TrimLeft(s, " "), " ")
	return word, rest
}

// word reads the first word of a value; an absent one is an error.
func (p *parser) word(label, rest string) (string, error) {
	w, _ := cutWord(rest)
	if w == "" {
		return "", p.errorf("Error: Empty '%s' value in configuration.", label)
	}
	return w, nil
}

// parseBool reads a truth value.
func (p *parser) parseBool(label, rest string) (bool, error) {
	w, err := p.word(label, rest)
	if err != nil {
		return false, err
	}
	switch w {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, p.errorf("Error: Invalid '%s' value (%s).", label, w)
}

// parseInt reads an integer as C does with base 0: 0x for hexadecimal, a
// leading 0 for octal, 32 bits, and nothing but digits in the word.
func (p *parser) parseInt(label, rest string) (int, error) {
	w, err := p.word(label, rest)
	if err != nil {
		return 0, err
	}
	n, wrong := cInt(w, 32)
	if wrong != "" {
		return 0, p.errorf("Error: '%s' value %s.", label, wrong)
	}
	return n, nil
}

// cInt reads a word as an integer of that many bits; wrong says what it is
// otherwise.
func cInt(w string, bits int) (n int, wrong string) {
	digits := strings.TrimLeft(w, "\t\v\f\r\n")
	negative := false
	if digits != "" && (digits[0] == '-' || digits[0] == '+') {
		negative = digits[0] == '-'
		digits = digits[1:]
	}
	base := 10
	switch {
	case len(digits) > 2 && (digits[:2] == "0x" || digits[:2] == "0X"):
		base, digits = 16, digits[2:]
	case len(digits) > 1 && digits[0] == '0':
		base, digits = 8, digits[1:]
	}
	u, err := strconv.ParseUint(digits, base, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, "not a number"
	}
	limit := uint64(1)<<(bits-1) - 1
	if err != nil || u > limit+1 || (!negative && u > limit) {
		return 0, "out of range"
	}
	if negative {
		return -int(u), ""
	}
	return int(u), ""
}

// parseString reads the rest of the line without the blanks around it.
func (p *parser) parseString(label, rest string) (string, error) {
	s := strings.Trim(rest, " \t\v\f\r")
	switch {
	case s == "":
		return "", p.errorf("Error: Empty '%s' value in configuration.", label)
	case len(s) > maxString:
		return "", p.errorf("Error: The '%s' value is longer than %d bytes.", label, maxString)
	case !mqtt.ValidString(s):
		return "", p.errorf("Error: Malformed UTF-8 in configuration.")
	}
	return s, nil
}
