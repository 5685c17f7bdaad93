package main

import (
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
)

// Fault is one seeded error: a text in a source file, what replaces it, and the tests that must notice.
type Fault struct {
	Name  string
	Where string // file and line of the list, for messages
	Area  string // an area of the statement tables
	File  string // the source that is altered, relative to the module root
	Tests [][]string
	Old   string
	New   string
}

// parseFaults reads a list. An entry is
//
//	=== NAME
//	area: qos1
//	file: internal/session/inbound.go
//	test: ./internal/session -run TestPublish
//	--- old
//	the text as it stands, exactly once in the file
//	--- new
//	what replaces it
//
// Several test lines are several runs; one of them must fail. Lines before the first entry are commentary.
func parseFaults(name, text string) ([]*Fault, error) {
	var out []*Fault
	var f *Fault
	var into *string
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		where := fmt.Sprintf("%s:%d", name, i+1)
		switch {
		case strings.HasPrefix(line, "=== "):
			f = &Fault{Name: strings.TrimSpace(line[4:]), Where: where}
			out = append(out, f)
			into = nil
		case f == nil:
			continue
		case line == "--- old":
			into = &f.Old
		case line == "--- new":
			into = &f.New
		case into != nil:
			*into += line + "\n"
		case strings.TrimSpace(line) == "":
		default:
			key, value, ok := strings.Cut(line, ":")
			value = strings.TrimSpace(value)
			switch {
			case !ok || value == "":
				return nil, fmt.Errorf("%s: want KEY: VALUE, got %q", where, line)
			case key == "area":
				f.Area = value
			case key == "file":
				f.File = value
			case key == "test":
				f.Tests = append(f.Tests, strings.Fields(value))
			default:
				return nil, fmt.Errorf("%s: unknown key %q: want area, file or test", where, key)
			}
		}
	}
	for _, f := range out {
		f.Old, f.New = strings.TrimRight(f.Old, "\n"), strings.TrimRight(f.New, "\n")
		switch {
		case f.Area == "" || f.File == "" || len(f.Tests) == 0:
			return nil, fmt.Errorf("%s: fault %s lacks area, file or test", f.Where, f.Name)
		case strings.TrimSpace(f.Old) == "":
			return nil, fmt.Errorf("%s: fault %s has no old text", f.Where, f.Name)
		case f.Old == f.New:
			return nil, fmt.Errorf("%s: fault %s changes nothing", f.Where, f.Name)
		}
	}
	return out, nil
}

// faultDir holds the lists, one file per part of the broker.
const faultDir = "test/mutate"

// loadFaults reads every list and checks names and areas.
func loadFaults(fsys fs.FS) ([]*Fault, map[string]bool, error) {
	areas, err := loadAreas(fsys)
	if err != nil {
		return nil, nil, err
	}
	names, err := fs.Glob(fsys, path.Join(faultDir, "*.txt"))
	if err != nil {
		return nil, nil, err
	}
	sort.Strings(names)
	var all []*Fault
	seen := map[string]string{}
	for _, name := range names {
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, nil, err
		}
		list, err := parseFaults(name, string(b))
		if err != nil {
			return nil, nil, err
		}
		for _, f := range list {
			if seen[f.Name] != "" {
				return nil, nil, fmt.Errorf("%s: fault %s stands at %s already", f.Where, f.Name, seen[f.Name])
			}
			if !areas[f.Area] {
				return nil, nil, fmt.Errorf("%s: fault %s has the unknown area %q", f.Where, f.Name, f.Area)
			}
			seen[f.Name] = f.Where
		}
		all = append(all, list...)
	}
	if len(all) == 0 {
		return nil, nil, fmt.Errorf("no faults in %s", faultDir)
	}
	return all, areas, nil
}

// loadAreas collects the areas of the statement tables.
func loadAreas(fsys fs.FS) (map[string]bool, error) {
	areas := map[string]bool{}
	for _, name := range []string{"mqtt31.tsv", "mqtt311.tsv", "mqtt5.tsv", "edge-cases.tsv"} {
		b, err := fs.ReadFile(fsys, "docs/spec/"+name)
		if err != nil {
			return nil, err
		}
		for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
			c := strings.Split(line, "\t")
			if i == 0 {
				continue
			}
			if len(c) < 5 {
				return nil, fmt.Errorf("docs/spec/%s:%d: %d cells, want at least 5", name, i+1, len(c))
			}
			areas[c[4]] = true
		}
	}
	return areas, nil
}

// apply returns the altered source. The old text must stand there exactly once, so that a list gone stale is noticed.
func (f *Fault) apply(fsys fs.FS) (string, error) {
	b, err := fs.ReadFile(fsys, f.File)
	if err != nil {
		return "", fmt.Errorf("%s: fault %s: %w", f.Where, f.Name, err)
	}
	if n := strings.Count(string(b), f.Old); n != 1 {
		return "", fmt.Errorf("%s: fault %s: the old text stands %d times in %s, want once", f.Where, f.Name, n, f.File)
	}
	return strings.Replace(string(b), f.Old, f.New, 1), nil
}

// missingAreas lists areas that no fault touches.
func missingAreas(faults []*Fault, areas map[string]bool) []string {
	have := map[string]bool{}
	for _, f := range faults {
		have[f.Area] = true
	}
	var out []string
	for a := range areas {
		if !have[a] {
			out = append(out, a)
		}
	}
	sort.Strings(out)
	return out
}
