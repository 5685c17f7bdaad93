package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Outcome of one run of the tests on broken code.
type Outcome string

// Outcomes. Only the first two show that the tests bite.
const (
	Caught   Outcome = "caught"
	Hangs    Outcome = "caught (hangs)"
	Survived Outcome = "SURVIVED"
	NoBuild  Outcome = "DOES NOT COMPILE"
)

func (o Outcome) bites() bool { return o == Caught || o == Hangs }

func runFaults(ctx context.Context, args []string, w io.Writer) error {
	fl := flag.NewFlagSet("faults", flag.ContinueOnError)
	verify := fl.Bool("verify", false, "only check that every fault can be applied, the numbers, and that every excused mutant is there")
	only := fl.String("run", "", "regular expression: only faults of these names")
	list := fl.String("list", "", "only faults of this list, such as broker.txt")
	atLeast := fl.Int("min", 0, "fail when the lists hold fewer faults")
	allAreas := fl.Bool("areas", false, "fail when an area of the statement tables has no fault")
	parallel := fl.Int("j", 2, "faults tried at once")
	timeout := fl.Duration("timeout", 90*time.Second, "longest run of a test binary; longer counts as caught")
	if err := fl.Parse(args); err != nil {
		return err
	}
	want, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	fsys := os.DirFS(".")
	all, areas, err := loadFaults(fsys)
	if err != nil {
		return err
	}
	var faults []*Fault
	for _, f := range all {
		if want.MatchString(f.Name) && (*list == "" || strings.HasPrefix(f.Where, faultDir+"/"+*list+":")) {
			faults = append(faults, f)
		}
	}
	if len(faults) == 0 {
		return fmt.Errorf("no fault matches -run %q -list %q", *only, *list)
	}
	if err := verifyFaults(fsys, faults, areas, *atLeast, *allAreas); err != nil {
		return err
	}
	if *verify {
		return verifyReasons()
	}
	if err := baseline(ctx, w, faults); err != nil {
		return err
	}
	results := tryFaults(ctx, w, fsys, faults, *parallel, *timeout)
	if err := ctx.Err(); err != nil {
		return err
	}
	bad := 0
	for _, f := range faults {
		if !results[f].bites() {
			bad++
			fmt.Fprintf(w, "%s: %s (%s): %s\n", f.Where, f.Name, f.Area, results[f])
		}
	}
	fmt.Fprintf(w, "%d faults, %d caught\n", len(faults), len(faults)-bad)
	if bad > 0 {
		return fmt.Errorf("%d faults were not caught", bad)
	}
	return nil
}

func verifyFaults(fsys fs.FS, all []*Fault, areas map[string]bool, atLeast int, allAreas bool) error {
	var errs []error
	for _, f := range all {
		if _, err := f.apply(fsys); err != nil {
			errs = append(errs, err)
		}
	}
	if len(all) < atLeast {
		errs = append(errs, fmt.Errorf("%s holds %d faults, at least %d are wanted", faultDir, len(all), atLeast))
	}
	if missing := missingAreas(all, areas); allAreas && len(missing) > 0 {
		errs = append(errs, fmt.Errorf("areas without a fault: %s", strings.Join(missing, ", ")))
	}
	return errors.Join(errs...)
}

// baseline runs the tests of the faults on the sources as they are: a test that fails anyway catches nothing.
func baseline(ctx context.Context, w io.Writer, faults []*Fault) error {
	seen := map[string]bool{}
	for _, f := range faults {
		for _, t := range f.Tests {
			key := strings.Join(t, " ")
			if seen[key] {
				continue
			}
			seen[key] = true
			cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-vet=off"}, t...)...)
			out, err := cmd.CombinedOutput()
			if err != nil {
				return fmt.Errorf("the tests fail without any fault: go test %s: %w\n%s", key, err, out)
			}
			if strings.Contains(string(out), "[no tests to run]") {
				return fmt.Errorf("no test runs with: go test %s", key)
			}
		}
	}
	fmt.Fprintf(w, "%d sets of tests pass without a fault\n", len(seen))
	return nil
}

func tryFaults(ctx context.Context, w io.Writer, fsys fs.FS, faults []*Fault, parallel int, timeout time.Duration) map[*Fault]Outcome {
	var mu sync.Mutex
	results := map[*Fault]Outcome{}
	work := make(chan *Fault)
	var wg sync.WaitGroup
	for range parallel {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for f := range work {
				start := time.Now()
				o, detail := tryFault(ctx, fsys, f, timeout)
				mu.Lock()
				results[f] = o
				fmt.Fprintf(w, "%-16s %5.1fs  %-14s %s%s\n", o, time.Since(start).Seconds(), f.Area, f.Name, detail)
				mu.Unlock()
			}
		}()
	}
	for _, f := range faults {
		if ctx.Err() != nil {
			break
		}
		work <- f
	}
	close(work)
	wg.Wait()
	return results
}

func tryFault(ctx context.Context, fsys fs.FS, f *Fault, timeout time.Duration) (Outcome, string) {
	text, err := f.apply(fsys)
	if err != nil {
		return NoBuild, ": " + err.Error()
	}
	dir, err := os.MkdirTemp("", "midge-fault-")
	if err != nil {
		return NoBuild, ": " + err.Error()
	}
	defer os.RemoveAll(dir)
	overlay, err := writeOverlay(dir, map[string]string{f.File: text})
	if err != nil {
		return NoBuild, ": " + err.Error()
	}
	for _, t := range f.Tests {
		args := []string{"test", "-count=1", "-vet=off", "-failfast", "-overlay=" + overlay, "-timeout=" + timeout.String()}
		if limit := memoryLimit(); limit != "" {
			args = append(args, "-exec="+limit)
		}
		ctx, cancel := context.WithTimeout(ctx, timeout+5*time.Minute) // the build counts too
		cmd := exec.CommandContext(ctx, "go", append(args, t...)...)
		out, err := cmd.CombinedOutput()
		cancel()
		switch {
		case err == nil:
			continue
		case strings.Contains(string(out), "[build failed]") || strings.Contains(string(out), "[setup failed]"):
			return NoBuild, "\n" + tail(string(out), 12)
		case strings.Contains(string(out), "panic: test timed out"):
			return Hangs, ""
		}
		return Caught, ""
	}
	return Survived, ""
}

// writeOverlay stores altered texts below dir and returns the overlay file for the go command. Keys are paths relative
// to the module root; a file that does not exist there is added.
func writeOverlay(dir string, texts map[string]string) (string, error) {
	replace := map[string]string{}
	for name, text := range texts {
		abs, err := filepath.Abs(name)
		if err != nil {
			return "", err
		}
		tmp := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[abs] = tmp
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, b, 0o600)
}

// memoryLimit is a command in front of a test binary that bounds its address space to 8 GiB: a fault may turn a loop
// into one that allocates for ever. Empty where prlimit is not to be had.
func memoryLimit() string {
	if _, err := exec.LookPath("prlimit"); err != nil {
		return ""
	}
	return "prlimit --as=8589934592"
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimSpace(s), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}
