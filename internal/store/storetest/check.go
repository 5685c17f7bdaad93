package storetest

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
)

// pending is a call whose completion is awaited.
type pending struct {
	what    string
	calls   atomic.Int32
	arrived chan struct{}
	err     error
	entries []record.Queued
}

func newPending(what string) *pending { return &pending{what: what, arrived: make(chan struct{})} }

// complete is called by the completion; a second call is a fault that wait or
// the end of the test shows.
func (p *pending) complete(entries []record.Queued, err error) {
	if p.calls.Add(1) == 1 {
		p.entries, p.err = entries, err
		close(p.arrived)
	}
}

// completed says whether the completion has come.
func (p *pending) completed() bool {
	select {
	case <-p.arrived:
		return true
	default:
		return false
	}
}

func (p *pending) wait(t testing.TB) error {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.arrived:
	case <-timer.C:
		t.Fatalf("%s: no completion within %v", p.what, patience)
	}
	if n := p.calls.Load(); n != 1 {
		t.Fatalf("%s: %d completions, want 1", p.what, n)
	}
	return p.err
}

// submit commits without waiting.
func submit(s store.Store, level store.Level, ops []record.Op) *pending {
	return submitBatch(s, level, store.Batch{Ops: ops})
}

func submitBatch(s store.Store, level store.Level, b store.Batch) *pending {
	p := newPending(fmt.Sprintf("commit of %d changes", len(b.Ops)))
	s.Commit(&b, level, func(err error) { p.complete(nil, err) })
	return p
}

// commit commits, waits, and carries the changes out in the model too.
func (e *env) commit(ops ...record.Op) {
	e.Helper()
	if err := submit(e.s, store.Flush, slices.Clone(ops)).wait(e); err != nil {
		e.Fatalf("commit: %v", err)
	}
	e.m.apply(ops)
}

// refuse commits what must fail whole.
func (e *env) refuse(why string, ops ...record.Op) {
	e.Helper()
	if err := submit(e.s, store.Flush, slices.Clone(ops)).wait(e); err == nil {
		e.Errorf("batch with %s: completed without error", why)
	}
}

func read(t testing.TB, s store.Store, key record.SessionKey, from uint64, max int) []record.Queued {
	t.Helper()
	p := newPending(fmt.Sprintf("ReadQueue(%d, %d, %d)", key, from, max))
	s.ReadQueue(key, from, max, p.complete)
	if err := p.wait(t); err != nil {
		t.Fatalf("%s: %v", p.what, err)
	}
	return p.entries
}

// checkRead compares one read with the model.
func (e *env) checkRead(key record.SessionKey, from uint64, max int) {
	e.Helper()
	var want []record.Queued
	if x := e.m.sessions[key]; x != nil {
		want = x.waiting(from, max)
	}
	compare(e, fmt.Sprintf("ReadQueue(%d, %d, %d)", key, from, max),
		entriesText(read(e, e.s, key, from, max), e.restarted), entriesText(want, e.restarted))
}

func entriesText(qs []record.Queued, restarted bool) []string {
	var out []string
	for i := range qs {
		out = append(out, queuedText(i, &qs[i], restarted))
	}
	return out
}

// check compares the engine with the model, restarts it where that is possible,
// and compares again.
func (e *env) check() {
	e.Helper()
	e.look("running", false)
	if e.restart() {
		e.look("restarted", true)
	}
}

// look compares all that is stored with the model.
func (e *env) look(when string, restarted bool) {
	e.Helper()
	restarted = restarted || e.restarted
	compare(e, when, dumpStore(e, e.s, restarted), e.m.dump(restarted))
}

// dumpStore writes all that an engine holds as lines, in the form of model.dump.
func dumpStore(t testing.TB, s store.Store, restarted bool) []string {
	t.Helper()
	var out []string
	seen := map[record.SessionKey]bool{}
	err := s.LoadSessions(func(v *store.Saved) error {
		key := v.Session.Key
		if seen[key] {
			t.Errorf("LoadSessions gave session %d twice", key)
		}
		seen[key] = true
		out = append(out, savedText(v, restarted)...)
		return nil
	})
	if err != nil {
		t.Fatalf("LoadSessions: %v", err)
	}
	for key := range seen {
		// In pages, as the broker reads; the page size meets no round number.
		for from, i := uint64(0), 0; ; {
			page := read(t, s, key, from, 77)
			for j := range page {
				out = append(out, fmt.Sprintf("session %d ", key)+queuedText(i, &page[j], restarted))
				i++
			}
			if len(page) < 77 {
				break
			}
			from = page[len(page)-1].Seq + 1
		}
	}
	err = s.LoadRetained(func(m *record.Message) error {
		out = append(out, retainedText(m, restarted))
		return nil
	})
	if err != nil {
		t.Fatalf("LoadRetained: %v", err)
	}
	slices.Sort(out)
	return out
}

func savedText(v *store.Saved, restarted bool) []string {
	p := fmt.Sprintf("session %d ", v.Session.Key)
	out := []string{p + sessionText(&v.Session, restarted), p + sumText(v.Queued, v.QueuedBytes)}
	for i := range v.Subs {
		out = append(out, p+subText(&v.Subs[i]))
	}
	for i := range v.Inflight {
		f := &v.Inflight[i]
		out = append(out, p+flightText(i, &f.Entry, f.PacketID, f.State, restarted))
	}
	for _, id := range v.Inbound {
		out = append(out, p+inboundText(id))
	}
	if v.Will != nil {
		out = append(out, p+willText(v.Will, restarted))
	}
	if v.Queued > 0 {
		out = append(out, p+firstText(v.FirstSeq))
	}
	if v.LastSeq > 0 {
		out = append(out, p+lastText(v.LastSeq))
	}
	return out
}

// compare fails the test with the lines that only one side has.
func compare(t testing.TB, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	count := map[string]int{}
	for _, l := range want {
		count[l]++
	}
	for _, l := range got {
		count[l]--
	}
	var diff []string
	for l, n := range count {
		switch {
		case n > 0:
			diff = append(diff, "missing: "+l)
		case n < 0:
			diff = append(diff, "too much: "+l)
		}
	}
	slices.Sort(diff)
	for i, l := range diff {
		if len(l) > 500 { // a client id may have 65,535 bytes
			diff[i] = l[:500] + " …"
		}
	}
	if len(diff) > 12 {
		diff = append(diff[:12], fmt.Sprintf("and %d more", len(diff)-12))
	}
	if len(diff) == 0 {
		diff = []string{"same entries in another order"}
	}
	t.Fatalf("%s: not what the completed batches say:\n%s", what, strings.Join(diff, "\n"))
}
