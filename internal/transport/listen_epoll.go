//go:build linux && !portable

package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
)

// socket is the system's side of a Listener.
type socket struct {
	fd int
	// reserve is a descriptor kept for the moment when there is no other left:
	// it is given up to accept, and thereby to close, a connection that would
	// otherwise keep the listener readable for ever. -1 when it could not be
	// had.
	reserve int
	remove  string // the path of a Unix socket that was made here
	delay   int32  // what of SetNoDelay is in force
}

// FD returns the listening descriptor, non-blocking, to be polled for reading.
func (l *Listener) FD() int { return l.fd }

// open makes, binds and opens the socket. op is the step that failed.
func (l *Listener) open(a netip.AddrPort) (op string, err error) {
	sa, domain, err := sockaddr(a)
	if err != nil {
		return "find interface", err
	}
	fd, err := syscall.Socket(domain, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, syscall.IPPROTO_TCP)
	if err != nil {
		return "socket", err
	}
	defer func() {
		if err != nil {
			syscall.Close(fd) //nolint:errcheck // the first error is the one to tell
		}
	}()
	options := []struct{ level, name, value int }{
		{syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1},
	}
	if domain == syscall.AF_INET6 {
		options = append(options, struct{ level, name, value int }{syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY, 1})
	}
	if l.spec.NoDelay {
		// Accepted sockets inherit it, which saves a system call for each.
		options = append(options, struct{ level, name, value int }{syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1})
	}
	for _, o := range options {
		if err = syscall.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return "setsockopt", err
		}
	}
	if err = syscall.Bind(fd, sa); err != nil {
		return "bind", err
	}
	if err = syscall.Listen(fd, l.spec.Backlog); err != nil {
		return "listen", err
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		return "getsockname", err
	}
	l.addr = addrPort(bound)
	l.fd, l.reserve = fd, openReserve()
	return "", nil
}

// openUnix is open for a path.
func (l *Listener) openUnix(path string) (op string, err error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "socket", err
	}
	if err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		syscall.Close(fd) //nolint:errcheck // the first error is the one to tell
		return "bind", err
	}
	if err = syscall.Listen(fd, l.spec.Backlog); err != nil {
		syscall.Close(fd) //nolint:errcheck // the first error is the one to tell
		return "listen", err
	}
	l.fd, l.reserve, l.remove = fd, openReserve(), path
	return "", nil
}

// adopt takes over a socket that somebody else has opened.
func (l *Listener) adopt(fd int) error {
	if err := syscall.SetNonblock(fd, true); err != nil {
		return err
	}
	if l.spec.NoDelay && l.spec.Path == "" {
		if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
			return err
		}
	}
	l.fd, l.reserve = fd, openReserve()
	return nil
}

// Close closes the listening socket. Call it from the accepting goroutine, or
// when that has ended.
func (l *Listener) Close() error {
	if l.fd < 0 {
		return nil
	}
	err := syscall.Close(l.fd)
	if l.reserve >= 0 {
		syscall.Close(l.reserve) //nolint:errcheck // /dev/null
	}
	l.fd, l.reserve = -1, -1
	if l.remove != "" {
		_ = os.Remove(l.remove)
	}
	return os.NewSyscallError("close", err)
}

// acceptRetries bounds the connections skipped in one call because they were
// reset while waiting.
const acceptRetries = 64

// Accept takes one waiting connection. The descriptor is non-blocking, closed
// on exec and the caller's. It never blocks; its errors are ErrNoneWaiting,
// ErrRefused, ErrExhausted or a fault of the listening socket itself. It
// allocates nothing, but for an IPv6 address with a zone.
func (l *Listener) Accept() (fd int, peer netip.AddrPort, err error) {
	for range acceptRetries {
		fd, peer, e := accept4(l.fd, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		switch {
		case e == 0:
			if w := l.noDelay.Load(); w != l.delay {
				l.changeDelay(fd, w)
			}
			return fd, peer, nil
		case e == syscall.EAGAIN:
			return -1, netip.AddrPort{}, ErrNoneWaiting
		case e == syscall.EMFILE || e == syscall.ENFILE:
			return -1, netip.AddrPort{}, l.refuseOne()
		case e == syscall.ENOBUFS || e == syscall.ENOMEM:
			return -1, netip.AddrPort{}, ErrExhausted
		case fatalAccept(e):
			return -1, netip.AddrPort{}, os.NewSyscallError("accept4", e)
		}
	}
	return -1, netip.AddrPort{}, ErrNoneWaiting
}

// changeDelay follows SetNoDelay: accepted sockets inherit the option, but for
// those that waited already.
func (l *Listener) changeDelay(accepted int, want int32) {
	l.delay = want
	if l.spec.Path != "" {
		return
	}
	on := 0
	if want > 0 {
		on = 1
	}
	for _, fd := range []int{l.fd, accepted} {
		// A socket that is gone already takes no option and needs none.
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, on)
	}
}

// fatalAccept tells errors of the listening socket from those of one waiting
// connection (reset, network errors, firewall: accept(2) lists them), after
// which the next one may be taken.
func fatalAccept(err error) bool {
	return errors.Is(err, syscall.EBADF) || errors.Is(err, syscall.EINVAL) ||
		errors.Is(err, syscall.ENOTSOCK) || errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.EFAULT)
}

// refuseOne closes one waiting connection with the help of the reserve.
func (l *Listener) refuseOne() error {
	if l.reserve < 0 {
		if l.reserve = openReserve(); l.reserve < 0 {
			return ErrExhausted
		}
	}
	syscall.Close(l.reserve) //nolint:errcheck // /dev/null
	fd, _, e := accept4(l.fd, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
	if e == 0 {
		syscall.Close(fd) //nolint:errcheck // refused anyway
	}
	l.reserve = openReserve()
	switch e {
	case 0:
		return ErrRefused
	case syscall.EAGAIN:
		return ErrNoneWaiting
	default:
		// Another goroutine took the descriptor, or the kernel lacks memory.
		return ErrExhausted
	}
}

func openReserve() int {
	fd, err := syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
}

func sockaddr(a netip.AddrPort) (sa syscall.Sockaddr, domain int, err error) {
	if a.Addr().Is4() {
		return &syscall.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, syscall.AF_INET, nil
	}
	sa6 := &syscall.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		if ifi, err := net.InterfaceByName(zone); err == nil {
			sa6.ZoneId = uint32(ifi.Index)
		} else if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
			sa6.ZoneId = uint32(n)
		} else {
			return nil, 0, fmt.Errorf("unknown zone %q", zone)
		}
	}
	return sa6, syscall.AF_INET6, nil
}

// addrPort converts a kernel address; the zero value stands for one that is
// not IP.
func addrPort(sa syscall.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(address6(sa.Addr, sa.ZoneId), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// address6 is an IPv6 address with its scope.
func address6(b [16]byte, scope uint32) netip.Addr {
	a := netip.AddrFrom16(b).Unmap()
	if scope != 0 && a.Is6() {
		a = a.WithZone(zoneName(scope))
	}
	return a
}

// zoneName returns the text of an IPv6 scope.
func zoneName(id uint32) string {
	if ifi, err := net.InterfaceByIndex(int(id)); err == nil {
		return ifi.Name
	}
	return strconv.FormatUint(uint64(id), 10)
}
