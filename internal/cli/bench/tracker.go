package bench

import "encoding/binary"

// A payload begins with who sent it, when and as which: mark, run, publisher, sequence number, time.
const (
	headerSize = 28
	mark       = 0x6d696467
)

// stamp is the header of a payload.
type stamp struct {
	run       uint32 // tells the messages of an earlier run, which a session or a broker may have kept
	publisher uint32
	seq       uint64
	sent      int64 // nanoseconds since 1970
}

func (s stamp) put(b []byte) {
	binary.LittleEndian.PutUint32(b, mark)
	binary.LittleEndian.PutUint32(b[4:], s.run)
	binary.LittleEndian.PutUint32(b[8:], s.publisher)
	binary.LittleEndian.PutUint64(b[12:], s.seq)
	binary.LittleEndian.PutUint64(b[20:], uint64(s.sent))
}

func readStamp(b []byte) (s stamp, ok bool) {
	if len(b) < headerSize || binary.LittleEndian.Uint32(b) != mark {
		return s, false
	}
	s.run = binary.LittleEndian.Uint32(b[4:])
	s.publisher = binary.LittleEndian.Uint32(b[8:])
	s.seq = binary.LittleEndian.Uint64(b[12:])
	s.sent = int64(binary.LittleEndian.Uint64(b[20:]))
	return s, true
}

// maxMissing bounds what a tracker remembers of gaps; a broker that drops for minutes must not fill the memory. Beyond it a late
// message counts as a duplicate.
const maxMissing = 1 << 16

// tracker judges the sequence numbers of one publisher at one subscriber.
type tracker struct {
	next       uint64 // expected
	unique     uint64
	outOfOrder uint64
	duplicates uint64
	missing    map[uint64]struct{} // numbers below next that have not come
	joined     bool                // false: the first number is taken as it is
	first      uint64              // where counting began
}

// see takes a number that came, and reports whether it came for the first time.
func (t *tracker) see(seq uint64) bool {
	if seq == t.next {
		t.joined = true
		t.next++
		t.unique++
		return true
	}
	if !t.joined {
		t.joined, t.first, t.next, t.unique = true, seq, seq+1, 1
		return true
	}
	if seq > t.next {
		if t.missing == nil {
			t.missing = map[uint64]struct{}{}
		}
		for n := t.next; n < seq && len(t.missing) < maxMissing; n++ {
			t.missing[n] = struct{}{}
		}
		t.next = seq + 1
		t.unique++
		return true
	}
	if _, ok := t.missing[seq]; ok {
		delete(t.missing, seq)
		t.unique++
		t.outOfOrder++
		return true
	}
	t.duplicates++
	return false
}

// gaps is how many numbers between the first and the last one seen never came.
func (t *tracker) gaps() uint64 { return t.next - t.first - t.unique }
