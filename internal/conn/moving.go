package conn

import (
	"sync/atomic"
	"unsafe"

	"github.com/midgemq/midge/internal/hub"
)

// post has f run on the loop of the connection in its next turn, also when that
// is another one by then. On the loop.
func (c *Conn) post(f func()) {
	sh := c.env.Shard
	sh.Post(func() { c.at(sh, f) })
}

// at runs f if the connection is still at home on sh, and sends it after the
// connection if not. On the loop of sh.
func (c *Conn) at(sh *hub.Shard, f func()) {
	if home := c.home().Shard; home != sh {
		home.Post(func() { c.at(home, f) })
		return
	}
	f()
}

// home is the Env of the loop that owns the connection, for a loop that may have
// lost it: timers and letters stay behind. The owner reads env as it is.
func (c *Conn) home() *Env {
	return (*Env)(atomic.LoadPointer((*unsafe.Pointer)(unsafe.Pointer(&c.env))))
}

// Rehome says that the connection goes to the loop of e: what this loop still
// gets for it is sent after it. The socket calls it right before it hands the
// connection over; this loop must not touch it afterwards.
func (c *Conn) Rehome(e *Env) {
	atomic.StorePointer((*unsafe.Pointer)(unsafe.Pointer(&c.env)), unsafe.Pointer(e))
}

// MayMove reports whether the connection can change its loop now: it is open, and
// nothing but its output is under way.
func (c *Conn) MayMove() bool {
	return c.state == stOpen && !c.paused && !c.moving && c.gate == nil && (c.ext == nil || !c.ext.reauth)
}

// Halt stops the reading for a move. What has been read and not worked on stays.
func (c *Conn) Halt() {
	c.moving = true
	c.park()
}

// Still reports whether a halted connection has nothing left on its loop: no
// acknowledgement waits for a commit there, and what was to be written has been
// offered to the socket. One that is being closed is no longer waited for.
func (c *Conn) Still() bool { return c.state != stOpen || c.gate == nil && !c.dirty }

// Open reports whether the connection carries a client.
func (c *Conn) Open() bool { return c.state == stOpen }

// Settle makes a halted connection one of the loop that it has been sent to. On
// that loop.
func (c *Conn) Settle() {
	e := c.env
	c.timerAt = 0
	if c.keep > 0 {
		// What came meanwhile is read first.
		c.arm(max(c.lastIn+record15(c.keep), e.Shard.Now()+stallStep))
	}
}

// Proceed ends Halt.
func (c *Conn) Proceed() {
	c.moving = false
	if c.state == stOpen {
		c.unpark()
	}
}
