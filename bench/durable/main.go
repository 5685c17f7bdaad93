//go:build linux

// Command durable measures what it costs midge to acknowledge a QoS 1 message
// only when it is on stable storage: throughput, latency, CPU, bytes written. It
// runs the real binary, named by MIDGE in the environment, and drives it from the
// same machine; both share its processors.
//
//	go run ./bench/durable            # everything, about a minute
//	go run ./bench/durable -soak 30m  # does the store grow without cause?
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

var (
	seconds    = flag.Int("seconds", 10, "length of each measurement")
	publishers = flag.Int("publishers", 100, "publishing connections")
	inflight   = flag.Int("inflight", 20, "messages in flight for each of them")
	receivers  = flag.Int("receivers", 10, "persistent sessions that receive, connected")
	size       = flag.Int("size", 200, "payload bytes")
	soak       = flag.Duration("soak", 0, "run a soak of this length in place of the measurements")
	dir        = flag.String("dir", "", "directory for the store; empty: a temporary one")
	floorPort  = flag.Int("floor", 0, "serve on this port as the least in the broker's place; -dir is its directory")
	alone      = flag.Bool("alone", false, "with -floor: one thread does everything")
	only       = flag.String("only", "", "one of saturated, fixed, single, plain, away, backlog, retained")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "durable:", err)
		os.Exit(1)
	}
}

func run() error {
	base := *dir
	if base == "" {
		d, err := os.MkdirTemp("", "midge-durable")
		if err != nil {
			return err
		}
		defer os.RemoveAll(d)
		base = d
	}
	if *floorPort > 0 {
		return serveFloor(*floorPort, base, *alone)
	}
	if *soak > 0 {
		return runSoak(filepath.Join(base, "soak"), *soak)
	}
	switch *only {
	case "backlog":
		return runBacklog(filepath.Join(base, "backlog"), 1024, false)
	case "retained":
		return runBacklog(filepath.Join(base, "retained"), 100, true)
	}
	fmt.Printf("%d processors, payload %d bytes, %d publishers with %d in flight, %d receivers, %d s each\n",
		runtime.NumCPU(), *size, *publishers, *inflight, *receivers, *seconds)
	var durable, plain float64
	want := func(name string) bool { return *only == "" || *only == name }
	if want("saturated") {
		r, err := measure(filepath.Join(base, "saturated"), true, load{publishers: *publishers, inflight: *inflight})
		if err != nil {
			return fmt.Errorf("saturated: %w", err)
		}
		r.print("saturated, flush")
		durable = r.cpu()
	}
	if want("plain") {
		r, err := measure(filepath.Join(base, "plain"), false, load{publishers: *publishers, inflight: *inflight})
		if err != nil {
			return fmt.Errorf("plain: %w", err)
		}
		r.print("saturated, not durable")
		plain = r.cpu()
	}
	if durable > 0 && plain > 0 {
		fmt.Printf("%-26s %.2f times the CPU of the broker per message\n", "durable : not durable", durable/plain)
	}
	if want("fixed") {
		r, err := measure(filepath.Join(base, "fixed"), true, load{publishers: *publishers, inflight: *inflight, rate: 20000})
		if err != nil {
			return fmt.Errorf("fixed: %w", err)
		}
		r.print("20,000/s, flush")
		least, err := measure(filepath.Join(base, "floor"), true, load{publishers: *publishers, inflight: *inflight, rate: 20000, floor: true})
		if err != nil {
			return fmt.Errorf("floor: %w", err)
		}
		least.print("20,000/s, floor")
		r.beside(least)
	}
	if want("single") {
		r, err := measure(filepath.Join(base, "single"), true, load{publishers: 1, inflight: 1})
		if err != nil {
			return fmt.Errorf("single: %w", err)
		}
		r.print("one in flight, flush")
		least, err := measure(filepath.Join(base, "alone"), true, load{publishers: 1, inflight: 1, floor: true})
		if err != nil {
			return fmt.Errorf("floor: %w", err)
		}
		least.print("one in flight, floor")
		r.beside(least)
		bare, err := bareSync(base, time.Duration(*seconds)*time.Second/3)
		if err != nil {
			return err
		}
		fmt.Printf("%-26s median %v, p99 %v: a message takes %.2f times the median, the floor %.2f times\n", "bare fdatasync", bare.at(0.5), bare.at(0.99),
			float64(r.latency.at(0.5))/float64(bare.at(0.5)), float64(least.latency.at(0.5))/float64(bare.at(0.5)))
	}
	if want("away") {
		r, err := measure(filepath.Join(base, "away"), true, load{publishers: *publishers, inflight: *inflight, away: true})
		if err != nil {
			return fmt.Errorf("away: %w", err)
		}
		r.print("receivers away, flush")
	}
	return nil
}

// times are latencies, sorted when they are asked for.
type times []time.Duration

func (t times) at(q float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	if !slices.IsSorted(t) {
		slices.Sort(t)
	}
	return t[min(int(q*float64(len(t))), len(t)-1)].Round(time.Microsecond)
}
