//go:build !linux

package target

import "syscall"

// dieWithParent has no counterpart outside Linux; Close ends the broker.
func dieWithParent() *syscall.SysProcAttr { return nil }
