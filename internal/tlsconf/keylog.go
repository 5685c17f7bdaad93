package tlsconf

import (
	"fmt"
	"os"
)

// OpenKeyLog opens a file for the secrets of TLS connections (--tls-keylog), for
// appending. Whoever reads it can read the connections: so it is made with mode
// 0600, and must be a regular file and no symbolic link.
func OpenKeyLog(path string) (*os.File, error) {
	if st, err := os.Lstat(path); err == nil && !st.Mode().IsRegular() {
		return nil, fmt.Errorf("open key log %s: not a regular file", path)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open key log: %w", err)
	}
	// Between the two calls somebody may have put a link there.
	was, err := os.Lstat(path)
	if err == nil {
		var is os.FileInfo
		if is, err = f.Stat(); err == nil && !os.SameFile(was, is) {
			err = fmt.Errorf("open key log %s: not a regular file", path)
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
