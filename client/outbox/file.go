package outbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// SyncPolicy says when a File asks the operating system to put what was written on the disk. Without it a commit survives the
// end of the process, kill -9 included, but not a power cut.
type SyncPolicy uint8

// Sync policies.
const (
	// SyncAlways syncs every commit; commits that come together share one sync.
	SyncAlways SyncPolicy = iota
	// SyncInterval syncs at most every SyncEvery.
	SyncInterval
	// SyncNever leaves it to the operating system.
	SyncNever
)

// Options say how a File writes.
type Options struct {
	Sync      SyncPolicy
	SyncEvery time.Duration // of SyncInterval; 0: one second
	// CompactAt is the size in bytes above which the log is rewritten when less than half of it is alive. 0: 1 MiB.
	CompactAt int64
	// Damaged is told when the log was found damaged: how many bytes could not be read. They are kept aside in a file with the
	// suffix ".damaged". A tail cut short by a crash is no damage. Nil: not told.
	Damaged func(bytes int64)
}

// The file: magic, then records of a four-byte length, a four-byte CRC-32C of what follows, and the change.
const (
	fileMagic    = "midgeob1"
	recordHeader = 8
	// maxRecord bounds what a damaged length can make the reader take.
	maxRecord = mqtt.MaxPacket + 64
)

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// File is a Store in one append-only file with a checksum on every record. A torn tail is cut off at opening, damage inside is
// put aside; neither stops the start. The file has mode 0600 and is locked against a second process.
type File struct {
	path string
	opts Options

	mu     sync.Mutex // Commit against the interval sync
	file   *os.File
	image  image
	size   int64
	live   int64
	buf    []byte
	timer  *time.Timer // of SyncInterval, nil when nothing waits
	err    error       // a failed sync in the background; sticky
	closed bool
}

// Open opens or creates the store in a file.
func Open(path string, o Options) (*File, error) {
	if o.SyncEvery == 0 {
		o.SyncEvery = time.Second
	}
	if o.CompactAt == 0 {
		o.CompactAt = 1 << 20
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	s := &File{path: path, opts: o, file: f, image: newImage()}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("open outbox %s: used by another process: %w", path, err)
	}
	if err := s.recover(); err != nil {
		s.file.Close()
		return nil, fmt.Errorf("open outbox %s: %w", path, err)
	}
	return s, nil
}

// recover reads the log and makes it ready for appending.
func (s *File) recover() error {
	b, err := io.ReadAll(s.file)
	if err != nil {
		return err
	}
	if len(b) == 0 || len(b) < len(fileMagic) && bytes.HasPrefix([]byte(fileMagic), b) {
		return s.start()
	}
	if !bytes.HasPrefix(b, []byte(fileMagic)) {
		return errors.New("not an outbox of this program, or of a newer version")
	}
	good, torn := readLog(b[len(fileMagic):], func(c *Change, size int64) {
		s.account(c, size)
		s.image.apply(c)
	})
	end := int64(len(fileMagic) + good)
	if rest := b[end:]; len(rest) > 0 {
		if !torn {
			if err := os.WriteFile(s.path+".damaged", rest, 0o600); err != nil {
				return fmt.Errorf("put the damaged part aside: %w", err)
			}
			if s.opts.Damaged != nil {
				s.opts.Damaged(int64(len(rest)))
			}
		}
		if err := s.file.Truncate(end); err != nil {
			return err
		}
	}
	s.size = end
	_, err = s.file.Seek(end, io.SeekStart)
	return err
}

func (s *File) start() error {
	if err := s.file.Truncate(0); err != nil {
		return err
	}
	if _, err := s.file.WriteAt([]byte(fileMagic), 0); err != nil {
		return err
	}
	s.size = int64(len(fileMagic))
	if _, err := s.file.Seek(s.size, io.SeekStart); err != nil {
		return err
	}
	if s.opts.Sync == SyncNever {
		return nil
	}
	return errors.Join(s.file.Sync(), syncDir(s.path))
}

