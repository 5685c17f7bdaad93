package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"sync"
	"time"
)

// targets are the packages that hold the protocol and the tests that guard each, quickest first.
var targets = []struct {
	dir   string
	tests []string
}{
	{"internal/flow", []string{"internal/flow", "internal/session"}},
	{"internal/router", []string{"internal/router"}},
	{"internal/session", []string{"internal/session"}},
}

// scriptTests run the behaviour scripts; they guard every target, after its own tests.
var scriptTests = []string{"test/behaviour"}

// suiteArgs are arguments for a test package: the scripts run in process only, which is quickest and as strict.
var suiteArgs = map[string][]string{"test/behaviour": {"-target=sim"}}

// Suite is one compiled test package.
type Suite struct {
	Dir     string
	Binary  string
	Timeout time.Duration // several times its run on unchanged code
}

func runOperators(ctx context.Context, args []string, w io.Writer) error {
	fl := flag.NewFlagSet("operators", flag.ContinueOnError)
	least := fl.Int("min", 0, "fail when fewer per cent are caught")
	sample := fl.Int("sample", 0, "try only so many mutants, chosen by -seed; 0: all")
	seed := fl.Int64("seed", 1, "which sample")
	pkg := fl.String("pkg", "", "only this package directory")
	write := fl.String("write", "", "write the report, survivors included, to this file")
	parallel := fl.Int("j", runtime.NumCPU(), "mutants tried at once")
	list := fl.Bool("list", false, "print the mutants and stop")
	if err := fl.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "midge-mutants-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	texts := map[string]string{}
	guards := map[int][]string{} // mutant -> test packages
	var mutants []*Mutant
	needed := map[string]bool{}
	for _, t := range targets {
		if *pkg != "" && t.dir != *pkg {
			continue
		}
		files, more, err := instrumentPackage(t.dir, len(mutants)+1)
		if err != nil {
			return err
		}
		for name, text := range files {
			texts[name] = text
		}
		tests := existing(append(append([]string{}, t.tests...), scriptTests...))
		if len(tests) == 0 {
			return fmt.Errorf("%s has no tests", t.dir)
		}
		for _, m := range more {
			guards[m.ID] = tests
		}
		for _, d := range tests {
			needed[d] = true
		}
		mutants = append(mutants, more...)
	}
	if len(mutants) == 0 {
		return fmt.Errorf("no mutants: -pkg %q names no target", *pkg)
	}
	total := len(mutants)
	if *sample > 0 && *sample < total {
		rand.New(rand.NewSource(*seed)).Shuffle(total, func(i, j int) { mutants[i], mutants[j] = mutants[j], mutants[i] })
		mutants = mutants[:*sample]
	}
	if *list {
		for _, m := range mutants {
			fmt.Fprintf(w, "%d %s:%d %s %s: %s\n", m.ID, m.File, m.Line, m.Func, m.Op, m.Text)
		}
		return nil
	}
	suites, err := buildSuites(ctx, w, dir, texts, needed)
	if err != nil {
		return err
	}
	results := tryMutants(ctx, w, mutants, guards, suites, *parallel)
	if err := ctx.Err(); err != nil {
		return err
	}
	return conclude(w, mutants, results, total, *least, *write)
}

func existing(dirs []string) []string {
	var out []string
	for _, d := range dirs {
		if m, _ := filepath.Glob(filepath.Join(d, "*_test.go")); len(m) > 0 {
			out = append(out, d)
		}
	}
	return out
}

// buildSuites compiles the test packages with every mutant in them, all off, and runs each once: they must pass.
func buildSuites(ctx context.Context, w io.Writer, dir string, texts map[string]string, needed map[string]bool) (map[string]*Suite, error) {
	overlay, err := writeOverlay(dir, texts)
	if err != nil {
		return nil, err
	}
	suites := map[string]*Suite{}
	for d := range needed {
		s := &Suite{Dir: d, Binary: filepath.Join(dir, strings.ReplaceAll(d, "/", "_")+".test")}
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay="+overlay, "-o", s.Binary, "./"+d)
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the tests of %s with mutants: %w\n%s", d, err, tail(string(out), 30))
		}
		s.Timeout = 10 * time.Minute
		start := time.Now()
		if o, out := s.run(ctx, 0); o != Survived {
			return nil, fmt.Errorf("the tests of %s fail with every mutant off:\n%s", d, tail(out, 30))
		}
		took := time.Since(start)
		s.Timeout = 5*took + 5*time.Second
		fmt.Fprintf(w, "%s passes in %.1f s with every mutant off\n", d, took.Seconds())
		suites[d] = s
	}
	return suites, nil
}

