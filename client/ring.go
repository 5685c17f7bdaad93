package client

// ring is a queue that reuses its memory.
type ring[T any] struct {
	items []T
	head  int
	n     int
}

func (r *ring[T]) len() int { return r.n }

func (r *ring[T]) push(v T) {
	if r.n == len(r.items) {
		r.grow()
	}
	r.items[(r.head+r.n)&(len(r.items)-1)] = v
	r.n++
}

// pushFront puts v before all others.
func (r *ring[T]) pushFront(v T) {
	if r.n == len(r.items) {
		r.grow()
	}
	r.head = (r.head - 1) & (len(r.items) - 1)
	r.items[r.head] = v
	r.n++
}

func (r *ring[T]) grow() {
	next := make([]T, max(2*len(r.items), 16)) // a power of two
	for i := range r.n {
		next[i] = r.items[(r.head+i)&(len(r.items)-1)]
	}
	r.items, r.head = next, 0
}

// front returns the oldest; the ring is not empty.
func (r *ring[T]) front() *T { return &r.items[r.head] }

func (r *ring[T]) pop() T {
	var zero T
	v := r.items[r.head]
	r.items[r.head] = zero
	r.head = (r.head + 1) & (len(r.items) - 1)
	r.n--
	if r.n == 0 && len(r.items) > 1024 {
		r.items, r.head = nil, 0 // a burst must not pin its size
	}
	return v
}

// removeFirst takes out the oldest for which f is true.
func (r *ring[T]) removeFirst(f func(T) bool) (v T, ok bool) {
	for i := range r.n {
		at := (r.head + i) & (len(r.items) - 1)
		if !f(r.items[at]) {
			continue
		}
		v = r.items[at]
		for ; i > 0; i-- {
			from := (r.head + i - 1) & (len(r.items) - 1)
			r.items[at] = r.items[from]
			at = from
		}
		r.pop()
		return v, true
	}
	return v, false
}
