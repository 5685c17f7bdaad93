package arch

import (
	"fmt"
	"go/ast"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// minCommentWords is the shortest package comment taken for one that says what a package is for, what it never does and
// who may call it.
const minCommentWords = 25

// callers finds a word on who may call: a goroutine, or one of the event loops, each of which is one goroutine.
var callers = regexp.MustCompile(`\b(goroutine|loop)s?\b`)

// CheckPackageComments wants a comment on every package: on one of its non-test files, opening with "Package NAME" (or
// "Command" or the command's own name for a main), with substance, and outside test/ and examples/ with a word
// on goroutines.
func CheckPackageComments(t *Tree) []Problem {
	var out []Problem
	for _, p := range t.Packages {
		src := p.Sources()
		if len(src) == 0 {
			continue // a directory with tests only has no package to explain; its tests say what they show
		}
		var doc string
		for _, f := range src {
			if f.AST.Doc != nil {
				doc += f.AST.Doc.Text()
			}
		}
		want := "Package " + p.Name + " "
		if name := path.Base(p.Dir); p.Name == "main" {
			want = "Command "
			if own := strings.ToUpper(name[:1]) + name[1:] + " "; strings.HasPrefix(doc, own) {
				want = own
			}
		}
		switch {
		case strings.TrimSpace(doc) == "":
			out = append(out, Problem{Path: p.Dir, Text: "package has no comment"})
		case !strings.HasPrefix(doc, want):
			out = append(out, Problem{Path: p.Dir, Text: fmt.Sprintf("package comment does not open with %q", want)})
		case len(strings.Fields(doc)) < minCommentWords:
			out = append(out, Problem{Path: p.Dir, Text: fmt.Sprintf("package comment has fewer than %d words", minCommentWords)})
		case p.Name != "main" && !strings.HasPrefix(p.Dir+"/", "test/") && !strings.HasPrefix(p.Dir+"/", "examples/") && !callers.MatchString(doc):
			out = append(out, Problem{Path: p.Dir, Text: "package comment does not say which goroutine or loop may call it"})
		}
	}
	return out
}

// Forbidden are words that never enter the tree: promises of later work, and traces of one machine. They are put
// together from pieces here so that this file passes its own check.
var Forbidden = []string{
	"TO" + "DO", "FIX" + "ME", "XX" + "X:", "not " + "implemented", "un" + "implemented", "for " + "now,", "for " + "now.",
	"/wo" + "rk/", "/tmp/" + "plan", "." + "library/",
}

// CheckWords looks for forbidden words in every text of the tree. Upper-case words are matched as they stand, others in
// any case.
func CheckWords(t *Tree, words []string) []Problem {
	var out []Problem
	for _, name := range t.Texts {
		b, err := fs.ReadFile(t.FS, name)
		if err != nil {
			out = append(out, Problem{Path: name, Text: "read: " + err.Error()})
			continue
		}
		for i, line := range strings.Split(string(b), "\n") {
			lower := strings.ToLower(line)
			for _, w := range words {
				hay := lower
				if w == strings.ToUpper(w) && w != strings.ToLower(w) {
					hay = line
				}
				if strings.Contains(hay, w) {
					out = append(out, Problem{name, i + 1, fmt.Sprintf("forbidden words %q", w)})
				}
			}
		}
	}
	return out
}

// CheckTests forbids what lets a test pass without having shown anything: skipping, the short mode, and a sleep outside
// a loop that waits for a condition.
func CheckTests(t *Tree) []Problem {
	var out []Problem
	for _, p := range t.Packages {
		for _, f := range p.Files {
			if f.Test {
				out = append(out, checkTestFile(t, f)...)
			}
		}
	}
	return out
}

func checkTestFile(t *Tree, f *File) []Problem {
	var out []Problem
	testing, time := importName(f.AST, "testing"), importName(f.AST, "time")
	var loops []ast.Node
	inLoop := func(n ast.Node) bool {
		for _, l := range loops {
			if l.Pos() <= n.Pos() && n.End() <= l.End() {
				return true
			}
		}
		return false
	}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ForStmt, *ast.RangeStmt:
			loops = append(loops, n)
		case *ast.CallExpr:
			sel, ok := n.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			bad := ""
			switch {
			case sel.Sel.Name == "SkipNow", sel.Sel.Name == "Skipf",
				sel.Sel.Name == "Skip" && (x.Name == "t" || x.Name == "b" || x.Name == "f" || x.Name == "tb"):
				bad = "skips a test; what a test needs is installed, or it fails"
			case x.Name == testing && testing != "" && sel.Sel.Name == "Short":
				bad = "asks for the short mode; every test runs every time"
			case x.Name == time && time != "" && sel.Sel.Name == "Sleep" && !inLoop(n):
				bad = "sleeps outside a loop that waits for a condition"
			}
			if bad != "" {
				out = append(out, Problem{f.Path, t.Line(n.Pos()), bad})
			}
		}
		return true
	})
	return out
}