// run runs the suite with one mutant on; 0 is none.
func (s *Suite) run(ctx context.Context, id int) (Outcome, string) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout+10*time.Second)
	defer cancel()
	args := []string{s.Binary, "-test.failfast", "-test.timeout=" + s.Timeout.String()}
	args = append(args, suiteArgs[s.Dir]...)
	if limit := memoryLimit(); limit != "" {
		args = append(strings.Fields(limit), args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = s.Dir
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", mutantEnv, id))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return Survived, ""
	case ctx.Err() != nil || strings.Contains(string(out), "panic: test timed out"):
		return Hangs, string(out)
	case errors.As(err, &exit):
		return Caught, string(out)
	}
	return NoBuild, err.Error()
}

func tryMutants(ctx context.Context, w io.Writer, mutants []*Mutant, guards map[int][]string, suites map[string]*Suite, parallel int) map[int]Outcome {
	var mu sync.Mutex
	results := map[int]Outcome{}
	work := make(chan *Mutant)
	var wg sync.WaitGroup
	for range parallel {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for m := range work {
				o := Survived
				for _, d := range guards[m.ID] {
					if o, _ = suites[d].run(ctx, m.ID); o != Survived {
						break
					}
				}
				mu.Lock()
				results[m.ID] = o
				if !o.bites() {
					fmt.Fprintf(w, "%s %s:%d %s: %s\n", o, m.File, m.Line, m.Op, m.Text)
				}
				mu.Unlock()
			}
		}()
	}
	for _, m := range mutants {
		if ctx.Err() != nil {
			break
		}
		work <- m
	}
	close(work)
	wg.Wait()
	return results
}

// conclude prints and writes the figures and judges them.
func conclude(w io.Writer, mutants []*Mutant, results map[int]Outcome, total, least int, file string) error {
	caught := 0
	for _, m := range mutants {
		if results[m.ID].bites() {
			caught++
		}
	}
	fmt.Fprintf(w, "%d of %d mutants caught\n", caught, len(mutants))
	if file != "" {
		reasons, err := loadReasons()
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(mutantReport(mutants, results, total, reasons)), 0o644); err != nil {
			return err
		}
	}
	if caught*100 < least*len(mutants) {
		return fmt.Errorf("%d of %d mutants caught, at least %d %% are wanted", caught, len(mutants), least)
	}
	return nil
}

// reasonFile says why a survivor is let live: a line is "KEY<tab>REASON". Survivors without one are to be worked on.
const reasonFile = "test/mutate/survivors.tsv"

func loadReasons() (map[string]string, error) {
	b, err := os.ReadFile(reasonFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		key, reason, ok := strings.Cut(line, "\t")
		if !ok || reason == "" {
			return nil, fmt.Errorf("%s:%d: want KEY, tab, reason", reasonFile, i+1)
		}
		out[key] = reason
	}
	return out, nil
}

// mutantReport is the text of docs/mutants.md.
func mutantReport(mutants []*Mutant, results map[int]Outcome, total int, reasons map[string]string) string {
	type count struct{ caught, hangs, all int }
	counts := map[[2]string]*count{}
	var survivors []*Mutant
	caught := 0
	for _, m := range mutants {
		k := [2]string{filepath.ToSlash(filepath.Dir(m.File)), m.Op}
		c := counts[k]
		if c == nil {
			c = &count{}
			counts[k] = c
		}
		c.all++
		switch o := results[m.ID]; {
		case o == Hangs:
			c.hangs++
			fallthrough
		case o == Caught:
			c.caught++
			caught++
		default:
			survivors = append(survivors, m)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# Mutants

Mechanical changes to the packages that hold the protocol, and what the tests made of them. Written by `+"`make mutate`"+`.
*negate*: a condition answers the other way. *remove*: a statement is left out. *boundary*: a comparison answers the other
way where both sides are equal. *off-by-one*: a sum or difference is one more.

%d of %d mutants caught (%.1f %%); %d tried of %d there are.

| Package | Operator | Mutants | Caught | of these by hanging |
|---|---|--:|--:|--:|
`, caught, len(mutants), 100*float64(caught)/float64(len(mutants)), len(mutants), total)
	keys := make([][2]string, 0, len(counts))
	for k := range counts {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i][0]+" "+keys[i][1] < keys[j][0]+" "+keys[j][1] })
	for _, k := range keys {
		c := counts[k]
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d |\n", k[0], k[1], c.all, c.caught, c.hangs)
	}
	b.WriteString("\n## Survivors\n\n| Where | Operator | Source | Why it lives |\n|---|---|---|---|\n")
	sort.Slice(survivors, func(i, j int) bool { return survivors[i].ID < survivors[j].ID })
	for _, m := range survivors {
		why := reasons[m.Key()]
		if why == "" {
			why = "no test tells the difference"
		}
		fmt.Fprintf(&b, "| %s `%s` | %s | `%s` | %s |\n", m.File, m.Func, m.Op, shorten(m.Text), why)
	}
	return b.String()
}

func shorten(s string) string {
	const limit = 100
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit]) + "…"
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "|", "\\|"), "`", "'")
}
