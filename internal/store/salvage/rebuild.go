package salvage

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
)

// entry is one version of one key, wherever it was found. The highest sequence
// number wins.
type entry struct {
	key, value []byte
	seq        uint64
	deleted    bool
}

// tombstone deletes what is older in a range of keys.
type tombstone struct {
	from, to []byte
	seq      uint64
}

// source gives entries in the order of keys, newer ones first.
type source interface {
	next() (entry, bool)
	close()
}

// Range is a range of keys of which records may be missing. To is outside it;
// nil bounds are open.
type Range struct {
	File     string
	From, To []byte
}

// rebuild makes a new store in to from what checks in tables and logs.
type rebuild struct {
	*inspection
	tombs   []tombstone
	sources []source
	ranges  []Range
	records int
	// old is what logs still hold of groups that are in tables, and its deletions.
	old      []entry
	oldTombs []tombstone
}

// collect opens all sources. What a log holds of groups that are in tables is
// left aside: Pebble drops a deletion with the last thing it deletes and the
// sequence numbers of what lies lowest, so an old log, above all one with a hole,
// could bring back what was deleted and hide what is newer.
func (r *rebuild) collect() {
	var fromLogs []entry
	inTables := uint64(0)
	if r.live != nil { // else a table may be gone, and an old log is all there is
		inTables = r.inTables()
	}
	for _, l := range r.logs {
		b, err := r.read(l.name)
		if err != nil {
			continue // inspect has said so
		}
		for _, batch := range walk(b, l.number).records {
			if n, ok := groupNumber(batch); ok && n <= inTables {
				r.old = appendBatch(r.old, &r.oldTombs, batch)
			} else {
				fromLogs = appendBatch(fromLogs, &r.tombs, batch)
			}
		}
	}
	slices.SortStableFunc(fromLogs, compare)
	r.sources = append(r.sources, &list2{fromLogs})
	for _, name := range r.tables {
		if r.live == nil || r.live[name] || r.all {
			r.tableSource(name, r.live == nil || r.live[name])
		}
	}
}

func compare(a, b entry) int {
	if c := bytes.Compare(a.key, b.key); c != 0 {
		return c
	}
	return cmp.Compare(b.seq, a.seq)
}

// appendBatch adds what a batch from a log changes.
func appendBatch(to []entry, tombs *[]tombstone, batch []byte) []entry {
	h, ok := batchrepr.ReadHeader(batch)
	if !ok {
		return to
	}
	seq := uint64(h.SeqNum)
	for it := batchrepr.Read(batch); ; {
		kind, key, value, more, err := it.Next()
		if err != nil || !more {
			return to
		}
		switch kind {
		case pebble.InternalKeyKindSet:
			to = append(to, entry{key: key, value: value, seq: seq})
		case pebble.InternalKeyKindDelete, pebble.InternalKeyKindSingleDelete, pebble.InternalKeyKindDeleteSized:
			to = append(to, entry{key: key, seq: seq, deleted: true})
		case pebble.InternalKeyKindRangeDelete:
			*tombs = append(*tombs, tombstone{key, value, seq})
		case pebble.InternalKeyKindLogData:
			continue // has no number of its own
		default: // the engine writes no other
		}
		seq++
	}
}

// tableSource opens a table, with its tombstones, as far as it can be read. One
// that is not in use is no loss.
func (r *rebuild) tableSource(name string, used bool) {
	reader, err := r.openTable(name)
	if err != nil {
		if used {
			r.ranges = append(r.ranges, Range{File: name})
		}
		return
	}
	if err := r.rangeDeletions(reader); err != nil {
		r.find(name, "deletions in it are lost, what they deleted may be back: %v", err)
	}
	t := &table{name: name, r: reader, owner: r}
	if err := t.open(); err != nil {
		r.ranges = append(r.ranges, Range{File: name})
		t.close()
		return
	}
	r.sources = append(r.sources, t)
}

