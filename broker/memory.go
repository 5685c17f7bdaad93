package broker

import (
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// memoryCheck is how often memory_limit is compared with what is in use.
	memoryCheck = time.Second
	// memoryEase is how much of the limit, in hundredths, must be free for the
	// restrictions to end, so that they do not come and go.
	memoryEase = 5
)

// memoryWatch keeps memory_limit. Its goroutine runs from the first time that
// there is a limit to the end of the broker.
type memoryWatch struct {
	limit atomic.Int64
	once  sync.Once
}

// watchMemory puts a limit in bytes in force; 0: none.
func (b *Broker) watchMemory(limit int) {
	b.memory.limit.Store(int64(limit))
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
// when the heap is above the limit it is collected before the verdict.
func (b *Broker) judgeMemory() {
	limit := b.memory.limit.Load()
	if limit == 0 {
		b.hub.SetScarce(false)
		return
	}
	const objects, live = "/memory/classes/heap/objects:bytes", "/gc/heap/live:bytes"
	was := b.hub.Scarce()
	if was {
		limit -= limit * memoryEase / 100
	}
	above := heapBytes(objects) > limit
	if above {
		runtime.GC()
		above = heapBytes(live) > limit
	}
	b.hub.SetScarce(above)
	switch {
	case above && !was:
		b.log.Warning("Warning: memory_limit is reached: clients without a session are refused, and nothing more is queued.")
	case was && !above:
		b.log.Notice("There is memory again below memory_limit.")
	}
}

func heapBytes(name string) int64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}
