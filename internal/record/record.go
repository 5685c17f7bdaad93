// Package record says what the broker keeps: messages, sessions, subscriptions,
// queue entries, wills, and the changes to them that a store carries out.
//
// It holds data only: no behaviour beyond copying, no I/O, no clock. A Message
// is immutable once it has been built and may be read from any goroutine;
// everything else belongs to the loop that owns the session.
package record

import (
	"unsafe"

	"github.com/midgemq/midge/mqtt"
)

// Instant is a point on the broker's own monotonic time line, in nanoseconds.
// It has no relation to the wall clock, which may jump. Zero means none.
type Instant int64

// Second is one second on that time line.
const Second Instant = 1e9

// SessionKey identifies a session in the store for the life of that session. It
// is never used again, so a late change to a deleted session hits nothing.
type SessionKey uint64

// Message is one application message after acceptance. Immutable.
type Message struct {
	Topic   string
	Payload []byte
	// Props are the encoded MQTT 5 properties that travel with the message
	// unchanged and in order: payload format, content type, response topic,
	// correlation data, user properties [MQTT-3.3.2-17].
	Props []byte
	// Publisher is the client id it came from, for No Local [MQTT-3.8.3-3].
	Publisher string
	// PublisherUser is the user name it had, "" for none, for check_retain_source.
	PublisherUser string
	// Seq is the order of acceptance, unique in this broker.
	Seq uint64
	// Expires is when the message expires; 0: never [MQTT-3.3.2-5].
	Expires Instant
	// At is when the broker accepted it, for limits of age; 0: not known. It is
	// stored with the message.
	At     Instant
	QoS    mqtt.QoS
	Retain bool
}

// Size is what the message counts in byte limits: its payload, as
// max_queued_bytes has it.
func (m *Message) Size() int { return len(m.Payload) }

// Expired reports whether the message may no longer be sent.
func (m *Message) Expired(now Instant) bool { return m.Expires != 0 && now >= m.Expires }

// Remaining is the message expiry interval to send with it, in whole seconds
// rounded up [MQTT-3.3.2-6]. A message published with interval 0 lives for one
// nanosecond, that is for the batch it came in, and shows 0.
func (m *Message) Remaining(now Instant) (sec uint32, ok bool) {
	if m.Expires == 0 {
		return 0, false
	}
	if m.Expires <= now {
		return 0, true
	}
	return uint32((m.Expires - now + Second - 2) / Second), true
}

// NewMessage makes the one owned copy of what a read buffer holds; topic,
// payload and properties share one allocation.
func NewMessage(topic, payload, props []byte) *Message {
	b := make([]byte, 0, len(topic)+len(payload)+len(props))
	b = append(b, topic...)
	b = append(b, props...)
	b = append(b, payload...)
	t, p := len(topic), len(topic)+len(props)
	m := &Message{Payload: b[p:len(b):len(b)]}
	if t > 0 {
		m.Topic = unsafe.String(&b[0], t) // b is never written again
	}
	if p > t {
		m.Props = b[t:p:p]
	}
	return m
}

// Subscription is one subscription of a session.
type Subscription struct {
	// Filter is the whole filter as the client wrote it, "$share/…" included.
	Filter            string
	ID                uint32 // subscription identifier, 0: none
	QoS               mqtt.QoS
	NoLocal           bool
	RetainAsPublished bool
}

// Queued is one message in a session's queue, or in flight from it.
type Queued struct {
	Msg *Message
	// Seq orders the queue: it grows with each message queued to a session.
	Seq uint64
	// SubID is the identifier of the subscription it matched, 0: none.
	SubID uint32
	// QoS is the lower of published and granted [MQTT-3.8.4-8].
	QoS mqtt.QoS
	// Retain is the flag to send.
	Retain bool
	// Group is the shared subscription it came through ("" for none): an
	// unacknowledged QoS 1 message goes to another member when the session ends.
	Group string
}

// Session is what is kept of a session besides subscriptions and messages.
type Session struct {
	ClientID string
	UserName string
	Key      SessionKey
	// Expiry is the session expiry interval in seconds; mqtt.NeverExpires: kept
	// until a clean start.
	Expiry  uint32
	Version mqtt.Version
	// Disconnected is when the connection closed; 0 while it is open.
	Disconnected Instant
}

// Will is a will that waits for its delay or its session's end.
type Will struct {
	Msg   *Message
	Delay uint32 // seconds
	// Expiry is the will's message expiry interval, which starts when it is
	// published; HasExpiry false: none.
	Expiry    uint32
	HasExpiry bool
}
