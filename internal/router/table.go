package router

// tableParts is the number of parts a table grows in. Growth copies one part at a time, so that no single subscription pays for
// copying a million entries under the lock.
const tableParts = 64

// table is an open-addressing hash table from a 64-bit hash to numbers in a slab. It keeps 32 bits of each hash beside the number,
// so a look-up touches the item only when it is almost certainly the right one, and growing needs no hash function. 8 bytes per
// slot at a load of 0.4 to 0.8 are 10 to 20 bytes per entry; Go's map of the same content takes twice that and never shrinks.
type table struct {
	parts [tableParts]tablePart
}

type tablePart struct {
	slots []slot // length zero or a power of two
	n     uint32
}

type slot struct{ tag, id uint32 } // id 0: free

// probe is a walk over the candidates for one hash.
type probe struct {
	slots []slot
	i     uint32
	tag   uint32
}

func (t *table) probe(hash uint64) probe {
	return probe{slots: t.parts[hash>>58].slots, i: uint32(hash), tag: uint32(hash)}
}

// next gives the next number stored under the hash, or 0. The caller compares the item itself.
func (p *probe) next() uint32 {
	if len(p.slots) == 0 {
		return 0
	}
	mask := uint32(len(p.slots) - 1)
	for {
		s := p.slots[p.i&mask]
		if s.id == 0 {
			return 0
		}
		p.i++
		if s.tag == p.tag {
			return s.id
		}
	}
}

// insert adds id, which must not be in the table.
func (t *table) insert(hash uint64, id uint32) {
	p := &t.parts[hash>>58]
	if int(p.n)*5 >= len(p.slots)*4 {
		p.resize(max(8, 2*len(p.slots)))
	}
	p.put(slot{uint32(hash), id})
	p.n++
}

func (p *tablePart) put(s slot) {
	mask := uint32(len(p.slots) - 1)
	i := s.tag & mask
	for p.slots[i].id != 0 {
		i = (i + 1) & mask
	}
	p.slots[i] = s
}

func (p *tablePart) resize(size int) {
	old := p.slots
	p.slots = make([]slot, size)
	for _, s := range old {
		if s.id != 0 {
			p.put(s)
		}
	}
}

// remove takes id out, which must be in the table. The entries behind it move up, so there are no tombstones and a table that sees
// endless change does not decay.
func (t *table) remove(hash uint64, id uint32) {
	p := &t.parts[hash>>58]
	mask := uint32(len(p.slots) - 1)
	hole := uint32(hash) & mask
	for p.slots[hole].id != id {
		hole = (hole + 1) & mask
	}
	for i := (hole + 1) & mask; p.slots[i].id != 0; i = (i + 1) & mask {
		// The entry may fill the hole only if its walk from home to i passes the hole.
		if home := p.slots[i].tag & mask; (i-home)&mask >= (i-hole)&mask {
			p.slots[hole] = p.slots[i]
			hole = i
		}
	}
	p.slots[hole] = slot{}
	p.n--
	if len(p.slots) > 8 && int(p.n)*8 < len(p.slots) {
		p.resize(len(p.slots) / 2)
	}
}
