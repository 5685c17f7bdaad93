//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// load is what one measurement asks of the broker.
type load struct {
	publishers, inflight int
	rate                 int  // messages a second over all publishers, 0: as fast as it goes
	away                 bool // the receivers are not connected
	floor                bool // not the broker but the least in its place
}

// result is what one measurement found.
type result struct {
	acked, delivered int64
	took             time.Duration
	latency          times // from the time a message was due to its PUBACK
	used             usage
	onDisk           int64
	durable          bool
}

// cpu is the broker's CPU per message in microseconds.
func (r *result) cpu() float64 {
	return float64((r.used.user + r.used.system).Microseconds()) / float64(max(r.acked, 1))
}

func (r *result) print(name string) {
	n := float64(max(r.acked, 1))
	fmt.Printf("%-26s %7.0f acknowledged/s, delivered %.0f %%, median %v, p99 %v, max %v; CPU %.2f µs (user %.2f, system %.2f)",
		name, float64(r.acked)/r.took.Seconds(), 100*float64(r.delivered)/n, r.latency.at(0.5), r.latency.at(0.99), r.latency.at(1),
		r.cpu(), float64(r.used.user.Microseconds())/n, float64(r.used.system.Microseconds())/n)
	if r.durable {
		fmt.Printf("; written %.0f bytes a message (%.1f times the payload), at the end %.0f on disk", float64(r.used.written)/n,
			float64(r.used.written)/n/float64(*size), float64(r.onDisk)/n)
	}
	fmt.Printf("; memory %d MiB\n", r.used.resident>>20)
}

// beside prints r as multiples of what the floor did.
func (r *result) beside(least *result) {
	times := func(q float64) float64 { return float64(r.latency.at(q)) / float64(max(least.latency.at(q), 1)) }
	fmt.Printf("%-26s median %.2f, p99 %.2f, CPU %.2f times\n", "flush : floor", times(0.5), times(0.99), r.cpu()/least.cpu())
}

type conn struct {
	net.Conn
	r *bufio.Reader
}

func dial(addr, id string, clean bool) (*conn, error) {
	n, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &conn{n, bufio.NewReaderSize(n, 16<<10)}
	p := rawmqtt.Packet{Type: rawmqtt.CONNECT, Connect: &rawmqtt.Connect{Name: "MQTT", Level: rawmqtt.V311, Clean: clean, ClientID: id}}
	if _, err := c.Write(p.Encode(rawmqtt.V311)); err != nil {
		return nil, err
	}
	first, b, err := c.packet(nil)
	if err != nil {
		return nil, err
	}
	if first>>4 != rawmqtt.CONNACK || b[1] != 0 {
		return nil, errors.New("not let in")
	}
	return c, nil
}

// packet reads one packet; buf is used again.
func (c *conn) packet(buf []byte) (first byte, body []byte, err error) {
	if first, err = c.r.ReadByte(); err != nil {
		return
	}
	n, err := binary.ReadUvarint(c.r)
	if err != nil {
		return
	}
	if uint64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	body = buf[:n]
	_, err = io.ReadFull(c.r, body)
	return
}

func (c *conn) subscribe(filter string) error {
	p := rawmqtt.Packet{Type: rawmqtt.SUBSCRIBE, Flags: 2, ID: 1, Filters: []rawmqtt.Filter{{Filter: filter, Options: 1}}}
	if _, err := c.Write(p.Encode(rawmqtt.V311)); err != nil {
		return err
	}
	first, _, err := c.packet(nil)
	if err == nil && first>>4 != rawmqtt.SUBACK {
		err = errors.New("no SUBACK")
	}
	return err
}

// receive acknowledges what comes until the connection ends.
func (c *conn) receive(count *atomic.Int64) {
	var buf, acks []byte
	for {
		first, b, err := c.packet(buf)
		if err != nil {
			return
		}
		buf = b[:cap(b)]
		if first>>4 == rawmqtt.PUBLISH {
			count.Add(1)
			t := int(binary.BigEndian.Uint16(b))
			acks = append(acks, rawmqtt.PUBACK<<4, 2, b[2+t], b[3+t])
		}
		if c.r.Buffered() == 0 && len(acks) > 0 {
			if _, err := c.Write(acks); err != nil {
				return
			}
			acks = acks[:0]
		}
	}
}

// publisher keeps its window full, or sends when messages are due.
type publisher struct {
	*conn
	frame []byte // one PUBLISH; the identifier is written into it
	at    int
	due   []time.Time // by identifier-1
	free  chan uint16
	late  []time.Time // due, and the window was full
}

func newPublisher(addr, id, topic string, inflight int) (*publisher, error) {
	c, err := dial(addr, id, true)
	if err != nil {
		return nil, err
	}
	p := &publisher{conn: c, due: make([]time.Time, inflight), free: make(chan uint16, inflight)}
	k := rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: 2, ID: 1, Topic: topic, Payload: make([]byte, *size)}
	p.frame = k.Encode(rawmqtt.V311)
	p.at = len(p.frame) - *size - 2
	for i := range inflight {
		p.free <- uint16(i + 1)
	}
	return p, nil
}

func (p *publisher) append(b []byte, id uint16, due time.Time) []byte {
	p.due[id-1] = due
	binary.BigEndian.PutUint16(p.frame[p.at:], id)
	return append(b, p.frame...)
}

// ack waits for the next acknowledgement.
func (p *publisher) ack(buf *[]byte) (id uint16, err error) {
	first, b, err := p.packet(*buf)
	if err != nil {
		return 0, err
	}
	*buf = b[:cap(b)]
	if first>>4 != rawmqtt.PUBACK {
		return 0, fmt.Errorf("packet type %d", first>>4)
	}
	return binary.BigEndian.Uint16(b), nil
}

// measure runs one load against a fresh broker.
func measure(dir string, durable bool, l load) (*result, error) {
	var s *server
	var err error
	if l.floor {
		s, err = startFloor(dir, l.inflight == 1)
	} else {
		s, err = start(dir, durable, "")
	}
	if err != nil {
		return nil, err
	}
	defer s.stop()
	d, err := newDriver(l.rate)
	if err != nil {
		return nil, err
	}
	defer d.close()
	for i := range *receivers {
		c, err := dial(s.addr, fmt.Sprint("receiver", i), !durable)
		if err != nil {
			return nil, err
		}
		if err := c.subscribe(fmt.Sprintf("bench/%d/#", i)); err != nil {
			return nil, err
		}
		if l.away {
			_ = c.Close()
			continue
		}
		if err := d.add(c, nil); err != nil {
			return nil, err
		}
	}
	for i := range l.publishers {
		p, err := newPublisher(s.addr, fmt.Sprint("publisher", i), fmt.Sprintf("bench/%d/%d", i%*receivers, i), l.inflight)
		if err != nil {
			return nil, err
		}
		if err := d.add(p.conn, p); err != nil {
			return nil, err
		}
	}
	const warm = 2 * time.Second
	if err := d.run(warm); err != nil {
		return nil, err
	}
	before, from, began := s.usage(), d.delivered, time.Now()
	d.count = true
	if err := d.run(time.Duration(*seconds) * time.Second); err != nil {
		return nil, err
	}
	r := &result{took: time.Since(began), used: s.usage(), durable: durable, onDisk: s.onDisk()}
	r.acked, r.latency, r.delivered = int64(len(d.latency)), d.latency, d.delivered-from
	r.used.user -= before.user
	r.used.system -= before.system
	r.used.written -= before.written
	return r, nil
}
