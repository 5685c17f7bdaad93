package arch

import (
	"fmt"
	"go/ast"
)

// Limits are the caps on size. Zero switches one off.
type Limits struct {
	File      int // lines of a file, tests included
	Func      int // lines of a function outside tests, from "func" to the closing brace
	Interface int // methods an interface declares or embeds by name
	Package   int // lines of a package without its tests; 12 % of the module, once that has more than 41,000 lines
}

// Caps are the limits of this module. Goals are lower: files 150 to 450 lines, functions under 40.
var Caps = Limits{File: 900, Func: 120, Interface: 8, Package: 5000}

// Excused names what may exceed a cap, with the reason. Keys are "file:PATH", "func:DIR.Name", "func:DIR.Type.Name",
// "interface:DIR.Name", "package:DIR". An entry that excuses nothing is a problem of its own, so the list cannot rot.
var Excused = map[string]string{}

// CheckSizes holds the sources against limits.
func CheckSizes(t *Tree, lim Limits, excused map[string]string) []Problem {
	var out []Problem
	used := map[string]bool{}
	report := func(key string, p Problem) {
		if excused[key] != "" {
			used[key] = true
			return
		}
		out = append(out, p)
	}
	over := func(n, limit int) bool { return limit > 0 && n > limit }

	for _, p := range t.Packages {
		n := 0
		for _, f := range p.Sources() {
			n += f.Lines
		}
		if over(n, lim.Package) {
			report("package:"+p.Dir, Problem{Path: p.Dir, Text: fmt.Sprintf("package has %d lines, the cap is %d", n, lim.Package)})
		}
		for _, f := range p.Files {
			if over(f.Lines, lim.File) {
				report("file:"+f.Path, Problem{Path: f.Path, Text: fmt.Sprintf("file has %d lines, the cap is %d", f.Lines, lim.File)})
			}
			if f.Test {
				continue
			}
			for _, d := range f.AST.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok {
					continue
				}
				if n := t.Line(fn.End()) - t.Line(fn.Pos()) + 1; over(n, lim.Func) {
					report("func:"+p.Dir+"."+funcName(fn), Problem{
						f.Path, t.Line(fn.Pos()),
						fmt.Sprintf("function %s has %d lines, the cap is %d", funcName(fn), n, lim.Func),
					})
				}
			}
			ast.Inspect(f.AST, func(n ast.Node) bool {
				spec, ok := n.(*ast.TypeSpec)
				if !ok {
					return true
				}
				it, ok := spec.Type.(*ast.InterfaceType)
				if !ok {
					return true
				}
				if n := interfaceSize(it); over(n, lim.Interface) {
					report("interface:"+p.Dir+"."+spec.Name.Name, Problem{
						f.Path, t.Line(spec.Pos()),
						fmt.Sprintf("interface %s has %d methods, the cap is %d", spec.Name.Name, n, lim.Interface),
					})
				}
				return true
			})
		}
	}
	for key := range excused {
		if !used[key] {
			out = append(out, Problem{Path: "internal/arch/size.go", Text: "excuse " + key + " is not needed"})
		}
	}
	return out
}

// interfaceSize counts declared methods and embedded names. Unions and type terms of constraints count as nothing.
func interfaceSize(it *ast.InterfaceType) int {
	n := 0
	for _, m := range it.Methods.List {
		switch m.Type.(type) {
		case *ast.FuncType:
			n += len(m.Names)
		case *ast.Ident, *ast.SelectorExpr, *ast.IndexExpr:
			n++
		}
	}
	return n
}

// funcName is "Name" or "Type.Name".
func funcName(fn *ast.FuncDecl) string {
	if recv := receiver(fn); recv != "" {
		return recv + "." + fn.Name.Name
	}
	return fn.Name.Name
}

// receiver is the name of a method's receiver type without pointer and type parameters, "" for a function.
func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return ""
	}
	e := fn.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}
