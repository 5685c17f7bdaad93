package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// row is one figure of one scenario beside one peer.
type row struct {
	Scenario, Figure, Peer    string
	Reps                      int
	OK                        bool // there are figures of both
	Midge, Other, Ratio       spread
	Goal                      float64 // 0: none
	Verdict                   string
	MidgeFaults, PeerFaults   string
	Busy                      float64 // what else ran on the machine, % of one processor
	MidgeVersion, PeerVersion string
	Date                      string
}

// key tells rows apart.
type key struct{ scenario, figure, peer string }

func (r row) key() key { return key{r.Scenario, r.Figure, r.Peer} }

// table is the committed file.
type table struct {
	Machine string
	Rows    []row
}

func (t *table) index() map[key]row {
	m := map[key]row{}
	for _, r := range t.Rows {
		m[r.key()] = r
	}
	return m
}

// put replaces a row, or adds it.
func (t *table) put(r row) {
	if i := slices.IndexFunc(t.Rows, func(x row) bool { return x.key() == r.key() }); i >= 0 {
		t.Rows[i] = r
		return
	}
	t.Rows = append(t.Rows, r)
}

// sort has the rows in the order of the scenarios and their figures, peers by name, mosquitto first.
func (t *table) sort() {
	place := map[string]int{}
	for i, s := range scenarios {
		for j, f := range s.figures {
			place[s.name+" "+f] = i*100 + j
		}
	}
	slices.SortStableFunc(t.Rows, func(a, b row) int {
		if d := place[a.Scenario+" "+a.Figure] - place[b.Scenario+" "+b.Figure]; d != 0 {
			return d
		}
		if m := (b.Peer == "mosquitto"); m != (a.Peer == "mosquitto") {
			if m {
				return 1
			}
			return -1
		}
		return strings.Compare(a.Peer, b.Peer)
	})
}

const (
	machineMark = "# machine: "
	preface     = `# midge beside other brokers. make bench writes this file, make bench-check holds a new run against it; README.md beside it explains both.
# CPU is the broker's, in µs; low and high leave out the outermost of five or more repetitions; ratio: midge / peer; busy: % of one
# processor that other programs took meanwhile (above 20: trust memory, and CPU roughly).
`
)

var columns = []string{
	"scenario", "figure", "peer", "reps", "midge", "midge_low", "midge_high", "other", "other_low", "other_high",
	"ratio", "ratio_low", "ratio_high", "goal", "verdict", "midge_faults", "peer_faults", "busy", "midge_version", "peer_version", "date",
}

// significant has as many digits as the figures are worth.
func significant(v float64) string { return strconv.FormatFloat(v, 'g', 5, 64) }

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return strings.ReplaceAll(s, "\t", " ")
}

func (r row) cells() []string {
	three := func(s spread, have bool) []string {
		if !have {
			return []string{"-", "-", "-"}
		}
		return []string{significant(s.Median), significant(s.Low), significant(s.High)}
	}
	goal := "-"
	if r.Goal > 0 {
		goal = significant(r.Goal)
	}
	c := []string{r.Scenario, r.Figure, r.Peer, strconv.Itoa(r.Reps)}
	c = append(c, three(r.Midge, r.Midge != spread{})...)
	c = append(c, three(r.Other, r.Other != spread{})...)
	c = append(c, three(r.Ratio, r.OK)...)
	return append(c, goal, dash(r.Verdict), dash(r.MidgeFaults), dash(r.PeerFaults), strconv.FormatFloat(r.Busy, 'f', 0, 64),
		dash(r.MidgeVersion), dash(r.PeerVersion), dash(r.Date))
}

// write replaces the file as a whole, so that a run that is broken off leaves the table as it was.
func (t *table) write(file string) error {
	t.sort()
	var b strings.Builder
	b.WriteString(preface + machineMark + t.Machine + "\n" + strings.Join(columns, "\t") + "\n")
	for _, r := range t.Rows {
		b.WriteString(strings.Join(r.cells(), "\t") + "\n")
	}
	part, err := os.CreateTemp(filepath.Dir(file), ".results-*")
	if err != nil {
		return fmt.Errorf("table: %w", err)
	}
	defer os.Remove(part.Name()) //nolint:errcheck // gone once it is renamed
	_, err = part.WriteString(b.String())
	if e := part.Chmod(0o644); err == nil {
		err = e
	}
	if e := part.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(part.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("table: %w", err)
	}
	return nil
}

