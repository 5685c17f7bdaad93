package salvage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/pebblestore"
	"github.com/midgemq/midge/mqtt"
)

const dir = "store"

func opts(fs vfs.FS) pebblestore.Options {
	return pebblestore.Options{FS: fs, MemTableBytes: 64 << 10, Clock: func() (record.Instant, time.Time) {
		return record.Second, time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	}}
}

func commit(t testing.TB, st store.Store, ops ...record.Op) {
	t.Helper()
	done := make(chan error, 1)
	st.Commit(&store.Batch{Ops: ops}, store.Flush, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func message(topic, payload string) *record.Message {
	m := record.NewMessage([]byte(topic), []byte(payload), nil)
	m.QoS = 1
	return m
}

// groups is how many the sample commits one by one; each leaves one retained
// message and one queue entry of its own.
const groups = 400

// sample makes a store with several tables and a log, as kill -9 leaves it.
func sample(t testing.TB) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewCrashableMem()
	st, err := pebblestore.Open(dir, opts(fs))
	if err != nil {
		t.Fatal(err)
	}
	for k := record.SessionKey(1); k <= 3; k++ {
		commit(t, st, record.Op{Kind: record.PutSession, Session: &record.Session{Key: k, ClientID: fmt.Sprint("client", k), Expiry: mqtt.NeverExpires}},
			record.Op{Kind: record.PutSubscription, Key: k, Sub: &record.Subscription{Filter: "#", QoS: 1}})
	}
	for i := range uint64(groups) {
		payload := fmt.Sprintf("payload %d %s", i, strings.Repeat(fmt.Sprint(i*7919), 40))
		commit(
			t, st,
			record.Op{Kind: record.PutRetained, Entry: record.Queued{Msg: message(fmt.Sprintf("r/%04d", i), payload)}},
			record.Op{Kind: record.Enqueue, Key: record.SessionKey(1 + i%2), Entry: record.Queued{Msg: message("q", payload), Seq: i + 1, QoS: 1}},
			record.Op{Kind: record.Enqueue, Key: 3, Entry: record.Queued{Msg: message("q", "short"), Seq: i + 1, QoS: 1}},
		)
	}
	commit(t, st, record.Op{Kind: record.DeleteSession, Key: 3}, record.Op{Kind: record.DeleteRetained, Filter: "r/0000"})
	for i := range uint64(20) {
		commit(t, st, record.Op{Kind: record.PutRetained, Entry: record.Queued{Msg: message(fmt.Sprintf("late/%d", i), strings.Repeat("late", 50))}})
	}
	clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	return clone
}

// content is what a store holds: name to payload.
func content(t testing.TB, st store.Store) map[string]string {
	t.Helper()
	c := make(map[string]string)
	err := st.LoadSessions(func(s *store.Saved) error {
		c["s/"+s.Session.ClientID] = fmt.Sprint(s.Session.Expiry, s.Subs)
		done := make(chan error, 1)
		st.ReadQueue(s.Session.Key, 0, 10*groups, func(q []record.Queued, err error) {
			for i := range q {
				c[fmt.Sprintf("q/%s/%d", s.Session.ClientID, q[i].Seq)] = string(q[i].Msg.Payload)
			}
			done <- err
		})
		return <-done
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.LoadRetained(func(m *record.Message) error { c[m.Topic] = string(m.Payload); return nil }); err != nil {
		t.Fatal(err)
	}
	return c
}

// copyFS gives a copy of the store's files that a test may damage.
func copyFS(t testing.TB, from vfs.FS) *vfs.MemFS {
	t.Helper()
	to := vfs.NewMem()
	if _, err := vfs.Clone(from, to, dir, dir, vfs.CloneSync); err != nil {
		t.Fatal(err)
	}
	return to
}

func names(t testing.TB, fs vfs.FS, d string) []string {
	t.Helper()
	l, err := fs.List(d)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(l)
	return l
}

func readFile(t testing.TB, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(bytes.Clone(b)) // with -race the file system in memory scribbles over it
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// reopen opens a damaged store and gives what is in it. The second opening must
// find nothing to mend.
func reopen(t testing.TB, fs vfs.FS) (map[string]string, Report) {
	t.Helper()
	st, r, err := Open(dir, opts(fs))
	if err != nil {
		t.Fatalf("%v; %s", err, r.Line())
	}
	c := content(t, st)
	commit(t, st, record.Op{Kind: record.PutRetained, Entry: record.Queued{Msg: message("after", "works")}})
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st, again, err := Open(dir, opts(fs))
	if err != nil || again.Damaged() {
		t.Fatalf("second opening: %v, %s", err, again.Line())
	}
	c2 := content(t, st)
	if c2["after"] != "works" {
		t.Error("what was stored after mending is not there")
	}
	delete(c2, "after")
	if !maps.Equal(c, c2) {
		t.Error("the second opening finds something else")
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	return c, r
}

// TestIntact: a store as kill -9 or a stop leaves it is left alone.
func TestIntact(t *testing.T) {
	fs := sample(t)
	st, r, err := Open(dir, opts(copyFS(t, fs)))
	if err != nil || r.Damaged() || r.Line() != "" {
		t.Fatalf("%v %s", err, r.Line())
	}
	c := content(t, st)
	if len(c) != 2+groups+groups-1+20 || c["s/client3"] != "" {
		t.Errorf("%d things", len(c))
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	empty := vfs.NewMem()
	for range 2 {
		st, r, err := Open(dir, opts(empty))
		if err != nil || r.Damaged() {
			t.Fatalf("new store: %v %s", err, r.Line())
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// judge compares what is left with what was reported: what is missing must be
// explained, and nothing may be there that was not before.
func judge(t *testing.T, what string, before, after map[string]string, r Report) {
	t.Helper()
	var missing []string
	for k, v := range before {
		got, ok := after[k]
		if !ok {
			missing = append(missing, k)
		} else if got != v {
			t.Errorf("%s: %s is not what it was", what, k)
		}
	}
	for k := range after {
		if _, ok := before[k]; !ok && !strings.Contains(r.Line(), "may be back") && r.LostGroups == 0 && !r.OpenEnd && len(r.Ranges) == 0 {
			t.Errorf("%s: %s came back from the dead", what, k)
		}
	}
	if len(missing) == 0 {
		return
	}
	switch {
	case !r.Damaged():
		t.Errorf("%s: %d things are missing in silence, such as %s", what, len(missing), missing[0])
	case r.Losses() == 0:
		t.Errorf("%s: %d things are missing, such as %s, and the report says nothing is: %s", what, len(missing), missing[0], r.Line())
	case r.LostGroups == 0 && !r.OpenEnd && !r.Abandoned:
		// Only ranges of keys. A retained message is under its topic.
		for _, k := range missing {
			key := []byte("r" + k)
			in := func(g Range) bool {
				return bytes.Compare(key, g.From) >= 0 && (g.To == nil || bytes.Compare(key, g.To) < 0)
			}
			if strings.HasPrefix(k, "r/") && !slices.ContainsFunc(r.Ranges, in) {
				t.Errorf("%s: %s is missing, reported was %s", what, k, r.Line())
			}
		}
	case len(r.Ranges) == 0 && !r.OpenEnd && !r.Abandoned:
		// Only groups: each of them held at most three of these.
		if len(missing) > 3*int(r.LostGroups) {
			t.Errorf("%s: %d things are missing, reported were %d groups", what, len(missing), r.LostGroups)
		}
	}
}

// TestBitFlips: a flipped bit anywhere in any file never stops the start, and
// what is missing is reported.
func TestBitFlips(t *testing.T) {
	fs := sample(t)
	before, r := reopen(t, copyFS(t, fs))
	if r.Damaged() {
		t.Fatal(r.Line())
	}
	flips, seed := 2, uint64(3)
	if v := os.Getenv("BITFLIPS"); v != "" { // so many in each file, at other places each time
		var err error
		if flips, err = strconv.Atoi(v); err != nil {
			t.Fatalf("BITFLIPS=%q: %v", v, err)
		}
		seed = uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
	}
	rng := rand.New(rand.NewPCG(seed, 4))
	silent, mended := 0, 0
	kinds := map[string]int{}
	for _, name := range names(t, fs, dir) {
		b := readFile(t, fs, fs.PathJoin(dir, name))
		if len(b) == 0 {
			continue
		}
		offsets := []int{0, len(b) - 1, len(b) / 2}
		for range flips {
			offsets = append(offsets, rng.IntN(len(b)))
		}
		if strings.HasSuffix(name, ".sst") && kinds["sst"] > 2 && flips == 2 {
			offsets = offsets[2:4]
		}
		kinds[name[strings.LastIndexByte(name, '.')+1:]]++
		for _, at := range offsets {
			bit := byte(1) << rng.IntN(8)
			damaged := bytes.Clone(b)
			damaged[at] ^= bit
			x := copyFS(t, fs)
			writeFile(t, x, x.PathJoin(dir, name), damaged)
			after, r := reopen(t, x)
			what := fmt.Sprintf("%s byte %d of %d bit %02x", name, at, len(b), bit)
			judge(t, what, before, after, r)
			if r.LostGroups > 2 || r.LostGroups > 0 && strings.HasSuffix(name, ".sst") {
				t.Errorf("%s: more groups than one bit can cost are reported as lost: %s", what, r.Line())
			}
			if r.Damaged() {
				mended++
				if got := readFile(t, x, x.PathJoin(r.Aside, name)); !bytes.Equal(got, damaged) {
					t.Errorf("%s: not set aside as it was: %d bytes, then %d; %s", name, len(damaged), len(got), r.Line())
				}
			} else {
				silent++
			}
		}
	}
	t.Logf("%d found and mended, %d without effect", mended, silent)
	if mended < 12 {
		t.Errorf("only %d flips had an effect", mended)
	}
}

// TestTruncatedZeroed: files that end early, are empty, zeroed or gone.
func TestTruncatedZeroed(t *testing.T) {
	fs := sample(t)
	before, _ := reopen(t, copyFS(t, fs))
	rng := rand.New(rand.NewPCG(5, 6))
	all := names(t, fs, dir)
	for i, name := range all {
		b := readFile(t, fs, fs.PathJoin(dir, name))
		if name == "LOCK" || strings.HasSuffix(name, ".sst") && i%6 != 0 {
			continue
		}
		cases := map[string][]byte{"empty": {}, "zeroed": make([]byte, len(b))}
		if len(b) > 2 {
			cut := rng.IntN(len(b))
			cases[fmt.Sprintf("cut at %d", cut)] = b[:cut]
			hole := bytes.Clone(b)
			at := rng.IntN(len(b))
			clear(hole[at:min(at+700, len(b))])
			cases[fmt.Sprintf("hole at %d", at)] = hole
		}
		for what, damaged := range cases {
			x := copyFS(t, fs)
			writeFile(t, x, x.PathJoin(dir, name), damaged)
			after, r := reopen(t, x)
			judge(t, name+" "+what, before, after, r)
		}
		x := copyFS(t, fs)
		if err := x.Remove(x.PathJoin(dir, name)); err != nil {
			t.Fatal(err)
		}
		after, r := reopen(t, x)
		judge(t, name+" gone", before, after, r)
	}
}

// lastLog gives the newest log, its bytes and what is in it.
func lastLog(t *testing.T, fs vfs.FS) (last logFile, b []byte, w walked) {
	t.Helper()
	f, err := list(fs, dir)
	if err != nil {
		t.Fatal(err)
	}
	last = f.logs[len(f.logs)-1]
	b = readFile(t, fs, fs.PathJoin(dir, last.name))
	return last, b, walk(b, last.number)
}

// TestEndCutAway: the last log cut between two groups looks as if the broker had
// ended earlier, and one that is empty or gone as if nothing had been written. The
// mark of what was on stable storage tells, to the group; without one that checks
// nothing is said, and nothing is refused.
func TestEndCutAway(t *testing.T) {
	fs := sample(t)
	before, _ := reopen(t, copyFS(t, fs))
	last, b, w := lastLog(t, fs)
	whole, err := pebblestore.Durable(fs, dir)
	if err != nil || whole < groups {
		t.Fatalf("%d %v", whole, err)
	}
	keep := len(w.at) - 7
	for what, log := range map[string][]byte{"cut": b[:w.at[keep]], "empty": {}, "zeros": make([]byte, len(b)), "gone": nil} {
		lost := uint64(7)
		if what != "cut" {
			lost = uint64(len(w.at))
		}
		for _, marked := range []bool{true, false} {
			x := copyFS(t, fs)
			writeFile(t, x, x.PathJoin(dir, last.name), log)
			if log == nil {
				if err := x.Remove(x.PathJoin(dir, last.name)); err != nil {
					t.Fatal(err)
				}
			}
			if !marked {
				writeFile(t, x, x.PathJoin(dir, "durable"), []byte("123456789012"))
				lost = 0
			}
			after, r := reopen(t, x)
			if r.LostGroups != lost || r.Damaged() != marked || what == "cut" && len(after) != len(before)-7 {
				t.Errorf("%s, marked %t: %d of %d things, want %d groups lost: %s", what, marked, len(after), len(before), lost, r.Line())
			}
		}
	}
}

// TestMarkIsTrue: whatever a crash leaves of the files, the mark never claims more
// than is there; and after a kill it claims all that was promised.
func TestMarkIsTrue(t *testing.T) {
	fs := vfs.NewCrashableMem()
	st, err := pebblestore.Open(dir, opts(fs))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 8))
	claimed, promised := uint64(0), uint64(0)
	for i := range 300 {
		level := store.Level(rng.IntN(3))
		done := make(chan error, 1)
		op := record.Op{Kind: record.PutRetained, Entry: record.Queued{Msg: message(fmt.Sprint("r/", rng.IntN(50)), strings.Repeat("x", rng.IntN(3000)))}}
		st.Commit(&store.Batch{Ops: []record.Op{op}}, level, func(err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if level == store.Flush {
			promised = uint64(i + 1) // groups of one batch each; the engine may add some of its own
		}
		percent := []int{0, 20, 50, 90, 100}[i%5]
		x := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
		r, err := Inspect(x, dir)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(r.Line(), "stable storage") {
			t.Errorf("after %d commits, %d %% of the rest kept: %s", i+1, percent, r.Line())
		}
		n, err := pebblestore.Durable(x, dir)
		if err == nil {
			claimed = max(claimed, n)
		}
		if percent == 100 && n < promised {
			t.Errorf("after %d commits the mark says %d, %d were promised", i+1, n, promised)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if claimed < 200 {
		t.Errorf("the mark never got beyond %d", claimed)
	}
}

// TestGroupsLost: damage in the middle of a log costs exactly the groups it hits;
// those behind are loaded.
func TestGroupsLost(t *testing.T) {
	fs := sample(t)
	before, _ := reopen(t, copyFS(t, fs))
	var name string
	for _, n := range names(t, fs, dir) {
		if strings.HasSuffix(n, ".log") {
			name = n // the last one
		}
	}
	b := readFile(t, fs, fs.PathJoin(dir, name))
	at := bytes.Index(b, []byte("late/7"))
	if at < 0 || !bytes.Contains(b[at:], []byte("late/15")) {
		t.Fatal("the log is not as expected")
	}
	b[at] ^= 1
	x := copyFS(t, fs)
	writeFile(t, x, x.PathJoin(dir, name), b)
	after, r := reopen(t, x)
	if r.LostGroups != 1 || r.OpenEnd || len(r.Ranges) != 0 || r.Losses() != 1 {
		t.Errorf("%+v", r)
	}
	delete(before, "late/7")
	if !maps.Equal(before, after) {
		t.Errorf("%d things, want %d", len(after), len(before))
	}
	want := "The store store is damaged: " + name + " does not check from byte "
	if l := r.Line(); !strings.HasPrefix(l, want) || !strings.Contains(l, " Lost: 1 groups of changes. ") ||
		!strings.HasSuffix(l, "The files as they were found are in store.damaged-20261121-120000.") {
		t.Errorf("%s", l)
	}
}

// TestEndOfEndedLog: damage in the last group is reported as well if its log was
// ended in order and the next one is still empty, and that alone: a table that is
// just being made is no loss.
func TestEndOfEndedLog(t *testing.T) {
	fs := sample(t)
	before, _ := reopen(t, copyFS(t, fs))
	last, b, w := lastLog(t, fs)
	end := w.at[len(w.at)-1]
	b = b[:end+int64(chunkHead+len(w.records[len(w.records)-1]))] // it was one chunk
	whole := appendChunk(bytes.Clone(b), last.number+1, kindFull, nil)
	b[end+chunkHead+30] ^= 4
	b = appendChunk(b, last.number+1, kindFull, nil)
	for _, c := range []struct {
		log  []byte
		lost int64
	}{{whole, 0}, {b, 1}} {
		x := copyFS(t, fs)
		writeFile(t, x, x.PathJoin(dir, "000999.sst"), []byte("being made"))
		writeFile(t, x, x.PathJoin(dir, last.name), c.log)
		writeFile(t, x, x.PathJoin(dir, fmt.Sprintf("%06d.log", last.number+1)), nil)
		after, r := reopen(t, x)
		if int64(r.LostGroups) != c.lost || r.OpenEnd != (c.lost > 0) || len(after) != len(before)-int(c.lost) {
			t.Errorf("%d of %d things, %+v", len(after), len(before), r)
		}
	}
}

// TestOldLog: what an old log says of groups that are in tables does not count.
// Here the log has a hole where a subscription and a retained message were
// deleted, and of both nothing is left in the table.
func TestOldLog(t *testing.T) {
	fs := vfs.NewCrashableMem()
	st, err := pebblestore.Open(dir, opts(fs))
	if err != nil {
		t.Fatal(err)
	}
	commit(t, st, record.Op{Kind: record.PutSession, Session: &record.Session{Key: 1, ClientID: "c", Expiry: mqtt.NeverExpires}},
		record.Op{Kind: record.PutSubscription, Key: 1, Sub: &record.Subscription{Filter: "gone", QoS: 1}},
		record.Op{Kind: record.PutRetained, Entry: record.Queued{Msg: message("r/gone", "x")}})
	commit(t, st, record.Op{Kind: record.DeleteSubscription, Key: 1, Filter: "gone"}, record.Op{Kind: record.DeleteRetained, Filter: "r/gone"})
	commit(t, st, record.Op{Kind: record.PutRetained, Entry: record.Queued{Msg: message("r/there", "x")}})
	before := copyFS(t, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))}))
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	var name string
	for _, n := range names(t, before, dir) {
		if strings.HasSuffix(n, ".log") {
			name = n
		}
	}
	log := readFile(t, before, before.PathJoin(dir, name))
	w := walk(log, 0)
	for number := uint32(1); len(w.at) == 0 && number < 100; number++ {
		w = walk(log, number)
	}
	// The next start puts the log's content into a table, and a compaction makes
	// another one of it, which the deletions are not in.
	fs = copyFS(t, before)
	db, err := pebble.Open(dir, options(fs))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Flush(), db.Compact(t.Context(), []byte{0}, []byte{0xff}, false), db.Close()); err != nil {
		t.Fatal(err)
	}
	hole := len(w.at) - 2
	log[w.at[hole]+chunkHead+20] ^= 1
	writeFile(t, fs, fs.PathJoin(dir, name), log)
	after, r := reopen(t, fs)
	if !r.Damaged() || r.Losses() != 0 {
		t.Errorf("%+v", r)
	}
	if len(after) != 2 || after["r/there"] != "x" || strings.Contains(after["s/c"], "gone") {
		t.Errorf("%q", after)
	}
}

// TestNewerSchema: a store of a newer version is refused, not mended.
func TestNewerSchema(t *testing.T) {
	fs := vfs.NewMem()
	st, err := pebblestore.Open(dir, opts(fs))
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	putSchema(t, fs, pebblestore.Schema+1)
	before := names(t, fs, "")
	var newer *pebblestore.SchemaError
	if _, _, err := Open(dir, opts(fs)); !errors.As(err, &newer) {
		t.Errorf("%v", err)
	}
	if after := names(t, fs, ""); !slices.Equal(before, after) {
		t.Errorf("%q", after)
	}
}

// TestInUse: a store that is in use is not touched.
func TestInUse(t *testing.T) {
	fs := vfs.NewMem()
	st, _, err := Open(dir, opts(fs))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, _, err := Open(dir, opts(fs)); err == nil {
		t.Error("opened twice")
	}
	if _, err := Inspect(fs, dir); err == nil {
		t.Error("inspected in use")
	}
	if l := names(t, fs, ""); len(l) != 1 {
		t.Errorf("%q", l)
	}
}

func TestInspect(t *testing.T) {
	fs := sample(t)
	before := names(t, fs, dir)
	if r, err := Inspect(fs, dir); err != nil || r.Damaged() {
		t.Errorf("%v %s", err, r.Line())
	}
	if after := names(t, fs, dir); !slices.Equal(before, after) {
		t.Errorf("%q became %q", before, after)
	}
	if _, err := Inspect(fs, "none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
