package target

import "syscall"

// dieWithParent keeps a foreign broker from outliving a test run that is killed.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