func readTable(file string) (*table, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("table: %w", err)
	}
	defer f.Close()
	t := &table{}
	headed := false
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if m, ok := strings.CutPrefix(line, machineMark); ok {
			t.Machine = m
		}
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		cells := strings.Split(line, "\t")
		if !headed {
			if !slices.Equal(cells, columns) {
				return nil, fmt.Errorf("table %s:%d: the columns are %q, expected %q", file, n, cells, columns)
			}
			headed = true
			continue
		}
		r, err := parseRow(cells)
		if err != nil {
			return nil, fmt.Errorf("table %s:%d: %w", file, n, err)
		}
		t.Rows = append(t.Rows, r)
	}
	return t, lines.Err()
}

func parseRow(c []string) (r row, err error) {
	if len(c) != len(columns) {
		return r, fmt.Errorf("%d columns, expected %d", len(c), len(columns))
	}
	number := func(i int) (v float64) {
		if c[i] == "-" {
			return 0
		}
		v, e := strconv.ParseFloat(c[i], 64)
		if e != nil && err == nil {
			err = fmt.Errorf("%s: %q is not a number", columns[i], c[i])
		}
		return v
	}
	text := func(i int) string {
		if c[i] == "-" {
			return ""
		}
		return c[i]
	}
	three := func(i int) spread { return spread{number(i), number(i + 1), number(i + 2)} }
	r = row{
		Scenario: c[0], Figure: c[1], Peer: c[2], Reps: int(number(3)), OK: c[10] != "-",
		Midge: three(4), Other: three(7), Ratio: three(10), Goal: number(13), Verdict: text(14),
		MidgeFaults: text(15), PeerFaults: text(16), Busy: number(17), MidgeVersion: text(18), PeerVersion: text(19), Date: text(20),
	}
	return r, err
}

var heading = fmt.Sprintf("%-14s %-18s %-12s %10s %10s %7s %15s %6s", "scenario", "figure", "peer", "midge", "other", "ratio", "low..high", "goal")

// String is the row for reading.
func (r row) String() string {
	goal := ""
	if r.Goal > 0 {
		goal = fmt.Sprintf("%.3g", r.Goal)
	}
	ratio, around := "-", "-"
	if r.OK {
		ratio, around = fmt.Sprintf("%.3f", r.Ratio.Median), fmt.Sprintf("%.3f..%.3f", r.Ratio.Low, r.Ratio.High)
	}
	s := fmt.Sprintf("%-14s %-18s %-12s %10.5g %10.5g %7s %15s %6s  %s", r.Scenario, r.Figure, r.Peer, r.Midge.Median, r.Other.Median, ratio, around, goal, r.Verdict)
	if r.MidgeFaults != "" && r.Verdict == "" {
		s += "midge: " + r.MidgeFaults
	}
	if r.PeerFaults != "" {
		s += "  " + r.Peer + ": " + r.PeerFaults
	}
	return strings.TrimRight(s, " ")
}

// goalKey is a figure of a scenario.
type goalKey struct{ scenario, figure string }

// readGoals reads the column goal_ratio; a dash is no goal. The goals are ratios to Debian's mosquitto.
func readGoals(file string) (map[goalKey]float64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("goals: %w", err)
	}
	goals := map[goalKey]float64{}
	at := -1
	for i, line := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		c := strings.Split(line, "\t")
		if at < 0 {
			if at = slices.Index(c, "goal_ratio"); at < 0 || c[0] != "scenario" || c[1] != "figure" {
				return nil, fmt.Errorf("goals %s:%d: not the columns scenario, figure, …, goal_ratio", file, i+1)
			}
			continue
		}
		if len(c) <= at {
			return nil, fmt.Errorf("goals %s:%d: %d columns, expected more than %d", file, i+1, len(c), at)
		}
		if c[at] == "-" {
			continue
		}
		g, err := strconv.ParseFloat(c[at], 64)
		if err != nil || g <= 0 {
			return nil, fmt.Errorf("goals %s:%d: %q is not a ratio", file, i+1, c[at])
		}
		goals[goalKey{c[0], c[1]}] = g
	}
	return goals, nil
}
