package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sort"
	"strings"
)

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

// checkReasons refuses reasons for mutants that are no more: a line gone stale would excuse the next mutant of that name.
func checkReasons(mutants []*Mutant) error {
	reasons, err := loadReasons()
	if err != nil {
		return err
	}
	return staleReasons(reasons, mutants)
}

// verifyReasons is checkReasons without a run.
func verifyReasons() error {
	var all []*Mutant
	for _, t := range targets {
		_, more, err := instrumentPackage(t.dir, len(all)+1)
		if err != nil {
			return err
		}
		all = append(all, more...)
	}
	return checkReasons(all)
}

func staleReasons(reasons map[string]string, mutants []*Mutant) error {
	known := map[string]bool{}
	for _, m := range mutants {
		known[m.Key()] = true
	}
	var stale []error
	for key := range reasons {
		if !known[key] {
			stale = append(stale, fmt.Errorf("%s: no such mutant: %s", reasonFile, key))
		}
	}
	return errors.Join(stale...)
}

// count is one line of the table.
type count struct{ all, own, others, hangs int }

func (c *count) add(dir string, r Result) {
	c.all++
	switch {
	case !r.bites():
		return
	case r.By == dir:
		c.own++
	default:
		c.others++
	}
	if r.Outcome == Hangs {
		c.hangs++
	}
}

func (c *count) row(first, second string) string {
	caught := c.own + c.others
	return fmt.Sprintf("| %s | %s | %d | %d | %.1f %% | %d | %d | %d |\n", first, second, c.all, caught,
		100*float64(caught)/float64(c.all), c.own, c.others, c.hangs)
}

// mutantReport is the text of docs/mutants.md.
func mutantReport(mutants []*Mutant, results map[int]Result, of tried, reasons map[string]string) string {
	counts := map[[2]string]*count{} // package and operator; "" for all of a package
	var sum count
	var survivors []*Mutant
	for _, m := range mutants {
		dir := m.pkg()
		for _, k := range [][2]string{{dir, ""}, {dir, m.Op}} {
			if counts[k] == nil {
				counts[k] = &count{}
			}
			counts[k].add(dir, results[m.ID])
		}
		sum.add(dir, results[m.ID])
		if !results[m.ID].bites() {
			survivors = append(survivors, m)
		}
	}
	var b strings.Builder
	b.WriteString(`# Mutants

Mechanical changes to the packages that hold the protocol, and what the tests made of them. Written by ` + "`make mutate`" + `.
*negate*: a condition answers the other way. *remove*: a statement is left out. *boundary*: a comparison answers the other
way where both sides are equal. *off-by-one*: a sum or difference is one more. Each meets the unit tests of its package
first; what they let live meets the other tests that guard it, the behaviour scripts last.

`)
	for _, dir := range slices.Sorted(maps.Keys(of.total)) {
		if c := counts[[2]string{dir, ""}]; c != nil && c.all == of.total[dir] {
			fmt.Fprintf(&b, "%s: all %d mutants were tried.\n", dir, c.all)
		} else if c != nil {
			fmt.Fprintf(&b, "%s: a sample of %d of its %d mutants was tried, chosen by seed %d.\n", dir, c.all, of.total[dir], of.seed)
		}
	}
	if !of.scripts {
		b.WriteString("The behaviour scripts were left out: unit tests alone caught what was caught.\n")
	}
	b.WriteByte('\n')
	b.WriteString("| Package | Operator | Mutants | Caught | Share | by its own tests | by others | by hanging |\n|---|---|--:|--:|--:|--:|--:|--:|\n")
	keys := make([][2]string, 0, len(counts))
	for k := range counts {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i][0]+" "+keys[i][1] < keys[j][0]+" "+keys[j][1] })
	for _, k := range keys {
		op := k[1]
		if op == "" {
			op = "**all**"
		}
		b.WriteString(counts[k].row(k[0], op))
	}
	b.WriteString(sum.row("**all**", "**all**"))
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
