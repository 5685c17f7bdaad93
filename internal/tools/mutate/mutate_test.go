package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

const oneFault = `commentary

=== first
area: qos1
file: a.go
test: ./a -run TestA
test: ./b
--- old
	if x {
		y()
--- new
	if !x {
		y()

=== second
area: will
file: a.go
test: ./a
--- old
gone
--- new
`

func TestParseFaults(t *testing.T) {
	got, err := parseFaults("list", oneFault)
	if err != nil || len(got) != 2 {
		t.Fatalf("got %d faults, %v", len(got), err)
	}
	f := got[0]
	if f.Name != "first" || f.Area != "qos1" || f.File != "a.go" || len(f.Tests) != 2 || f.Tests[0][2] != "TestA" || f.Where != "list:3" {
		t.Errorf("got %+v", f)
	}
	if f.Old != "\tif x {\n\t\ty()" || f.New != "\tif !x {\n\t\ty()" {
		t.Errorf("old %q, new %q", f.Old, f.New)
	}
	if got[1].New != "" {
		t.Errorf("new %q, want a removal", got[1].New)
	}
}

func TestParseFaultsRefuses(t *testing.T) {
	full := "=== x\narea: a\nfile: f\ntest: ./t\n--- old\no\n--- new\nn\n"
	tests := []struct{ name, text, want string }{
		{"unknown key", "=== x\nfiles: a\n", `list:2: unknown key "files"`},
		{"no value", "=== x\narea:\n", "want KEY: VALUE"},
		{"no test", strings.Replace(full, "test: ./t\n", "", 1), "lacks area, file or test"},
		{"no old text", strings.Replace(full, "\no\n", "\n\n", 1), "has no old text"},
		{"no change", strings.Replace(full, "\nn\n", "\no\n", 1), "changes nothing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := parseFaults("list", tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want …%s…", err, tt.want)
			}
		})
	}
}

func faultTree(list string) fstest.MapFS {
	row := []byte("id\trole\tr\tt\tarea\tv\n[MQTT-1]\tserver\tr\tt\tqos1\tv\n[MQTT-2]\tserver\tr\tt\twill\tv\n")
	return fstest.MapFS{
		"docs/spec/mqtt31.tsv": {Data: row}, "docs/spec/mqtt311.tsv": {Data: row}, "docs/spec/mqtt5.tsv": {Data: row},
		"docs/spec/edge-cases.tsv": {Data: row}, faultDir + "/list.txt": {Data: []byte(list)},
		"a.go": {Data: []byte("func f() {\n\tif x {\n\t\ty()\n\t}\n}\n")},
	}
}

func TestVerifyFaults(t *testing.T) {
	first := oneFault[:strings.Index(oneFault, "=== second")]
	tests := []struct {
		name  string
		list  string
		least int
		areas bool
		want  string
	}{
		{"applies", first, 1, false, ""},
		{"gone stale", oneFault, 0, false, "second: the old text stands 0 times"},
		{"too few", first, 2, false, "holds 1 faults, at least 2"},
		{"area without a fault", first, 0, true, "areas without a fault: will"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fsys := faultTree(tt.list)
			all, areas, err := loadFaults(fsys)
			if err != nil {
				t.Fatal(err)
			}
			err = verifyFaults(fsys, all, areas, tt.least, tt.areas)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, _, err := loadFaults(faultTree(first + strings.Replace(first, "commentary", "", 1))); err == nil {
		t.Error("the same name twice passed")
	}
	if _, _, err := loadFaults(faultTree(strings.Replace(first, "qos1", "qos9", 1))); err == nil {
		t.Error("an unknown area passed")
	}
}

// TestSeededFault runs real tests on a broken copy of the sample, and on one broken where no test looks.
func TestSeededFault(t *testing.T) {
	sample := "testdata/sample/sample.go"
	fault := func(old, repl string) *Fault {
		return &Fault{Name: "x", File: sample, Tests: [][]string{{"./testdata/sample"}}, Old: old, New: repl}
	}
	tests := []struct {
		name, old, repl string
		want            Outcome
	}{
		{"caught", "sum = n + 1", "sum = n + 2", Caught},
		{"survives", "unseen += sum", "unseen -= sum", Survived},
		{"does not compile", "sum++", "sum+", NoBuild},
		{"hangs", "i++", "i += 0", Hangs},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, detail := tryFault(context.Background(), os.DirFS("."), fault(tt.old, tt.repl), 3*time.Second)
			if got != tt.want {
				t.Fatalf("got %s%s, want %s", got, detail, tt.want)
			}
		})
	}
}