func (r *rebuild) rangeDeletions(reader *sstable.Reader) (err error) {
	defer guard(&err)
	it, err := reader.NewRawRangeDelIter(context.Background(), block.NoFragmentTransforms, sstable.NoReadEnv)
	if err != nil || it == nil {
		return err
	}
	defer it.Close()
	s, err := it.First()
	for ; s != nil; s, err = it.Next() {
		for _, k := range s.Keys {
			r.tombs = append(r.tombs, tombstone{bytes.Clone(s.Start), bytes.Clone(s.End), uint64(k.SeqNum())})
		}
	}
	return err
}

// list2 gives entries that are in memory.
type list2 struct{ e []entry }

func (l *list2) next() (entry, bool) {
	if len(l.e) == 0 {
		return entry{}, false
	}
	e := l.e[0]
	l.e = l.e[1:]
	return e, true
}

func (l *list2) close() {}

// table reads a table from both ends: forward until a block does not check, and
// what lies behind the damage backward.
type table struct {
	name  string
	owner *rebuild
	r     *sstable.Reader
	it    sstable.Iterator
	begun bool
	last  []byte // the key given last
	rest  *list2 // behind damage
}

func (t *table) open() (err error) {
	defer guard(&err)
	t.it, err = t.r.NewIter(block.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
	return err
}

func (t *table) next() (entry, bool) {
	if t.rest == nil {
		e, ok, err := t.step(true)
		if ok {
			t.last = append(t.last[:0], e.key...)
			return e, true
		}
		t.rest = &list2{}
		if err != nil {
			t.behind()
		}
	}
	return t.rest.next()
}

// step moves the iterator and copies what it stands on.
func (t *table) step(forward bool) (e entry, ok bool, err error) {
	defer guard(&err)
	kv := t.it.First
	switch {
	case forward && t.begun:
		kv = t.it.Next
	case !forward && t.begun:
		kv = t.it.Prev
	case !forward:
		kv = t.it.Last
	}
	t.begun = true
	at := kv()
	if at == nil {
		return e, false, t.it.Error()
	}
	e = entry{key: bytes.Clone(at.K.UserKey), seq: uint64(at.SeqNum())}
	switch at.Kind() {
	case pebble.InternalKeyKindSet, pebble.InternalKeyKindSetWithDelete:
		v, _, err := at.Value(nil)
		if err != nil {
			return e, false, err
		}
		e.value = bytes.Clone(v)
	default:
		e.deleted = true
	}
	return e, true, nil
}

// behind reads from the end to the damage.
func (t *table) behind() {
	lost := Range{File: t.name, From: bytes.Clone(t.last)}
	if t.it != nil {
		t.closeIter()
	}
	t.begun = false
	if t.open() == nil {
		for {
			e, ok, err := t.step(false)
			if !ok || err != nil || compare(e, entry{key: t.last}) <= 0 && t.last != nil && bytes.Compare(e.key, t.last) <= 0 {
				break
			}
			t.rest.e = append(t.rest.e, e)
		}
		slices.Reverse(t.rest.e)
	}
	if len(t.rest.e) > 0 {
		lost.To = t.rest.e[0].key
	}
	t.owner.ranges = append(t.owner.ranges, lost)
}

func (t *table) closeIter() {
	var err error
	defer guard(&err)
	t.it.Close()
	t.it = nil
}

func (t *table) close() {
	if t.it != nil {
		t.closeIter()
	}
	var err error
	defer guard(&err)
	t.r.Close()
}

// merge is a heap of sources by what they give next.
type merge []head

type head struct {
	e   entry
	src source
}

func (m merge) Len() int           { return len(m) }
func (m merge) Less(i, j int) bool { return compare(m[i].e, m[j].e) < 0 }
func (m merge) Swap(i, j int)      { m[i], m[j] = m[j], m[i] }
func (m *merge) Push(x any)        { *m = append(*m, x.(head)) }
func (m *merge) Pop() any {
	last := len(*m) - 1
	x := (*m)[last]
	*m = (*m)[:last]
	return x
}

const writeBatch = 4 << 20

// write makes the store in dir. Only the newest version of each key that nothing
// deleted goes into it.
func (r *rebuild) write(dir string) (err error) {
	defer guard(&err)
	r.collect()
	defer func() {
		for _, s := range r.sources {
			s.close()
		}
	}()
	o := options(r.fs)
	o.FormatMajorVersion = pebble.FormatColumnarBlocks // as the engine writes; it raises none by itself
	o.ErrorIfExists = true
	db, err := pebble.Open(dir, o)
	if err != nil {
		return err
	}
	b := db.NewBatch()
	var m merge
	for _, s := range r.sources {
		if e, ok := s.next(); ok {
			m = append(m, head{e, s})
		}
	}
	heap.Init(&m)
	cover := newCover(r.tombs)
	var last []byte
	some := false
	for len(m) > 0 {
		e := m[0].e
		if next, ok := m[0].src.next(); ok {
			m[0].e = next
			heap.Fix(&m, 0)
		} else {
			heap.Pop(&m)
		}
		if some && bytes.Equal(last, e.key) {
			continue // an older version
		}
		last, some = append(last[:0], e.key...), true
		if e.deleted || cover.newest(e.key) > e.seq {
			continue
		}
		if err := b.Set(e.key, e.value, nil); err != nil {
			return errors.Join(err, db.Close())
		}
		r.records++
		if b.Len() > writeBatch {
			if err := b.Commit(pebble.NoSync); err != nil {
				return errors.Join(err, db.Close())
			}
			b = db.NewBatch()
		}
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return errors.Join(err, db.Close())
	}
	if err := r.fill(db); err != nil {
		return errors.Join(err, db.Close())
	}
	if err := db.Flush(); err != nil { // makes it durable
		return errors.Join(err, db.Close())
	}
	return db.Close()
}

// fill puts into the holes of damaged tables what old logs still have for them.
func (r *rebuild) fill(db *pebble.DB) error {
	if len(r.ranges) == 0 {
		return nil
	}
	slices.SortStableFunc(r.old, compare)
	cover := newCover(r.oldTombs)
	var last []byte
	for i, e := range r.old {
		if i > 0 && bytes.Equal(last, e.key) {
			continue // an older version
		}
		last = e.key
		if e.deleted || cover.newest(e.key) > e.seq || !slices.ContainsFunc(r.ranges, func(g Range) bool { return g.holds(e.key) }) {
			continue
		}
		_, closer, err := db.Get(e.key)
		if err == nil {
			err = closer.Close()
		} else if errors.Is(err, pebble.ErrNotFound) {
			r.records++
			err = db.Set(e.key, e.value, pebble.NoSync)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// holds reports whether a record under the key may be missing.
func (g Range) holds(key []byte) bool {
	return bytes.Compare(key, g.From) >= 0 && (g.To == nil || bytes.Compare(key, g.To) < 0)
}

// cover answers for ascending keys which tombstone over them is the newest.
type cover struct {
	todo   []tombstone // by from
	active []tombstone
}

func newCover(t []tombstone) *cover {
	slices.SortFunc(t, func(a, b tombstone) int { return bytes.Compare(a.from, b.from) })
	return &cover{todo: t}
}

func (c *cover) newest(key []byte) (seq uint64) {
	for len(c.todo) > 0 && bytes.Compare(c.todo[0].from, key) <= 0 {
		c.active = append(c.active, c.todo[0])
		c.todo = c.todo[1:]
	}
	c.active = slices.DeleteFunc(c.active, func(t tombstone) bool { return bytes.Compare(t.to, key) <= 0 })
	for _, t := range c.active {
		seq = max(seq, t.seq)
	}
	return seq
}

// describe says which part of the store a range of keys is.
func (g Range) describe() string {
	if g.From == nil && g.To == nil {
		return fmt.Sprintf("all of %s", g.File)
	}
	return fmt.Sprintf("a part of %s, keys %q to %q", g.File, g.From, g.To)
}
