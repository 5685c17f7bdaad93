package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const specHead = "id\trole\trequirement\ttest\tarea\tverified\n"

// tree writes a small module and returns its root. Files given later replace the defaults.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	all := map[string]string{
		"docs/spec/mqtt31.tsv":  specHead + "[U31-01]\tboth\tthe name\tsend it\tconnect\tcode\n",
		"docs/spec/mqtt311.tsv": specHead + "[MQTT-1.5.3-1]\tserver\ttext | fields\tsend it\tencoding\tB\n",
		"docs/spec/mqtt5.tsv": specHead + "[MQTT-1.5.4-1]\tserver\tfive\tsend it\tencoding\tB\n" +
			"[U5-2.1.4-1]\tclient\tsize\tsend it\tpacket-size\tB\n",
		"docs/spec/edge-cases.tsv": "number\trole\ttrap\tbehaviour\tarea\tstatements\nE001\tserver\ttrap\tdo\tframing\t5: 1.5.4-1\n",
		naFile:                     "id\treason\tnote\n",
	}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const goodTest = "package a\n\n// TestA shows something.\n//\n// covers: 3:1.5.3-1 E001\nfunc TestA(t *testing.T) { t.Log() }\n"

func goTest(tags string) string {
	return "package a\n\n// covers: " + tags + "\nfunc TestA(t *testing.T) { t.Log() }\n"
}

func TestProblemsAreFound(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  string // "" for none
	}{
		{"good", map[string]string{"a/a_test.go": goodTest}, ""},
		{"script", map[string]string{"test/scripts/a/b.txt": "covers: 31:U31-01\n"}, ""},
		{"script with a hash", map[string]string{"test/scripts/b.txt": "# covers: 31:U31-09\n"}, `b.txt:1: unknown tag "31:U31-09"`},
		{"unknown tag", map[string]string{"a/a_test.go": goTest("3:9.9.9-9")}, `a/a_test.go:4: unknown tag "3:9.9.9-9"`},
		{"wrong version", map[string]string{"a/a_test.go": goTest("5:1.5.3-1")}, "unknown tag"},
		{"too many", map[string]string{"a/a_test.go": goTest("3:1.5.3-1 E001 31:U31-01 5:1.5.4-1")}, "4 tags, at most 3"},
		{"twice", map[string]string{"a/a_test.go": goTest("E001 E001")}, "stands there twice"},
		{"too many in a script", map[string]string{"test/scripts/b.txt": "covers: 3:1.5.3-1 E001\ncovers: 31:U31-01 5:1.5.4-1\n"}, "4 tags"},
		{"apart in sections", map[string]string{"test/scripts/b.txtar": "-- one --\ncovers: 3:1.5.3-1 E001\n-- two --\ncovers: 31:U31-01 5:1.5.4-1\n"}, ""},
		{"empty header", map[string]string{"test/scripts/b.txt": "covers:\n"}, "covers without a tag"},
		{"helper", map[string]string{"a/a_test.go": "package a\n\n// covers: E001\nfunc helper() { x() }\n"}, "which is no test"},
		{"method", map[string]string{"a/a_test.go": "package a\n\n// covers: E001\nfunc (s *S) TestA() { x() }\n"}, "which is no test"},
		{"benchmark", map[string]string{"a/a_test.go": "package a\n\n// covers: E001\nfunc BenchmarkA(b *testing.B) { x() }\n"}, "which is no test"},
		{"detached", map[string]string{"a/a_test.go": "package a\n\n// covers: E001\n\nfunc TestA(t *testing.T) { x() }\n"}, "a_test.go:3: covers stands above no test"},
		{"inside", map[string]string{"a/a_test.go": "package a\n\nfunc TestA(t *testing.T) {\n\t// covers: E001\n\tx()\n}\n"}, "above no test"},
		{"empty body", map[string]string{"a/a_test.go": "package a\n\n// covers: E001\nfunc TestA(t *testing.T) {}\n"}, "empty body"},
		{"never built", map[string]string{"a/a_test.go": "//go:build soak\n\n" + goodTest}, "does not build"},
		{"built for portable", map[string]string{"a/a_test.go": "//go:build portable\n\n" + goodTest}, ""},
		{"built without portable", map[string]string{"a/a_test.go": "//go:build linux && !portable\n\n" + goodTest}, ""},
		{"in testdata", map[string]string{"a/testdata/a_test.go": goTest("no such tag")}, ""},
		{"both", map[string]string{"a/a_test.go": goodTest, naFile: "id\treason\tnote\nE001\tnot-observable\tx\n"}, "yet covered by a.TestA"},
		{"too many reasons", map[string]string{naFile: "id\treason\tnote\nE001\tnot-observable\tx\n"}, "1 of 1 edge cases"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			err := run(options{root: tree(t, tt.files)}, &out)
			if tt.want == "" {
				if err != nil {
					t.Fatalf("got %v %s, want none", err, out.String())
				}
				return
			}
			if err == nil || !strings.Contains(out.String(), tt.want) {
				t.Fatalf("got %v %q, want …%s…", err, out.String(), tt.want)
			}
		})
	}
}

