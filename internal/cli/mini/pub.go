package mini

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// maxPayload is the longest payload in bytes, the protocol's limit.
const maxPayload = mqtt.MaxVarint

// errDone says that no message follows.
var errDone = errors.New("no more messages")

// Pub is `midge pub`: it returns the exit status.
func Pub(e *Env, args []string) int {
	o, status, done := begin(e, inPub, args)
	if done {
		return status
	}
	p := &publisher{env: e, o: o, messages: make(chan message), waiting: make(map[uint16]mqtt.QoS)}
	next, err := p.openSource()
	if err != nil {
		complain(e, o, err.Error())
		return exitFailed
	}
	c, err := dial(o, e.Stdout)
	if err != nil {
		complain(e, o, connectError(err))
		return exitFailed
	}
	p.conn = c
	stop := make(chan struct{})
	defer close(stop)
	p.feed = func() { go feed(next, p.messages, stop) }
	return p.run()
}

// message is what the source goroutine hands over; err ends the source.
type message struct {
	payload []byte
	err     error
}

// publisher sends the messages and waits for their acknowledgements. Its
// fields belong to the goroutine of run.
type publisher struct {
	env      *Env
	o        *options
	conn     *conn
	messages chan message
	feed     func()
	started  bool
	ended    bool // the source is empty
	waiting  map[uint16]mqtt.QoS
}

// openSource returns the function that yields the messages; it may block and
// is called by the source goroutine alone.
func (p *publisher) openSource() (func() ([]byte, error), error) {
	var payload []byte
	var err error
	switch p.o.source {
	case fromLines:
		return p.lines(), nil
	case fromArgument:
		payload = []byte(p.o.message)
	case fromFile:
		payload, err = readPayloadFile(p.o.message)
	case fromStdin:
		if payload, err = readPayload(p.env.Stdin); err != nil {
			err = fmt.Errorf("Error loading input from stdin: %w", err)
		} else if len(payload) == 0 {
			err = usageError("Zero length input.")
		}
	case fromNull, fromNowhere:
	}
	if err != nil {
		return nil, err
	}
	left := p.o.repeat
	return func() ([]byte, error) {
		if left == 0 {
			return nil, errDone
		}
		if left != p.o.repeat && p.o.delay > 0 {
			time.Sleep(p.o.delay)
		}
		left--
		return payload, nil
	}, nil
}

func readPayload(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxPayload+1))
	if err == nil && len(b) > maxPayload {
		err = fmt.Errorf("longer than %d bytes", maxPayload)
	}
	return b, err
}

func readPayloadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usagef("Unable to open file \"%s\".\nError loading input file \"%s\".", path, path)
	}
	defer f.Close()
	b, err := readPayload(f)
	if err != nil {
		return nil, fmt.Errorf("Error loading input file \"%s\": %w", path, err)
	}
	return b, nil
}

// lines yields the lines of stdin: the line feed is taken off, a carriage
// return stays, a NUL byte cuts the line, a last line without line feed counts.
func (p *publisher) lines() func() ([]byte, error) {
	in := bufio.NewReader(p.env.Stdin)
	return func() ([]byte, error) {
		line, err := in.ReadBytes('\n')
		if err != nil && len(line) == 0 {
			if errors.Is(err, io.EOF) {
				return nil, errDone
			}
			return nil, fmt.Errorf("Error loading input from stdin: %w", err)
		}
		line = bytes.TrimSuffix(line, []byte{'\n'})
		if i := bytes.IndexByte(line, 0); i >= 0 {
			line = line[:i]
		}
		return line, nil
	}
}

func feed(next func() ([]byte, error), to chan<- message, stop <-chan struct{}) {
	for {
		payload, err := next()
		select {
		case to <- message{payload, err}:
		case <-stop:
			return
		}
		if err != nil {
			return
		}
	}
}

// run waits for packets and messages until everything is acknowledged.
func (p *publisher) run() int {
	c := p.conn
	start := time.Now()
	for {
		var messages chan message
		if p.mayTake() {
			messages = p.messages
		}
		var ping <-chan time.Time
		if d := c.untilPing(time.Now()); d > 0 && c.connack != nil {
			ping = time.After(d)
		} else if c.connack == nil {
			ping = time.After(max(connackTime-time.Since(start), time.Millisecond))
		}
		var status int
		var done bool
		select {
		case in, ok := <-c.in:
			if !ok {
				return p.fail(c.err)
			}
			status, done = p.packet(in)
		case m := <-messages:
			status, done = p.message(m)
		case now := <-ping:
			if c.connack == nil {
				return p.fail(errKeepAlive)
			}
			if err := c.keepPing(now); err != nil {
				return p.fail(err)
			}
		}
		if done {
			return status
		}
	}
}

