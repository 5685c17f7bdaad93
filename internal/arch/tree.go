package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"sort"
	"strings"
)

// Module is the path of the module whose sources are checked.
const Module = "github.com/midgemq/midge"

// Problem is one broken rule. Path is relative to the module root.
type Problem struct {
	Path string
	Line int // 0 when the rule is about the whole file or package
	Text string
}

func (p Problem) String() string {
	if p.Line == 0 {
		return p.Path + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d: %s", p.Path, p.Line, p.Text)
}

// File is one parsed Go file.
type File struct {
	Path  string
	Test  bool // name ends in _test.go
	Lines int
	AST   *ast.File
}

// Package is one directory with Go files. A package of name foo_test in the same directory belongs to it.
type Package struct {
	Dir   string // relative to the module root, "." for the root itself
	Name  string // name of the non-test package, else the first name found without its _test suffix
	Files []*File
}

// Sources returns the files that are not tests.
func (p *Package) Sources() []*File {
	var out []*File
	for _, f := range p.Files {
		if !f.Test {
			out = append(out, f)
		}
	}
	return out
}

// Tree is the module as its files say, every build constraint at once.
type Tree struct {
	FS       fs.FS
	Fset     *token.FileSet
	Packages []*Package          // sorted by Dir
	Texts    []string            // every file read as text: sources, documents, scripts; sorted
	byDir    map[string]*Package // key: Dir
}

// Package returns the package in a directory, nil when there is none.
func (t *Tree) Package(dir string) *Package { return t.byDir[dir] }

// Line returns the line of a position.
func (t *Tree) Line(p token.Pos) int { return t.Fset.Position(p).Line }

// skippedDirs are never entered: foreign or generated trees, and data that the go command ignores too.
var skippedDirs = map[string]bool{
	".git": true, "node_modules": true, "bin": true, "dist": true,
}

// textSuffixes says which files are read as text beside Go sources.
var textSuffixes = []string{
	".go", ".md", ".txt", ".txtar", ".tsv", ".sh", ".py", ".js", ".mjs", ".ts", ".yml", ".yaml", ".conf", ".mod", ".json", ".html", ".css",
}

var textNames = map[string]bool{"Makefile": true, "NOTICE": true, "run": true, ".gitignore": true}

// Load parses the module in fsys. A directory with its own go.mod below the root is another module: its texts are read,
// its packages are not. A file that does not parse is an error.
func Load(fsys fs.FS) (*Tree, error) {
	t := &Tree{FS: fsys, Fset: token.NewFileSet(), byDir: map[string]*Package{}}
	foreign := map[string]bool{}
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if skippedDirs[d.Name()] {
				return fs.SkipDir
			}
			if p != "." {
				if _, err := fs.Stat(fsys, path.Join(p, "go.mod")); err == nil || foreign[path.Dir(p)] {
					foreign[p] = true
				}
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		if textNames[d.Name()] || hasSuffix(p, textSuffixes) {
			t.Texts = append(t.Texts, p)
		}
		if strings.HasSuffix(p, ".go") && !foreign[path.Dir(p)] && !inTestdata(p) {
			return t.add(p)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load module: %w", err)
	}
	for _, p := range t.byDir {
		t.Packages = append(t.Packages, p)
	}
	sort.Slice(t.Packages, func(i, j int) bool { return t.Packages[i].Dir < t.Packages[j].Dir })
	sort.Strings(t.Texts)
	return t, nil
}

func (t *Tree) add(p string) error {
	src, err := fs.ReadFile(t.FS, p)
	if err != nil {
		return err
	}
	f, err := parser.ParseFile(t.Fset, p, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	file := &File{Path: p, Test: strings.HasSuffix(p, "_test.go"), Lines: bytes.Count(src, []byte("\n")), AST: f}
	dir := path.Dir(p)
	pkg := t.byDir[dir]
	if pkg == nil {
		pkg = &Package{Dir: dir}
		t.byDir[dir] = pkg
	}
	switch {
	case !file.Test:
		pkg.Name = f.Name.Name
	case pkg.Name == "":
		pkg.Name = strings.TrimSuffix(f.Name.Name, "_test")
	}
	pkg.Files = append(pkg.Files, file)
	return nil
}

func hasSuffix(s string, suffixes []string) bool {
	for _, x := range suffixes {
		if strings.HasSuffix(s, x) {
			return true
		}
	}
	return false
}

func inTestdata(p string) bool {
	return strings.HasPrefix(p, "testdata/") || strings.Contains(p, "/testdata/")
}
