// Command fuzzall runs every fuzz target of the module for a given time each, one after the other: the go command takes
// one target at a time. Findings stay under testdata/fuzz of their package, where the next plain test run replays them.
// It runs from the module root: make fuzz FUZZTIME=20s.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"regexp"
	"sort"
	"strings"
	"time"
)

// Target is one fuzz function.
type Target struct{ Dir, Name string }

func main() {
	each := flag.Duration("time", time.Minute, "time for each target")
	only := flag.String("run", "", "regular expression on DIR.NAME: only these targets")
	workers := flag.String("parallel", "", "fuzz workers, as go test -parallel")
	flag.Parse()
	if err := run(*each, *only, *workers); err != nil {
		fmt.Fprintln(os.Stderr, "fuzzall:", err)
		os.Exit(1)
	}
}

func run(each time.Duration, only, workers string) error {
	want, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	targets, err := find(os.DirFS("."))
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return fmt.Errorf("no fuzz target found; run from the module root")
	}
	var failed []string
	for _, t := range targets {
		name := t.Dir + "." + t.Name
		if !want.MatchString(name) {
			continue
		}
		fmt.Println("fuzz", name)
		args := []string{"test", "-run=^$", "-fuzz=^" + t.Name + "$", "-fuzztime=" + each.String()}
		if workers != "" {
			args = append(args, "-parallel="+workers)
		}
		args = append(args, "./"+t.Dir)
		if !fuzz(args) {
			failed = append(failed, name)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
	}
	return nil
}

// fuzz runs go test and reports whether it passed. A run that failed for nothing
// but the end of its time, without an input, is made once more: the go command
// does that when a worker is busy at that moment.
func fuzz(args []string) bool {
	for try := 0; ; try++ {
		var out bytes.Buffer
		cmd := exec.Command("go", args...)
		cmd.Stdout, cmd.Stderr = io.MultiWriter(os.Stdout, &out), os.Stderr
		if cmd.Run() == nil {
			return true
		}
		timeUp := strings.Contains(out.String(), "context deadline exceeded") && !strings.Contains(out.String(), "Failing input written")
		if !timeUp || try == 2 {
			return false
		}
	}
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
