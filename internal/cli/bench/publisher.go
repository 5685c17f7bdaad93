package bench

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

const (
	// maxBatch bounds one write, so that a rate is not reached in bursts that no socket buffer holds.
	maxBatch = 64 << 10
	// stalled is how long a window may stand still before what is out is given up as lost.
	stalled = time.Second
)

// publisher sends on one connection. Its writer decides how much may leave, its reader takes the acknowledgements, and subscribers
// of this process tell it what has arrived.
type publisher struct {
	run    *run
	c      *wire
	index  uint32
	frame  []byte // a whole PUBLISH, patched for each message
	idAt   int    // where the packet identifier stands; 0 with QoS 0
	dataAt int    // where the payload begins
	qos    mqtt.QoS
	window uint64  // messages out and not delivered everywhere
	fan    uint64  // deliveries that one message should cause in this process; 0: nobody counts
	rate   float64 // messages a second, 0: as fast as the window allows
	limit  uint64  // messages in all, 0: until the run ends
	first  time.Time
	// fence ends each write with a PINGREQ, for when nobody counts deliveries and the broker acknowledges nothing: its
	// PINGRESP says that they were taken. Otherwise the sockets would hold seconds of messages.
	fence  bool
	fences []uint64 // what each PINGREQ under way stands for; guarded by mu

	sent      atomic.Uint64
	delivered atomic.Uint64
	parked    atomic.Bool
	dead      atomic.Bool // the reader has seen the end of the connection
	wake      chan struct{}

	mu    sync.Mutex
	free  []uint16
	reply []byte // PUBREL, to go with the next write

	// Of the writer.
	given uint64 // given up: neither delivered nor waited for
	out   []byte
	timer *time.Timer
}

func newPublisher(r *run, c *wire, index int, topic string) *publisher {
	o := r.o
	p := &publisher{
		run: r, c: c, index: uint32(index), qos: o.qos, window: uint64(max(o.window, 1)), limit: uint64(o.messages),
		wake: make(chan struct{}, 1), timer: time.NewTimer(time.Hour),
	}
	payload := make([]byte, o.size)
	p.frame = (&packet.Publish{QoS: o.qos, Topic: []byte(topic), PacketID: 1, Payload: payload}).Append(nil, c.version)
	p.idAt, p.dataAt = packet.PublishIDOffset(p.frame), len(p.frame)-o.size
	if o.qos > 0 {
		for id := min(o.inflight, c.maxInflight); id > 0; id-- {
			p.free = append(p.free, uint16(id))
		}
	}
	return p
}

// arrived says that n deliveries were made; any goroutine calls it.
func (p *publisher) arrived(n uint64) {
	d := p.delivered.Add(n)
	if p.parked.Load() && p.sent.Load()-min(d/p.fan, p.sent.Load()) <= p.window/2 {
		p.rouse()
	}
}

func (p *publisher) rouse() {
	if p.parked.CompareAndSwap(true, false) {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// out of the window: how many messages may still leave.
func (p *publisher) room() uint64 {
	room := uint64(1 << 30)
	if p.fan > 0 {
		out := p.sent.Load() - p.given
		if done := p.delivered.Load() / p.fan; done < out {
			out -= done
		} else {
			out = 0
		}
		if out >= p.window {
			return 0
		}
		room = p.window - out
		if p.rate == 0 && room < (p.window+1)/2 {
			return 0 // a few large writes cost less than many small ones
		}
	}
	if p.qos > 0 {
		p.mu.Lock()
		room = min(room, uint64(len(p.free)))
		p.mu.Unlock()
	}
	if p.limit > 0 {
		room = min(room, p.limit-p.sent.Load())
	}
	return room
}

// due is how many messages the rate wants by now, and when the next one is.
func (p *publisher) due(now time.Time) (n uint64, next time.Duration) {
	if p.rate == 0 {
		return 1 << 30, 0
	}
	want := now.Sub(p.first).Seconds() * p.rate
	sent := float64(p.sent.Load())
	if want >= sent+1 {
		return uint64(want - sent), 0
	}
	return 0, time.Duration((sent + 1 - want) / p.rate * float64(time.Second))
}

// write is the writing goroutine; it ends with the run, the limit or the connection, after the handshakes under way.
func (p *publisher) write() {
	defer p.run.writers.Done()
	for {
		stopping := p.run.stopping.Load()
		now := time.Now()
		room, wait := uint64(0), time.Duration(0)
		if !stopping {
			room = p.room()
		}
		if room > 0 {
			var due uint64
			due, wait = p.due(now)
			room = min(room, due)
		}
		if err := p.send(room, now); err != nil {
			p.run.lostConnection(err)
			return
		}
		if room > 0 {
			continue
		}
		over := stopping || p.limit > 0 && p.sent.Load() >= p.limit
		if over && (p.qos == 0 || p.idle()) || p.dead.Load() {
			return
		}
		if timeout := p.park(wait, stopping); timeout && over {
			return
		}
	}
}

// idle reports whether every handshake has ended.
func (p *publisher) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.free) == min(p.run.o.inflight, p.c.maxInflight)
}

