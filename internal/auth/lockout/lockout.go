// Package lockout turns clients away for a while when too many logins failed
// from their address or with their user name.
//
// It never decides that somebody may connect. State may be used from any
// goroutine and outlives a reload; it is bounded, whatever attackers send.
package lockout

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/mqtt"
)

// Rules say when. The zero value turns nobody away.
type Rules struct {
	// Address and User are how many failed logins from one address, or with one
	// user name, bring a lock-out; 0: any number.
	Address, User int
	// Time is the first lock-out; each failure after it doubles the next, up to
	// Max. Failures are forgotten when none came for as long as Max.
	Time, Max time.Duration
}

// On reports whether there is anything to do.
func (r Rules) On() bool { return r.Address > 0 || r.User > 0 }

// maxKeys bounds the addresses and user names that are remembered, each: about
// 10 MB. Beyond it those with the fewest failures are forgotten first.
const maxKeys = 1 << 16

// State is what is known about failures.
type State struct {
	mu        sync.Mutex
	now       func() time.Time
	addresses map[netip.Prefix]*entry
	users     map[string]*entry
}

type entry struct {
	failures    int
	last, until time.Time
}

// NewState makes an empty state; now is the clock.
func NewState(now func() time.Time) *State {
	return &State{now: now, addresses: make(map[netip.Prefix]*entry), users: make(map[string]*entry)}
}

// Guard stands before an authenticator.
type Guard struct {
	Next  auth.Authenticator
	Rules Rules
	State *State
	// Notice, when set, is told about each lock-out.
	Notice func(format string, args ...any)
}

// Authenticate implements auth.Authenticator. Only a refusal by Next counts as a
// failure, not that it is busy.
func (g *Guard) Authenticate(ctx context.Context, r *auth.Request) auth.Decision {
	addr, hasAddr := addressOf(r.Address)
	hasAddr = hasAddr && g.Rules.Address > 0
	hasUser := r.HasUserName && g.Rules.User > 0
	if left := g.locked(addr, hasAddr, r.UserName, hasUser); left > 0 {
		return auth.Decision{Code: mqtt.Banned, Reason: fmt.Sprintf("too many failed logins, try again in %d s", int64((left+time.Second-1)/time.Second))}
	}
	d := g.Next.Authenticate(ctx, r)
	s := g.State
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !d.Code.IsError():
		// A valid login of the attacker's own must not wipe out what he tried
		// before, so the address is given back one failure only.
		delete(s.users, r.UserName)
		if e := s.addresses[addr]; e != nil && e.failures > 0 {
			e.failures--
		}
	case d.Code == mqtt.NotAuthorized || d.Code == mqtt.BadUserNameOrPassword:
		if hasAddr {
			g.note(fail(s.addresses, addr, g.Rules.Address, g.Rules, s.now()), "address "+addr.String())
		}
		if hasUser {
			g.note(fail(s.users, r.UserName, g.Rules.User, g.Rules, s.now()), fmt.Sprintf("user '%s'", r.UserName))
		}
	}
	return d
}

// Stands implements auth.Standing.
func (g *Guard) Stands(c *auth.Client, proof any, anonymous bool) (ok bool, why string) {
	if s, has := g.Next.(auth.Standing); has {
		return s.Stands(c, proof, anonymous)
	}
	return true, ""
}

func (g *Guard) note(d time.Duration, who string) {
	if d > 0 && g.Notice != nil {
		g.Notice("Too many failed logins: %s is locked out for %d s.", who, int64(d/time.Second))
	}
}

func (g *Guard) locked(addr netip.Prefix, hasAddr bool, user string, hasUser bool) (left time.Duration) {
	s := g.State
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if e := s.addresses[addr]; hasAddr && e != nil {
		left = e.until.Sub(now)
	}
	if e := s.users[user]; hasUser && e != nil {
		left = max(left, e.until.Sub(now))
	}
	return left
}

// fail counts a failure and returns for how long the key is locked out now.
func fail[K comparable](m map[K]*entry, k K, limit int, r Rules, now time.Time) time.Duration {
	e := m[k]
	if e == nil {
		if len(m) >= maxKeys {
			forget(m, r, now)
		}
		e = new(entry)
		m[k] = e
	}
	if now.Sub(e.last) > r.Max {
		e.failures = 0
	}
	e.failures++
	e.last = now
	if e.failures < limit {
		return 0
	}
	d := r.Time
	for range e.failures - limit {
		if d *= 2; d >= r.Max {
			break
		}
	}
	d = min(d, r.Max)
	e.until = now.Add(d)
	return d
}

// forget makes room: what is old goes, and of some others the one with the
// fewest failures.
func forget[K comparable](m map[K]*entry, r Rules, now time.Time) {
	const look = 64
	var least K
	fewest, n := 0, 0
	for k, e := range m { // in no order
		if now.Sub(e.last) > r.Max {
			delete(m, k)
			continue
		}
		if n == 0 || e.failures < fewest {
			least, fewest = k, e.failures
		}
		if n++; n == look {
			break
		}
	}
	if len(m) >= maxKeys {
		delete(m, least)
	}
}

// addressOf is what stands for the peer: the address without the port, and of
// IPv6 the network of 64 bits, which one host can fill by itself. Peers of a
// Unix socket have none.
func addressOf(s string) (p netip.Prefix, ok bool) {
	i := len(s) - 1
	for i >= 0 && s[i] != ':' {
		i--
	}
	if i < 0 {
		return p, false
	}
	host := s[:i]
	if len(host) > 1 && host[0] == '[' {
		host = host[1 : len(host)-1]
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return p, false
	}
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err = a.Prefix(bits)
	return p, err == nil
}
