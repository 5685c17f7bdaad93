//go:build unix

package doctor

import (
	"os"
	"path/filepath"
	"testing"
)

// TestAllowed compares the judgement by modes with what they mean for owner, group and others.
func TestAllowed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	uid, gid := os.Getuid(), os.Getgid()
	owner := person{uid: uid, groups: []int{gid}}
	member := person{uid: uid + 12345, groups: []int{4711, gid}}
	stranger := person{uid: uid + 12345, groups: []int{4711}}
	for _, tt := range []struct {
		mode os.FileMode
		who  person
		want uint32
		ok   bool
	}{
		{0o600, stranger, mayRead, false},
		{0o604, stranger, mayRead, true},
		{0o604, member, mayRead, false}, // the group's bits count for members, not the others'
		{0o640, member, mayRead, true},
		{0o640, member, mayWrite, false},
		{0o660, member, mayRead | mayWrite, true},
		{0o600, member, 0, true},
	} {
		if err := os.Chmod(file, tt.mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := allowed(info, tt.who, tt.want); got != tt.ok {
			t.Errorf("%o for %+v wanting %o: %v", tt.mode, tt.who, tt.want, got)
		}
	}
	info, _ := os.Stat(file)
	if uid != 0 && allowed(info, owner, mayEnter) {
		t.Error("a file without x may be entered")
	}
	root := person{uid: 0}
	if !allowed(info, root, mayRead|mayWrite) || allowed(info, root, mayEnter) {
		t.Error("root may read and write everything, but not enter a file")
	}
}
