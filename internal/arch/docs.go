package arch

import (
	"fmt"
	"go/ast"
	"io/fs"
	"regexp"
	"sort"
	"strings"
)

// codeName matches what a document writes in backticks when it names code: pkg.Name, pkg.Type.Method, pkg.(*Type).Method,
// each with or without "()".
var codeName = regexp.MustCompile("`([a-z][a-z0-9]*)\\.(\\(\\*?([A-Za-z_]\\w*)\\)|([A-Za-z_]\\w*))(?:\\.([A-Za-z_]\\w*))?(?:\\(\\))?`")

// fileSuffixes are second halves that make a name in backticks a file rather than code.
var fileSuffixes = map[string]bool{
	"go": true, "md": true, "mod": true, "sum": true, "conf": true, "txt": true, "tsv": true, "json": true, "db": true,
	"sh": true, "pid": true, "log": true, "sock": true, "py": true, "js": true,
}

// CheckNames makes sure that every function, type or method that a document names in backticks exists. A document with
// fewer than min such names is a problem too: a check that finds nothing to check would always pass.
func CheckNames(t *Tree, doc string, min int) []Problem {
	b, err := fs.ReadFile(t.FS, doc)
	if err != nil {
		return []Problem{{Path: doc, Text: "read: " + err.Error()}}
	}
	known := declared(t)
	var out []Problem
	n := 0
	for i, line := range strings.Split(string(b), "\n") {
		for _, m := range codeName.FindAllStringSubmatch(line, -1) {
			pkg, first, second := m[1], m[3]+m[4], m[5]
			if second == "" && fileSuffixes[first] {
				continue
			}
			n++
			name := pkg + "." + first
			if second != "" {
				name += "." + second
			}
			if !known[name] {
				out = append(out, Problem{doc, i + 1, "names " + m[0] + ", which is not in the code"})
			}
		}
	}
	if n < min {
		out = append(out, Problem{Path: doc, Text: fmt.Sprintf("names %d functions, at least %d are wanted", n, min)})
	}
	return out
}

// declared lists every declaration outside tests as pkg.Name, pkg.Type.Method and pkg.Type.Field.
func declared(t *Tree) map[string]bool {
	known := map[string]bool{}
	for _, p := range t.Packages {
		for _, f := range p.Sources() {
			for _, d := range f.AST.Decls {
				switch d := d.(type) {
				case *ast.FuncDecl:
					known[p.Name+"."+funcName(d)] = true
				case *ast.GenDecl:
					for _, s := range d.Specs {
						declareSpec(known, p.Name, s)
					}
				}
			}
		}
	}
	return known
}

func declareSpec(known map[string]bool, pkg string, s ast.Spec) {
	switch s := s.(type) {
	case *ast.ValueSpec:
		for _, n := range s.Names {
			known[pkg+"."+n.Name] = true
		}
	case *ast.TypeSpec:
		known[pkg+"."+s.Name.Name] = true
		var fields *ast.FieldList
		switch x := s.Type.(type) {
		case *ast.StructType:
			fields = x.Fields
		case *ast.InterfaceType:
			fields = x.Methods
		}
		if fields == nil {
			return
		}
		for _, f := range fields.List {
			for _, n := range f.Names {
				known[pkg+"."+s.Name.Name+"."+n.Name] = true
			}
		}
	}
}

// CheckDependencies compares the libraries that the sources below a main package import, directly or through packages
// of this module, with a committed list. A line of the list is "path version" or "path version indirect"; the indirect
// ones, which no source here names, are compared by make check with what the linker would take. Versions come from
// go.mod. Differences in either direction are problems.
func CheckDependencies(t *Tree, mainDir, list string) []Problem {
	required, err := requirements(t.FS)
	if err != nil {
		return []Problem{{Path: "go.mod", Text: err.Error()}}
	}
	b, err := fs.ReadFile(t.FS, list)
	if err != nil {
		return []Problem{{Path: list, Text: "read: " + err.Error()}}
	}
	var out []Problem
	want := map[string]string{}
	for i, line := range strings.Split(string(b), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Fields(line)
		if len(f) < 2 || len(f) > 3 || len(f) == 3 && f[2] != "indirect" {
			out = append(out, Problem{list, i + 1, fmt.Sprintf("line %q is not: path version [indirect]", line)})
			continue
		}
		if len(f) == 2 {
			want[f[0]] = f[1]
		}
	}
	got := map[string]string{}
	for path, user := range externals(t, mainDir) {
		mod := moduleOf(required, path)
		if mod == "" {
			out = append(out, Problem{Path: user, Text: "imports " + path + ", which go.mod does not require"})
			continue
		}
		got[mod] = required[mod]
	}
	for _, mod := range sortedKeys(got) {
		if want[mod] != got[mod] {
			out = append(out, Problem{Path: list, Text: fmt.Sprintf("lacks %s %s (found version %q)", mod, got[mod], want[mod])})
		}
	}
	for _, mod := range sortedKeys(want) {
		if got[mod] == "" {
			out = append(out, Problem{Path: list, Text: fmt.Sprintf("lists %s, which the program does not import", mod)})
		}
	}
	return out
}

var requireLine = regexp.MustCompile(`(?m)^(?:require )?\s*([a-z0-9.-]+\.[a-z]+[^\s]*) (v[^\s]+)`)

// requirements reads module path and version from go.mod.
func requirements(fsys fs.FS) (map[string]string, error) {
	b, err := fs.ReadFile(fsys, "go.mod")
	if err != nil {
		return nil, err
	}
	req := map[string]string{}
	for _, m := range requireLine.FindAllStringSubmatch(string(b), -1) {
		req[m[1]] = m[2]
	}
	return req, nil
}

// externals walks the imports below a package and returns each import path outside the module and the standard library
// with one file that imports it.
func externals(t *Tree, dir string) map[string]string {
	out := map[string]string{}
	seen := map[string]bool{}
	var walk func(dir string)
	walk = func(dir string) {
		p := t.Package(dir)
		if p == nil || seen[dir] {
			return
		}
		seen[dir] = true
		for _, f := range p.Sources() {
			for _, spec := range f.AST.Imports {
				path := strings.Trim(spec.Path.Value, "`\"")
				first, _, _ := strings.Cut(path, "/")
				if own, ok := strings.CutPrefix(path, Module+"/"); ok {
					walk(own)
				} else if strings.Contains(first, ".") {
					out[path] = f.Path
				}
			}
		}
	}
	walk(dir)
	return out
}

// moduleOf returns the longest required module path that holds an import path.
func moduleOf(req map[string]string, path string) string {
	best := ""
	for mod := range req {
		if underPath([]string{mod}, path) && len(mod) > len(best) {
			best = mod
		}
	}
	return best
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
