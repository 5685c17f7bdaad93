//go:build !windows && (!linux || portable)

package transport

func sysHandle(fd uintptr) int { return int(fd) }
