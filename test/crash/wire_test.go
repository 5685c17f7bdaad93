package crash

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// link is one connection of a test client. Packets may be sent from several
// goroutines, one reads.
type link struct {
	c       net.Conn
	r       *bufio.Reader
	level   byte
	present bool // session present, as CONNACK said

	mu sync.Mutex
	w  *bufio.Writer
}

const sessionExpiry = 0x11

var errRefused = errors.New("refused")

// dial connects and waits for CONNACK. A persistent session lives for an hour
// with MQTT 5, for ever with 3.1.1.
func dial(addr, id string, level byte, clean bool) (*link, error) {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return nil, err
	}
	l := &link{c: c, r: bufio.NewReaderSize(c, 32<<10), w: bufio.NewWriterSize(c, 32<<10), level: level}
	p := rawmqtt.Packet{Type: rawmqtt.CONNECT, Connect: &rawmqtt.Connect{Name: "MQTT", Level: level, Clean: clean, ClientID: id, KeepAlive: 60}}
	if level == rawmqtt.V5 && !clean {
		p.Props = rawmqtt.Props{{ID: sessionExpiry, Num: 3600}}
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if err := l.send(&p); err != nil {
		_ = c.Close()
		return nil, err
	}
	a, err := l.read()
	if err == nil && (a.kind != rawmqtt.CONNACK || a.code != 0) {
		err = fmt.Errorf("%w: packet type %d, code %d", errRefused, a.kind, a.code)
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	_ = c.SetReadDeadline(time.Time{})
	l.present = a.present
	return l, nil
}

func (l *link) close() { _ = l.c.Close() }

// send writes packets at once.
func (l *link) send(ps ...*rawmqtt.Packet) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range ps {
		if _, err := l.w.Write(p.Encode(l.level)); err != nil {
			return err
		}
	}
	return l.w.Flush()
}

func (l *link) ack(kind byte, id uint16) error {
	return l.send(&rawmqtt.Packet{Type: kind, Flags: rawmqtt.FixedFlags(kind), ID: id})
}

// packet is what a test client needs of a packet from the broker.
type packet struct {
	kind, qos, code byte
	dup, retain     bool
	present         bool
	id              uint16
	topic           string
	payload         string
}

func (l *link) read() (*packet, error) {
	first, err := l.r.ReadByte()
	if err != nil {
		return nil, err
	}
	n, err := binary.ReadUvarint(l.r) // the same encoding, up to four bytes of it
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(l.r, b); err != nil {
		return nil, err
	}
	p := &packet{kind: first >> 4, qos: first >> 1 & 3, dup: first&8 != 0, retain: first&1 != 0}
	switch p.kind {
	case rawmqtt.CONNACK:
		p.present, p.code = b[0]&1 != 0, b[1]
	case rawmqtt.PUBLISH:
		t := int(binary.BigEndian.Uint16(b))
		p.topic, b = string(b[2:2+t]), b[2+t:]
		if p.qos > 0 {
			p.id, b = binary.BigEndian.Uint16(b), b[2:]
		}
		if l.level == rawmqtt.V5 {
			v, k, _, err := rawmqtt.ReadVarint(b)
			if err != nil {
				return nil, err
			}
			b = b[k+v:]
		}
		p.payload = string(b)
	case rawmqtt.DISCONNECT:
		if len(b) > 0 {
			p.code = b[0]
		}
	case rawmqtt.SUBACK, rawmqtt.UNSUBACK:
		p.id = binary.BigEndian.Uint16(b)
		if l.level == rawmqtt.V5 || p.kind == rawmqtt.SUBACK {
			p.code = b[len(b)-1]
		}
	case rawmqtt.PINGRESP:
	default:
		p.id = binary.BigEndian.Uint16(b)
		if len(b) > 2 {
			p.code = b[2]
		}
	}
	return p, nil
}
