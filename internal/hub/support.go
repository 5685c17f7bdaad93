package hub

import (
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/session"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// Overflow counts a QoS 0 message that a connection could not take.
func (sh *Shard) Overflow(c *Client, why session.Drop) {
	if c != nil {
		c.S.CountDrop(why)
		sh.countDrop(c, why, 1)
	}
}

// Later ends a connection at the start of the next turn, for ends that are found
// in the middle of a step.
func (c *Client) Later(l Link, e End) {
	c.Post(func(*Shard) { l.Kick(e) })
}

// Debug reports whether debug lines are wanted.
func (sh *Shard) Debug() bool { return sh.debug }

// DebugReceived writes the debug line about a packet without further fields.
func (sh *Shard) DebugReceived(c *Client, t packet.Type) {
	if sh.debug {
		sh.Hub.Log.Debug("Received %s from %s", t, c.ID)
	}
}

// debugWill writes the debug lines about the will of a CONNECT.
func (sh *Shard) debugWill(a *Admission) {
	if !sh.debug {
		return
	}
	w := a.Conn.Will
	if w == nil {
		sh.Hub.Log.Debug("No will message specified.")
		return
	}
	r := 0
	if w.Msg.Retain {
		r = 1
	}
	sh.Hub.Log.Debug("Will message specified (%d bytes) (r%d, q%d).", len(w.Msg.Payload), r, w.Msg.QoS)
	sh.Hub.Log.Debug("\t%s", w.Msg.Topic)
}

// DebugAck writes the debug line about a received acknowledgement.
func (sh *Shard) DebugAck(c *Client, p *packet.Ack) {
	if !sh.debug {
		return
	}
	if p.Type == packet.PUBACK || p.Type == packet.PUBCOMP {
		sh.Hub.Log.Debug("Received %s from %s (Mid: %d, RC:%d)", p.Type, c.ID, p.PacketID, p.Code)
	} else {
		sh.Hub.Log.Debug("Received %s from %s (Mid: %d)", p.Type, c.ID, p.PacketID)
	}
}

// DebugSend writes the debug line about a packet that is being sent.
func (sh *Shard) DebugSend(c *Client, s *session.Send) {
	if !sh.debug || c == nil {
		return
	}
	log := sh.Hub.Log
	switch s.Type {
	case packet.PUBLISH:
		log.SendingPublish(c.ID, line(s.Msg, s))
	case packet.PUBACK, packet.PUBREC:
		log.Debug("Sending %s to %s (m%d, rc%d)", s.Type, c.ID, s.PacketID, s.Code)
	case packet.PUBREL, packet.PUBCOMP:
		log.Debug("Sending %s to %s (m%d)", s.Type, c.ID, s.PacketID)
	default:
		log.Debug("Sending %s to %s", s.Type, c.ID)
	}
}

// Snapshot is what the API is told of one client. Taken on the client's loop.
type Snapshot struct {
	ID, UserName  string
	Online        bool
	Version       mqtt.Version
	KeepAlive     uint16
	Expiry        uint32
	Subscriptions int
	Queued        int
	QueuedBytes   int64
	Oldest        record.Instant // when what waits longest was accepted; 0: nothing waits
	Inflight      int
	QoS2Open      int
	Dropped       [session.NumDrops]uint64
	Clean         bool
	Address       string         // of the present or last connection
	Since         record.Instant // when it was admitted
	OutputBytes   int
}

// Snapshot describes the client. On its loop only.
func (c *Client) Snapshot() Snapshot {
	q, b, f := c.S.Queued()
	s := Snapshot{
		Oldest: c.S.Oldest(), ID: c.ID, UserName: c.S.UserName(), Online: c.S.Online(), Version: c.S.Version(), KeepAlive: c.keep,
		Expiry: c.S.Expiry(), Subscriptions: c.S.SubscriptionCount(), Queued: q, QueuedBytes: b, Inflight: f,
		QoS2Open: c.S.QoS2Open(), Dropped: c.S.Dropped(), Clean: c.clean, Since: c.since,
	}
	if c.link != nil {
		s.Address, s.OutputBytes = c.link.Describe()
	}
	return s
}

// Disconnect ends the client's connection and reports whether it had one;
// reference says where it is to go instead, "" for nowhere in particular. On its
// loop only.
func (c *Client) Disconnect(code mqtt.ReasonCode, reference string) bool {
	if c.link == nil {
		return false
	}
	c.link.Kick(End{Code: code, Reason: logging.ReasonAdministrative, ServerReference: ReferenceFor(code, reference)})
	return true
}

// ReferenceFor keeps a server reference to the two codes it may go with
// [U5-3.2.2.3.16-1] [U5-4.11-1].
func ReferenceFor(code mqtt.ReasonCode, reference string) string {
	if code != mqtt.UseAnotherServer && code != mqtt.ServerMoved {
		return ""
	}
	return reference
}

// PublishWills publishes every will of this shard's clients, those that wait for
// a delay too; for the end of the broker.
func (sh *Shard) PublishWills() {
	for _, c := range sh.clients() {
		if w := c.S.Will(); w == nil || w.Delay > 0 && c.S.Persistent() && !sh.Hub.immediate {
			continue // it is stored and goes out after the next start, when its time has come
		}
		fx := sh.getFX()
		c.S.PublishWill(fx)
		sh.apply(c, fx)
		sh.putFX(fx)
	}
}

// KickAll ends every connection of this shard's clients.
func (sh *Shard) KickAll(code mqtt.ReasonCode) {
	for _, c := range sh.clients() {
		c.Disconnect(code, "")
	}
}

// clients lists the clients of this shard.
func (sh *Shard) clients() (list []*Client) {
	sh.Hub.Clients(func(c *Client) {
		if sh.Owns(c) {
			list = append(list, c)
		}
	})
	return list
}

// Follow gives the sessions of this shard the rules that Hub.Replace put in
// force. On the shard's loop.
func (sh *Shard) Follow() {
	sh.rounds++
	rules := &sh.Hub.Cfg().Rules
	for _, c := range sh.clients() {
		c.S.Follow(rules)
		sh.schedule(c)
	}
}

// Clients calls f for every client there is. What it points to belongs to its
// loop. Any goroutine; f must not call the hub.
func (h *Hub) Clients(f func(*Client)) {
	for i := range h.table {
		t := &h.table[i]
		t.mu.Lock()
		for _, c := range t.m {
			f(c)
		}
		t.mu.Unlock()
	}
}
