//go:build linux && !portable

package transport

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"
)

// accept4 is syscall.Accept4 for a socket that does not block, with errno 0 for no error and the zero address
// for a peer that has none. The package's own
// tells the scheduler of every call, which wakes the runtime's monitor each time
// the process was idle; that cost a tenth of a connection.
func accept4(fd, flags int) (int, netip.AddrPort, syscall.Errno) {
	var rsa syscall.RawSockaddrAny
	n := uint32(syscall.SizeofSockaddrAny)
	nfd, _, e := syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&rsa)), uintptr(unsafe.Pointer(&n)), uintptr(flags), 0, 0)
	if e != 0 {
		return -1, netip.AddrPort{}, e
	}
	switch rsa.Addr.Family {
	case syscall.AF_INET:
		in := (*syscall.RawSockaddrInet4)(unsafe.Pointer(&rsa))
		return int(nfd), netip.AddrPortFrom(netip.AddrFrom4(in.Addr), port(&in.Port)), 0
	case syscall.AF_INET6:
		in := (*syscall.RawSockaddrInet6)(unsafe.Pointer(&rsa))
		return int(nfd), netip.AddrPortFrom(address6(in.Addr, in.Scope_id), port(&in.Port)), 0
	}
	return int(nfd), netip.AddrPort{}, 0 // clients of Unix sockets have no name
}

// port reads a port in network order.
func port(p *uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:])
}
