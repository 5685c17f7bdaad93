// Package pebblestore keeps sessions, queues and retained messages on disk, in
// Pebble, behind the contract of package store. docs/formats/store.md describes
// the bytes.
//
// Commit and ReadQueue may be called from any goroutine and only leave work
// behind. One goroutine, the committer, gathers what all loops submitted since it
// last looked, writes it as one atomic batch and goes on to the next while
// another, the finisher, waits for the disk and runs the completions in order.
// Two readers serve ReadQueue. The committer alone knows the state of the
// sessions; it is made from the store and never the other way round, so after an
// error it is thrown away and read again.
//
// An error of the disk never ends the process. Pebble does not survive one in
// its log or manifest: the instance is fenced off the files and given up, what
// it may have written of unconfirmed groups is cut from the log, and a new one is
// opened as soon as the disk works. The engine never reads the clock for what it
// stores but through Options.Clock.
package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
)

// Schema is the version of the layout that this engine writes and the highest
// that it reads.
const Schema = 1

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

// maxGap is the longest time between the last sign of life and the start that
// counts against remaining times: a longer one may as well be a wall clock that
// jumped.
const maxGap = time.Minute

// closePatience is how long Close waits for a disk that fails.
const closePatience = 2 * time.Second

// lazyFor is how long a lazy batch waits for others to be written with.
const lazyFor = 5 * time.Millisecond

// Store is the engine.
type Store struct {
	// immutable after Open
	dir   string
	o     Options
	fs    vfs.FS
	cache *pebble.Cache
	lock  io.Closer
	clock func() (record.Instant, time.Time)
	shift record.Shift

	count     counters
	stopping  atomic.Bool           // long walks end
	failing   atomic.Pointer[error] // why commits do not complete
	flushing  atomic.Pointer[error] // the same, when it is a flush that fails
	confirmed atomic.Uint64         // number of the last group that completed
	mark      *mark                 // of the last that is on stable storage
	reclaimed uint64                // groups at the last Reclaim
	wake      chan struct{}
	finish    chan *group
	behind    atomic.Int64  // groups with the finisher
	ended     chan struct{} // the committer is through
	readersWG sync.WaitGroup

	mu sync.Mutex
	// queue holds what waits for the committer.
	queue []request
	// urgent: something of the queue does not wait for company; lazily: the timer
	// for the rest runs.
	urgent  bool
	lazily  bool
	tasks   []task
	doubt   []*group // groups whose fate is open, ascending
	closing bool
	closed  bool // the committer takes nothing any more

	readMu   sync.Mutex
	readCond *sync.Cond
	reads    []readRequest
	in       *instance // nil during an outage and after the end
	readEnd  bool
}

type readRequest struct {
	done func([]record.Queued, error)
	key  record.SessionKey
	from uint64
	max  int
}

var _ store.Store = (*Store)(nil)

// Open opens the store in dir, which is created when it is not there. A store
// that a newer version wrote is refused with a *SchemaError.
func Open(dir string, o Options) (_ *Store, err error) {
	s := &Store{dir: dir, o: o.withDefaults(), wake: make(chan struct{}, 1), finish: make(chan *group, 1), ended: make(chan struct{})}
	s.fs, s.clock = s.o.FS, s.o.Clock
	s.readCond = sync.NewCond(&s.readMu)
	if s.lock, err = lockFile(s.fs, dir); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	s.cache = pebble.NewCache(s.o.CacheBytes)
	defer func() {
		if err != nil {
			s.cache.Unref()
			err = fmt.Errorf("open store %s: %w", dir, errors.Join(err, s.lock.Close()))
		}
	}()
	if s.o.Check != nil {
		if err := s.o.Check(s.fs, dir); err != nil {
			return nil, fmt.Errorf("check: %w", err)
		}
	}
	in, err := s.openInstance()
	if err != nil {
		return nil, err
	}
	c := &committer{s: s, in: in}
	if err := c.begin(true); err != nil {
		return nil, errors.Join(err, in.end())
	}
	s.in, s.mark = in, openMark(s.fs, dir)
	go in.watch(c.replace)
	go c.run()
	go s.finisher()
	for range readers {
		s.readersWG.Add(1)
		go s.reader()
	}
	return s, nil
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = Files
	}
	if o.Clock == nil {
		start := time.Now()
		o.Clock = func() (record.Instant, time.Time) {
			now := time.Now()
			return record.Instant(now.Sub(start)), now
		}
	}
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.Patience == 0 {
		o.Patience = math.MaxInt64
	}
	if o.MaxUncommitted <= 0 {
		o.MaxUncommitted = 256 << 20
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 32 << 20
	}
	if o.tick <= 0 {
		o.tick = tickEvery
	}
	if o.MemTableBytes <= 0 {
		o.MemTableBytes = 16 << 20
	}
	return o
}

