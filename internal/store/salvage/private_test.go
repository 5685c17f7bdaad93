//go:build unix

package salvage

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store/pebblestore"
)

// TestPrivateFiles: nobody else may read a file of the store, whatever the umask,
// neither of one that was made nor of one that was mended.
func TestPrivateFiles(t *testing.T) {
	at := filepath.Join(t.TempDir(), "store")
	open := func() (*pebblestore.Store, Report) {
		t.Helper()
		st, r, err := Open(at, pebblestore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		files := 0
		err = filepath.WalkDir(at, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			i, err := d.Info()
			if err != nil {
				return err
			}
			files++
			if i.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s: %v", name, i.Mode())
			}
			return nil
		})
		if err != nil || files < 5 {
			t.Fatalf("%d files, %v", files, err)
		}
		return st, r
	}
	st, _ := open()
	commit(t, st, record.Op{Kind: record.PutRetained, Entry: record.Queued{Msg: message("r", "x")}})
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadDir(at)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if strings.HasPrefix(f.Name(), "MANIFEST") {
			if err := os.WriteFile(filepath.Join(at, f.Name()), []byte("no manifest"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	st, r := open()
	if !r.Damaged() {
		t.Error("the store was not mended")
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}
