package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/midgemq/midge/internal/logging"
)

// field reads an option's value into the configuration and writes it back as
// text. rest is what follows the name and one blank.
type field interface {
	parse(p *parser, o *Option, rest string) error
	format(g *Global, l *Listener) string
}

// boolField is `true`, `1`, `false` or `0`; further words are tolerated, so a
// comment may follow.
type boolField struct {
	at     func(g *Global, l *Listener) *bool
	refuse func(v bool) string // the error text for a value, "" when it is fine; nil takes both
}

func (f boolField) parse(p *parser, o *Option, rest string) error {
	w, err := p.word(o.Name, rest)
	if err != nil {
		return err
	}
	var v bool
	switch w {
	case "true", "1":
		v = true
	case "false", "0":
	default:
		return p.errorf("Error: Invalid '%s' value (%s).", o.Name, w)
	}
	if f.refuse != nil {
		if text := f.refuse(v); text != "" {
			return p.errorf("%s", text)
		}
	}
	*f.at(&p.c.Global, p.listener) = v
	return nil
}

func (f boolField) format(g *Global, l *Listener) string {
	return strconv.FormatBool(*f.at(g, l))
}

// intField is a number with limits.
type intField struct {
	at    func(g *Global, l *Listener) *int
	label string // the name in messages when it is not the option's

	// check returns the value to keep, or the text of the error.
	check func(n int) (keep int, wrong string)
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
	n, wrong := f.check(n)
	if wrong != "" {
		return p.errorf("%s", wrong)
	}
	*f.at(&p.c.Global, p.listener) = n
	return nil
}

func (f intField) format(g *Global, l *Listener) string { return strconv.Itoa(*f.at(g, l)) }

// notNegative takes a negative number as 0.
func notNegative(n int) (int, string) { return max(n, 0), "" }

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
	at      func(g *Global, l *Listener) *string
	replace bool // a second line replaces the first; otherwise it is an error
}

func (f textField) parse(p *parser, o *Option, rest string) error {
	if !f.replace && p.given[o.Name] {
		return p.errorf("Error: Duplicate '%s' value in configuration.", o.Name)
	}
	s, err := p.parseString(o.Name, rest)
	if err != nil {
		return err
	}
	*f.at(&p.c.Global, p.listener) = s
	return nil
}

func (f textField) format(g *Global, l *Listener) string { return *f.at(g, l) }

// listenerField opens a section.
type listenerField struct{}

func (listenerField) parse(p *parser, o *Option, rest string) error {
	port, err := p.parseInt("listener port", rest)
	if err != nil {
		return err
	}
	if port < 0 || port > 65535 {
		return p.errorf("Error: Invalid 'port' value (%d).", port)
	}
	_, rest = cutWord(rest)
	address, _ := cutWord(rest)
	if strings.HasPrefix(address, "#") {
		address = ""
	}
	if port == 0 {
		if address == "" {
			return p.errorf("Error: A listener with port 0 must provide a Unix socket path.")
		}
		return p.errorf("Error: The '%s' option with a Unix socket path is not supported in this version of midge.", o.Name)
	}
	l := p.addListener()
	l.Port, l.Address = port, address
	p.listener, p.listens = l, true
	return nil
}

func (listenerField) format(_ *Global, l *Listener) string { return l.Name() }

// portField is the deprecated option port.
type portField struct{}

func (portField) parse(p *parser, o *Option, rest string) error {
	if p.given[o.Name] {
		p.report(logging.Warning, "Warning: Default listener port specified multiple times. Only the latest will be used.")
	}
	n, err := p.parseInt(o.Name, rest)
	if err != nil {
		return err
	}
	if n < 1 || n > 65535 {
		return p.errorf("Error: Invalid 'port' value (%d).", n)
	}
	p.listener.Port = n
	return nil
}

func (portField) format(_ *Global, l *Listener) string { return strconv.Itoa(l.Port) }

// protocolField is the option protocol.
type protocolField struct{}

func (protocolField) parse(p *parser, o *Option, rest string) error {
	w, err := p.word(o.Name, rest)
	if err != nil {
		return err
	}
	switch w {
	case string(MQTT), string(WebSockets):
		p.listener.Protocol = Protocol(w)
		return nil
	case "http_api":
		return p.errorf("Error: The '%s' value '%s' is not supported in this version of midge.", o.Name, w)
	}
	return p.errorf("Error: Invalid '%s' value (%s).", o.Name, w)
}

func (protocolField) format(_ *Global, l *Listener) string { return string(l.Protocol) }

