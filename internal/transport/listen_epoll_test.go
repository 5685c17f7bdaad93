//go:build linux && !portable

package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tryAccept accepts until somebody waits: the client's connect may return
// before the server's side has been queued.
func tryAccept(l *Listener) (fd int, peer netip.AddrPort, err error) {
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		fd, peer, err = l.Accept()
		if !errors.Is(err, ErrNoneWaiting) || time.Now().After(deadline) {
			return fd, peer, err
		}
	}
}

func acceptOne(t *testing.T, l *Listener) (noDelay bool, peer netip.AddrPort) {
	t.Helper()
	fd, peer, err := tryAccept(l)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	v, err := syscall.GetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := syscall.Read(fd, b[:]); err != syscall.EAGAIN {
		t.Fatalf("read of an accepted socket: %v, want EAGAIN: it must be non-blocking", err)
	}
	flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
	if errno != 0 || flags&syscall.FD_CLOEXEC == 0 {
		t.Fatalf("descriptor flags %#x, %v: it must close on exec", flags, errno)
	}
	return v != 0, peer
}

func TestAcceptNoneWaiting(t *testing.T) {
	ls, _ := listen(t, ListenSpec{Address: "127.0.0.1"})
	if _, _, err := ls[0].Accept(); !errors.Is(err, ErrNoneWaiting) {
		t.Fatalf("accept without clients: %v", err)
	}
	if err := ls[0].Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ls[0].Accept(); !errors.Is(err, syscall.EBADF) {
		t.Fatalf("accept after close: %v", err)
	}
}

// A burst of connects waits in the backlog without a single accept.
func TestBacklog(t *testing.T) {
	b, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		t.Fatal(err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	n := min(limit, 500)
	ls, _ := listen(t, ListenSpec{Address: "127.0.0.1"})
	want := map[netip.AddrPort]bool{}
	for range n {
		want[dial(t, "tcp", ls[0].Addr()).LocalAddr().(*net.TCPAddr).AddrPort()] = true
	}
	for len(want) > 0 {
		fd, peer, err := tryAccept(ls[0])
		if err != nil {
			t.Fatal(err)
		}
		syscall.Close(fd)
		if !want[peer] {
			t.Fatalf("accepted %v, which is no client", peer)
		}
		delete(want, peer)
	}
}

func TestAcceptAllocations(t *testing.T) {
	ls, _ := listen(t, ListenSpec{Address: "127.0.0.1"})
	for range 51 {
		dial(t, "tcp", ls[0].Addr())
	}
	got := testing.AllocsPerRun(50, func() {
		fd, _, err := tryAccept(ls[0])
		if err != nil {
			t.Fatal(err)
		}
		syscall.Close(fd)
	})
	// The kernel's raw address, and Go's form of it.
	if got > 2 {
		t.Errorf("%v allocations per accepted connection", got)
	}
}

// exhaustEnv makes the test binary the process whose descriptors run out.
const exhaustEnv = "MIDGE_TEST_EXHAUST"

func TestMain(m *testing.M) {
	if os.Getenv(exhaustEnv) != "" {
		if err := exhaust(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("exhaust: fine")
		return
	}
	os.Exit(m.Run())
}

func TestOutOfDescriptors(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), exhaustEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "exhaust: fine") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// exhaust runs out of descriptors and checks that clients are refused one by
// one without the listener staying readable, and accepted again afterwards.
func exhaust() error {
	ls, err := Listen(context.Background(), ListenSpec{Address: "127.0.0.1"}, &lines{})
	if err != nil {
		return err
	}
	l := ls[0]
	var clients []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return err
		}
		clients = append(clients, c)
	}
	var fill []int
	limit := syscall.Rlimit{}
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = 64
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	for {
		fd, err := syscall.Open(os.DevNull, syscall.O_RDONLY, 0)
		if err != nil {
			break
		}
		fill = append(fill, fd)
	}
	for i := range 2 {
		if _, _, err := tryAccept(l); !errors.Is(err, ErrRefused) {
			return fmt.Errorf("accept %d without descriptors: %w", i, err)
		}
		if n, err := clients[i].Read(make([]byte, 1)); err == nil {
			return fmt.Errorf("client %d read %d bytes, want the end", i, n)
		}
	}
	// Without the reserve nothing can be done but to wait.
	syscall.Close(l.reserve)
	l.reserve = -1
	fd, err := syscall.Open(os.DevNull, syscall.O_RDONLY, 0)
	if err != nil {
		return err
	}
	fill = append(fill, fd)
	if _, _, err := l.Accept(); !errors.Is(err, ErrExhausted) {
		return fmt.Errorf("accept without reserve: %w", err)
	}
	for _, fd := range fill {
		syscall.Close(fd)
	}
	if fd, peer, err := tryAccept(l); err != nil || FormatAddr(peer) != clients[2].LocalAddr().String() {
		return fmt.Errorf("accept with descriptors again: %d %v %w", fd, peer, err)
	}
	if _, _, err := l.Accept(); !errors.Is(err, ErrNoneWaiting) {
		return fmt.Errorf("accept of nobody: %w", err)
	}
	return nil
}

func acceptUnix(t *testing.T, l *Listener) {
	t.Helper()
	fd, _, err := tryAccept(l)
	if err != nil {
		t.Fatal(err)
	}
	syscall.Close(fd)
}
