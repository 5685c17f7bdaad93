package crash

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// The limit and, beside it, what the process may take: garbage comes on top of what is live, as much again, and the program itself.
const (
	memoryLimit  = 64 << 20
	memoryBound  = 2*memoryLimit + 96<<20
	memoryFill   = 4 * memoryLimit // what each test offers, in bytes
	memoryPiece  = 16 << 10
	memoryPieces = memoryFill / memoryPiece
)

// TestMemoryLimit offers the broker, by each way that something can be left with it, four times the memory it may use: it refuses
// what it can refuse, counts what it drops, answers to the end, and its process stays small.
func TestMemoryLimit(t *testing.T) {
	piece := []byte(strings.Repeat("x", memoryPiece))
	publish := func(i int, topic string, retain byte) *rawmqtt.Packet {
		return &rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: 2 | retain, ID: uint16(i%1000) + 1, Topic: topic, Payload: piece}
	}
	const quota = 0x97
	for name, fill := range map[string]func(*testing.T, *world){
		"retained-5": func(t *testing.T, w *world) {
			l := w.mustDial("p", rawmqtt.V5)
			refused := 0
			for i := range memoryPieces {
				must(t, l.send(publish(i, fmt.Sprint("r/", i), 1)))
				if k := w.next(l, rawmqtt.PUBACK); k.code == quota {
					refused++
				}
			}
			if refused < memoryPieces/2 {
				t.Errorf("%d of %d refused", refused, memoryPieces)
			}
			// What needs no more than before is taken, and what needs less.
			must(t, l.send(publish(0, "r/0", 1)))
			if k := w.next(l, rawmqtt.PUBACK); k.code == quota {
				t.Error("a message in place of one of its size was refused")
			}
			must(t, l.send(&rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: 3, ID: 1, Topic: "r/1"}))
			if k := w.next(l, rawmqtt.PUBACK); k.code == quota {
				t.Error("the end of a retained message was refused")
			}
		},
		"retained-3": func(t *testing.T, w *world) {
			s := w.mustDial("s", rawmqtt.V311)
			must(t, s.send(&rawmqtt.Packet{Type: rawmqtt.SUBSCRIBE, Flags: 2, ID: 1, Filters: []rawmqtt.Filter{{Filter: "r/last"}}}))
			w.next(s, rawmqtt.SUBACK)
			l := w.mustDial("p", rawmqtt.V311)
			for i := range memoryPieces {
				must(t, l.send(publish(i, fmt.Sprint("r/", i), 1)))
				w.next(l, rawmqtt.PUBACK)
			}
			must(t, l.send(publish(0, "r/last", 1)))
			w.next(l, rawmqtt.PUBACK)
			w.next(s, rawmqtt.PUBLISH) // passed on, though not retained
			if n := w.dropped("p"); n < memoryPieces/2 {
				t.Errorf("%d of %d counted as dropped", n, memoryPieces)
			}
		},
		"queue": func(t *testing.T, w *world) {
			s, err := dial(w.addr, "s", rawmqtt.V311, false)
			must(t, err)
			must(t, s.send(&rawmqtt.Packet{Type: rawmqtt.SUBSCRIBE, Flags: 2, ID: 1, Filters: []rawmqtt.Filter{{Filter: "q", Options: 1}}}))
			w.next(s, rawmqtt.SUBACK)
			s.close()
			l := w.mustDial("p", rawmqtt.V311)
			for i := range memoryPieces {
				must(t, l.send(publish(i, "q", 0)))
				w.next(l, rawmqtt.PUBACK)
			}
			if n := w.dropped("s"); n < memoryPieces/2 {
				t.Errorf("%d of %d counted as dropped", n, memoryPieces)
			}
		},
		"sessions": func(t *testing.T, w *world) {
			long, refused := strings.Repeat("i", 60000), 0
			for i := range memoryFill / len(long) {
				l, err := dial(w.addr, fmt.Sprint(i, "-", long), rawmqtt.V311, false)
				if err != nil {
					refused++
					continue
				}
				l.close()
			}
			if refused < memoryFill/len(long)/2 {
				t.Errorf("%d of %d refused", refused, memoryFill/len(long))
			}
		},
		"subscriptions": func(t *testing.T, w *world) {
			l := w.mustDial("p", rawmqtt.V5)
			long, refused := strings.Repeat("f", 60000), 0
			for i := range memoryFill / len(long) {
				must(t, l.send(&rawmqtt.Packet{Type: rawmqtt.SUBSCRIBE, Flags: 2, ID: 1, Filters: []rawmqtt.Filter{{Filter: fmt.Sprint(i, "/", long)}}}))
				if k := w.next(l, rawmqtt.SUBACK); k.code == quota {
					refused++
				}
			}
			if refused < memoryFill/len(long)/2 {
				t.Errorf("%d of %d refused", refused, memoryFill/len(long))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, fmt.Sprintf("max_queued_messages 0\nmemory_limit %d\n", memoryLimit))
			conf, err := os.ReadFile(w.conf)
			must(t, err)
			must(t, os.WriteFile(w.conf, []byte(strings.Replace(string(conf), "persistence true", "persistence false", 1)), 0o600))
			w.launch()
			fill(t, w)
			if most := w.peak(); most > memoryBound {
				t.Errorf("the process took %d MB, want at most %d", most>>20, memoryBound>>20)
			} else {
				t.Logf("%d MB at the most", most>>20)
			}
			w.terminate()
		})
	}
}

var peakLine = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peak is the largest resident set the process ever had, in bytes.
func (w *world) peak() int {
	w.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid))
	if err != nil {
		w.t.Fatal(err)
	}
	m := peakLine.FindSubmatch(b)
	if m == nil {
		w.t.Fatalf("no VmHWM in %s", b)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		w.t.Fatal(err)
	}
	return n << 10
}
