package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Backup implements admin.Keeper. The copy is made whole under another name and
// renamed; nobody but the broker's user can read it.
func (a *adminFace) Backup(_ context.Context, dir string) (err error) {
	d := (*Broker)(a).disk
	if d == nil {
		return errors.New("back up the store: persistence is off, there is none on disk")
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("back up the store: %s: %w", dir, os.ErrExist)
	}
	tmp := dir + ".part"
	if err := os.Mkdir(tmp, 0o700); err != nil { // also keeps two backups apart
		return fmt.Errorf("back up the store: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	made := tmp + "/store"
	if err := d.store.Backup(made); err != nil {
		return err
	}
	if err := os.Chmod(made, 0o700); err != nil {
		return fmt.Errorf("back up the store: %w", err)
	}
	if err := os.Rename(made, dir); err != nil {
		return fmt.Errorf("back up the store: %w", err)
	}
	return nil
}
