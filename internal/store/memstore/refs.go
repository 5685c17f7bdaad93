package memstore

import (
	"sync"
	"unsafe"

	"github.com/midgemq/midge/internal/record"
)

// refTable knows how many entries refer to each message. It exists for the
// counts alone: memory is freed by the garbage collector. A counter inside the
// message would be quicker, but a message is immutable once it is built.
//
// Messages are known by address, which stays theirs as long as an entry refers
// to them; numbers in place of pointers spare the garbage collector the tables.
type refTable struct{ shards [shardCount]refShard }

type refShard struct {
	mu sync.Mutex
	// known holds each message once; more, for those that several entries refer
	// to, how many there are beyond the first. Most messages have one.
	known addressSet
	more  map[uintptr]int32
	bytes int64
}

func (t *refTable) init() {
	for i := range t.shards {
		t.shards[i].more = make(map[uintptr]int32)
	}
}

func address(m *record.Message) uintptr { return uintptr(unsafe.Pointer(m)) }

// shard locks the shard of m. These locks are the last in the order: taken with
// shard and retained locks held, never the other way round.
func (t *refTable) shard(m *record.Message) *refShard {
	sh := &t.shards[m.Seq%shardCount]
	sh.mu.Lock()
	return sh
}

func (t *refTable) add(m *record.Message) {
	a := address(m)
	sh := t.shard(m)
	if sh.known.add(a) {
		sh.bytes += int64(m.Size())
	} else {
		sh.more[a]++
	}
	sh.mu.Unlock()
}

func (t *refTable) drop(m *record.Message) {
	a := address(m)
	sh := t.shard(m)
	switch n := sh.more[a]; n {
	case 0:
		sh.known.remove(a)
		sh.bytes -= int64(m.Size())
	case 1:
		delete(sh.more, a)
	default:
		sh.more[a] = n - 1
	}
	sh.mu.Unlock()
}

func (t *refTable) sum() (n int, bytes int64) {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		n += sh.known.n
		bytes += sh.bytes
		sh.mu.Unlock()
	}
	return n, bytes
}

// addressSet is a set of addresses by open addressing with linear probing: 11
// to 21 bytes for each, where Go's map takes 38. The zero value is empty.
type addressSet struct {
	slots []uintptr // 0: free; the length is a power of two
	n     int
}

const fewAddresses = 16

// home is where the search for a begins: the high bits of a product depend on
// all bits of the address, the low ones of which are alike.
func (s *addressSet) home(a uintptr) int {
	return int(uint64(a) * 0x9E3779B97F4A7C15 >> 32 & uint64(len(s.slots)-1))
}

// add reports whether a is new.
func (s *addressSet) add(a uintptr) bool {
	if 4*(s.n+1) > 3*len(s.slots) {
		s.resize(max(fewAddresses, 2*len(s.slots)))
	}
	i := s.home(a)
	for s.slots[i] != 0 {
		if s.slots[i] == a {
			return false
		}
		i = (i + 1) & (len(s.slots) - 1)
	}
	s.slots[i] = a
	s.n++
	return true
}

// remove takes out an address that is there.
func (s *addressSet) remove(a uintptr) {
	mask := len(s.slots) - 1
	i := s.home(a)
	for s.slots[i] != a {
		i = (i + 1) & mask
	}
	// Those behind it move up, or a search would end at the gap before it finds
	// them; one that stands between its home and the gap stays.
	for j := (i + 1) & mask; s.slots[j] != 0; j = (j + 1) & mask {
		if (j-s.home(s.slots[j]))&mask >= (j-i)&mask {
			s.slots[i] = s.slots[j]
			i = j
		}
	}
	s.slots[i] = 0
	s.n--
	if len(s.slots) > 4*fewAddresses && 8*s.n < len(s.slots) {
		s.resize(len(s.slots) / 2)
	}
}

func (s *addressSet) resize(size int) {
	old := s.slots
	s.slots = make([]uintptr, size)
	for _, a := range old {
		if a == 0 {
			continue
		}
		i := s.home(a)
		for s.slots[i] != 0 {
			i = (i + 1) & (size - 1)
		}
		s.slots[i] = a
	}
}
