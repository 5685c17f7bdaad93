//go:build unix

package signaltool

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// sent runs the tool on a system with four processes.
func sent(midge bool, args string) (status int, kills, out, errOut string) {
	var stdout, stderr bytes.Buffer
	var log []string
	status = Run(&Env{
		Program: "mosquitto_signal", Midge: midge, Stdout: &stdout, Stderr: &stderr,
		Processes: func() ([]Process, error) {
			return []Process{
				{1, []string{"/sbin/init"}},
				{20, []string{"/usr/sbin/mosquitto", "-c", "x"}},
				{21, []string{"mosquitto_sub"}},
				{22, []string{"midge", "serve"}},
				{23, []string{"midge", "sub"}},
				{24, nil},
			}, nil
		},
		Kill: func(pid, n int) error {
			log = append(log, fmt.Sprint(pid, ":", n))
			if pid == 99 {
				return syscall.ESRCH
			}
			return nil
		},
	}, strings.Fields(args))
	return status, strings.Join(log, " "), stdout.String(), stderr.String()
}

func TestSignals(t *testing.T) {
	for _, tc := range []struct {
		midge  bool
		args   string
		status int
		kills  string
		err    string // its first line
	}{
		{false, "-a config-reload", 0, "20:1 22:1", ""},
		{false, "-p 7 log-rotate", 0, "7:1", ""},
		{false, "-p 7 shutdown", 0, "7:2", ""},
		{false, "-p 7 tree-print", 0, fmt.Sprintf("7:%d", syscall.SIGUSR2), ""},
		{false, "-p 7 xtreport", 0, "7:34", ""},
		{true, "--pid=7 shutdown", 0, "7:2", ""},
		{true, "--all shutdown", 0, "20:2 22:2", ""},
		{false, "-p 99 shutdown", 0, "99:2", "Error: Unable to signal process 99: no such process."},
		{false, "", 1, "", "Error: Exactly one of -a and -p PID must be given."},
		{false, "-a -p 1 shutdown", 1, "", "Error: Exactly one of -a and -p PID must be given."},
		{false, "-a", 1, "", "Error: Exactly one word must be given."},
		{false, "-a fly", 1, "", "Error: Unknown signal 'fly'."},
		{false, "-p x shutdown", 1, "", "Error: Invalid process ID 'x'."},
		{false, "-p -1 shutdown", 1, "", "Error: Invalid process ID '-1'."},
		{false, "--all shutdown", 1, "", "Error: unknown flag --all."},
		{false, "-p", 1, "", "Error: -p needs PID."},
	} {
		status, kills, _, errOut := sent(tc.midge, tc.args)
		first, _, _ := strings.Cut(errOut, "\n")
		if status != tc.status || kills != tc.kills || first != tc.err {
			t.Errorf("%q: status %d, sent %q, said %q; want %d, %q, %q", tc.args, status, kills, first, tc.status, tc.kills, tc.err)
		}
	}
	if status, _, out, _ := sent(false, "--help"); status != 1 || !strings.HasPrefix(out, "Usage: mosquitto_signal -a WORD") {
		t.Errorf("--help: status %d, %q", status, out)
	}
	if status, _, out, _ := sent(true, "--help"); status != 0 || !strings.HasPrefix(out, "Usage: midge signal") {
		t.Errorf("midge --help: status %d, %q", status, out)
	}
}

func TestProcesses(t *testing.T) {
	list, err := processes()
	if err != nil {
		if _, statErr := os.Stat("/proc/self/cmdline"); statErr == nil {
			t.Fatal(err)
		}
		return // a system without /proc says so
	}
	if !slices.ContainsFunc(list, func(p Process) bool { return p.PID == os.Getpid() && p.Args[0] == os.Args[0] }) {
		t.Errorf("own process %d is not in the list", os.Getpid())
	}
}
