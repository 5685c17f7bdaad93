package config

import (
	"strconv"
	"strings"

	"github.com/midgemq/midge/internal/logging"
)

// defaultLogTypes stands for the four types in the default column.
const defaultLogTypes = "error+warning+notice+information"

// logOptions say what is logged where.
var logOptions = []Option{
	{
		Name: "connection_messages", Section: "global", Values: boolValues, Default: "true", Reload: AtOnce,
		Meaning: "Whether clients that come and go are logged.",
		field:   boolField{at: func(t target) *bool { return &t.g.ConnectionMessages }},
	},
	{
		Name: "log_dest", Section: "global", Reload: AtOnce, Default: "stderr",
		Values:  "`stderr`, `stdout`, `syslog`, `topic`, `none`, or `file` and a path",
		Meaning: "Where log lines go. Several lines add up; `none` clears those before it. `topic` publishes below `$SYS/broker/log/`. `dlt` and `android` are refused.",
		field:   logDestField{},
	},
	{
		Name: "log_facility", Section: "global", Values: "0 to 7", Reload: AtOnce,
		Meaning: "Facility for syslog, local0 to local7. Without the option: daemon.",
		field: intField{
			at: func(t target) *int { return &t.g.LogFacility },
			check: func(n int) (int, string) {
				n, wrong := between(0, 7, "Error: Invalid 'log_facility' value (%d).")(n)
				return n + 1, wrong
			},
			show: func(n int) string {
				if n == 0 {
					return ""
				}
				return strconv.Itoa(n - 1)
			},
		},
	},
	{
		Name: "log_format", Section: "global", Own: true, Values: "`text` or `json`", Default: "text", Reload: AtOnce,
		Meaning: "Whether a line is text as Mosquitto writes it, or a JSON object with `time`, `type` and `text`; lines about clients that come and go have further members, see disconnects.md.",
		field: wordField{
			at: func(t target) *string { return &t.g.LogFormat }, words: []string{"text", "json"},
			wrong: "Error: Invalid 'log_format' value (%s).",
		},
	},
	{
		Name: "log_timestamp", Section: "global", Values: boolValues, Default: "true", Reload: AtOnce,
		Meaning: "Whether each line begins with the time.",
		field:   boolField{at: func(t target) *bool { return &t.g.LogTimestamp }},
	},
	{
		Name: "log_timestamp_format", Section: "global", Values: "strftime format", Reload: AtOnce,
		Meaning: "Format of the time, in local time. Without the option: seconds since the epoch.",
		field:   textField{at: func(t target) *string { return &t.g.LogTimestampFormat }},
	},
	{
		Name: "log_type", Section: "global", Default: defaultLogTypes, Reload: AtOnce,
		Values:  "`error`, `warning`, `notice`, `information`, `debug`, `subscribe`, `unsubscribe`, `internal`, `websockets`, `none` or `all`",
		Meaning: "Which lines are logged. Several lines add up; `none` clears those before it. Without the option: error, warning, notice and information. `-v` and `-q` win over it.",
		field:   logTypeField{},
	},
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
	case "dlt", "android":
		return p.errorf("Error: The '%s' value '%s' is not supported by midge. Use stderr, stdout, syslog, topic or file.", o.Name, w)
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

func (logDestField) format(t target) string {
	s := t.g.LogDest.String()
	if t.g.LogDest&logging.ToFile != 0 {
		s += " " + t.g.LogFile
	}
	return s
}

func (logDestField) carry(to, from target) {
	to.g.LogDest, to.g.LogFile = from.g.LogDest, from.g.LogFile
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

func (logTypeField) format(t target) string { return t.g.LogTypes.String() }
func (logTypeField) carry(to, from target)  { to.g.LogTypes = from.g.LogTypes }
