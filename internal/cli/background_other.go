//go:build !unix

package cli

import "errors"

func inBackground() bool { return false }

func startBackground([]string) error {
	return errors.New("not possible on this system")
}
