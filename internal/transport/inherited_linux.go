package transport

import (
	"errors"
	"net/netip"
	"os"
	"strconv"
	"syscall"
)

// inspect says what socket a descriptor is. It must listen.
func inspect(fd int) (s inheritedSocket, err error) {
	syscall.CloseOnExec(fd)
	listens, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	if err != nil {
		return s, os.NewSyscallError("getsockopt", err)
	}
	if listens == 0 {
		return s, errors.New("it does not listen for connections")
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		return s, os.NewSyscallError("getsockname", err)
	}
	s = inheritedSocket{fd: fd}
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		s.family, s.addr = "ipv4", netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *syscall.SockaddrInet6:
		a := netip.AddrFrom16(sa.Addr)
		if sa.ZoneId != 0 {
			a = a.WithZone(strconv.FormatUint(uint64(sa.ZoneId), 10))
		}
		s.family, s.addr = "ipv6", netip.AddrPortFrom(a, uint16(sa.Port))
	case *syscall.SockaddrUnix:
		s.family, s.path = familyUnix, sa.Name
	default:
		return s, errors.New("it is neither TCP nor a Unix socket")
	}
	return s, nil
}

func closeInherited(fd int) { _ = syscall.Close(fd) }
