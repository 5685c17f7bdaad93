package logging

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var testTime = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)

// capture returns a logger on a buffer whose lines have no timestamp unless o
// asks for it.
func capture(t *testing.T, o Options) (*Logger, *bytes.Buffer) {
	t.Helper()
	var b bytes.Buffer
	o.Stderr = &b
	o.Dest |= ToStderr
	o.Now = func() time.Time { return testTime }
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, &b
}

func TestOnlyEnabledTypesAreWritten(t *testing.T) {
	for _, i := range typeInfo {
		l, b := capture(t, Options{Types: i.t})
		for _, j := range typeInfo {
			if got, want := l.Enabled(j.t), i.t == j.t; got != want {
				t.Errorf("log_type %s: Enabled(%s) = %v", i.name, j.name, got)
			}
			l.Printf(j.t, "%s", j.name)
		}
		if got, want := b.String(), i.name+"\n"; got != want {
			t.Errorf("log_type %s wrote %q, want %q", i.name, got, want)
		}
	}
}

func TestTypeNames(t *testing.T) {
	for _, i := range typeInfo {
		if got, ok := ParseType(i.name); !ok || got != i.t {
			t.Errorf("ParseType(%q) = %v, %v", i.name, got, ok)
		}
	}
	for _, word := range []string{"", "none", "all", "Error", "err"} {
		if got, ok := ParseType(word); ok {
			t.Errorf("ParseType(%q) = %v, want refusal", word, got)
		}
	}
	if got, want := Default.String(), "error warning notice information"; got != want {
		t.Errorf("Default = %q, want %q", got, want)
	}
	if got := None.String(); got != "none" {
		t.Errorf("None = %q", got)
	}
}

func TestTimestamp(t *testing.T) {
	local := testTime.Local()
	for _, tc := range []struct {
		name   string
		o      Options
		prefix string
	}{
		{"off", Options{}, ""},
		{"epoch", Options{Timestamp: true}, fmt.Sprint(testTime.Unix()) + ": "},
		{"format", Options{Timestamp: true, TimestampFormat: "%Y-%m-%dT%H:%M:%S"}, local.Format("2006-01-02T15:04:05") + ": "},
		{"format without effect", Options{TimestampFormat: "%Y"}, ""},
		{"result longer than a line", Options{Timestamp: true, TimestampFormat: strings.Repeat("%Y", 250)}, "Time error: "},
	} {
		tc.o.Types = All
		l, b := capture(t, tc.o)
		l.Info("text")
		if got, want := b.String(), tc.prefix+"text\n"; got != want {
			t.Errorf("%s: %q, want %q", tc.name, got, want)
		}
	}
}

func TestLineIsCutAt999Bytes(t *testing.T) {
	l, b := capture(t, Options{Types: All, Timestamp: true})
	l.Info("%s", strings.Repeat("a", 2000))
	line := b.String()
	if len(line) != 1000 || line[999] != '\n' || strings.Count(line, "\n") != 1 {
		t.Errorf("got %d bytes, want 999 and a line feed", len(line))
	}
	b.Reset()
	l.Info("%s", strings.Repeat("a", 999-len("1770091506: ")))
	if got := b.Len(); got != 1000 {
		t.Errorf("a line of exactly 999 bytes came out as %d", got)
	}
}

