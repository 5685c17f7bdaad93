package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// difference is one thing that a client knows otherwise than the broker.
type difference struct {
	client string
	what   string
	topic  string
	n      int // number of a message; acknowledged state of a subscription
}

// What a difference can be about.
const (
	session      = "session is lost"
	subscription = "subscription is not as acknowledged"
	message      = "message is lost or out of order"
	twice        = "QoS 2 message came twice"
	retained     = "retained message is not as acknowledged"
)

func (d difference) String() string {
	return fmt.Sprintf("%s: %s: %s %d", d.client, d.what, d.topic, d.n)
}

// differ notes a difference: a failure, unless the store has reported a loss.
func (w *world) differ(d difference) {
	w.mu.Lock()
	if w.tolerant {
		w.differences = append(w.differences, d)
		w.mu.Unlock()
		return
	}
	w.mu.Unlock()
	w.fail("%v", d)
}

// flips counts what flipped bits did.
type flips struct{ all, silent, mended, lossy, differences int }

func (f flips) String() string {
	return fmt.Sprintf("%d flipped bits: %d of no effect, %d repaired without loss, %d reported as a loss, which clients saw as %d differences",
		f.all, f.silent, f.mended, f.lossy, f.differences)
}

// kindsOfFile are damaged in turn.
var kindsOfFile = []string{".log", "MANIFEST", ".sst"}

// flipped is a round in which a bit of the store flips while the broker is down.
// The clients wait until the broker has told what it lost: if that is nothing the
// round is like any other; otherwise what they miss must be within the report,
// and they go on from what the broker has.
func (w *world) flipped(round int) {
	w.t.Helper()
	w.held.Store(true)
	for _, c := range w.clients() {
		w.wait(c.id+" to see the end of its connection", func() bool { return !c.connected() })
	}
	kind := kindsOfFile[w.flips.all%len(kindsOfFile)]
	name, at := flip(w.t, w.rng, filepath.Join(w.dir, "data", "midge.store"), kind)
	w.flips.all++
	w.t.Logf("round %d: a bit of %s at %d is flipped", round, name, at)
	logged := w.logged()
	w.launch()
	r := w.report(logged)
	where := fmt.Sprintf("round %d, %s; reported: %q", round, name, r.line)
	if r.line != "" && !strings.Contains(r.line, name) && (kind != "MANIFEST" || !strings.Contains(r.line, "MANIFEST") && !strings.Contains(r.line, "does not open")) {
		w.fail("%s: the file is not named", where)
	}
	// A log's chunk is one group, or one begins and one ends at its bounds; a table
	// and a MANIFEST hold none that is not in a range or in a log.
	if r.groups > 2 || r.groups > 0 && !strings.HasSuffix(name, ".log") {
		w.fail("%s: more groups than one bit can cost", where)
	}
	if r.aside != "" {
		if _, err := os.Stat(filepath.Join(r.aside, name)); err != nil {
			w.fail("%s: the file is not where the report says: %v", where, err)
		}
	}
	switch {
	case r.line == "":
		w.flips.silent++
	case r.lost == 0:
		w.flips.mended++
	default:
		w.flips.lossy++
	}
	w.t.Log(where)
	w.mu.Lock()
	w.tolerant = r.lost > 0
	w.mu.Unlock()
	if w.tolerant {
		for _, c := range w.changers {
			c.ready.Store(false)
		}
	}
	w.held.Store(false)
	w.compare()
	if w.tolerant {
		w.rebase()
		w.t.Logf("%d differences", len(w.differences))
		w.flips.differences += len(w.differences)
		for _, text := range r.uncovered(w.differences) {
			w.fail("%s: %s", where, text)
		}
		w.differences = nil
	}
	w.resume()
	if r.aside != "" {
		must(w.t, os.RemoveAll(r.aside))
	}
}

func (w *world) clients() (list []*base) {
	for _, p := range w.publishers() {
		list = append(list, &p.base)
	}
	for _, s := range w.subscribers() {
		list = append(list, &s.base)
	}
	for _, c := range w.changers {
		list = append(list, &c.base)
	}
	return list
}

// markers has each publisher send one message, each subscriber subscribe again
// and each publisher send one more: of these the last comes in any case, and
// shows that nothing from before is still to come; the first comes only over a
// subscription that was there.
func (w *world) markers() {
	w.t.Helper()
	for _, s := range w.subscribers() {
		w.wait(s.id+" to connect", s.connected)
	}
	more := func() {
		for _, p := range w.pubs {
			p.oneMore()
		}
		w.acknowledged()
	}
	more()
	first := map[string]int{}
	for _, p := range w.pubs {
		first[p.topic] = p.last()
	}
	for _, s := range w.subscribers() {
		before := s.acks.Load()
		s.mu.Lock()
		l := s.link
		s.mu.Unlock()
		if l == nil {
			w.fail("%s: connection lost", s.id)
			return
		}
		s.subscribe(l)
		w.wait(s.id+" to subscribe again", func() bool { return s.acks.Load() > before })
	}
	more()
	w.delivered()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, d := range w.differences {
		if d.what == message && d.n == first[d.topic] {
			w.differences[i].what = subscription
		}
	}
}

