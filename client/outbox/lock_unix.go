//go:build unix

package outbox

import (
	"os"
	"syscall"
)

// lockFile locks the file for this process until it is closed; the lock goes with the process, however that ends.
func lockFile(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
