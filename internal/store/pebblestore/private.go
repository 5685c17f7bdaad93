package pebblestore

import (
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Files is the operating system's file system, with files that only their owner
// may read and write: Pebble leaves that to the umask. Any goroutine.
var Files vfs.FS = private{vfs.Default}

type private struct{ vfs.FS }

// closed takes a file that has just been opened from everybody else. A file system without modes refuses; there the directory's
// owner is all the protection there is.
func closed[F any](name string, f F, err error) (F, error) {
	if err == nil {
		_ = os.Chmod(name, 0o600)
	}
	return f, err
}

func (p private) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := p.FS.Create(name, c)
	return closed(name, f, err)
}

func (p private) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := p.FS.ReuseForWrite(oldname, newname, c)
	return closed(newname, f, err)
}

func (p private) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := p.FS.OpenReadWrite(name, c, o...)
	return closed(name, f, err)
}

func (p private) Lock(name string) (io.Closer, error) {
	l, err := p.FS.Lock(name)
	return closed(name, l, err)
}

func (p private) Unwrap() vfs.FS { return p.FS }