// versionsField is accept_protocol_versions. Mosquitto skips elements it does
// not know and then admits nobody; here they are errors.
type versionsField struct{}

func (versionsField) parse(p *parser, o *Option, rest string) error {
	var set VersionSet
	words := strings.FieldsFunc(rest, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' })
	if len(words) == 0 {
		return p.errorf("Error: Empty '%s' value in configuration.", o.Name)
	}
	for _, w := range words {
		if w != "3" && w != "4" && w != "5" {
			return p.errorf("Error: Invalid '%s' value (%s).", o.Name, w)
		}
		set |= 1 << (w[0] - '0')
	}
	p.listener.Versions = set
	return nil
}

func (versionsField) format(_ *Global, l *Listener) string {
	var words []string
	for level := byte(3); level <= 5; level++ {
		if l.Versions.Has(level) {
			words = append(words, strconv.Itoa(int(level)))
		}
	}
	return strings.Join(words, ",")
}

// logDestField is the option log_dest, whose lines add up within a file.
type logDestField struct{}

func (logDestField) parse(p *parser, o *Option, rest string) error {
	w, err := p.word(o.Name, rest)
	if err != nil {
		return err
	}
	dest := p.c.LogDest
	if !p.logDestSet {
		dest = 0
	}
	switch w {
	case "none":
		dest = 0
	case "dlt":
		return p.errorf("Error: The '%s' value '%s' is not supported in this version of midge.", o.Name, w)
	default:
		d, ok := logging.ParseDest(w)
		if !ok {
			return p.errorf("Error: Invalid '%s' value (%s).", o.Name, w)
		}
		dest |= d
		if d == logging.ToFile {
			if err := p.logFile(rest); err != nil {
				return err
			}
		}
	}
	p.logDestSet = true
	p.c.LogDest = dest
	return nil
}

// logFile reads the path in `log_dest file PATH`: the rest of the line, blanks
// at its end included.
func (p *parser) logFile(rest string) error {
	if p.c.LogFile != "" {
		return p.errorf(`Error: Duplicate "log_dest file" value.`)
	}
	_, path := cutWord(rest)
	path = strings.TrimLeft(path, " \t")
	if path == "" {
		return p.errorf(`Error: Empty "log_dest file" value in configuration.`)
	}
	p.c.LogFile = path
	return nil
}

func (logDestField) format(g *Global, _ *Listener) string {
	s := g.LogDest.String()
	if g.LogDest&logging.ToFile != 0 {
		s += " " + g.LogFile
	}
	return s
}

// logTypeField is the option log_type, whose lines add up within a file. Its
// default is written as several words, which a file cannot do.
type logTypeField struct{}

func (logTypeField) parse(p *parser, o *Option, rest string) error {
	w, err := p.word(o.Name, rest)
	if err != nil {
		return err
	}
	types := p.c.LogTypes
	if !p.logTypesSet {
		types = logging.None
	}
	switch w {
	case "none":
		types = logging.None
	case "all":
		types = logging.All
	case defaultLogTypes:
		types = logging.Default
	default:
		t, ok := logging.ParseType(w)
		if !ok {
			return p.errorf("Error: Invalid '%s' value (%s).", o.Name, w)
		}
		types |= t
	}
	p.logTypesSet = true
	p.c.LogTypes = types
	return nil
}

func (logTypeField) format(g *Global, _ *Listener) string { return g.LogTypes.String() }

// expirationField is persistent_client_expiration.
type expirationField struct{}

// expirationUnits are the suffixes; a month has 30 days and a year 365.
var expirationUnits = map[byte]time.Duration{
	's': time.Second,
	'h': time.Hour,
	'd': 24 * time.Hour,
	'w': 7 * 24 * time.Hour,
	'm': 30 * 24 * time.Hour,
	'y': 365 * 24 * time.Hour,
}

func (expirationField) parse(p *parser, o *Option, rest string) error {
	w, err := p.word(o.Name, rest)
	if err != nil {
		return err
	}
	unit := expirationUnits[w[len(w)-1]]
	n, err := strconv.ParseInt(w[:len(w)-1], 10, 32)
	if unit == 0 || err != nil || n < 1 || n > int64(1<<63-1)/int64(unit) {
		return p.errorf("Error: Invalid '%s' duration in configuration.", o.Name)
	}
	p.c.PersistentClientExpiration = time.Duration(n) * unit
	return nil
}

func (expirationField) format(g *Global, _ *Listener) string {
	if g.PersistentClientExpiration == 0 {
		return ""
	}
	return fmt.Sprintf("%ds", int64(g.PersistentClientExpiration/time.Second))
}
