package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// process is what the kernel says about the broker.
type process struct {
	ok  bool
	cpu time.Duration
	rss int64 // bytes
}

// readProcess reads CPU time and memory of a process; pid 0 means none. Threads' run times are in nanoseconds; that of threads that
// have ended is only in the sum, in hundredths of a second, so the larger of both counts.
func readProcess(pid int) (p process) {
	if pid == 0 {
		return p
	}
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return p
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 22 {
		return p
	}
	utime, _ := strconv.ParseInt(string(fields[11]), 10, 64)
	stime, _ := strconv.ParseInt(string(fields[12]), 10, 64)
	pages, _ := strconv.ParseInt(string(fields[21]), 10, 64)
	p.cpu = time.Duration(utime+stime) * 10 * time.Millisecond
	p.rss = pages * int64(os.Getpagesize())
	p.ok = true
	var fine time.Duration
	tasks, _ := filepath.Glob(filepath.Join(dir, "task", "*", "schedstat"))
	for _, t := range tasks {
		var ns int64
		if b, err := os.ReadFile(t); err == nil {
			if _, err := fmt.Sscan(string(b), &ns); err == nil {
				fine += time.Duration(ns)
			}
		}
	}
	p.cpu = max(p.cpu, fine)
	return p
}
