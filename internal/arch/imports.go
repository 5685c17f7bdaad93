package arch

import (
	"go/ast"
	"strconv"
	"strings"
)

// CheckImports holds the sources against an import table: layers, closed lists, purity, packages that no line names.
// Test files may import any package of this module, and from outside what their package or TestExternal lists.
func CheckImports(t *Tree, layers [][]Rule) []Problem {
	var out []Problem
	for _, p := range t.Packages {
		rule, line := find(layers, p.Dir)
		if rule == nil {
			out = append(out, Problem{Path: p.Dir, Text: "package stands in no line of the import table (internal/arch/table.go)"})
			continue
		}
		for _, f := range p.Files {
			for _, spec := range f.AST.Imports {
				path, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					continue // the parser accepts only quoted paths
				}
				if spec.Name != nil && spec.Name.Name == "." {
					// The checks below look for names such as time.Now; a dot import would hide them.
					out = append(out, Problem{f.Path, t.Line(spec.Pos()), "dot import of " + path})
				}
				if text := judge(layers, p.Dir, rule, line, f.Test, path); text != "" {
					out = append(out, Problem{Path: f.Path, Line: t.Line(spec.Pos()), Text: text})
				}
			}
			if rule.Pure && !f.Test {
				out = append(out, checkPure(t, f)...)
			}
		}
	}
	return out
}

// judge returns what is wrong with one import, "" when nothing is.
func judge(layers [][]Rule, dir string, rule *Rule, line int, test bool, path string) string {
	if path == "C" {
		return "imports C: the binary is built without cgo"
	}
	target, own := strings.CutPrefix(path, Module+"/")
	if path == Module {
		target, own = ".", true
	}
	if !own {
		return judgeForeign(dir, rule, test, path)
	}
	if test {
		return ""
	}
	to, toLine := find(layers, target)
	switch {
	case to == nil:
		return "imports " + target + ", which stands in no line of the import table"
	case to.Testing && !rule.Testing:
		return "imports " + target + ", which serves tests only"
	case to.UsedBy != nil && to != rule && !coversAny(to.UsedBy, dir):
		return "imports " + target + ", which only " + strings.Join(to.UsedBy, ", ") + " may import"
	case to == rule:
		return ""
	case toLine <= line:
		return "imports " + target + ", which does not stand below " + dir + " in the import table"
	case rule.Only != nil && !coversAny(rule.Only, target):
		return "imports " + target + "; it may import only " + strings.Join(rule.Only, ", ")
	case rule.Pure && !to.Pure:
		return "pure package imports " + target + ", which is not pure"
	}
	return ""
}

// judgeForeign judges an import from the standard library or from another module.
func judgeForeign(dir string, rule *Rule, test bool, path string) string {
	first, _, _ := strings.Cut(path, "/")
	if strings.Contains(first, ".") {
		if underPath(rule.External, path) || test && underPath(TestExternal, path) {
			return ""
		}
		return "imports " + path + ", a library that the import table does not grant to " + dir
	}
	if test {
		return ""
	}
	if path == "testing" && !rule.Testing {
		return "imports testing outside a test"
	}
	if rule.Pure && underPath(impureStd, path) {
		return "pure package imports " + path
	}
	return ""
}

// checkPure finds go statements and readings of a clock in a file of a pure package.
func checkPure(t *Tree, f *File) []Problem {
	var out []Problem
	clock := importName(f.AST, "time")
	ast.Inspect(f.AST, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			out = append(out, Problem{f.Path, t.Line(n.Pos()), "pure package starts a goroutine"})
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && clock != "" && x.Name == clock && clockNames[n.Sel.Name] {
				out = append(out, Problem{f.Path, t.Line(n.Pos()), "pure package calls time." + n.Sel.Name + ": time is an argument"})
			}
		}
		return true
	})
	return out
}

// importName returns the name under which a file knows an import path, "" when it does not import it.
func importName(f *ast.File, path string) string {
	for _, spec := range f.Imports {
		if spec.Path.Value != strconv.Quote(path) {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path[strings.LastIndex(path, "/")+1:]
	}
	return ""
}
