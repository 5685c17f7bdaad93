package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// sample is the numbers of one run of the load; nil: the run failed.
type sample map[string]float64

// values are a figure's numbers in those samples that have it.
func values(list []sample, figure string) (v []float64) {
	for _, s := range list {
		if x, ok := s[figure]; ok {
			v = append(v, x)
		}
	}
	return v
}

// spread is a median, the upper one of two, and what lies around it.
type spread struct{ Median, Low, High float64 }

// trimFrom is the number of values from which the lowest and the highest are left out of Low and High: one disturbed run in five must
// not widen what counts as noise.
const trimFrom = 5

// spreadOf describes values; false when there are none.
func spreadOf(v []float64) (spread, bool) {
	if len(v) == 0 {
		return spread{}, false
	}
	v = slices.Sorted(slices.Values(v))
	s := spread{Median: v[len(v)/2]}
	if len(v) >= trimFrom {
		v = v[1 : len(v)-1]
	}
	s.Low, s.High = v[0], v[len(v)-1]
	return s, true
}

// width is the spread as a part of the median.
func (s spread) width() float64 {
	if s.Median == 0 {
		return 0
	}
	return (s.High - s.Low) / math.Abs(s.Median)
}

// ratios compares midge with a peer: the ratio of the medians, around it the lowest and highest of the repetitions' own ratios. The two
// runs of one repetition follow each other, so what disturbs the machine for a while disturbs both.
func ratios(midge, peer []sample, figure string) (m, p, ratio spread, ok bool) {
	m, okM := spreadOf(values(midge, figure))
	p, okP := spreadOf(values(peer, figure))
	if !okM || !okP || p.Median == 0 {
		return m, p, ratio, false
	}
	var each []float64
	for i := range min(len(midge), len(peer)) {
		a, okA := midge[i][figure]
		b, okB := peer[i][figure]
		if okA && okB && b != 0 {
			each = append(each, a/b)
		}
	}
	ratio, ok = spreadOf(each)
	ratio.Median = m.Median / p.Median
	return m, p, ratio, ok
}

// counters are what a broker must leave at zero.
var counters = []string{"lost", "gaps", "dups", "closed", "unacked", "unsent"}

// faults names what went wrong in a broker's runs; empty: nothing.
func faults(list []sample) string {
	var out []string
	failed := 0
	for _, s := range list {
		if s == nil {
			failed++
		}
	}
	if failed > 0 {
		out = append(out, fmt.Sprintf("%d of %d runs failed", failed, len(list)))
	}
	for _, c := range counters {
		n := 0.0
		for _, s := range list {
			n += s[c]
		}
		if n != 0 {
			out = append(out, fmt.Sprintf("%.0f %s", n, c))
		}
	}
	return strings.Join(out, ", ")
}

// How much midge may be later, and how much less it may deliver, than the peer: cheap must not mean late.
const (
	laterLimit = 1.2
	fewerLimit = 0.98
)

// late says where midge is cheaper only because it does less or later; empty: nowhere.
func late(midge, peer []sample) string {
	var out []string
	both := func(figure string) (m, p float64) {
		a, _ := spreadOf(values(midge, figure))
		b, _ := spreadOf(values(peer, figure))
		return a.Median, b.Median
	}
	if m, p := both("p99_us"); m > 0 && p > 0 && m > laterLimit*p {
		out = append(out, fmt.Sprintf("p99 %.2f times the peer's", m/p))
	}
	if m, p := both("msg_per_s"); m > 0 && p > 0 && m < fewerLimit*p {
		out = append(out, fmt.Sprintf("%.2f times the peer's messages per second", m/p))
	}
	return strings.Join(out, ", ")
}

// verdict holds a ratio against a goal. A row falls short, whatever its ratio, when midge made a fault, or is late or delivers fewer.
func verdict(ratio, goal float64, faults, late string) string {
	var why []string
	for _, s := range []string{faults, late} {
		if s != "" {
			why = append(why, s)
		}
	}
	switch {
	case len(why) > 0:
		return "short (" + strings.Join(why, "; ") + ")"
	case ratio > goal:
		return "short"
	}
	return "reached"
}

