package salvage

import (
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var errFull = errors.New("no space left on device")

// full is a disk without room for a second store.
type full struct{ vfs.FS }

func (f full) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.Contains(name, ".rebuild") {
		return nil, errFull
	}
	return f.FS.Create(name, c)
}

func (f full) Unwrap() vfs.FS { return f.FS }

// TestNoRoom: when a new store cannot be made, the start succeeds with an empty
// one, nothing is thrown away, and the report says so.
func TestNoRoom(t *testing.T) {
	fs := sample(t)
	for _, name := range names(t, fs, dir) {
		if strings.HasPrefix(name, "MANIFEST") {
			b := readFile(t, fs, fs.PathJoin(dir, name))
			b[20] ^= 1
			writeFile(t, fs, fs.PathJoin(dir, name), b)
		}
	}
	st, r, err := Open(dir, opts(full{fs}))
	if err != nil {
		t.Fatal(err)
	}
	if c := content(t, st); len(c) != 0 {
		t.Errorf("%d things in an empty store", len(c))
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if !r.Abandoned || r.Losses() == 0 || !strings.Contains(r.Line(), errFull.Error()) || !strings.Contains(r.Line(), "begins with an empty one. The files as they were found are in "+r.Aside) {
		t.Errorf("%s", r.Line())
	}
	// With room the files that were set aside give everything back.
	if err := fs.Rename(dir, "empty"); err != nil {
		t.Fatal(err)
	}
	if err := fs.Rename(r.Aside, dir); err != nil {
		t.Fatal(err)
	}
	if c, r := reopen(t, fs); len(c) != 2+groups+groups-1+20 || r.Abandoned {
		t.Errorf("%d things; %s", len(c), r.Line())
	}
}

// TestTwice: a store damaged twice in a second is set aside under two names.
func TestTwice(t *testing.T) {
	fs := sample(t)
	for _, want := range []string{"store.damaged-20261121-120000", "store.damaged-20261121-120000-2"} {
		for _, name := range names(t, fs, dir) {
			if strings.HasSuffix(name, ".sst") {
				writeFile(t, fs, fs.PathJoin(dir, name), []byte("no table"))
			}
		}
		if _, r := reopen(t, fs); r.Aside != want {
			t.Errorf("%q, want %q: %s", r.Aside, want, r.Line())
		}
	}
}
