//go:build !unix

package cli

import (
	"os"
	"os/signal"
)

func watchSignals(c chan os.Signal) { signal.Notify(c, os.Interrupt) }

func (s *service) handle(signals <-chan os.Signal) int {
	<-signals
	return exitOK
}
