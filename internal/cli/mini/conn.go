package mini

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// Exit statuses, Mosquitto's library error numbers.
const (
	exitOK        = 0
	exitFailed    = 1
	exitProtocol  = 2
	exitLost      = 7
	exitKeepAlive = 19
	exitTimeout   = 27
	exitNoConnack = 255
)

// dialTime bounds the TCP handshake, connackTime the wait for CONNACK.
const (
	dialTime    = 30 * time.Second
	connackTime = 30 * time.Second
)

// conn is one network connection after its CONNECT. The goroutine that made it
// writes; a second one reads packets into in, which it closes with the reason
// in err.
type conn struct {
	o    *options
	net  net.Conn
	out  []byte
	in   chan packet.Packet
	stop chan struct{} // closed by close: the reader has no taker any more
	err  error         // valid once in is closed

	connack   *packet.Connack
	keepAlive time.Duration // 0 means none
	window    int           // QoS 1 and 2 that the broker takes at once
	pinged    time.Time     // of a PINGREQ without answer
	lastSent  time.Time
	nextID    uint16
	debug     io.Writer // nil without -d
}

// dial opens the connection and sends CONNECT; the CONNACK is read by the
// caller's loop through in, as any packet.
func dial(o *options, debug io.Writer) (*conn, error) {
	d := net.Dialer{Timeout: dialTime}
	if o.bind != "" {
		ip := net.ParseIP(o.bind)
		if ip == nil {
			return nil, fmt.Errorf("bind address %s is no IP address", o.bind)
		}
		d.LocalAddr = &net.TCPAddr{IP: ip}
	}
	network, address := "tcp", net.JoinHostPort(o.host, strconv.Itoa(o.port))
	if o.unix != "" {
		network, address = "unix", o.unix
	}
	n, err := d.Dial(network, address)
	if err != nil {
		return nil, err
	}
	c := &conn{
		o: o, net: n, in: make(chan packet.Packet), stop: make(chan struct{}), window: 65535,
		keepAlive: time.Duration(o.keepAlive) * time.Second,
	}
	if o.debug {
		c.debug = debug
	}
	if o.version == mqtt.V31 && o.clientID == "" {
		o.clientID = "mosq-" + rand.Text()[:18]
	}
	c.debugf("Client %s sending CONNECT", c.id())
	if err := c.send(c.connectPacket()); err != nil {
		n.Close()
		return nil, err
	}
	go c.read()
	return c, nil
}

func (c *conn) connectPacket() *packet.Connect {
	o := c.o
	p := &packet.Connect{Version: o.version, CleanStart: !o.persistent, KeepAlive: o.keepAlive, ClientID: []byte(o.clientID)}
	if o.version == mqtt.V5 {
		var props mqtt.Properties
		if o.persistent {
			never := uint32(1<<32 - 1)
			props.SessionExpiry = &never
		}
		if o.count > 0 && o.count < 20 {
			props.ReceiveMaximum = uint16(o.count)
		}
		p.Props = packet.AppendProperties(nil, packet.CONNECT, &props)
	}
	if o.user != nil {
		p.HasUserName, p.UserName = true, []byte(*o.user)
	}
	if o.password != nil {
		p.HasPassword, p.Password = true, []byte(*o.password)
	}
	if o.will {
		p.WillFlag, p.WillTopic, p.WillQoS, p.WillRetain = true, []byte(o.willTopic), o.willQoS, o.willRetain
		if o.willPayload != nil {
			p.WillPayload = []byte(*o.willPayload)
		}
	}
	return p
}

// id is the client id in debug lines.
func (c *conn) id() string {
	if c.o.clientID == "" {
		return "null"
	}
	return c.o.clientID
}

func (c *conn) debugf(format string, args ...any) {
	if c.debug != nil {
		fmt.Fprintf(c.debug, format+"\n", args...)
	}
}

func (c *conn) send(p packet.Packet) error {
	c.out = p.Append(c.out[:0], c.o.version)
	if _, err := c.net.Write(c.out); err != nil {
		return err
	}
	c.lastSent = time.Now()
	return nil
}

// read is the reading goroutine.
func (c *conn) read() {
	in := bufio.NewReader(c.net)
	for {
		p, err := readPacket(in, c.o.version)
		if err != nil {
			c.err = err
			close(c.in)
			return
		}
		select {
		case c.in <- p:
		case <-c.stop:
			c.err = net.ErrClosed
			close(c.in)
			return
		}
	}
}

// readPacket reads one packet into memory of its own.
func readPacket(in *bufio.Reader, v mqtt.Version) (packet.Packet, error) {
	var head []byte
	for {
		b, err := in.ReadByte()
		if err != nil {
			if len(head) > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		head = append(head, b)
		first, remaining, n, err := packet.ParseHeader(head, v == mqtt.V5)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			continue
		}
		// Grown as bytes arrive: the length may be a lie.
		body, err := io.ReadAll(io.LimitReader(in, int64(remaining)))
		if err != nil {
			return nil, err
		}
		if len(body) < remaining {
			return nil, io.ErrUnexpectedEOF
		}
		return packet.Decode(v, first, body)
	}
}

// close ends the connection and waits for the reader.
func (c *conn) close() {
	c.net.Close()
	close(c.stop)
	for range c.in {
		continue // drained so that the reader can end
	}
}

// disconnect sends DISCONNECT and closes.
func (c *conn) disconnect(code mqtt.ReasonCode) {
	c.debugf("Client %s sending DISCONNECT", c.id())
	_ = c.send(&packet.Disconnect{Code: code})
	c.close()
}

// accepted takes note of a CONNACK. When the broker refused, text is what to
// tell and status the exit status.
func (c *conn) accepted(p *packet.Connack) (text string, status int) {
	c.debugf("Client %s received CONNACK (%d)", c.id(), p.Code)
	c.connack = p
	if p.Code != 0 {
		return refusal(c.o.version, p.Code), int(p.Code)
	}
	if n, ok := p.Props.Uint(packet.PropServerKeepAlive); ok {
		c.keepAlive = time.Duration(n) * time.Second
	}
	if n, ok := p.Props.Uint(packet.PropReceiveMaximum); ok {
		c.window = int(n)
	}
	return "", exitOK
}

// refusal is the text for a CONNACK that refuses.
func refusal(v mqtt.Version, code byte) string {
	if v == mqtt.V5 {
		text := "Connection error: " + mqtt.ReasonCode(code).String()
		if mqtt.ReasonCode(code) == mqtt.UnsupportedProtocolVersion {
			return text + ". Try connecting to an MQTT v5 broker, or use MQTT v3.x mode."
		}
		return text
	}
	why := "unknown reason"
	if reasons := []string{
		1: "unacceptable protocol version", 2: "identifier rejected", 3: "broker unavailable",
		4: "bad user name or password", 5: "not authorised",
	}; int(code) < len(reasons) {
		why = reasons[code]
	}
	return "Connection error: Connection Refused: " + why + "."
}

// untilPing is how long until keepPing has something to do; 0 means never.
func (c *conn) untilPing(now time.Time) time.Duration {
	if c.keepAlive == 0 {
		return 0
	}
	from := c.lastSent
	if !c.pinged.IsZero() {
		from = c.pinged
	}
	return max(c.keepAlive-now.Sub(from), time.Millisecond)
}

// errKeepAlive says that a PINGREQ was not answered within the keep-alive.
var errKeepAlive = errors.New("keepalive exceeded")

// keepPing sends PINGREQ when it is time for it.
func (c *conn) keepPing(now time.Time) error {
	switch {
	case c.keepAlive == 0:
		return nil
	case !c.pinged.IsZero():
		if now.Sub(c.pinged) >= c.keepAlive {
			return errKeepAlive
		}
		return nil
	case now.Sub(c.lastSent) < c.keepAlive:
		return nil
	}
	c.debugf("Client %s sending PINGREQ", c.id())
	if err := c.send(&packet.Pingreq{}); err != nil {
		return err
	}
	c.pinged = now
	return nil
}

// newID gives the next packet identifier, 1 to 65535.
func (c *conn) newID() uint16 {
	if c.nextID++; c.nextID == 0 {
		c.nextID = 1
	}
	return c.nextID
}

// connectError is the line about a connection that could not be opened.
func connectError(err error) string {
	if d, ok := errors.AsType[*net.DNSError](err); ok && d.IsNotFound {
		return "Unable to connect (Lookup error)."
	}
	return "Error: " + systemText(err)
}

// systemText is the system's words for an error, as C programs print them.
func systemText(err error) string {
	text := err.Error()
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		text = e.Error()
	}
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// lostText says why an established connection ended.
func lostText(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "The connection was lost."
	}
	return systemText(err)
}

// lostStatus is the exit status for it.
func lostStatus(err error) int {
	if errors.Is(err, errKeepAlive) {
		return exitKeepAlive
	}
	if _, ok := errors.AsType[*packet.Error](err); ok {
		return exitProtocol
	}
	return exitLost
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
