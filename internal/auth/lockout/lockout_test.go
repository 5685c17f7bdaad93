package lockout

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/mqtt"
)

// gate lets in who says "yes"; asked counts.
type gate struct{ asked int }

func (g *gate) Authenticate(_ context.Context, r *auth.Request) auth.Decision {
	g.asked++
	switch string(r.Password) {
	case "yes":
		return auth.Decision{}
	case "busy":
		return auth.Decision{Code: mqtt.ServerBusy}
	}
	return auth.Decision{Code: mqtt.NotAuthorized}
}

type world struct {
	g     *Guard
	next  gate
	clock time.Time
	notes []string
}

func newWorld(r Rules) *world {
	w := &world{clock: time.Unix(1e9, 0)}
	w.g = &Guard{Next: &w.next, Rules: r, State: NewState(func() time.Time { return w.clock })}
	w.g.Notice = func(f string, a ...any) { w.notes = append(w.notes, fmt.Sprintf(f, a...)) }
	return w
}

func (w *world) login(addr, user, pw string) mqtt.ReasonCode {
	r := &auth.Request{Client: auth.Client{Address: addr, UserName: user, HasUserName: user != ""}, Password: []byte(pw)}
	return w.g.Authenticate(context.Background(), r).Code
}

// The lock-out of a user doubles up to its longest, holds from every address,
// and a right password before it ends it.
func TestUser(t *testing.T) {
	w := newWorld(Rules{User: 3, Time: 10 * time.Second, Max: 35 * time.Second})
	for i := range 3 {
		if c := w.login(fmt.Sprintf("10.0.0.%d:1", i), "u", "no"); c != mqtt.NotAuthorized {
			t.Fatal(c)
		}
	}
	for _, wait := range []time.Duration{10, 20, 35, 35} {
		asked := w.next.asked
		if c := w.login("10.0.0.9:1", "u", "yes"); c != mqtt.Banned || w.next.asked != asked {
			t.Fatalf("%v: not locked out", c)
		}
		w.clock = w.clock.Add(wait*time.Second - 1)
		if c := w.login("10.0.0.9:1", "u", "yes"); c != mqtt.Banned {
			t.Fatalf("%v after %d s", c, wait)
		}
		w.clock = w.clock.Add(1)
		if c := w.login("10.0.0.9:1", "u", "no"); c != mqtt.NotAuthorized {
			t.Fatalf("%v: still locked out", c)
		}
	}
	if c := w.login("10.0.0.9:1", "other", "no"); c != mqtt.NotAuthorized {
		t.Errorf("another user: %v", c)
	}
	if len(w.notes) != 5 || w.notes[0] != "Too many failed logins: user 'u' is locked out for 10 s." {
		t.Errorf("%q", w.notes)
	}
	w.clock = w.clock.Add(35 * time.Second)
	if c := w.login("10.0.0.9:1", "u", "yes"); c != mqtt.Success {
		t.Fatal(c)
	}
	for range 2 {
		w.login("10.0.0.9:1", "u", "no")
	}
	if c := w.login("10.0.0.9:1", "u", "yes"); c != mqtt.Success {
		t.Errorf("failures from before a login count: %v", c)
	}
}

func TestAddress(t *testing.T) {
	w := newWorld(Rules{Address: 2, Time: time.Minute, Max: time.Hour})
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1:1000", "192.0.2.1:2000", true},
		{"192.0.2.2:1000", "192.0.2.3:1000", false},
		{"2001:db8::1:1000", "2001:db8::2:2000", true},
		{"2001:db8:0:1::1:1000", "2001:db8:0:2::1:1000", false},
		{"[2001:db8:0:3::1]:1000", "2001:db8:0:3::2:1000", true},
		{"::ffff:192.0.2.9:5", "192.0.2.9:6", true},
		{"/run/sock:0", "/run/sock:0", false},
	} {
		w.login(c.a, "a", "no")
		w.login(c.a, "b", "busy") // does not count
		w.login(c.b, "", "no")
		if got := w.login(c.b, "x", "yes"); (got == mqtt.Banned) != c.same {
			t.Errorf("%s %s: %v", c.a, c.b, got)
		}
	}
	// A valid login between gives one failure back, not all.
	w = newWorld(Rules{Address: 3, Time: time.Minute, Max: time.Hour})
	for _, pw := range []string{"no", "no", "yes", "no", "no"} {
		w.login("192.0.2.1:1", "u", pw)
	}
	if c := w.login("192.0.2.1:1", "u", "yes"); c != mqtt.Banned {
		t.Errorf("%v", c)
	}
	// Old failures are forgotten.
	w = newWorld(Rules{Address: 2, Time: time.Minute, Max: time.Hour})
	w.login("192.0.2.1:1", "u", "no")
	w.clock = w.clock.Add(time.Hour + 1)
	w.login("192.0.2.1:1", "u", "no")
	if c := w.login("192.0.2.1:1", "u", "yes"); c != mqtt.Success {
		t.Errorf("%v", c)
	}
}

// Whatever attackers send, memory is bounded and who is locked out stays so.
func TestBounded(t *testing.T) {
	w := newWorld(Rules{User: 3, Time: time.Minute, Max: time.Hour})
	for range 3 {
		w.login("192.0.2.1:1", "victim", "no")
	}
	for i := range maxKeys + 1000 {
		w.login("192.0.2.1:1", fmt.Sprint(i), "no")
	}
	if n := len(w.g.State.users); n > maxKeys {
		t.Errorf("%d keys", n)
	}
	if c := w.login("192.0.2.1:1", "victim", "yes"); c != mqtt.Banned {
		t.Errorf("the lock-out was flushed: %v", c)
	}
}
