package transport

import "syscall"

func sysHandle(fd uintptr) syscall.Handle { return syscall.Handle(fd) }
