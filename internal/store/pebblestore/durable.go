package pebblestore

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// durableName is the file that says up to which group everything has been put on
// stable storage. A log that was cut short, emptied or deleted afterwards looks
// like one that an interrupted write ended; this tells them apart. It is never
// synced itself: it is written after the log, so whatever of it survives is true.
const (
	durableName = "durable"
	durableSize = 12 // the number, little endian, and the CRC-32C of it
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mark keeps that file. The goroutine that confirms groups alone uses it.
type mark struct {
	file vfs.File // nil: it cannot be written, which is no reason to stop
	last uint64
}

// openMark opens the file where it is, or makes it.
func openMark(fs vfs.FS, dir string) *mark {
	f, err := fs.OpenReadWrite(fs.PathJoin(dir, durableName), vfs.WriteCategoryUnspecified)
	if err != nil {
		return &mark{}
	}
	return &mark{file: f}
}

// set notes that a group, and all before it, are on stable storage.
func (m *mark) set(group uint64) {
	if m.file == nil || group <= m.last {
		return
	}
	var b [durableSize]byte
	binary.LittleEndian.PutUint64(b[:], group)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[:8], castagnoli))
	if _, err := m.file.WriteAt(b[:], 0); err != nil {
		_ = m.file.Close()
		m.file = nil
		return
	}
	m.last = group
}

func (m *mark) close() error {
	if m.file == nil {
		return nil
	}
	return m.file.Close()
}

// Durable reads from the store in dir up to which group everything was put on
// stable storage; 0: that is not known, as in a store that an earlier version
// wrote, or one in which the file does not check. fs nil is the operating
// system's. Any goroutine.
func Durable(fs vfs.FS, dir string) (group uint64, err error) {
	if fs == nil {
		fs = Files
	}
	f, err := fs.Open(fs.PathJoin(dir, durableName))
	if err != nil {
		return 0, err
	}
	var b [durableSize]byte
	_, err = io.ReadFull(f, b[:])
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	if binary.LittleEndian.Uint32(b[8:]) != crc32.Checksum(b[:8], castagnoli) {
		return 0, errors.New("does not check")
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}
