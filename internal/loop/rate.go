package loop

import (
	"net/netip"
	"sync"

	"github.com/midgemq/midge/internal/record"
)

const (
	// maxAddresses bounds what the rate limiter remembers, at about 100 bytes each.
	maxAddresses = 65_536
	// v6Prefix is how much of an IPv6 address counts as one peer: a customer is
	// given a whole /64, and whoever floods would use it all.
	v6Prefix = 64
)

// rate bounds new connections per second and address: a bucket for each address
// holds what a second allows, and fills again over a second. Any goroutine.
type rate struct {
	mu     sync.Mutex
	perSec int // 0: no limit
	// buckets says when each will be full again, so that they fill by the clock alone.
	buckets map[netip.Prefix]record.Instant
}

// set changes the limit; 0 takes it away.
func (r *rate) set(perSec int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if perSec != r.perSec {
		r.perSec, r.buckets = perSec, nil
	}
}

// allow takes one connection from addr and reports whether it may go on. Peers
// without an IP address are not limited.
func (r *rate) allow(addr netip.Addr, now record.Instant) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.perSec == 0 {
		return true
	}
	key, ok := peerOf(addr)
	if !ok {
		return true
	}
	cost := record.Second / record.Instant(r.perSec)
	full, known := r.buckets[key]
	full = max(full, now) + cost
	if full > now+record.Second {
		return false
	}
	if !known && len(r.buckets) >= maxAddresses {
		r.sweep(now)
	}
	if r.buckets == nil {
		r.buckets = make(map[netip.Prefix]record.Instant)
	}
	r.buckets[key] = full
	return true
}

// sweep forgets the addresses whose bucket is full, which is as if they had never
// come. When all of them are at work it forgets half: the limiter may let too
// many pass for a second, but never grows.
func (r *rate) sweep(now record.Instant) {
	for k, full := range r.buckets {
		if full <= now {
			delete(r.buckets, k)
		}
	}
	n := len(r.buckets) - maxAddresses/2
	for k := range r.buckets {
		if n <= 0 {
			return
		}
		delete(r.buckets, k)
		n--
	}
}

func peerOf(a netip.Addr) (netip.Prefix, bool) {
	if !a.IsValid() {
		return netip.Prefix{}, false
	}
	bits := v6Prefix
	if a = a.Unmap(); a.Is4() {
		bits = 32
	}
	p, err := a.WithZone("").Prefix(bits)
	return p, err == nil
}
