package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	pebblelog "github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"

	"github.com/midgemq/midge/internal/record"
)

// Of Pebble's log format (LevelDB's with a log number in each chunk).
const (
	logBlock      = 32 << 10
	logHeader     = 11
	logChunkWhole = 5 // kind of a recyclable chunk that is a whole record
)

// cutLogs ends the logs before the first group after number, so that a group
// that was not confirmed is not found at the next opening. No instance is open.
func (s *Store) cutLogs(number uint64) error {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return fmt.Errorf("cut the log: %w", err)
	}
	var logs []wal.NumWAL
	paths := make(map[wal.NumWAL]string)
	for _, name := range names {
		if n, _, ok := wal.ParseLogFilename(name); ok {
			logs = append(logs, n)
			paths[n] = s.fs.PathJoin(s.dir, name)
		}
	}
	slices.Sort(logs)
	for i, n := range logs {
		if err := cutLog(s.fs, paths[n], n, number, i < len(logs)-1); err != nil {
			return fmt.Errorf("cut the log %s: %w", paths[n], err)
		}
	}
	return nil
}

// cutLog cuts one log. A torn end is normal in the last log only: in another one
// (a start that failed half way leaves it) it gets a proper end.
func cutLog(fs vfs.FS, path string, log wal.NumWAL, number uint64, mend bool) error {
	f, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	at, cut, err := findCut(f, log, number, mend)
	if err := errors.Join(err, f.Close()); err != nil || !cut {
		return err
	}
	return endLog(fs, path, log, at)
}

// openLog exists because the type of a log's number cannot be named here.
func openLog[N ~uint64](open func(io.Reader, N) *pebblelog.Reader, f io.Reader, n uint64) *pebblelog.Reader {
	return open(f, N(n))
}

// findCut finds where the first group after number begins.
func findCut(f io.Reader, log wal.NumWAL, number uint64, mend bool) (at int64, cut bool, err error) {
	r := openLog(pebblelog.NewReader, f, uint64(log))
	for {
		at = r.Offset()
		rec, err := r.Next()
		var data []byte
		if err == nil {
			data, err = io.ReadAll(rec)
		}
		switch {
		case errors.Is(err, io.EOF):
			return 0, false, nil
		case err != nil && pebblelog.IsInvalidRecord(err), errors.Is(err, io.ErrUnexpectedEOF):
			return at, mend, nil
		case err != nil:
			return 0, false, err
		}
		if n, ok := groupNumber(data); ok && n > number {
			return at, true, nil
		}
	}
}

// groupNumber gives the number in the commit record of a batch as it stands in
// the log.
func groupNumber(data []byte) (n uint64, ok bool) {
	if len(data) < batchrepr.HeaderLen {
		return 0, false
	}
	for r := batchrepr.Read(data); ; {
		kind, key, value, more, err := r.Next()
		if err != nil || !more {
			return 0, false
		}
		if kind == pebble.InternalKeyKindSet && string(key) == string(keyCommit) {
			var v record.Commit
			body, err := record.Unseal(record.FormCommit, key, value)
			if err != nil || record.ParseCommit(body, &v) != nil {
				return 0, false
			}
			return v.Number, true
		}
	}
}

// endLog writes an end mark: a chunk that bears the number of the next log.
func endLog(fs vfs.FS, path string, log wal.NumWAL, at int64) (err error) {
	if left := logBlock - at%logBlock; left < logHeader {
		at += left
	}
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var mark [logHeader]byte
	mark[6] = logChunkWhole
	binary.LittleEndian.PutUint32(mark[7:], uint32(log)+1)
	if _, err := f.WriteAt(mark[:], at); err != nil {
		return err
	}
	return f.Sync()
}
