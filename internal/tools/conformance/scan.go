package main

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// maxTags is how many tags one test or script may bear: one that claims more shows none of them well.
const maxTags = 3

// scriptRoot holds the behaviour scripts.
const scriptRoot = "test/scripts"

var (
	goCovers     = regexp.MustCompile(`^//\s*covers:(.*)$`)
	scriptCovers = regexp.MustCompile(`^(?:#\s*)?covers:(.*)$`)
	section      = regexp.MustCompile(`^-- (\S+) --$`)
)

// scan walks tests and scripts and notes on each row what covers it. It returns what is wrong with the tags.
func (t *Table) scan(fsys fs.FS) ([]string, error) {
	var problems []string
	err := walkSources(fsys, func(p string) error {
		src, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		switch {
		case strings.HasSuffix(p, "_test.go"):
			more, err := t.scanGo(p, src)
			problems = append(problems, more...)
			return err
		case strings.HasPrefix(p, scriptRoot+"/") && (strings.HasSuffix(p, ".txt") || strings.HasSuffix(p, ".txtar")):
			problems = append(problems, t.scanScript(p, string(src))...)
		}
		return nil
	})
	return problems, err
}

// walkSources calls f for every regular file of the module outside testdata, dependencies and build results.
func walkSources(fsys fs.FS, f func(p string) error) error {
	return fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case ".git", "node_modules", "testdata", "bin":
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		return f(p)
	})
}

func (t *Table) scanGo(p string, src []byte) ([]string, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, p, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var problems []string
	runs := builtByTests(f)
	owned := map[*ast.Comment]bool{}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Doc == nil {
			continue
		}
		var tags []string
		for _, c := range fn.Doc.List {
			if m := goCovers.FindStringSubmatch(c.Text); m != nil {
				owned[c] = true
				tags = append(tags, strings.Fields(m[1])...)
			}
		}
		where := fmt.Sprintf("%s:%d", p, fset.Position(fn.Pos()).Line)
		name := path.Dir(p) + "." + fn.Name.Name
		switch {
		case len(tags) == 0:
			continue
		case fn.Recv != nil || !isTest(fn.Name.Name):
			problems = append(problems, where+": covers stands above "+fn.Name.Name+", which is no test")
		case fn.Body == nil || len(fn.Body.List) == 0:
			problems = append(problems, where+": "+fn.Name.Name+" covers statements with an empty body")
		case !runs:
			problems = append(problems, where+": covers stands in a file that make test does not build")
		default:
			problems = append(problems, t.note(where, name, tags)...)
		}
	}
	for _, g := range f.Comments {
		for _, c := range g.List {
			if goCovers.MatchString(c.Text) && !owned[c] {
				problems = append(problems, fmt.Sprintf("%s:%d: covers stands above no test function", p, fset.Position(c.Pos()).Line))
			}
		}
	}
	return problems, nil
}

// isTest follows the go command: TestX, FuzzX where X does not begin in lower case. Benchmarks show no behaviour.
func isTest(name string) bool {
	for _, prefix := range []string{"Test", "Fuzz"} {
		rest, ok := strings.CutPrefix(name, prefix)
		if ok && name != "TestMain" && (rest == "" || rest[0] < 'a' || rest[0] > 'z') {
			return true
		}
	}
	return false
}

// builtByTests reports whether one of the runs of make test builds the file: plain, portable or foreign, on Linux.
func builtByTests(f *ast.File) bool {
	for _, g := range f.Comments {
		if g.Pos() >= f.Package {
			break
		}
		for _, c := range g.List {
			if !constraint.IsGoBuild(c.Text) {
				continue
			}
			e, err := constraint.Parse(c.Text)
			if err != nil {
				return false
			}
			for _, extra := range []string{"", "portable", "foreign"} {
				if e.Eval(func(tag string) bool {
					return tag == "linux" || tag == "unix" || tag == "amd64" || tag == "race" || tag == "gc" ||
						strings.HasPrefix(tag, "go1.") || tag == extra
				}) {
					return true
				}
			}
			return false
		}
	}
	return true
}

// scanScript reads the headers of a script. A file may hold several scripts, each below a line "-- NAME --".
func (t *Table) scanScript(p, text string) []string {
	var problems []string
	name, where := p, p
	var tags []string
	flush := func() {
		if len(tags) > 0 {
			problems = append(problems, t.note(where, name, tags)...)
		}
		tags = nil
	}
	for i, line := range strings.Split(text, "\n") {
		if m := section.FindStringSubmatch(line); m != nil {
			flush()
			name = p + "#" + m[1]
			continue
		}
		if m := scriptCovers.FindStringSubmatch(line); m != nil {
			where = fmt.Sprintf("%s:%d", p, i+1)
			tags = append(tags, strings.Fields(m[1])...)
			if len(tags) == 0 {
				problems = append(problems, where+": covers without a tag")
			}
		}
	}
	flush()
	return problems
}

// note books a test under its tags.
func (t *Table) note(where, name string, tags []string) []string {
	var problems []string
	if len(tags) > maxTags {
		problems = append(problems, fmt.Sprintf("%s: %d tags, at most %d", where, len(tags), maxTags))
	}
	seen := map[string]bool{}
	for _, tag := range tags {
		r := t.byTag[tag]
		switch {
		case r == nil:
			problems = append(problems, fmt.Sprintf("%s: unknown tag %q", where, tag))
		case seen[tag]:
			problems = append(problems, fmt.Sprintf("%s: tag %s stands there twice", where, tag))
		default:
			r.Tests = append(r.Tests, name)
		}
		seen[tag] = true
	}
	return problems
}
