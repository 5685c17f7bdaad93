package pebblestore

import (
	"math"
	"slices"

	"github.com/midgemq/midge/internal/record"
)

const (
	// runLength is how many waiting entries of a session are known by number: those
	// at the head. It bounds the memory of a session.
	runLength = 64
	// purgeCount and purgeBytes are how much may lie dead below the head of one
	// queue before it is deleted as a range.
	purgeCount = 128
	purgeBytes = 64 << 10
	// fewDead is up to how many dead entries are deleted one by one: a range for
	// each message of a quiet session would slow every reader down.
	fewDead = 16
	// maxBelow is how many entries may have come late before the queue is purged
	// so that the head can move down to them.
	maxBelow = 64
)

// ent is what the committer knows of a stored entry.
type ent struct {
	seq  uint64
	ref  uint64
	size uint32
}

// flight is an entry that was sent.
type flight struct {
	ent
	order uint64
	id    uint16
	state uint8
	own   bool // has a record of its own in partFlight
}

// waiting is an entry of the group under construction; it is written when the
// group is complete, if it is still there.
type waiting struct {
	e    record.Queued
	gone bool
}

// session is what the committer knows of a session: enough to say in the cursor
// which entries are there without reading them. It is made from the store when a
// change first concerns the session and dropped after every error, so that it
// always follows from what is stored. Committer only.
type session struct {
	key record.SessionKey
	cur record.Cursor // Below is only filled in when it is written

	// run holds, by seq, all waiting entries below known; none at or above it.
	run   []ent
	known uint64
	// flights by seq.
	flights []flight
	// inbound pages of 256 identifiers that are not empty; nil: not read yet.
	inbound map[byte]*page

	// dead entries lie between cur.Purged and cur.Head.
	dead      int
	deadBytes int64
	deadOwn   bool // and some of them left a flight record
	// deadSeqs are their numbers while they are few and all known.
	deadSeqs []uint64

	// Of the group under construction.
	touched bool
	fresh   bool // began in this group: nothing is stored
	written bool // parts were written in this group
	cursor  bool // must be written
	absent  bool // deleted in this group
	pend    []waiting
	pendMin uint64
	pendMax uint64
	gone    map[uint64]struct{} // deleted one by one
	pages   []byte              // inbound pages that changed

	used uint64 // group of the last use
}

type page [32]byte

func (p *page) has(id uint16) bool { return p[id>>3&31]&(1<<(id&7)) != 0 }
func (p *page) set(id uint16)      { p[id>>3&31] |= 1 << (id & 7) }
func (p *page) clear(id uint16)    { p[id>>3&31] &^= 1 << (id & 7) }
func (p *page) empty() bool        { return *p == page{} }

const everything = math.MaxUint64

func findEnt(s []ent, seq uint64) (int, bool) {
	// Mostly it is the first.
	if len(s) > 0 && s[0].seq == seq {
		return 0, true
	}
	return slices.BinarySearchFunc(s, seq, func(e ent, q uint64) int {
		switch {
		case e.seq < q:
			return -1
		case e.seq > q:
			return 1
		}
		return 0
	})
}

func (x *session) findFlight(seq uint64) (int, bool) {
	if len(x.flights) > 0 {
		if x.flights[0].seq == seq {
			return 0, true
		}
		if x.flights[len(x.flights)-1].seq < seq {
			return len(x.flights), false
		}
	}
	return slices.BinarySearchFunc(x.flights, seq, func(e flight, q uint64) int {
		switch {
		case e.seq < q:
			return -1
		case e.seq > q:
			return 1
		}
		return 0
	})
}

// pending finds an entry of the group under construction.
func (x *session) pending(seq uint64) *waiting {
	if len(x.pend) == 0 || seq < x.pendMin || seq > x.pendMax {
		return nil
	}
	for i := len(x.pend) - 1; i >= 0; i-- {
		if w := &x.pend[i]; w.e.Seq == seq && !w.gone {
			return w
		}
	}
	return nil
}

// lowest is the lowest seq from head on that may be there.
func (x *session) lowest() uint64 {
	low := x.known
	if i, _ := findEnt(x.run, x.cur.Head); i < len(x.run) {
		low = min(low, x.run[i].seq)
	}
	if i, _ := x.findFlight(x.cur.Head); i < len(x.flights) {
		low = min(low, x.flights[i].seq)
	}
	return low
}

// below lists the entries that are there although they are below the head.
func (x *session) below() []uint64 {
	var out []uint64
	i, j := 0, 0
	for {
		a, b := uint64(everything), uint64(everything)
		if i < len(x.run) {
			a = x.run[i].seq
		}
		if j < len(x.flights) {
			b = x.flights[j].seq
		}
		switch {
		case min(a, b) >= x.cur.Head:
			return out
		case a < b:
			out = append(out, a)
			i++
		default:
			out = append(out, b)
			j++
		}
	}
}

// advance moves the head to the lowest entry that may be there.
func (x *session) advance() {
	low := x.lowest()
	if low == everything {
		low = x.cur.Last + 1
	}
	x.cur.Head = max(x.cur.Head, low)
	if x.dead == 0 && x.cur.Purged < x.cur.Head {
		// What was passed over had been deleted one by one or never stood there.
		x.cur.Purged = x.cur.Head
	}
}

// addRun enters a waiting entry that comes at the end or, when late, before it.
func (x *session) addRun(e ent) {
	if e.seq >= x.known {
		return
	}
	i, _ := findEnt(x.run, e.seq)
	if i == runLength && x.known == everything {
		x.known = e.seq
		return
	}
	x.run = slices.Insert(x.run, i, e)
	if len(x.run) > runLength {
		last := len(x.run) - 1
		if x.run[last].seq >= x.cur.Head { // one below the head is known by the run alone
			x.known = x.run[last].seq
			x.run = x.run[:last]
		}
	}
}

// setRef notes under which number the message of an entry was stored.
func (x *session) setRef(seq, ref uint64) {
	if i, ok := findEnt(x.run, seq); ok {
		x.run[i].ref = ref
	} else if i, ok := x.findFlight(seq); ok {
		x.flights[i].ref = ref
	}
}

func (x *session) setGone(seq uint64) {
	if x.gone == nil {
		x.gone = make(map[uint64]struct{})
	}
	x.gone[seq] = struct{}{}
}
