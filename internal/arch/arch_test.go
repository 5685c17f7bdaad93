package arch

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// load parses this module, the directory with go.mod above the test's own, once for all tests.
var load = sync.OnceValues(func() (*Tree, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return Load(os.DirFS(dir))
		}
		up := filepath.Dir(dir)
		if up == dir {
			return nil, errors.New("no go.mod above the test's directory")
		}
		dir = up
	}
})

func module(t *testing.T) *Tree {
	t.Helper()
	tree, err := load()
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func report(t *testing.T, problems []Problem) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}

func TestModuleIsFound(t *testing.T) {
	tree := module(t)
	if tree.Package("internal/arch") == nil || tree.Package("mqtt") == nil {
		t.Fatalf("the tree lacks packages that must be there; it has %d", len(tree.Packages))
	}
}

func TestImports(t *testing.T)         { report(t, CheckImports(module(t), Layers)) }
func TestSizes(t *testing.T)           { report(t, CheckSizes(module(t), Caps, Excused)) }
func TestPackageComments(t *testing.T) { report(t, CheckPackageComments(module(t))) }
func TestForbiddenWords(t *testing.T)  { report(t, CheckWords(module(t), Forbidden)) }
func TestTestRules(t *testing.T)       { report(t, CheckTests(module(t))) }

func TestArchitectureNames(t *testing.T) {
	report(t, CheckNames(module(t), "docs/ARCHITECTURE.md", 25))
}

func TestDependencies(t *testing.T) {
	report(t, CheckDependencies(module(t), "cmd/midge", "docs/dependencies.txt"))
}