// readLog calls f for each whole record and returns how many bytes they take. torn tells that what follows is a record cut short,
// as a crash leaves it: nothing readable comes behind the break.
func readLog(b []byte, f func(c *Change, size int64)) (good int, torn bool) {
	for good < len(b) {
		c, n, err := readRecord(b[good:])
		if err != nil {
			return good, !recordBehind(b[good+1:])
		}
		f(&c, int64(n))
		good += n
	}
	return good, true
}

// recordBehind looks for a readable record at any offset of the next megabyte; looking further would cost hours on a large log and
// tell no more.
func recordBehind(b []byte) bool {
	for i := range min(len(b), 1<<20) {
		if _, _, err := readRecord(b[i:]); err == nil {
			return true
		}
	}
	return false
}

var errRecord = errors.New("record is cut short or damaged")

func readRecord(b []byte) (c Change, n int, err error) {
	if len(b) < recordHeader {
		return c, 0, errRecord
	}
	size := binary.BigEndian.Uint32(b)
	if size == 0 || size > maxRecord || int(size) > len(b)-recordHeader {
		return c, 0, errRecord
	}
	body := b[recordHeader : recordHeader+int(size)]
	if crc32.Checksum(body, crcTable) != binary.BigEndian.Uint32(b[4:]) {
		return c, 0, errRecord
	}
	c, err = decodeChange(body)
	return c, recordHeader + int(size), err
}

// appendRecord writes one change as a record.
func appendRecord(b []byte, c *Change) []byte {
	at := len(b)
	b = append(b, make([]byte, recordHeader)...)
	b = append(b, byte(c.Kind))
	b = binary.AppendUvarint(b, c.Seq)
	b = binary.BigEndian.AppendUint16(b, c.ID)
	switch c.Kind {
	case SetSession:
		b = append(b, c.ClientID...)
	case PutMessage:
		m := c.Message
		id := m.ID
		if id == 0 {
			id = mqtt.MaxPacketID // the codec has no PUBLISH of QoS 1 without one; c.ID says that there is none
		}
		p := packet.Publish{QoS: m.QoS, Retain: m.Retain, Topic: []byte(m.Topic), PacketID: id, Props: m.Properties, Payload: m.Payload}
		b = p.Append(b, mqtt.V5)
	default: // the header says it all
	}
	body := b[at+recordHeader:]
	binary.BigEndian.PutUint32(b[at:], uint32(len(body)))
	binary.BigEndian.PutUint32(b[at+4:], crc32.Checksum(body, crcTable))
	return b
}

// decodeChange reads what a record holds. The result owns its memory.
func decodeChange(b []byte) (c Change, err error) {
	c.Kind = ChangeKind(b[0])
	seq, n := binary.Uvarint(b[1:])
	if c.Kind == 0 || c.Kind >= changeKinds || n <= 0 || len(b) < 1+n+2 {
		return c, errRecord
	}
	c.Seq = seq
	c.ID = binary.BigEndian.Uint16(b[1+n:])
	rest := b[1+n+2:]
	switch c.Kind {
	case SetSession:
		c.ClientID = string(rest)
	case PutMessage:
		c.Message, err = decodeStored(rest)
		if err == nil {
			c.Message.Seq, c.Message.ID = c.Seq, c.ID
		}
	default:
		if len(rest) != 0 {
			err = errRecord
		}
	}
	return c, err
}

func decodeStored(b []byte) (*Message, error) {
	first, remaining, n, err := packet.ParseHeader(b, true)
	if err != nil || n == 0 || n+remaining != len(b) || packet.Type(first>>4) != packet.PUBLISH {
		return nil, errRecord
	}
	var p packet.Publish
	if err := p.Decode(mqtt.V5, first, b[n:]); err != nil || len(p.Topic) == 0 {
		return nil, errRecord
	}
	return &Message{
		QoS: p.QoS, Retain: p.Retain, Topic: string(p.Topic), Payload: bytes.Clone(p.Payload), Properties: bytes.Clone(p.Props),
	}, nil
}

