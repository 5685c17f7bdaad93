//go:build unix

package cli

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/midgemq/midge/internal/admin"
)

// userName says as which user the process runs.
func userName() string {
	id := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(id); err == nil {
		return "user: " + u.Username
	}
	return "user id: " + id
}

// Environment variables that concern the process.
const (
	uidEnv   = "PUID"
	gidEnv   = "PGID"
	umaskEnv = "UMASK_SET"
	snapEnv  = "SNAP_NAME"
)

// dropPrivileges becomes the user of the option `user`, or that of PUID and
// PGID, when root started the process, and does nothing otherwise. It returns
// the exit status.
func (s *service) dropPrivileges() int {
	if os.Geteuid() != 0 || os.Getenv(snapEnv) == "mosquitto" {
		return exitOK
	}
	if os.Getenv(uidEnv) != "" || os.Getenv(gidEnv) != "" {
		return s.becomeIDs()
	}
	name := s.cfg.User
	if name == "root" {
		s.early.Warning("Warning: Mosquitto should not be run as root/administrator.")
		s.runtimeDir(0, 0)
		return exitOK
	}
	u, err := user.Lookup(name)
	if err != nil {
		if name != "mosquitto" {
			s.early.Error("Error: Unable to drop privileges to '%s' because this user does not exist.", name)
			return statusInvalid
		}
		s.early.Warning("Warning: Unable to drop privileges to '%s' because this user does not exist. Trying 'nobody' instead.", name)
		if u, err = user.Lookup("nobody"); err != nil {
			s.early.Error("Error: Unable to drop privileges to 'nobody'.")
			return statusInvalid
		}
	}
	if err := s.become(u); err != nil {
		s.early.Error("Error: Unable to drop privileges to '%s': %v.", u.Username, err)
		return statusSystem
	}
	return exitOK
}

// becomeIDs becomes the numbers of PUID and PGID, the group first. 0 and an
// absent variable leave that id as it is; supplementary groups stay.
func (s *service) becomeIDs() int {
	ids := [2]int{}
	for i, name := range []string{gidEnv, uidEnv} {
		text := os.Getenv(name)
		if text == "" {
			continue
		}
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			s.early.Error("Error: Invalid %s value '%s'.", name, text)
			return statusInvalid
		}
		ids[i] = int(n)
	}
	gid, uid := ids[0], ids[1]
	s.runtimeDir(uid, gid)
	if gid != 0 {
		if err := syscall.Setgid(gid); err != nil {
			s.early.Error("Error: Unable to set the group to %d: %v.", gid, err)
			return statusSystem
		}
	}
	if uid != 0 {
		if err := syscall.Setuid(uid); err != nil {
			s.early.Error("Error: Unable to set the user to %d: %v.", uid, err)
			return statusSystem
		}
	}
	if os.Geteuid() == 0 {
		s.early.Warning("Warning: Mosquitto should not be run as root/administrator.")
	}
	return exitOK
}

// setUmask puts UMASK_SET in force. Files that hold secrets are for their owner
// alone with every umask.
func (s *service) setUmask() int {
	text, ok := os.LookupEnv(umaskEnv)
	if !ok {
		return exitOK
	}
	mask, err := strconv.ParseUint(text, 8, 16)
	if err != nil || mask > 0o777 {
		s.early.Error("Error: Invalid %s value '%s'.", umaskEnv, text)
		return statusInvalid
	}
	syscall.Umask(int(mask))
	return exitOK
}

// become changes groups first: without root they could not be changed.
func (s *service) become(u *user.User) error {
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	names, err := u.GroupIds()
	if err != nil {
		return err
	}
	groups := make([]int, 0, len(names))
	for _, n := range names {
		g, err := strconv.Atoi(n)
		if err != nil {
			return err
		}
		groups = append(groups, g)
	}
	s.runtimeDir(uid, gid)
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("set groups: %w", err)
	}
	if err := syscall.Setgid(gid); err != nil {
		return fmt.Errorf("set group: %w", err)
	}
	if err := syscall.Setuid(uid); err != nil {
		return fmt.Errorf("set user: %w", err)
	}
	return nil
}

// runtimeDir makes the directory of the default control socket, which only
// root can. A failure shows when the socket is opened.
func (s *service) runtimeDir(uid, gid int) {
	if s.cfg.ControlSocket != "" {
		return
	}
	dir := filepath.Dir(admin.DefaultPath())
	_ = os.Mkdir(dir, 0o755)
	if info, err := os.Lstat(dir); err == nil && info.IsDir() {
		_ = os.Lchown(dir, uid, gid)
	}
}
