// Command compare measures midge beside other brokers and keeps the table.
// `make bench` and `make bench-check` run it, README.md above explains the table.
//
// Each scenario of bench/load runs on a fresh process of each broker in turn, as
// often as -reps says: midge, peer, midge, peer. What is kept are medians and
// ratios, midge divided by the peer, since only those hold from machine to
// machine. With -check nothing is written: the ratios are held against the table,
// and what got slower beyond the noise is named. It runs on Linux alone, measures
// on loopback only, and ends every process it starts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// peers collects -peer NAME=COMMAND.
type peers []*server

func (p *peers) String() string { return "" }

func (p *peers) Set(v string) error {
	name, command, ok := strings.Cut(v, "=")
	if !ok || name == "" || command == "" {
		return errors.New("is not NAME=COMMAND")
	}
	if name == "midge" || slices.ContainsFunc(*p, func(s *server) bool { return s.name == name }) {
		return fmt.Errorf("the name %s is taken", name)
	}
	*p = append(*p, &server{name: name, command: strings.Fields(command)})
	return nil
}

// options are the flags.
type options struct {
	midge, mosquitto, load, out, goals string
	peers                              peers
	only                               string
	reps                               int
	dur                                time.Duration
	brokerCPU, loadCPU                 string
	check, quick                       bool
}

func flags(o *options) *flag.FlagSet {
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.StringVar(&o.midge, "midge", "bin/midge", "midge's program")
	f.StringVar(&o.mosquitto, "mosquitto", "/usr/sbin/mosquitto", "the peer `mosquitto`; left out when the file is not there")
	f.Var(&o.peers, "peer", "one more broker, `NAME=COMMAND`: {port} in the command is replaced, without it -c FILE is added (again for more)")
	f.StringVar(&o.load, "load", "bin/bench/load", "the load's program")
	f.StringVar(&o.out, "out", "bench/results.tsv", "the table")
	f.StringVar(&o.goals, "goals", "bench/goals.tsv", "the ratios to reach")
	f.StringVar(&o.only, "only", "", "scenarios, with commas: "+strings.Join(names(), ","))
	f.IntVar(&o.reps, "reps", 5, "repetitions")
	f.DurationVar(&o.dur, "dur", 3*time.Second, "measured time of each")
	brokers, load := "", ""
	if runtime.NumCPU() == 2 {
		brokers, load = "0", "1"
	}
	f.StringVar(&o.brokerCPU, "broker-cpu", brokers, "processors of the brokers, as taskset has them; empty: any")
	f.StringVar(&o.loadCPU, "load-cpu", load, "processors of the load")
	f.BoolVar(&o.check, "check", false, "hold the ratios against the table instead of writing it")
	f.BoolVar(&o.quick, "quick", false, "one short repetition with few clients, nothing is written")
	return f
}

func main() {
	var o options
	if err := flags(&o).Parse(os.Args[1:]); err != nil {
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ok, err := run(ctx, &o)
	stop()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(2)
	case !ok:
		os.Exit(1)
	}
}

// run measures. ok is false when midge failed in a scenario, or with -check got slower.
func run(ctx context.Context, o *options) (ok bool, err error) {
	if runtime.GOOS != "linux" {
		return false, errors.New("needs Linux, whose /proc tells the brokers' CPU")
	}
	raiseLimit()
	chosen, err := choose(o.only)
	if err != nil {
		return false, err
	}
	goals, err := readGoals(o.goals)
	if err != nil {
		return false, err
	}
	if o.quick {
		o.reps, o.dur = 1, 500*time.Millisecond
		clear(goals) // they are for the full numbers of clients
	}
	here := thisMachine(o)
	t, err := readTable(o.out)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if o.check {
			return false, fmt.Errorf("check: no table to hold against: %w", err)
		}
		t = &table{}
	case err != nil:
		return false, err
	case !o.check && !o.quick && t.Machine != here:
		if o.only != "" {
			return false, fmt.Errorf("%s is of another machine or other settings (%s, here %s): measure all scenarios, or name another table with -out", o.out, t.Machine, here)
		}
		t = &table{}
	}
	was := t.index()
	t.Machine = here
	b, err := newBench(o)
	if err != nil {
		return false, err
	}
	defer b.close()
	fmt.Println("#", here)
	fmt.Println(b.versions())
	fmt.Println(heading)
	sum := summary{check: o.check}
	for _, s := range chosen {
		got, err := b.scenario(ctx, s)
		if err != nil {
			return false, err
		}
		for _, r := range b.rows(s, got, goals) {
			line := r.String()
			if o.check {
				old, known := was[r.key()]
				line += "  " + sum.compare(old, known, r)
			}
			sum.add(r)
			fmt.Println(line)
			t.put(r)
		}
		if !o.check && !o.quick { // after each scenario: a run that is broken off keeps what it has
			if err := t.write(o.out); err != nil {
				return false, err
			}
		}
	}
	fmt.Println(sum.String())
	return sum.ok(), nil
}

// choose returns the scenarios named, in the order of the list.
func choose(only string) ([]scenario, error) {
	if only == "" {
		return scenarios, nil
	}
	var out []scenario
	want := strings.Split(only, ",")
	for _, s := range scenarios {
		if slices.Contains(want, s.name) {
			out = append(out, s)
		}
	}
	for _, w := range want {
		if !slices.Contains(names(), w) {
			return nil, fmt.Errorf("no scenario %q; there are %s", w, strings.Join(names(), ", "))
		}
	}
	return out, nil
}

// newBench looks at the brokers and makes what their configurations need.
func newBench(o *options) (*bench, error) {
	midge, err := filepath.Abs(o.midge)
	if err != nil {
		return nil, err
	}
	load, err := filepath.Abs(o.load)
	if err != nil {
		return nil, err
	}
	b := &bench{o: o, load: load}
	b.servers = append(b.servers, &server{name: "midge", command: []string{midge, "serve"}, version: firstLine(midge, "version")})
	if _, err := os.Stat(o.mosquitto); err == nil {
		b.servers = append(b.servers, &server{name: "mosquitto", command: []string{o.mosquitto}})
	}
	b.servers = append(b.servers, o.peers...)
	if len(b.servers) == 1 {
		return nil, fmt.Errorf("no peer: %s is not there and no -peer is named", o.mosquitto)
	}
	for _, s := range b.servers {
		if s.version == "" && !s.byPort() {
			s.version = strings.TrimPrefix(firstLine(s.command[0], "-h"), s.name+" version ")
		}
		if s.version == "" {
			s.version = "-"
		}
	}
	return b, b.prepare()
}
