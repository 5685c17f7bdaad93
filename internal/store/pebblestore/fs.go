package pebblestore

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// scarce is how many times what is taken ahead has to be free. Not more: what was
// taken ahead is all that a log has when others fill the disk.
const scarce = 2

// errFenced is what an engine that was given up gets for each attempt to change
// a file.
var errFenced = errors.New("this instance of the engine was given up")

// fence stands between one instance of Pebble and the files. Once it is closed
// that instance changes nothing any more, whatever its goroutines still do, so
// that a new instance can be opened on the same directory. It also decides
// whether a sync of a log reaches the disk, and counts.
//
// Pebble meets an error of its log, when it changes from one to the next, with a
// panic that unlocks a mutex twice and so cannot be recovered. Therefore it never
// hears of one: the first ends the instance, and then Pebble is told that all is
// well while nothing is written. Who completes a commit asks the instance, not
// Pebble, whether it is there.
type fence struct {
	vfs.FS
	dir string // the store's
	c   *counters
	// failed is told of errors of the log.
	failed func(error)
	// flushing counts groups under way that want stable storage: while it is 0 a
	// sync of a log only has to hand the bytes to the operating system.
	flushing atomic.Int64

	mu   sync.RWMutex // held for reading during each change of a file
	down bool
}

// close waits for changes under way and refuses all later ones.
func (f *fence) close() {
	f.mu.Lock()
	f.down = true
	f.mu.Unlock()
}

// open opens a file that may be written to. A log is always there to be had.
func (f *fence) open(name string, open func() (vfs.File, error)) (vfs.File, error) {
	log := strings.HasSuffix(name, ".log")
	var file vfs.File
	err := f.change(func() (err error) { file, err = open(); return err })
	switch {
	case err == nil:
		return &fencedFile{File: file, f: f, log: log}, nil
	case log:
		f.failed(err)
		return &fencedFile{File: vfs.NewMemFile(nil), f: f, log: true}, nil
	}
	return nil, err
}

func (f *fence) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open(name, func() (vfs.File, error) { return f.FS.Create(name, c) })
}

func (f *fence) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open(newname, func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname, c) })
}

func (f *fence) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return f.open(name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, o...) })
}

// OpenDir gives a directory, whose Sync is a change as well and, for the one of
// the logs, hears of no error either.
func (f *fence) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &fencedFile{File: file, f: f, dir: true}, nil
}

func (f *fence) change(do func() error) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.down {
		return errFenced
	}
	return do()
}

func (f *fence) Link(a, b string) error {
	return f.change(func() error { return f.FS.Link(a, b) })
}

func (f *fence) Remove(name string) error {
	return f.change(func() error { return f.FS.Remove(name) })
}

func (f *fence) RemoveAll(name string) error {
	return f.change(func() error { return f.FS.RemoveAll(name) })
}

func (f *fence) Rename(a, b string) error {
	return f.change(func() error { return f.FS.Rename(a, b) })
}

func (f *fence) MkdirAll(dir string, perm os.FileMode) error {
	return f.change(func() error { return f.FS.MkdirAll(dir, perm) })
}

func (f *fence) Unwrap() vfs.FS { return f.FS }

type nothing struct{}

func (nothing) Close() error { return nil }

// Lock does nothing: the store holds the directory's lock for all instances.
func (f *fence) Lock(string) (io.Closer, error) { return nothing{}, nil }

// fencedFile is a file that was opened for writing, or a directory.
type fencedFile struct {
	vfs.File
	f   *fence
	log bool
	dir bool
	// unsynced is set when a sync was left out. Only a log's own goroutine writes
	// and closes it, but Pebble promises nothing of the kind.
	unsynced atomic.Bool
}

// change carries out a change and keeps errors of the log from Pebble.
func (x *fencedFile) change(do func() error) error {
	err := x.f.change(do)
	if err != nil && (x.log || x.dir) {
		x.f.failed(err)
		return nil
	}
	return err
}

func (x *fencedFile) Write(p []byte) (n int, err error) {
	n = len(p)
	err = x.change(func() (err error) {
		n, err = x.File.Write(p)
		x.f.c.bytesWritten.Add(uint64(n))
		if x.log {
			x.f.c.logBytes.Add(uint64(n))
		}
		return err
	})
	if err == nil {
		n = len(p)
	}
	return n, err
}

func (x *fencedFile) WriteAt(p []byte, off int64) (n int, err error) {
	n = len(p)
	err = x.change(func() (err error) {
		n, err = x.File.WriteAt(p, off)
		x.f.c.bytesWritten.Add(uint64(n))
		return err
	})
	if err == nil {
		n = len(p)
	}
	return n, err
}

// Preallocate takes the room of a log ahead. On a disk where that is short it is
// left for what is really written: the last of it is what makes room again.
func (x *fencedFile) Preallocate(off, n int64) error {
	if u, err := x.f.GetDiskUsage(x.f.dir); err == nil && u.AvailBytes < scarce*uint64(n) {
		return nil
	}
	return x.f.change(func() error { return x.File.Preallocate(off, n) }) // its error means nothing
}

// Stat is asked for the size of a log that is used again.
func (x *fencedFile) Stat() (vfs.FileInfo, error) {
	info, err := x.File.Stat()
	if err != nil && x.log {
		x.f.failed(err)
		return vfs.NewMemFile(nil).Stat()
	}
	return info, err
}

// sync carries out a sync, unless it is one of a log that need not reach the disk.
func (x *fencedFile) sync(do func() error) error {
	if !x.log {
		return x.change(do)
	}
	if x.f.flushing.Load() == 0 {
		x.unsynced.Store(true)
		return nil
	}
	return x.change(func() error { return x.timed(do) })
}

func (x *fencedFile) timed(do func() error) error {
	start := time.Now()
	err := do()
	if err == nil {
		x.unsynced.Store(false)
		x.f.c.fsync(time.Since(start))
	}
	return err
}

func (x *fencedFile) Sync() error { return x.sync(x.File.Sync) }

func (x *fencedFile) SyncData() error { return x.sync(x.File.SyncData) }

func (x *fencedFile) SyncTo(n int64) (full bool, err error) {
	err = x.change(func() (err error) { full, err = x.File.SyncTo(n); return err })
	return full, err
}

// Close syncs what was left out: the next log must not be more durable than this
// one, or a power loss would tear a hole that Pebble takes for damage.
func (x *fencedFile) Close() error {
	var err error
	if x.unsynced.Load() {
		err = x.change(func() error { return x.timed(x.File.SyncData) })
	}
	err = errors.Join(err, x.File.Close())
	if err != nil && (x.log || x.dir) {
		x.f.failed(err)
		return nil
	}
	return err
}

// counters are shared by all instances of one store.
type counters struct {
	uncommitted, uncommittedBytes, notDurable atomic.Int64
	commits, failed, groups, changes          atomic.Uint64
	fsyncs, logBytes, bytesWritten, payload   atomic.Uint64
	damaged, lost                             atomic.Uint64
	fsyncNanos, fsyncMax                      atomic.Int64
}

func (c *counters) fsync(d time.Duration) {
	c.fsyncs.Add(1)
	c.fsyncNanos.Add(int64(d))
	for {
		old := c.fsyncMax.Load()
		if int64(d) <= old || c.fsyncMax.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}
