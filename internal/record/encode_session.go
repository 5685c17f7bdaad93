package record

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/midgemq/midge/mqtt"
)

// AppendSession appends the body of a session; its Key is in the key.
func AppendSession(dst []byte, v *Session, s Shift) []byte {
	var flags byte
	if v.Disconnected != 0 {
		flags = 1
	}
	dst = append(dst, flags, byte(v.Version))
	dst = binary.AppendUvarint(dst, uint64(v.Expiry))
	if v.Disconnected != 0 {
		dst = s.append(dst, v.Disconnected)
	}
	return appendBytes(appendBytes(dst, v.ClientID), v.UserName)
}

// ParseSession reads the body of a session.
func ParseSession(b []byte, v *Session, s Shift) error {
	r := reader{b: b}
	flags := r.byte()
	v.Version, v.Expiry = mqtt.Version(r.byte()), r.uint32()
	v.Disconnected = 0
	if flags&1 != 0 {
		v.Disconnected = r.instant(s)
	}
	v.ClientID, v.UserName = r.string(), r.string()
	return r.err("session")
}

// Bits of the flags of a subscription.
const (
	subQoS     = 0x03
	subNoLocal = 1 << 2
	subRAP     = 1 << 3
)

// AppendSubscription appends the body of a subscription; its Filter is in the
// key.
func AppendSubscription(dst []byte, v *Subscription) []byte {
	flags := byte(v.QoS) & subQoS
	if v.NoLocal {
		flags |= subNoLocal
	}
	if v.RetainAsPublished {
		flags |= subRAP
	}
	return binary.AppendUvarint(append(dst, flags), uint64(v.ID))
}

// ParseSubscription reads the body of a subscription.
func ParseSubscription(b []byte, v *Subscription) error {
	r := reader{b: b}
	flags := r.byte()
	if flags&subQoS > byte(mqtt.ExactlyOnce) {
		return damaged(fmt.Sprintf("subscription flags %#x", flags))
	}
	v.QoS, v.NoLocal, v.RetainAsPublished = mqtt.QoS(flags&subQoS), flags&subNoLocal != 0, flags&subRAP != 0
	v.ID = r.uint32()
	return r.err("subscription")
}

// AppendWill appends the body of a will.
func AppendWill(dst []byte, v *Will, s Shift) []byte {
	var flags byte
	if v.HasExpiry {
		flags = 1
	}
	dst = binary.AppendUvarint(append(dst, flags), uint64(v.Delay))
	return AppendMessage(binary.AppendUvarint(dst, uint64(v.Expiry)), v.Msg, s)
}

// ParseWill reads the body of a will.
func ParseWill(b []byte, s Shift) (*Will, error) {
	r := reader{b: b}
	v := &Will{HasExpiry: r.byte()&1 != 0}
	v.Delay, v.Expiry = r.uint32(), r.uint32()
	if err := r.err("will"); err != nil {
		return nil, err
	}
	var err error
	v.Msg, err = ParseMessage(r.b, s)
	return v, err
}

// Flight is the record of a sent entry whose entry was stored before, or whose
// state has changed since.
type Flight struct {
	Order    uint64
	PacketID uint16
	State    uint8
}

// AppendFlight appends the body of a flight; session and Seq are in the key.
func AppendFlight(dst []byte, v *Flight) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, v.PacketID)
	return binary.AppendUvarint(append(dst, v.State), v.Order)
}

// ParseFlight reads the body of a flight.
func ParseFlight(b []byte, v *Flight) error {
	r := reader{b: b}
	v.PacketID, v.State, v.Order = r.uint16(), r.byte(), r.uvarint()
	return r.err("flight")
}

// Cursor says which of a session's stored entries are in its queue.
type Cursor struct {
	// Head: entries below it are gone although they may still be stored, all but
	// those in Below. Entries from it on are there.
	Head uint64
	// Purged: below it nothing is stored that is gone.
	Purged uint64
	// Last is the highest Seq that was ever queued.
	Last uint64
	// Order is the last place given in the order of sending.
	Order uint64
	// Sent is the highest Seq whose entry says itself that it was sent.
	Sent uint64
	// Count and Bytes sum the entries that wait, those in flight left out.
	Count, Bytes uint64
	// Below are entries that came late: lower than Head and there. Ascending.
	Below []uint64
}

// AppendCursor appends the body of a cursor.
func AppendCursor(dst []byte, v *Cursor) []byte {
	for _, n := range [...]uint64{v.Head, v.Head - v.Purged, v.Last, v.Order, v.Sent, v.Count, v.Bytes, uint64(len(v.Below))} {
		dst = binary.AppendUvarint(dst, n)
	}
	for _, n := range v.Below {
		dst = binary.AppendUvarint(dst, n)
	}
	return dst
}

// ParseCursor reads the body of a cursor.
func ParseCursor(b []byte, v *Cursor) error {
	r := reader{b: b}
	v.Head = r.uvarint()
	v.Purged = v.Head - r.uvarint()
	v.Last, v.Order, v.Sent = r.uvarint(), r.uvarint(), r.uvarint()
	v.Count, v.Bytes = r.uvarint(), r.uvarint()
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		return damaged("cursor ends early")
	}
	v.Below = nil
	for range n {
		v.Below = append(v.Below, r.uvarint())
	}
	if err := r.err("cursor"); err != nil {
		return err
	}
	if v.Purged > v.Head || !slices.IsSorted(v.Below) || n > 0 && v.Below[n-1] >= v.Head {
		return damaged("cursor contradicts itself")
	}
	return nil
}

// Commit is written with every group of batches: how many there have been, and
// when.
type Commit struct {
	// Number counts groups from the first one of the store on, without gaps.
	Number uint64
	// At is the store's own time line, in nanoseconds; Wall the wall clock at that
	// moment in nanoseconds since 1970.
	At, Wall int64
}

// AppendCommit appends the body of a commit.
func AppendCommit(dst []byte, v *Commit) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, v.Number)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(v.At))
	return binary.LittleEndian.AppendUint64(dst, uint64(v.Wall))
}

// ParseCommit reads the body of a commit.
func ParseCommit(b []byte, v *Commit) error {
	r := reader{b: b}
	v.Number, v.At, v.Wall = r.uint64(), int64(r.uint64()), int64(r.uint64())
	return r.err("commit")
}

// AppendSchema appends the body of the schema record.
func AppendSchema(dst []byte, version uint32) []byte {
	return binary.AppendUvarint(dst, uint64(version))
}

// ParseSchema reads the body of the schema record.
func ParseSchema(b []byte) (uint32, error) {
	r := reader{b: b}
	v := r.uint32()
	return v, r.err("schema")
}
