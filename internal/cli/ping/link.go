package ping

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/internal/cli/reach"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// link is a connection that is subscribed to the topic of the probes.
type link struct {
	o             *options
	conn          *client.Conn
	tap           *reach.Tap
	stop          func() bool
	address       string
	version       mqtt.Version
	keepAlive     time.Duration
	subscribeTime time.Duration
	nextID        uint16
}

// open connects and subscribes. An error of the way there is a *reach.StepError.
func open(ctx context.Context, o *options) (*link, reach.Times, error) {
	conn, tap, t, err := o.conn.Conn(ctx, nil)
	if err != nil {
		return nil, t, err
	}
	l := &link{o: o, conn: conn, tap: tap, address: t.Address, version: conn.Info().Version, keepAlive: conn.Info().KeepAlive}
	l.stop = context.AfterFunc(ctx, func() { tap.SetDeadline(time.Unix(1, 0)) })
	begin := time.Now()
	if err := l.subscribe(); err != nil {
		conn.Close()
		return nil, t, err
	}
	l.subscribeTime = time.Since(begin)
	return l, t, nil
}

func (l *link) close() {
	l.stop()
	l.conn.Disconnect(mqtt.NormalDisconnection, nil)
}

func (l *link) id() uint16 {
	l.nextID++
	if l.nextID == 0 {
		l.nextID = 1
	}
	return l.nextID
}

func (l *link) deadline() { l.tap.SetReadDeadline(time.Now().Add(l.o.conn.Timeout)) }

func (l *link) subscribe() error {
	q := mqtt.AtMostOnce
	for _, other := range l.o.qos {
		q = max(q, other)
	}
	l.deadline()
	s := &packet.Subscribe{PacketID: l.id()}
	s.AddFilter(l.o.topic, packet.MakeSubOptions(q, false, false, 0))
	if err := l.conn.WritePacket(s); err != nil {
		return err
	}
	for {
		p, err := l.conn.ReadPacket()
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", l.o.topic, l.reason(err))
		}
		a, ok := p.(*packet.Suback)
		if !ok {
			continue // messages of others on this topic
		}
		if len(a.Codes) == 1 && a.Codes[0] >= 0x80 {
			return fmt.Errorf("subscribe to %s refused: %v", l.o.topic, mqtt.ReasonCode(a.Codes[0]))
		}
		return nil
	}
}

// reason words the end of the time as what it means here.
func (l *link) reason(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no answer within %v", l.o.conn.Timeout)
	}
	return err
}

// roundTrip publishes a message and waits until it has come back and all handshakes are done. ack is 0 with QoS 0.
func (l *link) roundTrip(q mqtt.QoS, payload []byte) (trip, ack time.Duration, err error) {
	l.deadline()
	out := &packet.Publish{QoS: q, Topic: []byte(l.o.topic), Payload: payload}
	if q > 0 {
		out.PacketID = l.id()
	}
	begin := time.Now()
	if err := l.conn.WritePacket(out); err != nil {
		return 0, 0, err
	}
	var back uint16 // of the delivery under way with QoS 2
	for trip == 0 || q > 0 && ack == 0 || back != 0 {
		p, err := l.conn.ReadPacket()
		if err != nil {
			return 0, 0, l.reason(err)
		}
		switch p := p.(type) {
		case *packet.Publish:
			if bytes.Equal(p.Payload, payload) && trip == 0 {
				trip = time.Since(begin)
				if p.QoS == mqtt.ExactlyOnce {
					back = p.PacketID
				}
			}
			err = l.answer(p)
		case *packet.Ack:
			if p.Code.IsError() {
				return 0, 0, fmt.Errorf("publish to %s refused: %v", l.o.topic, p.Code)
			}
			switch p.Type {
			case packet.PUBACK, packet.PUBCOMP:
				ack = time.Since(begin)
			case packet.PUBREC:
				err = l.conn.WritePacket(&packet.Ack{Type: packet.PUBREL, PacketID: p.PacketID})
			case packet.PUBREL:
				err = l.conn.WritePacket(&packet.Ack{Type: packet.PUBCOMP, PacketID: p.PacketID})
				if p.PacketID == back {
					back = 0
				}
			default: // no other type is decoded into an Ack
			}
		default: // a late PINGRESP
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return trip, ack, nil
}

// answer acknowledges a delivery, of a probe or of somebody else's message.
func (l *link) answer(p *packet.Publish) error {
	switch p.QoS {
	case mqtt.AtLeastOnce:
		return l.conn.WritePacket(&packet.Ack{Type: packet.PUBACK, PacketID: p.PacketID})
	case mqtt.ExactlyOnce:
		return l.conn.WritePacket(&packet.Ack{Type: packet.PUBREC, PacketID: p.PacketID})
	default:
		return nil
	}
}

// ping sends PINGREQ and waits for its answer.
func (l *link) ping() (time.Duration, error) {
	l.deadline()
	begin := time.Now()
	if err := l.conn.WritePacket(&packet.Pingreq{}); err != nil {
		return 0, err
	}
	for {
		p, err := l.conn.ReadPacket()
		if err != nil {
			return 0, l.reason(err)
		}
		switch p := p.(type) {
		case *packet.Pingresp:
			return time.Since(begin), nil
		case *packet.Publish:
			if err := l.answer(p); err != nil {
				return 0, err
			}
		case *packet.Ack:
			if p.Type == packet.PUBREL {
				if err := l.conn.WritePacket(&packet.Ack{Type: packet.PUBCOMP, PacketID: p.PacketID}); err != nil {
					return 0, err
				}
			}
		}
	}
}