func TestTablesAreRefused(t *testing.T) {
	tests := []struct{ name, file, text, want string }{
		{"cells", "docs/spec/mqtt5.tsv", specHead + "[MQTT-1.5.4-1]\tserver\n", "mqtt5.tsv:2: 2 cells, want 6"},
		{"side", "docs/spec/mqtt5.tsv", specHead + "[MQTT-1.5.4-1]\tbroker\ta\tb\tc\td\n", `side "broker"`},
		{"twice", "docs/spec/mqtt5.tsv", specHead + strings.Repeat("[MQTT-1.5.4-1]\tserver\ta\tb\tc\td\n", 2), "mqtt5.tsv:3: 5:1.5.4-1 stands there twice"},
		{"unknown row", naFile, "id\treason\tnote\nE999\tnot-observable\tx\n", `unknown statement "E999"`},
		{"free reason", naFile, "id\treason\tnote\nE001\tno time\tx\n", `reason "no time" is not in the closed list`},
		{"no note", naFile, "id\treason\tnote\nE001\tnot-observable\t\n", "E001 has no note"},
		{"reason twice", naFile, "id\treason\tnote\n" + strings.Repeat("E001\tnot-observable\tx\n", 2), "stands there twice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := run(options{root: tree(t, map[string]string{tt.file: tt.text})}, &bytes.Buffer{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want …%s…", err, tt.want)
			}
		})
	}
}

func TestCheckComparesTheReport(t *testing.T) {
	root := tree(t, map[string]string{"a/a_test.go": goodTest})
	if err := run(options{root: root, check: true}, &bytes.Buffer{}); err == nil {
		t.Fatal("a missing report passed")
	}
	if err := run(options{root: root}, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	if err := run(options{root: root, check: true}, &bytes.Buffer{}); err != nil {
		t.Fatalf("a fresh report did not pass: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(root, "docs/conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| MQTT 3.1.1 | server | 1 | 1 | 0 | 0 |", "| MQTT 5.0 | client | 1 | 0 | 0 | 1 |",
		"| 3:1.5.3-1 | server | text \\| fields | a.TestA |", "| 31:U31-01 | both | the name | open |",
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the report lacks %q:\n%s", want, b)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "a/a_test.go"), []byte("package a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(options{root: root, check: true}, &bytes.Buffer{}); err == nil {
		t.Fatal("a stale report passed")
	}
}

func TestStrictWantsEveryRow(t *testing.T) {
	files := map[string]string{
		"a/a_test.go":         goodTest,
		"test/scripts/a.txt":  "covers: 31:U31-01\n",
		"test/scripts/b.txt":  "covers: 5:1.5.4-1\n",
		"docs/spec/README.md": "x",
	}
	if err := run(options{root: tree(t, files), strict: true}, &bytes.Buffer{}); err != nil {
		t.Fatalf("every row of the server is covered, yet: %v", err)
	}
	var out bytes.Buffer
	if err := run(options{root: tree(t, files), strict: true, client: true}, &out); err == nil || !strings.Contains(out.String(), "5:U5-2.1.4-1") {
		t.Fatalf("got %v %q, want the client's row", err, out.String())
	}
	delete(files, "test/scripts/b.txt")
	out.Reset()
	if err := run(options{root: tree(t, files), strict: true}, &out); err == nil || !strings.Contains(out.String(), "5:1.5.4-1") {
		t.Fatalf("got %v %q, want the open row", err, out.String())
	}
}

func TestMissingAndCodeAreListed(t *testing.T) {
	root := tree(t, map[string]string{
		"a/a_test.go": goodTest,
		"a/a.go":      "package a\n\n// f keeps [MQTT-1.5.4-1] and U31-01.\nfunc f() {}\n",
	})
	tests := []struct {
		name      string
		o         options
		want, not []string
	}{
		{"missing", options{missing: true}, []string{"31:U31-01", "5:1.5.4-1", "2 rows"}, []string{"3:1.5.3-1", "5:U5-2.1.4-1"}},
		{"missing in an area", options{missing: true, area: "connect"}, []string{"31:U31-01", "1 rows"}, []string{"5:1.5.4-1"}},
		{"missing in a set", options{missing: true, side: "5", client: true}, []string{"5:1.5.4-1", "5:U5-2.1.4-1"}, []string{"31:"}},
		{"code", options{code: true}, []string{"3:1.5.3-1", "5:U5-2.1.4-1", "2 statements"}, []string{"5:1.5.4-1", "31:U31-01"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			tt.o.root = root
			if err := run(tt.o, &out); err != nil {
				t.Fatal(err)
			}
			for _, w := range tt.want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("lacks %q:\n%s", w, out.String())
				}
			}
			for _, w := range tt.not {
				if strings.Contains(out.String(), w) {
					t.Errorf("has %q:\n%s", w, out.String())
				}
			}
		})
	}
}
