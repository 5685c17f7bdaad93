package crash

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// TestDamage: one flipped bit in a log, a MANIFEST or a table of a store that was
// left by SIGKILL never stops the start, and what is missing is reported.
func TestDamage(t *testing.T) {
	w := newWorld(t, "max_queued_messages 0\nsys_interval 0\n")
	w.launch()
	const sessions, each = 20, 200
	p := w.mustDial("publisher", rawmqtt.V5)
	for i := range sessions {
		s := w.mustPersist(fmt.Sprint("away", i))
		must(t, s.send(&rawmqtt.Packet{Type: rawmqtt.SUBSCRIBE, Flags: 2, ID: 1, Filters: []rawmqtt.Filter{{Filter: fmt.Sprintf("q/%d", i), Options: 1}}}))
		w.next(s, rawmqtt.SUBACK)
		s.close()
	}
	publish := func(from, to int) {
		for n := from; n < to; n++ {
			k := &rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: 2, ID: 1, Topic: fmt.Sprintf("q/%d", n%sessions), Payload: []byte(padding(n))}
			must(t, p.send(k))
			w.next(p, rawmqtt.PUBACK)
			if n%10 == 0 {
				k.Flags, k.Topic, k.Payload = 3, fmt.Sprintf("r/%d", n), []byte("kept")
				must(t, p.send(k))
				w.next(p, rawmqtt.PUBACK)
			}
		}
	}
	publish(0, sessions*each/2)
	w.terminate() // some of it is in tables
	w.launch()
	p = w.mustDial("publisher", rawmqtt.V5)
	publish(sessions*each/2, sessions*each)
	w.kill()
	original := filepath.Join(w.dir, "original")
	data := filepath.Join(w.dir, "data")
	must(t, os.Rename(data, original))
	again := func() (holds, int64) {
		w.launch()
		defer w.kill()
		h := w.holds()
		for i := range sessions {
			h.delivered += w.drain(fmt.Sprint("away", i), each)
		}
		var status struct {
			Metrics map[string]int64 `json:"metrics"`
		}
		w.ask(&status, "status")
		return h, status.Metrics["store_lost_total"]
	}
	must(t, os.CopyFS(data, os.DirFS(original)))
	want, lost := again()
	if lost != 0 || want.Messages != sessions*each || want.Count != sessions || want.retained != sessions*each/10 || want.delivered != sessions*each {
		t.Fatalf("undamaged: %+v, %d lost", want, lost)
	}
	harmless := 0
	for round := range max(rounds(t)/10, 4) {
		must(t, os.RemoveAll(data))
		must(t, os.CopyFS(data, os.DirFS(original)))
		name, at := flip(t, w.rng, filepath.Join(data, "midge.store"), "")
		got, lost := again()
		switch {
		case got == want:
			harmless++
		case lost == 0:
			t.Errorf("round %d: a bit of %s at %d was flipped: %+v is left of %+v, and no loss is reported; see %s", round, name, at, got, want, w.keep())
		}
		if got.delivered > want.delivered || got.retained > want.retained {
			t.Errorf("round %d: %s at %d: %+v, more than there was: %+v", round, name, at, got, want)
		}
	}
	t.Logf("%d flipped bits were without effect", harmless)
}

// holds is what a broker says that it has.
type holds struct {
	Count               int   `json:"count"`
	Messages            int64 `json:"messages"`
	Bytes               int64 `json:"bytes"`
	retained, delivered int64
}

func (w *world) holds() (h holds) {
	w.t.Helper()
	var status struct {
		Metrics map[string]int64 `json:"metrics"`
	}
	w.ask(&h, "sessions", "--limit", "1")
	w.ask(&status, "status")
	h.retained = status.Metrics["retained_messages"]
	return h
}

// drain takes what waits for a session: all that is expected, or what comes before
// a pause.
func (w *world) drain(id string, expected int64) (n int64) {
	l, err := dial(w.addr, id, rawmqtt.V5, false)
	if err != nil || !l.present {
		return 0
	}
	defer l.close()
	for n < expected {
		_ = l.c.SetReadDeadline(time.Now().Add(2 * time.Second))
		k, err := l.read()
		if err != nil {
			return n
		}
		if k.kind == rawmqtt.PUBLISH {
			n++
			_ = l.ack(rawmqtt.PUBACK, k.id)
		}
	}
	return n
}

// ask runs a command of midge against the broker; the control socket opens a
// moment after the listeners.
func (w *world) ask(v any, command string, args ...string) {
	w.t.Helper()
	var out []byte
	var err error
	for range 200 {
		args := append([]string{command, "--json", "--socket", filepath.Join(w.dir, "c.sock")}, args...)
		if out, err = exec.Command(program, args...).Output(); err == nil {
			must(w.t, json.Unmarshal(out, v))
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatalf("midge %s: %v", command, err)
}

func (w *world) mustPersist(id string) *link {
	w.t.Helper()
	l, err := dial(w.addr, id, rawmqtt.V5, false)
	must(w.t, err)
	return l
}

// flip turns one bit of one file round: a file whose name ends or begins with
// kind, if there is one.
func flip(t *testing.T, rng *rand.Rand, dir, kind string) (name string, at int) {
	t.Helper()
	list, err := os.ReadDir(dir)
	must(t, err)
	var files, wanted []string
	for _, f := range list {
		n := f.Name()
		if i, err := f.Info(); err == nil && i.Size() > 0 && (strings.HasSuffix(n, ".log") || strings.HasSuffix(n, ".sst") || strings.HasPrefix(n, "MANIFEST")) {
			files = append(files, n)
			if strings.HasSuffix(n, kind) || strings.HasPrefix(n, kind) {
				wanted = append(wanted, n)
			}
		}
	}
	if len(wanted) > 0 {
		files = wanted
	}
	name = files[rng.IntN(len(files))]
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	must(t, err)
	end := len(b)
	for end > 1 && b[end-1] == 0 { // a log's preallocated end says nothing
		end--
	}
	at = rng.IntN(end)
	b[at] ^= 1 << rng.IntN(8)
	must(t, os.WriteFile(path, b, 0o600))
	return name, at
}
