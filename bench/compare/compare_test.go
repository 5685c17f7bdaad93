package main

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func samples(figure string, v ...float64) (out []sample) {
	for _, x := range v {
		out = append(out, sample{figure: x})
	}
	return out
}

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		v    []float64
		want spread
	}{
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{4, 1}, spread{4, 1, 4}},
		{[]float64{5, 1, 3}, spread{3, 1, 5}},
		{[]float64{9, 2, 3, 1, 4}, spread{3, 2, 4}}, // the outermost are left out
	} {
		if got, ok := spreadOf(tt.v); !ok || got != tt.want {
			t.Errorf("%v: %v, want %v", tt.v, got, tt.want)
		}
	}
	if _, ok := spreadOf(nil); ok {
		t.Error("nothing has a spread")
	}
}

func TestRatiosPairTheRepetitions(t *testing.T) {
	// The machine was half as fast in the second repetition: the ratio stays.
	m, p, r, ok := ratios(samples("x", 1, 2, 1), samples("x", 10, 20, 10), "x")
	if want := (spread{0.1, 0.1, 0.1}); !ok || r != want {
		t.Errorf("ratio %v %t, want %v", r, ok, want)
	}
	if m.Median != 1 || p.Median != 10 {
		t.Errorf("medians %v and %v", m, p)
	}
	// A run that failed takes its pair out, not the others.
	_, _, r, ok = ratios([]sample{nil, {"x": 2}}, []sample{{"x": 1}, {"x": 4}}, "x")
	if want := (spread{0.5, 0.5, 0.5}); !ok || r != want {
		t.Errorf("with a failed run: %v %t, want %v", r, ok, want)
	}
	for name, peer := range map[string][]sample{"no figure": {nil}, "zero": samples("x", 0)} {
		if _, _, _, ok := ratios(samples("x", 1), peer, "x"); ok {
			t.Errorf("%s of the peer gives a ratio", name)
		}
	}
}

