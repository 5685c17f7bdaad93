//go:build unix && !openbsd && !netbsd && !solaris && !illumos && !aix

package broker

import "syscall"

// diskSpace returns the bytes free for this process and the size of the file
// system that dir is on.
func diskSpace(dir string) (free, size uint64, ok bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, 0, false
	}
	return uint64(s.Bavail) * uint64(s.Bsize), uint64(s.Blocks) * uint64(s.Bsize), true
}