// account keeps the number of live bytes, which decides on compaction.
func (s *File) account(c *Change, size int64) {
	switch c.Kind {
	case PutMessage:
		s.live += size
	case DeleteMessage:
		if m := s.image.messages[c.Seq]; m != nil {
			s.live -= storedSize(m)
		}
	default: // of a few bytes
	}
}

func storedSize(m *Message) int64 {
	return int64(recordHeader + 14 + len(m.Topic) + len(m.Payload) + len(m.Properties))
}

// Load returns what was found at opening.
func (s *File) Load() (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.image.state(), nil
}

// Commit appends the changes with one write.
func (s *File) Commit(changes []Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return os.ErrClosed
	}
	if s.err != nil {
		return s.err
	}
	s.buf = s.buf[:0]
	for i := range changes {
		at := len(s.buf)
		s.buf = appendRecord(s.buf, &changes[i])
		s.account(&changes[i], int64(len(s.buf)-at))
		s.image.apply(&changes[i])
	}
	n, err := s.file.Write(s.buf)
	s.size += int64(n)
	if err == nil {
		err = s.syncLocked()
	}
	if cap(s.buf) > 1<<20 {
		s.buf = nil
	}
	if err != nil {
		// What is on the disk now is not known; nothing may be promised on it any more.
		s.err = fmt.Errorf("write outbox %s: %w", s.path, err)
		return s.err
	}
	if s.size > s.opts.CompactAt && s.live < s.size/2 {
		if err := s.compactLocked(); err != nil {
			s.err = fmt.Errorf("compact outbox %s: %w", s.path, err)
			return s.err
		}
	}
	return nil
}

func (s *File) syncLocked() error {
	switch s.opts.Sync {
	case SyncAlways:
		return s.file.Sync()
	case SyncInterval:
		if s.timer == nil {
			s.timer = time.AfterFunc(s.opts.SyncEvery, s.syncLater)
		}
	case SyncNever:
	}
	return nil
}

func (s *File) syncLater() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = nil
	if s.closed {
		return
	}
	if err := s.file.Sync(); err != nil && s.err == nil {
		s.err = fmt.Errorf("sync outbox %s: %w", s.path, err)
	}
}

// compactLocked writes what is alive to a new file and puts it in the place of the old one; a crash leaves one of the two whole.
func (s *File) compactLocked() error {
	next := s.path + ".new"
	f, err := os.OpenFile(next, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	b := []byte(fileMagic)
	state := s.image.state()
	if state.Session {
		b = appendRecord(b, &Change{Kind: SetSession, ClientID: state.ClientID})
	}
	for i := range state.Messages {
		m := &state.Messages[i]
		b = appendRecord(b, &Change{Kind: PutMessage, Seq: m.Seq, ID: m.ID, Message: m})
		if m.Released {
			b = appendRecord(b, &Change{Kind: ReleaseMessage, Seq: m.Seq})
		}
	}
	for _, id := range state.Received {
		b = appendRecord(b, &Change{Kind: AddReceived, ID: id})
	}
	err = lockFile(f)
	if err == nil {
		_, err = f.Write(b)
	}
	if err == nil && s.opts.Sync != SyncNever {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(next, s.path)
	}
	if err != nil {
		f.Close()
		return err
	}
	s.file.Close()
	s.file, s.size, s.live = f, int64(len(b)), int64(len(b))
	if s.opts.Sync == SyncNever {
		return nil
	}
	return syncDir(s.path)
}

// syncDir makes a new name of a file durable.
func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Close syncs and closes the file.
func (s *File) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	var err error
	if s.opts.Sync != SyncNever {
		err = s.file.Sync()
	}
	return errors.Join(err, s.file.Close())
}
