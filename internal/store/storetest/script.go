package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
)

// scriptVariable names the directory of kept scripts; without it they are in
// testdata/crashes of the package under test.
const scriptVariable = "CRASH_SCRIPTS"

// A seed alone does not bring a failed crash back: which batches had reached the
// storage depends on the machine. So what the engine held and was given since is
// kept, as one scriptHead and a scriptStep for each batch, in a line each.
type scriptHead struct {
	Seed uint64 // of the run, for STORETEST_SEED
	Run  int    // batches of the run before the crash
}

// scriptStep is one batch. The first makes the state that the engine was opened
// with.
type scriptStep struct {
	Level store.Level
	Lazy  bool `json:",omitzero"`
	// Certain: it had completed at a level that survives.
	Certain bool `json:",omitzero"`
	Ops     []scriptOp
}

// scriptOp is record.Op, with zero values left out.
type scriptOp struct {
	Session  *record.Session      `json:",omitzero"`
	Sub      *record.Subscription `json:",omitzero"`
	Will     *record.Will         `json:",omitzero"`
	Entry    record.Queued        `json:",omitzero"`
	Filter   string               `json:",omitzero"`
	Key      record.SessionKey    `json:",omitzero"`
	Seq      uint64               `json:",omitzero"`
	PacketID uint16               `json:",omitzero"`
	State    uint8                `json:",omitzero"`
	Kind     record.OpKind
}

func scriptOps(ops []record.Op) []scriptOp {
	out := make([]scriptOp, len(ops))
	for i := range ops {
		out[i] = scriptOp(ops[i])
	}
	return out
}

// keep writes what led to a failure.
func (x *crashing) keep(dir string, seed uint64) {
	name := filepath.Join(dir, fmt.Sprintf("%s-%d.jsonl", x.Name(), seed))
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		x.Error(err)
		return
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		x.Error(err)
		return
	}
	out := json.NewEncoder(f)
	err = errors.Join(out.Encode(scriptHead{seed, x.n}),
		out.Encode(scriptStep{Level: store.Flush, Certain: true, Ops: scriptOps(x.start.ops())}))
	for i := range x.sent {
		b := &x.sent[i]
		err = errors.Join(err, out.Encode(scriptStep{b.level, b.lazy, b.level >= x.Survives && b.p.completed(), scriptOps(b.ops)}))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		x.Error(err)
		return
	}
	x.Errorf("kept as %s, which is run first from now on", name)
}

// keptScripts gives the scripts of this test.
func keptScripts(t testing.TB, dir string) []string {
	all, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(t.Name())+"-*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func readScript(name string) (steps []scriptStep, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := json.NewDecoder(f)
	in.DisallowUnknownFields()
	var head scriptHead
	if err := in.Decode(&head); err != nil {
		return nil, fmt.Errorf("%s: head: %w", name, err)
	}
	for {
		var s scriptStep
		if err := in.Decode(&s); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%s: step %d: %w", name, len(steps)+1, err)
		}
		steps = append(steps, s)
	}
	if len(steps) == 0 {
		return nil, fmt.Errorf("%s: no steps", name)
	}
	return steps, nil
}

// replay runs a script many times, since chance decides what of it a crash leaves.
func (c Crash) replay(t testing.TB, name string) {
	steps, err := readScript(name)
	if err != nil {
		t.Fatal(err)
	}
	const rounds, crashes = 50, 4
	for round := range rounds {
		if !t.Failed() {
			c.replayOnce(t, steps, rand.New(rand.NewPCG(uint64(round), 6)), crashes)
		}
	}
	if t.Failed() {
		t.Fatalf("%s fails", strings.TrimSuffix(filepath.Base(name), ".jsonl"))
	}
}

func (c Crash) replayOnce(t testing.TB, steps []scriptStep, r *rand.Rand, crashes int) {
	x := &crashing{TB: t, Crash: c, r: r, s: c.Open(t), start: newModel(), base: newModel(), leg: math.MaxInt}
	defer x.end()
	certain := 0
	for i := range steps {
		x.n = i
		ops := make([]record.Op, len(steps[i].Ops))
		for j := range ops {
			ops[j] = record.Op(steps[i].Ops[j])
		}
		x.submit(ops, steps[i].Level, steps[i].Lazy)
		if steps[i].Certain {
			certain = i
		}
	}
	x.settleTo(certain)
	for range crashes {
		x.crash()
	}
}

// ops gives changes that make m from nothing.
func (m *model) ops() (ops []record.Op) {
	for key, x := range m.sessions {
		rec := x.rec
		ops = append(ops, record.Op{Kind: record.PutSession, Session: &rec})
		for _, s := range x.subs {
			ops = append(ops, record.Op{Kind: record.PutSubscription, Key: key, Sub: &s})
		}
		for id := range x.inbound {
			ops = append(ops, putInbound(key, id))
		}
		if x.will != nil {
			ops = append(ops, record.Op{Kind: record.PutWill, Key: key, Will: x.will})
		}
		for _, e := range x.queue {
			ops = append(ops, record.Op{Kind: record.Enqueue, Key: key, Entry: e.Queued})
		}
		for _, e := range x.flights {
			ops = append(ops, putInflight(key, e.Seq, e.id, e.state))
		}
		if x.last > 0 && (len(x.queue) == 0 || x.queue[len(x.queue)-1].Seq < x.last) {
			ops = append(ops, enqueue(key, x.last), dequeue(key, x.last)) // the number counts on from there
		}
	}
	for _, r := range m.retained {
		ops = append(ops, record.Op{Kind: record.PutRetained, Entry: record.Queued{Msg: r}})
	}
	return slices.Clip(ops)
}
