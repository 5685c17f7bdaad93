//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a running broker.
type server struct {
	cmd  *exec.Cmd
	addr string
	dir  string
}

func start(dir string, durable bool, extra string) (*server, error) {
	program := os.Getenv("MIDGE")
	if program == "" {
		return nil, errors.New("MIDGE does not name the binary to measure")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	addr, port, err := freeAddr()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "m.conf")
	text := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\ncontrol_socket none\nuser root\nmax_queued_messages 0\nmax_inflight_messages 1000\npersistence %t\npersistence_location %s\n%s",
		port, durable, dir, extra)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return launch(exec.Command(program, "serve", "-c", conf), addr, dir)
}

// startFloor starts this program again in the broker's place.
func startFloor(dir string, alone bool) (*server, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	addr, port, err := freeAddr()
	if err != nil {
		return nil, err
	}
	return launch(exec.Command(self, "-floor", port, "-dir", dir, fmt.Sprintf("-alone=%t", alone)), addr, dir)
}

func freeAddr() (addr, port string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	addr = l.Addr().String()
	_, port, err = net.SplitHostPort(addr)
	return addr, port, errors.Join(err, l.Close())
}

func launch(cmd *exec.Cmd, addr, dir string) (s *server, err error) {
	s = &server{addr: addr, dir: dir, cmd: cmd}
	s.cmd.Dir = dir
	if s.cmd.Stderr, err = os.Create(filepath.Join(dir, "log")); err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for range 1000 {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
			return s, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.stop()
	log, _ := os.ReadFile(filepath.Join(dir, "log"))
	return nil, fmt.Errorf("the broker does not start: %s", log)
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
}

// usage is what a process has consumed.
type usage struct {
	user, system time.Duration
	written      int64 // bytes given to the disk
	resident     int64
	peak         int64
}

func (s *server) usage() (u usage) {
	pid := strconv.Itoa(s.cmd.Process.Pid)
	if b, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil {
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		const tick = 10 * time.Millisecond // USER_HZ is 100 everywhere
		a, _ := strconv.Atoi(f[11])
		c, _ := strconv.Atoi(f[12])
		u.user, u.system = time.Duration(a)*tick, time.Duration(c)*tick
	}
	field := func(file, name string) int64 {
		b, _ := os.ReadFile("/proc/" + pid + "/" + file)
		for _, l := range strings.Split(string(b), "\n") {
			if v, ok := strings.CutPrefix(l, name+":"); ok {
				n, _ := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
				return n
			}
		}
		return 0
	}
	u.written = field("io", "write_bytes")
	u.resident = field("status", "VmRSS") << 10
	u.peak = field("status", "VmHWM") << 10
	return u
}

// onDisk sums the sizes of the store's files as they are allocated.
func (s *server) onDisk() (n int64) {
	_ = filepath.WalkDir(filepath.Join(s.dir, "midge.store"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil //nolint:nilerr // a file may go while it is looked at
		}
		if i, err := d.Info(); err == nil {
			if st, ok := i.Sys().(*syscall.Stat_t); ok {
				n += st.Blocks * 512
			}
		}
		return nil
	})
	return n
}

// bareSync is what the same directory makes of a small append and fdatasync.
func bareSync(dir string, d time.Duration) (times, error) {
	f, err := os.Create(filepath.Join(dir, "bare"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(64 << 20); err != nil { // a log is preallocated, too
		return nil, err
	}
	var t times
	b := make([]byte, 512)
	for end := time.Now().Add(d); time.Now().Before(end); {
		began := time.Now()
		if _, err := f.Write(b); err != nil {
			return nil, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return nil, err
		}
		t = append(t, time.Since(began))
	}
	return t, nil
}
