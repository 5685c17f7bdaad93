package conn

import (
	"net/netip"
	"testing"
	"unsafe"
)

// A field more here is 8 bytes for each of a million connections: it belongs into
// ext, buffers or gate when only some need it.
func TestSizeOfAConnection(t *testing.T) {
	if n := unsafe.Sizeof(Conn{}); n > 128 {
		t.Errorf("a connection takes %d bytes, want at most 128", n)
	}
	if n := unsafe.Sizeof(origin{}); n > 20 {
		t.Errorf("an address takes %d bytes, want at most 20", n)
	}
}

func TestAddress(t *testing.T) {
	for _, tt := range []struct {
		from Origin
		want string
	}{
		{Origin{AddrPort: netip.MustParseAddrPort("192.0.2.1:40000")}, "192.0.2.1:40000"},
		{Origin{AddrPort: netip.MustParseAddrPort("[::ffff:192.0.2.1]:40000")}, "192.0.2.1:40000"},
		{Origin{AddrPort: netip.MustParseAddrPort("[2001:db8::1]:1")}, "2001:db8::1:1"},
		{Origin{AddrPort: netip.MustParseAddrPort("[fe80::1%eth0]:1883")}, "fe80::1%eth0:1883"},
		{Origin{Text: "/run/midge.sock:0"}, "/run/midge.sock:0"},
		{Origin{}, "unknown:0"},
	} {
		var c Conn
		c.from(tt.from)
		if got := c.Address(); got != tt.want || tt.from.String() != tt.want {
			t.Errorf("%v: kept %q, written %q, want %q", tt.from, got, tt.from.String(), tt.want)
		}
	}
}
