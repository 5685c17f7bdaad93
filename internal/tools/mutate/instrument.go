package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"sort"
	"strings"
)

// Mutant is one mechanical change. All mutants of a package are compiled into it at once, each behind a test of its
// number; the environment of a test process says which one is on. So a package is built once, not once per mutant.
type Mutant struct {
	ID   int
	Op   string // negate, remove, boundary, off-by-one
	File string // relative to the module root
	Func string
	Line int
	Text string // the source it changes, on one line
}

// Key names a mutant without its line, which moves with every edit.
func (m *Mutant) Key() string { return fmt.Sprintf("%s %s %s: %s", m.File, m.Func, m.Op, m.Text) }

func (m *Mutant) pkg() string { return path.Dir(m.File) }

// mutantEnv names the variable that switches a mutant on in a test process.
const mutantEnv = "MIDGE_MUTANT"

// runtimeSource is added to every instrumented package.
const runtimeSource = `package %s

import (
	"os"
	"strconv"
)

var mutantActive = func() int { n, _ := strconv.Atoi(os.Getenv("` + mutantEnv + `")); return n }()

func mutantOn(id int) bool { return mutantActive == id }

func mutantOff[T ~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr](id int, v T) T {
	if mutantActive == id {
		return v + 1
	}
	return v
}
`

// instrumentPackage returns the altered files of the package in dir and its mutants, numbered from first.
func instrumentPackage(dir string, first int) (map[string]string, []*Mutant, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	fset := token.NewFileSet()
	var files []*ast.File
	var names []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		if ok, err := build.Default.MatchFile(dir, e.Name()); err != nil || !ok {
			continue
		}
		f, err := parser.ParseFile(fset, filepath.Join(dir, e.Name()), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, nil, err
		}
		files, names = append(files, f), append(names, filepath.ToSlash(filepath.Join(dir, e.Name())))
	}
	if len(files) == 0 {
		return nil, nil, fmt.Errorf("%s holds no Go files", dir)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	lookup, err := exportData(dir)
	if err != nil {
		return nil, nil, err
	}
	conf := types.Config{Importer: importer.ForCompiler(fset, "gc", lookup)}
	if _, err := conf.Check(dir, fset, files, info); err != nil {
		return nil, nil, fmt.Errorf("check %s: %w", dir, err)
	}
	out := map[string]string{}
	var mutants []*Mutant
	for i, f := range files {
		src, err := os.ReadFile(names[i])
		if err != nil {
			return nil, nil, err
		}
		in := &instrumenter{fset: fset, info: info, src: src, file: names[i], next: first + len(mutants)}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
				in.fn = fn.Name.Name
				in.block(fn.Body)
			}
		}
		mutants = append(mutants, in.mutants...)
		out[names[i]] = in.text()
	}
	out[filepath.ToSlash(filepath.Join(dir, "zz_mutants.go"))] = fmt.Sprintf(runtimeSource, files[0].Name.Name)
	return out, mutants, nil
}

// exportData asks the go command for the compiled form of everything the package imports.
func exportData(dir string) (importer.Lookup, error) {
	cmd := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}", "./"+filepath.ToSlash(dir))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	b, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list -export: %w\n%s", err, stderr.String())
	}
	files := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if name, file, ok := strings.Cut(line, "\t"); ok {
			files[name] = file
		}
	}
	return func(name string) (io.ReadCloser, error) {
		if files[name] == "" {
			return nil, fmt.Errorf("no export data for %s", name)
		}
		return os.Open(files[name])
	}, nil
}

// insertion is a piece of text put in front of a byte of the source.
type insertion struct {
	at    int
	close bool
	seq   int // order of the mutant in the walk: outer ones come first
	text  string
}

type instrumenter struct {
	fset    *token.FileSet
	info    *types.Info
	src     []byte
	file    string
	fn      string
	next    int
	mutants []*Mutant
	inserts []insertion
}

func (in *instrumenter) offset(p token.Pos) int { return in.fset.Position(p).Offset }

func (in *instrumenter) source(n ast.Node) string {
	return string(in.src[in.offset(n.Pos()):in.offset(n.End())])
}

