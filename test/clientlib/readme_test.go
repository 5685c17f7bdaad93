package clientlib

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The Go programs in README.md compile as they stand there.
func TestReadmeCompiles(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```go\n")[1:]
	if len(blocks) == 0 {
		t.Fatal("README.md has no Go program")
	}
	for _, b := range blocks {
		program, _, ok := strings.Cut(b, "```")
		if !ok {
			t.Fatal("a block has no end")
		}
		// Built as a file of this module, so that its import path is the one of this tree.
		file := filepath.Join(t.TempDir(), "main.go")
		if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("go", "build", "-o", os.DevNull, file)
		cmd.Dir = "../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s\n%s", err, out, program)
		}
	}
}
