package exemplar

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/internal/store/memstore"
)

// update writes expected.jsonl anew, from the store in memory: the engine on disk
// must agree with it.
var update = flag.Bool("update", false, "write expected.jsonl")

// TestExpected: the text that stores are checked against is what the sample means,
// as the engine in memory understands it.
func TestExpected(t *testing.T) {
	st := memstore.New()
	for _, ops := range sample() {
		st.Commit(&store.Batch{Ops: ops}, store.Flush, func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	var b bytes.Buffer
	// The engine in memory has no order of sessions and of retained messages.
	if err := Dump(&b, ordered{st}, sampleNow); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("expected.jsonl", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := compare(b.String(), string(expected)); err != nil {
		t.Error(err)
	}
	for _, kind := range []string{"session", "subscription", "inflight", "inbound", "will", "queued", "retained"} {
		if !strings.Contains(b.String(), `{"kind":"`+kind+`"`) {
			t.Errorf("no %s", kind)
		}
	}
}

// ordered gives sessions by key and retained messages by topic, as the engine on
// disk does.
type ordered struct{ *memstore.Store }

func (o ordered) LoadSessions(f func(*store.Saved) error) error {
	for key := record.SessionKey(1); key < 10; key++ {
		err := o.Store.LoadSessions(func(s *store.Saved) error {
			if s.Session.Key == key {
				return f(s)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (o ordered) LoadRetained(f func(*record.Message) error) error {
	for _, topic := range []string{"retained/a", "retained/b"} {
		err := o.Store.LoadRetained(func(m *record.Message) error {
			if m.Topic == topic {
				return f(m)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func TestGenerateVerify(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if err := Generate(dir); err != nil {
		t.Fatal(err)
	}
	if err := Verify(dir); err != nil {
		t.Fatal(err)
	}
	if err := Generate(dir); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a store: %v", err)
	}
	if err := Verify(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of nothing: %v", err)
	}
}

// TestCommitted: a store that an earlier state of the program wrote is read as
// meant. testdata/v1 is never made anew; a later format gets a directory of its
// own beside it.
func TestCommitted(t *testing.T) {
	dirs, err := filepath.Glob("testdata/v*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no stores: %v", err)
	}
	for _, dir := range dirs {
		size := int64(0)
		err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			fi, err := d.Info()
			if err == nil {
				size += fi.Size()
			}
			return err
		})
		if err != nil || size > 200_000 {
			t.Errorf("%s: %d bytes, %v", dir, size, err)
		}
		if err := Verify(dir); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// TestVerifyBites: a store that differs is told from one that does not.
func TestVerifyBites(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if err := Generate(dir); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("%v %v", logs, err)
	}
	for _, log := range logs {
		if err := os.Truncate(log, 0); err != nil {
			t.Fatal(err)
		}
	}
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if err := os.Truncate(table, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := Verify(dir); err == nil {
		t.Error("an emptied store is as it should be")
	}
	if err := compare("a\nb\n", "a\nc\n"); err == nil || !strings.Contains(err.Error(), "line 2 is\nb\n") {
		t.Errorf("%v", err)
	}
}
