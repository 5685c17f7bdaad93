package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/wsproto"
)

// lines collects log lines.
type lines []string

func (l *lines) Info(format string, args ...any) { *l = append(*l, "I "+fmt.Sprintf(format, args...)) }

func (l *lines) Warning(format string, args ...any) {
	*l = append(*l, "W "+fmt.Sprintf(format, args...))
}

func listen(t *testing.T, spec ListenSpec) ([]*Listener, lines) {
	t.Helper()
	var log lines
	ls, err := Listen(context.Background(), spec, &log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, l := range ls {
			if err := l.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
	})
	return ls, log
}

func dial(t *testing.T, network string, a netip.AddrPort) net.Conn {
	t.Helper()
	c, err := net.DialTimeout(network, a.String(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestListenBothFamilies(t *testing.T) {
	ls, log := listen(t, ListenSpec{})
	if len(ls) != 2 || ls[0].Family() != "ipv4" || ls[1].Family() != "ipv6" {
		t.Fatalf("%d listeners", len(ls))
	}
	port := ls[0].Addr().Port()
	if port == 0 || ls[1].Addr().Port() != port {
		t.Fatalf("ports %d and %d", port, ls[1].Addr().Port())
	}
	if ls[0].Addr().Addr() != netip.IPv4Unspecified() || ls[1].Addr().Addr() != netip.IPv6Unspecified() {
		t.Fatalf("addresses %v and %v", ls[0].Addr(), ls[1].Addr())
	}
	want := []string{"I Opening ipv4 listen socket on port 0.", fmt.Sprintf("I Opening ipv6 listen socket on port %d.", port)}
	if !slices.Equal(log, want) {
		t.Fatalf("log %q", log)
	}
	if ls[0].Spec() != ls[1].Spec() {
		t.Fatal("the families do not share their description")
	}
	for i, host := range []string{"127.0.0.1", "::1"} {
		c := dial(t, "tcp", netip.AddrPortFrom(netip.MustParseAddr(host), port))
		_, peer := acceptOne(t, ls[i])
		if local := c.LocalAddr().(*net.TCPAddr).AddrPort(); peer != local {
			t.Fatalf("peer %v, the client is %v", peer, local)
		}
	}
}

func TestListenOneFamily(t *testing.T) {
	for _, c := range []struct {
		spec   ListenSpec
		family string
		addr   string
	}{
		{ListenSpec{Network: NetworkTCP4}, "ipv4", "0.0.0.0"},
		{ListenSpec{Network: NetworkTCP6}, "ipv6", "::"},
		{ListenSpec{Address: "127.0.0.1"}, "ipv4", "127.0.0.1"},
		{ListenSpec{Address: "::1"}, "ipv6", "::1"},
		{ListenSpec{Address: "[::1]"}, "ipv6", "::1"},
		{ListenSpec{Address: "::1%lo"}, "ipv6", "::1"},
		{ListenSpec{Address: "::ffff:127.0.0.1"}, "ipv4", "127.0.0.1"},
		{ListenSpec{Address: "localhost", Network: NetworkTCP4}, "ipv4", "127.0.0.1"},
	} {
		ls, _ := listen(t, c.spec)
		if len(ls) != 1 || ls[0].Family() != c.family || ls[0].Addr().Addr().WithZone("").String() != c.addr {
			t.Errorf("%+v: %d listeners, first %v", c.spec, len(ls), ls[0].Addr())
		}
	}
}

func TestIPv6SocketSeesNoIPv4(t *testing.T) {
	ls, _ := listen(t, ListenSpec{Network: NetworkTCP6})
	a := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), ls[0].Addr().Port())
	if c, err := net.DialTimeout("tcp4", a.String(), 10*time.Second); err == nil {
		c.Close()
		t.Fatal("an IPv4 client reached the IPv6 socket")
	}
}

func TestListenErrors(t *testing.T) {
	taken, _ := listen(t, ListenSpec{Address: "127.0.0.1"})
	port := int(taken[0].Addr().Port())
	for _, c := range []struct {
		name string
		spec ListenSpec
		want []string // parts of the error
		line string
	}{
		{
			"in use",
			ListenSpec{Address: "127.0.0.1", Port: port},
			[]string{"ipv4", fmt.Sprint(port), "127.0.0.1", "address already in use"},
			"Error: Address already in use",
		},
		{
			"in use in one family",
			ListenSpec{Port: port},
			[]string{"ipv4", fmt.Sprint(port), "address already in use"},
			"Error: Address already in use",
		},
		{
			"not ours",
			ListenSpec{Address: "192.0.2.1", Port: 1},
			[]string{"ipv4 port 1 address 192.0.2.1", "cannot assign requested address"},
			"Error: Cannot assign requested address",
		},
		{"network", ListenSpec{Network: "udp"}, []string{`unknown network "udp"`}, `Error: Unknown network "udp"`},
		{
			"family of address",
			ListenSpec{Network: NetworkTCP6, Address: "127.0.0.1"},
			[]string{"no address for tcp6"},
			`Error: "127.0.0.1" has no address for tcp6`,
		},
		{"port", ListenSpec{Port: 65536}, []string{"65536"}, "Error: Port 65536 is not between 0 and 65535"},
		{"name", ListenSpec{Address: "no such host.invalid"}, []string{"no such host.invalid"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log lines
			ls, err := Listen(context.Background(), c.spec, &log)
			var e *ListenError
			if !errors.As(err, &e) || len(ls) != 0 {
				t.Fatalf("%d listeners, error %v", len(ls), err)
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
			if c.line != "" && e.Line() != c.line || !strings.HasPrefix(e.Line(), "Error: ") {
				t.Errorf("line %q, want %q", e.Line(), c.line)
			}
		})
	}
}

func TestListenClosesAllOnFailure(t *testing.T) {
	// The IPv6 port is taken, so the IPv4 socket opened before must go again.
	port := 0
	for port == 0 { // a port that nobody has in IPv4
		taken, _ := listen(t, ListenSpec{Network: NetworkTCP6})
		port = int(taken[0].Addr().Port())
		if probe, err := net.Listen("tcp4", fmt.Sprint(":", port)); err != nil {
			port = 0
		} else {
			_ = probe.Close()
		}
	}
	var log lines
	if _, err := Listen(context.Background(), ListenSpec{Port: port}, &log); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("error %v", err)
	}
	ls, _ := listen(t, ListenSpec{Network: NetworkTCP4, Port: port})
	if len(ls) != 1 {
		t.Fatalf("%d listeners", len(ls))
	}
}

func TestNoDelay(t *testing.T) {
	for _, want := range []bool{false, true} {
		ls, _ := listen(t, ListenSpec{Address: "127.0.0.1", NoDelay: want})
		dial(t, "tcp", ls[0].Addr())
		if got, _ := acceptOne(t, ls[0]); got != want {
			t.Errorf("TCP_NODELAY of the accepted socket is %v, want %v", got, want)
		}
		ls[0].SetNoDelay(!want)
		for range 2 {
			dial(t, "tcp", ls[0].Addr())
			if got, _ := acceptOne(t, ls[0]); got == want {
				t.Errorf("TCP_NODELAY of a socket accepted after the change is still %v", got)
			}
		}
	}
}

func TestNewLayer(t *testing.T) {
	ls, _ := listen(t, ListenSpec{Address: "127.0.0.1", Protocol: WebSockets, WebSocket: wsproto.ServerOptions{MaxHeader: 20}})
	l := ls[0].NewLayer(netip.AddrPort{})
	if _, out, err := l.Inbound(nil, []byte("GET /a-long-path HTTP/1.1\r\n"), nil); err == nil || !strings.HasPrefix(string(out), "HTTP/1.1 431 ") {
		t.Fatalf("the listener's settings are not used: %q %v", out, err)
	}
	plain, _ := listen(t, ListenSpec{Address: "127.0.0.1"})
	if l := plain[0].NewLayer(netip.AddrPort{}); l != nil {
		t.Fatalf("layer %T on a plain listener", l)
	}
	if MQTT.String() != "mqtt" || WebSockets.String() != "websockets" {
		t.Fatal("protocol names")
	}
}

func TestOutOfSockets(t *testing.T) {
	var l Listener
	start := time.Unix(1000, 0)
	var due []time.Duration
	for ms := 0; ms < 3000; ms += 100 {
		if d := time.Duration(ms) * time.Millisecond; l.OutOfSockets(start.Add(d)) {
			due = append(due, d)
		}
	}
	if !slices.Equal(due, []time.Duration{0, time.Second, 2 * time.Second}) {
		t.Fatalf("lines at %v", due)
	}
}

func TestFormatAddr(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:1883":         "127.0.0.1:1883",
		"[::1]:1883":             "::1:1883",
		"[::ffff:10.0.0.1]:5":    "10.0.0.1:5",
		"[fe80::1%eth0]:5":       "fe80::1%eth0:5",
		"[2001:db8::a:b]:60000":  "2001:db8::a:b:60000",
		"255.255.255.255:65535":  "255.255.255.255:65535",
		"[2001:db8:0:0:1::]:100": "2001:db8:0:0:1:::100",
	} {
		if got := FormatAddr(netip.MustParseAddrPort(in)); got != want {
			t.Errorf("%s is shown as %s, want %s", in, got, want)
		}
	}
	if got := FormatAddr(netip.AddrPort{}); got != "unknown:0" {
		t.Errorf("no address is shown as %s", got)
	}
}
