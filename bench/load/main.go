//go:build linux

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sort"
	"strings"
	"time"
)

// options are the flags. Zero means the scenario's own number where the flag says so.
type options struct {
	addr, label, scenario                           string
	pid, rep                                        int
	dur, warm                                       time.Duration
	size, window, inflight, pairs, fanPubs, fanSubs int
	rate, clients, idle, retained, parallel, srcs   int
	largeSubs, members, durablePubs, durableSubs    int
	sensors, dashboards, archivers                  int
	beside                                          string
}

func flags(o *options) *flag.FlagSet {
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.StringVar(&o.addr, "addr", "127.0.0.1:1883", "broker address, inside 127.0.0.0/8")
	f.IntVar(&o.pid, "pid", 0, "broker process id, for CPU and memory")
	f.StringVar(&o.label, "label", "", "name written to the result")
	f.StringVar(&o.scenario, "scenario", "p2p-qos0", strings.Join(scenarioNames(), " "))
	f.IntVar(&o.rep, "rep", 0, "repetition number written to the result")
	f.DurationVar(&o.dur, "dur", 5*time.Second, "measured time")
	f.DurationVar(&o.warm, "warm", time.Second, "time before measuring")
	f.IntVar(&o.size, "size", 0, "payload bytes, at least 16; 0: 64, large 1 MiB")
	f.IntVar(&o.window, "window", 0, "QoS 0: messages outstanding per publisher; 0: the scenario's own")
	f.IntVar(&o.inflight, "inflight", 20, "QoS 1 and 2: messages in flight per publisher")
	f.IntVar(&o.pairs, "pairs", 50, "p2p, latency, tls, ws, v5-alias: publisher and subscriber pairs; shared: publishers")
	f.IntVar(&o.fanPubs, "fan-pubs", 500, "fanin: publishers")
	f.IntVar(&o.fanSubs, "fan-subs", 500, "fanout: subscribers")
	f.IntVar(&o.rate, "rate", 0, "latency, slow, mixed: messages per second; 0: 1000, mixed 2000")
	f.IntVar(&o.clients, "clients", 5000, "slow: publishing clients")
	f.IntVar(&o.idle, "idle", 0, "idle, storm, storm-tls: connections; 0: 19500, 19000, 5000")
	f.IntVar(&o.retained, "retained", 100000, "retained: topics (a multiple of 100)")
	f.IntVar(&o.parallel, "parallel", 100, "connections opened at once, but for the storms")
	f.IntVar(&o.srcs, "srcs", 0, "source addresses 127.0.1.1 and up, but for TLS; 0: one as the system chooses, for storm 8")
	f.IntVar(&o.largeSubs, "large-subs", 4, "large: subscribers")
	f.IntVar(&o.members, "members", 10, "shared: members of the group")
	f.IntVar(&o.durablePubs, "durable-pubs", 100, "durable: publishers")
	f.IntVar(&o.durableSubs, "durable-subs", 10, "durable: persistent subscribers")
	f.IntVar(&o.sensors, "sensors", 10000, "mixed: publishing clients")
	f.IntVar(&o.dashboards, "dashboards", 50, "mixed: subscribers with wildcard filters")
	f.IntVar(&o.archivers, "archivers", 5, "mixed: subscribers to everything")
	f.StringVar(&o.beside, "beside", "", "used by the storms for their second process: tcp or tls")
	return f
}

// orElse sets n where the flag was left at 0.
func orElse(v *int, n int) {
	if *v == 0 {
		*v = n
	}
}

// scenarios by name. Each opens its connections, measures, and counts what failed.
var scenarios = map[string]func(*run){
	"p2p-qos0":       func(r *run) { orElse(&r.o.window, 200); r.p2p(0) },
	"p2p-qos0-w1":    func(r *run) { orElse(&r.o.window, 1); r.p2p(0) },
	"p2p-qos1":       func(r *run) { r.p2p(1) },
	"p2p-qos2":       func(r *run) { r.p2p(2) },
	"tls":            func(r *run) { orElse(&r.o.window, 200); r.l.over = overTLS; r.p2p(0) },
	"ws":             func(r *run) { orElse(&r.o.window, 200); r.l.over = overWebSocket; r.p2p(0) },
	"v5-alias":       func(r *run) { orElse(&r.o.window, 200); r.l.v5 = true; r.p2p(0) },
	"fanin-qos0":     func(r *run) { orElse(&r.o.window, 10); r.fanin() },
	"fanout-qos0":    func(r *run) { orElse(&r.o.window, 20); r.fanout(r.o.fanSubs, 0) },
	"fanout-qos0-w1": func(r *run) { orElse(&r.o.window, 1); r.fanout(r.o.fanSubs, 0) },
	"large": func(r *run) {
		orElse(&r.o.window, 4)
		orElse(&r.o.size, 1<<20)
		r.fanout(r.o.largeSubs, 0)
	},
	"shared":    func(r *run) { r.shared() },
	"durable":   func(r *run) { r.durable() },
	"latency":   func(r *run) { orElse(&r.o.rate, 1000); r.latency() },
	"slow":      func(r *run) { orElse(&r.o.rate, 1000); r.slow() },
	"mixed":     func(r *run) { orElse(&r.o.rate, 2000); r.mixed() },
	"wild":      func(r *run) { r.wild() },
	"retained":  func(r *run) { r.retained() },
	"idle":      func(r *run) { orElse(&r.o.idle, 19500); r.idle() },
	"storm":     func(r *run) { orElse(&r.o.idle, 19000); orElse(&r.l.srcs, 8); r.storm() },
	"storm-tls": func(r *run) { orElse(&r.o.idle, 5000); r.l.over = overTLS; r.storm() },
}

