// Package exemplar prints what a store holds, and makes and checks a store of
// known content: what a release writes today every later release must read.
//
// It changes no store but the one that Generate makes. Dump may be called from
// any goroutine while the store is in use and shows each session as it was at
// some moment meanwhile.
package exemplar

import (
	"bufio"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/mqtt/packet"
)

// Source is what Dump reads: a store.
type Source interface {
	ReadQueue(key record.SessionKey, from uint64, max int, done func([]record.Queued, error))
	LoadSessions(f func(*store.Saved) error) error
	LoadRetained(f func(*record.Message) error) error
}

// Message is a message in a dump. Times are in milliseconds from now on.
type Message struct {
	Topic      string  `json:"topic"`
	Payload    *string `json:"payload,omitempty"`
	Binary     []byte  `json:"payload-base64,omitempty"`
	Properties []byte  `json:"properties-base64,omitempty"`
	Publisher  string  `json:"publisher,omitempty"`
	User       string  `json:"publisher-user,omitempty"`
	Seq        uint64  `json:"seq,omitempty"`
	Expires    *int64  `json:"expires-in-ms,omitempty"`
	At         *int64  `json:"accepted-in-ms,omitempty"`
	QoS        uint8   `json:"qos"`
	Retain     bool    `json:"retain,omitempty"`
}

// Line is one line of a dump, a JSON object.
type Line struct {
	Kind         string   `json:"kind"`
	ClientID     string   `json:"clientid,omitempty"`
	UserName     string   `json:"username,omitempty"`
	Expiry       *uint32  `json:"session-expiry,omitempty"`
	Version      uint8    `json:"version,omitempty"`
	Disconnected *int64   `json:"disconnected-in-ms,omitempty"`
	Filter       string   `json:"filter,omitempty"`
	ID           uint32   `json:"identifier,omitempty"`
	NoLocal      bool     `json:"no-local,omitempty"`
	Published    bool     `json:"retain-as-published,omitempty"`
	QoS          *uint8   `json:"qos,omitempty"`
	Retain       bool     `json:"retain,omitempty"`
	Group        string   `json:"group,omitempty"`
	Seq          uint64   `json:"seq,omitempty"`
	PacketID     uint16   `json:"packet-id,omitempty"`
	State        string   `json:"state,omitempty"`
	Inbound      []uint16 `json:"packet-ids,omitempty"`
	Delay        uint32   `json:"delay,omitempty"`
	WillExpiry   *uint32  `json:"expiry,omitempty"`
	Message      *Message `json:"message,omitempty"`
}

// states are the words for record.Op.State.
var states = [...]string{1: "await PUBACK", 2: "await PUBREC", 3: "await PUBCOMP"}

// page is how many queue entries are read at once.
const page = 256

type dumper struct {
	enc *json.Encoder
	src Source
	now record.Instant
}

// Dump writes a store as lines of JSON: each session followed by what it owns,
// in order, then the retained messages. now is the time on the store's own line.
func Dump(w io.Writer, src Source, now record.Instant) error {
	b := bufio.NewWriter(w)
	d := &dumper{enc: json.NewEncoder(b), src: src, now: now}
	d.enc.SetEscapeHTML(false)
	if err := src.LoadSessions(d.session); err != nil {
		return err
	}
	err := src.LoadRetained(func(m *record.Message) error {
		return d.enc.Encode(&Line{Kind: "retained", Message: d.message(m)})
	})
	if err != nil {
		return err
	}
	return b.Flush()
}

func (d *dumper) in(t record.Instant) *int64 {
	if t == 0 {
		return nil
	}
	ms := int64(t-d.now) / 1e6
	return &ms
}

func (d *dumper) message(m *record.Message) *Message {
	v := &Message{
		Topic: m.Topic, Properties: m.Props, Publisher: m.Publisher, User: m.PublisherUser, Seq: m.Seq, Expires: d.in(m.Expires), At: d.in(m.At),
		QoS: uint8(m.QoS), Retain: m.Retain,
	}
	if utf8.Valid(m.Payload) {
		s := string(m.Payload)
		v.Payload = &s
	} else {
		v.Binary = m.Payload
	}
	return v
}

func (d *dumper) session(s *store.Saved) error {
	id := s.Session.ClientID
	lines := []*Line{{
		Kind: "session", ClientID: id, UserName: s.Session.UserName, Expiry: &s.Session.Expiry, Version: uint8(s.Session.Version),
		Disconnected: d.in(s.Session.Disconnected),
	}}
	slices.SortFunc(s.Subs, func(a, b record.Subscription) int { return strings.Compare(a.Filter, b.Filter) })
	for i := range s.Subs {
		v := &s.Subs[i]
		qos := uint8(v.QoS)
		lines = append(lines, &Line{Kind: "subscription", ClientID: id, Filter: v.Filter, ID: v.ID, QoS: &qos, NoLocal: v.NoLocal, Published: v.RetainAsPublished})
	}
	for i := range s.Inflight {
		f := &s.Inflight[i]
		l := d.entry("inflight", id, &f.Entry)
		l.PacketID = f.PacketID
		if int(f.State) < len(states) {
			l.State = states[f.State]
		}
		lines = append(lines, l)
	}
	if len(s.Inbound) > 0 {
		slices.Sort(s.Inbound)
		lines = append(lines, &Line{Kind: "inbound", ClientID: id, Inbound: s.Inbound})
	}
	if w := s.Will; w != nil {
		l := &Line{Kind: "will", ClientID: id, Delay: w.Delay, Message: d.message(w.Msg)}
		if w.HasExpiry {
			l.WillExpiry = &w.Expiry
		}
		lines = append(lines, l)
	}
	for _, l := range lines {
		if err := d.enc.Encode(l); err != nil {
			return err
		}
	}
	return d.queue(s)
}

func (d *dumper) entry(kind, client string, q *record.Queued) *Line {
	qos := uint8(q.QoS)
	return &Line{Kind: kind, ClientID: client, ID: q.SubID, QoS: &qos, Retain: q.Retain, Group: q.Group, Seq: q.Seq, Message: d.message(q.Msg)}
}

func (d *dumper) queue(s *store.Saved) error {
	from := s.FirstSeq
	for s.Queued > 0 {
		var q []record.Queued
		var err error
		done := make(chan struct{})
		d.src.ReadQueue(s.Session.Key, from, page, func(got []record.Queued, failed error) {
			q, err = got, failed
			close(done)
		})
		<-done
		if err != nil {
			return err
		}
		for i := range q {
			if err := d.enc.Encode(d.entry("queued", s.Session.ClientID, &q[i])); err != nil {
				return err
			}
		}
		if len(q) < page {
			break
		}
		from = q[len(q)-1].Seq + 1
	}
	return nil
}

// properties for the samples.
func sampleProperties() []byte {
	p := packet.AppendUint(nil, packet.PropPayloadFormat, 1)
	p = packet.AppendString(p, packet.PropContentType, "text/plain")
	return packet.AppendPair(p, "key", "value")
}
