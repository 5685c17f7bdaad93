//go:build linux && (amd64 || arm64)

package main

import (
	"syscall"
	"unsafe"
)

// ignoreRTMIN keeps signal 34, glibc's SIGRTMIN, from ending the process: it
// asks Mosquitto to reopen its log, and log rotation set up for Mosquitto sends
// it. The os/signal package cannot catch or ignore it. The log notices a
// rename by itself, so nothing has to be done on the signal.
func ignoreRTMIN() {
	const (
		sigrtmin = 34
		sigIgn   = 1
		maskSize = 8
	)
	action := struct {
		handler, flags, restorer uintptr
		mask                     uint64
	}{handler: sigIgn}
	syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, sigrtmin, uintptr(unsafe.Pointer(&action)), 0, maskSize, 0, 0)
}
