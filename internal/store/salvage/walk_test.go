package salvage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
)

// appendChunk writes one chunk.
func appendChunk(b []byte, number uint32, kind byte, payload []byte) []byte {
	body := append([]byte{kind}, binary.LittleEndian.AppendUint32(nil, number)...)
	body = append(body, payload...)
	b = binary.LittleEndian.AppendUint32(b, masked(body))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(payload)))
	return append(b, body...)
}

// appendRecord writes a record in as many chunks as it takes.
func appendRecord(b []byte, number uint32, rec []byte) []byte {
	for first := true; first || len(rec) > 0; first = false {
		left := blockSize - len(b)%blockSize
		if left < chunkHead {
			b = append(b, make([]byte, left)...)
			left = blockSize
		}
		n := min(len(rec), left-chunkHead)
		kind := byte(kindMiddle)
		switch last := n == len(rec); {
		case first && last:
			kind = kindFull
		case first:
			kind = kindFirst
		case last:
			kind = kindLast
		}
		b = appendChunk(b, number, kind, rec[:n])
		rec = rec[n:]
	}
	return b
}

func sampleLog(number uint32, sizes ...int) (b []byte, records [][]byte) {
	for i, n := range sizes {
		rec := bytes.Repeat([]byte{byte('a' + i)}, n)
		records = append(records, rec)
		b = appendRecord(b, number, rec)
	}
	return b, records
}

func TestWalk(t *testing.T) {
	log, recs := sampleLog(7, 100, 50_000, 20, 70_000, 5)
	stale, _ := sampleLog(6, 200, 200, 90_000, 60_000)
	recycled := append(bytes.Clone(log), stale[len(log):]...)
	flip := func(at int) []byte {
		b := bytes.Clone(log)
		b[at] ^= 0x10
		return b
	}
	second := chunkHead + 100
	for _, c := range []struct {
		name   string
		b      []byte
		want   []int // indexes of records
		broken int
	}{
		{"whole", log, []int{0, 1, 2, 3, 4}, 0},
		{"empty", nil, nil, 0},
		{"zeros behind", append(bytes.Clone(log), make([]byte, 40_000)...), []int{0, 1, 2, 3, 4}, 0},
		{"used again", recycled, []int{0, 1, 2, 3, 4}, 0},
		{"used again, record unfinished", append(bytes.Clone(log[:2*blockSize]), stale[2*blockSize:]...), []int{0, 1, 2}, 0},
		// Power went while it was written, or it is damaged: nobody can tell.
		{"used again, chunk unfinished", append(bytes.Clone(log[:60_000]), stale[60_000:]...), []int{0, 1, 2}, 1},
		{"end mark", appendChunk(bytes.Clone(log), 8, kindFull, nil), []int{0, 1, 2, 3, 4}, 0},
		{"cut in a chunk", log[:len(log)-3], []int{0, 1, 2, 3}, 0},
		{"cut in a header", log[:len(log)-5-7], []int{0, 1, 2, 3}, 0},
		{"payload", flip(20), []int{1, 2, 3, 4}, 1},
		{"checksum", flip(1), []int{1, 2, 3, 4}, 1},
		{"length", flip(4), []int{1, 2, 3, 4}, 1},
		{"long length", flip(5), []int{1, 2, 3, 4}, 1},
		{"kind", flip(6), []int{1, 2, 3, 4}, 1},
		{"number", flip(7), []int{1, 2, 3, 4}, 1},
		{"first chunk of two", flip(second + 50), []int{0, 2, 3, 4}, 1},
		{"second chunk of two", flip(blockSize + 50), []int{0, 2, 3, 4}, 1},
		{"last record", flip(len(log) - 2), []int{0, 1, 2, 3}, 1},
		{"length of the last record", flip(len(log) - 5 - 7), []int{0, 1, 2, 3}, 1},
		{"long length of the last record", flip(len(log) - 5 - 6), []int{0, 1, 2, 3}, 1},
		{"number of the last record", flip(len(log) - 5 - 4), []int{0, 1, 2, 3}, 1},
	} {
		w := walk(c.b, 7)
		var want [][]byte
		for _, i := range c.want {
			want = append(want, recs[i])
		}
		if len(w.records) != len(want) || len(w.broken) != c.broken {
			t.Errorf("%s: %d records, broken %v, want %d and %d", c.name, len(w.records), w.broken, len(want), c.broken)
			continue
		}
		for i := range want {
			if !bytes.Equal(w.records[i], want[i]) {
				t.Errorf("%s: record %d has %d bytes of %q", c.name, i, len(w.records[i]), fmt.Sprintf("%.1s", w.records[i]))
			}
		}
	}
}

// FuzzWalk: damage never makes a record that was not written.
func FuzzWalk(f *testing.F) {
	f.Add(uint32(20), uint32(1), byte(1), false)
	f.Add(uint32(40_000), uint32(30_000), byte(0x80), true)
	log, recs := sampleLog(7, 100, 50_000, 20, 70_000, 5)
	f.Fuzz(func(t *testing.T, at, n uint32, with byte, cut bool) {
		b := bytes.Clone(log)
		from := int(at) % len(b)
		for i := from; i < min(from+int(n%5000)+1, len(b)); i++ {
			b[i] ^= with
		}
		if cut {
			b = b[:from]
		}
		w := walk(b, 7)
		next := 0
		for _, rec := range w.records {
			for next < len(recs) && !bytes.Equal(recs[next], rec) {
				next++
			}
			if next == len(recs) {
				t.Fatalf("a record of %d bytes that was not written, or out of order", len(rec))
			}
			next++
		}
	})
}