// add books a mutant that wraps a node: open and close are formats with one %d, the mutant's number.
func (in *instrumenter) add(op string, n ast.Node, open, end string) {
	id := in.next
	in.next++
	in.mutants = append(in.mutants, &Mutant{
		ID: id, Op: op, File: in.file, Func: in.fn, Line: in.fset.Position(n.Pos()).Line,
		Text: strings.Join(strings.Fields(in.source(n)), " "),
	})
	number := func(s string) string { return strings.ReplaceAll(s, "%d", fmt.Sprint(id)) }
	in.inserts = append(in.inserts,
		insertion{in.offset(n.Pos()), false, id, number(open)},
		insertion{in.offset(n.End()), true, id, number(end)})
}

// text is the source with all insertions. At one place inner ends come before outer ends, and ends before beginnings,
// of which the outer ones come first.
func (in *instrumenter) text() string {
	sort.SliceStable(in.inserts, func(i, j int) bool {
		a, b := in.inserts[i], in.inserts[j]
		switch {
		case a.at != b.at:
			return a.at < b.at
		case a.close != b.close:
			return a.close
		case a.close:
			return a.seq > b.seq
		}
		return a.seq < b.seq
	})
	var b strings.Builder
	last := 0
	for _, x := range in.inserts {
		b.Write(in.src[last:x.at])
		b.WriteString(x.text)
		last = x.at
	}
	b.Write(in.src[last:])
	return b.String()
}

// block walks a function body: statements that can be left out, conditions, and expressions within.
func (in *instrumenter) block(body *ast.BlockStmt) {
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BlockStmt:
			in.statements(n.List)
		case *ast.CaseClause:
			in.statements(n.Body)
		case *ast.CommClause:
			in.statements(n.Body)
		}
		return true
	})
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt:
			in.condition(n.Cond)
		case *ast.ForStmt:
			if n.Cond != nil {
				in.condition(n.Cond)
			}
		case *ast.SwitchStmt:
			if n.Tag == nil {
				for _, c := range n.Body.List {
					for _, e := range c.(*ast.CaseClause).List {
						in.condition(e)
					}
				}
			}
		case *ast.BinaryExpr:
			in.binary(n)
		}
		return true
	})
}

// statements makes each statement removable whose absence still compiles: no declarations, no jumps that end a function.
func (in *instrumenter) statements(list []ast.Stmt) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.ExprStmt:
			if call, ok := s.X.(*ast.CallExpr); ok {
				if id, ok := call.Fun.(*ast.Ident); ok && id.Name == "panic" {
					continue
				}
			}
		case *ast.AssignStmt:
			if s.Tok == token.DEFINE || in.blankOnly(s) {
				continue
			}
		case *ast.BranchStmt:
			if s.Tok != token.CONTINUE {
				continue
			}
		case *ast.IncDecStmt, *ast.DeferStmt:
		default:
			continue
		}
		in.add("remove", s, "if !mutantOn(%d) { ", " }")
	}
}

func (in *instrumenter) blankOnly(s *ast.AssignStmt) bool {
	for _, l := range s.Lhs {
		if id, ok := l.(*ast.Ident); !ok || id.Name != "_" {
			return false
		}
	}
	return true
}

func (in *instrumenter) condition(e ast.Expr) {
	tv := in.info.Types[e]
	if tv.Value != nil || tv.Type == nil { // constant: both sides are known to the compiler
		return
	}
	open, end := "(mutantOn(%d) != (", "))"
	if _, named := tv.Type.(*types.Named); named {
		open, end = "(mutantOn(%d) != bool(", "))"
	}
	in.add("negate", e, open, end)
}

func (in *instrumenter) binary(e *ast.BinaryExpr) {
	tv := in.info.Types[e]
	if tv.Value != nil || tv.Type == nil {
		return
	}
	switch e.Op {
	case token.LSS, token.LEQ, token.GTR, token.GEQ:
		x, y := in.source(e.X), in.source(e.Y)
		if !in.integer(e.X) || !in.integer(e.Y) || strings.Contains(x+y, "//") {
			return
		}
		// Where both sides are equal the comparison answers the other way: < becomes <=, and so on.
		in.add("boundary", e, "((", ") != (mutantOn(%d) && ("+x+") == ("+y+")))")
	case token.ADD, token.SUB:
		if in.integer(e) {
			in.add("off-by-one", e, "mutantOff(%d, ", ")")
		}
	default:
	}
}

func (in *instrumenter) integer(e ast.Expr) bool {
	t := in.info.Types[e].Type
	if t == nil {
		return false
	}
	b, ok := t.Underlying().(*types.Basic)
	return ok && b.Info()&types.IsInteger != 0
}
