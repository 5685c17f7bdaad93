package pebblestore

import (
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/midgemq/midge/internal/record"
)

// refs counts, for messages that are stored once for several queues, the entries
// that refer to them. Counts are not stored: those of messages that were there
// when the store was opened come from a walk over the queues in the background,
// and until it is through, what was taken away meanwhile is noted as debt.
// Committer only.
type refs struct {
	counts   map[uint64]int32
	debt     map[uint64]int32
	next     uint64
	counting bool
}

func (r *refs) any() bool { return r.counting || len(r.counts) > 0 }

// add gives a number to a message that n entries refer to.
func (r *refs) add(n int) uint64 {
	r.next++
	r.counts[r.next] = int32(n)
	return r.next
}

// unref takes one reference away and deletes the message with the last.
func (c *committer) unref(g *group, ref uint64) error {
	n, known := c.refs.counts[ref]
	switch {
	case !known && c.refs.counting:
		c.refs.debt[ref]++
		return nil
	case !known:
		return nil
	case n > 1:
		c.refs.counts[ref] = n - 1
		return nil
	}
	delete(c.refs.counts, ref)
	return g.b.Delete(appendMessageKey(c.key[:0], ref), nil)
}

// task is what a background walk has found for the committer.
type task struct {
	in *instance // found in; of no use to another
	// unref: entries that referred to these are gone.
	unref []uint64
	// counted: what queues refer to, by message number, 0 for orphans.
	counted map[uint64]int32
	err     error
}

// beginRefs prepares the counts for a new instance.
func (c *committer) beginRefs() error {
	c.refs = refs{counts: make(map[uint64]int32), debt: make(map[uint64]int32)}
	it, err := c.in.db.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceMessage}, UpperBound: []byte{spaceMessage + 1}})
	if err != nil {
		return err
	}
	if it.Last() {
		c.refs.next = seqOf(it.Key())
		c.refs.counting = true
	}
	if err := it.Close(); err != nil || !c.refs.counting {
		return err
	}
	c.background(func(v *view, t *task) error { return v.countRefs(t) })
	return nil
}

// background walks over the store as it is now on a goroutine of its own and
// hands what it found to the committer.
func (c *committer) background(walk func(*view, *task) error) {
	in := c.in
	snap := in.db.NewSnapshot()
	in.readers.Add(1)
	go func() {
		defer in.readers.Done()
		t := task{in: in}
		v := c.s.view(snap)
		v.stop = &c.s.stopping
		t.err = walk(v, &t)
		if err := snap.Close(); t.err == nil {
			t.err = err
		}
		c.s.addTask(t)
	}()
}

// countRefs counts what the queues refer to.
func (v *view) countRefs(t *task) error {
	t.counted = make(map[uint64]int32)
	err := scan(v.r, []byte{spaceMessage}, []byte{spaceMessage + 1}, func(key, _ []byte) (bool, error) {
		t.counted[seqOf(key)] = 0
		return !v.stopped(), nil
	})
	if err != nil {
		return err
	}
	var keys []record.SessionKey
	err = scan(v.r, []byte{spaceSession}, []byte{spaceSession + 1}, func(key, _ []byte) (bool, error) {
		if len(key) == sessionPrefix+1 && key[sessionPrefix] == partCursor {
			keys = append(keys, sessionOf(key))
		}
		return !v.stopped(), nil
	})
	if err != nil {
		return err
	}
	for _, k := range keys {
		cur, err := v.cursor(k)
		if err != nil {
			return err
		}
		if err := v.queueRefs(k, &cur, nil, func(ref uint64) { t.counted[ref]++ }); err != nil {
			return err
		}
	}
	return nil
}

// queueRefs calls f for each reference of a queue, but for the entries in gone.
func (v *view) queueRefs(k record.SessionKey, cur *record.Cursor, gone map[uint64]struct{}, f func(ref uint64)) error {
	note := func(e *record.Entry) bool {
		if _, ok := gone[e.Seq]; e.Ref != 0 && !ok {
			f(e.Ref)
		}
		return !v.stopped()
	}
	for _, seq := range cur.Below {
		e, ok, err := v.head(k, seq)
		if err != nil {
			return err
		}
		if ok {
			note(&e)
		}
	}
	return v.heads(k, cur.Head, math.MaxUint64, note)
}

// releaseQueue has the references of a queue that is being deleted taken away.
func (c *committer) releaseQueue(x *session) {
	cur := x.cur
	cur.Below = slices.Clone(x.below())
	gone, key := x.gone, x.key
	c.background(func(v *view, t *task) error {
		return v.queueRefs(key, &cur, gone, func(ref uint64) { t.unref = append(t.unref, ref) })
	})
}

// doTask takes the result of a walk into the group.
func (c *committer) doTask(g *group, t *task) error {
	if t.in != c.in {
		return nil
	}
	if t.err != nil {
		return t.err
	}
	for _, ref := range t.unref {
		if err := c.unref(g, ref); err != nil {
			return err
		}
	}
	if t.counted == nil {
		return nil
	}
	c.refs.counting = false
	for ref, n := range t.counted {
		if n -= c.refs.debt[ref]; n > 0 {
			c.refs.counts[ref] = n
		} else if err := g.b.Delete(appendMessageKey(c.key[:0], ref), nil); err != nil {
			return err
		}
	}
	c.refs.debt = nil
	return nil
}
