package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/midgemq/midge/internal/cli/reach"
)

// run is one scenario under way.
type run struct {
	o          *options
	ctx        context.Context
	id         uint32
	publishers []*publisher
	receivers  []*receiver
	recorders  []*recorder
	wires      []*wire

	published, delivered, acked    atomic.Uint64
	refused, redelivered, foreign  atomic.Uint64
	stalls, lostConns              atomic.Uint64
	measuring, stopping, finishing atomic.Bool
	writers, readers               sync.WaitGroup

	mu    sync.Mutex
	notes []string // what went wrong, each once

	connect  *hdrhistogram.Histogram // microseconds
	rates    []rate
	begin    snapshot
	end      snapshot
	progress *progress
	extra    map[string]float64
}

// recorder takes latencies of some subscribers.
type recorder struct {
	mu   sync.Mutex
	hist *hdrhistogram.Histogram // microseconds
}

const maxLatency = 600_000_000 // microseconds: what takes longer counts as this

func newHist() *hdrhistogram.Histogram { return hdrhistogram.New(1, maxLatency, 3) }

func (r *recorder) add(values []int64, measuring bool) {
	if !measuring {
		return
	}
	r.mu.Lock()
	for _, v := range values {
		r.hist.RecordValue(min(max(v, 0), maxLatency))
	}
	r.mu.Unlock()
}

func newRun(ctx context.Context, o *options, p *progress) *run {
	r := &run{o: o, ctx: ctx, id: rand.Uint32(), connect: newHist(), progress: p, extra: map[string]float64{}}
	for range runtime.GOMAXPROCS(0) {
		r.recorders = append(r.recorders, &recorder{hist: newHist()})
	}
	return r
}

// note keeps a thing that went wrong for the report.
func (r *run) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.notes) < 20 && !slices.Contains(r.notes, text) {
		r.notes = append(r.notes, text)
	}
}

func (r *run) lostConnection(err error) {
	if r.finishing.Load() {
		return
	}
	if r.lostConns.Add(1) <= 3 {
		r.note("connection lost: %s", dropped(err))
	}
}

// snapshot is where the counters stood.
type snapshot struct {
	at                   time.Time
	published, delivered uint64
	own                  time.Duration // CPU of this process
	broker               process
}

func (r *run) snapshot() snapshot {
	return snapshot{time.Now(), r.published.Load(), r.delivered.Load(), reach.CPU(), readProcess(r.o.pid)}
}

// rate is one second of the run.
type rate struct {
	Published float64 `json:"published_per_s"`
	Delivered float64 `json:"delivered_per_s"`
}

// measure lets the load run for the warm-up and the duration, and samples it.
func (r *run) measure() {
	r.sleep(r.o.warmup, nil)
	r.begin = r.snapshot()
	r.measuring.Store(true)
	last := r.begin
	r.progress.start("run", int64(r.o.duration/time.Millisecond))
	r.sleep(r.o.duration, func() {
		now := r.snapshot()
		d := now.at.Sub(last.at).Seconds()
		if d < 0.5 {
			return
		}
		v := rate{float64(now.published-last.published) / d, float64(now.delivered-last.delivered) / d}
		r.rates = append(r.rates, v)
		r.progress.step(now.at.Sub(r.begin.at).Milliseconds(), v)
		last = now
	})
	r.measuring.Store(false)
	r.end = r.snapshot()
	r.progress.stop()
}

// sleep waits, calls each once a second, and ends early with the context or when all publishers have reached their limit.
func (r *run) sleep(d time.Duration, each func()) {
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	done := make(chan struct{})
	if r.o.messages > 0 && each != nil {
		go func() { r.writers.Wait(); close(done) }()
	}
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-end.C:
			return
		case <-done:
			r.drain()
			return
		case <-tick.C:
			if each != nil {
				each()
			}
		}
	}
}

// start lets publishers and subscribers go.
func (r *run) start() {
	r.readers.Add(len(r.receivers) + len(r.publishers))
	for _, s := range r.receivers {
		go s.read(r.finishing.Load)
	}
	r.startPublishers()
}

// startPublishers lets the publishers go; whoever calls has counted their readers.
func (r *run) startPublishers() {
	now := time.Now()
	r.writers.Add(len(r.publishers))
	for _, p := range r.publishers {
		p.first = now
		go p.read()
		go p.write()
	}
}

// drain waits for what is under way: until all has come or nothing came for a second.
func (r *run) drain() {
	last, since := r.delivered.Load(), time.Now()
	for r.ctx.Err() == nil {
		want := uint64(0)
		for _, p := range r.publishers {
			if !p.fence {
				want += p.sent.Load() * p.fan
			}
		}
		now := r.delivered.Load()
		if now >= want || time.Since(since) > stalled {
			return
		}
		if now != last {
			last, since = now, time.Now()
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// finish stops the load, waits for what is under way and closes the connections.
func (r *run) finish() {
	r.stopping.Store(true)
	for _, p := range r.publishers {
		p.rouse()
	}
	r.writers.Wait()
	r.drain()
	r.finishing.Store(true)
	for _, c := range r.wires {
		c.goodbye()
	}
	r.readers.Wait()
}
