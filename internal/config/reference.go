package config

import (
	"fmt"
	"slices"
	"strings"
)

// Reference renders docs/configuration.md from the table of options.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	for _, section := range []struct{ name, title, text string }{
		{"global", "Options for the whole broker", ""},
		{"listener", "Options for a listener", "They belong to the `listener` line before them. `max_connections` and `protocol` without one make a default listener on port 1883, as `port` and `bind_address` do.\n\n"},
		{"none", "Obsolete options", ""},
	} {
		fmt.Fprintf(&b, "## %s\n\n%s", section.title, section.text)
		b.WriteString("| option | values | default | on SIGHUP | meaning |\n|---|---|---|---|---|\n")
		for i := range options {
			if o := &options[i]; o.Section == section.name {
				b.WriteString(o.row())
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("## Refused options\n\nMosquitto knows these, this version of midge does not carry them out yet. A file that holds one is refused with its name, file and line.\n\n")
	for _, section := range []string{"global", "listener", "security", "bridge"} {
		names := strings.Fields(unsupported[section])
		if section == "security" {
			for _, p := range unsupportedPrefixes {
				names = append(names, p+"*")
			}
		}
		slices.Sort(names)
		fmt.Fprintf(&b, "- %s: `%s`\n", section, strings.Join(names, "`, `"))
	}
	return b.String()
}

func (o *Option) row() string {
	def := "none"
	if o.Default != "" {
		def = "`" + strings.ReplaceAll(o.Default, "+", "`, `") + "`"
	}
	reload := "needs a restart"
	if o.Reload {
		reload = "takes effect"
	}
	meaning := o.Meaning
	if o.Own {
		meaning += " Not known to Mosquitto."
	}
	if o.Hint != "" {
		meaning += " Deprecated."
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", o.Name, o.Values, def, reload, meaning)
}

const referenceHead = "<!-- Generated from internal/config/options.go by `go test ./internal/config -update`. -->\n\n" +
	"# Configuration\n\n" +
	"`midge serve -c FILE` reads a file in the format of `mosquitto.conf`. Without a file, or with one that has no " +
	"`listener`, `port` or `bind_address`, midge runs in local-only mode: it listens on 127.0.0.1 and ::1, on port 1883 " +
	"or those given with `-p`, and needs no user name.\n\n" +
	"## The file\n\n" +
	"- One option a line: name, blank, value. Blanks before the name are skipped. A tab is not a blank.\n" +
	"- A line whose first character is `#` is a comment. Elsewhere `#` is part of the text, except after a number, a truth value or a listener's port.\n" +
	"- Truth values are `true`, `1`, `false`, `0`. Numbers may be decimal, `0x` hexadecimal or, with a leading 0, octal, and fit 32 bits.\n" +
	"- Text values go to the end of the line, without the blanks around them; there are no quotes. A second line for the same text is an error unless the option says otherwise; numbers and truth values are overwritten.\n" +
	"- An error names file and line, and the broker does not start: status 3. `--test-config` checks a file and ends.\n\n"
