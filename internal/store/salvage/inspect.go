package salvage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store/pebblestore"
)

// files of a store, by kind.
type files struct {
	fs     vfs.FS
	dir    string
	logs   []logFile
	tables []string
	some   bool // there is a store at all
}

type logFile struct {
	name   string
	number uint32
}

func list(fs vfs.FS, dir string) (*files, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	f := &files{fs: fs, dir: dir}
	for _, name := range names {
		if n, _, ok := wal.ParseLogFilename(name); ok {
			f.logs = append(f.logs, logFile{name, uint32(n)})
		} else if strings.HasSuffix(name, ".sst") {
			f.tables = append(f.tables, name)
		}
		f.some = f.some || strings.HasPrefix(name, "MANIFEST") || strings.HasPrefix(name, "marker.")
	}
	slices.SortFunc(f.logs, func(a, b logFile) int { return int(int64(a.number) - int64(b.number)) })
	f.some = f.some || len(f.logs)+len(f.tables) > 0
	return f, nil
}

func (f *files) path(name string) string { return f.fs.PathJoin(f.dir, name) }

func (f *files) read(name string) ([]byte, error) {
	file, err := f.fs.Open(f.path(name), vfs.SequentialReadsOption)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(file)
	return b, errors.Join(err, file.Close())
}

// Finding is one damaged file.
type Finding struct {
	File string
	Text string
}

// inspection is what looking at a store has shown.
type inspection struct {
	*files
	findings []Finding
	// groups are the numbers of the groups in logs that check.
	groups map[uint64]bool
	// live are the tables in use; nil: not known, all of them count.
	live map[string]bool
	// all: tables that are not in use count too.
	all bool
	// found is the number of the last group as Pebble sees the store, flushed the
	// highest in a table in use, elsewhere that in other tables.
	found, flushed, elsewhere uint64
	// durable is up to which group everything was on stable storage; 0: not known.
	durable uint64
	// unread: a table in use does not tell its newest group.
	unread bool
	// openEnd: behind the last record that checks, in whichever log, something does
	// not, so that how much stood there cannot be known.
	openEnd bool
	bytes   int64 // that do not check
}

func (x *inspection) find(file, format string, args ...any) {
	x.findings = append(x.findings, Finding{File: file, Text: fmt.Sprintf(format, args...)})
}

// highest is the highest group number that is somewhere.
func (x *inspection) highest() uint64 {
	h := max(x.flushed, x.elsewhere)
	for n := range x.groups {
		h = max(h, n)
	}
	return h
}

// inTables is up to which group everything is in tables, as far as they can be
// read.
func (x *inspection) inTables() uint64 {
	if x.all {
		return max(x.flushed, x.elsewhere) // memtables are flushed in order
	}
	return x.flushed
}

// missing counts the groups that are nowhere though later ones are, or though
// they were on stable storage. Behind a table that does not tell how far it goes
// only what the logs begin with counts.
func (x *inspection) missing() (n uint64) {
	h, from := max(x.highest(), x.durable), x.inTables()
	if x.unread {
		lowest := h
		for g := range x.groups {
			lowest = min(lowest, g)
		}
		from = max(from, lowest)
	}
	for g := from + 1; g <= h; g++ {
		if !x.groups[g] {
			n++
		}
	}
	return n
}

// commitKey is where each group leaves its number; see docs/formats/store.md.
var (
	commitKey = []byte("\x00commit")
	schemaKey = []byte("\x00schema")
)

// inspect looks at every file without changing one.
func inspect(f *files) (*inspection, error) {
	x := &inspection{files: f, groups: make(map[uint64]bool)}
	x.durable, _ = pebblestore.Durable(f.fs, f.dir) // one that does not check says nothing
	for _, l := range f.logs {
		b, err := f.read(l.name)
		if err != nil {
			x.find(l.name, "cannot be read: %v", err)
			x.openEnd = true
			continue
		}
		w := walk(b, l.number)
		if len(w.records) > 0 {
			x.openEnd = false // a group that is missing before this one leaves a gap
		}
		for _, s := range w.broken {
			x.bytes += s.to - s.from
			x.find(l.name, "does not check from byte %d to %d of %d", s.from, s.to, len(b))
			if n := len(w.at); n == 0 || w.at[n-1] < s.from {
				x.openEnd = true
			}
		}
		for i, rec := range w.records {
			if n, ok := groupNumber(rec); ok {
				x.groups[n] = true
			} else if len(rec) < batchrepr.HeaderLen {
				x.find(l.name, "holds no batch at byte %d", w.at[i])
			}
		}
	}
	if !f.some {
		return x, nil
	}
	if err := contained(func() error { return x.learn(f.fs) }); err != nil {
		var newer *pebblestore.SchemaError
		if errors.As(err, &newer) {
			return x, err
		}
		x.find("store", "does not open: %v", err)
		// If that was for a log, the manifest still tells which tables are in use and
		// which were being made.
		if contained(func() error { return x.learn(withoutLogs{f.fs}) }) != nil {
			x.live = nil
		}
	}
	for _, name := range f.tables {
		n := uint64(0)
		err := contained(func() (err error) { n, err = x.table(name); return err })
		switch {
		case x.live != nil && !x.live[name]:
			// Not in use: it is being made or was not yet deleted. What it holds is
			// elsewhere too, unless the manifest lost it.
			x.elsewhere = max(x.elsewhere, n)
		case err != nil:
			x.find(name, "does not check: %v", err)
			x.flushed = max(x.flushed, n)
			x.unread = x.unread || n == 0
		default:
			x.flushed = max(x.flushed, n)
		}
	}
	if h := x.highest(); h < x.durable {
		x.find("what is in it", "ends with group %d, and up to %d all were on stable storage", h, x.durable)
	}
	if x.live != nil && len(x.findings) == 0 && x.found < x.highest() {
		x.find("MANIFEST", "leads to group %d, the files to %d", x.found, x.highest())
	}
	if x.missing() > 0 {
		// Perhaps a table has them that the manifest does not know any more.
		x.all = true
		if len(x.findings) == 0 {
			x.find("MANIFEST", "leaves out groups of changes, or a log is gone")
		}
	}
	return x, nil
}

