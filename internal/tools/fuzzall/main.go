// Command fuzzall runs every fuzz target of the module for a given time each: the go command takes one target at a time. Each package is
// built once, with the build tag fuzz, which leaves out those of its tests that would link far more than the target needs (SQLite, by
// way of a broker). Findings stay under testdata/fuzz of their package, where the next plain test run replays them.
// It runs from the module root: make fuzz FUZZTIME=20s.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Target is one fuzz function.
type Target struct{ Dir, Name string }

func (t Target) String() string { return t.Dir + "." + t.Name }

// plan is what the flags say.
type plan struct {
	each    time.Duration
	only    string
	workers int // of one target; 0: as many as there are processors
	jobs    int // targets at a time
}

func main() {
	var p plan
	flag.DurationVar(&p.each, "time", time.Minute, "time for each target")
	flag.StringVar(&p.only, "run", "", "regular expression on DIR.NAME: only these targets")
	flag.IntVar(&p.workers, "parallel", 0, "fuzz workers of a target, as go test -parallel; 0: one for each processor")
	flag.IntVar(&p.jobs, "jobs", 1, "targets at a time")
	flag.Parse()
	if err := p.run(); err != nil {
		fmt.Fprintln(os.Stderr, "fuzzall:", err)
		os.Exit(1)
	}
}

func (p *plan) run() error {
	want, err := regexp.Compile(p.only)
	if err != nil {
		return err
	}
	all, err := find(os.DirFS("."))
	if err != nil {
		return err
	}
	var targets []Target
	for _, t := range all {
		if want.MatchString(t.String()) {
			targets = append(targets, t)
		}
	}
	if len(targets) == 0 {
		return fmt.Errorf("no fuzz target found; run from the module root")
	}
	bin, err := os.MkdirTemp("", "fuzzall")
	if err != nil {
		return err
	}
	failed, err := p.all(targets, bin)
	if err := errors.Join(err, os.RemoveAll(bin)); err != nil {
		return err
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
	}
	return nil
}

// all builds the packages one after the other while the targets of those that are built run, and gives the names of those that failed.
func (p *plan) all(targets []Target, bin string) (failed []string, err error) {
	cache, err := goEnv("GOCACHE")
	if err != nil {
		return nil, err
	}
	ready := make(chan Target, len(targets)) // so that building never waits
	var mu sync.Mutex
	fail := func(t Target) {
		mu.Lock()
		failed = append(failed, t.String())
		mu.Unlock()
	}
	var running sync.WaitGroup
	for range max(p.jobs, 1) {
		running.Add(1)
		go func() {
			defer running.Done()
			for t := range ready {
				if !p.fuzz(t, program(bin, t.Dir), filepath.Join(cache, "fuzz", "midge", filepath.FromSlash(t.Dir))) {
					fail(t)
				}
			}
		}()
	}
	built := map[string]bool{}
	for _, t := range targets {
		ok, known := built[t.Dir]
		if !known {
			ok = build(program(bin, t.Dir), t.Dir)
			built[t.Dir] = ok
		}
		if ok {
			ready <- t
		} else {
			fail(t)
		}
	}
	close(ready)
	running.Wait()
	sort.Strings(failed)
	return failed, nil
}

func goEnv(name string) (string, error) {
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		return "", fmt.Errorf("go env %s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}

func program(bin, dir string) string {
	return filepath.Join(bin, strings.ReplaceAll(dir, "/", "-")+".test")
}

// build makes the test program of a package, with the instructions that tell the fuzzer which way the code went.
func build(out, dir string) bool {
	cmd := exec.Command("go", "test", "-c", "-fuzz=.", "-tags=fuzz", "-o", out, "./"+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Printf("build %s: %v\n", dir, err)
		return false
	}
	return true
}

// fuzz runs a target and reports whether it passed. A run that failed for nothing but the end of its time, without an input, is made
// once more: that happens when a worker is busy at that moment. What is printed comes in one piece.
func (p *plan) fuzz(t Target, program, cache string) bool {
	args := []string{"-test.run=^$", "-test.fuzz=^" + t.Name + "$", "-test.fuzztime=" + p.each.String(), "-test.fuzzcachedir=" + cache}
	if p.workers > 0 {
		args = append(args, "-test.parallel="+strconv.Itoa(p.workers))
	}
	for try := 0; ; try++ {
		var out bytes.Buffer
		cmd := exec.Command(program, args...)
		cmd.Dir = filepath.FromSlash(t.Dir)
		cmd.Stdout, cmd.Stderr = &out, &out
		began := time.Now()
		err := cmd.Run()
		if err == nil {
			fmt.Printf("fuzz %s: ok, %v; %s\n", t, time.Since(began).Round(time.Millisecond), lastProgress(out.String()))
			return true
		}
		timeUp := strings.Contains(out.String(), "context deadline exceeded") && !strings.Contains(out.String(), "Failing input written")
		if !timeUp || try == 2 {
			fmt.Printf("fuzz %s: %v\n", t, err)
			_, _ = io.Copy(os.Stdout, &out)
			return false
		}
	}
}

var progress = regexp.MustCompile(`(?m)^fuzz: elapsed: .*?(execs: \d+).*$`)

// lastProgress tells how many inputs were tried.
func lastProgress(out string) string {
	all := progress.FindAllStringSubmatch(out, -1)
	if len(all) == 0 {
		return "no inputs tried"
	}
	return all[len(all)-1][1]
}

var fuzzFunc = regexp.MustCompile(`(?m)^func (Fuzz[A-Z0-9_]\w*)\(\w+ \*testing\.F\)`)

// find lists the fuzz functions of the tree in order of directory and name.
func find(fsys fs.FS) ([]Target, error) {
	var out []Target
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case ".git", "testdata", "node_modules", "bin":
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, "_test.go") {
			return nil
		}
		src, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		for _, m := range fuzzFunc.FindAllSubmatch(src, -1) {
			out = append(out, Target{path.Dir(p), string(m[1])})
		}
		return nil
	})
	sort.Slice(out, func(i, j int) bool {
		if out[i].Dir != out[j].Dir {
			return out[i].Dir < out[j].Dir
		}
		return out[i].Name < out[j].Name
	})
	return out, err
}
