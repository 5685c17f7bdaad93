package workers

import "golang.org/x/sys/unix"

// niceness is low enough for the loops to come first, and not so low that a
// login starves on a busy machine.
const niceness = 10

// lowerPriority is for the calling thread alone: on Linux a thread has a
// niceness of its own.
func lowerPriority() {
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), niceness) // lowering is always allowed
}
