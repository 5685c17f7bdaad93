//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"syscall"
	"time"
)

// run holds what every scenario shares: the loop, the flags and the counters.
type run struct {
	l     *loop
	o     options
	lat   hist
	extra map[string]any
	asked hist // from the first try of a connection until its CONNACK

	measuring            bool
	delivered, published uint64
	bytes                uint64
	lost, gaps, dups     int64
	nready               int
	pongs                int
	aliased              uint64 // deliveries with a topic alias
	pubs, subs           []*conn
	dirty                []*conn

	refill func(c *conn)              // after a read on a publisher, or when deliveries made room
	onPub  func(c *conn, head []byte) // a delivery
	onTick func(n uint64)
	owed   func() int64 // deliveries still to come; nil: what publishers sent and did not get booked
	fan    uint64       // deliveries of each message, for owed and stalls
	ending bool         // nothing new is published

	m0, m1     process
	t0, t1     int64
	g0, g1     float64    // the load's own CPU
	k0, k1     [2]float64 // machine busy, stolen
	d0, p0, b0 uint64
}

func (r *run) ready(c *conn) {
	r.nready++
	if c.asked > 0 {
		r.asked.add(now() - c.asked)
		c.asked = 0
	}
}

func (r *run) publish(c *conn, qos byte, id uint16, head []byte) {
	switch qos {
	case 1:
		c.acks = append(c.acks, typePuback<<4, 2, byte(id>>8), byte(id))
	case 2:
		c.acks = append(c.acks, typePubrec<<4, 2, byte(id>>8), byte(id))
	}
	r.delivered++
	if r.measuring {
		r.lat.add(r.l.t - int64(binary.LittleEndian.Uint64(head)))
	}
	r.onPub(c, head)
}

func (r *run) ack(c *conn, kind byte, id uint16) {
	switch kind {
	case typePuback, typePubcomp:
		c.unacked--
		c.free = append(c.free, id)
	case typePubrec:
		c.acks = append(c.acks, typePubrel<<4|2, 2, byte(id>>8), byte(id))
	case typePubrel:
		c.acks = append(c.acks, typePubcomp<<4, 2, byte(id>>8), byte(id))
	case typePingresp:
		r.pongs++
	}
}

// publishMore refills a publisher unless the run is ending.
func (r *run) publishMore(c *conn) {
	if r.refill != nil && !r.ending && !c.closed {
		r.refill(c)
	}
}

func (r *run) after(c *conn) {
	if c.pub {
		r.publishMore(c)
	}
	for _, d := range r.dirty {
		d.dirty = false
		r.publishMore(d)
	}
	r.dirty = r.dirty[:0]
}

func (r *run) tick(n uint64) {
	if r.onTick != nil && !r.ending {
		r.onTick(n)
	}
}

// mark has a publisher refilled after the current read.
func (r *run) mark(c *conn) {
	if !c.dirty {
		c.dirty = true
		r.dirty = append(r.dirty, c)
	}
}

func seqOf(head []byte) uint32 { return binary.LittleEndian.Uint32(head[12:]) }
func pubOf(head []byte) uint32 { return binary.LittleEndian.Uint32(head[8:]) }

// count books one delivery of publisher p; one that comes after it was given up is no longer lost.
func (r *run) count(p *conn) {
	if p.recv < p.sent*max(r.fan, 1) {
		p.recv++
	} else {
		r.lost--
	}
}

// received books one delivery of publisher p, which has one subscriber, and checks the order.
func (r *run) received(p *conn, head []byte) {
	v := p.track.add(seqOf(head))
	r.book(v)
	if v != doubled {
		r.count(p)
	}
}

// publisher finds who published a message.
func (r *run) publisher(head []byte) *conn {
	i := pubOf(head)
	if int(i) >= len(r.pubs) {
		fail("a delivery names publisher %d of %d", i, len(r.pubs))
	}
	return r.pubs[i]
}

