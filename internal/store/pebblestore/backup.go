package pebblestore

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/midgemq/midge/internal/store"
)

// Backup writes a copy of the store to dir, which must not be there yet, while
// the engine goes on: a store of its own that holds every batch completed before
// the call and perhaps later ones, each whole. Tables are linked where the file
// system can, so dir should be on the same one. Any goroutine.
func (s *Store) Backup(dir string) (err error) {
	s.readMu.Lock()
	in := s.in
	if in != nil {
		in.readers.Add(1)
	}
	end := s.readEnd
	s.readMu.Unlock()
	switch {
	case end:
		return store.ErrClosed
	case in == nil:
		return fmt.Errorf("back up the store: %w", s.Failing())
	}
	defer in.readers.Done()
	// What is copied of the log must reach the disk, whatever the level is.
	in.fence.flushing.Add(1)
	defer in.fence.flushing.Add(-1)
	err = in.db.Checkpoint(dir, pebble.WithFlushedWAL())
	if err = errors.Join(err, in.failed()); err != nil {
		return fmt.Errorf("back up the store to %s: %w", dir, err)
	}
	return nil
}
