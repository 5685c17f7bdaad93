package cli

import (
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestServiceManagerIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	s, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	next := func() string {
		t.Helper()
		if err := s.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1000)
		n, err := s.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "100000")
	p := spawn(t, plain, "mosquitto", "-c", "m.conf")
	p.await(t, running)
	if got := next(); got != "READY=1" {
		t.Errorf("first %q", got)
	}
	if got := next(); got != "WATCHDOG=1" {
		t.Errorf("then %q", got)
	}
	beyond := func(want string) {
		t.Helper()
		for {
			got := next()
			if strings.HasPrefix(got, want) {
				return
			}
			if got != "WATCHDOG=1" {
				t.Errorf("%q, want %q", got, want)
				return
			}
		}
	}
	p.signal(t, syscall.SIGHUP)
	beyond("RELOADING=1\nMONOTONIC_USEC=")
	beyond("READY=1")
	p.signal(t, syscall.SIGTERM)
	beyond("STOPPING=1")
	if status := p.status(t); status != 0 {
		t.Errorf("status %d", status)
	}
}
