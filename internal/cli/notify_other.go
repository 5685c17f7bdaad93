//go:build !linux

package cli

import "github.com/midgemq/midge/internal/logging"

// notifier is for systemd, which is on Linux only.
type notifier struct{}

func startNotify(*logging.Logger) *notifier { return &notifier{} }
func (*notifier) ready()                    {}
func (*notifier) stopping()                 {}
func (*notifier) reloading()                {}
func (*notifier) end()                      {}
