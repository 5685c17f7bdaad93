package mosqdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// ErrNotEmpty: the store holds sessions or retained messages, and
// ImportOptions.Replace was not set.
var ErrNotEmpty = errors.New("the store is not empty")

// ImportOptions says at what time an import takes place.
type ImportOptions struct {
	// Now and Wall are the same moment on the broker's time line and on the clock,
	// to which the file's expiry times refer.
	Now  record.Instant
	Wall time.Time
	// Replace lets an import into a store that is not empty; what the file has
	// takes the place of a session with the same client id and of a retained
	// message with the same topic.
	Replace bool
}

// Report counts what an import brought, in the terms of Mosquitto's log, and
// what it could not bring.
type Report struct {
	Messages, Retained, Clients, Subscriptions, ClientMessages, Wills int

	// Routed counts queue entries made from QoS 2 messages that Mosquitto had taken
	// but not yet passed on: it does so at PUBREL, midge at PUBLISH.
	Routed int
	// Replaced counts sessions of the store that gave way.
	Replaced int
	// ExpiredClients and ExpiredMessages had ended by the clock.
	ExpiredClients, ExpiredMessages int
	// Problems says what was left out and why, at most 20 lines; Skipped counts all.
	Problems []string
	Skipped  int
}

func (r *Report) problem(format string, args ...any) {
	r.Skipped++
	if len(r.Problems) < maxErrors {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// Lines are the log lines of the import: Mosquitto's five, then what else there
// is to say.
func (r *Report) Lines() []string {
	l := []string{
		fmt.Sprintf("Restored %d base messages", r.Messages),
		fmt.Sprintf("Restored %d retained messages", r.Retained),
		fmt.Sprintf("Restored %d clients", r.Clients),
		fmt.Sprintf("Restored %d subscriptions", r.Subscriptions),
		fmt.Sprintf("Restored %d client messages", r.ClientMessages),
	}
	for _, x := range []struct {
		n    int
		text string
	}{
		{r.Wills, "Restored %d wills"},
		{r.Routed, "Queued %d messages of QoS 2 exchanges that their publishers had not finished"},
		{r.Replaced, "Replaced %d sessions"},
		{r.ExpiredClients, "Left out %d sessions that had expired"},
		{r.ExpiredMessages, "Left out %d messages that had expired"},
		{r.Skipped, "Left out %d entries that are damaged or refer to nothing:"},
	} {
		if x.n > 0 {
			l = append(l, fmt.Sprintf(x.text, x.n))
		}
	}
	return append(l, r.Problems...)
}

// importer is the state of one import.
type importer struct {
	db  *DB
	o   ImportOptions
	rep *Report
	out *committer

	messages map[uint64]*record.Message
	expired  map[uint64]bool
	sessions []*imported
	byID     map[string]*imported
	existing map[string]record.SessionKey
	retained map[string]*record.Message // by topic: later than what the file has as retained
	due      []*Will                    // to be published now
	key      record.SessionKey
	seq      uint64
}

// imported is one session on its way into the store.
type imported struct {
	rec     record.Session
	subs    []record.Subscription
	filters map[string]int // where in subs
	entries []*ClientMessage
	inbound []*ClientMessage
	routed  []record.Queued
	will    *Will
}

// Import carries the content of db into st: sessions, subscriptions, queues in
// order, exchanges under way in both directions, retained messages, wills. It
// returns when everything is on stable storage, or with the first error of the
// store; then st holds a part, and the import has to be repeated with Replace,
// or better into a new store. What db contradicts itself about is left out and
// in the Report.
func Import(ctx context.Context, db *DB, st store.Store, o ImportOptions) (Report, error) {
	im := &importer{
		db: db, o: o, rep: &Report{}, out: newCommitter(ctx, st),
		messages: make(map[uint64]*record.Message, len(db.Messages)), expired: make(map[uint64]bool),
		byID: make(map[string]*imported), existing: make(map[string]record.SessionKey), retained: make(map[string]*record.Message),
	}
	for _, p := range db.Problems {
		im.rep.problem("%s", p)
	}
	if err := im.survey(st); err != nil {
		return *im.rep, fmt.Errorf("import: %w", err)
	}
	im.loadMessages()
	im.loadClients()
	im.loadSubscriptions()
	im.loadClientMessages()
	im.loadWills()
	im.route()
	for _, s := range im.sessions {
		im.writeSession(s)
	}
	im.writeRetained()
	if err := im.out.finish(); err != nil {
		return *im.rep, fmt.Errorf("import: %w", err)
	}
	return *im.rep, nil
}

// survey finds the keys and sequence numbers that the store has used.
func (im *importer) survey(st store.Store) error {
	some := false
	err := st.LoadSessions(func(s *store.Saved) error {
		some = true
		im.existing[s.Session.ClientID] = s.Session.Key
		im.key = max(im.key, s.Session.Key)
		im.seq = max(im.seq, s.LastSeq)
		return nil
	})
	if err != nil {
		return err
	}
	err = st.LoadRetained(func(m *record.Message) error {
		some = true
		im.seq = max(im.seq, m.Seq)
		return nil
	})
	if err != nil {
		return err
	}
	if some && !im.o.Replace {
		return ErrNotEmpty
	}
	return nil
}

func (im *importer) nextSeq() uint64 {
	im.seq++
	return im.seq
}

// dropped are the properties that do not travel with a stored message.
var dropped = packet.SetOf(packet.PropMessageExpiry, packet.PropTopicAlias, packet.PropSubscriptionID)

// message makes the record of a stored message.
func (im *importer) message(topic string, payload, props []byte) *record.Message {
	if packet.Props(props).Set()&dropped != 0 {
		props = packet.AppendExcept(nil, props, dropped)
	}
	m := record.NewMessage([]byte(topic), payload, props)
	m.Seq, m.At = im.nextSeq(), im.o.Now
	return m
}

func (im *importer) loadMessages() {
	// Ids grow with the order of acceptance.
	order := make([]*Message, len(im.db.Messages))
	for i := range im.db.Messages {
		order[i] = &im.db.Messages[i]
	}
	slices.SortStableFunc(order, func(a, b *Message) int { return cmp.Compare(a.ID, b.ID) })
	wall := im.o.Wall.Unix()
	for _, v := range order {
		if _, twice := im.messages[v.ID]; twice {
			im.rep.problem("message %d: the id is used twice", v.ID)
			continue
		}
		m := im.message(v.Topic, v.Payload, v.Properties)
		m.QoS, m.Retain, m.Publisher, m.PublisherUser = mqtt.QoS(v.QoS), v.Retain, v.SourceID, v.SourceUserName
		im.messages[v.ID] = m
		switch {
		case v.Expiry <= 0:
		case v.Expiry < wall:
			// Kept in the table for exchanges under way: their ids count on.
			m.Expires, im.expired[v.ID] = im.o.Now, true
			im.rep.ExpiredMessages++
			continue
		default:
			m.Expires = im.o.Now + max(record.Instant(min(v.Expiry-wall, mqtt.NeverExpires))*record.Second, 1)
		}
		im.rep.Messages++
	}
}

func (im *importer) loadClients() {
	wall := im.o.Wall.Unix()
	for i := range im.db.Clients {
		v := &im.db.Clients[i]
		s := im.session(v.ID)
		s.rec.UserName = v.UserName
		if v.ExpiryInterval == 0 || v.ExpiryInterval == mqtt.NeverExpires {
			// Never, or, in files of a version without intervals that a later
			// Mosquitto wrote again, not said: it was stored, so it lasts.
			s.rec.Expiry = mqtt.NeverExpires
			continue
		}
		// Only MQTT 5 clients give an interval.
		s.rec.Version, s.rec.Expiry = mqtt.V5, v.ExpiryInterval
		if v.ExpiryTime == 0 {
			continue // it was connected
		}
		left := v.ExpiryTime - wall
		if left <= 0 {
			s.rec.Expiry = 0
			continue
		}
		s.rec.Expiry = uint32(min(left, int64(v.ExpiryInterval)))
	}
	for id, s := range im.byID {
		if s.rec.Expiry == 0 {
			im.rep.ExpiredClients++
			im.byID[id] = nil
		}
	}
	im.sessions = slices.DeleteFunc(im.sessions, func(s *imported) bool { return s.rec.Expiry == 0 })
	im.rep.Clients = len(im.sessions)
}

// session finds or makes the session of a client id; nil: it has expired.
func (im *importer) session(id string) *imported {
	s, ok := im.byID[id]
	if ok {
		return s
	}
	im.key++
	s = &imported{rec: record.Session{
		ClientID: id, Key: im.key, Expiry: mqtt.NeverExpires, Version: mqtt.V311, Disconnected: max(im.o.Now, 1),
	}}
	im.byID[id] = s
	im.sessions = append(im.sessions, s)
	return s
}

func (im *importer) loadSubscriptions() {
	for i := range im.db.Subscriptions {
		v := &im.db.Subscriptions[i]
		// A subscription or message without its client is given one, as Mosquitto does.
		s := im.session(v.ClientID)
		if s == nil {
			continue
		}
		sub := record.Subscription{
			Filter: v.Filter, ID: v.ID, QoS: mqtt.QoS(v.QoS),
			NoLocal: v.Options&OptionNoLocal != 0, RetainAsPublished: v.Options&OptionRetainAsPublished != 0,
		}
		if at, twice := s.filters[v.Filter]; twice {
			s.subs[at] = sub
			continue
		}
		if s.filters == nil {
			s.filters = make(map[string]int)
		}
		s.filters[v.Filter] = len(s.subs)
		s.subs = append(s.subs, sub)
		im.rep.Subscriptions++
	}
}

func (im *importer) loadClientMessages() {
	for i := range im.db.ClientMessages {
		v := &im.db.ClientMessages[i]
		s := im.session(v.ClientID)
		if s == nil {
			continue
		}
		if im.messages[v.MessageID] == nil {
			im.rep.problem("client %q: message %d is not in the file", v.ClientID, v.MessageID)
			continue
		}
		switch {
		case v.Direction == Out:
			s.entries = append(s.entries, v)
		case v.QoS == 2:
			s.inbound = append(s.inbound, v)
		default:
			im.rep.problem("client %q: message %d from the client with QoS %d", v.ClientID, v.MessageID, v.QoS)
		}
	}
	im.rep.Clients = len(im.sessions)
}

func (im *importer) loadWills() {
	for i := range im.db.Wills {
		v := &im.db.Wills[i]
		s, ok := im.byID[v.ClientID]
		if ok && s != nil {
			s.will = v
		} else {
			// The session ended with the connection, or has expired.
			im.due = append(im.due, v)
		}
		im.rep.Wills++
	}
}

// committer hands batches to a store and keeps a bounded number under way.
type committer struct {
	ctx   context.Context
	st    store.Store
	batch []record.Op
	bytes int
	slots chan struct{}
	errs  chan error
	err   error
}

const (
	batchOps   = 1000
	batchBytes = 4 << 20
	underWay   = 16
)

func newCommitter(ctx context.Context, st store.Store) *committer {
	return &committer{ctx: ctx, st: st, slots: make(chan struct{}, underWay), errs: make(chan error, 1)}
}

func (c *committer) add(op record.Op, size int) {
	c.batch = append(c.batch, op)
	c.bytes += size
	if len(c.batch) >= batchOps || c.bytes >= batchBytes {
		c.flush()
	}
}

func (c *committer) flush() {
	if len(c.batch) == 0 || c.failed() {
		c.batch = c.batch[:0]
		return
	}
	select {
	case c.slots <- struct{}{}:
	case <-c.ctx.Done():
		c.err = c.ctx.Err()
		return
	}
	b := &store.Batch{Ops: c.batch}
	c.batch, c.bytes = nil, 0
	c.st.Commit(b, store.Flush, func(err error) {
		if err != nil {
			select {
			case c.errs <- err:
			default:
			}
		}
		<-c.slots
	})
}

func (c *committer) failed() bool {
	if c.err == nil {
		select {
		case c.err = <-c.errs:
		default:
		}
	}
	return c.err != nil
}

// finish waits for every batch.
func (c *committer) finish() error {
	c.flush()
	for range underWay {
		select {
		case c.slots <- struct{}{}:
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
	}
	c.failed()
	return c.err
}

// wildcard tells filters that need matching from those that are looked up.
func wildcard(filter string) bool { return strings.ContainsAny(filter, "+#") }
