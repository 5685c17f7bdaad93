// Command conformance ties the statements of the MQTT standards to the tests that show them. It reads the statement
// tables in docs/spec, the tags in Go tests and scripts, and the written "not applicable" rows, checks them, and writes
// docs/conformance.md. It never judges whether a test is good; it only makes sure that each statement has one by name.
//
// A Go test bears its tags in its comment, a script in a header line:
//
//	// covers: 5:3.3.1-9 3:3.3.1-6 E111
//	covers: 5:3.3.1-9
//
// Run it from the module root: make conformance, or with -check, -strict, -missing [-area NAME], -code.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

type options struct {
	root    string
	check   bool
	strict  bool
	client  bool
	missing bool
	area    string
	side    string
	code    bool
}

func main() {
	var o options
	flag.StringVar(&o.root, "root", ".", "module root")
	flag.BoolVar(&o.check, "check", false, "compare docs/conformance.md instead of writing it; differences fail")
	flag.BoolVar(&o.strict, "strict", false, "fail when a row that binds the server, or an edge case, has neither test nor reason")
	flag.BoolVar(&o.client, "client", false, "with -strict: rows that bind only the client count too; with -missing: list them")
	flag.BoolVar(&o.missing, "missing", false, "print the rows without test or reason, with the test they call for")
	flag.StringVar(&o.area, "area", "", "with -missing: only this area")
	flag.StringVar(&o.side, "set", "", "with -missing: only this set: 31, 3, 5 or E")
	flag.BoolVar(&o.code, "code", false, "print the statements whose tag stands in no Go source outside tests")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "conformance: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := run(o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(o options, w io.Writer) error {
	fsys := os.DirFS(o.root)
	table, err := loadTable(fsys)
	if err != nil {
		return err
	}
	problems, err := table.scan(fsys)
	if err != nil {
		return err
	}
	problems = append(problems, table.limits()...)
	switch {
	case o.missing:
		return table.printMissing(w, o)
	case o.code:
		return table.printUncoded(w, fsys)
	}
	if o.strict {
		problems = append(problems, table.open(o.client)...)
	}
	doc := filepath.Join(o.root, "docs", "conformance.md")
	text := table.report()
	if o.check {
		if old, err := os.ReadFile(doc); err != nil || string(old) != text {
			problems = append(problems, "docs/conformance.md is stale; run: make conformance")
		}
	} else if err := os.WriteFile(doc, []byte(text), 0o644); err != nil {
		return err
	}
	for _, p := range problems {
		fmt.Fprintln(w, p)
	}
	if len(problems) > 0 {
		return fmt.Errorf("%d problems", len(problems))
	}
	return nil
}
