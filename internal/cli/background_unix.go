//go:build unix

package cli

import (
	"os"
	"os/exec"
	"syscall"
)

// backgroundMark tells the process that -d starts that it is the one. A Go
// process cannot fork: it starts itself again in a new session.
const backgroundMark = "MIDGE_IN_BACKGROUND"

func inBackground() bool { return os.Getenv(backgroundMark) != "" }

func startBackground(args []string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.Command(exe)
	c.Args = args
	c.Env = append(os.Environ(), backgroundMark+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return err
	}
	return c.Process.Release()
}