func (s *Store) tell(e Event) {
	if s.o.Event != nil {
		s.o.Event(e)
	}
}

// damaged reports a record that does not check.
func (s *Store) damaged(key []byte, err error) {
	s.count.damaged.Add(1)
	s.tell(Event{Kind: Damaged, Err: fmt.Errorf("record %q: %w", key, err)})
}

func (s *Store) view(r pebble.Reader) *view {
	return &view{r: r, shift: s.shift, damaged: s.damaged}
}

// Immediate reports false: completions come from the engine's goroutines.
func (s *Store) Immediate() bool { return false }

// Failing returns why commits do not complete at present, nil when they do. Any
// goroutine; it costs one atomic load.
func (s *Store) Failing() error {
	if p := s.failing.Load(); p != nil {
		return *p
	}
	return nil
}

// Commit submits a batch. Its error is that of a change that cannot be carried
// out, store.ErrClosed, or wraps ErrUnavailable or ErrBusy.
func (s *Store) Commit(b *store.Batch, level store.Level, done func(error)) {
	r := request{ops: b.Ops, done: done, level: level, bytes: sizeOf(b.Ops)}
	s.count.uncommitted.Add(1)
	total := s.count.uncommittedBytes.Add(r.bytes)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		go s.complete(&r, store.ErrClosed)
		return
	}
	switch {
	case s.closing:
		r.err = store.ErrClosed
	case total > s.o.MaxUncommitted && total > r.bytes:
		r.err = ErrBusy
	}
	if r.err != nil {
		r.ops = nil // it takes its turn, so that completions stay in order
	}
	s.queue = append(s.queue, r)
	nudge, arm := !b.Lazy && !s.urgent, b.Lazy && !s.urgent && !s.lazily
	s.urgent = s.urgent || !b.Lazy
	s.lazily = s.lazily || arm
	s.mu.Unlock()
	if nudge {
		s.nudge()
	}
	if arm {
		time.AfterFunc(lazyFor, s.hurry)
	}
}

// hurry has the committer take what waited for company.
func (s *Store) hurry() {
	s.mu.Lock()
	s.lazily = false
	nudge := len(s.queue) > 0 && !s.urgent
	s.urgent = s.urgent || nudge
	s.mu.Unlock()
	if nudge {
		s.nudge()
	}
}

func (s *Store) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// sizeOf is about what a batch takes in memory.
func sizeOf(ops []record.Op) int64 {
	n := int64(64)
	for i := range ops {
		n += 64
		if m := ops[i].Entry.Msg; m != nil {
			n += int64(len(m.Payload) + len(m.Topic) + len(m.Props))
		}
	}
	return n
}

func (s *Store) complete(r *request, err error) {
	if r.told {
		return
	}
	r.told = true
	s.count.uncommitted.Add(-1)
	s.count.uncommittedBytes.Add(-r.bytes)
	if err == nil {
		s.count.commits.Add(1)
	} else {
		s.count.failed.Add(1)
	}
	r.done(err)
}

func (s *Store) addTask(t task) {
	if s.stopping.Load() {
		return
	}
	s.mu.Lock()
	s.tasks = append(s.tasks, t)
	s.mu.Unlock()
	s.nudge()
}

// readers is how many goroutines serve ReadQueue.
const readers = 2

// ReadQueue reads a session's queue on a goroutine of the engine. During an
// outage it waits.
func (s *Store) ReadQueue(key record.SessionKey, from uint64, max int, done func([]record.Queued, error)) {
	s.readMu.Lock()
	if s.readEnd {
		s.readMu.Unlock()
		go done(nil, store.ErrClosed)
		return
	}
	s.reads = append(s.reads, readRequest{done: done, key: key, from: from, max: max})
	s.readMu.Unlock()
	s.readCond.Signal()
}

func (s *Store) reader() {
	defer s.readersWG.Done()
	for {
		s.readMu.Lock()
		for !s.readEnd && (len(s.reads) == 0 || s.in == nil) {
			s.readCond.Wait()
		}
		if s.readEnd && (len(s.reads) == 0 || s.in == nil) {
			rest := s.reads
			s.reads = nil
			s.readMu.Unlock()
			for _, r := range rest {
				r.done(nil, store.ErrClosed)
			}
			return
		}
		r := s.reads[0]
		s.reads[0] = readRequest{}
		s.reads = s.reads[1:]
		if len(s.reads) == 0 {
			s.reads = nil
		}
		in := s.in
		in.readers.Add(1)
		s.readMu.Unlock()
		q, err := s.readOne(in, &r)
		in.readers.Done()
		r.done(q, err)
	}
}

