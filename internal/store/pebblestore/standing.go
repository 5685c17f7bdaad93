package pebblestore

import (
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
)

// Standing is a store as it was at one moment, while the broker goes on. It is
// valid inside the call of Stand only, for one goroutine.
type Standing struct{ v *view }

// Stand has f read the store as it is now. Any goroutine. During an outage it
// waits.
func (s *Store) Stand(f func(*Standing) error) error {
	return s.walk(func(v *view) error { return f(&Standing{v}) })
}

// ReadQueue is that of store.Store; done runs inside the call.
func (s *Standing) ReadQueue(key record.SessionKey, from uint64, max int, done func([]record.Queued, error)) {
	done(s.v.waiting(key, from, max))
}

// LoadSessions is that of store.Store.
func (s *Standing) LoadSessions(f func(*store.Saved) error) error { return s.v.sessions(f) }

// LoadRetained is that of store.Store.
func (s *Standing) LoadRetained(f func(*record.Message) error) error { return s.v.retained(f) }