// connect opens n connections, at most parallel of them before their CONNACK, and waits for all; base is the first id.
func (r *run) connect(n, base int, prefix string) []*conn {
	return r.open(n, r.o.parallel, func(i int) (int, session) {
		return base + i, session{id: fmt.Sprintf("%s%d", prefix, base+i)}
	})
}

// stallLimit ends a run that gets no further.
const stallLimit = 30 * time.Second

// dialBatch is how many connections are begun before the loop looks at what has become of those before. A storm looks at nothing until
// all are begun.
const dialBatch = 500

// patience is how long a client in a storm waits for its CONNACK before it gives its connection up, in nanoseconds. A SYN that a full
// backlog dropped would come again after 1, 3, 7, 15, 31 s; a client with a time limit tries anew.
const patience = int64(10 * time.Second)

// giveUp ends the plain connections of a storm that have waited too long; they are dialed again like those that the broker ended.
func (r *run) giveUp(cs []*conn) {
	if !r.l.redial || r.l.over == overTLS {
		return
	}
	for _, c := range cs {
		if c.state < ready && !c.closed && now()-c.dialed > patience {
			r.l.drop(c, errPatience)
		}
	}
}

// redialAfter is how long a client whose connection ended in a storm waits, in nanoseconds.
const redialAfter = int64(200 * time.Millisecond)

func (r *run) open(n, parallel int, who func(i int) (int, session)) []*conn {
	cs := make([]*conn, 0, n)
	start := r.l.connected
	last, lastT, redialed, looked := start, now(), now(), now()
	r.l.run(func() bool {
		done := r.l.connected - start
		if len(r.l.again) > 0 && now()-redialed > redialAfter {
			again := r.l.again
			r.l.again, redialed = nil, now()
			for _, c := range again {
				c.session.id += "a" // with the same id, what is left of the first try would take the session over
				cs[c.id] = r.l.dial(c.id, c.session)
				cs[c.id].asked = c.asked
			}
		}
		if now()-looked > int64(time.Second) {
			looked = now()
			r.giveUp(cs)
		}
		began := len(cs)
		for len(cs) < n && len(cs)-done < parallel && (len(cs)-began < dialBatch || parallel == n) {
			cs = append(cs, r.l.dial(who(len(cs))))
		}
		if r.l.connected != last || len(cs) != began {
			last, lastT = r.l.connected, now()
		} else if now()-lastT > int64(stallLimit) {
			fail("connecting stalls at %d of %d", done, n)
		}
		if r.l.closed > 0 {
			fail("%d connections ended while connecting: %w", r.l.closed, r.l.why)
		}
		return done >= n
	})
	return cs
}

func (r *run) wait(what string, limit time.Duration, f func() bool) {
	end := now() + int64(limit)
	r.l.run(func() bool {
		if now() > end {
			fail("%s: not within %v", what, limit)
		}
		return f()
	})
}

// subscribed waits until n more connections have all their SUBACKs.
func (r *run) subscribed(n int) {
	r.wait("SUBACKs", time.Minute, func() bool { return r.nready >= n })
}

func (r *run) spin(d time.Duration) {
	end := now() + int64(d)
	r.l.run(func() bool { return now() >= end })
}

func (r *run) begin() {
	r.lat = hist{}
	r.measuring = true
	r.m0 = readProcess(r.o.pid)
	r.g0 = selfCPU()
	r.k0[0], r.k0[1] = machine()
	r.t0 = now()
	r.d0, r.p0, r.b0 = r.delivered, r.published, r.bytes
}

func (r *run) end() {
	r.t1 = now()
	r.m1 = readProcess(r.o.pid)
	r.g1 = selfCPU()
	r.k1[0], r.k1[1] = machine()
	r.measuring = false
}

func (r *run) measure() {
	r.spin(r.o.warm)
	r.begin()
	r.spin(r.o.dur)
	r.end()
	r.drain()
}

// drainLimit is how long a broker may be silent before what it still owes counts as lost.
const drainLimit = 3 * time.Second