func (s *Store) readOne(in *instance, r *readRequest) (q []record.Queued, err error) {
	snap := in.db.NewSnapshot()
	q, err = s.view(snap).waiting(r.key, r.from, r.max)
	if err = errors.Join(err, snap.Close()); err != nil {
		return nil, fmt.Errorf("read the queue of session %d: %w", r.key, err)
	}
	return q, nil
}

// walk has f read the store as it is now.
func (s *Store) walk(f func(*view) error) error {
	s.readMu.Lock()
	for !s.readEnd && s.in == nil {
		s.readCond.Wait()
	}
	if s.readEnd {
		s.readMu.Unlock()
		return store.ErrClosed
	}
	in := s.in
	in.readers.Add(1)
	s.readMu.Unlock()
	defer in.readers.Done()
	snap := in.db.NewSnapshot()
	return errors.Join(f(s.view(snap)), snap.Close())
}

// LoadSessions calls f for each session in the order of the keys. Queues are not
// read: their counts come from the cursors. f may call the store.
func (s *Store) LoadSessions(f func(*store.Saved) error) error {
	return s.walk(func(v *view) error { return v.sessions(f) })
}

// LoadRetained calls f for each retained message in the order of the topics. f
// may call the store.
func (s *Store) LoadRetained(f func(*record.Message) error) error {
	return s.walk(func(v *view) error { return v.retained(f) })
}

// Reclaim has what is in memory written to tables, in which what was deleted takes
// no room, so that logs and tables that nothing refers to any more leave the disk:
// Pebble does that by itself when enough was written, which a disk that is nearly
// full may never let happen. It returns when that is done, or when nothing was
// committed since the last call. Any one goroutine at a time.
func (s *Store) Reclaim() error {
	groups := s.count.groups.Load()
	if groups == s.reclaimed {
		return nil
	}
	in := s.hold()
	if in == nil {
		return s.Failing()
	}
	defer in.readers.Done()
	done, err := in.flush()
	if err != nil {
		return fmt.Errorf("reclaim room: %w", err)
	}
	select {
	case <-done:
		s.reclaimed = groups
	case <-in.over:
	case <-in.dead:
	}
	return nil
}

// hold keeps the instance open until its readers.Done; nil: there is none.
func (s *Store) hold() *instance {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	if s.in != nil {
		s.in.readers.Add(1)
	}
	return s.in
}

// Close writes what was submitted, puts it on stable storage and ends the
// engine. What the disk does not take is failed with store.ErrClosed. A second
// Close does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		<-s.ended
		return nil
	}
	s.closing = true
	s.mu.Unlock()
	s.stopping.Store(true)
	s.nudge()
	s.awaitEnd()
	s.readMu.Lock()
	s.readEnd = true
	in := s.in
	s.readMu.Unlock()
	s.readCond.Broadcast()
	s.readersWG.Wait()
	s.readMu.Lock()
	s.in = nil
	s.readMu.Unlock()
	var err error
	if in != nil {
		err = in.end()
	}
	s.cache.Unref()
	if err = errors.Join(err, s.mark.close(), s.lock.Close()); err != nil {
		return fmt.Errorf("close store %s: %w", s.dir, err)
	}
	return nil
}

// awaitEnd waits for the committer. While Pebble waits for a disk that fails, the
// committer waits with it: then the instance is given up.
func (s *Store) awaitEnd() {
	t := time.NewTicker(closePatience)
	defer t.Stop()
	for {
		select {
		case <-s.ended:
			return
		case <-t.C:
		}
		s.readMu.Lock()
		in := s.in
		s.readMu.Unlock()
		if why := s.Failing(); why != nil && in != nil {
			in.giveUp(why, true)
		}
	}
}

// Stats gives counts. Any goroutine.
func (s *Store) Stats() Stats {
	n := &s.count
	v := Stats{
		Uncommitted: n.uncommitted.Load(), UncommittedBytes: n.uncommittedBytes.Load(), NotDurable: n.notDurable.Load(),
		Commits: n.commits.Load(), Failed: n.failed.Load(), Groups: n.groups.Load(), Changes: n.changes.Load(),
		Fsyncs: n.fsyncs.Load(), FsyncTime: time.Duration(n.fsyncNanos.Load()), FsyncMax: time.Duration(n.fsyncMax.Load()),
		LogBytes: n.logBytes.Load(), BytesWritten: n.bytesWritten.Load(), Payload: n.payload.Load(),
		Damaged: n.damaged.Load(), LostGroups: n.lost.Load(), Available: s.failing.Load() == nil,
	}
	if in := s.hold(); in != nil {
		v.DiskBytes = in.db.Metrics().DiskSpaceUsage()
		in.readers.Done()
	}
	return v
}
