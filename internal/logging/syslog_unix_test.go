//go:build unix

package logging

import (
	"fmt"
	"log/syslog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSyslogPriorities writes one line of each type to a daemon of the test's
// own and reads the priority that arrives.
func TestSyslogPriorities(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	daemon, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.Close()
	w, err := syslog.Dial("unixgram", path, syslog.LOG_LOCAL3|syslog.LOG_INFO, syslogTag)
	if err != nil {
		t.Fatal(err)
	}
	l, err := New(Options{Types: All})
	if err != nil {
		t.Fatal(err)
	}
	l.opts.Dest, l.syslog = ToSyslog, syslogConn{w}
	defer l.Close()
	for _, i := range typeInfo {
		l.Printf(i.t, "line of type %s", i.name)
		if i.priority == noSyslog {
			continue // the next line would arrive in its place
		}
		if err := daemon.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 2000)
		n, err := daemon.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("<%d>", int(syslog.LOG_LOCAL3)|i.priority)
		if got := string(b[:n]); !strings.HasPrefix(got, want) || !strings.Contains(got, " mosquitto[") || !strings.HasSuffix(got, ": line of type "+i.name+"\n") {
			t.Errorf("%s arrived as %q, want priority %s", i.name, got, want)
		}
	}
}
