package pebblestore

import (
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/midgemq/midge/internal/record"
)

// Options are what an engine may be told. The zero value of each field asks for
// the default, which is meant for machines as small as a Raspberry Pi.
type Options struct {
	// FS is where the files are; nil: the operating system's.
	FS vfs.FS
	// Clock gives the broker's own time line and the wall clock at one moment;
	// nil: a time line that begins with Open. Any goroutine. See docs/formats/store.md,
	// "Time": instants survive a restart as remaining times.
	Clock func() (now record.Instant, wall time.Time)
	// Interval is how often what was committed at store.Interval is put on stable
	// storage; 0: one second.
	Interval time.Duration
	// Patience is how long commits wait for a disk that fails or is full before
	// they complete with an error wrapping ErrUnavailable; then they are not in
	// force. 0: as long as it takes, so that none ever fails; below zero: not at
	// all. What may have reached the log waits until it has been cut from it,
	// however long, since nothing true could be said of it before.
	Patience time.Duration
	// MaxUncommitted is how many bytes of batches may wait; above it Commit fails
	// with ErrBusy. 0: 256 MiB.
	MaxUncommitted int64
	// CacheBytes is the size of the block cache; 0: 32 MiB.
	CacheBytes int64
	// MemTableBytes is how much is gathered in memory before it is written to a
	// table; up to four of them exist. 0: 16 MiB.
	MemTableBytes int
	// Check, when not nil, looks at the directory after it has been locked and
	// before the engine opens it, at the first opening only. An error ends Open
	// and comes back wrapped. It may change the files.
	Check func(fs vfs.FS, dir string) error
	// Event is told what an operator should hear of. Any goroutine; it must not
	// block and must not call the engine.
	Event func(Event)

	// tick replaces tickEvery in tests.
	tick time.Duration
}

// EventKind says what happened.
type EventKind uint8

// Kinds of events.
const (
	// Unavailable: commits fail or wait, Err says why. Said once per outage.
	Unavailable EventKind = iota + 1
	// Available: the engine works again after an outage.
	Available
	// Damaged: a file or a record does not check; Err says which. What it held is
	// left out.
	Damaged
	// Lost: after an outage N groups of batches that had completed at a level
	// below store.Flush were not there any more.
	Lost
	// Background: a flush or compaction failed and is tried again.
	Background
	// Slow: writing to a file took long; Err names it.
	Slow
)

// Event is something an operator should hear of.
type Event struct {
	Err  error
	N    uint64
	Kind EventKind
}

// Stats are counts and sums since Open, or the present state where they say so.
type Stats struct {
	// Uncommitted and UncommittedBytes are batches that have not completed now.
	Uncommitted      int64
	UncommittedBytes int64
	// NotDurable counts batches that have completed and are not on stable storage
	// now. It stays 0 while all commits are at store.Flush.
	NotDurable int64
	// Commits counts batches that completed without error, Failed the others.
	Commits, Failed uint64
	// Groups counts atomic writes, each of one or more batches; Changes counts the
	// changes in them.
	Groups, Changes uint64
	// Fsyncs counts calls that put the log on stable storage, FsyncTime sums how
	// long they took and FsyncMax is the longest.
	Fsyncs              uint64
	FsyncTime, FsyncMax time.Duration
	// LogBytes were written to logs, BytesWritten to all files, logs included.
	LogBytes, BytesWritten uint64
	// Payload sums the payload bytes of messages that were queued or retained, so
	// that BytesWritten / Payload is the write amplification.
	Payload uint64
	// DiskBytes is what the files take now.
	DiskBytes uint64
	// Damaged counts records that did not check and were left out.
	Damaged uint64
	// LostGroups counts groups that Event Lost was about.
	LostGroups uint64
	// Available is false during an outage.
	Available bool
}
