package loop

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/record"
)

func TestRate(t *testing.T) {
	const ms = record.Second / 1000
	var r rate
	now := record.Second
	for range 1000 {
		if !r.allow(at("1.2.3.4:5"), now) {
			t.Fatal("limited without a limit")
		}
	}
	r.set(4)
	for i := range 6 {
		if got := r.allow(at(fmt.Sprint("1.2.3.4:", i)), now); got != (i < 4) {
			t.Errorf("connection %d at once: %t", i, got)
		}
	}
	if !r.allow(at("1.2.3.5:1"), now) || !r.allow(at("2001:db8::1:5"), now) || !r.allow(at("/run/sock:0"), now) {
		t.Error("another address is limited")
	}
	for i := range 3 { // the /64 counts as one
		if !r.allow(at(fmt.Sprintf("2001:db8::%d:7", 9+i)), now) {
			t.Errorf("%d of one /64", i)
		}
	}
	if r.allow(at("2001:db8::ffff:1"), now) {
		t.Error("a fifth of one /64")
	}
	if !r.allow(at("2001:db8:0:1::1:1"), now) {
		t.Error("another /64 is limited")
	}
	if now += 249 * ms; r.allow(at("1.2.3.4:9"), now) {
		t.Error("a quarter of the time has not passed yet")
	}
	if now += ms; !r.allow(at("1.2.3.4:9"), now) || r.allow(at("1.2.3.4:9"), now) {
		t.Error("after a quarter of a second there is room for one")
	}
	if r.allow(at("::ffff:1.2.3.4:9"), now) {
		t.Error("an IPv4 address in IPv6 form is another one")
	}
	r.set(0)
	if !r.allow(at("1.2.3.4:9"), now) {
		t.Error("limited after the limit went")
	}
}

func TestRateForgets(t *testing.T) {
	var r rate
	r.set(1)
	now := record.Second
	for i := range maxAddresses + 10 {
		r.allow(at(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255)), now)
		if len(r.buckets) > maxAddresses {
			t.Fatalf("%d addresses", len(r.buckets))
		}
	}
	now += 2 * record.Second
	if !r.allow(at("10.0.0.0:1"), now) {
		t.Error("limited after two seconds")
	}
}

// at is the address of A:P, the invalid one for what has none.
func at(s string) netip.Addr {
	a, err := netip.ParseAddr(s[:strings.LastIndexByte(s, ':')])
	if err != nil {
		return netip.Addr{}
	}
	return a
}
