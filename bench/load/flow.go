//go:build linux

package main

import (
	"fmt"
	"time"
)

// half lets a QoS 0 publisher fill its window again when half of it has arrived.
func (r *run) half(p *conn) {
	w := uint64(r.o.window)
	if out := p.sent - p.recv; out <= w/2 && len(p.pending) == 0 {
		r.published += w - out
		r.l.publish(p, int(w-out))
	}
}

// inflight keeps a QoS 1 or 2 publisher at its number of messages that are not acknowledged, or not arrived.
func (r *run) inflight(p *conn) {
	k := min(len(p.free), r.o.inflight-max(p.unacked, int(p.sent-p.recv)))
	if k > 0 && len(p.pending) == 0 {
		r.published += uint64(k)
		r.l.publish(p, k)
	}
}

func (r *run) flowControl(qos byte) func(*conn) {
	if qos > 0 {
		return r.inflight
	}
	return r.half
}

func (r *run) p2p(qos byte) {
	r.pair(qos)
	r.refill = r.flowControl(qos)
	r.onPub = func(c *conn, head []byte) {
		r.received(c.peer, head)
		r.mark(c.peer)
	}
	r.flow()
	if r.l.v5 {
		r.extra["alias_in"] = r.pubs[0].aliasMax                                 // what the broker takes
		r.extra["alias_out"] = float64(r.aliased) / float64(max(r.delivered, 1)) // share of deliveries with one
	}
}

// pair opens publishers and subscribers, each two with a topic of their own.
func (r *run) pair(qos byte) {
	n := r.o.pairs
	r.subs = r.connect(n, 0, "s")
	r.pubs = r.connect(n, n, "p")
	base := r.nready
	for i, s := range r.subs {
		p, topic := r.pubs[i], fmt.Sprintf("p2p/%d", i)
		s.peer = p
		r.l.subscribe(s, qos, topic)
		r.setPub(p, topic, qos, uint32(i))
		if r.l.v5 {
			s.topic = topic
			p.tm = encPublish(message{topic: topic, qos: qos, pub: p.index, size: r.o.size, props: publishProps(0)})
			if p.aliasMax > 0 { // the alias is set by the first message, the others have no topic
				p.intro = encPublish(message{topic: topic, qos: qos, pub: p.index, size: r.o.size, props: publishProps(1)})
				p.tm = encPublish(message{qos: qos, pub: p.index, size: r.o.size, props: publishProps(1)})
			}
		}
	}
	r.subscribed(base + n)
}

// properties checks an MQTT 5 delivery: the topic, given or by alias, and the properties.
func (r *run) properties(c *conn, topic, props []byte) {
	alias, good := receivedProps(props)
	if !good {
		fail("a delivery on %q lacks properties that were published, or has others: %x", c.topic, props)
	}
	if alias > aliasMaximum {
		fail("the broker uses topic alias %d, the maximum is %d", alias, aliasMaximum)
	}
	if alias > 0 {
		r.aliased++
		if len(topic) == 0 {
			if c.aliases[alias] != c.topic {
				fail("topic alias %d stands for %q, expected %q", alias, c.aliases[alias], c.topic)
			}
			return
		}
		if c.aliases == nil {
			c.aliases = map[uint16]string{}
		}
		c.aliases[alias] = string(topic)
	}
	if string(topic) != c.topic {
		fail("a delivery on %q, expected %q", topic, c.topic)
	}
}

func (r *run) fanin() {
	n := r.o.fanPubs
	r.subs = r.connect(1, 0, "s")
	r.pubs = r.connect(n, 1, "p")
	base := r.nready
	r.l.subscribe(r.subs[0], 0, "fin/#")
	for i, p := range r.pubs {
		r.setPub(p, fmt.Sprintf("fin/%d", i), 0, uint32(i))
	}
	r.subscribed(base + 1)
	r.refill = r.half
	r.onPub = func(_ *conn, head []byte) {
		p := r.publisher(head)
		r.received(p, head)
		r.mark(p)
	}
	r.flow()
}

func (r *run) fanout(subs int, qos byte) {
	r.subs = r.connect(subs, 0, "s")
	r.pubs = r.connect(1, subs, "p")
	base := r.nready
	for _, s := range r.subs {
		r.l.subscribe(s, qos, "fan/out")
	}
	p := r.pubs[0]
	r.setPub(p, "fan/out", qos, 0)
	r.subscribed(base + subs)
	w := uint64(r.o.window)
	r.fan = uint64(subs)
	big := r.o.size > bigPacket
	r.refill = func(p *conn) {
		out := p.sent - p.recv/r.fan
		if len(p.pending) > 0 || (out > w/2 && (!big || out >= w)) {
			return
		}
		r.published += w - out
		r.l.publish(p, int(w-out))
	}
	r.onPub = func(c *conn, head []byte) {
		r.bytes += uint64(r.o.size)
		v := c.track.add(seqOf(head))
		r.book(v)
		if v != doubled {
			r.count(p)
		}
		r.mark(p)
	}
	r.flow()
}

func (r *run) latency() {
	r.pair(1)
	r.onPub = func(c *conn, head []byte) { r.received(c.peer, head) }
	r.rated(func(p *conn) { r.l.publish(p, 1) })
}

func (r *run) slow() {
	n := r.o.clients
	r.subs = r.connect(1, 0, "s")
	base := r.nready
	r.l.subscribe(r.subs[0], 0, "slow/#")
	r.subscribed(base + 1)
	r.extra["rss_before_kb"] = readProcess(r.o.pid).rss
	r.pubs = r.connect(n, 1, "p")
	for i, p := range r.pubs {
		r.setPub(p, fmt.Sprintf("slow/client-%d/state", i), 0, uint32(i))
	}
	r.onPub = func(_ *conn, head []byte) { r.received(r.publisher(head), head) }
	r.rated(func(p *conn) { r.l.publish(p, 1) })
}

// idle connects and measures what is kept of it.
func (r *run) idle() {
	n := sockets(r.o.idle)
	r.onPub = func(*conn, []byte) {}
	a := readProcess(r.o.pid)
	t := now()
	cs := r.connect(n, 0, "idle-client-")
	r.connects(n, a, t)
	r.spin(2 * time.Second)
	r.begin()
	r.spin(r.o.dur)
	r.end()
	r.extra["rss_before_kb"] = a.rss
	r.extra["rss_bytes_per_conn"] = float64(r.m1.rss-a.rss) * 1024 / float64(n)
	r.pings(cs)
}

// connects books what n connections took since a and t.
func (r *run) connects(n int, a process, t int64) {
	d := float64(now()-t) / 1e9
	r.extra["connections"] = n
	r.extra["connect_s"] = d
	r.extra["connects_per_s"] = float64(n) / d
	r.extra["cpu_us_per_connect"] = cpuBetween(a, readProcess(r.o.pid)) * 1e6 / float64(n)
}