// drain stops publishing and waits for what is on its way. It ends sooner than drainLimit when nothing is missing.
func (r *run) drain() {
	r.ending = true
	owed := r.owed
	if owed == nil {
		owed = func() (n int64) {
			for _, p := range r.pubs {
				n += int64(p.sent*max(r.fan, 1)) - int64(p.recv)
			}
			return n
		}
	}
	unacked := func() (n int) {
		for _, p := range r.pubs {
			n += p.unacked
		}
		return n
	}
	last, lastT := r.delivered, now()
	r.l.run(func() bool {
		if owed() <= 0 && unacked() == 0 {
			return true
		}
		if r.delivered != last {
			last, lastT = r.delivered, now()
		}
		return now()-lastT > int64(drainLimit)
	})
	if n := owed(); n > 0 {
		r.lost += n
	}
	if n := unacked(); n > 0 {
		r.extra["unacked"] = n
	}
}

func (r *run) setPub(c *conn, topic string, qos byte, index uint32) {
	c.pub, c.qos, c.index = true, qos, index
	c.tm = encPublish(message{topic: topic, qos: qos, pub: index, size: r.o.size})
	r.packetIDs(c)
}

// packetIDs gives a publisher as many packet ids as it may have in flight.
func (r *run) packetIDs(c *conn) {
	if c.qos > 0 {
		for i := r.o.inflight; i > 0; i-- {
			c.free = append(c.free, uint16(i))
		}
	}
}

// stalls gives up on messages that a broker dropped: at each tick of 100 ms, a QoS 0 publisher with messages outstanding and no
// delivery for a second starts afresh.
func (r *run) stalls() func(uint64) {
	fan := max(r.fan, 1)
	last := make([]uint64, len(r.pubs))
	idle := make([]int, len(r.pubs))
	return func(uint64) {
		for i, p := range r.pubs {
			if p.recv != last[i] || p.sent*fan == p.recv {
				last[i], idle[i] = p.recv, 0
				continue
			}
			if idle[i]++; idle[i] >= 10 && p.qos == 0 {
				r.lost += int64(p.sent*fan - p.recv)
				p.recv = p.sent * fan
				last[i], idle[i] = p.recv, 0
				r.publishMore(p)
			}
		}
	}
}

// flow starts the publishers and measures.
func (r *run) flow() {
	r.onTick = r.stalls()
	r.l.timer(100 * time.Millisecond)
	for _, p := range r.pubs {
		r.publishMore(p)
	}
	r.measure()
}

// rated publishes o.rate messages a second, one at a time, round robin. One that finds all of its publisher's packet ids in use is not
// sent: the broker does not keep up, and the other figures stand for a lower rate.
func (r *run) rated(send func(p *conn)) {
	unsent := r.pace(send)
	r.measure()
	r.extra["unsent"] = *unsent
}

// pace begins to publish as rated says, and counts what was not sent.
func (r *run) pace(send func(p *conn)) (unsent *int) {
	i := 0
	unsent = new(int)
	var owed float64
	step := float64(r.o.rate) / 1000
	r.onTick = func(n uint64) {
		for owed += step * float64(n); owed >= 1; owed-- {
			p := r.pubs[i%len(r.pubs)]
			i++
			if p.closed || p.qos > 0 && len(p.free) == 0 {
				*unsent++
				continue
			}
			r.published++
			send(p)
		}
	}
	r.l.timer(time.Millisecond)
	return unsent
}

// sockets is n, or as many as this process may open.
func sockets(n int) int {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return n
	}
	return max(1, min(n, int(lim.Cur)-100))
}

// pings asks each connection for a PINGRESP and counts those that do not answer as lost.
func (r *run) pings(cs []*conn) {
	r.pongs = 0
	for _, c := range cs {
		if !c.closed {
			r.l.write(c, []byte{0xc0, 0}, false)
		}
	}
	last, lastT := 0, now()
	r.l.run(func() bool {
		if r.pongs != last {
			last, lastT = r.pongs, now()
		}
		return r.pongs >= len(cs) || now()-lastT > int64(drainLimit)
	})
	r.lost += int64(len(cs) - r.pongs)
}
