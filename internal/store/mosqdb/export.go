package mosqdb

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/safefile"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/mqtt"
)

// Source is what an export reads: a store, or a part of one that stands still.
type Source interface {
	ReadQueue(key record.SessionKey, from uint64, max int, done func([]record.Queued, error))
	LoadSessions(f func(*store.Saved) error) error
	LoadRetained(f func(*record.Message) error) error
}

// ExportOptions says at what time an export takes place.
type ExportOptions struct {
	// Now and Wall are the same moment on the broker's time line and on the clock.
	Now  record.Instant
	Wall time.Time
	// Shutdown marks the file as written at the end of the broker.
	Shutdown bool
}

// ExportReport counts what an export wrote, and what version 6 has no place for.
type ExportReport struct {
	Messages, Retained, Clients, Subscriptions, ClientMessages int

	// Shared counts shared subscriptions among Subscriptions: Mosquitto itself never
	// writes them, but takes them when it reads.
	Shared int
	// Wills and Inbound were left out: the file has no chunk for a will, and an
	// identifier of a QoS 2 message from a client only together with the message,
	// which midge has passed on by then and Mosquitto would pass on again.
	Wills, Inbound int
}

// Lines are the log lines of the export.
func (r *ExportReport) Lines() []string {
	l := []string{fmt.Sprintf("Exported %d clients, %d subscriptions, %d client messages, %d retained messages (%d base messages)",
		r.Clients, r.Subscriptions, r.ClientMessages, r.Retained, r.Messages)}
	if r.Shared > 0 {
		l = append(l, fmt.Sprintf("Exported %d shared subscriptions: Mosquitto takes them, but leaves them out of the file when it saves", r.Shared))
	}
	if r.Wills > 0 {
		l = append(l, fmt.Sprintf("Left out %d wills: mosquitto.db has no place for them", r.Wills))
	}
	if r.Inbound > 0 {
		l = append(l, fmt.Sprintf("Left out %d QoS 2 identifiers of publishers: one that sends such a message again delivers it twice", r.Inbound))
	}
	return l
}

// exportPage is how many queue entries are read at once.
const exportPage = 256

// maxShared bounds the table that lets several queues share one stored message:
// about 60 bytes each. Beyond it messages are written again.
const maxShared = 1 << 20

// exporter is the state of one export. Messages must stand in the file before
// what refers to them, so that sessions, subscriptions and retained marks wait in
// files of their own until all messages are written.
type exporter struct {
	ctx  context.Context
	src  Source
	o    ExportOptions
	rep  ExportReport
	main *spool
	late [3]*spool // clients with their messages; subscriptions; retained marks
	ids  map[[16]byte]uint64
	last uint64
}

// spool is a file under way.
type spool struct {
	f   *os.File
	buf *bufio.Writer
	w   *Writer
}

func newSpool(path string) (*spool, error) {
	// What an interrupted export left may be linked elsewhere: never written into.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	b := bufio.NewWriterSize(f, 256<<10)
	return &spool{f: f, buf: b, w: NewWriter(b)}, nil
}

func (s *spool) discard() {
	s.f.Close()
	os.Remove(s.f.Name())
}

// Export writes what src holds to path in version 6: to a new file beside it with
// mode 0600, path.new, made durable, then renamed. After an error path is as
// before. Two exports to one path must not run at once.
//
// A store that changes meanwhile gives each session as it was at some moment
// during the export, and what moves from a queue into flight between two reads
// may be missing: give a Source that stands still.
func Export(ctx context.Context, src Source, path string, o ExportOptions) (ExportReport, error) {
	e := &exporter{ctx: ctx, src: src, o: o, ids: make(map[[16]byte]uint64)}
	err := e.run(path)
	if err != nil {
		err = fmt.Errorf("export %s: %w", path, err)
	}
	return e.rep, err
}

