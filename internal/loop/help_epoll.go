//go:build linux && !portable

package loop

import "github.com/midgemq/midge/internal/hub"

// A loop that has few letters for another one which waits works on them itself,
// in place of waking a thread for it: at low rates a wake-up costs more than all
// that is done for a message. It does so when it would wait itself, so that two
// loops that are busy work side by side. The other loop stays the only owner of
// its connections: ownership is its lock, and whoever finds it taken wakes that
// loop as if there were no helping. A loop waits for its own lock alone and holds
// none then, so no two can wait for each other.

// few is how many letters, from how many events at most, are worked on for
// another loop. More of them are worth a wake-up, and a thread.
const few = 4

// help works on what this loop has put into the inboxes of loops that wait, and
// wakes those that do not. again: there is mail for this one meanwhile. The
// caller holds l.own.
func (l *Loop) help() (again bool) {
	l.shard.Untold(func(sh *hub.Shard) {
		o := l.engine.loops[sh.ID]
		if !o.own.TryLock() {
			o.wakeUp()
			return
		}
		sh.Begin(l.engine.clock.Now())
		sh.Hush(few)
		sh.Turn()
		sh.End()
		o.flush()
		o.rearm()
		sh.Untold(func(third *hub.Shard) {
			if third == l.shard {
				again = true
			} else {
				l.engine.loops[third.ID].wakeUp()
			}
		})
		o.own.Unlock()
	})
	l.woken = l.woken || again
	return again
}

// tell wakes the loops that help has not been called for.
func (l *Loop) tell() {
	l.shard.Untold(func(sh *hub.Shard) { l.engine.loops[sh.ID].wakeUp() })
}