func TestMechanicalMutants(t *testing.T) {
	dir := "testdata/sample"
	texts, mutants, err := instrumentPackage(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	guards := map[int][]string{}
	for _, m := range mutants {
		guards[m.ID] = []string{dir}
	}
	var out bytes.Buffer
	suites, err := buildSuites(context.Background(), &out, t.TempDir(), texts, map[string]bool{dir: true})
	if err != nil {
		t.Fatal(err)
	}
	if o, text, _ := suites[dir].pass(context.Background(), 0, Pass{[]string{"-test.v"}, time.Minute}); o != Survived || !tookLine.MatchString(text) {
		t.Errorf("a pass with -test.v: %s, without the time of any test:\n%s", o, text)
	}
	results := tryMutants(context.Background(), &out, mutants, guards, suites, 2)
	got := map[string]Outcome{}
	for _, m := range mutants {
		got[m.Op+": "+m.Text] = results[m.ID].Outcome
	}
	want := map[string]Outcome{
		"negate: n < 3 && len(list) > 0": Caught, "boundary: n < 3": Caught, "boundary: len(list) > 0": Caught,
		"remove: sum = n + 1": Caught, "off-by-one: n + 1": Caught,
		"remove: small = flag(n < 2)": Caught, "boundary: n < 2": Caught, "negate: bool(small)": Caught, "remove: sum++": Caught,
		"negate: i < len(list)": Caught, "boundary: i < len(list)": Caught, "negate: list[i] == 0": Caught,
		"remove: continue": Survived, "remove: sum += list[i]": Caught, "remove: unseen += sum": Survived,
		"negate: small": Caught, "remove: sum -= 100": Caught,
	}
	for k, o := range want {
		if got[k] != o {
			t.Errorf("%s: got %q, want %q", k, got[k], o)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %d mutants, want %d: %v", len(got), len(want), got)
	}

	file := filepath.Join(t.TempDir(), "mutants.md")
	err = conclude(&out, mutants, results, tried{}, 100, file)
	if err == nil || !strings.Contains(err.Error(), "15 of 17 mutants caught") {
		t.Errorf("got %v, want too few caught", err)
	}
	if err := conclude(&out, mutants, results, tried{}, 80, ""); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(b), "| remove | `unseen += sum` |") || strings.Contains(string(b), "`sum -= 100`") {
		t.Errorf("the report does not list exactly the survivors (%v):\n%s", err, b)
	}
}

// TestReport: the figures of a sample, and a survivor whose life has a reason.
func TestReport(t *testing.T) {
	a := &Mutant{ID: 1, Op: "negate", File: "p/a.go", Func: "f", Text: "x || y"}
	b := &Mutant{ID: 2, Op: "remove", File: "p/a.go", Func: "f", Text: "z++"}
	c := &Mutant{ID: 3, Op: "remove", File: "p/a.go", Func: "f", Text: "y++"}
	results := map[int]Result{1: {Survived, "other"}, 2: {Hangs, "p"}, 3: {Caught, "other"}}
	got := mutantReport([]*Mutant{c, b, a}, results, tried{map[string]int{"p": 9}, 7, false}, map[string]string{a.Key(): "the same"})
	for _, want := range []string{
		"p: a sample of 3 of its 9 mutants was tried, chosen by seed 7.\nThe behaviour scripts were left out", "| p | **all** | 3 | 2 | 66.7 % | 1 | 1 | 1 |", "| p | negate | 1 | 0 | 0.0 % | 0 | 0 | 0 |",
		"| p | remove | 2 | 2 | 100.0 % | 1 | 1 | 1 |", "| p/a.go `f` | negate | `x \\|\\| y` | the same |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the report lacks %q:\n%s", want, got)
		}
	}
	if all := mutantReport([]*Mutant{a}, results, tried{map[string]int{"p": 1}, 7, true}, nil); !strings.Contains(all, "p: all 1 mutants were tried.\n\n") || !strings.Contains(all, "no test tells") {
		t.Errorf("got\n%s", all)
	}
}

