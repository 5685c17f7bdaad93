package hub

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// Lease is a large buffer with a count of those who refer to it. The last to let
// go of it gives it to whoever needs one of its size next; one that is forgotten
// instead is left to the collector. What is not used for some time goes as well.
//
// Large messages would otherwise take a new buffer each, which is cleared first
// and makes the heap grow to its next collection within a few messages.
type Lease struct {
	// owned by whoever has it alone; immutable as soon as somebody else holds it
	buf []byte

	refs atomic.Int32
}

const (
	// LeaseFrom is the size in bytes from which buffers are lent.
	LeaseFrom = 64 << 10
	// leaseTo is the size up to which they are kept for the next.
	leaseTo = 16 << 20
	// leaseSteps is how many sizes there are from one power of two to the next.
	leaseSteps = 8
)

// leases are those nobody holds, by size. A sync.Pool lets go of what lies there
// from one collection to the next but one.
var leases [leaseSteps * 9]sync.Pool

// leaseSize gives the size that a buffer of n bytes is given, at most an eighth
// larger, and its number.
func leaseSize(n int) (size, class int) {
	n = max(n, LeaseFrom)
	shift := bits.Len(uint(n-1)) - 4
	size = (n + 1<<shift - 1) >> shift << shift
	// From the power of two below on, in eighths.
	low := bits.Len(uint(size)) - 1
	return size, (low-16)*leaseSteps + (size>>(low-3) - leaseSteps)
}

// Borrow returns a buffer of at least n bytes if there is one to be used again,
// nil otherwise; it takes no memory. It is empty, and held by the caller alone.
func Borrow(n int) *Lease {
	if n > leaseTo {
		return nil
	}
	_, class := leaseSize(n)
	l, _ := leases[class].Get().(*Lease)
	if l != nil {
		l.refs.Store(1)
	}
	return l
}

// NewLease is Borrow where there is none.
func NewLease(n int) *Lease {
	if n <= leaseTo {
		n, _ = leaseSize(n)
	}
	l := &Lease{buf: make([]byte, 0, n)}
	l.refs.Store(1)
	return l
}

// Buffer is the empty buffer; for who holds it alone.
func (l *Lease) Buffer() []byte { return l.buf[:0] }

// Hold is called for each further reference, by somebody who holds one. Any
// goroutine. l may be nil.
func (l *Lease) Hold() *Lease {
	if l != nil {
		l.refs.Add(1)
	}
	return l
}

// Release lets go of one reference, whose bytes the caller must not read again.
// Any goroutine. l may be nil.
func (l *Lease) Release() {
	if l == nil {
		return
	}
	switch n := l.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("hub: a buffer was let go of twice")
	}
	if size, class := leaseSize(cap(l.buf)); size == cap(l.buf) && size <= leaseTo {
		leases[class].Put(l)
	}
}
