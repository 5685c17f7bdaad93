package transport

import (
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"

	"github.com/midgemq/midge/internal/wsproto"
)

// firstInherited is the descriptor from which on a service manager passes
// sockets (sd_listen_fds(3)).
const firstInherited = 3

// maxInherited bounds what LISTEN_FDS may say.
const maxInherited = 1000

// Inherited are sockets that a service manager opened for this process, as
// systemd does by a socket unit: it needs no privileges for a port below 1024
// then, and connects that come while it restarts wait instead of being refused.
//
// A listener of the configuration takes each socket with its port and, if it
// names an address, with that address, or with its path; it opens none of its own
// then. It belongs to the goroutine that opens the listeners.
type Inherited struct {
	sockets []inheritedSocket
}

type inheritedSocket struct {
	fd     int
	addr   netip.AddrPort
	path   string
	family string
}

// Activated returns the sockets that the environment of the process announces
// (LISTEN_PID, LISTEN_FDS) and takes the announcement away, so that it does not
// reach children. It returns nil when there are none.
func Activated(log Log) *Inherited {
	pid, err := strconv.Atoi(os.Getenv("LISTEN_PID"))
	if err != nil || pid != os.Getpid() {
		return nil
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(name)
	}
	if err != nil || n <= 0 || n > maxInherited {
		return nil
	}
	in := &Inherited{}
	for fd := firstInherited; fd < firstInherited+n; fd++ {
		s, err := inspect(fd)
		if err != nil {
			log.Warning("Warning: The inherited descriptor %d is left alone: %v.", fd, err)
			continue
		}
		in.sockets = append(in.sockets, s)
	}
	return in
}

// take removes and returns the sockets that belong to spec.
func (in *Inherited) take(spec *ListenSpec) (mine []inheritedSocket) {
	if in == nil {
		return nil
	}
	var rest []inheritedSocket
	for _, s := range in.sockets {
		if s.fits(spec) {
			mine = append(mine, s)
		} else {
			rest = append(rest, s)
		}
	}
	in.sockets = rest
	return mine
}

func (s *inheritedSocket) fits(spec *ListenSpec) bool {
	if spec.Path != "" || s.path != "" {
		return spec.Path == s.path
	}
	if spec.Port == 0 || int(s.addr.Port()) != spec.Port ||
		spec.Network == NetworkTCP4 && s.family != "ipv4" || spec.Network == NetworkTCP6 && s.family != "ipv6" {
		return false
	}
	if spec.Address == "" {
		return true
	}
	a, err := netip.ParseAddr(spec.Address)
	return err == nil && a.Unmap() == s.addr.Addr()
}

// CloseRest closes the sockets that no listener has taken, and says so: whoever
// connects to them would wait for ever.
func (in *Inherited) CloseRest(log Log) {
	if in == nil {
		return
	}
	for _, s := range in.sockets {
		where := s.path
		if where == "" {
			where = s.addr.String()
		}
		log.Warning("Warning: The socket %s of the service manager belongs to no listener of the configuration and is closed.", where)
		closeInherited(s.fd)
	}
	in.sockets = nil
}

// adoptAll makes listeners of sockets that are open already.
func adoptAll(spec *ListenSpec, mine []inheritedSocket, ws *atomic.Pointer[wsproto.ServerOptions], log Log) (ls []*Listener, err error) {
	for _, s := range mine {
		l := &Listener{spec: spec, family: s.family, addr: s.addr, webSocket: ws}
		if err := l.adopt(s.fd); err != nil {
			closeAll(ls)
			return nil, &ListenError{Family: s.family, Address: spec.Address + spec.Path, Port: spec.Port, Op: "take over socket", Err: err}
		}
		if s.path != "" {
			log.Info("Using the unix listen socket on path %s of the service manager.", s.path)
		} else {
			log.Info("Using the %s listen socket on port %d of the service manager.", s.family, s.addr.Port())
		}
		ls = append(ls, l)
	}
	return ls, nil
}
