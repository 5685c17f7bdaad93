//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// The tree of wild: w/A/B/C.
const (
	wildA, wildB, wildC = 20, 50, 100
	wildSubs, wildPubs  = 100, 10
	wildBatch           = 50 // messages before a fence
	wildTopics          = 20000
)

// forest is the filters of wild and what they match.
type forest struct {
	rnd     *rand.Rand
	filters []string
	owner   map[string]int // the subscriber of a filter
}

func (f *forest) take(n int, format string, parts ...int) {
	for k := 0; k < n; {
		args := make([]any, len(parts))
		for i, p := range parts {
			args[i] = f.rnd.IntN(p)
		}
		if s := fmt.Sprintf(format, args...); f.owner[s] == 0 {
			f.owner[s] = 1
			f.filters = append(f.filters, s)
			k++
		}
	}
}

// newForest has 10,000 distinct filters: 60 % exact, 33 % with '+', 7 % with '#'. It is the same each time.
func newForest() *forest {
	f := &forest{rnd: rand.New(rand.NewPCG(1, 1)), owner: map[string]int{}} //nolint:gosec // to be repeatable
	f.take(6000, "w/%d/%d/%d", wildA, wildB, wildC)
	f.take(1500, "w/%d/+/%d", wildA, wildC)
	f.take(700, "w/%d/%d/#", wildA, wildB)
	f.take(1500, "w/+/%d/%d", wildB, wildC)
	f.take(300, "+/%d/+/%d", wildA, wildC)
	f.rnd.Shuffle(len(f.filters), func(i, j int) { f.filters[i], f.filters[j] = f.filters[j], f.filters[i] })
	for i, s := range f.filters {
		f.owner[s] = i % wildSubs
	}
	return f
}

// matches returns how many subscribers and how many filters a topic has. A broker may send an overlap once or for each filter.
func (f *forest) matches(a, b, c int) (subs, filters int64) {
	var seen [wildSubs]bool
	for _, s := range []string{
		fmt.Sprintf("w/%d/%d/%d", a, b, c), fmt.Sprintf("w/%d/+/%d", a, c), fmt.Sprintf("w/%d/%d/#", a, b),
		fmt.Sprintf("w/+/%d/%d", b, c), fmt.Sprintf("+/%d/+/%d", a, c),
	} {
		if i, ok := f.owner[s]; ok {
			filters++
			if !seen[i] {
				seen[i] = true
				subs++
			}
		}
	}
	return subs, filters
}

// grow subscribes to the filters, ten SUBSCRIBEs a subscriber, and books what that takes.
func (r *run) grow(f *forest) {
	a := readProcess(r.o.pid)
	for i, s := range r.subs {
		s.index = uint32(i)
		for j := i; j < len(f.filters); j += wildSubs * 10 {
			var fs []string
			for k := j; k < len(f.filters) && k < j+wildSubs*10; k += wildSubs {
				fs = append(fs, f.filters[k])
			}
			r.l.subscribe(s, 0, fs...)
		}
	}
	r.fence()
	r.wait("SUBACKs", time.Minute, func() bool {
		for _, s := range r.subs {
			if s.subacks > 0 {
				return false
			}
		}
		return true
	})
	b := readProcess(r.o.pid)
	r.extra["subscribe_us"] = cpuBetween(a, b) * 1e6 / float64(len(f.filters))
	r.extra["sub_rss_bytes"] = float64(b.rss-a.rss) * 1024 / float64(len(f.filters))
}

// fence subscribes each publisher to a topic of its own: what it publishes there comes back when all before it has been taken.
func (r *run) fence() {
	base := r.nready
	for i, p := range r.pubs {
		topic := fmt.Sprintf("fence/%d", i)
		r.l.subscribe(p, 0, topic)
		p.pub, p.index = true, uint32(i)
		p.tm = encPublish(message{topic: topic, pub: p.index, size: r.o.size})
	}
	r.subscribed(base + len(r.pubs))
}

