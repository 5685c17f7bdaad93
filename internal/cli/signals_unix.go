//go:build unix

package cli

import (
	"os"
	"os/signal"
	"syscall"
)

// watchSignals has the signals that a broker acts on sent to c. A closed pipe
// is an error of the write and ends nothing.
func watchSignals(c chan os.Signal) {
	signal.Ignore(syscall.SIGPIPE)
	signal.Notify(c, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
}

// handle acts on signals until one ends the process, and returns the status
// to end with. A second one during the end is left to the system, which then
// ends it at once.
func (s *service) handle(signals <-chan os.Signal) int {
	for sig := range signals {
		switch sig {
		case syscall.SIGHUP:
			if err := s.reload(); err != nil && s.args.strict {
				return statusInvalid
			}
		case syscall.SIGUSR1:
			s.save()
		case syscall.SIGUSR2:
			s.dump()
		default:
			// Who presses Ctrl-C again does not want to wait. A second SIGTERM comes
			// from a service manager that is sure to wait, or from two of them.
			signal.Reset(syscall.SIGINT)
			return exitOK
		}
	}
	return exitOK
}
