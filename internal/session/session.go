// Package session is one MQTT session as a state machine: packets and messages
// go in, effects come out. It decides what is accepted, queued, sent, resent,
// dropped and published as a will, for MQTT 3.1, 3.1.1 and 5.0.
//
// It never does I/O, reads no clock (time is an argument), starts no goroutine
// and knows neither connections nor other sessions. A Session belongs to the one
// loop that owns it; nothing here may be called from another goroutine.
package session

import (
	"github.com/midgemq/midge/internal/flow"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/mqtt"
)

// NeverExpires is the session expiry interval that keeps a session until a
// clean start [U5-3.1.2.11.2-1].
const NeverExpires = 0xFFFFFFFF

// Rules are the limits that the configuration sets, shared by all sessions and
// immutable; other ones come with Follow.
type Rules struct {
	// MaxInflight is max_inflight_messages: QoS 1 and 2 messages in flight in
	// each direction, and the Receive Maximum announced; 0: no limit.
	MaxInflight int
	// MaxInflightBytes is max_inflight_bytes: payload bytes of QoS 1 and 2
	// messages in flight to the client. The message that crosses it still goes;
	// 0: no limit.
	MaxInflightBytes int64
	// QueueQoS0 is queue_qos0_messages: QoS 0 messages, too, wait for a client
	// that is away.
	QueueQoS0 bool
	// MaxQueued is max_queued_messages, MaxQueuedBytes max_queued_bytes; 0: no
	// limit.
	MaxQueued      int
	MaxQueuedBytes int64
	// MaxQueuedAge is max_queued_age in seconds, 0: no limit.
	MaxQueuedAge uint32
	// DropOldest is queue_policy drop-oldest: at a limit what has waited longest
	// goes, in place of what comes.
	DropOldest bool
	// MaxExpiry is persistent_client_expiration in seconds; 0: no limit.
	MaxExpiry uint32
	// MaxSubscriptions bounds the subscriptions of one session.
	MaxSubscriptions int
	// QueueWindow is how many queued entries of a stored session are held in
	// memory; the rest stays in the store until the window has room.
	QueueWindow int
	// Unload: nothing that waits for an absent client is held in memory.
	Unload bool
}

// Session is one session, online or not.
type Session struct {
	// owned by the loop
	rules *Rules
	rec   record.Session
	subs  *subscriptions
	out   *outbound
	in    *flow.Receiver
	will  *record.Will
	drop  *[NumDrops]uint64
	// dueWill and dueEnd are deadlines, set when a connection ends and of no effect
	// while online; 0: none.
	dueWill, dueEnd record.Instant
	// of the present connection
	maxPacket  uint32 // client's Maximum Packet Size, 0: none
	window     uint16 // QoS 1 and 2 messages in flight to the client
	recvMax    uint16 // Receive Maximum we announced; 0: none
	pendingQ1  uint16 // inbound QoS 1 whose PUBACK waits for a commit
	asked      uint32 // session expiry of CONNECT, for the DISCONNECT rule
	online     bool
	resending  bool // unacknowledged messages still wait to be sent again
	persistent bool
}

// New makes a session that has never been connected. Sessions are values so that
// their owner can embed them; one that is in use must not be copied.
func New(rules *Rules, key record.SessionKey, clientID string) Session {
	return Session{rules: rules, rec: record.Session{Key: key, ClientID: clientID}}
}

// Restore makes an offline session from what a store kept. Entries behind those
// in flight stay in the store until the client is back. wasOnline: it was
// connected when the store was left, so its record has changed.
func Restore(rules *Rules, sv *store.Saved, now record.Instant) (s Session, wasOnline bool) {
	s = Session{rules: rules, rec: sv.Session, persistent: true, will: sv.Will}
	for i := range sv.Subs {
		s.setSub(&sv.Subs[i])
	}
	if len(sv.Inflight) > 0 || sv.Queued > 0 {
		o := s.outbound()
		for _, f := range sv.Inflight {
			o.snd.Restore(f.PacketID, flow.State(f.State), f.Entry)
			if flow.State(f.State) == flow.AwaitPubcomp {
				o.owed++
			} else {
				o.flying += int64(f.Entry.Msg.Size())
			}
		}
		o.q.spilled, o.q.bytes = sv.Queued, sv.QueuedBytes
		o.q.next, o.q.last = sv.FirstSeq, sv.LastSeq
		o.q.oldest = s.rec.Disconnected // later than it is; read and found out when something depends on it
		o.q.handing = true
	}
	if len(sv.Inbound) > 0 {
		s.in = new(flow.Receiver)
		for _, id := range sv.Inbound {
			s.in.Accept(id)
		}
	}
	return s, s.restart(now)
}

// ClientID returns the client identifier.
func (s *Session) ClientID() string { return s.rec.ClientID }

