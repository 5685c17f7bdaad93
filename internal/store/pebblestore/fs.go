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

// errFenced is what an engine that was given up gets for each attempt to change
// a file.
var errFenced = errors.New("this instance of the engine was given up")

// fence stands between one instance of Pebble and the files. Once it is closed
// that instance changes nothing any more, whatever its goroutines still do, so
// that a new instance can be opened on the same directory. It also decides
// whether a sync of a log reaches the disk, and counts.
type fence struct {
	vfs.FS
	c *counters
	// flushing counts groups under way that want stable storage: while it is 0 a
	// sync of a log only has to hand the bytes to the operating system.
	flushing atomic.Int64

	mu   sync.RWMutex // held for reading during each change of a file
	down bool
}

// enter begins a change; the caller calls f.mu.RUnlock after it.
func (f *fence) enter() error {
	f.mu.RLock()
	if f.down {
		f.mu.RUnlock()
		return errFenced
	}
	return nil
}

// close waits for changes under way and refuses all later ones.
func (f *fence) close() {
	f.mu.Lock()
	f.down = true
	f.mu.Unlock()
}

func (f *fence) wrap(name string, file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &fencedFile{File: file, f: f, log: strings.HasSuffix(name, ".log")}, nil
}

func (f *fence) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.enter(); err != nil {
		return nil, err
	}
	defer f.mu.RUnlock()
	file, err := f.FS.Create(name, c)
	return f.wrap(name, file, err)
}

func (f *fence) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.enter(); err != nil {
		return nil, err
	}
	defer f.mu.RUnlock()
	file, err := f.FS.ReuseForWrite(oldname, newname, c)
	return f.wrap(newname, file, err)
}

func (f *fence) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	if err := f.enter(); err != nil {
		return nil, err
	}
	defer f.mu.RUnlock()
	file, err := f.FS.OpenReadWrite(name, c, o...)
	return f.wrap(name, file, err)
}

// OpenDir gives a file whose Sync must not come after the end either.
func (f *fence) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	return f.wrap("", file, err)
}

func (f *fence) change(do func() error) error {
	if err := f.enter(); err != nil {
		return err
	}
	defer f.mu.RUnlock()
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
	// unsynced is set when a sync was left out. Only a log's own goroutine writes
	// and closes it, but Pebble promises nothing of the kind.
	unsynced atomic.Bool
}

func (x *fencedFile) Write(p []byte) (int, error) {
	if err := x.f.enter(); err != nil {
		return 0, err
	}
	defer x.f.mu.RUnlock()
	n, err := x.File.Write(p)
	x.f.c.bytesWritten.Add(uint64(n))
	if x.log {
		x.f.c.logBytes.Add(uint64(n))
	}
	return n, err
}

func (x *fencedFile) WriteAt(p []byte, off int64) (int, error) {
	if err := x.f.enter(); err != nil {
		return 0, err
	}
	defer x.f.mu.RUnlock()
	n, err := x.File.WriteAt(p, off)
	x.f.c.bytesWritten.Add(uint64(n))
	return n, err
}

func (x *fencedFile) Preallocate(off, n int64) error {
	return x.f.change(func() error { return x.File.Preallocate(off, n) })
}

// skip reports that this sync of a log need not reach the disk.
func (x *fencedFile) skip() bool {
	if !x.log || x.f.flushing.Load() > 0 {
		return false
	}
	x.unsynced.Store(true)
	return true
}

func (x *fencedFile) timed(sync func() error) error {
	if err := x.f.enter(); err != nil {
		return err
	}
	defer x.f.mu.RUnlock()
	if !x.log {
		return sync()
	}
	start := time.Now()
	err := sync()
	if err == nil {
		x.unsynced.Store(false)
		x.f.c.fsync(time.Since(start))
	}
	return err
}

func (x *fencedFile) Sync() error {
	if x.skip() {
		return x.f.change(func() error { return nil })
	}
	return x.timed(x.File.Sync)
}

func (x *fencedFile) SyncData() error {
	if x.skip() {
		return x.f.change(func() error { return nil })
	}
	return x.timed(x.File.SyncData)
}

func (x *fencedFile) SyncTo(n int64) (full bool, err error) {
	err = x.f.change(func() error {
		full, err = x.File.SyncTo(n)
		return err
	})
	return full, err
}

// Close syncs what was left out: the next log must not be more durable than this
// one, or a power loss would tear a hole that Pebble takes for damage.
func (x *fencedFile) Close() error {
	var err error
	if x.unsynced.Load() {
		err = x.timed(x.File.SyncData)
	}
	return errors.Join(err, x.File.Close())
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
