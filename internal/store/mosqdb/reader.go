package mosqdb

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Chunk is one chunk as read. Of the pointers only the one of its type is set;
// none is for an unknown type.
type Chunk struct {
	Config        *Config
	Message       *Message
	Client        *Client
	ClientMessage *ClientMessage
	Subscription  *Subscription
	Retained      uint64
	Offset        int64
	body          int64
	Length        uint32 // of the body
	Type          Type
}

// Body is where the body stands in the file.
func (c *Chunk) Body() int64 { return c.body }

// Reader reads a file chunk by chunk.
type Reader struct {
	// Version and CRC are those of the header.
	Version uint32
	CRC     uint32

	in     *bufio.Reader
	offset int64
	index  int
	broken bool
}

// NewReader reads the header. The error is ErrEmpty, ErrFormat, ErrVersion
// wrapped, or that of the reader.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{in: bufio.NewReaderSize(in, 64<<10)}
	var h [headerSize]byte
	n, err := io.ReadFull(r.in, h[:])
	switch {
	case n == 0 && errors.Is(err, io.EOF):
		return nil, ErrEmpty
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("read header: %w", err)
	case n < len(h) || string(h[:len(magic)]) != magic:
		return nil, ErrFormat
	}
	// The checksum's bytes are read as the machine has integers, as the tools print it.
	r.CRC = byteOrder.Uint32(h[len(magic):])
	r.Version = binary.BigEndian.Uint32(h[len(magic)+4:])
	r.offset = int64(headerSize)
	if r.Version < MinVersion || r.Version > MaxVersion {
		return r, fmt.Errorf("%w %d (versions %d to %d are read)", ErrVersion, r.Version, MinVersion, MaxVersion)
	}
	return r, nil
}

// Next returns the next chunk, and io.EOF at the end of the file. A *ChunkError
// is about one chunk: reading may go on behind it, and ends with io.EOF when the
// damage makes that impossible.
func (r *Reader) Next() (*Chunk, error) {
	if r.broken {
		return nil, io.EOF
	}
	var h [headerChunk]byte
	size := headerChunk
	if r.Version < 5 {
		size = headerChunkOld
	}
	c := &Chunk{Offset: r.offset}
	r.index++
	n, err := io.ReadFull(r.in, h[:size])
	r.offset += int64(n)
	switch {
	case n == 0 && errors.Is(err, io.EOF):
		return nil, io.EOF
	case err != nil:
		return nil, r.end(c, fmt.Errorf("header: %w", err))
	case r.Version < 5:
		c.Type = Type(binary.BigEndian.Uint16(h[:]))
		c.Length = binary.BigEndian.Uint32(h[2:])
	default:
		c.Type = Type(binary.BigEndian.Uint32(h[:]))
		c.Length = binary.BigEndian.Uint32(h[4:])
	}
	c.body = r.offset
	if c.Type < TypeConfig || c.Type > TypeClient {
		skipped, err := io.CopyN(io.Discard, r.in, int64(c.Length))
		r.offset += skipped
		if err != nil {
			return nil, r.end(c, fmt.Errorf("unknown type: skip %d bytes: %w", c.Length, err))
		}
		return c, nil
	}
	body, err := r.body(c.Length)
	if err != nil {
		return nil, r.end(c, err)
	}
	if err := r.decode(c, body); err != nil {
		return nil, r.wrap(c, err)
	}
	return c, nil
}

// end is wrap for damage behind which no chunk can be found.
func (r *Reader) end(c *Chunk, err error) error {
	r.broken = true
	return r.wrap(c, err)
}

func (r *Reader) wrap(c *Chunk, err error) error {
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w, the file ends here", io.ErrUnexpectedEOF)
	}
	return &ChunkError{Err: err, Offset: c.Offset, Index: r.index, Type: c.Type}
}

// body reads n bytes. What is allocated follows what is there, not what a
// damaged length announces.
func (r *Reader) body(n uint32) ([]byte, error) {
	if n > maxChunk {
		return nil, fmt.Errorf("length %d is above the limit %d", n, maxChunk)
	}
	const atOnce = 1 << 20
	if n <= atOnce {
		b := make([]byte, n)
		got, err := io.ReadFull(r.in, b)
		r.offset += int64(got)
		return b, err
	}
	var b bytes.Buffer
	got, err := io.CopyN(&b, r.in, int64(n))
	r.offset += got
	return b.Bytes(), err
}

// maxErrors is how many errors Read keeps; more tell nothing new.
const maxErrors = 20

// Read reads a whole file. What could be read is returned also with an error;
// then the error joins those of up to 20 damaged chunks.
func Read(in io.Reader) (*DB, error) {
	r, err := NewReader(in)
	if err != nil {
		return &DB{}, fmt.Errorf("read mosquitto.db: %w", err)
	}
	db := &DB{Version: r.Version}
	var errs []error
	more := 0
	for {
		c, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if len(errs) < maxErrors {
				errs = append(errs, err)
			} else {
				more++
			}
			continue
		}
		db.add(c)
	}
	if more > 0 {
		errs = append(errs, fmt.Errorf("and %d more damaged chunks", more))
	}
	if len(errs) > 0 {
		return db, fmt.Errorf("read mosquitto.db: %w", errors.Join(errs...))
	}
	return db, nil
}

func (db *DB) add(c *Chunk) {
	switch {
	case c.Config != nil:
		db.Config = *c.Config
	case c.Message != nil:
		db.Messages = append(db.Messages, *c.Message)
	case c.Client != nil:
		db.Clients = append(db.Clients, *c.Client)
	case c.ClientMessage != nil:
		db.ClientMessages = append(db.ClientMessages, *c.ClientMessage)
	case c.Subscription != nil:
		db.Subscriptions = append(db.Subscriptions, *c.Subscription)
	case c.Type == TypeRetained:
		db.Retained = append(db.Retained, c.Retained)
	default:
		db.Unknown++
	}
}
