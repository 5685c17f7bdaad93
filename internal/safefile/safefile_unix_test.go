//go:build unix

package safefile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	if err := Create(good, []byte("content")); err != nil {
		t.Fatal(err)
	}
	if st, _ := os.Stat(good); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %o", st.Mode().Perm())
	}
	// The group of a new file is the directory's on some systems.
	_ = os.Chown(good, os.Geteuid(), os.Getegid())
	data, warnings, err := Read(good)
	if err != nil || string(data) != "content" || len(warnings) != 0 {
		t.Fatalf("%q %q %v", data, warnings, err)
	}
	if err := Create(good, nil); !errors.Is(err, os.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
	if err := os.Chmod(good, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, warnings, _ = Read(good); len(warnings) != 1 || !strings.HasPrefix(warnings[0], "Warning: File "+good+" has world readable permissions.") {
		t.Errorf("warnings: %q", warnings)
	}
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{link, fifo, dir, "/dev/zero"} {
		if _, _, err := Read(p); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s: %v", p, err)
		}
	}
	t.Setenv(allowLinks, "1")
	if data, _, err := Read(link); err != nil || string(data) != "content" {
		t.Errorf("an allowed link: %q %v", data, err)
	}
	if _, _, err := Read(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, MaxSize+1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Read(big); !errors.Is(err, ErrTooLarge) {
		t.Errorf("big: %v", err)
	}
}

// Replace keeps the mode, leaves nothing behind and does not follow links.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	p := filepath.Join(dir, "f")
	if err := Replace(p, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if err := os.WriteFile(p, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := Replace(p, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(p); string(b) != "new" {
		t.Errorf("content %q", b)
	}
	if st, _ := os.Stat(p); st.Mode().Perm() != 0o640 {
		t.Errorf("mode %o", st.Mode().Perm())
	}
	if err := os.Symlink(p, p+".link"); err != nil {
		t.Fatal(err)
	}
	if err := Replace(p+".link", []byte("x")); !errors.Is(err, ErrNotRegular) {
		t.Errorf("link: %v", err)
	}
	if l, _ := os.ReadDir(dir); len(l) != 2 {
		t.Errorf("%d files, not 2", len(l))
	}
}
