// Package workers runs work that keeps a processor busy for long, such as
// password hashes, where it cannot hold up the event loops.
//
// Go looks at its network poller only when a processor is idle: beside busy
// goroutines an event waits for tens of milliseconds. So such work has threads
// of its own, at a lower priority of the operating system, and GOMAXPROCS is
// raised by their number: the loops keep as many processors as they had.
// Whoever else runs such work counts it with Reserve.
//
// All functions may be called from any goroutine but a loop's: Do waits.
package workers

import (
	"context"
	"errors"
	"runtime"
	"sync"
)

var (
	mu       sync.Mutex
	base     int // processors for everything that is not counted
	reserved int
)

// Processors is how many processors there are for the loops: GOMAXPROCS without
// what is reserved.
func Processors() int {
	mu.Lock()
	defer mu.Unlock()
	if base == 0 {
		return runtime.GOMAXPROCS(0)
	}
	return base
}

// Reserve counts n goroutines that keep a processor busy; release takes them out
// of the count again and may be called once.
func Reserve(n int) (release func()) {
	add(n)
	return func() { add(-n) }
}

func add(n int) {
	mu.Lock()
	defer mu.Unlock()
	if reserved == 0 {
		base = runtime.GOMAXPROCS(0)
	}
	reserved += n
	runtime.GOMAXPROCS(base + reserved)
	if reserved == 0 {
		base = 0
	}
}

// ErrClosed says that the pool has ended.
var ErrClosed = errors.New("workers: closed")

// Pool is a set of threads of low priority.
type Pool struct {
	jobs    chan *job
	stop    chan struct{}
	release func()
	once    sync.Once
	wg      sync.WaitGroup
}

type job struct {
	f    func()
	done chan any // what f panicked with, nil
}

// New starts n threads, at least one; Close ends them.
func New(n int) *Pool {
	n = max(n, 1)
	p := &Pool{jobs: make(chan *job), stop: make(chan struct{}), release: Reserve(n)}
	p.wg.Add(n)
	for range n {
		go p.run()
	}
	return p
}

func (p *Pool) run() {
	defer p.wg.Done()
	// Never unlocked: the thread has another priority and ends with the goroutine.
	runtime.LockOSThread()
	lowerPriority()
	for {
		select {
		case j := <-p.jobs:
			j.run()
		case <-p.stop:
			return
		}
	}
}

func (j *job) run() {
	defer func() { j.done <- recover() }()
	j.f()
}

// Do runs f on a thread of the pool and waits for it; a panic of f comes out of
// Do. When ctx ends before a thread is free f is not run at all; once it runs it
// is waited for, since nothing can take it back.
func (p *Pool) Do(ctx context.Context, f func()) error {
	j := &job{f: f, done: make(chan any, 1)}
	select {
	case p.jobs <- j:
	case <-p.stop:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	if r := <-j.done; r != nil {
		panic(r)
	}
	return nil
}

// Close waits for what runs and ends the threads; what waits gets ErrClosed.
func (p *Pool) Close() {
	p.once.Do(func() {
		close(p.stop)
		p.wg.Wait()
		p.release()
	})
}
