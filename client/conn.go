package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/midgemq/midge/client/internal/dial"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// Conn is one connection whose CONNECT the server has accepted: packets in, packets out, checked against the standard and against
// what the two sides announced. It keeps no session, answers nothing by itself and does not reconnect; Client does that on top of
// it.
//
// One goroutine at a time may read; any goroutine may write, Disconnect and Close.
type Conn struct {
	// Immutable after the handshake.
	nc     net.Conn
	v      mqtt.Version
	server dial.Server
	info   ConnectInfo
	limits limits
	maxIn  int // bytes; packets above it are a protocol error of the server

	// Owned by the reading goroutine.
	buf       []byte
	r, w      int
	aliases   []string // topic by alias; index 0 unused
	noProblem bool     // reason strings and user properties were declined

	// wmu orders writes and guards what follows.
	wmu     sync.Mutex
	goodbye bool // DISCONNECT has been written: nothing may follow [MQTT-3.14.4-1]
}

// limits are what the server announced in its CONNACK, with the standard's defaults where it was silent.
type limits struct {
	receiveMaximum int
	maxQoS         mqtt.QoS
	retain         bool
	maxPacket      int
	aliases        int
	wildcard       bool
	subIDs         bool
	shared         bool
	sessionExpiry  uint32
}

// ProtocolError says that the server broke the protocol. On a 5.0 connection it was told so with a DISCONNECT of this code.
type ProtocolError struct {
	Code mqtt.ReasonCode
	Err  error
}

// Error names the fault.
func (e *ProtocolError) Error() string { return "protocol error by the server: " + e.Err.Error() }

// Unwrap gives the fault, often a *packet.Error.
func (e *ProtocolError) Unwrap() error { return e.Err }

func violation(code mqtt.ReasonCode, format string, args ...any) error {
	return &ProtocolError{Code: code, Err: fmt.Errorf(format, args...)}
}

// DialConn connects to one server, the first of o.Servers, and waits for its CONNACK. Of the options those about the session's
// queue, handlers and reconnection have no effect.
func DialConn(ctx context.Context, o Options) (*Conn, error) {
	o, srv, err := o.first()
	if err != nil {
		return nil, err
	}
	return connect(ctx, srv, &o, attempt{version: orVersion(o.Version, mqtt.V5), clientID: o.ClientID, cleanStart: !o.Resume})
}

// NewConn sends CONNECT on a byte stream that the caller has opened and waits for the CONNACK. The stream is closed on error.
func NewConn(ctx context.Context, nc net.Conn, o Options) (*Conn, error) {
	o, err := o.withDefaults()
	if err != nil {
		nc.Close()
		return nil, err
	}
	a := attempt{version: orVersion(o.Version, mqtt.V5), clientID: o.ClientID, cleanStart: !o.Resume}
	return handshake(ctx, nc, dial.Server{URL: nc.RemoteAddr().String()}, &o, a)
}

func orVersion(v, other mqtt.Version) mqtt.Version {
	if v == 0 {
		return other
	}
	return v
}

// Info tells what the server said in its CONNACK.
func (c *Conn) Info() ConnectInfo { return c.info }

// parse returns the next packet that is in the buffer. ok is false when it is not there in full.
func (c *Conn) parse() (first byte, body []byte, ok bool, err error) {
	b := c.buf[c.r:c.w]
	first, remaining, n, err := packet.ParseHeader(b, c.v == mqtt.V5)
	if err == nil && n > 0 {
		err = packet.CheckFrame(c.v, first, remaining)
	}
	if err != nil {
		return 0, nil, false, decodeError(err)
	}
	if n == 0 {
		return 0, nil, false, nil
	}
	size := n + remaining
	if size > c.maxIn {
		return 0, nil, false, violation(mqtt.PacketTooLarge, "%v of %d bytes is above the limit of %d [5:3.1.2-24]", packet.Type(first>>4), size, c.maxIn)
	}
	if len(b) < size {
		return 0, nil, false, nil
	}
	c.r += size
	return first, b[n:size:size], true, nil
}

func decodeError(err error) error {
	if e, ok := errors.AsType[*packet.Error](err); ok {
		return &ProtocolError{Code: e.Code, Err: e}
	}
	return err
}