func (e *exporter) run(path string) (err error) {
	if e.main, err = newSpool(path + ".new"); err != nil {
		return err
	}
	defer e.main.discard() // after the rename there is nothing under this name
	for i := range e.late {
		if e.late[i], err = newSpool(fmt.Sprintf("%s.new.%d", path, i+1)); err != nil {
			return err
		}
		defer e.late[i].discard()
	}
	if err := e.main.w.Header(); err != nil {
		return err
	}
	if err := e.main.w.Config(&Config{Shutdown: e.o.Shutdown}); err != nil {
		return err
	}
	if err := e.src.LoadSessions(e.session); err != nil {
		return err
	}
	if err := e.src.LoadRetained(e.retained); err != nil {
		return err
	}
	return e.join(path)
}

// join puts the parts together and the file in its place.
func (e *exporter) join(path string) error {
	for _, s := range e.late {
		if err := s.buf.Flush(); err != nil {
			return err
		}
		if _, err := s.f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(e.main.buf, s.f); err != nil {
			return err
		}
	}
	if err := e.main.buf.Flush(); err != nil {
		return err
	}
	// The last id, now that it is known.
	var id [8]byte
	byteOrder.PutUint64(id[:], e.last)
	if _, err := e.main.f.WriteAt(id[:], int64(headerSize+headerChunk)); err != nil {
		return err
	}
	if err := e.main.f.Sync(); err != nil {
		return err
	}
	if err := e.main.f.Close(); err != nil {
		return err
	}
	if err := os.Rename(e.main.f.Name(), path); err != nil {
		return err
	}
	return safefile.SyncDir(filepath.Dir(path))
}

// session writes one session with its queue and subscriptions.
func (e *exporter) session(s *store.Saved) error {
	if err := e.ctx.Err(); err != nil {
		return err
	}
	id := s.Session.ClientID
	ids := midSource{used: make(map[uint16]bool, len(s.Inflight))}
	for i := range s.Inflight {
		ids.used[s.Inflight[i].PacketID] = true
	}
	out := e.late[0].w
	// The last id given comes behind the messages, Mosquitto wants it in front. It
	// only spares the client a clash, which ids of the queue cannot have: it is the
	// one that the queue will end with.
	ids.last = uint16(len(s.Inflight))
	c := Client{
		ID: id, UserName: s.Session.UserName, ExpiryInterval: s.Session.Expiry, LastMID: ids.ahead(s.Queued),
		ExpiryTime: e.sessionEnd(&s.Session),
	}
	if err := out.Client(&c); err != nil {
		return err
	}
	e.rep.Clients++
	for i := range s.Inflight {
		f := &s.Inflight[i]
		if err := e.entry(id, &f.Entry, f.PacketID, sentState(f.State), 1); err != nil {
			return err
		}
	}
	if err := e.queue(s, &ids); err != nil {
		return err
	}
	for i := range s.Subs {
		if err := e.subscription(id, &s.Subs[i]); err != nil {
			return err
		}
	}
	e.rep.Inbound += len(s.Inbound)
	if s.Will != nil {
		e.rep.Wills++
	}
	return nil
}

func (e *exporter) sessionEnd(s *record.Session) int64 {
	if s.Expiry == mqtt.NeverExpires {
		return 0
	}
	left := record.Instant(s.Expiry) * record.Second
	if s.Disconnected != 0 {
		left -= e.o.Now - s.Disconnected
	}
	return e.o.Wall.Unix() + int64(max(left, 0)/record.Second)
}

// midSource gives the messages of a queue their ids, as Mosquitto gives them when
// it queues.
type midSource struct {
	used map[uint16]bool
	last uint16
}

func (m *midSource) next() uint16 {
	for range 1 << 16 {
		m.last++
		if m.last != 0 && !m.used[m.last] {
			return m.last
		}
	}
	m.last = max(m.last, 1)
	return m.last // every id is in flight; nothing that is queued can be sent then
}

// ahead is the id that the n-th next gives.
func (m *midSource) ahead(n int) uint16 {
	c := *m
	for range min(n, 1<<16) {
		c.next()
	}
	return c.last
}

