package main

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// asProgram has the test binary run main in place of the tests.
const asProgram = "MIDGE_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "" {
		os.Exit(m.Run())
	}
	os.Args[0] = "midge"
	main()
}

// TestRTMINDoesNotEndTheProcess sends signal 34, for which Mosquitto's log
// rotation is set up, and expects an orderly end by TERM afterwards.
func TestRTMINDoesNotEndTheProcess(t *testing.T) {
	conf := t.TempDir() + "/m.conf"
	if err := os.WriteFile(conf, []byte("control_socket none\nuser root\nlog_type information\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(os.Args[0], "serve", "-c", conf, "-p", freePort(t))
	c.Env = append(os.Environ(), asProgram+"=1")
	out, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Kill() }()
	lines := bufio.NewScanner(out)
	const rtmin = syscall.Signal(34)
	signalled := false
	var log strings.Builder
	for lines.Scan() {
		log.WriteString(lines.Text() + "\n")
		if strings.HasSuffix(lines.Text(), " running") {
			signalled = true
			for _, s := range []syscall.Signal{rtmin, syscall.SIGTERM} {
				if err := c.Process.Signal(s); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := c.Wait(); err != nil || !signalled || !strings.Contains(log.String(), "(midge devel) terminating") {
		t.Errorf("ended with %v and %q", err, log.String())
	}
}

// freePort returns a port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
