package session

import (
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// Send is one packet that a step wants sent to the session's own client.
type Send struct {
	// Msg is what a PUBLISH carries.
	Msg *record.Message
	// Codes are the reason codes of SUBACK and UNSUBACK, valid until the next
	// Reset of the effects.
	Codes []byte
	// Props are encoded properties of CONNACK and AUTH.
	Props []byte
	// Reason is the reason string to add where the client wants it and it fits.
	Reason   string
	SubID    uint32
	PacketID uint16
	Type     packet.Type
	Code     mqtt.ReasonCode
	QoS      mqtt.QoS
	Retain   bool
	Dup      bool
	Present  bool // session present, CONNACK
}

// Drop says why a message did not reach a session.
type Drop uint8

// Causes of a drop. Each is a counter that exists from the start.
const (
	DropNone         Drop = iota
	DropQueueCount        // max_queued_messages
	DropQueueBytes        // max_queued_bytes
	DropTooLarge          // above the client's maximum packet size [MQTT-3.1.2-25]
	DropExpired           // message expiry passed while it waited [MQTT-3.3.2-5]
	DropOutputBytes       // QoS 0 to a connection whose output is at its limit
	DropOutputCount       // QoS 0 to a connection with too many packets waiting
	DropNoPacketID        // all 65,535 identifiers are in use
	DropStore             // the store refused the change
	DropNotPermitted      // the right to read was removed while it waited
	DropQueueAge          // max_queued_age
	DropTotalBytes        // max_total_queued_bytes
	DropMemory            // memory_limit: passed on, and not retained
	NumDrops
)

// String names the cause as logs and the API show it.
func (d Drop) String() string {
	return [...]string{
		"none", "queue-count", "queue-bytes", "too-large", "expired", "output-bytes", "output-count",
		"no-packet-id", "store", "not-permitted", "queue-age", "total-bytes", "memory",
	}[d]
}

// Effects collects what steps ask for. One value belongs to each loop and is
// used again: the caller carries out everything in it and resets it before the
// next step.
//
// The order that keeps the promise: what Publish returned true for is routed
// first; then Ops are committed as one batch; then Sends go out, in their order.
// With no Ops the Sends go out at once.
type Effects struct {
	// May, when the caller sets it, says whether the client may still be given a
	// message that has waited; a right that was removed stops at once.
	May   func(*record.Message) bool
	Ops   []record.Op
	Sends []Send
	// Publish are messages the session itself publishes: its will.
	Publish []*record.Will
	// Handed are QoS 1 messages of shared subscriptions that another member
	// should get because this session ended [U5-4.8.2-3].
	Handed []record.Queued
	// Drops counts drops of this step by cause.
	Drops [NumDrops]uint32
	// NeedQueue asks for the next entries of the stored queue: call Refill.
	NeedQueue bool
	// Stalled is how many PUBCOMPs the client owes, when that is worth a warning.
	Stalled int
	codes   []byte
}

// Reset empties the effects and keeps their memory.
func (fx *Effects) Reset() {
	clear(fx.Ops)
	clear(fx.Sends)
	fx.Ops, fx.Sends = fx.Ops[:0], fx.Sends[:0]
	if len(fx.Publish) > 0 || len(fx.Handed) > 0 {
		clear(fx.Publish)
		clear(fx.Handed)
		fx.Publish, fx.Handed = fx.Publish[:0], fx.Handed[:0]
	}
	fx.Drops = [NumDrops]uint32{}
	fx.NeedQueue, fx.Stalled, fx.May = false, 0, nil
	fx.codes = fx.codes[:0]
}

func (fx *Effects) may(m *record.Message) bool { return fx.May == nil || fx.May(m) }

func (fx *Effects) send(s Send) { fx.Sends = append(fx.Sends, s) }

func (fx *Effects) ack(t packet.Type, id uint16, code mqtt.ReasonCode, reason string) {
	fx.Sends = append(fx.Sends, Send{Type: t, PacketID: id, Code: code, Reason: reason})
}
