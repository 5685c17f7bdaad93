//go:build !unix

package cli

import "os/user"

func userName() string {
	if u, err := user.Current(); err == nil {
		return "user: " + u.Username
	}
	return "user id: unknown"
}

// dropPrivileges has nothing to do: the option `user` is for Unix.
func (s *service) dropPrivileges() int { return exitOK }

// setUmask has nothing to do: there is none.
func (s *service) setUmask() int { return exitOK }
