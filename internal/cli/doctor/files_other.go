//go:build !unix

package doctor

import (
	"errors"
	"io/fs"
)

func self() person { return person{name: "this user", uid: -1} }

func named(string) (person, error) { return person{}, errors.New("no such users here") }

// allowed says yes: modes mean nothing here, the attempt itself will show.
func allowed(fs.FileInfo, person, uint32) bool { return true }

func owner(fs.FileInfo) string { return "?" }
