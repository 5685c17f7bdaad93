package outbox

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

func open(t *testing.T, path string, o Options) *File {
	t.Helper()
	s, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func load(t *testing.T, s Store) State {
	t.Helper()
	state, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func message(seq uint64, id uint16) Change {
	return Change{Kind: PutMessage, Seq: seq, ID: id, Message: &Message{
		Seq: seq, ID: id, QoS: mqtt.QoS(1 + seq%2), Retain: seq%3 == 0, Topic: fmt.Sprintf("topic/%d", seq),
		Payload: fmt.Appendf(nil, "payload %d", seq), Properties: packet.AppendPair(nil, "k", fmt.Sprint(seq)),
	}}
}

// random makes a legal history of changes.
func random(r *rand.Rand, n int) []Change {
	var list []Change
	seq := uint64(0)
	for range n {
		switch r.IntN(9) {
		case 0, 1, 2:
			seq++
			list = append(list, message(seq, uint16(r.IntN(3))))
		case 3:
			list = append(list, Change{Kind: AssignID, Seq: r.Uint64N(seq + 1), ID: uint16(r.IntN(100))})
		case 4:
			list = append(list, Change{Kind: ReleaseMessage, Seq: r.Uint64N(seq + 1)})
		case 5:
			list = append(list, Change{Kind: DeleteMessage, Seq: r.Uint64N(seq + 1)})
		case 6:
			list = append(list, Change{Kind: AddReceived, ID: uint16(1 + r.IntN(20))})
		case 7:
			list = append(list, Change{Kind: RemoveReceived, ID: uint16(1 + r.IntN(20))})
		case 8:
			list = append(list, Change{Kind: []ChangeKind{SetSession, SetSession, ClearSession}[r.IntN(3)], ClientID: "c"})
			if last := &list[len(list)-1]; last.Kind == ClearSession {
				last.ClientID = ""
			}
		}
	}
	return list
}

// A file store, opened again and compacted at any time, holds what a memory store holds.
func TestFileAgreesWithMemory(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		path := filepath.Join(t.TempDir(), "outbox")
		o := Options{Sync: SyncNever, CompactAt: int64(1 + r.IntN(2000))}
		memory, file := NewMemory(), open(t, path, o)
		list := random(r, 400)
		for len(list) > 0 {
			n := 1 + r.IntN(min(len(list), 20))
			memory.Commit(list[:n])
			if err := file.Commit(list[:n]); err != nil {
				t.Fatal(err)
			}
			list = list[n:]
			if r.IntN(5) == 0 {
				file.Close()
				file = open(t, path, o)
			}
			want, got := load(t, memory), load(t, file)
			want.ClientID, got.ClientID = "", "" // of a session that is gone, compaction keeps none
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d:\n got %+v\nwant %+v", seed, got, want)
			}
		}
	}
}

// The log is cut at every byte, as a crash may leave it: what stood whole before the cut is there, nothing is called damaged, and
// writing goes on.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "outbox")
	s := open(t, path, Options{Sync: SyncNever})
	var ends []int64
	for i := range 5 {
		ends = append(ends, s.size)
		if err := s.Commit([]Change{message(uint64(i+1), 0)}); err != nil {
			t.Fatal(err)
		}
	}
	ends = append(ends, s.size)
	s.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) + 1 {
		p := filepath.Join(dir, "cut")
		if err := os.WriteFile(p, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(p, Options{Sync: SyncNever, Damaged: func(n int64) { t.Errorf("cut at %d: %d bytes called damaged", cut, n) }})
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		want := 0
		for want < 5 && ends[want+1] <= int64(cut) {
			want++
		}
		if n := len(load(t, s).Messages); n != want {
			t.Errorf("cut at %d: %d messages, want %d", cut, n, want)
		}
		if err := s.Commit([]Change{message(9, 0)}); err != nil {
			t.Fatal(err)
		}
		s.Close()
		s = open(t, p, Options{Sync: SyncNever})
		if n := len(load(t, s).Messages); n != want+1 {
			t.Errorf("cut at %d: %d messages after going on, want %d", cut, n, want+1)
		}
		s.Close()
	}
}

// One bit flipped anywhere: opening succeeds, what stood before is there, the rest is kept aside and counted.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "outbox")
	s := open(t, path, Options{Sync: SyncNever})
	for i := range 6 {
		if err := s.Commit([]Change{message(uint64(i+1), 0)}); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	half := len(fileMagic) + (len(whole)-len(fileMagic))/2
	for at := len(fileMagic); at < half; at++ {
		p := filepath.Join(dir, "flip")
		b := append([]byte(nil), whole...)
		b[at] ^= 1 << (at % 8)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		damaged := int64(0)
		s, err := Open(p, Options{Sync: SyncNever, Damaged: func(n int64) { damaged = n }})
		if err != nil {
			t.Fatalf("flip at %d: %v", at, err)
		}
		state := load(t, s)
		for i, m := range state.Messages {
			if want := message(uint64(i+1), 0).Message; !reflect.DeepEqual(&m, want) {
				t.Errorf("flip at %d: message %d is %+v", at, i, m)
			}
		}
		aside, err := os.ReadFile(p + ".damaged")
		if damaged == 0 || err != nil || int64(len(aside)) != damaged || len(state.Messages) > 3 {
			t.Errorf("flip at %d: %d bytes reported, %d aside (%v), %d messages", at, damaged, len(aside), err, len(state.Messages))
		}
		s.Close()
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "outbox")
	s := open(t, path, Options{})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	if other, err := Open(path, Options{}); err == nil {
		other.Close()
		t.Error("opened twice")
	}
	s.Close()
	if err := s.Commit([]Change{message(1, 0)}); err == nil {
		t.Error("committed after Close")
	}
	if err := os.WriteFile(path, []byte("midgeob2 of the future"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{}); err == nil {
		t.Error("opened a file of a newer version")
	}
	if _, err := Open(filepath.Join(dir, "none", "outbox"), Options{}); err == nil {
		t.Error("opened without a directory")
	}
}

func TestSyncInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "outbox"), Options{Sync: SyncInterval})
		if err := s.Commit([]Change{message(1, 0)}); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		waiting := s.timer != nil
		s.mu.Unlock()
		if !waiting {
			t.Error("no sync is due")
		}
		<-afterInterval()
		synctest.Wait()
		s.mu.Lock()
		waiting = s.timer != nil
		s.mu.Unlock()
		if waiting {
			t.Error("not synced after a second")
		}
	})
}

func FuzzReadLog(f *testing.F) {
	c := message(1, 7)
	f.Add(appendRecord(nil, &c))
	f.Add(appendRecord(nil, &Change{Kind: SetSession, ClientID: "c"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		good, _ := readLog(b, func(c *Change, _ int64) { again = appendRecord(again, c) })
		n, _ := readLog(again, func(*Change, int64) {})
		if good > len(b) || n != len(again) {
			t.Errorf("read %d of %d bytes, written again %d of %d", good, len(b), n, len(again))
		}
	})
}

// afterInterval waits, in the bubble's time, for longer than the default interval.
func afterInterval() <-chan time.Time { return time.After(1500 * time.Millisecond) }
