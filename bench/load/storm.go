//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// storm opens all connections at once. One that the broker ends before its CONNACK, or keeps waiting for long, is
// tried again, as clients do. Meanwhile a second process passes messages between two clients that were there before.
func (r *run) storm() {
	n := sockets(r.o.idle)
	kind := "tcp"
	if r.l.over == overTLS {
		kind = "tls"
		n = min(n, sockets(1<<30)/3) // a handshake has up to three descriptors for a moment
	}
	r.onPub = func(*conn, []byte) {}
	r.l.redial = true
	b := besides(r.o, kind)
	defer b.stop()
	overflows, again := listenDrops()
	r.begin()
	cs := r.open(n, n, func(i int) (int, session) { return i, session{id: fmt.Sprintf("storm-%d", i)} })
	r.end()
	r.connects(n, r.m0, r.t0)
	overflowsNow, againNow := listenDrops()
	m := b.result()
	for _, f := range []string{"p50_us", "p99_us", "max_us", "rest_p99_us", "beside"} {
		r.extra[f] = m[f]
	}
	r.lost, r.gaps, r.dups = int64(m["lost"]), int64(m["gaps"]), int64(m["dups"])
	r.l.closed += int(m["closed"])
	r.extra["connect_p50_ms"], r.extra["connect_p99_ms"] = r.asked.q(.5)/1e3, r.asked.q(.99)/1e3
	r.extra["retries"] = r.l.retries
	r.extra["listen_overflows"], r.extra["syn_again"] = overflowsNow-overflows, againNow-again
	r.extra["rss_bytes_per_conn"] = float64(r.m1.rss-r.m0.rss) * 1024 / float64(n)
	r.extra["peak_bytes_per_conn"] = float64(r.m1.hwm-r.m0.rss) * 1024 / float64(n)
	r.pings(cs)
}

// listenDrops are the machine's counts of connections that found the backlog of their listener full, and of SYN packets sent again.
func listenDrops() (overflows, again int64) {
	b, err := os.ReadFile("/proc/net/netstat")
	if err != nil {
		return 0, 0
	}
	var names []string
	for l := range strings.Lines(string(b)) {
		w := strings.Fields(l)
		if len(w) == 0 || w[0] != "TcpExt:" {
			continue
		}
		if names == nil {
			names = w
			continue
		}
		for i, name := range names[:min(len(names), len(w))] {
			switch name {
			case "ListenOverflows":
				overflows = int64(number(w[i]))
			case "TCPSynRetrans":
				again = int64(number(w[i]))
			}
		}
	}
	return overflows, again
}

// second is the second process of a storm.
type second struct {
	cmd *exec.Cmd
	in  io.Closer // its end makes it tell its result
	out *bufio.Reader
}

// besides starts it and waits until its clients are connected. It is a process of its own because crypto/tls keeps all goroutines of
// this one busy.
func besides(o options, kind string) *second {
	exe, err := os.Executable()
	if err != nil {
		fail("second process: %w", err)
	}
	b := &second{cmd: exec.Command(exe, "-scenario", "storm", "-beside", kind, "-addr", o.addr, "-warm", o.warm.String(), "-size", strconv.Itoa(o.size))}
	b.cmd.Stderr = os.Stderr
	if b.in, err = b.cmd.StdinPipe(); err != nil {
		fail("second process: %w", err)
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		fail("second process: %w", err)
	}
	b.out = bufio.NewReader(out)
	if err = b.cmd.Start(); err != nil {
		fail("second process: %w", err)
	}
	if line, err := b.out.ReadString('\n'); err != nil {
		b.stop()
		fail("second process: %q: %w", line, err)
	}
	return b
}

// result ends the process and returns what it measured.
func (b *second) result() (m map[string]float64) {
	_ = b.in.Close()
	if err := json.NewDecoder(b.out).Decode(&m); err != nil {
		fail("second process: %w", err)
	}
	return m
}

func (b *second) stop() {
	_ = b.in.Close()
	_ = b.cmd.Wait() // what it says does not matter any more
}

// besideRate is how many messages a second the second process passes: enough for a quantile, too few to count in the broker's CPU.
const besideRate = 200

// watch is the second process: a publisher and a subscriber, QoS 1. It measures for o.warm at rest, says so, and goes on until its
// input ends.
func watch(o options, in io.Reader, out io.Writer) (err error) {
	defer failed(&err)
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, -10) // or the storm keeps it from its processor; without the right to it, it does
	o.pairs, o.rate = 1, besideRate
	r := newRun(o)
	defer r.l.close()
	if o.beside == "tls" {
		r.l.over = overTLS
	}
	r.pair(1)
	r.onPub = func(c *conn, head []byte) { r.received(c.peer, head) }
	r.pace(func(p *conn) { r.l.publish(p, 1) })
	r.begin()
	r.spin(o.warm)
	rest := r.lat.q(.99)
	r.begin()
	if _, err := fmt.Fprintln(out, "connected"); err != nil {
		return err
	}
	var over atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, in) // however it ends
		over.Store(true)
	}()
	r.l.run(over.Load)
	r.end()
	r.drain()
	r.l.down = true
	return json.NewEncoder(out).Encode(map[string]float64{
		"p50_us": r.lat.q(.5), "p99_us": r.lat.q(.99), "max_us": r.lat.q(1), "rest_p99_us": rest, "beside": float64(r.delivered - r.d0),
		"lost": float64(r.lost), "gaps": float64(r.gaps), "dups": float64(r.dups), "closed": float64(r.l.closed),
	})
}
