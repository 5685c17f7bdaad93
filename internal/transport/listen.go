package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/midgemq/midge/internal/wsproto"
)

// Protocol is what a listener's connections speak on top of TCP.
type Protocol uint8

// The values of the option protocol.
const (
	MQTT Protocol = iota
	WebSockets
)

func (p Protocol) String() string {
	if p == WebSockets {
		return "websockets"
	}
	return "mqtt"
}

// Networks of a ListenSpec (option socket_domain).
const (
	NetworkTCP  = "tcp"  // IPv4 and IPv6, one socket each
	NetworkTCP4 = "tcp4" // IPv4 only
	NetworkTCP6 = "tcp6" // IPv6 only
)

// MaxBacklog is the default number of connections that may wait to be
// accepted; the kernel lowers it to its own limit (net.core.somaxconn). With a
// backlog of 100, 19,800 connects at once took 49 s; with a large one 0.5 s.
// More than 16 bits wrap around in old kernels.
const MaxBacklog = 65535

// ListenSpec describes one listener of the configuration.
type ListenSpec struct {
	Network string // one of the Network constants; empty means NetworkTCP
	Address string // host name or address; empty means every address
	Port    int    // 1 to 65535; 0 lets the system choose one, the same for both families
	Path    string // of a Unix socket, in place of Network, Address and Port
	// Interface is the name of the network interface whose addresses are listened
	// on (bind_interface); empty means any.
	Interface string
	Protocol  Protocol // what the connections speak
	NoDelay   bool     // set_tcp_nodelay: no Nagle algorithm on accepted sockets
	Backlog   int      // waiting connections; 0 means MaxBacklog
	// WebSocket holds the settings of a WebSockets listener; it is not used by
	// others.
	WebSocket wsproto.ServerOptions
	// NewTLS makes the TLS layer of a new connection; nil: no TLS.
	NewTLS func() wsproto.Layer
	// Proxy says that a PROXY header comes before everything else; its zero value
	// says that none does.
	Proxy ProxyOptions
	// Inherited are sockets that a service manager has opened already; those that
	// fit are used in place of new ones. See Activated.
	Inherited *Inherited
}

// Log receives the lines written while listeners are opened.
type Log interface {
	Info(format string, args ...any)
	Warning(format string, args ...any)
}

// Listener is one listening socket.
type Listener struct {
	// immutable
	spec      *ListenSpec
	family    string // "ipv4", "ipv6" or "unix"
	addr      netip.AddrPort
	webSocket *atomic.Pointer[wsproto.ServerOptions] // shared by the listeners of a spec

	// atomic
	noDelay atomic.Int32 // what SetNoDelay asked for: 0 nothing, 1 yes, -1 no

	// owned by the accepting goroutine
	lastLine time.Time // when OutOfSockets was last true
	socket
}

// Spec returns the description the listener was made from; both families of
// one listener share it, so it also names the listener for limits and metrics.
func (l *Listener) Spec() *ListenSpec { return l.spec }

// Addr returns the bound address; its port is the real one when Port was 0. It is
// the zero value for a Unix socket.
func (l *Listener) Addr() netip.AddrPort { return l.addr }

// Where returns the bound address with its port, or the path of a Unix socket.
func (l *Listener) Where() string {
	if l.spec.Path != "" {
		return l.spec.Path
	}
	return l.addr.String()
}

// Family returns "ipv4", "ipv6" or "unix".
func (l *Listener) Family() string { return l.family }

// Peer returns how the log names a peer that Accept has returned: A:P, or the
// path of a Unix socket with a port of 0.
func (l *Listener) Peer(peer netip.AddrPort) string {
	if l.spec.Path != "" {
		return l.spec.Path + ":0"
	}
	return FormatAddr(peer)
}

// Announced reports whether the log is to say that a connection came: behind a
// proxy that is the proxy's, and the client's address comes later.
func (l *Listener) Announced() bool { return l.spec.Proxy.Version == 0 }

