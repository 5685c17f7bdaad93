package pebblestore

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// formatVersion is the one that Pebble writes. Not a newer one: from
// FormatWALSyncChunks on a log says in itself up to where it was synced, and
// Pebble takes a log that ends before that for damaged; but at store.Write this
// engine leaves syncs out, and a power loss may then take what they stood for.
const formatVersion = pebble.FormatColumnarBlocks

// instance is one opening of Pebble on the directory. After an error that Pebble
// does not survive it is given up and another one opened; the fence keeps the
// old one off the files.
type instance struct {
	db    *pebble.DB
	fence *fence
	store *Store

	// applying says where the committer is: a goroutine that Pebble keeps for ever
	// is left behind, and another one goes on in its place.
	applying atomic.Int32
	over     chan struct{} // closed at the end of an instance that works
	// dead is closed when the instance must be given up; err says why.
	dead chan struct{}

	mu    sync.Mutex
	err   error
	stuck bool // a goroutine of Pebble hangs with locks held: it cannot be closed

	readers sync.WaitGroup
}

// Values of applying.
const (
	outside int32 = iota
	inside
	leftBehind
)

// openInstance opens Pebble; the directory's lock is held.
func (s *Store) openInstance() (in *instance, err error) {
	in = &instance{
		store: s, fence: &fence{FS: s.fs, dir: s.dir, c: &s.count},
		over: make(chan struct{}), dead: make(chan struct{}),
	}
	made := in // in is nil after an error, and goroutines of Pebble may go on
	in.fence.failed = func(err error) { made.giveUp(err, false) }
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
		if err != nil {
			in.giveUp(err, false)
			in = nil
		}
	}()
	in.db, err = pebble.Open(s.dir, s.pebbleOptions(in))
	if err != nil {
		return in, err
	}
	if err = in.failed(); err != nil { // Pebble went on after an error it calls fatal
		go in.shut()
		return in, err
	}
	return in, nil
}

func (s *Store) pebbleOptions(in *instance) *pebble.Options {
	o := &pebble.Options{
		FS:                          in.fence,
		Cache:                       s.cache,
		FormatMajorVersion:          formatVersion,
		MemTableSize:                uint64(s.o.MemTableBytes),
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       32,
		MaxOpenFiles:                256, // a Pi's limit for a process is often 1024
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
		Logger:                      logger{in},
		EventListener:               in.listener(),
	}
	o.FreeSpaceThresholdBytes = 1 << 30 // only how eagerly deleted files go
	return o
}

func (in *instance) listener() *pebble.EventListener {
	tell := func(k EventKind, err error) { in.store.tell(Event{Kind: k, Err: err}) }
	l := &pebble.EventListener{
		BackgroundError: func(err error) {
			if in.failed() != nil {
				return
			}
			tell(Background, err)
			// Pebble tries again at once and for ever.
			time.Sleep(20 * time.Millisecond)
		},
		// A flush that fails is tried again by Pebble; when the tables in memory are
		// full meanwhile, commits wait in Apply.
		FlushEnd: func(i pebble.FlushInfo) {
			if i.Err != nil && len(i.Output) == 0 && in.failed() == nil && i.Err.Error() != "pebble: empty table" {
				in.store.flushFails(i.Err)
			} else if i.Err == nil || in.failed() == nil {
				in.store.flushWorks()
			}
		},
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			in.store.count.damaged.Add(1)
			tell(Damaged, fmt.Errorf("%s: %w", i.Path, i.Details))
		},
		DiskSlow: func(i pebble.DiskSlowInfo) { tell(Slow, errors.New(i.String())) },
	}
	l.EnsureDefaults(quiet{})
	return l
}

// quiet takes Pebble's chatter.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) {}

// logger never ends the process: what Pebble calls fatal ends the instance.
type logger struct{ in *instance }

func (logger) Infof(string, ...any)  {}
func (logger) Errorf(string, ...any) {}

// Fatalf gives the instance up. Pebble returns an error to its caller after some
// calls; what it would do after the others nobody has thought about, so there
// the goroutine stops here for good.
func (l logger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	goesOn := strings.HasPrefix(err.Error(), "MANIFEST") || strings.HasPrefix(format, "pebble: fatal commit error")
	l.in.giveUp(err, !goesOn)
	if !goesOn {
		select {}
	}
}

// giveUp ends the instance. Any goroutine; the first error counts.
func (in *instance) giveUp(err error, stuck bool) {
	in.mu.Lock()
	first := in.err == nil
	if first {
		in.err = err
	}
	in.stuck = in.stuck || stuck
	in.mu.Unlock()
	if first {
		in.fence.close()
		close(in.dead)
	}
}

func (in *instance) failed() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.err
}

// apply hands a batch to Pebble: it can be read after it, and is in the log when
// b.SyncWait has returned. Committer only. left: the instance was given up
// meanwhile and somebody else is the committer by now.
func (in *instance) apply(b *pebble.Batch) (left bool, err error) {
	in.applying.Store(inside)
	if err = in.failed(); err == nil { // looked at after the mark, see watch
		err = in.applyOne(b)
	}
	if err == nil {
		err = in.failed()
	}
	return !in.applying.CompareAndSwap(inside, outside), err
}

func (in *instance) applyOne(b *pebble.Batch) (err error) {
	defer func() {
		if p := recover(); p != nil {
			// Pebble panics with its commit lock held.
			err = fmt.Errorf("%v", p)
			in.giveUp(err, true)
		}
	}()
	return in.db.ApplyNoSyncWait(b, pebble.Sync)
}

// watch waits for the end of the instance. When it is given up while the
// committer is inside of Pebble, where it may stay for ever, replace is called.
func (in *instance) watch(replace func()) {
	select {
	case <-in.over:
	case <-in.dead:
		if in.applying.CompareAndSwap(inside, leftBehind) {
			replace()
		}
	}
}

// shut closes Pebble when that is possible. It may take long or for ever after
// an error; then it runs on a goroutine of its own.
func (in *instance) shut() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	in.readers.Wait()
	in.mu.Lock()
	stuck := in.stuck
	in.mu.Unlock()
	if stuck {
		return nil
	}
	return in.db.Close()
}

// flush has the tables in memory written out; the channel tells the end of it.
func (in *instance) flush() (done <-chan struct{}, err error) {
	defer func() {
		if p := recover(); p != nil { // with its locks held
			err = fmt.Errorf("%v", p)
			in.giveUp(err, true)
		}
	}()
	if err := in.failed(); err != nil {
		return nil, err
	}
	return in.db.AsyncFlush()
}

// flushPatience is how long the end of an instance waits for its tables.
const flushPatience = 5 * time.Second

// end closes an instance that works. What is in memory is written to a table
// first, so that the next opening has no log to read; it is in the log as well.
func (in *instance) end() error {
	close(in.over)
	if done, err := in.flush(); err == nil {
		t := time.NewTimer(flushPatience)
		select {
		case <-done:
		case <-t.C:
		case <-in.dead:
		}
		t.Stop()
	}
	return in.shut()
}

// lockFile takes the directory's lock under the name that Pebble would use, so
// that its tools see it.
func lockFile(fs vfs.FS, dir string) (interface{ Close() error }, error) {
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return fs.Lock(fs.PathJoin(dir, "LOCK"))
}
