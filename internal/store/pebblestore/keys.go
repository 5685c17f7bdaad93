package pebblestore

import (
	"encoding/binary"

	"github.com/midgemq/midge/internal/record"
)

// Keys begin with a byte that names the space. Numbers are big endian, so that
// the order of keys is theirs. docs/formats/store.md has the table.
const (
	spaceMeta     = 0x00
	spaceMessage  = 'm' // number
	spaceQueue    = 'q' // session, seq
	spaceRetained = 'r' // topic
	spaceSession  = 's' // session, part
)

// Parts of a session in spaceSession; the byte after the session's key.
const (
	partSession = 0x00
	partCursor  = 0x01
	partWill    = 0x02
	partInbound = 0x03 // page: the high byte of the identifiers in it
	partFlight  = 0x05 // seq
	partSub     = 0x06 // filter
)

var (
	keySchema = []byte{spaceMeta, 's', 'c', 'h', 'e', 'm', 'a'}
	keyCommit = []byte{spaceMeta, 'c', 'o', 'm', 'm', 'i', 't'}
)

// sessionPrefix is the length of space and session key.
const sessionPrefix = 9

func appendSession(dst []byte, space byte, k record.SessionKey) []byte {
	return binary.BigEndian.AppendUint64(append(dst, space), uint64(k))
}

func appendPart(dst []byte, k record.SessionKey, part byte) []byte {
	return append(appendSession(dst, spaceSession, k), part)
}

func appendQueue(dst []byte, k record.SessionKey, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(appendSession(dst, spaceQueue, k), seq)
}

func appendFlightKey(dst []byte, k record.SessionKey, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(appendPart(dst, k, partFlight), seq)
}

func appendInbound(dst []byte, k record.SessionKey, page byte) []byte {
	return append(appendPart(dst, k, partInbound), page)
}

func appendSub(dst []byte, k record.SessionKey, filter string) []byte {
	return append(appendPart(dst, k, partSub), filter...)
}

func appendMessageKey(dst []byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, spaceMessage), n)
}

func appendRetained(dst []byte, topic string) []byte {
	return append(append(dst, spaceRetained), topic...)
}

// after gives the first key behind all that begin with prefix.
func after(prefix []byte) []byte {
	b := append([]byte(nil), prefix...)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return b[:i+1]
		}
	}
	return nil
}

func sessionOf(key []byte) record.SessionKey {
	return record.SessionKey(binary.BigEndian.Uint64(key[1:]))
}

// seqOf reads the number that ends a queue or flight key.
func seqOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }
