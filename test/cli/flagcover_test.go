package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	midge "github.com/midgemq/midge/internal/cli"
)

// inventoryFile lists the flags of Mosquitto's programs.
const inventoryFile = "../../docs/spec/mosquitto-flags.tsv"

// known is one line of the inventory.
type known struct {
	program string
	names   []string
	refused string // words of the reason
}

func inventory(t *testing.T) []known {
	t.Helper()
	b, err := os.ReadFile(inventoryFile)
	if err != nil {
		t.Fatal(err)
	}
	var list []known
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line+"\t", "\t")
		list = append(list, known{fields[0], strings.Fields(fields[1]), fields[2]})
	}
	if len(list) < 150 {
		t.Fatalf("%d flags in %s", len(list), inventoryFile)
	}
	return list
}

// tagged are the flags that scripts and tests say they are about, as "pub -q" or "mosquitto --version".
func tagged(t *testing.T) map[string]bool {
	t.Helper()
	tag := regexp.MustCompile(`(?m)^\s*(?:#|//) flag: (\S+) (\S+)$`)
	tags := make(map[string]bool)
	for _, pattern := range []string{"testdata/*.txtar", "*_test.go", "../../internal/cli/*_test.go", "../../internal/cli/*/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range tag.FindAllStringSubmatch(string(b), -1) {
				tags[m[1]+" "+m[2]] = true
			}
		}
	}
	return tags
}

// TestEveryFlagHasATest fails on a flag of the inventory that no test is about and that is not refused for a reason.
func TestEveryFlagHasATest(t *testing.T) {
	tags, used := tagged(t), make(map[string]bool)
	for _, k := range inventory(t) {
		tool := strings.TrimPrefix(k.program, "mosquitto_")
		covered := false
		for _, n := range k.names {
			if tags[tool+" "+n] {
				covered, used[tool+" "+n] = true, true
			}
		}
		switch {
		case covered && k.refused != "":
			t.Errorf("%s %v: both tested and refused", k.program, k.names)
		case k.refused != "":
			refuses(t, k)
		case !covered:
			t.Errorf("%s %v: neither a test with \"# flag: %s %s\" nor a refusal", k.program, k.names, tool, k.names[0])
		}
	}
	for tag := range tags {
		if !used[tag] {
			t.Errorf("flag: %s: not in %s", tag, inventoryFile)
		}
	}
}

// refuses runs a program with a flag that it must refuse for the reason.
func refuses(t *testing.T, k known) {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for _, n := range k.names {
		var out, errOut bytes.Buffer
		status := midge.Main(&midge.Env{
			Args: []string{k.program, n, "x"}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errOut, Version: "test",
		})
		if status == 0 || !strings.Contains(errOut.String(), n) || !strings.Contains(errOut.String(), k.refused) {
			t.Errorf("%s %s: status %d, %q, want a refusal because of %q", k.program, n, status, errOut.String(), k.refused)
		}
	}
}

// extra are flags that midge knows under a name of Mosquitto's although Mosquitto does not: docs/differences.md lists them.
var extra = []string{"mosquitto --strict-reload"}

// TestTablesHaveTheFlags compares the tables, which parse, explain and complete, with the inventory.
func TestTablesHaveTheFlags(t *testing.T) {
	list := inventory(t)
	for _, c := range midge.Tables() {
		if c.Program == "" {
			continue
		}
		var want []string
		for _, k := range list {
			if k.program == c.Program {
				want = append(want, k.names...)
				for _, n := range k.names {
					if f := c.Find(n, false); f == nil {
						t.Errorf("%s has no %s", c.Program, n)
					} else if (f.Refused != "") != (k.refused != "") {
						t.Errorf("%s %s: refused %q here, %q in the inventory", c.Program, n, f.Refused, k.refused)
					}
				}
			}
		}
		if len(want) == 0 {
			t.Errorf("%s is not in the inventory", c.Program)
		}
		for i := range c.Flags {
			for _, n := range c.Flags[i].Names {
				if n != "--help" && n != "-h" && !slices.Contains(want, n) && !slices.Contains(extra, c.Program+" "+n) {
					t.Errorf("%s %s: Mosquitto has no such flag; a flag of midge's own belongs into Midge", c.Program, n)
				}
			}
		}
	}
}