// queue writes what waits behind the messages in flight.
func (e *exporter) queue(s *store.Saved, ids *midSource) error {
	from := s.FirstSeq
	for s.Queued > 0 {
		if err := e.ctx.Err(); err != nil {
			return err
		}
		page, err := e.read(s.Session.Key, from)
		if err != nil {
			return err
		}
		for i := range page {
			q := &page[i]
			if q.QoS == 0 {
				err = e.entry(s.Session.ClientID, q, 0, StateQueued, 0)
			} else {
				err = e.entry(s.Session.ClientID, q, ids.next(), StateQueued, 0)
			}
			if err != nil {
				return err
			}
		}
		if len(page) < exportPage {
			return nil
		}
		from = page[len(page)-1].Seq + 1
	}
	return nil
}

// read is ReadQueue, awaited.
func (e *exporter) read(key record.SessionKey, from uint64) (page []record.Queued, err error) {
	done := make(chan struct{})
	e.src.ReadQueue(key, from, exportPage, func(q []record.Queued, failed error) {
		page, err = q, failed
		close(done)
	})
	<-done
	return page, err
}

// sentState is Mosquitto's state for one of flow's.
func sentState(s uint8) State {
	switch s {
	case awaitPubrec:
		return StateWaitForPubrec
	case awaitPubcomp:
		return StateWaitForPubcomp
	default:
		return StateWaitForPuback
	}
}

// entry writes one client message, and its base message if it is new.
func (e *exporter) entry(client string, q *record.Queued, mid uint16, st State, dup uint8) error {
	id, err := e.message(q.Msg, q.Msg.Retain)
	if err != nil {
		return err
	}
	e.rep.ClientMessages++
	return e.late[0].w.ClientMessage(&ClientMessage{
		ClientID: client, MessageID: id, SubscriptionID: q.SubID, MID: mid, QoS: uint8(q.QoS), State: st, Direction: Out,
		RetainDup: flag(q.Retain)<<4 | dup,
	})
}

func (e *exporter) subscription(client string, s *record.Subscription) error {
	var o uint8
	if s.NoLocal {
		o |= OptionNoLocal
	}
	if s.RetainAsPublished {
		o |= OptionRetainAsPublished
	}
	if strings.HasPrefix(s.Filter, mqtt.SharePrefix) {
		e.rep.Shared++
	}
	e.rep.Subscriptions++
	return e.late[1].w.Subscription(&Subscription{ClientID: client, Filter: s.Filter, ID: s.ID, QoS: uint8(s.QoS), Options: o})
}

// retained writes one retained message. The broker's own topics are not kept by
// Mosquitto either.
func (e *exporter) retained(m *record.Message) error {
	if m.Topic == "$SYS" || strings.HasPrefix(m.Topic, "$SYS/") {
		return nil
	}
	if err := e.ctx.Err(); err != nil {
		return err
	}
	id, err := e.message(m, true)
	if err != nil {
		return err
	}
	e.rep.Retained++
	return e.late[2].w.Retained(id)
}

// message writes a base message, once for all queues that hold it, and returns
// its id. Messages are the same when nothing that is stored tells them apart.
func (e *exporter) message(m *record.Message, retain bool) (uint64, error) {
	v := Message{
		Topic: m.Topic, Payload: m.Payload, Properties: m.Props, SourceID: m.Publisher, SourceUserName: m.PublisherUser, QoS: uint8(m.QoS), Retain: retain,
	}
	if m.Expires != 0 {
		v.Expiry = e.o.Wall.Unix() + int64(max(m.Expires-e.o.Now, 0)/record.Second)
	}
	key := identity(m, retain)
	if id, ok := e.ids[key]; ok {
		return id, nil
	}
	e.last++
	v.ID = e.last
	if len(e.ids) < maxShared {
		e.ids[key] = v.ID
	}
	e.rep.Messages++
	return v.ID, e.main.w.Message(&v)
}

func identity(m *record.Message, retain bool) (key [16]byte) {
	h := sha256.New()
	var n [8]byte
	for _, part := range []string{m.Topic, m.Publisher, m.PublisherUser, string(m.Props)} {
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		io.WriteString(h, part)
	}
	binary.BigEndian.PutUint64(n[:], m.Seq)
	h.Write(n[:])
	binary.BigEndian.PutUint64(n[:], uint64(m.Expires))
	h.Write(n[:])
	h.Write([]byte{byte(m.QoS), flag(retain)})
	h.Write(m.Payload)
	copy(key[:], h.Sum(nil))
	return key
}