func (r *run) wild() {
	f := newForest()
	r.subs = r.connect(wildSubs, 0, "s")
	r.pubs = r.connect(wildPubs, wildSubs, "p")
	r.grow(f)
	topics := make([]tmpl, wildTopics)
	subs, filters := make([]int64, wildTopics), make([]int64, wildTopics)
	for i := range topics {
		a, b, c := f.rnd.IntN(wildA), f.rnd.IntN(wildB), f.rnd.IntN(wildC)
		topics[i] = encPublish(message{topic: fmt.Sprintf("w/%d/%d/%d", a, b, c), size: r.o.size})
		subs[i], filters[i] = f.matches(a, b, c)
	}
	var least, most, got int64 // deliveries of what has been published
	last := make([][wildPubs]uint32, wildSubs)
	r.refill = func(p *conn) {
		for p.sent-p.recv < 2 && !p.closed {
			t := now()
			s := r.l.scratch[:0]
			for range wildBatch {
				k := (int(p.seq)*7 + p.id*1999) % wildTopics
				o := len(s)
				s = append(s, topics[k].b...)
				p.seq++
				topics[k].stamp(s[o:], t, p.index, p.seq)
				least, most = least+subs[k], most+filters[k]
			}
			o := len(s)
			s = append(s, p.tm.b...)
			p.tm.stamp(s[o:], t, p.index, p.seq)
			r.l.scratch = s
			r.published += wildBatch
			p.sent++
			r.l.write(p, s, false)
		}
	}
	r.onPub = func(c *conn, head []byte) {
		if c.pub { // a fence
			r.delivered--
			c.recv++
			return
		}
		got++
		before := &last[c.index][r.publisher(head).index]
		if seq := seqOf(head); seq < *before {
			r.gaps++
		} else {
			*before = seq
		}
	}
	fences := func() (n int64) {
		for _, p := range r.pubs {
			n += int64(p.sent - p.recv)
		}
		return n
	}
	r.owed = func() int64 { return max(0, least-got) + fences() }
	for _, p := range r.pubs {
		r.publishMore(p)
	}
	r.measure()
	r.spin(100 * time.Millisecond) // what is too many comes after the fences
	r.dups += max(0, got-most)
}

// retained sets retained messages, then has one subscriber take them all.
func (r *run) retained() {
	n := r.o.retained
	const publishers, batch = 10, 100
	r.pubs = r.connect(publishers, 0, "p")
	r.fence()
	next, done := 0, 0
	got := 0
	var reader *conn
	seen := make([]bool, n)
	r.onPub = func(c *conn, head []byte) {
		if c != reader {
			c.recv++
			done += batch
			return
		}
		i := int(seqOf(head))
		if i >= n {
			fail("retained message %d of %d", i, n)
		}
		if seen[i] {
			r.dups++
			return
		}
		seen[i] = true
		got++
	}
	r.refill = func(p *conn) {
		for p.sent-p.recv < 2 && next < n && len(p.pending) == 0 {
			s := r.l.scratch[:0]
			t := now()
			for range batch {
				tm := encPublish(message{topic: fmt.Sprintf("ret/%d/dev-%d/temp", next/1000, next%1000), retain: true, size: r.o.size})
				tm.stamp(tm.b, t, 0, uint32(next))
				s = append(s, tm.b...)
				next++
			}
			s = append(s, p.tm.b...)
			r.l.scratch = s
			p.sent++
			r.l.write(p, s, false)
		}
	}
	a := readProcess(r.o.pid)
	t := now()
	for _, p := range r.pubs {
		r.publishMore(p)
	}
	r.wait("retained messages to be set", 2*time.Minute, func() bool { return done >= n })
	r.extra["retain_set_per_s"] = float64(n) / (float64(now()-t) / 1e9)
	b := readProcess(r.o.pid)
	r.spin(2 * time.Second)
	b2 := readProcess(r.o.pid)
	r.extra["retain_set_cpu_us"] = cpuBetween(a, b2) * 1e6 / float64(n)
	r.extra["rss_before_kb"], r.extra["rss_after_set_kb"] = a.rss, b.rss
	r.extra["retain_rss_bytes"] = float64(b2.rss-a.rss) * 1024 / float64(n)

	reader = r.connect(1, publishers, "all")[0]
	r.delivered = 0
	r.begin()
	r.l.subscribe(reader, 0, "ret/#")
	last, lastT := 0, now()
	r.wait("retained messages", 2*time.Minute, func() bool {
		if got != last {
			last, lastT = got, now()
		}
		return got >= n || now()-lastT > int64(5*time.Second)
	})
	r.end()
	if got < n {
		r.lost = int64(n - got)
		r.t1 = lastT
	}
	r.extra["retained_got"] = got
	r.extra["retained_ms"] = float64(r.t1-r.t0) / 1e6
	r.spin(100 * time.Millisecond)
}
