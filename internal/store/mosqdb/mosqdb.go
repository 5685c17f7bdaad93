// Package mosqdb reads and writes the file in which Mosquitto keeps sessions,
// subscriptions, queues and retained messages (persistence_file, mosquitto.db),
// and carries its contents into a store.Store and back.
//
// It reads versions 2 to 6 and writes version 6. It never changes a file that it
// reads, never holds more in memory than the file has bytes, and a damaged file
// yields what could be read together with errors that name offset and chunk.
// A DB, a Reader and a Writer belong to one goroutine each; there is no state
// besides.
//
// The layout is in docs/formats/mosquitto-db.md.
package mosqdb

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/midgemq/midge/mqtt"
)

// Versions of the file.
const (
	MinVersion = 2
	MaxVersion = 6
)

// magic opens every file; the version follows behind four bytes of checksum that
// Mosquitto has always written as zero.
const magic = "\x00\xB5\x00mosquitto db"

const headerSize = len(magic) + 4 + 4

// Type is the kind of a chunk.
type Type uint32

// Kinds of chunks.
const (
	TypeConfig        Type = 1
	TypeMessage       Type = 2
	TypeClientMessage Type = 3
	TypeRetained      Type = 4
	TypeSubscription  Type = 5
	TypeClient        Type = 6
)

// String names the chunk as mosquitto_db_dump does.
func (t Type) String() string {
	switch t {
	case TypeConfig:
		return "DB_CHUNK_CFG"
	case TypeMessage:
		return "DB_CHUNK_BASE_MSG"
	case TypeClientMessage:
		return "DB_CHUNK_CLIENT_MSG"
	case TypeRetained:
		return "DB_CHUNK_RETAIN"
	case TypeSubscription:
		return "DB_CHUNK_SUB"
	case TypeClient:
		return "DB_CHUNK_CLIENT"
	default:
		return fmt.Sprintf("chunk type %d", uint32(t))
	}
}

// State is how far a client message has come.
type State uint8

// States as Mosquitto numbers them.
const (
	StatePublishQoS0    State = 1
	StatePublishQoS1    State = 2
	StateWaitForPuback  State = 3
	StatePublishQoS2    State = 4
	StateWaitForPubrec  State = 5
	StateResendPubrel   State = 6
	StateWaitForPubrel  State = 7
	StateResendPubcomp  State = 8
	StateWaitForPubcomp State = 9
	StateSendPubrec     State = 10
	StateQueued         State = 11
)

// Direction of a client message.
const (
	In  = 0 // from the client
	Out = 1 // to the client
)

// Config is the one chunk about the file itself.
type Config struct {
	LastID   uint64
	Shutdown bool // written at the end of the broker
	IDSize   uint8
}

// Message is an application message, stored once however many queues hold it.
type Message struct {
	ID             uint64
	Expiry         int64 // wall clock, seconds since 1970; 0: never
	Topic          string
	Payload        []byte
	Properties     []byte // encoded, without their length
	SourceID       string
	SourceUserName string
	SourceMID      uint16
	SourcePort     uint16
	QoS            uint8
	Retain         bool
}

// Client is a session.
type Client struct {
	ID       string
	UserName string
	// ExpiryTime is when the session ends, wall clock, seconds since 1970; 0 while
	// it is connected or never ends.
	ExpiryTime     int64
	ExpiryInterval uint32 // seconds; mqtt.NeverExpires
	// Disconnected is when the connection ended, as versions 3 and 4 have it.
	Disconnected int64
	LastMID      uint16
	ListenerPort uint16
}

// ClientMessage is one message in a client's queue or in flight, either way.
type ClientMessage struct {
	ClientID       string
	MessageID      uint64
	SubscriptionID uint32
	MID            uint16
	QoS            uint8
	State          State
	Direction      uint8
	// RetainDup has the retain flag in its high four bits and DUP in the low ones.
	RetainDup uint8
}

// Subscription is one subscription of a client.
type Subscription struct {
	ClientID string
	Filter   string
	ID       uint32
	QoS      uint8
	Options  uint8
}

// Subscription options as Mosquitto stores them: the bits of SUBSCRIBE.
const (
	OptionNoLocal           = 0x04
	OptionRetainAsPublished = 0x08
)

// Will is a will message; only the SQLite plug-in stores them.
type Will struct {
	ClientID   string
	Topic      string
	Payload    []byte
	Properties []byte // encoded, without their length
	Delay      uint32 // seconds
	QoS        uint8
	Retain     bool
}

// DB is the content of a file.
type DB struct {
	Version        uint32 // of the file; 0: it came from elsewhere
	Config         Config
	Messages       []Message
	Clients        []Client
	ClientMessages []ClientMessage
	Retained       []uint64
	Subscriptions  []Subscription
	Wills          []Will
	// Unknown counts chunks of unknown type, which were skipped.
	Unknown int
	// Problems says what was left out before it came here.
	Problems []string
}

// ErrFormat: the file is no Mosquitto database.
var ErrFormat = errors.New("unrecognised file format")

// ErrEmpty: the file has no byte. Mosquitto starts with one, and warns.
var ErrEmpty = errors.New("file is empty")

// ErrVersion: the file is of a version that is not read.
var ErrVersion = errors.New("unsupported version")

// ChunkError says which chunk is damaged.
type ChunkError struct {
	Err    error
	Offset int64 // of the chunk's header in the file, in bytes
	Index  int   // of the chunk, from 1
	Type   Type
}

// Error names offset and chunk.
func (e *ChunkError) Error() string {
	return fmt.Sprintf("chunk %d (%s) at offset %d: %v", e.Index, e.Type, e.Offset, e.Err)
}

// Unwrap returns the cause.
func (e *ChunkError) Unwrap() error { return e.Err }

// maxChunk bounds a chunk: the largest PUBLISH and the names of its source.
const maxChunk = mqtt.MaxVarint + 4*mqtt.MaxString + 64

// Sizes in bytes: the fixed parts of version 6, and the headers of chunks.
const (
	sizeConfig        = 16
	sizeMessage       = 32
	sizeClientMessage = 16
	sizeRetained      = 8
	sizeSubscription  = 12
	sizeClient        = 24
	headerChunk       = 8
	headerChunkOld    = 6 // versions 2 to 4
)

// byteOrder of 64-bit integers, which Mosquitto writes as the machine has them.
// Every machine that Mosquitto is packaged for but s390x has the low byte first.
var byteOrder = binary.LittleEndian
