//go:build !unix || openbsd || netbsd || solaris || illumos || aix

package broker

// diskSpace knows nothing here; a full disk shows when a write fails.
func diskSpace(string) (free, size uint64, ok bool) { return 0, 0, false }