func TestFaults(t *testing.T) {
	for want, list := range map[string][]sample{
		"":                              {{"lost": 0, "msg_per_s": 5}, {}},
		"3 lost, 1 closed":              {{"lost": 1}, {"lost": 2, "closed": 1}},
		"1 of 2 runs failed, 2 dups":    {nil, {"dups": 2}},
		"4 gaps, 7 unacked":             {{"gaps": 4, "unacked": 7}},
		"2 of 2 runs failed":            {nil, nil},
		"-1 lost":                       {{"lost": -1}}, // more came than was published
		"1 of 1 runs failed":            {nil},
		"1 lost, 1 gaps, 1 dups":        {{"lost": 1, "gaps": 1, "dups": 1}},
		"1 of 3 runs failed, 5 unacked": {{"unacked": 5}, nil, {}},
	} {
		if got := faults(list); got != want {
			t.Errorf("%v: %q, want %q", list, got, want)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, tt := range []struct {
		ratio, goal  float64
		faults, late string
		want         string
	}{
		{0.5, 0.5, "", "", "reached"},
		{0.51, 0.5, "", "", "short"},
		{0.1, 0.5, "1 lost", "", "short (1 lost)"},
		{0.1, 0.5, "1 lost", "p99 2.00 times the peer's", "short (1 lost; p99 2.00 times the peer's)"},
	} {
		if got := verdict(tt.ratio, tt.goal, tt.faults, tt.late); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

func TestLate(t *testing.T) {
	for _, tt := range []struct {
		name        string
		midge, peer sample
		want        string
	}{
		{"equal", sample{"p99_us": 10, "msg_per_s": 10}, sample{"p99_us": 10, "msg_per_s": 10}, ""},
		{"at the limits", sample{"p99_us": 12, "msg_per_s": 98}, sample{"p99_us": 10, "msg_per_s": 100}, ""},
		{"later", sample{"p99_us": 13}, sample{"p99_us": 10}, "p99 1.30 times the peer's"},
		{"fewer", sample{"msg_per_s": 90}, sample{"msg_per_s": 100}, "0.90 times the peer's messages per second"},
		{"no such figures", sample{}, sample{}, ""},
	} {
		if got := late([]sample{tt.midge}, []sample{tt.peer}); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestSlower(t *testing.T) {
	at := func(figure string, median, low, high float64) row {
		return row{Figure: figure, OK: true, Ratio: spread{median, low, high}}
	}
	const cpu, rate = "cpu_us_per_msg", "msg_per_s"
	for _, tt := range []struct {
		name     string
		old, now row
		worse    bool
	}{
		{"the same", at(cpu, 0.5, 0.5, 0.5), at(cpu, 0.5, 0.5, 0.5), false},
		{"below the least noise", at(cpu, 0.5, 0.5, 0.5), at(cpu, 0.52, 0.52, 0.52), false},
		{"above it", at(cpu, 0.5, 0.5, 0.5), at(cpu, 0.53, 0.53, 0.53), true},
		{"within the spreads", at(cpu, 0.5, 0.45, 0.55), at(cpu, 0.59, 0.53, 0.65), false},
		{"beyond the spreads", at(cpu, 0.5, 0.45, 0.55), at(cpu, 0.65, 0.6, 0.7), true},
		{"faster", at(cpu, 0.5, 0.5, 0.5), at(cpu, 0.1, 0.1, 0.1), false},
		{"more messages", at(rate, 2, 2, 2), at(rate, 3, 3, 3), false},
		{"fewer messages", at(rate, 2, 2, 2), at(rate, 1.5, 1.5, 1.5), true},
		{"none", at(rate, 2, 2, 2), at(rate, 0, 0, 0), true},
		{"nothing before", at(cpu, 0, 0, 0), at(cpu, 1, 1, 1), false},
	} {
		if worse, factor, limit := slower(tt.old, tt.now); worse != tt.worse {
			t.Errorf("%s: %t, %v of %v", tt.name, worse, factor, limit)
		}
	}
}

func TestBusyMachine(t *testing.T) {
	at := func(figure string, ratio, busy float64) row {
		return row{Figure: figure, OK: true, Ratio: spread{ratio, ratio, ratio}, Busy: busy}
	}
	for _, tt := range []struct {
		figure        string
		was, now      float64
		busy          float64
		judged, worse bool
	}{
		{"p99_us", 1, 3, 0, true, true},
		{"p99_us", 1, 3, 100, false, true},
		{"cpu_us_per_msg", 1, 1.5, 0, true, true},
		{"cpu_us_per_msg", 1, 1.5, 100, true, false},
		{"cpu_us_per_msg", 1, 2.1, 100, true, true},
		{"sub_rss_bytes", 1, 1.5, 100, true, true},
	} {
		old, now := at(tt.figure, tt.was, 0), at(tt.figure, tt.now, tt.busy)
		worse, _, _ := slower(old, now)
		if judged(old, now) != tt.judged || worse != tt.worse {
			t.Errorf("%+v: judged %t, worse %t", tt, judged(old, now), worse)
		}
	}
}

func TestSummary(t *testing.T) {
	s := summary{check: true}
	was := row{Scenario: "tls", Figure: "cpu_us_per_msg", Peer: "mosquitto", OK: true, Ratio: spread{0.5, 0.5, 0.5}}
	now := was
	now.Ratio = spread{0.55, 0.54, 0.56}
	if got := s.compare(was, true, was); !strings.HasPrefix(got, "was 0.500") || !s.ok() {
		t.Errorf("the same row: %q, ok %t", got, s.ok())
	}
	if got := s.compare(row{}, false, now); got != "not in the table" || !s.ok() {
		t.Errorf("a new row: %q, ok %t", got, s.ok())
	}
	if got := s.compare(was, true, now); !strings.HasPrefix(got, "SLOWER") || s.ok() {
		t.Errorf("a slower row: %q, ok %t", got, s.ok())
	}
	if got := s.String(); !strings.Contains(got, "slower: tls cpu_us_per_msg beside mosquitto: ratio 0.550, was 0.500") {
		t.Errorf("the summary does not name it: %s", got)
	}
	s = summary{}
	s.add(row{Scenario: "ws", Goal: 1, Verdict: "reached"})
	s.add(row{Scenario: "ws", Goal: 1, Verdict: "short"})
	if !s.ok() {
		t.Error("a goal that is not reached fails the run")
	}
	s.add(row{Scenario: "ws", MidgeFaults: "1 lost"})
	if s.ok() || !strings.HasPrefix(s.String(), "3 rows, 1 of 2 reach their goal\nfault: ws: 1 lost") {
		t.Errorf("a fault: ok %t, %s", s.ok(), s.String())
	}
}

func TestTableIsReadAsWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.tsv")
	rows := []row{
		{
			Scenario: "p2p-qos1", Figure: "cpu_us_per_msg", Peer: "mosquitto", Reps: 5, OK: true, Midge: spread{1.25, 1.125, 1.5},
			Other: spread{10, 9.5, 11}, Ratio: spread{0.125, 0.12, 0.14}, Goal: 0.104, Verdict: "short (1 lost)", MidgeFaults: "1 lost",
			PeerFaults: "2 gaps", Busy: 12, MidgeVersion: "midge 1", PeerVersion: "2.0.11", Date: "2026-11-21",
		},
		{
			Scenario: "p2p-qos0", Figure: "msg_per_s", Peer: "nats", Reps: 3, OK: true, Midge: spread{1.5e6, 1.25e6, 1.75e6}, Other: spread{100, 90, 110},
			Ratio: spread{15000, 14000, 16000}, MidgeVersion: "midge 1", PeerVersion: "-", Date: "2026-11-21",
		},
		{Scenario: "p2p-qos0", Figure: "cpu_us_per_msg", Peer: "nats", Reps: 3, Midge: spread{1, 1, 1}, PeerFaults: "3 of 3 runs failed"},
		{Scenario: "p2p-qos0", Figure: "cpu_us_per_msg", Peer: "mosquitto", Reps: 3, Goal: 0.07, Verdict: "no figure"},
	}
	w := &table{Machine: "a machine", Rows: slices.Clone(rows)} // writing sorts them
	if err := w.write(file); err != nil {
		t.Fatal(err)
	}
	got, err := readTable(file)
	if err != nil {
		t.Fatal(err)
	}
	rows[1].PeerVersion = "" // a dash stands for nothing
	want := &table{Machine: "a machine", Rows: []row{rows[3], rows[2], rows[1], rows[0]}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v\nwant %+v", got, want)
	}
}

func TestTableIsRefused(t *testing.T) {
	good := strings.Join(columns, "\t") + "\n"
	line := strings.Repeat("-\t", len(columns)-1) + "-\n"
	for want, text := range map[string]string{
		":1: the columns are":        "scenario\tfigure\n",
		":2: 2 columns, expected 21": good + "a\tb\n",
		":3: midge: \"x\" is not a":  good + line + strings.Replace(line, "-\t-\t-\t-\t-", "-\t-\t-\t-\tx", 1),
	} {
		file := filepath.Join(t.TempDir(), "t.tsv")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readTable(file); err == nil || !strings.Contains(err.Error(), file+want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestPutReplaces(t *testing.T) {
	w := &table{}
	a := row{Scenario: "ws", Figure: "p99_us", Peer: "x", Reps: 1}
	w.put(a)
	a.Reps = 2
	w.put(a)
	b := a
	b.Peer = "y"
	w.put(b)
	if len(w.Rows) != 2 || w.Rows[0].Reps != 2 || w.index()[b.key()].Reps != 2 {
		t.Errorf("%+v", w.Rows)
	}
}

func TestGoals(t *testing.T) {
	goals, err := readGoals("../goals.tsv")
	if err != nil {
		t.Fatal(err)
	}
	known := map[goalKey]bool{}
	for _, s := range scenarios {
		for _, f := range s.figures {
			known[goalKey{s.name, f}] = true
		}
	}
	for g := range goals {
		if !known[g] {
			t.Errorf("the goal of %v stands for nothing that is measured", g)
		}
	}
	if len(goals) < 17 {
		t.Errorf("%d goals", len(goals))
	}
	file := filepath.Join(t.TempDir(), "g.tsv")
	for want, text := range map[string]string{
		":1: not the columns":      "scenario\tfigure\tgoal\n",
		":2: \"x\" is not a ratio": "scenario\tfigure\tgoal_ratio\na\tb\tx\n",
		":2: 2 columns":            "scenario\tfigure\tgoal_ratio\na\tb\n",
		":2: \"0\" is not a ratio": "scenario\tfigure\tgoal_ratio\na\tb\t0\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readGoals(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestPeers(t *testing.T) {
	var p peers
	for _, v := range []string{"mochi=bin/peers mochi {port}", "other=/usr/sbin/other -v"} {
		if err := p.Set(v); err != nil {
			t.Fatal(err)
		}
	}
	if !p[0].byPort() || p[1].byPort() || p[0].can(secure) || !p[0].can(plain) || !p[1].can(persistence) {
		t.Errorf("%+v", p)
	}
	for _, v := range []string{"", "x", "=x", "x=", "midge=x", "mochi=x"} {
		if err := p.Set(v); err == nil {
			t.Errorf("%q is taken", v)
		}
	}
}

func TestChoose(t *testing.T) {
	got, err := choose("ws,p2p-qos0")
	if err != nil || len(got) != 2 || got[0].name != "p2p-qos0" {
		t.Errorf("%v %v", got, err)
	}
	if all, err := choose(""); err != nil || len(all) != len(scenarios) {
		t.Errorf("%d of %d, %v", len(all), len(scenarios), err)
	}
	if _, err := choose("ws,nothing"); err == nil || !strings.Contains(err.Error(), `no scenario "nothing"`) {
		t.Errorf("%v", err)
	}
}

func TestSample(t *testing.T) {
	s, err := parseSample([]byte(`{"peer":"midge","lost":2,"p99_us":1.5}`))
	if err != nil || !reflect.DeepEqual(s, sample{"lost": 2, "p99_us": 1.5}) {
		t.Errorf("%v %v", s, err)
	}
	if _, err := parseSample([]byte("no")); err == nil {
		t.Error("no error")
	}
	if w := (spread{}).width(); w != 0 || math.IsNaN(w) {
		t.Errorf("width %v", w)
	}
}
