// Package pebblestore keeps sessions, queues and retained messages on disk.
package pebblestore

import (
	"errors"
	"fmt"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
)

// Errors that callers decide on.
var (
	// ErrUnavailable is wrapped by the error of commits that the disk did not take
	// within Options.Patience; they are not in force, and the engine recovers by
	// itself.
	ErrUnavailable = errors.New("store: disk unavailable")
	// ErrBusy is the error of commits above Options.MaxUncommitted.
	ErrBusy = errors.New("store: too much waits to be committed")
)

// SchemaError refuses a store that a newer version wrote.
type SchemaError struct{ Found, Supported uint32 }

func (e *SchemaError) Error() string {
	return fmt.Sprintf("the store has schema %d, this version knows up to %d: a newer midge wrote it", e.Found, e.Supported)
}

// Store is the engine.
type Store struct{}

var _ store.Store = (*Store)(nil)

// Open opens the store in dir, which is created when it is not there. A store
// that a newer version wrote is refused with a *SchemaError.
func Open(dir string, o Options) (*Store, error) { return nil, fmt.Errorf("open store %s: no engine", dir) }

// Immediate reports false.
func (s *Store) Immediate() bool { return false }

// Commit submits a batch.
func (s *Store) Commit(b *store.Batch, level store.Level, done func(error)) { go done(store.ErrClosed) }

// ReadQueue reads a queue.
func (s *Store) ReadQueue(key record.SessionKey, from uint64, max int, done func([]record.Queued, error)) {
	go done(nil, store.ErrClosed)
}

// LoadSessions calls f for each session.
func (s *Store) LoadSessions(f func(*store.Saved) error) error { return store.ErrClosed }

// LoadRetained calls f for each retained message.
func (s *Store) LoadRetained(f func(*record.Message) error) error { return store.ErrClosed }

// Close ends the engine.
func (s *Store) Close() error { return nil }

// Stats gives counts. Any goroutine.
func (s *Store) Stats() Stats { return Stats{} }