func TestControlCharactersCannotForgeALine(t *testing.T) {
	l, b := capture(t, Options{Types: All})
	l.Notice("Client %s\tx", "a\n1: Error: b\x7f\x1b[2J")
	if got, want := b.String(), "Client a\\x0a1: Error: b\\x7f\\x1b[2J\tx\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFileIsAppendedAndPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.log")
	for range 2 {
		l, err := New(Options{Types: All, Dest: ToFile, File: path})
		if err != nil {
			t.Fatal(err)
		}
		l.Info("hello")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l.Info("after close")
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != "hello\nhello\n" {
		t.Errorf("file holds %q, %v", got, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestReopenFollowsRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.log")
	l, err := New(Options{Types: All, Dest: ToFile, File: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.Info("one")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	l.Info("two")
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Info("three")
	old, _ := os.ReadFile(path + ".1")
	now, _ := os.ReadFile(path)
	if string(old) != "one\ntwo\n" || string(now) != "three\n" {
		t.Errorf("rotated %q, new %q", old, now)
	}
}

func TestRenamedFileIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.log")
	now := testTime
	l, err := New(Options{Types: All, Dest: ToFile, File: path, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.Info("one")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	l.Info("two") // within the second, still the old file
	now = now.Add(time.Second)
	l.Info("three")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	l.Info("four") // nothing can be opened there: no panic, and the next one works
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	l.Info("five")
	old, _ := os.ReadFile(path + ".1")
	is, _ := os.ReadFile(path)
	if string(old) != "one\ntwo\n" || string(is) != "five\n" {
		t.Errorf("rotated %q, new %q", old, is)
	}
}

func TestFileThatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "target"), link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "no", "file"), link} {
		var b bytes.Buffer
		l, err := New(Options{Types: All, Dest: ToFile | ToStdout, File: path, Stderr: &b, Stdout: &b})
		if err == nil {
			t.Errorf("%s: opened", path)
		}
		l.Info("not this")
		l.Error("but this")
		want := "Error: Unable to open log file " + path + " for writing.\nbut this\n"
		if got := b.String(); got != want {
			t.Errorf("%s: wrote %q, want %q", path, got, want)
		}
	}
}

func TestSymbolicLinkIsAllowedByEnvironment(t *testing.T) {
	t.Setenv("MOSQUITTO_UNSAFE_ALLOW_SYMLINKS", "1")
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "target"), link); err != nil {
		t.Fatal(err)
	}
	l, err := New(Options{Types: All, Dest: ToFile, File: link})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTopicGetsTheSameLineUnderItsSuffix(t *testing.T) {
	l, b := capture(t, Options{Types: All, Dest: ToTopic, Timestamp: true})
	var got []string
	l.Info("before a publisher is set")
	l.PublishTo(func(suffix string, line []byte) {
		got = append(got, suffix+"="+string(line))
		if suffix == "E" {
			l.Debug("logging from the publisher does not deadlock")
		}
	})
	b.Reset()
	for _, i := range typeInfo {
		l.Printf(i.t, "x")
	}
	l.PublishTo(nil)
	l.Info("after")
	want := []string{
		"E=1770091506: x", "W=1770091506: x", "N=1770091506: x", "I=1770091506: x",
		"M/subscribe=1770091506: x", "M/unsubscribe=1770091506: x", "WS=1770091506: x",
	}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("published %q, want %q", got, want)
	}
}

func TestConnectionMessagesOff(t *testing.T) {
	l, b := capture(t, Options{Types: All, HideConnections: true})
	l.NewConnection("1.2.3.4:5", 1883)
	l.Connected("1.2.3.4:5", "id", 5, true, 60, nil)
	l.Disconnected(&Disconnect{ID: "id", Addr: "1.2.3.4:5", Why: ReasonTimeout})
	l.DeniedMaxConnections("1.2.3.4")
	if b.Len() != 0 {
		t.Errorf("wrote %q", b.String())
	}
	l.Dropping("id")
	if got, want := b.String(), "Outgoing messages are being dropped for client id.\n"; got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
}

func TestKnownLines(t *testing.T) {
	user := "bob"
	p := PublishLine{Dup: true, QoS: 1, PacketID: 7, Topic: "a/b", Bytes: 12}
	for _, tc := range []struct {
		want string
		f    func(*Logger)
	}{
		{"New connection from 1.2.3.4:5 on port 1883.", func(l *Logger) { l.NewConnection("1.2.3.4:5", 1883) }},
		{"New client connected from A:1 as ID (p5, c1, k60).", func(l *Logger) { l.Connected("A:1", "ID", 5, true, 60, nil) }},
		{"New client connected from A:1 as ID (p4, c0, k0, u'bob').", func(l *Logger) { l.Connected("A:1", "ID", 4, false, 0, &user) }},
		{"Client ID [A:1] disconnected.", func(l *Logger) { l.Disconnected(&Disconnect{ID: "ID", Addr: "A:1"}) }},
		{"Client ID [A:1] disconnected: exceeded timeout.", func(l *Logger) { l.Disconnected(&Disconnect{ID: "ID", Addr: "A:1", Why: ReasonTimeout}) }},
		{"Client ID [A:1] disconnected: bad socket read/write: connection reset by peer.", func(l *Logger) {
			l.Disconnected(&Disconnect{ID: "ID", Addr: "A:1", Why: SocketReason(errors.New("connection reset by peer"))})
		}},
		{"Client connection from A denied: max_connections exceeded.", func(l *Logger) { l.DeniedMaxConnections("A") }},
		{"Client from A:1 appears to be using TLS to connect to a non-TLS listener.", func(l *Logger) { l.LooksLikeTLS("A:1") }},
		{"Bad client A:1 sending multiple CONNECT messages.", func(l *Logger) { l.SecondConnect("A:1") }},
		{"Expiring client ID due to timeout.", func(l *Logger) { l.Expired("ID") }},
		{"Dropping too large outgoing PUBLISH for ID (9 bytes)", func(l *Logger) { l.TooLarge("ID", 9) }},
		{"Client ID has exceeded its receive-maximum quota. This behaviour must be fixed on the client.", func(l *Logger) { l.ReceiveMaximumExceeded("ID") }},
		{`Unable to accept new connection, system socket count has been exceeded. Try increasing "ulimit -n" or equivalent.`, func(l *Logger) { l.OutOfSockets() }},
		{"Protocol error from A:1: First packet not CONNECT (C0).", func(l *Logger) { l.ProtocolErrorf("A:1", "First packet not CONNECT (%02X)", 0xc0) }},
		{"ID 2 a/#", func(l *Logger) { l.Subscribed("ID", 2, "a/#") }},
		{"ID a/#", func(l *Logger) { l.Unsubscribed("ID", "a/#") }},
		{"Received PUBLISH from ID (d1, q1, r0, m7, 'a/b', ... (12 bytes))", func(l *Logger) { l.ReceivedPublish("ID", p) }},
		{"Sending PUBLISH to ID (d1, q1, r0, m7, 'a/b', ... (12 bytes))", func(l *Logger) { l.SendingPublish("ID", p) }},
		{"Denied PUBLISH from ID (d1, q1, r0, m7, 'a/b', ... (12 bytes))", func(l *Logger) { l.DeniedPublish("ID", p) }},
		{"Dropped too large PUBLISH from ID (d1, q1, r0, m7, 'a/b', ... (12 bytes))", func(l *Logger) { l.DroppedTooLarge("ID", p) }},
	} {
		l, b := capture(t, Options{Types: All})
		tc.f(l)
		if got := b.String(); got != tc.want+"\n" {
			t.Errorf("wrote %q, want %q", got, tc.want)
		}
	}
}

