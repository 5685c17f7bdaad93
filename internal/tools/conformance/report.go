package main

import (
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"
)

const reportHead = `# Conformance

Each statement of the MQTT standards, and each edge case where brokers and clients are commonly wrong, with the tests that
show it. Written by ` + "`make conformance`" + ` from the tables in [spec](spec), the tags in tests and scripts, and
[conformance-na.tsv](conformance-na.tsv); not to be edited by hand. Tags: ` + "`31:`" + `, ` + "`3:`" + ` and ` + "`5:`" + ` name MQTT 3.1, 3.1.1 and
5.0, ` + "`E`" + ` an edge case; numbers beginning with U are this project's names for rules the standards state without one.

`

// report is the text of docs/conformance.md.
func (t *Table) report() string {
	var b strings.Builder
	b.WriteString(reportHead)
	b.WriteString("| Set | Side | Rows | Covered | Not applicable | Open |\n|---|---|--:|--:|--:|--:|\n")
	for _, s := range sets {
		for _, side := range []string{"server", "both", "client"} {
			var n, covered, na int
			for _, r := range t.Rows {
				if r.Set != s.set || r.Side != side {
					continue
				}
				n++
				switch {
				case len(r.Tests) > 0:
					covered++
				case r.Reason != "":
					na++
				}
			}
			if n > 0 {
				fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %d |\n", s.title, side, n, covered, na, n-covered-na)
			}
		}
	}
	b.WriteString("\nReasons for \"not applicable\", a closed list:\n\n")
	for _, k := range sortedKeys(naReasons) {
		fmt.Fprintf(&b, "- *%s*: %s.\n", k, naReasons[k])
	}
	for _, s := range sets {
		fmt.Fprintf(&b, "\n## %s\n\n| Tag | Side | Statement | Shown by |\n|---|---|---|---|\n", s.title)
		for _, r := range t.Rows {
			if r.Set != s.set {
				continue
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.Tag, r.Side, cell(r.Text), r.shownBy())
		}
	}
	return b.String()
}

func (r *Row) shownBy() string {
	switch {
	case len(r.Tests) > 0:
		return strings.Join(r.Tests, "<br>")
	case r.Reason != "":
		return "*" + r.Reason + "*: " + cell(r.Note)
	}
	return "open"
}

// cell shortens a text to what a table shows and keeps its bars from ending the cell.
func cell(s string) string {
	const limit = 160
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit]) + "…"
	}
	return strings.ReplaceAll(s, "|", "\\|")
}

// printMissing lists open rows with the test they call for.
func (t *Table) printMissing(w io.Writer, o options) error {
	n := 0
	for _, r := range t.Rows {
		if r.done() || !o.client && !r.server() || o.area != "" && r.Area != o.area || o.side != "" && r.Set != o.side {
			continue
		}
		n++
		if _, err := fmt.Fprintf(w, "%s\t%s\t%s\n\t%s\n\t%s\n", r.Tag, r.Side, r.Area, r.Text, r.Test); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%d rows without test or reason\n", n)
	return err
}

// codeTag finds tags in sources outside tests: [MQTT-3.3.1-4], [MQTT5-3.3.1-4], 5:3.3.1-4, U5-3.15-1, U31-05.
var codeTag = regexp.MustCompile(`(?:MQTT[35]?-|\b(?:31|3|5):)([0-9]+\.[0-9.]+-[0-9]+)|\b(U(?:311|31|5)-[0-9]+(?:\.[0-9]+)*(?:-[0-9]+)?)`)

// printUncoded lists the rows whose number stands in no Go source outside tests, whatever the version it is given under.
func (t *Table) printUncoded(w io.Writer, fsys fs.FS) error {
	found := map[string]bool{}
	err := walkSources(fsys, func(p string) error {
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") || strings.HasPrefix(p, "internal/tools/") {
			return nil
		}
		src, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		for _, m := range codeTag.FindAllStringSubmatch(string(src), -1) {
			found[m[1]+m[2]] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	n := 0
	for _, r := range t.Rows {
		number := r.Tag[strings.Index(r.Tag, ":")+1:]
		if found[number] || r.Set == "E" {
			continue
		}
		n++
		if _, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Tag, r.Side, r.Area, r.Text); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(w, "%d statements named in no source outside tests\n", n)
	return err
}
