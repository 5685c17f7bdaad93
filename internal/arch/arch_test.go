package arch

import (
	"os"
	"path/filepath"
	"testing"
)

// module loads the sources of this module: the directory with go.mod above the test's own.
func module(t *testing.T) *Tree {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test's directory")
		}
		dir = up
	}
	tree, err := Load(os.DirFS(dir))
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
	report(t, CheckNames(module(t), "docs/ARCHITECTURE.md", 5))
}

func TestDependencies(t *testing.T) {
	report(t, CheckDependencies(module(t), "cmd/midge", "docs/dependencies.txt"))
}