// leastNoise is the difference below which a row is never called slower.
const leastNoise = 0.05

// noise is how far two ratios of the same row may lie apart: half the width of each one's spread, added up, and at least leastNoise.
func noise(a, b spread) float64 { return max(leastNoise, (a.width()+b.width())/2) }

// On a machine that other programs load by more than busyLimit % of a processor, a broker that batches gets other batches: CPU
// per message has differed by half between two runs. Then CPU must be worse by busyNoise, and what a clock measures is not judged.
const (
	busyLimit = 20
	busyNoise = 1.0
)

// judged: a row can be held against the one of the table.
func judged(old, now row) bool {
	return old.OK && now.OK && (max(old.Busy, now.Busy) <= busyLimit || !slices.Contains(clocked, now.Figure))
}

// slower says whether a row's ratio got worse beyond the noise, and by what factor it changed (above 1: worse).
func slower(old, now row) (worse bool, factor, limit float64) {
	limit = 1 + noise(old.Ratio, now.Ratio)
	if max(old.Busy, now.Busy) > busyLimit && !strings.Contains(now.Figure, "bytes") {
		limit = max(limit, 1+busyNoise)
	}
	switch {
	case more[now.Figure] && now.Ratio.Median == 0:
		factor = math.Inf(1)
	case more[now.Figure]:
		factor = old.Ratio.Median / now.Ratio.Median
	case old.Ratio.Median <= 0: // memory that had not grown at all
		factor = 1
	default:
		factor = now.Ratio.Median / old.Ratio.Median
	}
	return factor > limit, factor, limit
}

// summary is the last line.
type summary struct {
	check          bool
	rows, goals    int
	reached        int
	slower, faults []string
}

func (s *summary) add(r row) {
	s.rows++
	if r.Goal > 0 {
		s.goals++
		if r.Verdict == "reached" {
			s.reached++
		}
	}
	if r.MidgeFaults != "" && !slices.Contains(s.faults, r.Scenario+": "+r.MidgeFaults) {
		s.faults = append(s.faults, r.Scenario+": "+r.MidgeFaults)
	}
}

// compare describes a row beside the one of the table, and remembers it when it got slower.
func (s *summary) compare(old row, known bool, r row) string {
	switch {
	case !known:
		return "not in the table"
	case !r.OK || !old.OK:
		return "nothing to compare"
	case !judged(old, r):
		return fmt.Sprintf("was %.3f, not judged: the machine was busy", old.Ratio.Median)
	}
	worse, factor, limit := slower(old, r)
	if !worse {
		return fmt.Sprintf("was %.3f, %.2f of it, noise up to %.2f", old.Ratio.Median, r.Ratio.Median/old.Ratio.Median, limit)
	}
	s.slower = append(s.slower, fmt.Sprintf("%s %s beside %s: ratio %.3f, was %.3f, %.2f times worse, noise explains %.2f",
		r.Scenario, r.Figure, r.Peer, r.Ratio.Median, old.Ratio.Median, factor, limit))
	return fmt.Sprintf("SLOWER: was %.3f, %.2f times worse, noise up to %.2f", old.Ratio.Median, factor, limit)
}

// ok: midge made no fault and nothing got slower. A goal not reached is no fault.
func (s *summary) ok() bool { return len(s.slower) == 0 && len(s.faults) == 0 }

func (s *summary) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d rows, %d of %d reach their goal", s.rows, s.reached, s.goals)
	for _, f := range s.faults {
		fmt.Fprintf(&b, "\nfault: %s", f)
	}
	for _, f := range s.slower {
		fmt.Fprintf(&b, "\nslower: %s", f)
	}
	if s.check && len(s.slower) == 0 {
		b.WriteString("\nnothing got slower beyond the noise")
	}
	return b.String()
}
