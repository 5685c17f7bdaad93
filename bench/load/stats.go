//go:build linux

package main

import (
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// hist is a log-linear histogram of nanoseconds, 32 steps per power of two: quantiles are at most 1/32 low.
type hist struct {
	n uint64
	c [64 * 32]uint64
}

func (h *hist) add(v int64) {
	u := uint64(max(v, 0))
	i := int(u)
	if u >= 32 {
		e := bits.Len64(u) - 6
		i = e*32 + int(u>>uint(e))
	}
	h.c[i]++
	h.n++
}

// q is the quantile p in microseconds, the lower end of its step.
func (h *hist) q(p float64) float64 {
	if h.n == 0 {
		return 0
	}
	want := min(uint64(p*float64(h.n)), h.n-1)
	var s uint64
	for i, c := range h.c {
		if s += c; s > want {
			if i < 64 {
				return float64(i) / 1e3
			}
			return float64(uint64(i%32+32)<<uint(i/32-1)) / 1e3
		}
	}
	return 0
}

// machine gives the seconds that all processors together have been busy, and stolen.
func machine() (busy, steal float64) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	for i, s := range strings.Fields(line)[1:] {
		n, _ := strconv.ParseFloat(s, 64)
		switch i {
		case 0, 1, 2, 5, 6: // user, nice, system, irq, softirq
			busy += n / 100
		case 7:
			steal += n / 100
		}
	}
	return busy, steal
}

// process is what the broker has consumed at one moment.
type process struct {
	user, sys float64 // seconds, in steps of 10 ms
	fine      float64 // seconds, the sum of the living threads' schedstat; 0: unknown
	threads   string  // which threads fine is the sum of
	rss, hwm  int64   // KiB
	voluntary int64   // context switches
	nthreads  int
}

// number reads a field of /proc; what is missing there is 0.
func number(s string) float64 {
	n, _ := strconv.ParseFloat(s, 64)
	return n
}

// fields calls f with each "name: value" of a status file.
func fields(file string, f func(name string, value int64)) {
	b, _ := os.ReadFile(file)
	for l := range strings.Lines(string(b)) {
		if w := strings.Fields(l); len(w) >= 2 {
			f(strings.TrimSuffix(w[0], ":"), int64(number(w[1])))
		}
	}
}

// readProcess reads a process's use; the zero value for pid 0, or when the process is gone.
func readProcess(pid int) (s process) {
	if pid <= 0 {
		return s
	}
	base := "/proc/" + strconv.Itoa(pid)
	b, err := os.ReadFile(base + "/stat")
	if err != nil {
		return s
	}
	str := string(b)
	f := strings.Fields(str[strings.LastIndexByte(str, ')')+2:])
	s.user, s.sys = number(f[11])/100, number(f[12])/100
	fields(base+"/status", func(name string, n int64) {
		switch name {
		case "VmRSS":
			s.rss = n
		case "VmHWM":
			s.hwm = n
		}
	})
	tasks, _ := filepath.Glob(base + "/task/*/schedstat")
	s.nthreads = len(tasks)
	s.threads = strings.Join(tasks, " ")
	for _, t := range tasks {
		if b, err = os.ReadFile(t); err != nil {
			continue // a thread may end while they are read; then threads differ, and fine is not used
		}
		if w := strings.Fields(string(b)); len(w) > 0 {
			s.fine += number(w[0]) / 1e9
		}
		fields(filepath.Dir(t)+"/status", func(name string, n int64) {
			if name == "voluntary_ctxt_switches" {
				s.voluntary += n
			}
		})
	}
	return s
}

// cpuBetween gives the broker's CPU seconds: by the nanosecond when the same threads lived through, else by the 10 ms of stat.
func cpuBetween(a, b process) float64 {
	if a.threads == b.threads && a.fine > 0 {
		return b.fine - a.fine
	}
	return b.user + b.sys - a.user - a.sys
}

// selfCPU is the load's own use in seconds.
func selfCPU() float64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return float64(r.Utime.Sec+r.Stime.Sec) + float64(r.Utime.Usec+r.Stime.Usec)/1e6
}
