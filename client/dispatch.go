package client

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/midgemq/midge/mqtt"
)

// dispatcher gives received messages to handlers on a bounded pool of goroutines that live while there is work. Messages on one
// topic are handled one after the other in the order they came; topics do not wait for each other, except for a free goroutine. The
// reading goroutine never runs a handler (E195).
type dispatcher struct {
	limit    int
	parallel bool
	maxCount int
	maxBytes int
	dropped  *atomic.Uint64

	mu sync.Mutex
	// Guarded by mu.
	ready    ring[*topicQueue] // with messages and without a goroutine
	loose    ring[*Message]    // of the parallel mode
	workers  int
	count    int // messages that wait or are being handled
	bytes    int
	finished uint64
	room     chan struct{}
	stalled  bool // the reader has waited in vain: QoS 0 beyond the limit is dropped
	closed   bool
}

// topicQueue holds the messages of one topic. Guarded by dispatcher.mu.
type topicQueue struct {
	messages []*Message
	active   bool // in ready, or a goroutine works on it
}

func newDispatcher(o *Options, dropped *atomic.Uint64) *dispatcher {
	return &dispatcher{limit: o.Handlers, parallel: o.Parallel, maxCount: o.MaxBacklog, maxBytes: o.MaxBacklogBytes, dropped: dropped}
}

// stallAfter is how long the reader waits for a handler to end before it goes on reading: a handler may wait for an acknowledgement
// that stands behind what is not read.
const stallAfter = time.Second

// push takes messages in the order of their arrival. It does not block.
func (d *dispatcher) push(messages []*Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	for _, m := range messages {
		if d.stalled && d.full() && m.QoS == mqtt.AtMostOnce {
			d.dropped.Add(1)
			m.entry.under.Add(-1)
			continue
		}
		d.count++
		d.bytes += len(m.Payload)
		if d.parallel {
			d.loose.push(m)
			continue
		}
		q := &m.entry.queue
		q.messages = append(q.messages, m)
		if !q.active {
			q.active = true
			d.ready.push(q)
		}
	}
	for n := d.ready.len() + d.loose.len(); n > 0 && d.workers < d.limit; n-- {
		d.workers++
		go d.work()
	}
}

func (d *dispatcher) full() bool { return d.count >= d.maxCount || d.bytes >= d.maxBytes }

// A goroutine acknowledges in groups of this many messages, or when it has spent ackDelay on a group: one message with a slow
// handler must not keep back the acknowledgement of those before it.
const (
	ackGroup = 64
	ackDelay = time.Millisecond
)

// work runs handlers until nothing is ready.
func (d *dispatcher) work() {
	var batch, spare []*Message
	var acks []*Message
	var q *topicQueue
	d.mu.Lock()
	for {
		if q != nil {
			if q.active = len(q.messages) > 0; q.active {
				d.ready.push(q)
			}
			q = nil
		}
		switch {
		case d.closed:
			d.workers--
			d.mu.Unlock()
			return
		case d.ready.len() > 0:
			q = d.ready.pop()
			batch, q.messages = q.messages, spare[:0]
		case d.loose.len() > 0:
			batch = append(spare[:0], d.loose.pop())
		default:
			d.workers--
			d.mu.Unlock()
			return
		}
		d.mu.Unlock()
		acks = d.handle(batch, acks)
		d.mu.Lock()
		clear(batch)
		if spare = batch; cap(spare) > 4096 {
			spare = nil
		}
	}
}

// handle runs the handlers of a batch and returns acks for reuse.
func (d *dispatcher) handle(batch, acks []*Message) []*Message {
	acks = acks[:0]
	var since time.Time
	bytes, settled := 0, 0
	for i, m := range batch {
		for _, r := range m.to {
			r.take(m)
			if m.QoS > 0 && r.auto() {
				acks = append(acks, m)
			}
		}
		m.entry.under.Add(-1)
		bytes += len(m.Payload)
		if len(acks) > 0 {
			now := time.Now()
			if since.IsZero() {
				since = now
			}
			if len(acks) >= ackGroup || now.Sub(since) >= ackDelay {
				m.c.ackAll(acks)
				acks, since = acks[:0], time.Time{}
			}
		}
		if i-settled >= ackGroup {
			d.settle(i-settled, bytes)
			settled, bytes = i, 0
		}
	}
	if len(acks) > 0 {
		acks[0].c.ackAll(acks)
		clear(acks)
	}
	d.settle(len(batch)-settled, bytes)
	return acks
}

// settle notes that messages have been handled.
func (d *dispatcher) settle(n, bytes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count -= n
	d.bytes -= bytes
	d.finished += uint64(n)
	if d.count <= d.maxCount/4*3 && d.bytes <= d.maxBytes/4*3 {
		d.stalled = false
		if d.room != nil {
			close(d.room)
			d.room = nil
		}
	}
}

// waitRoom keeps the reading goroutine from taking more than the handlers can bear. It returns when there is room, the connection
// is dead, or no handler has ended for stallAfter.
func (d *dispatcher) waitRoom(dead <-chan struct{}) {
	for {
		d.mu.Lock()
		if !d.full() || d.stalled || d.closed {
			d.mu.Unlock()
			return
		}
		if d.room == nil {
			d.room = make(chan struct{})
		}
		room, before := d.room, d.finished
		d.mu.Unlock()
		timer := time.NewTimer(stallAfter)
		select {
		case <-room:
		case <-dead:
		case <-timer.C:
			d.mu.Lock()
			d.stalled = d.stalled || d.finished == before
			d.mu.Unlock()
		}
		timer.Stop()
		select {
		case <-dead:
			return
		default:
		}
	}
}

// close drops what waits: nobody could acknowledge it any more.
func (d *dispatcher) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.ready, d.loose = ring[*topicQueue]{}, ring[*Message]{}
	if d.room != nil {
		close(d.room)
		d.room = nil
	}
}
