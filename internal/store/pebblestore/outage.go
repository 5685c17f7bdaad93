package pebblestore

import (
	"errors"
	"fmt"
	"time"
)

const (
	retryFirst = 50 * time.Millisecond
	retryMax   = 2 * time.Second
)

// flushFails notes that tables cannot be written. Commits go on as long as there
// is room in memory, but Failing says what is coming.
func (s *Store) flushFails(err error) {
	why := fmt.Errorf("%w: %w", ErrUnavailable, err)
	if s.failing.CompareAndSwap(nil, &why) {
		s.flushing.Store(&why)
		s.tell(Event{Kind: Unavailable, Err: err})
	}
}

// flushWorks takes that back.
func (s *Store) flushWorks() {
	if why := s.flushing.Swap(nil); why != nil && s.failing.CompareAndSwap(why, nil) {
		s.tell(Event{Kind: Available})
	}
}

// outage replaces an instance that failed. It returns when a new one works, or
// false when the store is being closed.
//
// The groups in doubt may be in the log or not. Before anything is said about
// them, and before the directory is opened again, they are cut from it; then they
// are tried again while patience lasts, and fail after it.
func (c *committer) outage() bool {
	s, old := c.s, c.in
	cause := old.failed()
	why := fmt.Errorf("%w: %w", ErrUnavailable, cause)
	told := s.failing.Swap(&why) != nil // by a flush that failed
	s.readMu.Lock()
	s.in = nil
	s.readMu.Unlock()
	c.drain()
	go old.shut()
	if !told {
		s.tell(Event{Kind: Unavailable, Err: cause})
	}
	began := time.Now()
	cut := false
	for delay := retryFirst; ; delay = min(2*delay, retryMax) {
		if !cut {
			err := s.cutLogs(s.confirmed.Load())
			if cut = err == nil; !cut {
				cause = err
			}
		}
		if cut {
			if err := c.reopen(); err == nil {
				break
			} else {
				cause = err
			}
		}
		if cut && time.Since(began) > s.o.Patience {
			c.failWaiting(cause)
		}
		if !c.pause(delay) {
			return false
		}
	}
	c.requeue()
	s.readMu.Lock()
	s.in = c.in
	s.readMu.Unlock()
	s.readCond.Broadcast()
	s.failing.Store(nil)
	s.tell(Event{Kind: Available})
	return true
}

// pause waits before the next attempt; false: the store is being closed.
func (c *committer) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			return !c.closing()
		case <-c.s.wake:
			if c.closing() {
				return false
			}
		}
	}
}

func (c *committer) closing() bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.s.closing
}

func (c *committer) reopen() error {
	in, err := c.s.openInstance()
	if err != nil {
		return err
	}
	old, number := c.in, c.s.confirmed.Load()
	c.in = in
	if err := c.begin(false); err != nil {
		c.in = old
		return errors.Join(err, in.end())
	}
	if c.number < number {
		n := number - c.number
		c.s.count.lost.Add(n)
		c.s.tell(Event{Kind: Lost, N: n, Err: fmt.Errorf("%d writes that were confirmed but not yet on stable storage", n)})
	}
	c.number = max(c.number, number) // numbers are not used again
	go in.watch(c.replace)
	return nil
}

// failWaiting fails the groups in doubt, which are not in the log any more, and
// what waits behind them.
func (c *committer) failWaiting(cause error) {
	s := c.s
	err := fmt.Errorf("%w: %w", ErrUnavailable, cause)
	s.mu.Lock()
	doubt, rest := s.doubt, s.queue
	s.doubt, s.queue, s.urgent = nil, nil, false
	s.mu.Unlock()
	for _, g := range doubt {
		s.failAll(g.reqs, err)
	}
	s.failAll(rest, err)
}

// requeue puts what was in doubt before what waits.
func (c *committer) requeue() {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []request
	for _, g := range s.doubt {
		all = append(all, g.reqs...)
	}
	s.doubt = nil
	s.queue = append(all, s.queue...)
	s.urgent = len(s.queue) > 0
}
