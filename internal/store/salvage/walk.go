package salvage

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// Logs are written in LevelDB's format with the log's number in each chunk:
// blocks of 32 KiB; a chunk is a checksum (4), a length (2), a kind (1), the
// number of the log (4) and the payload; a record is one chunk or a first, any
// middle and a last one. What follows the last record is nothing, zeros, a chunk
// that bears another log's number, or one that the file ends in.
const (
	blockSize = 32 << 10
	chunkHead = 11

	kindFull, kindFirst, kindMiddle, kindLast = 5, 6, 7, 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// masked is the checksum as LevelDB stores it.
func masked(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

// span is a part of a file that does not check.
type span struct{ from, to int64 }

// walked is what is in a log.
type walked struct {
	records [][]byte
	// at are where the records begin.
	at []int64
	// broken are the parts that do not check, in order. A part at the end that an
	// interrupted write explains is not among them.
	broken []span
}

// walk reads all records of a log that check, those behind damage too.
func walk(b []byte, number uint32) walked {
	var w walked
	var rec []byte
	begin, open := int64(0), false
	bad := int64(-1) // where the present damage began
	heal := func(at int64) {
		if bad >= 0 {
			w.broken = append(w.broken, span{bad, at})
			bad = -1
		}
	}
	broke := func(at int64) {
		if bad < 0 {
			bad = at
			if open {
				bad = begin // the record that had begun is lost with it
			}
		}
		open = false
	}
	pos := int64(0)
	for pos < int64(len(b)) {
		left := blockSize - pos%blockSize
		if left < chunkHead {
			pos += left
			continue
		}
		block := b[pos:min(pos+left, int64(len(b)))]
		c := parse(block, pos, number)
		switch c.verdict {
		case ends:
			// Nothing of this log follows, unless the end is damage itself.
			if next := resync(b, pos, number); next >= 0 {
				broke(pos)
				pos = next
				continue
			}
			if open && c.mark {
				broke(pos) // a log that was ended in order has no half record
			}
			heal(pos)
			return w
		case damaged:
			next := resync(b, pos, number)
			if next < 0 && !c.ours && bad < 0 {
				// Files of logs are used again: what follows the end is what an earlier log
				// left, cut anywhere. A record that had begun was not finished.
				return w
			}
			broke(pos)
			if next >= 0 {
				pos = next
				continue
			}
			heal(int64(len(b)))
			return w
		case valid:
		}
		switch c.kind {
		case kindFull, kindFirst:
			if open {
				broke(begin) // its rest is missing
				open = false
			}
			heal(pos)
			begin, rec, open = pos, append([]byte(nil), c.payload...), c.kind == kindFirst
		default:
			if !open { // its beginning is missing
				broke(pos)
				pos += c.size
				continue
			}
			rec = append(rec, c.payload...)
			open = c.kind == kindMiddle
		}
		if !open {
			w.records, w.at = append(w.records, rec), append(w.at, begin)
		}
		pos += c.size
	}
	heal(pos)
	return w
}

type verdict int

const (
	valid verdict = iota
	ends
	damaged
)

type chunk struct {
	payload []byte
	size    int64
	verdict verdict
	kind    byte
	// mark: it ends the log. ours: it bears the number of this log, or did but for
	// a bit.
	mark, ours bool
}

// parse looks at what stands at pos of a file; b ends with the block or the file.
func parse(b []byte, pos int64, number uint32) chunk {
	if len(b) < chunkHead {
		return chunk{verdict: ends} // zeros, or the file ends inside a header
	}
	n := int(binary.LittleEndian.Uint16(b[4:]))
	kind := b[6]
	ours := bits.OnesCount32(binary.LittleEndian.Uint32(b[7:])^number) <= 1 && !endMark(b, n, number)
	if chunkHead+n > len(b) {
		switch {
		case zero(b):
			return chunk{verdict: ends}
		case len(b) == blockSize-int(pos%blockSize):
			return chunk{verdict: damaged, ours: ours} // no chunk reaches into the next block
		case lengthFlipped(b, n, number):
			return chunk{verdict: damaged, ours: true}
		}
		return chunk{verdict: ends} // the file ends inside
	}
	whole := binary.LittleEndian.Uint32(b) == masked(b[6:chunkHead+n]) && kind >= kindFull && kind <= kindLast
	switch {
	case !whole && zero(b):
		return chunk{verdict: ends}
	case binary.LittleEndian.Uint32(b[7:]) != number && (whole || endMark(b, n, number)):
		return chunk{verdict: ends, mark: endMark(b, n, number)}
	case !whole:
		return chunk{verdict: damaged, ours: ours}
	}
	return chunk{verdict: valid, kind: kind, payload: b[chunkHead : chunkHead+n], size: int64(chunkHead + n)}
}

// lengthFlipped reports a chunk that seems to reach beyond the end of the file,
// as one does whose writing was cut short, and is whole but for one bit of its
// length, which no checksum covers.
func lengthFlipped(b []byte, n int, number uint32) bool {
	if binary.LittleEndian.Uint32(b[7:]) != number || b[6] < kindFull || b[6] > kindLast {
		return false
	}
	for bit := range 16 {
		if end := chunkHead + (n ^ 1<<bit); end <= len(b) && binary.LittleEndian.Uint32(b) == masked(b[6:end]) {
			return true
		}
	}
	return false
}

// endMark reports the empty chunk of the next log that ends one in order.
func endMark(b []byte, n int, number uint32) bool {
	return n == 0 && b[6] == kindFull && binary.LittleEndian.Uint32(b[7:]) == number+1
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// resync finds the next chunk of this log behind one that does not check: where
// its length says, or at the beginning of a later block. -1: there is none.
func resync(b []byte, pos int64, number uint32) int64 {
	left := blockSize - pos%blockSize
	end := min(pos+left, int64(len(b)))
	if end-pos >= chunkHead {
		next := pos + chunkHead + int64(binary.LittleEndian.Uint16(b[pos+4:]))
		if next > pos+chunkHead && next < end && parse(b[next:end], next, number).verdict == valid {
			return next
		}
	}
	// A damaged length: a chunk may begin anywhere.
	for at := pos + 1; at+chunkHead <= end; at++ {
		if binary.LittleEndian.Uint32(b[at+7:]) == number && parse(b[at:end], at, number).verdict == valid {
			return at
		}
	}
	for at := pos + left; at < int64(len(b)); at += blockSize {
		if parse(b[at:min(at+blockSize, int64(len(b)))], at, number).verdict == valid {
			return at
		}
	}
	return -1
}
