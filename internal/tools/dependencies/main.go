// Command dependencies writes docs/dependencies.txt: every library that the linker puts into midge on any platform it is
// built for, with its version, and "indirect" when only other libraries import it. With -check it compares instead, so
// that no library enters the program unseen. It asks the go command and runs from the module root: make dependencies.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strings"
)

const (
	listFile = "docs/dependencies.txt"
	program  = "./cmd/midge"
	head     = `# Libraries in the midge binary: module path, version, and "indirect" for what only other libraries import.
# Written by ` + "`make dependencies`; `make check`" + ` fails when it differs from what the linker would take.
`
)

// builds are the platforms and tags whose libraries are listed together.
var builds = []struct{ goos, tags string }{{"linux", ""}, {"linux", "portable"}, {"darwin", ""}, {"windows", ""}}

func main() {
	check := flag.Bool("check", false, "compare instead of writing; a difference fails")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "dependencies:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	lines := map[string]bool{} // "path version" -> imported by this module's own packages
	for _, b := range builds {
		if err := collect(lines, b.goos, b.tags); err != nil {
			return err
		}
	}
	text := render(lines)
	if !check {
		return os.WriteFile(listFile, []byte(text), 0o644)
	}
	old, err := os.ReadFile(listFile)
	if err != nil {
		return err
	}
	if string(old) != text {
		return fmt.Errorf("%s is stale; run: make dependencies\n%s", listFile, text)
	}
	return nil
}

func render(lines map[string]bool) string {
	keys := make([]string, 0, len(lines))
	for k := range lines {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var b strings.Builder
	b.WriteString(head)
	for _, k := range keys {
		b.WriteString(k)
		if !lines[k] {
			b.WriteString(" indirect")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// collect adds the modules of one build. One line per package: its module, then its imports.
func collect(lines map[string]bool, goos, tags string) error {
	format := `{{if not .Standard}}{{.ImportPath}}|{{with .Module}}{{if .Main}}main{{else}}{{.Path}} {{.Version}}{{end}}{{end}}|{{join .Imports " "}}{{end}}`
	cmd := exec.Command("go", "list", "-deps", "-tags", tags, "-f", format, program)
	cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go list for %s: %w\n%s", goos, err, stderr.String())
	}
	module := map[string]string{} // import path -> "path version"
	var direct []string
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		path, rest, ok := strings.Cut(line, "|")
		mod, imports, ok2 := strings.Cut(rest, "|")
		if !ok || !ok2 {
			return fmt.Errorf("go list printed %q", line)
		}
		if mod == "main" {
			direct = append(direct, strings.Fields(imports)...)
			continue
		}
		module[path] = mod
		if !lines[mod] {
			lines[mod] = false
		}
	}
	for _, path := range direct {
		if mod := module[path]; mod != "" {
			lines[mod] = true
		}
	}
	return nil
}
