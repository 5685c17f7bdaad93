// Command suites prints the packages of one of the parts that `make test` runs, one import path on a line. It runs from the module
// root:
//
//	race      what may have two goroutines, in itself or in its tests: under the race detector
//	plain     the pure packages without a goroutine in their tests: the detector has nothing to see there
//	portable  those whose test program is another one with the build tag portable: again with that tag
//
// Every package with tests is in exactly one of race and plain.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/midgemq/midge/internal/arch"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: suites race|plain|portable")
		os.Exit(2)
	}
	list, err := suite(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "suites:", err)
		os.Exit(1)
	}
	for _, p := range list {
		fmt.Println(p)
	}
}

// listed is what is needed of the output of go list.
type listed struct {
	ImportPath, ForTest, Dir string
	Deps                     []string
	Module                   *struct{ Path string }
	GoFiles, TestGoFiles     []string
	XTestGoFiles             []string
}

func suite(name string) ([]string, error) {
	switch name {
	case "race", "plain":
		all, err := list()
		if err != nil {
			return nil, err
		}
		tree, err := arch.Load(os.DirFS("."))
		if err != nil {
			return nil, err
		}
		return split(all, tree, name == "plain")
	case "portable":
		return portable()
	}
	return nil, fmt.Errorf("no part %q", name)
}

// list runs go list on all packages of the module, their test programs included.
func list(args ...string) (map[string]*listed, error) {
	cmd := exec.Command("go", append(append([]string{"list", "-json=ImportPath,ForTest,Dir,Deps,Module,GoFiles,TestGoFiles,XTestGoFiles"}, args...), "./...")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, stderr.String())
	}
	all := map[string]*listed{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(listed)
		if err := d.Decode(p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		all[p.ImportPath] = p
	}
}

func (p *listed) tested() bool { return len(p.TestGoFiles)+len(p.XTestGoFiles) > 0 }

// split gives the packages with tests that are, or are not, free of goroutines.
func split(all map[string]*listed, tree *arch.Tree, plain bool) (out []string, err error) {
	for path, p := range all {
		if !p.tested() {
			continue
		}
		dir := strings.TrimPrefix(strings.TrimPrefix(path, p.Module.Path), "/")
		rule := arch.RuleFor(dir)
		if rule == nil {
			return nil, fmt.Errorf("%s is in no layer of internal/arch", path)
		}
		if free := rule.Pure && !concurrent(tree.Package(dir)); free == plain {
			out = append(out, path)
		}
	}
	slices.Sort(out)
	return out, nil
}

// concurrent reports whether a package or its tests start a goroutine, by themselves or by the testing package.
func concurrent(p *arch.Package) (found bool) {
	for _, f := range p.Files {
		ast.Inspect(f.AST, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				found = true
			case *ast.SelectorExpr:
				found = found || n.Sel.Name == "Parallel" || n.Sel.Name == "RunParallel"
			}
			return !found
		})
	}
	return found
}

// portable compares what go list says without and with the tag.
func portable() ([]string, error) {
	usual, err := list("-test")
	if err != nil {
		return nil, err
	}
	tagged, err := list("-test", "-tags=portable")
	if err != nil {
		return nil, err
	}
	return differing(usual, tagged), nil
}

func differing(usual, tagged map[string]*listed) (out []string) {
	other := map[string]bool{}
	for path, p := range tagged {
		q := usual[path]
		if q == nil || !slices.Equal(p.GoFiles, q.GoFiles) || !slices.Equal(p.TestGoFiles, q.TestGoFiles) || !slices.Equal(p.XTestGoFiles, q.XTestGoFiles) {
			other[path] = true
		}
	}
	for path, p := range tagged {
		name, program := strings.CutSuffix(path, ".test")
		if program && (other[path] || slices.ContainsFunc(p.Deps, func(dep string) bool { return other[dep] })) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
