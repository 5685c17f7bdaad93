// Package salvage opens a store on disk whatever has happened to its files: what
// checks is loaded, the damaged files are set aside under a dated name, and a
// Report says what was lost.
//
// Pebble alone does not do that. A bit flipped in the middle of a log ends the
// log there in silence, a damaged manifest does not open, a damaged table ends
// the process from a compaction. So every file is looked at before Pebble opens
// the store: logs chunk by chunk, tables block by block, and the number that each
// group of changes leaves in its batch tells whether any is missing. When
// something does not check, a new store is made of the records that do, by
// sequence number, and takes the place of the old one.
//
// Open is called once, before the broker serves; Inspect and Lock by any
// goroutine, at any time, on a store that no broker uses. Nothing here logs.
package salvage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/midgemq/midge/internal/store/pebblestore"
)

// Report says what was found and done.
type Report struct {
	Dir string
	// Aside is where the files as they were found are now; "": nothing was done.
	Aside string
	// Findings are the damaged files.
	Findings []Finding
	// LostGroups counts groups of changes that are nowhere while later ones are.
	LostGroups uint64
	// OpenEnd: the logs do not check behind their last record that does; what stood
	// there, and whether it had been acknowledged, cannot be known.
	OpenEnd bool
	// LostBytes of logs do not check.
	LostBytes int64
	// Ranges are the keys of which tables may have lost records.
	Ranges []Range
	// Records is how many went into the new store.
	Records int
	// Abandoned: nothing could be rebuilt, the store begins empty.
	Abandoned bool
}

// Damaged reports whether there is something to say.
func (r *Report) Damaged() bool { return len(r.Findings) > 0 }

// Losses is the number for a metric: groups known to be lost, and one for each
// place of which nobody knows.
func (r *Report) Losses() int64 {
	n := int64(r.LostGroups) + int64(len(r.Ranges))
	if r.OpenEnd {
		n++
	}
	if r.Abandoned {
		n++
	}
	return n
}

// Line is the report as one log line.
func (r *Report) Line() string {
	if !r.Damaged() {
		return ""
	}
	var files []string
	for i, f := range r.Findings {
		if i == 5 {
			files = append(files, fmt.Sprintf("and %d more", len(r.Findings)-i))
			break
		}
		files = append(files, f.File+" "+f.Text)
	}
	var lost []string
	if r.LostGroups > 0 {
		lost = append(lost, fmt.Sprintf("%d groups of changes", r.LostGroups))
	}
	if r.OpenEnd {
		lost = append(lost, "what the last log held at its end, at most "+fmt.Sprint(r.LostBytes)+" bytes")
	}
	for _, g := range r.Ranges {
		lost = append(lost, g.describe())
	}
	text := "The store " + r.Dir + " is damaged: " + strings.Join(files, "; ") + "."
	switch {
	case r.Abandoned:
		text += " Nothing of it could be read; the broker begins with an empty one."
	case r.Aside != "" && len(lost) == 0:
		text += fmt.Sprintf(" Nothing is lost: %d records were recovered.", r.Records)
	case r.Aside != "":
		text += fmt.Sprintf(" Lost: %s. %d records were recovered.", strings.Join(lost, ", "), r.Records)
	}
	if r.Aside != "" {
		text += " The files as they were found are in " + r.Aside + "."
	}
	return text
}

func (x *inspection) report() Report {
	return Report{Dir: x.dir, Findings: x.findings, LostGroups: x.missing(), OpenEnd: x.openEnd, LostBytes: x.bytes}
}

// errDamaged ends the first opening.
var errDamaged = errors.New("damaged")

