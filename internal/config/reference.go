package config

import (
	"fmt"
	"strings"
)

// Reference renders docs/configuration.md from the table of options.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	for _, section := range []struct{ name, title, text string }{
		{"global", "Options for the whole broker", ""},
		{"security", "Security options", "They are for the whole broker, or with `per_listener_settings true` for the `listener` before them.\n\n"},
		{"listener", "Options for a listener", "They belong to the `listener` line before them. Some of them make a default listener on port 1883 when there is none: " +
			codes(func(o *Option) bool { return o.place == opensImplicit || o.place == ofImplicit }) + ".\n\n"},
		{"plugin", "Plugins", "midge loads no shared objects. What Mosquitto's own plugins do is built in and chosen by their file names.\n\n"},
		{"bridge", "Options for a bridge", "They belong to the `connection` line before them. They are read and checked; a file with a bridge is refused, as bridges are not in this version.\n\n"},
		{"none", "Obsolete options", ""},
	} {
		fmt.Fprintf(&b, "## %s\n\n%s", section.title, section.text)
		b.WriteString("| option | values | default | on reload | meaning |\n|---|---|---|---|---|\n")
		for i := range options {
			if o := &options[i]; o.Section == section.name {
				b.WriteString(o.row())
			}
		}
		b.WriteString("\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// codes lists the options that want is true for.
func codes(want func(*Option) bool) string {
	var names []string
	for i := range options {
		if o := &options[i]; want(o) {
			names = append(names, "`"+o.Name+"`")
		}
	}
	return strings.Join(names, ", ")
}

func (o *Option) row() string {
	def := "none"
	if o.Default != "" {
		def = "`" + strings.ReplaceAll(o.Default, "+", "`, `") + "`"
	}
	reload := map[Effect]string{Restart: "needs a restart", AtOnce: "at once", NextConnection: "for new connections"}[o.Reload]
	if o.field == nil || o.Refused() {
		reload = "-"
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
	"- An error names file and line, and the broker does not start: status 3, or 13 for a plugin. `--test-config` checks a file and ends; passwords, rules and certificates are not opened then.\n\n" +
	"## Reload\n\n" +
	"On SIGHUP, or `midge reload`, the files are read again. A configuration with an error changes nothing. `midge config diff` prints what a reload would change, and what of it needs a restart; " +
	"so do options that are new at a listener that is added or removed, which stays as it is until then.\n\n"