func TestSampled(t *testing.T) {
	var all []*Mutant
	for id := range 30 {
		all = append(all, &Mutant{ID: id, File: map[bool]string{true: "p/a.go", false: "q/b.go"}[id < 25]})
	}
	got := sampled(all, 8, 3)
	n := map[string]int{}
	for _, m := range got {
		n[m.pkg()]++
	}
	if n["p"] != 8 || n["q"] != 5 || !slices.Equal(got, sampled(all, 8, 3)) || slices.Equal(got, sampled(all, 8, 4)) || all[7].ID != 7 {
		t.Errorf("got %v", n)
	}
}

func TestStaleReasons(t *testing.T) {
	m := &Mutant{ID: 1, Op: "negate", File: "p/a.go", Func: "f", Text: "x"}
	if err := staleReasons(map[string]string{m.Key(): "why"}, []*Mutant{m}); err != nil {
		t.Error(err)
	}
	if err := staleReasons(map[string]string{m.Key() + "y": "why"}, []*Mutant{m}); err == nil || !strings.Contains(err.Error(), "p/a.go f negate: xy") {
		t.Errorf("got %v", err)
	}
}

func TestPasses(t *testing.T) {
	out := "=== RUN   TestA\n--- PASS: TestA (0.00s)\n--- PASS: TestSlow (1.50s)\n    --- PASS: TestSlow/sub (1.50s)\n--- PASS: FuzzSlow (0.06s)\n--- PASS: TestB (0.05s)\nPASS\n"
	got := passes(out, 2*time.Second)
	if len(got) != 2 || !slices.Equal(got[0].Args, []string{"-test.skip=^(TestSlow|FuzzSlow)$"}) || got[0].Timeout != 5250*time.Millisecond ||
		!slices.Equal(got[1].Args, []string{"-test.run=^(TestSlow|FuzzSlow)$"}) || got[1].Timeout != 15*time.Second {
		t.Errorf("got %v", got)
	}
	for _, out := range []string{"", "--- PASS: TestA (0.00s)\n", "--- PASS: TestA (9.00s)\n"} {
		if got := passes(out, time.Second); len(got) != 1 || got[0].Args != nil || got[0].Timeout != 10*time.Second {
			t.Errorf("%q: got %v, want one pass of everything", out, got)
		}
	}
}

// TestInsertionsNest shows the order at one place: inner ends first, outer beginnings first.
func TestInsertionsNest(t *testing.T) {
	in := &instrumenter{src: []byte("ab"), inserts: []insertion{
		{0, false, 2, "(2"}, {0, false, 1, "(1"}, {1, true, 1, "1)"}, {1, true, 2, "2)"}, {1, false, 3, "(3"}, {2, true, 3, "3)"},
	}}
	if got := in.text(); got != "(1(2a2)1)(3b3)" {
		t.Fatalf("got %s", got)
	}
}

func TestMutantKeysLackLines(t *testing.T) {
	a, b := Mutant{File: "f", Func: "g", Op: "negate", Text: "x", Line: 1}, Mutant{File: "f", Func: "g", Op: "negate", Text: "x", Line: 9}
	if a.Key() != b.Key() || slices.Contains(strings.Fields(a.Key()), "1") {
		t.Fatalf("keys %q and %q", a.Key(), b.Key())
	}
}
