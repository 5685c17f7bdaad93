//go:build linux

package main

import "fmt"

// shared has publishers and one group of subscribers: each message goes to one member, and each member has the messages of one
// publisher in order.
func (r *run) shared() {
	n, m := r.o.pairs, r.o.members
	r.subs = r.connect(m, 0, "s")
	r.pubs = r.connect(n, m, "p")
	base := r.nready
	for i, s := range r.subs {
		s.index = uint32(i)
		r.l.subscribe(s, 1, "$share/group/sh/#")
	}
	for i, p := range r.pubs {
		r.setPub(p, fmt.Sprintf("sh/%d", i), 1, uint32(i))
	}
	r.subscribed(base + m)
	last := make([][]int64, m) // by member and publisher
	for i := range last {
		last[i] = make([]int64, n)
		for j := range last[i] {
			last[i][j] = -1
		}
	}
	got := make([]int, m)
	r.refill = r.inflight
	r.onPub = func(c *conn, head []byte) {
		p := r.publisher(head)
		seq := seqOf(head)
		if p.track.add(seq) == doubled { // a gap is no fault here: the message before may be with another member
			r.dups++
			return
		}
		if before := last[c.index][p.index]; int64(seq) < before {
			r.gaps++
		}
		last[c.index][p.index] = int64(seq)
		got[c.index]++
		r.count(p)
		r.mark(p)
	}
	r.flow()
	least, most := got[0], got[0]
	for _, g := range got {
		least, most = min(least, g), max(most, g)
	}
	r.extra["member_least"], r.extra["member_most"] = least, most
}

// durable publishes at QoS 1 to sessions that outlive their connections; the broker is to run with persistence.
func (r *run) durable() {
	n, m := r.o.durablePubs, r.o.durableSubs
	r.subs = r.open(m, r.o.parallel, func(i int) (int, session) { return i, session{id: fmt.Sprintf("ds%d", i), resume: true} })
	r.pubs = r.connect(n, m, "dp")
	base := r.nready
	for i, s := range r.subs {
		r.l.subscribe(s, 1, fmt.Sprintf("dur/%d/+", i))
	}
	for i, p := range r.pubs {
		r.setPub(p, fmt.Sprintf("dur/%d/%d", i%m, i), 1, uint32(i))
	}
	r.subscribed(base + m)
	r.refill = r.inflight
	r.onPub = func(_ *conn, head []byte) {
		p := r.publisher(head)
		r.received(p, head)
		r.mark(p)
	}
	r.flow()
}

const (
	regions  = 40 // of the fleet; each of as many dashboards watches one
	alarmOne = 10 // one message in so many is an alarm
)

// mixed is a fleet: sensors publish slowly at QoS 1, dashboards watch one region or the alarms of all at QoS 0, archivers take
// everything at QoS 1. The numbers of dashboards beyond regions watch alarms.
func (r *run) mixed() {
	ds, as := r.o.dashboards, r.o.archivers
	ns := min(r.o.sensors, sockets(1<<30)-ds-as)
	r.subs = r.connect(ds+as, 0, "watch")
	base := r.nready
	for i, s := range r.subs {
		s.index = uint32(i)
		switch {
		case i >= ds:
			r.l.subscribe(s, 1, "#")
		case i >= regions:
			r.l.subscribe(s, 0, "fleet/+/+/alarm")
		default:
			r.l.subscribe(s, 0, fmt.Sprintf("fleet/%d/#", i))
		}
	}
	r.subscribed(base + ds + as)
	r.extra["rss_before_kb"] = readProcess(r.o.pid).rss
	r.pubs = r.connect(ns, ds+as, "sensor-")
	r.extra["rss_bytes_per_conn"] = float64(readProcess(r.o.pid).rss-r.extra["rss_before_kb"].(int64)) * 1024 / float64(ns)
	r.extra["connections"] = ns + ds + as
	states, alarms := make([]tmpl, ns), make([]tmpl, ns)
	for i, p := range r.pubs {
		p.qos, p.index = 1, uint32(i)
		r.packetIDs(p)
		name := fmt.Sprintf("fleet/%d/dev-%d/", i%regions, i)
		states[i] = encPublish(message{topic: name + "state", qos: 1, size: r.o.size})
		alarms[i] = encPublish(message{topic: name + "alarm", qos: 1, size: r.o.size})
	}
	// Each watcher numbers what it gets from each sensor: an archiver gets each message, a dashboard of a region too, one of alarms each tenth.
	next := make([][]uint32, len(r.subs))
	for i := range next {
		next[i] = make([]uint32, ns)
	}
	var expected, got int64
	r.owed = func() int64 { return expected - got }
	r.onPub = func(c *conn, head []byte) {
		p, seq, step := r.publisher(head), seqOf(head), uint32(1)
		if int(c.index) >= regions && int(c.index) < ds {
			step = alarmOne
			seq -= alarmPhase(p)
		}
		want := &next[c.index][p.index]
		switch {
		case seq < *want:
			r.dups++
			return
		case seq > *want:
			r.gaps++
		}
		*want = seq + step
		got++
	}
	watchers := int64(as)
	r.rated(func(p *conn) {
		p.tm = states[p.index]
		expected += watchers
		if int(p.index)%regions < ds {
			expected++
		}
		if p.seq%alarmOne == alarmPhase(p) {
			p.tm = alarms[p.index]
			expected += int64(max(0, ds-regions))
		}
		r.l.publish(p, 1)
	})
}

// alarmPhase spreads the alarms of the fleet over time.
func alarmPhase(p *conn) uint32 { return p.index % alarmOne }
