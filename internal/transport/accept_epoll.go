//go:build linux && !portable

package transport

import (
	"encoding/binary"
	"syscall"
	"unsafe"
)

// accept4 is syscall.Accept4 for a socket that does not block, with errno 0 for no error. The package's own
// tells the scheduler of every call, which wakes the runtime's monitor each time
// the process was idle; that cost a tenth of a connection.
func accept4(fd, flags int) (int, syscall.Sockaddr, syscall.Errno) {
	var rsa syscall.RawSockaddrAny
	n := uint32(syscall.SizeofSockaddrAny)
	nfd, _, e := syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&rsa)), uintptr(unsafe.Pointer(&n)), uintptr(flags), 0, 0)
	if e != 0 {
		return -1, nil, e
	}
	switch rsa.Addr.Family {
	case syscall.AF_INET:
		in := (*syscall.RawSockaddrInet4)(unsafe.Pointer(&rsa))
		return int(nfd), &syscall.SockaddrInet4{Port: port(&in.Port), Addr: in.Addr}, 0
	case syscall.AF_INET6:
		in := (*syscall.RawSockaddrInet6)(unsafe.Pointer(&rsa))
		return int(nfd), &syscall.SockaddrInet6{Port: port(&in.Port), ZoneId: in.Scope_id, Addr: in.Addr}, 0
	case syscall.AF_UNIX: // clients have no name as a rule
		return int(nfd), &syscall.SockaddrUnix{}, 0
	}
	return int(nfd), nil, 0
}

// port reads a port in network order.
func port(p *uint16) int {
	return int(binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:]))
}