// send writes n messages, or as many as fit into one batch, and the replies that wait.
func (p *publisher) send(n uint64, now time.Time) error {
	p.out = p.out[:0]
	p.mu.Lock()
	p.out, p.reply = append(p.out, p.reply...), p.reply[:0]
	n = min(n, uint64(max(maxBatch/len(p.frame), 1)))
	var ids []uint16
	if p.qos > 0 && n > 0 {
		n = min(n, uint64(len(p.free)))
		ids = p.free[len(p.free)-int(n):]
		p.free = p.free[:len(p.free)-int(n)]
	}
	seq := p.sent.Load()
	s := stamp{run: p.run.id, publisher: p.index, sent: now.UnixNano()}
	for i := range n {
		at := len(p.out)
		p.out = append(p.out, p.frame...)
		if p.idAt > 0 {
			binary.BigEndian.PutUint16(p.out[at+p.idAt:], ids[i])
		}
		s.seq = seq + i
		s.put(p.out[at+p.dataAt:])
	}
	if p.fence && n > 0 {
		p.out = (&packet.Pingreq{}).Append(p.out, p.c.version)
		p.fences = append(p.fences, n)
	}
	p.mu.Unlock()
	if len(p.out) == 0 {
		return nil
	}
	p.sent.Add(n)
	p.run.published.Add(n)
	return p.c.write(p.out)
}

// park waits until something changes. wait is the time until the rate wants a message, 0: nothing is due before an answer comes.
// It reports whether that answer stayed out.
func (p *publisher) park(wait time.Duration, stopping bool) (timeout bool) {
	d := wait
	if d == 0 {
		d = stalled
	}
	p.parked.Store(true)
	// What came before parked was set has woken nobody.
	if p.waiting() || !stopping && (p.run.stopping.Load() || wait == 0 && p.room() > 0) {
		p.parked.Store(false)
		return false
	}
	before := p.delivered.Load()
	p.timer.Reset(d)
	select {
	case <-p.wake:
		p.timer.Stop()
		return false
	case <-p.timer.C:
	}
	p.parked.Store(false)
	if wait > 0 || p.delivered.Load() != before {
		return false
	}
	p.giveUp()
	return true
}

func (p *publisher) waiting() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.reply) > 0
}

// giveUp frees the window of what nobody answered for a second. It is lost; the trackers will say so.
func (p *publisher) giveUp() {
	if p.fan == 0 {
		return
	}
	sent, done := p.sent.Load()-p.given, p.delivered.Load()/p.fan
	if done < sent {
		p.given += sent - done
		p.run.stalls.Add(1)
	}
}

// read is the reading goroutine.
func (p *publisher) read() {
	defer p.run.readers.Done()
	for {
		first, body, err := p.c.next()
		if err != nil {
			p.run.lostConnection(err)
			p.dead.Store(true)
			p.rouse()
			return
		}
		p.ack(packet.Type(first>>4), body)
		if !p.c.buffered() {
			p.rouse()
		}
	}
}

// ack takes one acknowledgement.
func (p *publisher) ack(t packet.Type, body []byte) {
	if t == packet.DISCONNECT {
		p.run.note("broker sent DISCONNECT to publisher %d", p.index)
		return
	}
	var id uint16
	if len(body) >= 2 {
		id = binary.BigEndian.Uint16(body)
	} else if t != packet.PINGRESP {
		return
	}
	if len(body) > 2 && body[2] >= 0x80 {
		p.run.refused.Add(1)
		t = packet.PUBACK // a refusal ends the handshake of QoS 2 too
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch t {
	case packet.PUBACK, packet.PUBCOMP:
		p.free = append(p.free, id)
		p.run.acked.Add(1)
	case packet.PINGRESP:
		if len(p.fences) > 0 {
			p.delivered.Add(p.fences[0])
			p.fences = p.fences[1:]
		}
	case packet.PUBREC:
		p.reply = packet.AppendAck(p.reply, packet.PUBREL, p.c.version, id, 0)
	default:
	}
}
