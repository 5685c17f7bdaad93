package broker

import (
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// memoryCheck is how often memory_limit is compared with what is in use. A busy
	// broker can take some 100 MB a second.
	memoryCheck = 100 * time.Millisecond
	// memoryEvery is how long a verdict holds for which garbage had to be collected,
	// and at least memoryShare times what that took.
	memoryEvery = time.Second
	memoryShare = 10
	// memoryEase is how much of the limit, in hundredths, must be free for the
	// restrictions to end, so that they do not come and go.
	memoryEase = 5
)

// memoryWatch keeps memory_limit. Its goroutine runs from the first time that
// there is a limit to the end of the broker.
type memoryWatch struct {
	limit atomic.Int64
	once  sync.Once

	mu   sync.Mutex
	next time.Time // before that nothing is collected
}

// watchMemory puts a limit in bytes in force; 0: none.
func (b *Broker) watchMemory(limit int) {
	b.memory.limit.Store(int64(limit))
	b.memory.mu.Lock()
	b.memory.next = time.Time{}
	b.memory.mu.Unlock()
	if limit == 0 {
		b.hub.SetScarce(false)
		return
	}
	b.judgeMemory()
	b.memory.once.Do(func() {
		b.wg.Add(1)
		go func() {
			defer b.wg.Done()
			t := time.NewTicker(memoryCheck)
			defer t.Stop()
			for {
				select {
				case <-b.done.Done():
					return
				case <-t.C:
					b.judgeMemory()
				}
			}
		}()
	})
}

// judgeMemory compares what is in use with the limit. Garbage does not count:
// when the heap is above the limit it is collected before the verdict. Where that
// was done a moment ago the verdict stands, unless the heap is above one and a
// half times the limit: with GOGC at 100 it gets there only when more than three
// quarters of the limit are live.
func (b *Broker) judgeMemory() {
	const objects, live = "/memory/classes/heap/objects:bytes", "/gc/heap/live:bytes"
	w := &b.memory
	w.mu.Lock()
	defer w.mu.Unlock()
	limit := w.limit.Load()
	if limit == 0 {
		b.hub.SetScarce(false)
		return
	}
	was := b.hub.Scarce()
	if was {
		limit -= limit * memoryEase / 100
	}
	heap, now := heapBytes(objects), time.Now()
	above := heap > limit
	switch {
	case above && now.Before(w.next):
		above = was || heap > limit+limit/2
	case above:
		runtime.GC()
		above = heapBytes(live) > limit
		w.next = now.Add(max(memoryEvery, memoryShare*time.Since(now)))
	}
	b.hub.SetScarce(above)
	switch {
	case above && !was:
		b.log.Warning("Warning: memory_limit is reached: clients without a session and new subscriptions are refused, and nothing more is queued or retained.")
	case was && !above:
		b.log.Notice("There is memory again below memory_limit.")
	}
}

func heapBytes(name string) int64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}
