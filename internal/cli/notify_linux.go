package cli

import (
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/midgemq/midge/internal/logging"
)

// notifier tells the service manager how the process fares, and that it is
// alive while the manager watches. Without a manager it does nothing. A nil
// notifier is one that has not started.
type notifier struct {
	log  *logging.Logger
	done chan struct{}
}

// startNotify says that the broker serves, and keeps the watchdog content.
func startNotify(l *logging.Logger) *notifier {
	n := &notifier{log: l, done: make(chan struct{})}
	n.ready()
	period, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		l.Warning("Warning: WATCHDOG_USEC: %v.", err)
	}
	if period > 0 {
		go n.watchdog(period / 2)
	}
	return n
}

func (n *notifier) watchdog(every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-n.done:
			return
		case <-t.C:
			n.say(daemon.SdNotifyWatchdog)
		}
	}
}

func (n *notifier) say(state string) {
	if n == nil {
		return
	}
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.log.Warning("Warning: Unable to tell the service manager: %v.", err)
	}
}

func (n *notifier) ready()    { n.say(daemon.SdNotifyReady) }
func (n *notifier) stopping() { n.say(daemon.SdNotifyStopping) }
func (n *notifier) reloading() {
	n.say(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

// end stops the watchdog.
func (n *notifier) end() { close(n.done) }
