// Command loops measures what a further event loop costs: the broker's CPU per
// message with one loop and with several, at the same rate, in turn, and the
// ratio of the medians.
//
// It starts itself again as a broker whose connections are spread over its loops
// from the first on, in place of one loop for each 256, and drives it with the
// load generator, which has to be given:
//
//	go build -o /tmp/load ./bench/load
//	go run ./bench/loops -load /tmp/load
//
// With -profiles DIR the brokers leave profiles of CPU, contended locks and
// blocking there. Ratios hold within one run only.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/config"
)

// scenarios are names of the load generator with the flags that fix the rate.
var scenarios = []struct{ name, args string }{
	{"QoS 1, 50 pairs, 2,000/s", "-scenario latency -rate 2000"},
	{"QoS 1, 50 pairs, 5,000/s", "-scenario latency -rate 5000"},
	{"QoS 1, 50 pairs, 20,000/s", "-scenario latency -rate 20000"},
	{"QoS 1, 50 pairs, 50,000/s", "-scenario latency -rate 50000"},
	{"QoS 1, 50 pairs, 100,000/s", "-scenario latency -rate 100000"},
	{"QoS 0, 500 to 1, 2,000/s", "-scenario slow -clients 500 -rate 2000"},
	{"QoS 0, 500 to 1, 20,000/s", "-scenario slow -clients 500 -rate 20000"},
	{"QoS 0, 500 to 1, 50,000/s", "-scenario slow -clients 500 -rate 50000"},
	{"QoS 0, 500 to 1, 100,000/s", "-scenario slow -clients 500 -rate 100000"},
	{"QoS 0, 50 pairs, 16 in flight", "-scenario p2p-qos0 -window 16"},
	{"QoS 1, 50 pairs, 20 in flight", "-scenario p2p-qos1"},
	{"QoS 0, 1 to 500", "-scenario fanout-qos0"},
}

func main() {
	load := flag.String("load", "", "the load generator's program")
	loops := flag.Int("loops", 2, "loops to compare with one")
	reps := flag.Int("reps", 3, "measurements of each")
	dur := flag.Duration("dur", 2*time.Second, "length of one measurement")
	only := flag.String("only", "", "scenarios whose name contains this")
	profiles := flag.String("profiles", "", "directory for profiles")
	serve := flag.Int("serve", 0, "be the broker, with that many loops")
	flag.Parse()
	var err error
	if *serve > 0 {
		err = runBroker(*serve, *profiles)
	} else {
		err = compare(*load, *loops, *reps, *dur, *only, *profiles)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "loops:", err)
		os.Exit(1)
	}
}

// runBroker serves on a free port, which it prints, until it is told to end.
func runBroker(loops int, profiles string) error {
	c := config.Default()
	c.Listeners = []*config.Listener{{Address: "127.0.0.1", Protocol: config.MQTT, Versions: config.AllVersions, AllowAnonymous: true}}
	c.Loops, c.SysInterval = loops, 0
	b, err := broker.New(broker.Options{Config: c, Version: "bench", ConnectionsPerLoop: 1})
	if err != nil {
		return err
	}
	if err := b.Start(); err != nil {
		return err
	}
	if profiles != "" {
		runtime.SetMutexProfileFraction(1)
		runtime.SetBlockProfileRate(10_000)
		f, err := os.Create(filepath.Join(profiles, fmt.Sprintf("cpu-%d.pprof", loops)))
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
	}
	fmt.Println(b.Addresses()[0])
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	<-stop
	if profiles != "" {
		pprof.StopCPUProfile()
		for _, name := range []string{"mutex", "block"} {
			f, err := os.Create(filepath.Join(profiles, fmt.Sprintf("%s-%d.pprof", name, loops)))
			if err != nil {
				return err
			}
			if err := pprof.Lookup(name).WriteTo(f, 0); err != nil {
				return err
			}
		}
	}
	return b.Close(context.Background())
}

// compare prints a line for each scenario.
func compare(load string, loops, reps int, dur time.Duration, only, profiles string) error {
	if load == "" {
		return fmt.Errorf("-load is missing")
	}
	fmt.Printf("%-32s %12s %12s %7s\n", "CPU per message in µs", "1 loop", fmt.Sprint(loops, " loops"), "ratio")
	for _, s := range scenarios {
		if !strings.Contains(s.name, only) {
			continue
		}
		cost := map[int][]float64{}
		for range reps {
			for _, n := range []int{1, loops} {
				v, err := measure(load, n, dur, strings.Fields(s.args), profiles)
				if err != nil {
					return fmt.Errorf("%s, %d loops: %w", s.name, n, err)
				}
				cost[n] = append(cost[n], v)
			}
		}
		one, more := median(cost[1]), median(cost[loops])
		fmt.Printf("%-32s %12.3f %12.3f %7.2f\n", s.name, one, more, more/one)
	}
	return nil
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// measure runs one broker and one load.
func measure(load string, loops int, dur time.Duration, args []string, profiles string) (us float64, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	b := exec.Command(self, "-serve", strconv.Itoa(loops), "-profiles", profiles)
	b.Stderr = os.Stderr
	out, err := b.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := b.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = b.Process.Signal(syscall.SIGTERM)
		_, _ = io.Copy(io.Discard, out)
		_ = b.Wait()
	}()
	var addr string
	if _, err := fmt.Fscanln(out, &addr); err != nil {
		return 0, fmt.Errorf("broker: %w", err)
	}
	args = append([]string{"-addr", addr, "-pid", strconv.Itoa(b.Process.Pid), "-dur", dur.String()}, args...)
	line, err := exec.Command(load, args...).Output()
	if err != nil {
		return 0, fmt.Errorf("load: %w", err)
	}
	var r struct {
		CPU    float64 `json:"cpu_us_per_msg"`
		Lost   int     `json:"lost"`
		Gaps   int     `json:"gaps"`
		Closed int     `json:"closed"`
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return 0, err
	}
	if r.Lost+r.Gaps+r.Closed > 0 {
		fmt.Fprintf(os.Stderr, "%d loops, %s: %d lost, %d out of order, %d closed\n", loops, strings.Join(args, " "), r.Lost, r.Gaps, r.Closed)
	}
	return r.CPU, nil
}
