package bench

import (
	"time"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// stream is what one publisher of one run sends.
type stream struct{ run, publisher uint32 }

// receiver reads one subscriber's connection.
type receiver struct {
	run     *run
	c       *wire
	index   int
	streams map[stream]*tracker
	rec     *recorder
	// senders are the publishers of this process by index; they are told what arrived.
	senders []*publisher
	// expects says which of them this subscriber should hear.
	expects func(publisher int) bool

	// Of the reading goroutine.
	acks    []byte
	last    *tracker // of lastPub, since most batches come from few publishers
	lastPub stream
	values  []int64 // latencies of this batch, microseconds
	count   uint64
	credit  uint64 // deliveries of lastPub not told yet
}

func newReceiver(r *run, c *wire, index int) *receiver {
	return &receiver{
		run: r, c: c, index: index, streams: map[stream]*tracker{}, rec: r.recorders[index%len(r.recorders)], senders: r.publishers,
		lastPub: stream{publisher: 1<<32 - 1},
	}
}

// read is the reading goroutine. closed is asked whether the end of the connection was wanted.
func (s *receiver) read(closed func() bool) {
	defer s.run.readers.Done()
	var now int64
	for {
		fresh := !s.c.buffered()
		if fresh {
			if err := s.flush(); err != nil && !closed() {
				s.run.lostConnection(err)
				return
			}
		}
		first, body, err := s.c.next()
		if err != nil {
			s.flush()
			if !closed() {
				s.run.lostConnection(err)
			}
			return
		}
		if fresh {
			now = time.Now().UnixNano() // once for each read: what lies in the buffer came with it
		}
		s.take(first, body, now)
	}
}

// take handles one packet.
func (s *receiver) take(first byte, body []byte, now int64) {
	switch t := packet.Type(first >> 4); t {
	case packet.PUBLISH:
		m, ok := s.c.publish(first, body)
		if !ok {
			s.run.note("subscriber %d: a PUBLISH that cannot be read", s.index)
			return
		}
		s.message(&m, now)
	case packet.PUBREL:
		if len(body) >= 2 {
			s.acks = packet.AppendAck(s.acks, packet.PUBCOMP, s.c.version, uint16(body[0])<<8|uint16(body[1]), 0)
		}
	case packet.DISCONNECT:
		s.run.note("broker sent DISCONNECT to subscriber %d", s.index)
	default: // PINGRESP
	}
}

func (s *receiver) message(m *message, now int64) {
	switch m.qos {
	case mqtt.AtLeastOnce:
		s.acks = packet.AppendAck(s.acks, packet.PUBACK, s.c.version, m.id, 0)
	case mqtt.ExactlyOnce:
		s.acks = packet.AppendAck(s.acks, packet.PUBREC, s.c.version, m.id, 0)
	default:
	}
	st, ok := readStamp(m.payload)
	if !ok || len(s.senders) > 0 && st.run != s.run.id {
		s.run.foreign.Add(1)
		return
	}
	if from := (stream{st.run, st.publisher}); from != s.lastPub || s.last == nil {
		s.tell()
		s.lastPub, s.last = from, s.streams[from]
		if s.last == nil {
			s.last = &tracker{joined: len(s.senders) > 0}
			s.streams[from] = s.last
		}
	}
	if !s.last.see(st.seq) {
		if m.dup {
			s.run.redelivered.Add(1)
			s.last.duplicates--
		}
		return
	}
	s.count++
	s.credit++
	s.values = append(s.values, (now-st.sent)/1000)
}

// tell gives the publisher its deliveries.
func (s *receiver) tell() {
	if s.credit > 0 && int(s.lastPub.publisher) < len(s.senders) {
		s.senders[s.lastPub.publisher].arrived(s.credit)
	}
	s.credit = 0
}

// flush ends a batch: acknowledgements leave, counters and latencies are handed over.
func (s *receiver) flush() error {
	if s.count > 0 {
		s.tell()
		s.run.delivered.Add(s.count)
		s.rec.add(s.values, s.run.measuring.Load())
		s.count, s.values = 0, s.values[:0]
	}
	if len(s.acks) == 0 {
		return nil
	}
	err := s.c.write(s.acks)
	s.acks = s.acks[:0]
	return err
}