// Sizes of the read buffer: an idle connection keeps the small one; a full read doubles it, so that a busy one takes many packets
// with one system call. It grows further only for a packet that needs it, with what has arrived and not with what a length claims.
const (
	smallBuffer = 4 << 10
	busyBuffer  = 64 << 10
)

// fill reads more bytes. What parse returned before is overwritten.
func (c *Conn) fill() error {
	if c.r > 0 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	if c.w == len(c.buf) {
		c.buf = append(c.buf, make([]byte, max(len(c.buf), smallBuffer))...)
	} else if c.w == 0 && len(c.buf) > 4*busyBuffer {
		c.buf = make([]byte, busyBuffer)
	}
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	if c.w == len(c.buf) && len(c.buf) < busyBuffer {
		grown := make([]byte, busyBuffer)
		copy(grown, c.buf)
		c.buf = grown
	}
	if n > 0 {
		return nil
	}
	return err
}

// next waits for a packet. body is valid until the next call.
func (c *Conn) next() (first byte, body []byte, err error) {
	for {
		first, body, ok, err := c.parse()
		if ok || err != nil {
			return first, body, err
		}
		if err := c.fill(); err != nil {
			return 0, nil, err
		}
	}
}

// ReadPacket waits for the next packet. Its slices point into the connection's buffer and are valid until the next call. Topic
// aliases are resolved. The error is a *ProtocolError (the server has been told, the connection is closed), a *DisconnectError, or
// that of the network.
func (c *Conn) ReadPacket() (packet.Packet, error) {
	first, body, err := c.next()
	var p packet.Packet
	if err == nil {
		p, err = c.decode(first, body)
	}
	if err != nil {
		c.fail(err)
		return nil, err
	}
	return p, nil
}

// decode reads any packet and judges it as coming from a server.
func (c *Conn) decode(first byte, body []byte) (packet.Packet, error) {
	t := packet.Type(first >> 4)
	if !serverSends(t, c.v) {
		return nil, violation(mqtt.ProtocolError, "%v is not for a server to send now", t)
	}
	p, err := packet.Decode(c.v, first, body)
	if err != nil {
		return nil, decodeError(err)
	}
	switch p := p.(type) {
	case *packet.Publish:
		topic, err := c.resolve(p)
		if err != nil {
			return nil, err
		}
		p.Topic = topic
	case *packet.Disconnect:
		if err := packet.CheckRole(packet.DISCONNECT, true, p.Props.Set()); err != nil {
			return nil, decodeError(err)
		}
		return nil, &DisconnectError{Code: p.Code, Properties: p.Props.Parse()}
	case *packet.Ack:
		return p, c.checkProblem(t, p.Props)
	case *packet.Suback:
		return p, c.checkProblem(t, p.Props)
	case *packet.Unsuback:
		return p, c.checkProblem(t, p.Props)
	case *packet.Auth:
		return p, c.checkProblem(t, p.Props)
	}
	return p, nil
}

// serverSends lists what may come after CONNACK.
func serverSends(t packet.Type, v mqtt.Version) bool {
	switch t {
	case packet.PUBLISH, packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP, packet.SUBACK, packet.UNSUBACK, packet.PINGRESP:
		return true
	case packet.DISCONNECT, packet.AUTH:
		return v == mqtt.V5
	default: // a client sends the rest
	}
	return false
}

// checkProblem refuses reason strings and user properties that this side declined [U5-3.1.2.11.7-2].
func (c *Conn) checkProblem(t packet.Type, p packet.Props) error {
	if c.noProblem && len(p) > 0 && (p.Has(packet.PropReasonString) || p.Has(packet.PropUser)) {
		return violation(mqtt.ProtocolError, "%v has a reason string or user property although none was wanted [U5-3.1.2.11.7-2]", t)
	}
	return nil
}

