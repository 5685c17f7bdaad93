package storecmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// damage flips a bit in a log or a table, whichever is largest.
func damage(t *testing.T, dir string) {
	t.Helper()
	logs, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	tables, _ := filepath.Glob(filepath.Join(dir, "*.sst"))
	var name string
	var b []byte
	for _, n := range append(logs, tables...) {
		x, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		if len(x) > len(b) {
			name, b = n, x
		}
	}
	b[50] ^= 4
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCheckRepairDump(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if status, _, errs := run(t, "gen-testdata", dir); status != 0 {
		t.Fatal(errs)
	}
	if status, out, errs := run(t, "check", dir); status != 0 || out != dir+": everything checks.\n" || errs != "" {
		t.Errorf("%d %q %q", status, out, errs)
	}
	status, out, errs := run(t, "dump", dir)
	if status != 0 || errs != "" || !strings.Contains(out, `{"kind":"session","clientid":"three","username":"bob"`) || strings.Count(out, "\n") != 45 {
		t.Errorf("%d %q %q", status, out, errs)
	}
	if status, out, _ := run(t, "repair", dir); status != 0 || !strings.Contains(out, "nothing was changed") {
		t.Errorf("%d %q", status, out)
	}
	dir = filepath.Join(t.TempDir(), "store")
	if status, _, errs := run(t, "gen-testdata", dir); status != 0 {
		t.Fatal(errs)
	}
	damage(t, dir)
	if status, out, errs := run(t, "check", dir); status != 1 || out != "" || !strings.Contains(errs, "does not check") {
		t.Errorf("%d %q %q", status, out, errs)
	}
	if status, out, errs := run(t, "repair", dir); status != 0 || errs != "" || !strings.Contains(out, "The files as they were found are in "+dir+".damaged-") {
		t.Errorf("%d %q %q", status, out, errs)
	}
	if status, _, errs := run(t, "check", dir); status != 0 {
		t.Errorf("after the repair: %q", errs)
	}
	for _, word := range []string{"check", "repair", "dump"} {
		if status, _, errs := run(t, word); status != 1 || !strings.Contains(errs, "no such file") {
			t.Errorf("%s of nothing: %d %q", word, status, errs)
		}
	}
}

func TestBackupRestore(t *testing.T) {
	base := t.TempDir()
	dir, copied := filepath.Join(base, "store"), filepath.Join(base, "backup")
	if status, _, errs := run(t, "gen-testdata", dir); status != 0 {
		t.Fatal(errs)
	}
	if status, out, errs := run(t, "backup", "--from", dir, copied); status != 0 || !strings.Contains(out, "everything in it checks") {
		t.Fatalf("%d %q %q", status, out, errs)
	}
	if fi, err := os.Stat(copied); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
	if status, _, errs := run(t, "verify-data", copied); status != 0 {
		t.Errorf("%q", errs)
	}
	if status, _, errs := run(t, "backup", "--from", dir, copied); status != 1 || !strings.Contains(errs, "exists") {
		t.Errorf("over one: %d %q", status, errs)
	}
	if status, _, errs := run(t, "backup", "--socket", filepath.Join(base, "none"), filepath.Join(base, "x")); status != 1 || !strings.Contains(errs, "is a broker running?") {
		t.Errorf("without a broker: %d %q", status, errs)
	}
	if status, _, errs := run(t, "restore", "--to", dir, copied); status != 1 || !strings.Contains(errs, "--replace sets it aside") {
		t.Errorf("over one: %d %q", status, errs)
	}
	if status, out, errs := run(t, "restore", "--to", dir, "--replace", copied); status != 0 || !strings.Contains(out, ".replaced-") {
		t.Errorf("%d %q %q", status, out, errs)
	}
	if status, _, errs := run(t, "verify-data", dir); status != 0 {
		t.Errorf("%q", errs)
	}
	damage(t, copied)
	if status, _, errs := run(t, "restore", "--to", filepath.Join(base, "y"), copied); status != 1 || !strings.Contains(errs, "the backup does not check") {
		t.Errorf("damaged: %d %q", status, errs)
	}
}