// Open opens the store in dir as pebblestore.Open does, mended if need be. The
// error is that of a store in use or of a newer schema, or that of a disk that
// nothing can be written to; damage is none.
func Open(dir string, o pebblestore.Options) (*pebblestore.Store, Report, error) {
	fs := o.FS
	if fs == nil {
		fs = pebblestore.Files
	}
	var x *inspection
	o.Check = func(fs vfs.FS, dir string) error {
		f, err := list(fs, dir)
		if err == nil {
			x, err = inspect(f)
		}
		if err == nil && len(x.findings) > 0 {
			err = errDamaged
		}
		return err
	}
	st, err := pebblestore.Open(dir, o)
	var newer *pebblestore.SchemaError
	switch {
	case err == nil:
		return st, Report{Dir: dir}, nil
	case x == nil || errors.As(err, &newer):
		return nil, Report{Dir: dir}, err
	case !errors.Is(err, errDamaged):
		x.find("store", "does not open: %v", err)
	}
	wall := time.Now()
	if o.Clock != nil {
		_, wall = o.Clock()
	}
	r, err := mend(fs, x, wall)
	if err != nil {
		return nil, r, fmt.Errorf("mend store %s: %w", dir, err)
	}
	o.Check = nil
	st, err = pebblestore.Open(dir, o)
	return st, r, err
}

// mend puts a new store in the place of a damaged one.
func mend(fs vfs.FS, x *inspection, wall time.Time) (Report, error) {
	dir, made := x.dir, x.dir+".rebuild"
	r := &rebuild{inspection: x}
	lock, err := fs.Lock(fs.PathJoin(dir, "LOCK"))
	if err != nil {
		return x.report(), err
	}
	failed := func() error {
		if err := fs.RemoveAll(made); err != nil {
			return err
		}
		if err := fs.MkdirAll(made, 0o700); err != nil {
			return err
		}
		return contained(func() error { return r.write(made) })
	}()
	rep := x.report()
	rep.Ranges, rep.Records = r.ranges, r.records
	// Not every system can rename a directory with an open file in it.
	if err := lock.Close(); err != nil {
		return rep, err
	}
	aside, err := asideName(fs, dir, wall)
	if err != nil {
		return rep, err
	}
	if failed != nil {
		// Not enough room, for example. A start with an empty store is better than
		// none, and nothing is thrown away.
		x.find("store", "could not be rebuilt: %v", failed)
		rep.Findings, rep.Abandoned = x.findings, true
		if err := fs.RemoveAll(made); err != nil {
			return rep, errors.Join(failed, err)
		}
	}
	if err := fs.Rename(dir, aside); err != nil {
		return rep, err
	}
	rep.Aside = aside
	if failed == nil {
		if err := fs.Rename(made, dir); err != nil {
			return rep, err
		}
	}
	return rep, syncParent(fs, dir)
}

func asideName(fs vfs.FS, dir string, wall time.Time) (string, error) {
	base := dir + ".damaged-" + wall.UTC().Format("20060102-150405")
	name := base
	for i := 2; ; i++ {
		_, err := fs.Stat(name)
		if errors.Is(err, os.ErrNotExist) {
			return name, nil
		}
		if err != nil {
			return "", err
		}
		name = fmt.Sprintf("%s-%d", base, i)
	}
}

func syncParent(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(fs.PathDir(dir))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Lock takes the lock of a store, as a broker does, or fails if one uses it.
func Lock(dir string) (io.Closer, error) { return lock(pebblestore.Files, dir) }

func lock(fs vfs.FS, dir string) (io.Closer, error) {
	l, err := fs.Lock(fs.PathJoin(dir, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("the store is in use: %w", err)
	}
	return l, nil
}

// Inspect looks at the store in dir without changing a file; fs nil is the
// operating system's. No broker may use the store.
func Inspect(fs vfs.FS, dir string) (Report, error) {
	if fs == nil {
		fs = pebblestore.Files
	}
	if _, err := fs.Stat(dir); err != nil {
		return Report{Dir: dir}, err
	}
	l, err := lock(fs, dir)
	if err != nil {
		return Report{Dir: dir}, err
	}
	defer l.Close()
	f, err := list(fs, dir)
	if err != nil {
		return Report{Dir: dir}, err
	}
	x, err := inspect(f)
	if err != nil {
		return Report{Dir: dir}, err
	}
	return x.report(), nil
}