func TestPeerName(t *testing.T) {
	for _, tc := range []struct {
		a    net.Addr
		want string
	}{
		{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5}, "127.0.0.1:5"},
		{&net.TCPAddr{IP: net.ParseIP("::1"), Port: 5}, "::1:5"},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 5}, "fe80::1%eth0:5"},
		{&net.UnixAddr{Name: "/run/m.sock"}, "/run/m.sock:0"},
	} {
		if got := PeerName(tc.a); got != tc.want {
			t.Errorf("PeerName(%v) = %q, want %q", tc.a, got, tc.want)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	var b bytes.Buffer
	l, err := New(Options{Types: All, Dest: ToStderr | ToTopic, Stderr: &b})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	published := 0
	l.PublishTo(func(string, []byte) { mu.Lock(); published++; mu.Unlock() })
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				l.Info("line")
			}
		})
	}
	wg.Wait()
	if got := strings.Count(b.String(), "line\n"); got != 400 || b.Len() != 400*len("line\n") || published != 400 {
		t.Errorf("%d whole lines in %d bytes, %d published", got, b.Len(), published)
	}
}

func TestDisabledTypeAllocatesNothing(t *testing.T) {
	l := Discard()
	if n := testing.AllocsPerRun(100, func() { l.Subscribed("id", 1, "a/b"); _ = l.Enabled(Debug) }); n != 0 {
		t.Errorf("%v allocations per disabled line", n)
	}
}

func TestStrftime(t *testing.T) {
	at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.FixedZone("XYZ", 3600))
	for format, want := range map[string]string{
		"":         "",
		"plain":    "plain",
		"%":        "%",
		"%%":       "%",
		"a%":       "a%",
		"%Q":       "%Q",
		"%A %a":    "Tuesday Tue",
		"%B %b %h": "February Feb Feb",
		"%c":       "Tue Feb  3 04:05:06 2026",
		"%C":       "20",
		"%d|%e":    "03| 3",
		"%D %x":    "02/03/26 02/03/26",
		"%F %T":    "2026-02-03 04:05:06",
		"%G %g %V": "2026 26 06",
		"%H %I %k": "04 04  4",
		"%j":       "034",
		"%l%p%P":   " 4AMam",
		"%M:%S":    "05:06",
		"%R %r":    "04:05 04:05:06 AM",
		"%s":       fmt.Sprint(at.Unix()),
		"%U %W":    "05 05",
		"%u %w":    "2 2",
		"%X":       "04:05:06",
		"%Y %y":    "2026 26",
		"%z %Z":    "+0100 XYZ",
		"%n%t":     "\n\t",
		"%Ey %Od":  "26 03",
		"%E":       "%E",
	} {
		if got := Strftime(format, at); got != want {
			t.Errorf("Strftime(%q) = %q, want %q", format, got, want)
		}
	}
	sunday := time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)
	if got := Strftime("%u %w %U %W %I%p", sunday); got != "7 0 05 04 12PM" {
		t.Errorf("Sunday noon: %q", got)
	}
	if got := Strftime("%I%p", sunday.Add(12*time.Hour)); got != "12AM" {
		t.Errorf("midnight: %q", got)
	}
}

func FuzzStrftime(f *testing.F) {
	f.Add("%Y-%m-%dT%H:%M:%S%z", int64(0))
	f.Add("%E%O%%%", int64(-1))
	f.Fuzz(func(t *testing.T, format string, sec int64) {
		got := Strftime(format, time.Unix(sec%(1<<40), 0).UTC())
		if !strings.Contains(format, "%") && got != format {
			t.Errorf("Strftime(%q) = %q", format, got)
		}
	})
}