// PeerIsClient reports whether a peer's address is its client's own, which limits
// by address need: behind a proxy it is the proxy's, and on a Unix socket there
// is none.
func (l *Listener) PeerIsClient() bool { return l.spec.Proxy.Version == 0 && l.spec.Path == "" }

// NewLayer returns the layer between an accepted connection and MQTT, nil when
// the connection's bytes are MQTT as they are. peer is what Accept returned.
func (l *Listener) NewLayer(peer netip.AddrPort) wsproto.Layer {
	var layer wsproto.Layer
	if l.spec.Protocol == WebSockets {
		layer = wsproto.NewServer(l.webSocket.Load())
	}
	if l.spec.NewTLS != nil {
		layer = wsproto.Stack(l.spec.NewTLS(), layer)
	}
	if l.spec.Proxy.Version != 0 {
		layer = newProxy(&l.spec.Proxy, l.Peer(peer), layer)
	}
	return layer
}

// SetWebSocket replaces the WebSocket settings for new connections, of all the
// listeners that were opened together. Any goroutine.
func (l *Listener) SetWebSocket(o wsproto.ServerOptions) { l.webSocket.Store(&o) }

// SetNoDelay replaces NoDelay of the description for connections that are
// accepted from now on. Any goroutine.
func (l *Listener) SetNoDelay(yes bool) {
	if yes {
		l.noDelay.Store(1)
	} else {
		l.noDelay.Store(-1)
	}
}

// Errors of Accept.
var (
	// ErrNoneWaiting says that nobody waits; poll the listener again.
	ErrNoneWaiting = errors.New("accept: no connection is waiting")
	// ErrRefused says that one waiting connection was accepted and closed,
	// because the process or the system has no descriptor left. Call Accept
	// again as usual.
	ErrRefused = errors.New("accept: out of descriptors, one connection was closed")
	// ErrExhausted says that accepting is impossible now and would fail at
	// once again. Do not call Accept for ExhaustedPause; connections wait in
	// the backlog meanwhile.
	ErrExhausted = errors.New("accept: out of descriptors or memory")
)

// ExhaustedPause is how long to leave a listener alone after ErrExhausted: long
// enough not to spin, short against a client's connect timeout.
const ExhaustedPause = 100 * time.Millisecond

// lineInterval bounds the log lines about refused connections, whose rate a
// peer decides.
const lineInterval = time.Second

// OutOfSockets reports whether the line "Unable to accept new connection,
// system socket count has been exceeded." is due after ErrRefused or
// ErrExhausted: once a second per listener.
func (l *Listener) OutOfSockets(now time.Time) bool {
	if !l.lastLine.IsZero() && now.Sub(l.lastLine) < lineInterval {
		return false
	}
	l.lastLine = now
	return true
}

// ListenError says which socket could not be opened.
type ListenError struct {
	Family  string // "ipv4", "ipv6" or "unix"; empty when the address could not be resolved
	Address string // as configured, a path for a Unix socket
	Port    int
	Op      string // the system call or step that failed
	Err     error
}

func (e *ListenError) Error() string {
	var b strings.Builder
	b.WriteString("listen on ")
	if e.Family != "" {
		b.WriteString(e.Family + " ")
	}
	switch {
	case e.Family == familyUnix:
		b.WriteString("socket " + e.Address)
	case e.Address != "":
		fmt.Fprintf(&b, "port %d address %s", e.Port, e.Address)
	default:
		fmt.Fprintf(&b, "port %d", e.Port)
	}
	fmt.Fprintf(&b, ": %s: %v", e.Op, e.Err)
	return b.String()
}

func (e *ListenError) Unwrap() error { return e.Err }

// Line returns the log line Mosquitto users look for, such as
// "Error: Address already in use".
func (e *ListenError) Line() string {
	text := e.Err.Error()
	var errno syscall.Errno
	if errors.As(e.Err, &errno) {
		text = errno.Error()
	}
	if text == "" {
		text = "unknown error"
	}
	return "Error: " + strings.ToUpper(text[:1]) + text[1:]
}