// resolve returns the topic of a received PUBLISH by name or alias, and notes the alias [MQTT-3.3.2-10].
func (c *Conn) resolve(p *packet.Publish) ([]byte, error) {
	if !p.PropSet.Has(packet.PropTopicAlias) {
		return p.Topic, nil
	}
	n, _ := p.Props.Uint(packet.PropTopicAlias)
	if n == 0 || int(n) >= len(c.aliases) {
		return nil, violation(mqtt.TopicAliasInvalid, "topic alias %d, %d were offered [5:3.1.2-26]", n, max(len(c.aliases)-1, 0))
	}
	if len(p.Topic) > 0 {
		if c.aliases[n] != string(p.Topic) {
			c.aliases[n] = string(p.Topic)
		}
		return p.Topic, nil
	}
	if c.aliases[n] == "" {
		return nil, violation(mqtt.ProtocolError, "topic alias %d stands for no topic yet [U5-3.3.2.3.4-3]", n)
	}
	return []byte(c.aliases[n]), nil
}

// WritePacket sends packets in one write. Packets above the server's maximum size are refused with ErrPacketTooLarge, and nothing
// is sent.
func (c *Conn) WritePacket(packets ...packet.Packet) error {
	var b []byte
	for _, p := range packets {
		if n := p.Size(c.v); n > c.limits.maxPacket {
			return notSent("write "+p.Kind().String(), fmt.Errorf("%d bytes: %w", n, ErrPacketTooLarge))
		}
		b = p.Append(b, c.v)
	}
	return c.write(b, false)
}

// write sends encoded packets; last says that DISCONNECT is at their end.
func (c *Conn) write(b []byte, last bool) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.goodbye {
		return net.ErrClosed
	}
	c.goodbye = last
	if len(b) == 0 {
		return nil
	}
	_, err := c.nc.Write(b)
	return err
}

// Disconnect sends DISCONNECT and closes the connection [MQTT-3.14.4-2]. The properties are for 5.0 and left out before; they are
// left out too when they would make the packet larger than the server takes [MQTT-3.14.2-3]. A code other than
// NormalDisconnection has the server publish the will: 3.x has no code for that, there the connection is closed without DISCONNECT.
func (c *Conn) Disconnect(code mqtt.ReasonCode, properties *mqtt.Properties) error {
	if err := checkDisconnect(code, properties); err != nil {
		return err
	}
	c.nc.SetWriteDeadline(closeDeadline())
	err := c.write(c.appendDisconnect(nil, code, properties), true)
	return errors.Join(err, c.nc.Close())
}

func (c *Conn) appendDisconnect(b []byte, code mqtt.ReasonCode, properties *mqtt.Properties) []byte {
	if c.v != mqtt.V5 && code != mqtt.NormalDisconnection {
		return b
	}
	d := packet.Disconnect{Code: code, Props: packet.AppendProperties(nil, packet.DISCONNECT, properties)}
	if d.Size(c.v) > c.limits.maxPacket {
		d.Props = nil
		if properties != nil && properties.SessionExpiry != nil {
			d.Props = packet.AppendUint(nil, packet.PropSessionExpiry, *properties.SessionExpiry)
		}
	}
	return d.Append(b, c.v)
}

// closeDeadline is how long a goodbye may take: a peer that does not read must not hold up the end.
func closeDeadline() time.Time { return time.Now().Add(time.Second) }

// Close closes the connection without a DISCONNECT: the server publishes the will.
func (c *Conn) Close() error { return c.nc.Close() }

// fail ends the connection; a server that broke the protocol of 5.0 is told so first. Codes that only a server may send are
// replaced by Protocol Error [MQTT-3.14.2-1].
func (c *Conn) fail(err error) {
	if e, ok := errors.AsType[*ProtocolError](err); ok && c.v == mqtt.V5 {
		code := e.Code
		if !packet.CodeAllowed(packet.DISCONNECT, false, code) {
			code = mqtt.ProtocolError
		}
		c.Disconnect(code, nil)
		return
	}
	c.nc.Close()
}

// checkDisconnect judges a DISCONNECT that the program asks for.
func checkDisconnect(code mqtt.ReasonCode, p *mqtt.Properties) error {
	if !packet.CodeAllowed(packet.DISCONNECT, false, code) {
		return fmt.Errorf("disconnect: %v is not for a client to send [MQTT-3.14.2-1]", code)
	}
	if p != nil && p.ServerReference != "" {
		return errors.New("disconnect: a client sends no server reference")
	}
	return packet.CheckProperties(packet.DISCONNECT, p)
}
