package conn

import (
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/record"
)

const (
	// stallTime is how long a publisher waits for room in a queue or for storage
	// before its connection is closed.
	stallTime = 10 * record.Second
	// stallStep is how often its message is offered again meanwhile.
	stallStep = record.Second / 10
)

// stall keeps a PUBLISH that the hub cannot take now as the first packet of what
// was read, and reads no further.
func (c *Conn) stall(e *hub.End) {
	now := c.env.Shard.Now()
	x := c.extra()
	if x.stalled == 0 {
		x.stalled = now
	}
	if e == hub.Wait {
		c.env.Shard.Stall(c.again)
	} else {
		if now-x.stalled >= stallTime {
			c.fail(*e)
			return
		}
		c.arm(now + stallStep)
	}
	c.held = true
	c.env.Shard.Count.PacketsReceived-- // it will be received again
	c.park()
}

// calm tells that the hub has taken what it was offered.
func (c *Conn) calm() {
	if c.ext != nil {
		c.ext.stalled = 0
	}
}

// again offers the packet once more.
func (c *Conn) again() {
	if c.held && c.state < stClosing {
		c.held = false
		c.unpark()
	}
}