// portAttempts bounds the search for a port that is free in both families when
// the system chooses it.
const portAttempts = 20

// Listen opens the sockets of spec: one for each address and family, as
// Mosquitto does, so that an IPv6 socket never sees IPv4 clients. It fails as
// a whole, closing what it had opened, with a *ListenError; only a family that
// this machine does not have is left out with a warning, if another one
// remains. ctx bounds the look-up of a host name.
func Listen(ctx context.Context, spec ListenSpec, log Log) ([]*Listener, error) {
	if spec.Backlog <= 0 || spec.Backlog > MaxBacklog {
		spec.Backlog = MaxBacklog
	}
	ws := new(atomic.Pointer[wsproto.ServerOptions])
	ws.Store(&spec.WebSocket)
	mine := spec.Inherited.take(&spec)
	if len(mine) > 0 {
		return adoptAll(&spec, mine, ws, log)
	}
	if spec.Path != "" {
		return listenUnix(&spec, ws, log)
	}
	addrs, err := resolve(ctx, &spec)
	if err != nil {
		return nil, &ListenError{Address: spec.Address, Port: spec.Port, Op: "look up address", Err: err}
	}
	for attempt := 1; ; attempt++ {
		ls, err := listenAll(&spec, addrs, ws, log)
		if err == nil || spec.Port != 0 || attempt == portAttempts || !errors.Is(err, syscall.EADDRINUSE) {
			return ls, err
		}
	}
}

// listenAll opens one socket for each of addrs.
func listenAll(spec *ListenSpec, addrs []netip.Addr, ws *atomic.Pointer[wsproto.ServerOptions], log Log) (ls []*Listener, err error) {
	defer func() {
		if err != nil {
			closeAll(ls)
			ls = nil
		}
	}()
	var missing error
	port := spec.Port
	for _, a := range addrs {
		family := familyOf(a)
		log.Info("Opening %s listen socket on port %d.", family, port)
		l := &Listener{spec: spec, family: family, webSocket: ws}
		op, e := l.open(netip.AddrPortFrom(a, uint16(port)))
		if e == nil {
			ls = append(ls, l)
			port = int(l.addr.Port())
			continue
		}
		e = &ListenError{Family: family, Address: spec.Address, Port: port, Op: op, Err: e}
		if !familyMissing(e) {
			return ls, e
		}
		missing = e
		if len(addrs) > 1 {
			log.Warning("Warning: %v.", e)
		}
	}
	if len(ls) == 0 {
		return ls, missing
	}
	return ls, nil
}

func closeAll(ls []*Listener) {
	for _, l := range ls {
		l.Close() //nolint:errcheck // the first error is the one to tell
	}
}

const familyUnix = "unix"

// listenUnix opens the Unix socket of spec. What an earlier broker has left under
// its path goes, but only a socket that nobody listens on.
func listenUnix(spec *ListenSpec, ws *atomic.Pointer[wsproto.ServerOptions], log Log) ([]*Listener, error) {
	log.Info("Opening unix listen socket on path %s.", spec.Path)
	fail := func(op string, err error) error {
		return &ListenError{Family: familyUnix, Address: spec.Path, Op: op, Err: err}
	}
	if len(spec.Path) > maxUnixPath {
		return nil, fail("bind", fmt.Errorf("the path is longer than %d bytes", maxUnixPath))
	}
	if err := removeStale(spec.Path); err != nil {
		return nil, fail("bind", err)
	}
	l := &Listener{spec: spec, family: familyUnix, webSocket: ws}
	if op, err := l.openUnix(spec.Path); err != nil {
		return nil, fail(op, err)
	}
	return []*Listener{l}, nil
}

// maxUnixPath is what the smallest socket address of the supported systems holds
// with its final zero byte.
const maxUnixPath = 103

