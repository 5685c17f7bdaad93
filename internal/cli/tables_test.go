package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/cli/flagtable"
)

// TestEveryCommandIsDescribed asks each command for its help and its manual page, which must name every flag of its table, and gives
// each flag to the command's parser, which must know it.
func TestEveryCommandIsDescribed(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	list := Tables()
	if len(list) < 10 {
		t.Fatalf("%d commands", len(list))
	}
	for i := range list {
		c := &list[i]
		if c.Name == "" || c.Summary == "" || strings.HasSuffix(c.Summary, ".") {
			t.Errorf("%q: summary %q", c.Name, c.Summary)
		}
		var page bytes.Buffer
		c.Man(&page, "1")
		help := call(t, append(append([]string{"midge"}, strings.Fields(c.Name)...), "--help")...)
		// Mosquitto's programs end with 1 after their help.
		if help.status != 0 && (help.status != 1 || c.Program == "") || help.out == "" {
			t.Errorf("midge %s --help: status %d, %q", c.Name, help.status, help.err)
		}
		for j := range c.Flags {
			f := &c.Flags[j]
			if f.Help == "" && f.Refused == "" {
				t.Errorf("midge %s %s has no help", c.Name, f.Key())
			}
			if !slices.ContainsFunc(f.All(true), func(n string) bool { return strings.Contains(help.out, n) || n == "--help" }) {
				t.Errorf("midge %s --help does not name %s", c.Name, f.Key())
			}
			for _, n := range f.All(true) {
				if !strings.Contains(page.String(), strings.ReplaceAll(n, "-", `\-`)) {
					t.Errorf("manual page of %s does not name %s", c.Name, n)
				}
			}
		}
	}
}

// TestParsersKnowTheirTables gives each command each flag of its table, twice: without its argument, and as a word that nothing can
// be. Only the second may be unknown.
func TestParsersKnowTheirTables(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	unknown := regexp.MustCompile(`(?i)(unknown|unrecogni|unexpected|not defined).*(option|flag)|(option|flag).*(unknown|unrecogni)|^Usage`)
	list := Tables()
	for i := range list {
		c := &list[i]
		words := append([]string{"midge"}, strings.Fields(c.Name)...)
		// db_dump takes it for a file that is not there, which is no failure to it.
		if got := call(t, append(words, "--no-such-flag")...); got.out+got.err == "" || got.status == 0 && c.Name != "db_dump" {
			t.Errorf("midge %s --no-such-flag: status %d, %q", c.Name, got.status, got.err)
		}
		for j := range c.Flags {
			f := &c.Flags[j]
			for _, n := range f.All(true) {
				if f.Count() == 0 || f.Refused != "" {
					continue // a switch would begin to work
				}
				if got := call(t, append(words, n)...); got.status == 0 || unknown.MatchString(got.err) && !strings.Contains(got.err, "missing") {
					t.Errorf("midge %s %s: status %d, %q", c.Name, n, got.status, got.err)
				}
			}
		}
	}
}

// TestCompletionKnowsEveryFlag looks into what each shell is given.
func TestCompletionKnowsEveryFlag(t *testing.T) {
	for _, shell := range flagtable.Shells {
		got := call(t, "midge", "completion", shell)
		if got.status != 0 || got.err != "" {
			t.Fatalf("%s: status %d, %q", shell, got.status, got.err)
		}
		list := Tables()
		for i := range list {
			for j := range list[i].Flags {
				f := &list[i].Flags[j]
				for _, n := range f.All(true) {
					word := n + ":"
					if shell == "fish" {
						word = map[bool]string{true: " -l " + strings.TrimLeft(n, "-"), false: " -s " + strings.TrimLeft(n, "-")}[strings.HasPrefix(n, "--")]
						if !strings.HasPrefix(n, "--") && len(n) > 2 {
							word = " -o " + n[1:]
						}
					}
					if f.Refused == "" && !strings.Contains(got.out, word) {
						t.Errorf("%s: midge %s: no %q", shell, list[i].Name, word)
					}
				}
			}
		}
		if shell == "bash" {
			check := exec.Command("bash", "-n")
			check.Stdin = strings.NewReader(got.out)
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("bash does not read its completion: %v\n%s", err, out)
			}
		}
	}
}

func TestManualPages(t *testing.T) {
	dir := t.TempDir()
	if got := call(t, "midge", "man", "--dir", dir); got.status != 0 {
		t.Fatalf("status %d, %q", got.status, got.err)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "man1", "*.1"))
	if err != nil || len(pages) < len(Tables())+1 {
		t.Errorf("%d pages, %v", len(pages), err)
	}
	link, err := os.ReadFile(filepath.Join(dir, "man1", "mosquitto_sub.1"))
	if err != nil || string(link) != ".so man1/midge-sub.1\n" {
		t.Errorf("mosquitto_sub.1: %q, %v", link, err)
	}
	for name, want := range map[string]string{"": ".SH COMMANDS", "mosquitto_pub": "midge-pub", "sub": "midge-sub"} {
		if got := call(t, append([]string{"midge", "man"}, strings.Fields(name)...)...); got.status != 0 || !strings.Contains(got.out, want) {
			t.Errorf("man %s: status %d, %q", name, got.status, got.err)
		}
	}
	if got := call(t, "midge", "man", "nothing"); got.status != 2 {
		t.Errorf("man nothing: status %d", got.status)
	}
}
