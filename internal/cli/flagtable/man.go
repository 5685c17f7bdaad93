package flagtable

import (
	"fmt"
	"io"
	"strings"
)

// Page is the name of the manual page of a command: "midge-acl-test".
func (c *Command) Page() string { return "midge-" + strings.ReplaceAll(c.Name, " ", "-") }

// Man writes the manual page of a command in roff, section 1. version stands in its foot.
func (c *Command) Man(w io.Writer, version string) {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"\" %s \"User Commands\"\n", quote(strings.ToUpper(c.Page())), quote("midge "+version))
	fmt.Fprintf(&b, ".SH NAME\n%s", c.Page())
	if c.Program != "" {
		fmt.Fprintf(&b, ", %s", c.Program)
	}
	fmt.Fprintf(&b, " \\- %s\n.SH SYNOPSIS\n", roff(c.Summary))
	for _, program := range c.programs() {
		for _, s := range c.synopses() {
			fmt.Fprintf(&b, ".B %s\n%s\n.br\n", roff(program), line(s))
		}
	}
	b.WriteString(".SH DESCRIPTION\n")
	if len(c.Text) == 0 {
		fmt.Fprintf(&b, "%s\n", line(capital(c.Summary)+"."))
	}
	for i, p := range c.Text {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		fmt.Fprintf(&b, "%s\n", line(p))
	}
	c.manFlags(&b)
	section(&b, "EXIT STATUS", c.Statuses)
	section(&b, "FILES", c.Files)
	section(&b, "EXAMPLES", c.Examples)
	b.WriteString(".SH SEE ALSO\n.BR midge (1)\n")
	io.WriteString(w, b.String())
}

func (c *Command) programs() []string {
	if c.Program == "" {
		return []string{"midge " + c.Name}
	}
	return []string{"midge " + c.Name, c.Program}
}

func (c *Command) manFlags(b *strings.Builder) {
	var operands []Note
	for _, o := range c.Operands {
		operands = append(operands, Note{o.Name, o.Help + valuesNote(o.Values)})
	}
	section(b, "ARGUMENTS", operands)
	names, flags := c.groups(true)
	if len(names) > 0 {
		b.WriteString(".SH OPTIONS\n")
		if c.Program != "" && c.midgeOnly() {
			b.WriteString("Names in brackets are known to the midge command only.\n")
		}
	}
	for _, name := range names {
		if len(names) > 1 || name != "" {
			fmt.Fprintf(b, ".SS %s\n", quote(heading(name)))
		}
		for _, f := range flags[name] {
			fmt.Fprintf(b, ".TP\n%s\n%s\n", f.manNames(c.Program != ""), line(capital(f.text())+"."))
		}
	}
}

func (c *Command) midgeOnly() bool {
	for i := range c.Flags {
		if len(c.Flags[i].Midge) > 0 {
			return true
		}
	}
	return false
}

// manNames is the left side; names that only midge knows stand in brackets where the page is that of another program too.
func (f *Flag) manNames(brackets bool) string {
	var names []string
	for _, n := range f.Names {
		names = append(names, `\fB`+roff(n)+`\fR`)
	}
	for _, n := range f.Midge {
		n = `\fB` + roff(n) + `\fR`
		if brackets {
			n = "[" + n + "]"
		}
		names = append(names, n)
	}
	s := strings.Join(names, ", ")
	if f.Arg != "" {
		s += ` \fI` + roff(f.Arg) + `\fR`
	}
	return s
}

func section(b *strings.Builder, title string, list []Note) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(b, ".SH %s\n", title)
	for _, n := range list {
		fmt.Fprintf(b, ".TP\n\\fB%s\\fR\n%s\n", roff(n.Name), line(n.Text))
	}
}

// line is text as a line of roff: a dot or quote at its beginning would be a command.
func line(s string) string {
	s = roff(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		return `\&` + s
	}
	return s
}

// roff escapes what roff would take for its own; a hyphen is written so that it can be copied as a dash.
func roff(s string) string {
	return strings.NewReplacer(`\`, `\e`, `-`, `\-`, "\n", " ").Replace(s)
}

func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\(dq`) + `"` }

// Index writes the manual page of midge itself, which lists the commands.
func Index(w io.Writer, version string, commands []Command) {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH \"MIDGE\" 1 \"\" %s \"User Commands\"\n", quote("midge "+version))
	b.WriteString(".SH NAME\nmidge \\- MQTT broker and tools\n.SH SYNOPSIS\n.B midge\nCOMMAND [FLAGS]\n.SH DESCRIPTION\n" +
		"One program: an MQTT broker that takes the place of Eclipse Mosquitto, and its tools. Called by the name of one of\n" +
		"Mosquitto's programs it behaves as that program.\n.SH COMMANDS\n")
	for i := range commands {
		c := &commands[i]
		fmt.Fprintf(&b, ".TP\n.BR %s (1)\n%s", roff(c.Page()), line(capital(c.Summary)))
		if c.Program != "" {
			fmt.Fprintf(&b, "; also called %s", roff(c.Program))
		}
		b.WriteString(".\n")
	}
	io.WriteString(w, b.String())
}
