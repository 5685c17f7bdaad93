//go:build unix

package doctor

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"
)

// self is who runs this program.
func self() person {
	p := person{name: strconv.Itoa(os.Geteuid()), uid: os.Geteuid()}
	if u, err := user.LookupId(p.name); err == nil {
		p.name = u.Username
	}
	p.groups, _ = os.Getgroups()
	p.groups = append(p.groups, os.Getegid())
	return p
}

// named is a user of this machine.
func named(name string) (person, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return person{}, err
	}
	p := person{name: name}
	p.uid, _ = strconv.Atoi(u.Uid)
	ids, _ := u.GroupIds()
	for _, id := range ids {
		n, _ := strconv.Atoi(id)
		p.groups = append(p.groups, n)
	}
	return p, nil
}

// allowed judges by owner, group and mode, as the kernel does; access control lists beyond that are not read.
func allowed(info fs.FileInfo, who person, want uint32) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	bits := uint32(info.Mode().Perm())
	switch {
	case who.uid == 0:
		return want&mayEnter == 0 || info.IsDir() || bits&0o111 != 0
	case int(s.Uid) == who.uid:
		bits >>= 6
	case slices.Contains(who.groups, int(s.Gid)):
		bits >>= 3
	}
	return bits&want == want
}

func owner(info fs.FileInfo) string {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "?"
	}
	u, g := strconv.Itoa(int(s.Uid)), strconv.Itoa(int(s.Gid))
	if n, err := user.LookupId(u); err == nil {
		u = n.Username
	}
	if n, err := user.LookupGroupId(g); err == nil {
		g = n.Name
	}
	return fmt.Sprintf("%s:%s", u, g)
}
