package mini

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// reconnectWait is the time between attempts once a connection was lost.
const reconnectWait = time.Second

// Sub is `midge sub`: it returns the exit status.
func Sub(e *Env, args []string) int {
	o, status, done := begin(e, inSub, args)
	if done {
		return status
	}
	s := &subscriber{env: e, o: o, signals: make(chan os.Signal, 1)}
	signal.Notify(s.signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(s.signals)
	if o.timeout > 0 {
		t := time.NewTimer(o.timeout)
		defer t.Stop()
		s.timeout = t.C
	}
	return s.run()
}

// subscriber prints messages over one connection after the other. Its fields
// belong to the goroutine of run.
type subscriber struct {
	env     *Env
	o       *options
	conn    *conn
	signals chan os.Signal
	timeout <-chan time.Time

	greeted bool // a CONNACK was received at least once
	count   int
	halfway map[uint16]*packet.Publish // QoS 2 between PUBLISH and PUBREL
	subID   uint16                     // of the SUBSCRIBE without SUBACK
}

// run connects until something ends the program. Only the first connection may
// fail for good.
func (s *subscriber) run() int {
	for first := true; ; first = false {
		c, err := dial(s.o, s.env.Stdout)
		if err == nil {
			s.conn, s.halfway = c, make(map[uint16]*packet.Publish)
			status, done := s.serve()
			if done {
				return status
			}
			first = false
		} else if first {
			complain(s.env, s.o, connectError(err))
			return exitFailed
		}
		select {
		case <-time.After(reconnectWait):
		case <-s.signals:
			return exitOK
		case <-s.timeout:
			return s.timedOut()
		}
	}
}

func (s *subscriber) timedOut() int {
	complain(s.env, s.o, "Timed out")
	if !s.greeted {
		return exitNoConnack
	}
	return exitTimeout
}

// serve runs one connection; done is false when it was lost and another one is
// to be tried.
func (s *subscriber) serve() (status int, done bool) {
	c := s.conn
	start := time.Now()
	for {
		wait := c.untilPing(time.Now())
		if c.connack == nil {
			wait = max(connackTime-time.Since(start), time.Millisecond)
		}
		var ping <-chan time.Time
		if wait > 0 {
			ping = time.After(wait)
		}
		select {
		case in, ok := <-c.in:
			if !ok {
				return s.lost(c.err)
			}
			if status, done := s.packet(in); done {
				return status, true
			}
		case now := <-ping:
			if c.connack == nil {
				return s.lost(errKeepAlive)
			}
			if err := c.keepPing(now); err != nil {
				return s.lost(err)
			}
		case <-s.signals:
			return s.interrupted()
		case <-s.timeout:
			c.disconnect(mqtt.Success)
			return s.timedOut(), true
		}
	}
}

// interrupted ends by a signal: the will is sent, with MQTT 5.
func (s *subscriber) interrupted() (int, bool) {
	if s.conn.connack == nil {
		s.conn.close()
		return exitNoConnack, true
	}
	s.conn.disconnect(mqtt.DisconnectWithWill)
	return exitOK, true
}

func (s *subscriber) lost(err error) (int, bool) {
	s.conn.close()
	if !s.greeted {
		complain(s.env, s.o, "Error: "+lostText(err))
		return exitFailed, true
	}
	return 0, false
}

func (s *subscriber) packet(in packet.Packet) (status int, done bool) {
	c := s.conn
	switch in := in.(type) {
	case *packet.Connack:
		if text, status := c.accepted(in); status != exitOK {
			complain(s.env, s.o, text)
			c.close()
			return status, true
		}
		s.greeted = true
		if err := s.subscribe(); err != nil {
			return s.lost(err)
		}
	case *packet.Suback:
		return s.subscribed(in)
	case *packet.Publish:
		return s.publish(in)
	case *packet.Ack:
		return s.released(in)
	case *packet.Pingresp:
		c.debugf("Client %s received PINGRESP", c.id())
		c.pinged = time.Time{}
	case *packet.Disconnect:
		c.debugf("Received DISCONNECT (%d)", in.Code)
	}
	return 0, false
}

func (s *subscriber) subscribe() error {
	c := s.conn
	p := &packet.Subscribe{PacketID: c.newID()}
	var handling byte
	if s.o.noRetained && s.o.version == mqtt.V5 {
		handling = 2
	}
	opts := packet.MakeSubOptions(s.o.qos, false, false, handling)
	for _, t := range s.o.topics {
		p.AddFilter(t, opts)
		c.debugf("Client %s sending SUBSCRIBE (Mid: %d, Topic: %s, QoS: %d, Options: 0x%02x)", c.id(), p.PacketID, t, s.o.qos, handling<<4)
	}
	s.subID = p.PacketID
	return c.send(p)
}

func (s *subscriber) subscribed(p *packet.Suback) (int, bool) {
	c := s.conn
	c.debugf("Client %s received SUBACK", c.id())
	if p.PacketID != s.subID {
		return 0, false
	}
	granted := false
	codes := make([]string, len(p.Codes))
	for i, code := range p.Codes {
		codes[i] = strconv.Itoa(int(code))
		granted = granted || code < 0x80
	}
	c.debugf("Subscribed (mid: %d): %s", p.PacketID, strings.Join(codes, ", "))
	if !granted {
		complain(s.env, s.o, "All subscription requests were denied.")
	}
	if !granted || s.o.exitAfter {
		c.disconnect(mqtt.Success)
		return exitOK, true
	}
	return 0, false
}

// publish acknowledges and prints; QoS 2 is printed once, at PUBREL.
func (s *subscriber) publish(p *packet.Publish) (int, bool) {
	c := s.conn
	c.debugf("Client %s received PUBLISH (d%d, q%d, r%d, m%d, '%s', ... (%d bytes))",
		c.id(), bit(p.Dup), p.QoS, bit(p.Retain), p.PacketID, p.Topic, len(p.Payload))
	switch p.QoS {
	case mqtt.AtLeastOnce:
		c.debugf("Client %s sending PUBACK (m%d, rc%d)", c.id(), p.PacketID, 0)
		if err := c.send(&packet.Ack{Type: packet.PUBACK, PacketID: p.PacketID}); err != nil {
			return s.lost(err)
		}
	case mqtt.ExactlyOnce:
		s.halfway[p.PacketID] = p
		c.debugf("Client %s sending PUBREC (m%d, rc%d)", c.id(), p.PacketID, 0)
		if err := c.send(&packet.Ack{Type: packet.PUBREC, PacketID: p.PacketID}); err != nil {
			return s.lost(err)
		}
		return 0, false
	case mqtt.AtMostOnce:
	}
	return s.print(p)
}

func (s *subscriber) released(a *packet.Ack) (int, bool) {
	c := s.conn
	if a.Type != packet.PUBREL {
		return 0, false
	}
	c.debugf("Client %s received PUBREL (Mid: %d)", c.id(), a.PacketID)
	c.debugf("Client %s sending PUBCOMP (m%d)", c.id(), a.PacketID)
	if err := c.send(&packet.Ack{Type: packet.PUBCOMP, PacketID: a.PacketID}); err != nil {
		return s.lost(err)
	}
	p := s.halfway[a.PacketID]
	delete(s.halfway, a.PacketID)
	if p == nil {
		return 0, false
	}
	return s.print(p)
}

// print writes one message in one piece. An output that takes nothing more
// ends the program.
func (s *subscriber) print(p *packet.Publish) (int, bool) {
	topic := string(p.Topic)
	if s.o.noRetained && p.Retain || s.left(topic) {
		return 0, false
	}
	var out []byte
	switch {
	case s.o.verbose && len(p.Payload) > 0:
		out = fmt.Appendf(nil, "%s %s", topic, p.Payload)
	case s.o.verbose && !s.o.noNewline:
		out = fmt.Appendf(nil, "%s (null)", topic)
	default:
		out = append(out, p.Payload...)
	}
	if len(out) > 0 && !s.o.noNewline {
		out = append(out, '\n')
	}
	if _, err := s.env.Stdout.Write(out); err != nil {
		s.conn.disconnect(mqtt.Success)
		return exitFailed, true
	}
	s.count++
	if s.o.count > 0 && s.count >= s.o.count {
		s.conn.disconnect(mqtt.Success)
		return exitOK, true
	}
	return 0, false
}

// left reports whether -T leaves the topic out.
func (s *subscriber) left(topic string) bool {
	for _, f := range s.o.filterOut {
		if mqtt.Match(f, topic) {
			return true
		}
	}
	return false
}
