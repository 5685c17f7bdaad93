// Package migrate builds stores on disk from what Mosquitto has left, and writes
// files that Mosquitto starts from. It works on files that no broker uses at the
// time; it never changes a source.
//
// Functions may be called from any goroutine, for one store at a time. At start
// the broker calls FirstStart before it opens its store; the command line calls
// the others.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/safefile"
	"github.com/midgemq/midge/internal/store/mosqdb"
	"github.com/midgemq/midge/internal/store/pebblestore"
	"github.com/midgemq/midge/internal/store/sqliteimport"
)

// Result says what an import did.
type Result struct {
	Source string // the file; "": there was none
	Report mosqdb.Report
	// Damage is why parts of the source could not be read; nil: all could.
	Damage error
	// Kept is a copy of a damaged source, made because the way back (persistence_file)
	// may write over the original.
	Kept string
}

// Lines are the log lines of an import, without level.
func (r *Result) Lines() []string {
	if r.Source == "" {
		return nil
	}
	l := append([]string{"Importing " + r.Source + "."}, r.Report.Lines()...)
	if r.Damage != nil {
		l = append(l, fmt.Sprintf("Parts of %s are damaged and were left out: %v", r.Source, r.Damage))
	}
	if r.Kept != "" {
		l = append(l, "A copy of it is kept as "+r.Kept+".")
	}
	return l
}

// building is the suffix of a store that is not finished.
const building = ".import"

// clock is a time line of its own for one import.
func clock() func() (record.Instant, time.Time) {
	start := time.Now().Add(-time.Second) // instants are never zero
	return func() (record.Instant, time.Time) {
		now := time.Now()
		return record.Instant(now.Sub(start)), now
	}
}

// read reads a source of either kind. What could be read comes also with an error.
func read(ctx context.Context, path, scratch string) (*mosqdb.DB, error) {
	if sqliteimport.Is(path) {
		return sqliteimport.Read(ctx, path, scratch)
	}
	f, err := os.Open(path)
	if err != nil {
		return &mosqdb.DB{}, err
	}
	defer f.Close()
	db, err := mosqdb.Read(f)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return db, err
}

// FirstStart makes the store dir from the first of the sources that exists, when
// dir does not. It is built under another name and renamed, so that dir is there
// whole or not at all. Sources are files of Mosquitto of either kind, best first;
// an empty one is passed over, as Mosquitto does.
//
// A damaged source yields what can be read and is copied aside; the error is that
// of the new store, or of a source that is no database at all or of a newer
// version: starting with nothing would look like a loss.
func FirstStart(ctx context.Context, dir string, sources ...string) (Result, error) {
	if _, err := os.Lstat(dir); err == nil || !errors.Is(err, os.ErrNotExist) {
		return Result{}, err
	}
	for _, path := range sources {
		if fi, err := os.Stat(path); err != nil || fi.Size() == 0 || !fi.Mode().IsRegular() {
			continue
		}
		r, err := create(ctx, path, dir)
		if err != nil {
			return r, fmt.Errorf("import %s: %w", path, err)
		}
		return r, nil
	}
	return Result{}, nil
}

func create(ctx context.Context, path, dir string) (Result, error) {
	r := Result{Source: path}
	tmp := dir + building
	if err := os.RemoveAll(tmp); err != nil { // of an import that was interrupted
		return r, err
	}
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return r, err
	}
	defer os.RemoveAll(tmp) // after the rename there is nothing under this name
	db, err := read(ctx, path, tmp)
	if err := hopeless(err); err != nil {
		return r, err
	}
	r.Damage = err
	if r.Report, err = fill(ctx, db, tmp, false); err != nil {
		return r, err
	}
	if r.Damage != nil {
		if r.Kept, err = keep(path); err != nil {
			return r, err
		}
	}
	if err := os.Rename(tmp, dir); err != nil {
		return r, err
	}
	return r, safefile.SyncDir(filepath.Dir(dir))
}

// hopeless picks the errors after which there is nothing to import.
func hopeless(err error) error {
	var path *os.PathError
	for _, e := range []error{mosqdb.ErrFormat, mosqdb.ErrVersion, mosqdb.ErrEmpty, sqliteimport.ErrFormat, sqliteimport.ErrVersion} {
		if errors.Is(err, e) {
			return err
		}
	}
	if errors.As(err, &path) {
		return err
	}
	return nil
}

// fill imports into the store in dir.
func fill(ctx context.Context, db *mosqdb.DB, dir string, replace bool) (mosqdb.Report, error) {
	now := clock()
	st, err := pebblestore.Open(dir, pebblestore.Options{Clock: now})
	if err != nil {
		return mosqdb.Report{}, err
	}
	at, wall := now()
	rep, err := mosqdb.Import(ctx, db, st, mosqdb.ImportOptions{Now: at, Wall: wall, Replace: replace})
	return rep, errors.Join(err, st.Close())
}

// Import reads path into the store in dir, which is made when it is not there.
// With replace it may hold something already; the file wins. No broker may run on
// the store: its lock is taken.
func Import(ctx context.Context, path, dir string, replace bool) (Result, error) {
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat(path); err != nil {
			return Result{Source: path}, err
		}
		return create(ctx, path, dir)
	}
	r := Result{Source: path}
	db, err := read(ctx, path, "")
	if err := hopeless(err); err != nil {
		return r, err
	}
	r.Damage = err
	r.Report, err = fill(ctx, db, dir, replace)
	return r, err
}

// Export writes the store in dir to path as a mosquitto.db. No broker may run on
// it.
func Export(ctx context.Context, dir, path string) (mosqdb.ExportReport, error) {
	if _, err := os.Stat(dir); err != nil {
		return mosqdb.ExportReport{}, err
	}
	now := clock()
	st, err := pebblestore.Open(dir, pebblestore.Options{Clock: now})
	if err != nil {
		return mosqdb.ExportReport{}, err
	}
	at, wall := now()
	rep, err := mosqdb.Export(ctx, st, path, mosqdb.ExportOptions{Now: at, Wall: wall, Shutdown: true})
	return rep, errors.Join(err, st.Close())
}

// keep copies a file beside itself under a dated name.
func keep(path string) (string, error) {
	name := path + ".damaged-" + time.Now().UTC().Format("20060102-150405")
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return name, os.WriteFile(name, b, 0o600)
}
