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
	"regexp"
	"runtime"
	"slices"
	"strconv"
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
	Dir    string
	Binary string
	// Passes are its runs: the quick tests by themselves come first, as they catch most.
	Passes []Pass
}

// Pass is one run of a suite's tests.
type Pass struct {
	Args    []string
	Timeout time.Duration // several times what it takes on unchanged code
}

// Result is what became of one mutant.
type Result struct {
	Outcome
	By string // test package that caught it
}

func runOperators(ctx context.Context, args []string, w io.Writer) error {
	fl := flag.NewFlagSet("operators", flag.ContinueOnError)
	least := fl.Int("min", 0, "fail when fewer per cent are caught")
	sample := fl.Int("sample", 0, "try at most so many mutants of each package, chosen by -seed; 0: all")
	seed := fl.Int64("seed", 1, "which sample")
	pkg := fl.String("pkg", "", "only this package directory")
	write := fl.String("write", "", "write the report, survivors included, to this file")
	parallel := fl.Int("j", runtime.NumCPU(), "mutants tried at once")
	list := fl.Bool("list", false, "print the mutants and stop")
	scripts := fl.Bool("scripts", true, "show what the unit tests let live to the behaviour scripts")
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
		tests := existing(t.tests)
		if *scripts {
			tests = append(tests, existing(scriptTests)...)
		}
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
	all, of := mutants, tried{map[string]int{}, *seed, *scripts}
	for _, m := range all {
		of.total[m.pkg()]++
	}
	if *sample > 0 {
		mutants = sampled(all, *sample, *seed)
	}
	if *list {
		for _, m := range mutants {
			fmt.Fprintf(w, "%d %s:%d %s %s: %s\n", m.ID, m.File, m.Line, m.Func, m.Op, m.Text)
		}
		return nil
	}
	if *pkg == "" {
		if err := checkReasons(all); err != nil {
			return err
		}
	}
	suites, err := buildSuites(ctx, w, dir, texts, needed)
	if err != nil {
		return err
	}
	results := tryMutants(ctx, w, mutants, guards, suites, *parallel)
	if err := ctx.Err(); err != nil {
		return err
	}
	return conclude(w, mutants, results, of, *least, *write)
}

// tried says which part of all mutants was tried, and how.
type tried struct {
	total   map[string]int // mutants of each package
	seed    int64          // of the sample
	scripts bool           // what lived met the behaviour scripts
}

// sampled chooses up to n mutants of each package, the same for the same seed.
func sampled(all []*Mutant, n int, seed int64) []*Mutant {
	shuffled := slices.Clone(all)
	rand.New(rand.NewSource(seed)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	taken := map[string]int{}
	return slices.DeleteFunc(shuffled, func(m *Mutant) bool {
		taken[m.pkg()]++
		return taken[m.pkg()] > n
	})
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
		start := time.Now()
		o, out, _ := s.pass(ctx, 0, Pass{[]string{"-test.v"}, 10 * time.Minute})
		if o != Survived {
			return nil, fmt.Errorf("the tests of %s fail with every mutant off:\n%s", d, tail(out, 30))
		}
		took := time.Since(start)
		s.Passes = passes(out, took)
		fmt.Fprintf(w, "%s passes in %.1f s with every mutant off\n", d, took.Seconds())
		suites[d] = s
	}
	return suites, nil
}

// slowTest is what a test may take on unchanged code and still belong to the first pass.
const slowTest = 50 * time.Millisecond

var tookLine = regexp.MustCompile(`(?m)^--- PASS: (\w+) \(([0-9.]+)s\)$`)

// passes splits a suite by what its tests took in a run with -test.v.
func passes(out string, took time.Duration) []Pass {
	whole := 5*took + 5*time.Second
	var slow []string
	quick := 5 * time.Second
	all := tookLine.FindAllStringSubmatch(out, -1)
	for _, m := range all {
		sec, _ := strconv.ParseFloat(m[2], 64) // the pattern lets nothing else through
		if d := time.Duration(sec * float64(time.Second)); d > slowTest {
			slow = append(slow, m[1])
		} else {
			quick += 5 * d
		}
	}
	if len(slow) == 0 || len(slow) == len(all) {
		return []Pass{{nil, whole}}
	}
	names := "^(" + strings.Join(slow, "|") + ")$"
	return []Pass{{[]string{"-test.skip=" + names}, quick}, {[]string{"-test.run=" + names}, whole}}
}

// run runs the suite with one mutant on.
func (s *Suite) run(ctx context.Context, id int) Outcome {
	o := Survived
	for _, p := range s.Passes {
		var cpu time.Duration
		if o, _, cpu = s.pass(ctx, id, p); o == Hangs && cpu < p.Timeout/4 {
			// Starved by other work on the machine, or waiting for ever: only more time tells.
			p.Timeout *= 4
			o, _, _ = s.pass(ctx, id, p)
		}
		if o != Survived {
			break
		}
	}
	return o
}

// pass runs tests of the suite with one mutant on; 0 is none. cpu is the processor time it took.
func (s *Suite) pass(ctx context.Context, id int, p Pass) (o Outcome, text string, cpu time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout+10*time.Second)
	defer cancel()
	args := []string{s.Binary, "-test.failfast", "-test.timeout=" + p.Timeout.String()}
	args = append(append(args, p.Args...), suiteArgs[s.Dir]...)
	if limit := memoryLimit(); limit != "" {
		args = append(strings.Fields(limit), args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = s.Dir
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", mutantEnv, id))
	out, err := cmd.CombinedOutput()
	if st := cmd.ProcessState; st != nil {
		cpu = st.UserTime() + st.SystemTime()
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return Survived, string(out), cpu
	case ctx.Err() != nil || strings.Contains(string(out), "panic: test timed out"):
		return Hangs, string(out), cpu
	case errors.As(err, &exit):
		return Caught, string(out), cpu
	}
	return NoBuild, err.Error(), cpu
}

func tryMutants(ctx context.Context, w io.Writer, mutants []*Mutant, guards map[int][]string, suites map[string]*Suite, parallel int) map[int]Result {
	var mu sync.Mutex
	results := map[int]Result{}
	work := make(chan *Mutant)
	var wg sync.WaitGroup
	for range parallel {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for m := range work {
				r := Result{Outcome: Survived}
				for _, d := range guards[m.ID] {
					if r = (Result{suites[d].run(ctx, m.ID), d}); r.Outcome != Survived {
						break
					}
				}
				mu.Lock()
				results[m.ID] = r
				if !r.bites() {
					fmt.Fprintf(w, "%s %s:%d %s %s: %s\n", r.Outcome, m.File, m.Line, m.Func, m.Op, m.Text)
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
func conclude(w io.Writer, mutants []*Mutant, results map[int]Result, of tried, least int, file string) error {
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
		if err := os.WriteFile(file, []byte(mutantReport(mutants, results, of, reasons)), 0o644); err != nil {
			return err
		}
	}
	if caught*100 < least*len(mutants) {
		return fmt.Errorf("%d of %d mutants caught, at least %d %% are wanted", caught, len(mutants), least)
	}
	return nil
}
