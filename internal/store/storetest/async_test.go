package storetest

import (
	"sync"
	"testing"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/memstore"
)

// async is a correct engine that works as one on disk does: Commit and ReadQueue
// only leave work behind, one goroutine does it in order.
type async struct {
	*memstore.Store
	mu   sync.Mutex
	work chan func() // nil: closed
	done chan struct{}
}

func newAsync(s *memstore.Store) *async {
	work := make(chan func(), 1000)
	a := &async{Store: s, work: work, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		for f := range work {
			f()
		}
	}()
	return a
}

func (a *async) Immediate() bool { return false }

// later reports false when the engine is closed.
func (a *async) later(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.work == nil {
		go f() // the closed store inside answers
		return
	}
	a.work <- f
}

func (a *async) Commit(b *store.Batch, level store.Level, done func(error)) {
	a.later(func() { a.Store.Commit(b, level, done) })
}

func (a *async) ReadQueue(key record.SessionKey, from uint64, max int, done func([]record.Queued, error)) {
	a.later(func() { a.Store.ReadQueue(key, from, max, done) })
}

func (a *async) Close() error {
	a.mu.Lock()
	if a.work != nil {
		close(a.work)
		a.work = nil
	}
	a.mu.Unlock()
	<-a.done
	return a.Store.Close()
}

// TestAcceptsAsync: the suite does not ask for more than the contract.
func TestAcceptsAsync(t *testing.T) {
	open := func(testing.TB) store.Store { return newAsync(memstore.New()) }
	reopen := func(_ testing.TB, old store.Store) store.Store {
		s := old.(*async).Store
		s.Reopen()
		return newAsync(s)
	}
	Run(t, open, reopen)
}
