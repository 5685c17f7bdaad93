//go:build linux

package transport

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestSocketActivation runs this test binary again as a service manager would
// start it, with listening sockets from descriptor 3 on.
func TestSocketActivation(t *testing.T) {
	if os.Getenv("MIDGE_TEST_ACTIVATED") != "" {
		activated()
		return
	}
	file := func(l interface{ File() (*os.File, error) }, err error) *os.File {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	path := filepath.Join(short(t), "s")
	l4, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l4.Close()
	other, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	lu, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer lu.Close()
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer nothing.Close()
	port := strconv.Itoa(l4.Addr().(*net.TCPAddr).Port)
	// The shell's exec keeps the number of the process, which LISTEN_PID has to name.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=4 exec "$0" -test.run='^TestSocketActivation$'`, os.Args[0])
	cmd.Env = append(os.Environ(), "MIDGE_TEST_ACTIVATED=1", "TEST_PORT="+port, "TEST_PATH="+path)
	cmd.ExtraFiles = []*os.File{file(l4.(*net.TCPListener), nil), file(lu, nil), file(other.(*net.TCPListener), nil), nothing}
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for s := bufio.NewScanner(stdout); s.Scan(); {
		got = append(got, s.Text())
		if s.Text() == "ready" {
			for _, a := range [][2]string{{"tcp", "127.0.0.1:" + port}, {"unix", path}} {
				c, err := net.Dial(a[0], a[1])
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the activated process: %v", err)
	}
	for _, want := range []string{
		"Using the ipv4 listen socket on port " + port + " of the service manager.",
		"Using the unix listen socket on path " + path + " of the service manager.",
		"Warning: The inherited descriptor 6 is left alone: getsockopt: socket operation on non-socket.",
		"Warning: The socket " + other.Addr().String() + " of the service manager belongs to no listener of the configuration and is closed.",
		"accepted 127.0.0.1", "accepted unix", "environment is clean",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the path of the service manager is gone: %v", err)
	}
}

type printer struct{}

func (printer) Info(f string, a ...any)    { fmt.Printf(f+"\n", a...) }
func (printer) Warning(f string, a ...any) { fmt.Printf(f+"\n", a...) }

func activated() {
	in := Activated(printer{})
	if os.Getenv("LISTEN_FDS")+os.Getenv("LISTEN_PID") == "" && Activated(printer{}) == nil {
		fmt.Println("environment is clean")
	}
	port, _ := strconv.Atoi(os.Getenv("TEST_PORT"))
	var all []*Listener
	for _, spec := range []ListenSpec{
		{Port: port, Address: "127.0.0.1", NoDelay: true, Inherited: in},
		{Path: os.Getenv("TEST_PATH"), Inherited: in},
	} {
		ls, err := Listen(context.Background(), spec, printer{})
		if err != nil {
			fmt.Println(err)
			return
		}
		all = append(all, ls...)
	}
	in.CloseRest(printer{})
	fmt.Println("ready")
	for _, l := range all {
		if l.Spec().Path != "" {
			acceptHere(l)
			fmt.Println("accepted unix")
			continue
		}
		fmt.Println("accepted " + strings.Split(acceptHere(l), ":")[0])
	}
	for _, l := range all {
		if err := l.Close(); err != nil {
			fmt.Println(err)
		}
	}
}

func acceptHere(l *Listener) string {
	for {
		_, peer, err := l.Accept()
		if err == nil {
			return l.Peer(peer)
		}
	}
}