// rebase makes what the broker has the ground of the rounds to come. Only
// identifiers of exchanges that one side forgot are left to clear up.
func (w *world) rebase() {
	w.t.Helper()
	for _, p := range w.publishers() {
		p.stop(true)
		l, err := dial(w.addr, p.id, p.level, true)
		must(w.t, err)
		must(w.t, l.send(&rawmqtt.Packet{Type: rawmqtt.DISCONNECT}))
		for err == nil {
			_, err = l.read() // until the broker closes: the session is gone
		}
		l.close()
		p.known = false
		p.run()
	}
	for _, s := range w.subscribers() {
		w.wait("the exchanges of "+s.id, s.orphans)
	}
	w.mu.Lock()
	w.tolerant = false
	w.mu.Unlock()
}

// report is what a start told of a loss.
type report struct {
	line   string // as logged; "": nothing was damaged
	aside  string // where the damaged files are
	lost   int64  // the metric
	groups int    // of changes
	end    int64  // at most so many bytes at the end of the last log; -1: that does not check
	ranges []keys
	all    bool // nothing of the store could be read, or nothing of a table
}

type keys struct{ from, to string }

var (
	reportLine   = regexp.MustCompile(`(?m)^.*Error: (The store .* is damaged: .*)$`)
	reportAside  = regexp.MustCompile(`The files as they were found are in (.*)\.$`)
	reportGroups = regexp.MustCompile(`(\d+) groups of changes`)
	reportEnd    = regexp.MustCompile(`what the last log held at its end, at most (\d+) bytes`)
	reportRange  = regexp.MustCompile(`a part of \S+, keys ("(?:[^"\\]|\\.)*") to ("(?:[^"\\]|\\.)*")`)
	reportTable  = regexp.MustCompile(`all of \S+\.sst`)
)

func (w *world) logged() int64 {
	i, err := w.log.Stat()
	must(w.t, err)
	return i.Size()
}

// report reads what the start that began at this place of the log has told, and
// compares the log with the metric, by the control socket and below $SYS.
func (w *world) report(from int64) report {
	w.t.Helper()
	var status struct {
		Metrics map[string]int64 `json:"metrics"`
	}
	w.ask(&status, "status")
	text, err := os.ReadFile(filepath.Join(w.dir, "log"))
	must(w.t, err)
	r, err := parseReport(text[from:])
	must(w.t, err)
	r.lost = status.Metrics["store_lost_total"]
	if want := r.losses(); r.lost < want || want == 0 && r.lost > 0 {
		w.fail("store_lost_total is %d, logged was %d: %s", r.lost, want, r.line)
	}
	l := w.mustDial("", rawmqtt.V311)
	defer l.close()
	must(w.t, l.send(&rawmqtt.Packet{Type: rawmqtt.SUBSCRIBE, Flags: 2, ID: 1, Filters: []rawmqtt.Filter{{Filter: "$SYS/broker/store/lost"}}}))
	for want := fmt.Sprint(r.lost); ; {
		if k := w.next(l, rawmqtt.PUBLISH); k.payload == want {
			return r
		}
	}
}

func parseReport(text []byte) (report, error) {
	r := report{end: -1}
	m := reportLine.FindSubmatch(text)
	if m == nil {
		return r, nil
	}
	r.line = string(m[1])
	if m := reportAside.FindStringSubmatch(r.line); m != nil {
		r.aside = m[1]
	}
	if m := reportGroups.FindStringSubmatch(r.line); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return r, err
		}
		r.groups = n
	}
	if m := reportEnd.FindStringSubmatch(r.line); m != nil {
		n, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			return r, err
		}
		r.end = n
	}
	for _, m := range reportRange.FindAllStringSubmatch(r.line, -1) {
		var k keys
		var err error
		if k.from, err = strconv.Unquote(m[1]); err != nil {
			return r, fmt.Errorf("range %s: %w", m[1], err)
		}
		if k.to, err = strconv.Unquote(m[2]); err != nil {
			return r, fmt.Errorf("range %s: %w", m[2], err)
		}
		r.ranges = append(r.ranges, k)
	}
	r.all = reportTable.MatchString(r.line) || strings.Contains(r.line, "begins with an empty one")
	return r, nil
}

// losses is what the metric shows after such a line.
func (r *report) losses() int64 {
	n := int64(r.groups + len(r.ranges))
	if r.end >= 0 {
		n++
	}
	if r.all {
		n++
	}
	return n
}