// removeStale removes a socket that nobody listens on.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Mode().Type() != os.ModeSocket:
		return errors.New("there is a file of this name that is no socket")
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close()
		return syscall.EADDRINUSE
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// familyMissing reports whether a socket failed because this machine does not
// have its address family.
func familyMissing(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EPROTONOSUPPORT)
}

func familyOf(a netip.Addr) string {
	if a.Is4() {
		return "ipv4"
	}
	return "ipv6"
}

// resolve returns the addresses to listen on, without duplicates, in the order
// of the look-up.
func resolve(ctx context.Context, spec *ListenSpec) ([]netip.Addr, error) {
	if spec.Port < 0 || spec.Port > 65535 {
		return nil, fmt.Errorf("port %d is not between 0 and 65535", spec.Port)
	}
	var wanted func(netip.Addr) bool
	switch spec.Network {
	case "", NetworkTCP:
		wanted = func(netip.Addr) bool { return true }
	case NetworkTCP4:
		wanted = netip.Addr.Is4
	case NetworkTCP6:
		wanted = netip.Addr.Is6
	default:
		return nil, fmt.Errorf("unknown network %q", spec.Network)
	}
	var all []netip.Addr
	if spec.Interface != "" {
		return interfaceAddrs(ctx, spec, wanted)
	}
	if spec.Address == "" {
		all = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	} else if a, err := netip.ParseAddr(strings.Trim(spec.Address, "[]")); err == nil {
		all = []netip.Addr{a}
	} else if all, err = net.DefaultResolver.LookupNetIP(ctx, "ip", spec.Address); err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, a := range all {
		if a = a.Unmap(); wanted(a) && !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%q has no address for %s", spec.Address, spec.Network)
	}
	return addrs, nil
}

// interfaceAddrs returns the first address of each family that a network interface
// has. An address of the listener line has to be among all of them.
func interfaceAddrs(ctx context.Context, spec *ListenSpec, wanted func(netip.Addr) bool) ([]netip.Addr, error) {
	ifi, err := findInterface(spec.Interface)
	if err != nil {
		return nil, err
	}
	list, err := ifi.Addrs()
	if err != nil {
		return nil, err
	}
	var all, first []netip.Addr
	have := map[string]bool{}
	for _, x := range list {
		n, ok := x.(*net.IPNet)
		if !ok {
			continue
		}
		a, ok := netip.AddrFromSlice(n.IP)
		if !ok {
			continue
		}
		if a = a.Unmap(); a.IsLinkLocalUnicast() && a.Is6() {
			a = a.WithZone(ifi.Name)
		}
		all = append(all, a)
		if f := familyOf(a); wanted(a) && !have[f] {
			have[f] = true
			first = append(first, a)
		}
	}
	if spec.Address != "" {
		plain := *spec
		plain.Interface = ""
		named, err := resolve(ctx, &plain)
		if err != nil {
			return nil, err
		}
		for _, a := range named {
			if !slices.ContainsFunc(all, func(b netip.Addr) bool { return a.WithZone("") == b.WithZone("") }) {
				return nil, fmt.Errorf("the address %s is none of the interface %s", a, spec.Interface)
			}
		}
		return named, nil
	}
	if len(first) == 0 {
		return nil, fmt.Errorf("the interface %s has no address to listen on", spec.Interface)
	}
	return first, nil
}

// findInterface finds an interface by name, whatever the case of its letters.
func findInterface(name string) (*net.Interface, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for i := range list {
		if strings.EqualFold(list[i].Name, name) {
			return &list[i], nil
		}
	}
	return nil, fmt.Errorf("there is no network interface %s", name)
}

// FormatAddr returns address and port as the log shows them: with a colon
// between and IPv6 without brackets.
func FormatAddr(a netip.AddrPort) string {
	return FormatHost(a.Addr()) + ":" + strconv.Itoa(int(a.Port()))
}

// FormatHost returns the address alone, an IPv4 address inside IPv6 as IPv4.
func FormatHost(a netip.Addr) string {
	if !a.IsValid() {
		return "unknown"
	}
	return a.Unmap().String()
}
