package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The forms of stored records and their bytes are described for strangers in
// docs/formats/store.md.

// Form is the first byte of a stored record and says what it is.
type Form byte

// Forms.
const (
	FormSchema       Form = 'v'
	FormCommit       Form = 'c'
	FormSession      Form = 's'
	FormCursor       Form = 'h'
	FormWill         Form = 'w'
	FormInbound      Form = 'i'
	FormSubscription Form = 'f'
	FormFlight       Form = 'p'
	FormEntry        Form = 'q'
	FormMessage      Form = 'm'
)

// formVersion is the second byte. A version that only adds fields at the end of
// a record keeps the number; one that older readers would misread gets the next.
const formVersion = 1

var (
	// ErrDamaged is wrapped by the errors of records that do not check.
	ErrDamaged = errors.New("damaged record")
	// ErrNewer is wrapped by the errors of records in a version not known here.
	ErrNewer = errors.New("record of a newer version")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func damaged(what string) error { return fmt.Errorf("%w: %s", ErrDamaged, what) }

// Begin starts a stored record of the given form at the end of dst; its body is
// appended after it and Seal ends it.
func Begin(dst []byte, f Form) []byte { return append(dst, byte(f), formVersion) }

// Seal appends the checksum of the record that begins at start: CRC-32C over the
// key it is stored under and the record, so that a record under another's key
// does not check.
func Seal(dst []byte, start int, key []byte) []byte {
	return binary.LittleEndian.AppendUint32(dst, checksum(key, dst[start:]))
}

func checksum(key, rec []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, rec)
}

// Unseal checks a stored record and returns its body, which aliases value. The
// error wraps ErrDamaged or ErrNewer.
func Unseal(f Form, key, value []byte) ([]byte, error) {
	n := len(value) - 4
	if n < 2 {
		return nil, damaged("too short")
	}
	if binary.LittleEndian.Uint32(value[n:]) != checksum(key, value[:n]) {
		return nil, damaged("wrong checksum")
	}
	if Form(value[0]) != f {
		return nil, damaged(fmt.Sprintf("form %q where %q belongs", value[0], byte(f)))
	}
	if value[1] > formVersion {
		return nil, fmt.Errorf("%w: form %q version %d", ErrNewer, value[0], value[1])
	}
	return value[2:n], nil
}

// Shift is the distance between the time line of this process and that of the
// store: what is added to an instant when it is stored and subtracted when it is
// read. Zero, which is none, stays zero.
type Shift Instant

func (s Shift) read(v uint64) Instant {
	t := Instant(v) - Instant(s)
	if t == 0 {
		return -1 // zero would mean none
	}
	return t
}

func (s Shift) append(dst []byte, t Instant) []byte {
	return binary.LittleEndian.AppendUint64(dst, uint64(t+Instant(s)))
}

// reader takes a body apart; the first shortage makes all later reads give
// nothing and sets bad.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.b, r.bad = nil, true }

func (r *reader) byte() byte {
	if len(r.b) < 1 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uint16() uint16 {
	if len(r.b) < 2 {
		r.fail()
		return 0
	}
	v := binary.LittleEndian.Uint16(r.b)
	r.b = r.b[2:]
	return v
}

func (r *reader) uint64() uint64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) uint32() uint32 {
	v := r.uvarint()
	if v > 1<<32-1 {
		r.fail()
		return 0
	}
	return uint32(v)
}

// bytes aliases the body.
func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) string() string { return string(r.bytes()) }

func (r *reader) instant(s Shift) Instant {
	v := r.uint64()
	if r.bad {
		return 0
	}
	return s.read(v)
}

func (r *reader) err(what string) error {
	if r.bad {
		return damaged(what + " ends early")
	}
	return nil
}

func appendBytes[T string | []byte](dst []byte, v T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(v))), v...)
}
