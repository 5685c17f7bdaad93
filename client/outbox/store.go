package outbox

import (
	"maps"
	"slices"
	"sync"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// Store keeps the session state of one client beyond the end of the process: messages accepted and not done, with their packet
// identifiers, and the identifiers of received QoS 2 messages [U5-4.1-2]. One goroutine at a time calls it.
//
// A PUBLISH of QoS 2, a PUBREL, a PUBREC and a PUBCOMP leave only after Commit has returned for the change they stand on; an error
// of Commit ends the client, for it could no longer keep its word.
type Store interface {
	// Load returns what is kept, once, before the first Commit.
	Load() (State, error)
	// Commit makes changes as durable as the store promises, in their order. It may keep the messages' slices: they do not change.
	Commit(changes []Change) error
	Close() error
}

// State is what a Store holds.
type State struct {
	// ClientID is the session's client identifier; Session tells that the session may exist at the server.
	ClientID string
	Session  bool
	Messages []Message // in the order of their acceptance
	Received []uint16  // QoS 2 identifiers that await PUBREL
}

// Message is a message that is not done.
type Message struct {
	Seq      uint64 // counts the messages of this store; order of acceptance
	ID       uint16 // packet identifier, 0 while it has none
	Released bool   // QoS 2: PUBREC has come, only PUBREL is to be sent again
	QoS      mqtt.QoS
	Retain   bool
	Topic    string
	Payload  []byte
	// Properties are encoded, without their length. A message expiry interval counts from acceptance and, after a restart, from
	// loading: a computer without a clock of its own must not expire everything at its start.
	Properties packet.Props
}

// ChangeKind says what a Change does.
type ChangeKind byte

// The changes.
const (
	// PutMessage adds Message.
	PutMessage ChangeKind = iota + 1
	// AssignID gives message Seq the packet identifier ID; 0 takes it away, the session being lost.
	AssignID
	// ReleaseMessage notes the PUBREC of message Seq.
	ReleaseMessage
	// DeleteMessage removes message Seq: it is done.
	DeleteMessage
	// AddReceived and RemoveReceived note and forget a received QoS 2 identifier ID.
	AddReceived
	RemoveReceived
	// SetSession notes ClientID and that a session exists at the server; ClearSession that none does: received identifiers go.
	SetSession
	ClearSession
	changeKinds
)

// Change is one step of a Store.
type Change struct {
	Kind     ChangeKind
	Seq      uint64
	ID       uint16
	ClientID string
	Message  *Message
}

// image is the state of a store in memory.
type image struct {
	clientID string
	session  bool
	messages map[uint64]*Message
	received map[uint16]struct{}
}

func newImage() image {
	return image{messages: map[uint64]*Message{}, received: map[uint16]struct{}{}}
}

// apply makes one change. Changes about a message that is not there have no effect: a log cut short has such.
func (m *image) apply(c *Change) {
	switch c.Kind {
	case PutMessage:
		copied := *c.Message
		m.messages[copied.Seq] = &copied
	case AssignID:
		if s := m.messages[c.Seq]; s != nil {
			s.ID, s.Released = c.ID, false
		}
	case ReleaseMessage:
		if s := m.messages[c.Seq]; s != nil {
			s.Released = true
		}
	case DeleteMessage:
		delete(m.messages, c.Seq)
	case AddReceived:
		m.received[c.ID] = struct{}{}
	case RemoveReceived:
		delete(m.received, c.ID)
	case SetSession:
		m.clientID, m.session = c.ClientID, true
	case ClearSession:
		m.session = false
		clear(m.received)
	default: // the reader lets no other kind pass
	}
}

func (m *image) state() State {
	s := State{ClientID: m.clientID, Session: m.session, Received: slices.Sorted(maps.Keys(m.received))}
	for _, seq := range slices.Sorted(maps.Keys(m.messages)) {
		s.Messages = append(s.Messages, *m.messages[seq])
	}
	return s
}

// Memory is a Store that lives as long as the process: state can pass from one Client to the next, and tests can look into
// it. It may be shared between goroutines, but by one Client at a time.
type Memory struct {
	mu    sync.Mutex
	image image
}

// NewMemory makes an empty store.
func NewMemory() *Memory { return &Memory{image: newImage()} }

// Load returns what is kept.
func (s *Memory) Load() (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.image.state(), nil
}

// Commit takes the changes.
func (s *Memory) Commit(changes []Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range changes {
		s.image.apply(&changes[i])
	}
	return nil
}

// Close does nothing: the next Client finds the state.
func (s *Memory) Close() error { return nil }
