package config

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/midgemq/midge/internal/logging"
)

// includeField is include_dir.
type includeField struct{}

func (includeField) parse(p *parser, o *Option, rest string) error {
	dir, err := p.parseString(o.Name, rest)
	if err != nil {
		return err
	}
	if p.includedBy != "" {
		return p.errorf("Error: The '%s' option is only allowed in the main configuration file.", o.Name)
	}
	names, err := includable(dir)
	if err != nil {
		return p.errorf("Error: Unable to open include_dir '%s'.", dir)
	}
	// A file begins outside every section, and leaves none behind.
	main := *p
	defer func() {
		p.file, p.line, p.includedBy, p.includedAt = main.file, main.line, "", 0
		p.listener, p.bridge, p.plugin = main.listener, main.bridge, main.plugin
	}()
	p.includedBy, p.includedAt = p.file, p.line
	for _, name := range names {
		path := filepath.Join(dir, name)
		p.report(logging.Information, "Loading config file "+path)
		if err := p.readFile(path); err != nil {
			return err
		}
	}
	return nil
}

func (includeField) format(target) string { return "" }
func (includeField) carry(_, _ target)    {}

// includable lists the names in a directory that include_dir reads, in its
// order.
func includable(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name := e.Name(); len(name) > len(".conf") && strings.HasSuffix(name, ".conf") {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, compareNames)
	return names, nil
}

// compareNames compares character by character without regard to case; names
// that are equal so have upper case first.
func compareNames(a, b string) int {
	if c := cmp.Compare(strings.ToLower(a), strings.ToLower(b)); c != 0 {
		return c
	}
	return cmp.Compare(a, b)
}