// groupNumber gives the number in the commit record of a batch.
func groupNumber(batch []byte) (n uint64, ok bool) {
	if len(batch) < batchrepr.HeaderLen {
		return 0, false
	}
	for r := batchrepr.Read(batch); ; {
		kind, key, value, more, err := r.Next()
		if err != nil || !more {
			return 0, false
		}
		if kind == pebble.InternalKeyKindSet && bytes.Equal(key, commitKey) {
			return number(value)
		}
	}
}

func number(value []byte) (uint64, bool) {
	var v record.Commit
	body, err := record.Unseal(record.FormCommit, commitKey, value)
	if err != nil || record.ParseCommit(body, &v) != nil {
		return 0, false
	}
	return v.Number, true
}

// guard turns a panic of Pebble on damaged bytes into an error.
func guard(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%v", r)
	}
}

func options(fs vfs.FS) *pebble.Options {
	// Left alone, Pebble ends the process when it meets damage.
	l := &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}, BackgroundError: func(error) {}}
	l.EnsureDefaults(quiet{})
	o := &pebble.Options{FS: unlocked{fs}, Logger: quiet{}, EventListener: l}
	o.EnsureDefaults()
	return o
}

// contained runs what damaged files may make Pebble panic in, or give up with
// Fatalf: on a goroutine of its own, which then ends.
func contained(f func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errors.New("pebble gave up")
		defer func() { done <- err }()
		defer guard(&err)
		err = f()
	}()
	return <-done
}

// openTable opens a table by itself.
func (f *files) openTable(name string) (r *sstable.Reader, err error) {
	defer guard(&err)
	file, err := f.fs.Open(f.path(name), vfs.RandomReadsOption)
	if err != nil {
		return nil, err
	}
	readable, err := sstable.NewSimpleReadable(file)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	r, err = sstable.NewReader(context.Background(), readable, options(f.fs).MakeReaderOptions())
	if err != nil {
		return nil, err // NewReader closes what it was given
	}
	return r, nil
}

// table checks one table and finds the newest group in it, if that can be read
// also when the rest cannot.
func (x *inspection) table(name string) (group uint64, err error) {
	r, err := x.openTable(name)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	group, err = newestGroup(r)
	defer guard(&err)
	return group, errors.Join(err, r.ValidateBlockChecksums())
}

func newestGroup(r *sstable.Reader) (group uint64, err error) {
	defer guard(&err)
	it, err := r.NewIter(block.NoTransforms, commitKey, append(bytes.Clone(commitKey), 0), sstable.AssertNoBlobHandles)
	if err != nil {
		return 0, err
	}
	defer it.Close()
	if kv := it.SeekGE(commitKey, 0); kv != nil {
		value, _, err := kv.Value(nil)
		if err != nil {
			return 0, err
		}
		group, _ = number(value)
	}
	return group, it.Error()
}

// learn opens the store for reading, to see how Pebble understands it: a
// manifest that ends too early hides tables, and a log may end early in silence.
func (x *inspection) learn(fs vfs.FS) (err error) {
	db, err := openReadOnly(fs, x.dir)
	if err != nil {
		return err
	}
	defer db.Close()
	if schema, ok := schemaOf(db); ok && schema > pebblestore.Schema {
		return &pebblestore.SchemaError{Found: schema, Supported: pebblestore.Schema}
	}
	levels, err := db.SSTables()
	if err != nil {
		return err
	}
	x.live = make(map[string]bool)
	for _, level := range levels {
		for i := range level {
			x.live[fmt.Sprintf("%06d.sst", uint64(level[i].FileNum))] = true
		}
	}
	value, closer, err := db.Get(commitKey)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
	case err != nil:
		return err
	default:
		x.found, _ = number(value)
		return closer.Close()
	}
	return nil
}

func schemaOf(db *pebble.DB) (uint32, bool) {
	value, closer, err := db.Get(schemaKey)
	if err != nil {
		return 0, false
	}
	defer closer.Close()
	body, err := record.Unseal(record.FormSchema, schemaKey, value)
	if errors.Is(err, record.ErrNewer) {
		return math.MaxUint32, true
	}
	if err != nil {
		return 0, false
	}
	v, err := record.ParseSchema(body)
	return v, err == nil
}

func openReadOnly(fs vfs.FS, dir string) (db *pebble.DB, err error) {
	defer guard(&err)
	o := options(fs)
	o.ReadOnly, o.ErrorIfNotExists = true, true
	return pebble.Open(dir, o)
}

// unlocked is for openings below the store's own lock.
type unlocked struct{ vfs.FS }

// withoutLogs shows a store without its logs.
type withoutLogs struct{ vfs.FS }

func (w withoutLogs) List(dir string) ([]string, error) {
	names, err := w.FS.List(dir)
	return slices.DeleteFunc(names, func(name string) bool {
		_, _, log := wal.ParseLogFilename(name)
		return log
	}), err
}

func (w withoutLogs) Unwrap() vfs.FS { return w.FS }

type nothing struct{}

func (nothing) Close() error { return nil }

func (unlocked) Lock(string) (io.Closer, error) { return nothing{}, nil }

func (u unlocked) Unwrap() vfs.FS { return u.FS }

// quiet takes Pebble's chatter; what it calls fatal ends the goroutine.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) { runtime.Goexit() }
