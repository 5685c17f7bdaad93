package flagtable

import (
	"fmt"
	"io"
	"strings"
)

// Widths of the help, in columns.
const (
	helpWidth  = 100
	helpColumn = 30 // where the text of a flag begins
)

// Help prints the help of a command under its midge name.
func (c *Command) Help(w io.Writer) {
	var b strings.Builder
	for i, s := range c.synopses() {
		fmt.Fprintf(&b, "%s midge %s %s\n", []string{"Usage:", "      "}[min(i, 1)], c.Name, s)
	}
	fmt.Fprintf(&b, "\n%s.\n", capital(c.Summary))
	for _, p := range c.Text {
		b.WriteByte('\n')
		for _, line := range wrap(p, helpWidth) {
			fmt.Fprintln(&b, line)
		}
	}
	if len(c.Operands) > 0 {
		b.WriteString("\nArguments:\n")
		for _, o := range c.Operands {
			entry(&b, o.Name, o.Help+valuesNote(o.Values))
		}
	}
	names, flags := c.groups(true)
	for _, name := range names {
		fmt.Fprintf(&b, "\n%s:\n", heading(name))
		for _, f := range flags[name] {
			entry(&b, f.left(true), f.text())
		}
	}
	notes(&b, "Exit status", c.Statuses)
	notes(&b, "Files", c.Files)
	if len(c.Examples) > 0 {
		b.WriteString("\nExamples:\n")
		for _, e := range c.Examples {
			fmt.Fprintf(&b, "  %s\n      %s\n", e.Name, e.Text)
		}
	}
	io.WriteString(w, b.String())
}

func (c *Command) synopses() []string {
	if len(c.Synopsis) == 0 {
		return []string{"[FLAGS]"}
	}
	return c.Synopsis
}

func heading(group string) string {
	if group == "" {
		return "Flags"
	}
	return group
}

func notes(b *strings.Builder, title string, list []Note) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s:\n", title)
	for _, n := range list {
		entry(b, n.Name, n.Text)
	}
}

// left is the flag as it stands in the left column. An argument follows the last name.
func (f *Flag) left(midge bool) string {
	s := strings.Join(f.All(midge), ", ")
	if f.Arg != "" {
		s += " " + f.Arg
	}
	return s
}

// text is the help with what the table knows beside it.
func (f *Flag) text() string {
	if f.Refused != "" {
		return "refused: " + f.Refused
	}
	s := f.Help + valuesNote(f.Values)
	if f.Repeats {
		s += " (may be repeated)"
	}
	return s
}

// valuesNote lists the values, if there are few.
func valuesNote(values []string) string {
	if len(values) == 0 || len(values) > 8 {
		return ""
	}
	return " (" + strings.Join(values, ", ") + ")"
}

func entry(b *strings.Builder, left, text string) {
	lines := wrap(text, helpWidth-helpColumn)
	fmt.Fprintf(b, "  %-*s", helpColumn-2, left)
	if len([]rune(left)) > helpColumn-4 {
		fmt.Fprintf(b, "\n%*s", helpColumn, "")
	}
	for i, line := range lines {
		if i > 0 {
			fmt.Fprintf(b, "%*s", helpColumn, "")
		}
		fmt.Fprintln(b, line)
	}
	if len(lines) == 0 {
		b.WriteByte('\n')
	}
}

// wrap breaks text at blanks.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