// touches is whether a range of keys that begin like this may be lost.
func (r *report) touches(prefix string) bool {
	for _, k := range r.ranges {
		if k.from <= prefix+"\xff" && (k.to == "" || k.to > prefix) {
			return true
		}
	}
	return false
}

// uncovered tells which differences the report does not explain.
func (r *report) uncovered(list []difference) (out []string) {
	if r.all {
		return nil // everything may be gone
	}
	// Keys of sessions, queues, messages and retained messages, by first letter;
	// see docs/formats/store.md.
	inRange := func(d difference) bool {
		switch d.what {
		case retained:
			return r.touches("r" + d.topic)
		case session, subscription, twice:
			return r.touches("s")
		}
		return r.touches("s") || r.touches("q") || r.touches("m")
	}
	type queue struct{ client, topic string }
	missing := map[queue]int{}
	sizes := map[string]int64{} // by message, however many subscribers miss it
	homeless := map[string]bool{}
	for _, d := range list {
		if d.what == session || d.what == subscription {
			homeless[d.client] = true
		}
	}
	for _, d := range list {
		if inRange(d) {
			continue
		}
		if r.groups == 0 && r.end < 0 {
			out = append(out, fmt.Sprintf("%v is not within the report", d))
		}
		if d.what == message && !homeless[d.client] {
			missing[queue{d.client, d.topic}]++
			sizes[fmt.Sprint(d.topic, d.n)] = int64(len(d.topic) + len(strconv.Itoa(d.n)+padding(d.n)))
		}
	}
	// A group holds what was under way, so of a publisher not more than its window.
	if r.end < 0 {
		for q, n := range missing {
			if n > r.groups*window {
				out = append(out, fmt.Sprintf("%s misses %d messages on %s, too many for %d groups", q.client, n, q.topic, r.groups))
			}
		}
	}
	if r.groups == 0 && r.end >= 0 {
		sum := int64(0)
		for _, n := range sizes {
			sum += n
		}
		if sum > r.end {
			out = append(out, fmt.Sprintf("messages of %d bytes are missing, at most %d were reported", sum, r.end))
		}
	}
	return out
}

// TestReport: the report that rounds are judged by is read as it is written.
func TestReport(t *testing.T) {
	text := "1: midge\n2026-11-21: Error: The store d/midge.store is damaged: 000004.log does not check from byte 1 to 2 of 3. Lost: 2 groups of changes, " +
		`what the last log held at its end, at most 77 bytes, a part of 000009.sst, keys "" to "r/\x00\"x", a part of 000010.sst, keys "q" to "". 12 records were recovered. ` +
		"The files as they were found are in d/midge.store.damaged-20261121-120000.\nmore\n"
	r, err := parseReport([]byte(text))
	must(t, err)
	if r.groups != 2 || r.end != 77 || len(r.ranges) != 2 || r.ranges[0] != (keys{"", "r/\x00\"x"}) || r.ranges[1] != (keys{"q", ""}) || r.all ||
		r.aside != "d/midge.store.damaged-20261121-120000" || r.losses() != 5 {
		t.Errorf("%+v", r)
	}
	if r, err := parseReport([]byte("nothing\n")); err != nil || r.line != "" || r.losses() != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = parseReport([]byte("Error: The store s is damaged: 000004.log holds no batch at byte 5. Nothing is lost: 5 records were recovered. The files as they were found are in x.\n"))
	if err != nil || r.line == "" || r.losses() != 0 || r.aside != "x" {
		t.Errorf("%+v, %v", r, err)
	}
	many := func(n int) (list []difference) {
		for i := range n {
			list = append(list, difference{client: "a", what: message, topic: "p/1", n: i + 1})
		}
		return list
	}
	for _, c := range []struct {
		r       report
		d       []difference
		covered bool
	}{
		{report{groups: 1, end: -1}, many(window), true},
		{report{groups: 1, end: -1}, many(window + 1), false},
		{report{groups: 1, end: -1}, append(many(window+1), difference{client: "a", what: session}), true},
		{report{end: 2000}, many(6), true},
		{report{end: 20}, many(99), false},
		{report{end: -1, ranges: []keys{{"q", "r"}}}, many(500), true},
		{report{end: -1, ranges: []keys{{"r/3", "r/4"}}}, many(1), false},
		{report{end: -1, ranges: []keys{{"r/3", ""}}}, []difference{{what: retained, topic: "/4"}}, true},
		{report{end: -1, ranges: []keys{{"r/3", "r/4"}}}, []difference{{what: retained, topic: "/4"}}, false},
		{report{end: -1, ranges: []keys{{"q", "r"}}}, []difference{{what: session}}, false},
		{report{end: -1, all: true}, []difference{{what: session}}, true},
	} {
		if out := c.r.uncovered(c.d); (len(out) == 0) != c.covered {
			t.Errorf("%+v with %d differences: %q", c.r, len(c.d), out)
		}
	}
}
