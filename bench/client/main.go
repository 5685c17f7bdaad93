// Command client measures midge's client library beside paho.mqtt.golang and paho.golang: each library runs alone in a process of
// its own against the same peer, which costs it nothing, and what counts is its own processor time (user and system, as the kernel
// accounts it) and its allocations for each message. The peer is a part of this program that takes and sends messages as fast as it
// can; -broker names a real one instead, for publishing only. The main goroutine runs one measurement after the other.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sort"
	"syscall"
	"time"
)

// result is what a child process prints.
type result struct {
	Messages int
	Seconds  float64
	CPU      float64
	Mallocs  uint64
	Bytes    uint64
}

// job is one measurement.
type job struct {
	lib     string
	receive bool
	qos     int
	n       int
	size    int
	addr    string
}

var libraries = map[string]func(job) error{
	"midge":            runMidge,
	"midge-3.1.1":      runMidge311,
	"paho.mqtt.golang": runPaho3,
	"paho.golang":      runPaho5,
}

var order = []string{"midge", "midge-3.1.1", "paho.mqtt.golang", "paho.golang"}

func main() {
	var j job
	lib := flag.String("lib", "", "used by the program itself: run one library")
	broker := flag.String("broker", "", "host:port of a broker in place of the built-in peer; publishing only")
	rounds := flag.Int("rounds", 3, "rounds; the median counts")
	flag.BoolVar(&j.receive, "receive", false, "used by the program itself")
	flag.IntVar(&j.qos, "qos", 0, "used by the program itself")
	flag.IntVar(&j.n, "n", 200000, "messages in a round")
	flag.IntVar(&j.size, "size", 64, "payload in bytes")
	flag.StringVar(&j.addr, "addr", "", "used by the program itself")
	flag.Parse()
	if j.lib = *lib; j.lib != "" {
		child(j)
		return
	}
	if err := table(j, *broker, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// child measures one library in this process.
func child(j job) {
	run := libraries[j.lib]
	if run == nil {
		fmt.Fprintf(os.Stderr, "bench: no library %q\n", j.lib)
		os.Exit(2)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, start := cpuTime(), time.Now()
	if err := run(j); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %s: %v\n", j.lib, err)
		os.Exit(1)
	}
	r := result{Messages: j.n, Seconds: time.Since(start).Seconds(), CPU: (cpuTime() - cpu).Seconds()}
	runtime.ReadMemStats(&after)
	r.Mallocs, r.Bytes = after.Mallocs-before.Mallocs, after.TotalAlloc-before.TotalAlloc
	json.NewEncoder(os.Stdout).Encode(r)
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// table runs everything and prints the comparison.
func table(j job, broker string, rounds int) error {
	if j.addr = broker; broker == "" {
		stop, addr, err := startPeer(j)
		if err != nil {
			return err
		}
		defer stop()
		j.addr = addr
	}
	fmt.Printf("%-8s %-3s %-18s %12s %12s %10s %10s %8s\n", "", "QoS", "library", "msg/CPU-s", "msg/s", "allocs/msg", "bytes/msg", "ratio")
	directions := []bool{false, true}
	if broker != "" {
		directions = directions[:1] // nobody would send
	}
	for _, receive := range directions {
		for qos := range 3 {
			j.receive, j.qos = receive, qos
			if err := compare(j, rounds); err != nil {
				return err
			}
		}
	}
	return nil
}

// compare prints one group; ratio is midge's messages per CPU-second over this library's.
func compare(j job, rounds int) error {
	what := map[bool]string{false: "publish", true: "receive"}[j.receive]
	results := map[string][]result{}
	for range rounds { // interleaved, so that a busy moment of the machine hits all
		for _, lib := range order {
			j.lib = lib
			r, err := spawn(j)
			if err != nil {
				return err
			}
			results[lib] = append(results[lib], r)
		}
	}
	var own float64
	for _, lib := range order {
		list := results[lib]
		sort.Slice(list, func(a, b int) bool { return list[a].CPU < list[b].CPU })
		r := list[len(list)/2]
		rate := float64(r.Messages) / r.CPU
		if lib == "midge" {
			own = rate
		}
		fmt.Printf("%-8s %-3d %-18s %12.0f %12.0f %10.2f %10.0f %8.2f\n", what, j.qos, lib, rate, float64(r.Messages)/r.Seconds,
			float64(r.Mallocs)/float64(r.Messages), float64(r.Bytes)/float64(r.Messages), own/rate)
	}
	return nil
}

func spawn(j job) (r result, err error) {
	cmd := exec.Command(os.Args[0], "-lib", j.lib, fmt.Sprintf("-receive=%v", j.receive), "-qos", fmt.Sprint(j.qos),
		"-n", fmt.Sprint(j.n), "-size", fmt.Sprint(j.size), "-addr", j.addr)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("%s: %w", j.lib, err)
	}
	return r, json.Unmarshal(out, &r)
}
