package main

import (
	"fmt"
	"io/fs"
	"sort"
	"strings"
)

// Row is one statement of a standard or one edge case.
type Row struct {
	Tag    string // as tests write it: 5:3.3.1-9, 3:U311-4.7.1-1, 31:U31-05, E042
	Set    string // "31", "3", "5" or "E"
	Side   string // server, client, both
	Text   string
	Test   string // the stimulus and the reply that a test shows
	Area   string
	Tests  []string // names of the tests and scripts that bear the tag, in order of the walk
	Reason string   // why the row is not applicable, "" when it is
	Note   string
}

// server reports whether the row binds the broker.
func (r *Row) server() bool { return r.Side != "client" }

func (r *Row) done() bool { return len(r.Tests) > 0 || r.Reason != "" }

// Table is every row, in the order of the files.
type Table struct {
	Rows  []*Row
	byTag map[string]*Row
}

// sets names the tables in the order of the report.
var sets = []struct{ set, file, title string }{
	{"31", "docs/spec/mqtt31.tsv", "MQTT 3.1"},
	{"3", "docs/spec/mqtt311.tsv", "MQTT 3.1.1"},
	{"5", "docs/spec/mqtt5.tsv", "MQTT 5.0"},
	{"E", "docs/spec/edge-cases.tsv", "Edge cases"},
}

const naFile = "docs/conformance-na.tsv"

// naReasons is the closed list: why a row can have no test. Anything else is a missing test.
var naReasons = map[string]string{
	"choice-not-taken":    "the statement governs an option that midge does not take",
	"feature-always-on":   "the statement applies only when a feature is announced as absent, which midge never does",
	"not-observable":      "nothing that crosses the wire or an interface depends on it",
	"carried-by-others":   "the statement only says that other numbered statements hold, and each of them has its test",
	"platform-guarantees": "the transport below MQTT guarantees it",
}

// naPercent is how many rows of a side may be not applicable, in per cent.
const naPercent = 5

func loadTable(fsys fs.FS) (*Table, error) {
	t := &Table{byTag: map[string]*Row{}}
	for _, s := range sets {
		rows, err := readTSV(fsys, s.file, 6)
		if err != nil {
			return nil, err
		}
		for i, c := range rows {
			r := &Row{Set: s.set, Side: c[1], Text: c[2], Test: c[3], Area: c[4]}
			if s.set == "E" {
				r.Tag = c[0]
			} else {
				id := strings.TrimSuffix(strings.TrimPrefix(c[0], "["), "]")
				r.Tag = s.set + ":" + strings.TrimPrefix(id, "MQTT-")
			}
			if r.Side != "server" && r.Side != "client" && r.Side != "both" {
				return nil, fmt.Errorf("%s:%d: side %q is not server, client or both", s.file, i+2, r.Side)
			}
			if t.byTag[r.Tag] != nil {
				return nil, fmt.Errorf("%s:%d: %s stands there twice", s.file, i+2, r.Tag)
			}
			t.byTag[r.Tag] = r
			t.Rows = append(t.Rows, r)
		}
	}
	return t, t.loadReasons(fsys)
}

func (t *Table) loadReasons(fsys fs.FS) error {
	rows, err := readTSV(fsys, naFile, 3)
	if err != nil {
		return err
	}
	for i, c := range rows {
		r := t.byTag[c[0]]
		switch {
		case r == nil:
			return fmt.Errorf("%s:%d: unknown statement %q", naFile, i+2, c[0])
		case naReasons[c[1]] == "":
			return fmt.Errorf("%s:%d: reason %q is not in the closed list: %s", naFile, i+2, c[1], strings.Join(sortedKeys(naReasons), ", "))
		case c[2] == "":
			return fmt.Errorf("%s:%d: %s has no note", naFile, i+2, c[0])
		case r.Reason != "":
			return fmt.Errorf("%s:%d: %s stands there twice", naFile, i+2, c[0])
		}
		r.Reason, r.Note = c[1], c[2]
	}
	return nil
}

// readTSV returns the rows below the heading. Every row must have the given number of cells.
func readTSV(fsys fs.FS, name string, cells int) ([][]string, error) {
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for i, line := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		c := strings.Split(line, "\t")
		if len(c) != cells {
			return nil, fmt.Errorf("%s:%d: %d cells, want %d", name, i+1, len(c), cells)
		}
		if i > 0 {
			rows = append(rows, c)
		}
	}
	return rows, nil
}

// limits reports rows that are covered and yet called not applicable, and too many of the latter. Statements and edge
// cases are counted apart, and so are the sides, so that none can hide behind the others.
func (t *Table) limits() []string {
	var out []string
	type group struct{ total, na int }
	groups := map[string]*group{}
	for _, r := range t.Rows {
		name := "statements that bind the server"
		switch {
		case !r.server():
			name = "rows that bind only the client"
		case r.Set == "E":
			name = "edge cases"
		}
		g := groups[name]
		if g == nil {
			g = &group{}
			groups[name] = g
		}
		g.total++
		if r.Reason != "" {
			g.na++
			if len(r.Tests) > 0 {
				out = append(out, fmt.Sprintf("%s: %s is called not applicable and yet covered by %s", naFile, r.Tag, r.Tests[0]))
			}
		}
	}
	for _, name := range sortedKeys(groups) {
		if g := groups[name]; g.na*100 > g.total*naPercent {
			out = append(out, fmt.Sprintf("%s: %d of %d %s are not applicable, at most %d %% may be", naFile, g.na, g.total, name, naPercent))
		}
	}
	return out
}

// open lists the rows with neither test nor reason.
func (t *Table) open(client bool) []string {
	var out []string
	for _, r := range t.Rows {
		if !r.done() && (client || r.server()) {
			out = append(out, fmt.Sprintf("%s (%s, %s) has neither test nor reason: %s", r.Tag, r.Side, r.Area, r.Text))
		}
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
