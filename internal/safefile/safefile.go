// Package safefile opens and replaces files that decide about security:
// password and ACL files, and what is kept beside them.
//
// It never follows a symbolic link in the last part of a path, so that nobody
// who may write to the directory can have another file read or written, and
// takes regular files only. Its functions may be called from any goroutine.
package safefile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// MaxSize is the largest file that Read takes, in bytes: a device or a log file
// given by mistake ends in an error, not in the end of memory.
const MaxSize = 64 << 20

// ErrNotRegular says that the path names a symbolic link, a directory, a device
// or the like.
var ErrNotRegular = errors.New("not a regular file")

// ErrTooLarge says that the file is above MaxSize.
var ErrTooLarge = fmt.Errorf("larger than %d bytes", MaxSize)

// Read reads a sensitive file. warnings are what is wrong with its owner and
// mode, one line each, as Mosquitto words them.
func Read(path string) (data []byte, warnings []string, err error) {
	f, err := open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, nil, &os.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	data, err = io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, nil, err
	}
	if len(data) > MaxSize {
		return nil, nil, &os.PathError{Op: "read", Path: path, Err: ErrTooLarge}
	}
	return data, check(path, st), nil
}

// Create makes a new file of mode 0600 and fails when there is one.
func Create(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return finish(f, data)
}

// finish writes, makes durable and closes; what failed is removed.
func finish(f *os.File, data []byte) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// Replace puts new content in the place of an existing regular file at one
// stroke: who reads it sees the old or the new one whole, also after a crash.
// Mode and, where the system allows it, owner stay.
func Replace(path string, data []byte) error {
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return &os.PathError{Op: "replace", Path: path, Err: ErrNotRegular}
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".new.*") // mode 0600
	if err != nil {
		return err
	}
	if err := keepOwner(f, st); err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
		return err
	}
	if err := finish(f, data); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return SyncDir(dir)
}

// Cause is what an error of this package says behind operation and path, for
// messages that name the path themselves.
func Cause(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}