func scenarioNames() (names []string) {
	for n := range scenarios {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// failure is what ends a run before it has a result.
type failure struct{ error }

// fail ends the run; execute turns it into an error. It spares each step of a scenario an error that nothing but the end could answer.
func fail(format string, a ...any) { panic(failure{fmt.Errorf(format, a...)}) }

// failed, deferred, makes err what fail was called with.
func failed(err *error) {
	switch e := recover().(type) {
	case nil:
	case failure:
		*err = e.error
	default:
		panic(e)
	}
}

func newRun(o options) *run {
	r := &run{o: o, extra: map[string]any{}}
	r.l = newLoop(o.addr, o.srcs)
	r.l.h = r
	return r
}

// execute runs one scenario and returns its result. The calling goroutine keeps its thread.
func execute(o options) (result map[string]any, err error) {
	scenario, ok := scenarios[o.scenario]
	if !ok {
		return nil, fmt.Errorf("unknown scenario %q", o.scenario)
	}
	defer failed(&err)
	r := newRun(o)
	defer r.l.close()
	if o.scenario != "large" {
		orElse(&r.o.size, 64)
	}
	scenario(r)
	r.l.down = true
	return r.result(), nil
}

func (r *run) result() map[string]any {
	sec := float64(r.t1-r.t0) / 1e9
	d, p, b := float64(r.delivered-r.d0), float64(r.published-r.p0), float64(r.bytes-r.b0)
	cpu := cpuBetween(r.m0, r.m1)
	m := map[string]any{
		"peer": r.o.label, "scenario": r.o.scenario, "rep": r.o.rep, "seconds": sec,
		"delivered": d, "msg_per_s": d / sec, "published_per_s": p / sec,
		"cpu_pct": cpu / sec * 100, "gen_cpu_pct": (r.g1 - r.g0) / sec * 100,
		"other_cpu_pct": (r.k1[0] - r.k0[0] - cpu - (r.g1 - r.g0)) / sec * 100, "steal_pct": (r.k1[1] - r.k0[1]) / sec * 100,
		"user_s": r.m1.user - r.m0.user, "sys_s": r.m1.sys - r.m0.sys,
		"ctxsw": r.m1.voluntary - r.m0.voluntary, "threads": r.m1.nthreads,
		"rss_kb": r.m1.rss, "hwm_kb": r.m1.hwm, "total_delivered": r.delivered,
		"lost": r.lost, "gaps": r.gaps, "dups": r.dups, "closed": r.l.closed,
	}
	if d > 0 {
		m["cpu_us_per_msg"] = cpu * 1e6 / d
		m["p50_us"], m["p99_us"] = r.lat.q(.5), r.lat.q(.99)
	}
	if p > 0 {
		m["cpu_us_per_pub"] = cpu * 1e6 / p
	}
	if b > 0 && r.o.size > bigPacket {
		m["mb_per_s"] = b / sec / 1e6
		m["cpu_us_per_mb"] = cpu * 1e6 / (b / 1e6)
	}
	for k, v := range r.extra {
		m[k] = v
	}
	for k, v := range m {
		if x, ok := v.(float64); ok {
			m[k] = float64(int64(x*1000)) / 1000
		}
	}
	return m
}

func program(args []string, out io.Writer) error {
	var o options
	if err := flags(&o).Parse(args); err != nil {
		return err
	}
	runtime.LockOSThread()
	debug.SetGCPercent(800) // the load's own collections would take from the processor it shares
	if o.beside != "" {
		return watch(o, os.Stdin, out)
	}
	m, err := execute(o)
	if err != nil {
		return fmt.Errorf("%s: %w", o.scenario, err)
	}
	return json.NewEncoder(out).Encode(m)
}

func main() {
	if err := program(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}
