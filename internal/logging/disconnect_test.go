package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	at := time.Date(2026, 11, 21, 12, 0, 0, 5000, time.UTC)
	l, err := New(Options{Types: Default, Dest: ToStdout, JSON: true, Timestamp: true, Stdout: &b, Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	user := "ada \"x\"\n"
	l.Connected("::1:5", "pump", 5, true, 60, &user)
	l.Disconnected(&Disconnect{ID: "pump", Addr: "::1:5", User: user, Why: ReasonTimeout, Phase: PhaseOpen, LastPacket: "PUBLISH"})
	l.Disconnected(&Disconnect{ID: "::1:6", Addr: "::1:6", Why: ReasonTimeout, Phase: PhaseConnect})
	l.Warning("a\tb \x01 %s", strings.Repeat("é", 5000))
	l.Debug("not wanted")
	want := []map[string]any{
		{"time": "2026-11-21T12:00:00.000005Z", "type": "notice", "text": "New client connected from ::1:5 as pump (p5, c1, k60, u'ada \"x\"\n').", "event": "connected", "client": "pump", "address": "::1:5", "version": 5.0, "clean": true, "keep_alive": 60.0, "user": user},
		{"time": "2026-11-21T12:00:00.000005Z", "type": "notice", "text": "Client pump [::1:5] disconnected: exceeded timeout.", "event": "disconnected", "client": "pump", "address": "::1:5", "user": user, "cause": "keep-alive-timeout", "by": "broker", "phase": "open", "last_packet": "PUBLISH"},
		{"time": "2026-11-21T12:00:00.000005Z", "type": "notice", "text": "Client ::1:6 [::1:6] disconnected: exceeded timeout.", "event": "disconnected", "client": "::1:6", "address": "::1:6", "cause": "connect-timeout", "by": "broker", "phase": "connect"},
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines: %q", len(lines), lines)
	}
	for i, w := range want {
		var got map[string]any
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
			t.Fatalf("%q: %v", lines[i], err)
		}
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(w)
		if !bytes.Equal(a, b) {
			t.Errorf("got  %s\nwant %s", a, b)
		}
	}
	var cut struct{ Text string }
	if err := json.Unmarshal([]byte(lines[3]), &cut); err != nil || !strings.HasPrefix(cut.Text, "a\tb \x01 éé") || !strings.HasSuffix(cut.Text, "é…") || len(cut.Text) > maxMember+4 {
		t.Errorf("%v %q", err, cut.Text)
	}
}

func TestCauses(t *testing.T) {
	for why, cause := range causeOf {
		d := Disconnect{Why: why, Phase: PhaseOpen}
		if got := d.Cause(); got != cause {
			t.Errorf("%q: %s, want %s", why, got, cause)
		}
	}
	d := Disconnect{Why: SocketReason(errors.New("connection reset by peer")), Phase: PhaseOpen}
	if d.Cause() != CauseNetwork || d.By() != "network" {
		t.Errorf("socket error: %s by %s", d.Cause(), d.By())
	}
	for why, by := range map[Reason]string{ReasonNone: "client", ReasonClosedByClient: "client", ReasonBanned: "broker"} {
		if d := (Disconnect{Why: why}); d.By() != by {
			t.Errorf("%q: by %s, want %s", why, d.By(), by)
		}
	}
}

// Each cause has its section in docs/disconnects.md, in the same order, and each
// section its cause.
func TestCausesAreExplained(t *testing.T) {
	b, err := os.ReadFile("../../docs/disconnects.md")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "### `"); ok {
			name, _, _ = strings.Cut(name, "`")
			found = append(found, name)
		}
	}
	seen := make(map[string]bool)
	for c := range NumCauses {
		if seen[c.String()] {
			t.Errorf("%s is used twice", c)
		}
		seen[c.String()] = true
		if int(c) >= len(found) || found[c] != c.String() {
			t.Fatalf("section %d is not about %s: %q", c, c, found)
		}
	}
	if len(found) != int(NumCauses) {
		t.Errorf("%d sections for %d causes", len(found), NumCauses)
	}
}