// Key returns the key in the store.
func (s *Session) Key() record.SessionKey { return s.rec.Key }

// Online reports whether a connection is attached.
func (s *Session) Online() bool { return s.online }

// Version is the protocol version of the present or last connection.
func (s *Session) Version() mqtt.Version { return s.rec.Version }

// Persistent reports whether the session outlives its connection.
func (s *Session) Persistent() bool { return s.persistent }

// MaxPacket is the client's Maximum Packet Size in bytes, 0 for none.
func (s *Session) MaxPacket() uint32 { return s.maxPacket }

// UserName is the user name of the present or last connection.
func (s *Session) UserName() string { return s.rec.UserName }

// Expiry is the session expiry interval in force, in seconds.
func (s *Session) Expiry() uint32 { return s.limitExpiry(s.rec.Expiry) }

// Connection is what CONNECT settled for one connection.
type Connection struct {
	UserName string
	Will     *record.Will
	Version  mqtt.Version
	// Expiry is the session expiry interval in force, in seconds; MQTT 3: 0 with
	// clean session, else NeverExpires.
	Expiry uint32
	// Asked is the interval of the CONNECT before limits, for the rule that
	// DISCONNECT may not raise it from 0 [U5-3.14.2.2.2-2].
	Asked uint32
	// ReceiveMaximum is the client's; 0 stands for absent, 65,535.
	ReceiveMaximum uint16
	// MaximumPacketSize is the client's; 0: none.
	MaximumPacketSize uint32
}

// Attach begins a connection. The caller has sent nothing on it yet, has ended
// an earlier connection with Detach, and has replaced the session for a clean
// start. CONNACK is the caller's and goes out before Resume is called.
func (s *Session) Attach(c *Connection, fx *Effects) {
	s.rec.UserName, s.rec.Version = c.UserName, c.Version
	s.rec.Expiry = c.Expiry
	s.rec.Disconnected = 0
	s.asked = c.Asked
	s.maxPacket = c.MaximumPacketSize
	s.recvMax, s.pendingQ1 = 0, 0
	if c.Version == mqtt.V5 {
		s.recvMax = uint16(min(s.rules.MaxInflight, 65535))
	}
	if s.in != nil {
		s.in.Reset()
	}
	s.online = true
	// What is stored stays so until the session ends, even when this connection
	// asked for an end with itself.
	s.persistent = s.persistent || s.rec.Expiry > 0
	hadWill := s.will != nil
	s.will = c.Will
	s.window = s.windowFor(c)
	if s.out != nil {
		s.out.snd.Reset(int(s.window), c.Version != mqtt.V5)
		s.resending = s.out.snd.Len() > 0
		s.out.warned = false
	}
	if s.persistent {
		fx.Ops = append(fx.Ops, record.Op{Kind: record.PutSession, Key: s.rec.Key, Session: s.Record()})
		switch {
		case s.will != nil:
			fx.Ops = append(fx.Ops, record.Op{Kind: record.PutWill, Key: s.rec.Key, Will: s.will})
		case hadWill:
			fx.Ops = append(fx.Ops, record.Op{Kind: record.DeleteWill, Key: s.rec.Key})
		}
	}
}

// windowFor is how many QoS 1 and 2 messages may be in flight to the client. A
// Receive Maximum given in CONNECT replaces max_inflight_messages; where it is
// absent (65,535 by the standard) the configured window stays, because a lower
// number is always allowed [MQTT-4.9.0-1] and messages in flight are outside
// the queue limits.
func (s *Session) windowFor(c *Connection) uint16 {
	if c.Version == mqtt.V5 && c.ReceiveMaximum != 0 {
		return c.ReceiveMaximum
	}
	if s.rules.MaxInflight == 0 {
		return 65535
	}
	return uint16(min(s.rules.MaxInflight, 65535))
}

// Record copies what is stored of the session itself.
func (s *Session) Record() *record.Session {
	r := s.rec
	return &r
}

// Follow puts other rules in force. What the present connection was told, the
// number of messages in flight, stays to its end; a bound on expiry counts from
// the end of the last connection. The session may be due earlier than before.
func (s *Session) Follow(rules *Rules) {
	s.rules = rules
	if s.online || s.rec.Disconnected == 0 {
		return
	}
	s.dueEnd = 0
	if e := s.limitExpiry(s.rec.Expiry); e != NeverExpires {
		s.dueEnd = s.rec.Disconnected + record.Instant(e)*record.Second
	}
}

// limitExpiry applies the limit. The session keeps what was asked for, so that
// another limit after a reload or a restart applies to that.
func (s *Session) limitExpiry(e uint32) uint32 {
	if s.rules.MaxExpiry > 0 && e > s.rules.MaxExpiry {
		return s.rules.MaxExpiry
	}
	return e
}