// mayTake reports whether another message may be sent. With --repeat the next
// one waits for the acknowledgement of the one before.
func (p *publisher) mayTake() bool {
	if !p.started || p.ended {
		return false
	}
	if p.o.source != fromLines {
		return len(p.waiting) == 0
	}
	return len(p.waiting) < min(p.o.inflight, p.conn.window)
}

func (p *publisher) fail(err error) int {
	p.conn.close()
	complain(p.env, p.o, "Error: "+lostText(err))
	if p.conn.connack == nil {
		return exitFailed
	}
	return lostStatus(err)
}

// finish ends in order when nothing is left to do.
func (p *publisher) finish() (int, bool) {
	if !p.ended || len(p.waiting) > 0 {
		return 0, false
	}
	p.conn.disconnect(mqtt.Success)
	return exitOK, true
}

func (p *publisher) message(m message) (status int, done bool) {
	if m.err != nil {
		p.ended = true
		if !errors.Is(m.err, errDone) {
			complain(p.env, p.o, m.err.Error())
			p.conn.disconnect(mqtt.Success)
			return exitFailed, true
		}
		return p.finish()
	}
	if wrong := p.tooMuch(m.payload); wrong != "" {
		complain(p.env, p.o, wrong)
		p.conn.disconnect(mqtt.Success)
		return exitFailed, true
	}
	pb := &packet.Publish{QoS: p.o.qos, Retain: p.o.retain, Topic: []byte(p.o.topics[0]), Payload: m.payload}
	if pb.QoS > mqtt.AtMostOnce {
		pb.PacketID = p.conn.newID()
		p.waiting[pb.PacketID] = pb.QoS
	}
	p.conn.debugf("Client %s sending PUBLISH (d0, q%d, r%d, m%d, '%s', ... (%d bytes))",
		p.conn.id(), pb.QoS, bit(pb.Retain), pb.PacketID, pb.Topic, len(pb.Payload))
	if err := p.conn.send(pb); err != nil {
		return p.fail(err), true
	}
	return 0, false
}

// tooMuch says why the broker would close the connection over a message of
// this length, from what its CONNACK told; empty means that it fits.
func (p *publisher) tooMuch(payload []byte) string {
	props := p.conn.connack.Props
	if q, ok := props.Uint(packet.PropMaximumQoS); ok && byte(p.o.qos) > byte(q) {
		return "Error: Message QoS not supported on broker, try a lower QoS."
	}
	if r, ok := props.Uint(packet.PropRetainAvailable); ok && r == 0 && p.o.retain {
		return "Error: Retained messages are not supported by the broker."
	}
	size := packet.PublishSize(p.o.version, len(p.o.topics[0]), p.o.qos, 0, len(payload))
	if limit, ok := props.Uint(packet.PropMaximumPacketSize); ok && size > int(limit) {
		return fmt.Sprintf("Error: Message payload is too large, the broker takes packets of %d bytes.", limit)
	}
	return ""
}

func (p *publisher) packet(in packet.Packet) (status int, done bool) {
	c := p.conn
	switch in := in.(type) {
	case *packet.Connack:
		if text, status := c.accepted(in); status != exitOK {
			complain(p.env, p.o, text)
			c.close()
			return status, true
		}
		if !p.started {
			p.started = true
			p.feed()
		}
	case *packet.Ack:
		return p.acknowledged(in)
	case *packet.Pingresp:
		c.debugf("Client %s received PINGRESP", c.id())
		c.pinged = time.Time{}
	case *packet.Disconnect:
		c.debugf("Received DISCONNECT (%d)", in.Code)
		c.close()
		complain(p.env, p.o, "Error: The broker disconnected: "+in.Code.String()+".")
		return int(in.Code), true
	}
	return 0, false
}

func (p *publisher) acknowledged(a *packet.Ack) (status int, done bool) {
	c := p.conn
	if a.Type == packet.PUBREC {
		c.debugf("Client %s received PUBREC (Mid: %d)", c.id(), a.PacketID)
	} else {
		c.debugf("Client %s received %s (Mid: %d, RC:%d)", c.id(), a.Type, a.PacketID, a.Code)
	}
	if _, ours := p.waiting[a.PacketID]; !ours {
		return 0, false
	}
	if a.Code.IsError() {
		complain(p.env, p.o, fmt.Sprintf("Warning: Publish %d failed: %s.", a.PacketID, a.Code))
		if text, ok := a.Props.Bytes(packet.PropReasonString); ok {
			complain(p.env, p.o, string(text))
		}
	} else if a.Type == packet.PUBREC {
		c.debugf("Client %s sending PUBREL (m%d)", c.id(), a.PacketID)
		if err := c.send(&packet.Ack{Type: packet.PUBREL, PacketID: a.PacketID}); err != nil {
			return p.fail(err), true
		}
		return 0, false
	}
	delete(p.waiting, a.PacketID)
	return p.finish()
}
