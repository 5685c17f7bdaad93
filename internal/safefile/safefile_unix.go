//go:build unix

package safefile

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// allowLinks is Mosquitto's environment variable for those whose files are
// links, as those that Kubernetes mounts.
const allowLinks = "MOSQUITTO_UNSAFE_ALLOW_SYMLINKS"

// open does not wait for the other end of a FIFO.
func open(path string) (*os.File, error) {
	flags := os.O_RDONLY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	if _, on := os.LookupEnv(allowLinks); on {
		flags &^= syscall.O_NOFOLLOW
	}
	f, err := os.OpenFile(path, flags, 0)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO) {
		err = &os.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	return f, err
}

func check(path string, st os.FileInfo) (warnings []string) {
	if st.Mode().Perm()&0o004 != 0 {
		warnings = append(warnings, fmt.Sprintf("Warning: File %s has world readable permissions. Future versions will refuse to load this file. To fix this, use `chmod 0600 %s`.", path, path))
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return warnings
	}
	if uid := os.Geteuid(); int(sys.Uid) != uid {
		name := strconv.Itoa(uid)
		if u, err := user.LookupId(name); err == nil {
			name = u.Username
		}
		warnings = append(warnings, fmt.Sprintf("Warning: File %s owner is not %s. Future versions will refuse to load this file.", path, name))
	}
	if gid := os.Getegid(); int(sys.Gid) != gid {
		name := strconv.Itoa(gid)
		if g, err := user.LookupGroupId(name); err == nil {
			name = g.Name
		}
		warnings = append(warnings, fmt.Sprintf("Warning: File %s group is not %s. Future versions will refuse to load this file.", path, name))
	}
	return warnings
}

func keepOwner(f *os.File, st os.FileInfo) error {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		// Only root may give files away; a group one is in may be kept.
		if err := f.Chown(int(sys.Uid), int(sys.Gid)); err != nil {
			_ = f.Chown(-1, int(sys.Gid))
		}
	}
	return f.Chmod(st.Mode().Perm())
}

// SyncDir puts the names in a directory on stable storage, as after a rename.
// Systems and file systems that cannot do that do without.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, os.ErrPermission) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
