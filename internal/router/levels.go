package router

import (
	"hash/maphash"
	"strings"
)

// levels interns the names of filter levels. A name has one number as long as some node uses it.
type levels struct {
	seed  maphash.Seed // random, so that nobody can prepare names that collide
	names slab[level]
	index table
}

type level struct {
	name string
	refs uint32
}

// find gives the number of a name, or 0 when no filter has it.
func (l *levels) find(name string) uint32 {
	return l.lookup(maphash.String(l.seed, name), name)
}

func (l *levels) lookup(hash uint64, name string) uint32 {
	p := l.index.probe(hash)
	for id := p.next(); id != 0; id = p.next() {
		if l.names.at(id).name == name {
			return id
		}
	}
	return 0
}

// take gives the number of a name for one more node. A new name is copied: the caller's string may be part of a long one.
func (l *levels) take(name string) uint32 {
	hash := maphash.String(l.seed, name)
	id := l.lookup(hash, name)
	if id == 0 {
		id = l.names.alloc()
		l.names.at(id).name = strings.Clone(name)
		l.index.insert(hash, id)
	}
	l.names.at(id).refs++
	return id
}

// drop gives back what take gave.
func (l *levels) drop(id uint32) {
	v := l.names.at(id)
	v.refs--
	if v.refs == 0 {
		l.index.remove(maphash.String(l.seed, v.name), id)
		l.names.release(id)
	}
}
