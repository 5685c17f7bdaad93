// Package conn is one network connection between bytes and packets: it finds
// frames in what was read, resolves topic aliases, hands packets to the hub,
// encodes what goes out and gathers it for one write per batch, and keeps the
// limits of time and bytes.
//
// It does no system call: the loop reads and writes through Socket. A Conn
// belongs to the loop of its shard and must not be touched from elsewhere; a
// move to another loop hands it over whole.
package conn

import (
	"errors"
	"syscall"

	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/session"
	"github.com/midgemq/midge/internal/wsproto"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// Limits of a connection, each with what it protects from.
const (
	// lingerTime is how long a connection that the broker ended may take to read
	// the last packet and close its side.
	lingerTime = 2 * record.Second
	// flushAt is how much output makes a write due before the batch ends, so that
	// one busy subscriber does not gather a whole fan-in.
	flushAt = 256 << 10
	// byReference is the frame size from which output refers to the shared copy.
	byReference = 16 << 10
	// shareBlocked is the same for a connection whose socket takes nothing: what it
	// is given stays for a while, and many like it hold one copy between them.
	shareBlocked = 4096
	// roomBelow is how much may wait for bulk deliveries to go on.
	roomBelow = 64 << 10
)

// Socket is the loop's side of a connection.
type Socket interface {
	// Write writes what the socket takes now; n less than the sum and no error:
	// it would block, and Writable follows when it does not.
	Write(bufs [][]byte) (n int, err error)
	// Dirty asks for Flush at the end of the batch.
	Dirty()
	// Pause stops reading, Resume starts it again.
	Pause()
	Resume()
	// CloseWrite ends the outgoing direction, Close both.
	CloseWrite()
	Close()
	// Move hands the connection to the loop of another shard, which calls then. It
	// calls Rehome when it lets go.
	Move(to *hub.Shard, then func(*Env))
}

type state uint8

const (
	stConnect  state = iota // nothing accepted yet
	stAuth                  // an authenticator or another loop has it; input waits
	stExchange              // enhanced authentication: AUTH is awaited
	stOpen                  // CONNACK 0 is out
	stClosing               // the last packet is being written
	stLinger                // written; the peer's close is awaited
	stClosed
)

// Conn is one connection. What a delivery reads and writes is in its first 64
// bytes, see hub.Client, and in buffers that the loop has just used for another.
// It is 128 bytes long: an idle connection costs little else.
type Conn struct {
	// owned by the loop, but for sock and listener, which are immutable
	sock    Socket
	env     *Env
	client  *hub.Client
	buf     *buffers // nil when nothing waits, in either direction
	layered bool     // ext.layer stands between the socket and MQTT
	state   state
	dirty   bool
	blocked bool        // the socket took less than it was given
	paused  bool        // not read from
	last    packet.Type // of the last packet received, 0 for none
	version mqtt.Version
	poked   bool   // paused by its own full output
	maxIn   uint32 // bytes of a packet that the client was told it may send, 0: no limit
	place   uint32 // where it waits to be admitted, if it does

	listener *hub.Listener
	ext      *ext
	gate     *gate
	lastIn   record.Instant
	timerAt  record.Instant
	keep     uint16 // seconds, in force
	origin   origin
	waits    bool // for admission
	held     bool // paused because the hub does not take its first packet yet
	// overlong: the length of the packet at hand was not written in the shortest
	// form, which 5.0 forbids and CONNECT alone cannot know in time.
	overlong bool
	moving   bool // not read from, as it is about to change its loop
}

// ext is what only some MQTT 5 connections need.
type ext struct {
	aliasIn   []string
	aliasOut  map[string]uint16
	maxOut    uint16
	maxPacket uint32
	noProblem bool
	method    string
	admission *hub.Admission
	reauth    bool // a re-authentication is under way
	asked     bool // the last AUTH was ours, so an answer is due
	peer      *wsproto.Peer
	address   string // where the address is none of IP
	layer     wsproto.Layer
	stalled   record.Instant // since when the first packet has been offered to the hub, see stall; 0: none is
}

// New makes a connection that has just been accepted, which has the settings
// now in force for its listener to its end; layer is nil for plain TCP.
func New(env *Env, sock Socket, l *hub.Listener, o Origin, layer wsproto.Layer) *Conn {
	c := &Conn{}
	c.Init(env, sock, l, o, layer)
	return c
}

// Init is New for a Conn that is part of a larger struct.
func (c *Conn) Init(env *Env, sock Socket, l *hub.Listener, o Origin, layer wsproto.Layer) {
	l = l.Now()
	*c = Conn{env: env, sock: sock, listener: l, lastIn: env.Shard.Now()}
	c.from(o)
	env.Shard.Count.Sockets++
	if layer != nil {
		c.extra().layer, c.layered = layer, true
		c.start()
	}
	cfg := env.Shard.Hub.Cfg()
	c.maxIn = cfg.MaxPacket
	due := c.lastIn + cfg.ConnectTimeout
	if c.place, c.waits = env.Shard.Expect(c, due); c.waits {
		c.timerAt = due
	} else {
		c.arm(due)
	}
}

// Describe implements hub.Link.
func (c *Conn) Describe() (address string, waiting int) { return c.Address(), c.waiting() }

// Client is the client the connection carries, nil before CONNACK.
func (c *Conn) Client() *hub.Client { return c.client }

// Env is what the connection shares with the others of its loop.
func (c *Conn) Env() *Env { return c.env }

// Closed reports whether the socket has been closed.
func (c *Conn) Closed() bool { return c.state == stClosed }

// arm asks for Timer at an instant, unless it is asked for earlier already.
func (c *Conn) arm(at record.Instant) {
	if c.timerAt == 0 || at < c.timerAt {
		c.timerAt = at
		c.env.Shard.TimerFor(c, at)
	}
}

// settle ends the wait for admission, after which the connection has as much time
// as it is given otherwise.
func (c *Conn) settle() {
	if c.waits {
		c.waits = false
		c.timerAt = 0
		c.env.Shard.Settled(c.place)
	}
}

// Timer implements hub.Timed.
func (c *Conn) Timer(sh *hub.Shard, now record.Instant) {
	if c.home().Shard != sh {
		return // it has moved, and its timers with it
	}
	if c.state == stClosed || c.timerAt > now {
		return
	}
	c.settle()
	c.timerAt = 0
	switch c.state {
	case stOpen:
		if c.held {
			c.lastIn = now // it may not speak
			c.again()
		}
		if c.keep == 0 || c.state != stOpen {
			return
		}
		// Silence longer than one and a half keep alives [MQTT-3.1.2-22].
		due := c.lastIn + record15(c.keep)
		if c.moving {
			due = max(due, now+stallStep) // what it says is not read
		}
		if now < due {
			c.arm(due)
			return
		}
		c.fail(hub.End{Code: mqtt.KeepAliveTimeout, Reason: logging.ReasonTimeout})
	case stClosing, stLinger:
		c.shut()
	default:
		c.fail(hub.End{Reason: logging.ReasonTimeout})
	}
}

// Input takes what was read from the socket; b is overwritten and not kept.
func (c *Conn) Input(b []byte) {
	sh := c.env.Shard
	sh.Count.BytesReceived += uint64(len(b))
	c.lastIn = sh.Now()
	if c.state >= stClosing {
		return
	}
	if !c.layered {
		c.feed(b)
		return
	}
	c.throughLayer(b)
}

// EOF tells that the peer has closed or the socket failed (err not nil).
// Everything read before has been given to Input [E048].
func (c *Conn) EOF(err error) {
	if c.state == stClosed {
		return
	}
	if c.state < stClosing {
		why := logging.ReasonClosedByClient
		// Before CONNECT a reset is how some health checks end.
		if err != nil && (c.state != stConnect || !errors.Is(err, syscall.ECONNRESET)) {
			why = logging.SocketReason(err)
		}
		c.detach(why, "", session.Ending{})
	}
	c.shut()
}

// feed works on application bytes.
func (c *Conn) feed(b []byte) {
	b = c.finish(b)
	if c.hasInput() || len(b) > 0 && c.paused && c.state == stAuth {
		c.save(b)
		b = c.buf.in
	}
	for ahead := 0; len(b) > 0 && c.ready(); ahead-- {
		if ahead == 0 {
			ahead = c.lookAhead(b)
		}
		n := c.frame(b)
		if n == 0 {
			break
		}
		b = b[n:]
	}
	if len(b) == 0 || c.state >= stClosing {
		c.dropInput()
		return
	}
	if c.hasInput() && &b[len(b)-1] == &c.buf.in[len(c.buf.in)-1] {
		c.buf.in = c.buf.in[:copy(c.buf.in, b)]
		return
	}
	c.save(b)
}

// aheadFrames is how many messages are looked at together.
const aheadFrames = 16

// lookAhead has what the next messages need brought near, where the broker is so
// large that it lies far away, and returns after how many packets it wants to be
// asked again. What is not in order is left to frame.
func (c *Conn) lookAhead(b []byte) (packets int) {
	if c.state != stOpen || c.listener.MountPoint != "" || !c.env.Shard.Large() {
		return len(b) // not for what is at hand
	}
	var topics [aheadFrames][]byte
	n := 0
	for ; packets < aheadFrames; packets++ {
		first, rem, head, err := packet.ParseHeader(b, false)
		if err != nil || head == 0 || len(b)-head < rem {
			break
		}
		if packet.Type(first>>4) == packet.PUBLISH && rem >= 2 {
			if size := int(b[head])<<8 | int(b[head+1]); size > 0 && size <= rem-2 {
				topics[n] = b[head+2 : head+2+size]
				n++
			}
		}
		b = b[head+rem:]
	}
	if n > 1 {
		c.env.Shard.Ahead(topics[:n])
	}
	return max(packets, 1)
}

// ready reports whether packets may be worked on.
func (c *Conn) ready() bool {
	return (c.state == stOpen || c.state == stConnect || c.state == stExchange) && !c.held && !c.moving
}

// frame works on the packet at the start of b and returns its length, 0 when it
// is incomplete or the connection ended.
func (c *Conn) frame(b []byte) int {
	first, rem, n, err := packet.ParseHeader(b, c.version == mqtt.V5)
	if err != nil {
		c.protocolError(err)
		return 0
	}
	if n == 0 {
		if c.state == stConnect && packet.Type(b[0]>>4) != packet.CONNECT {
			c.notConnect(b[0]) // before more has come
		}
		return 0
	}
	size := n + rem
	c.overlong = n != 1+packet.VarintSize(uint32(rem))
	if c.state == stConnect && (packet.Type(first>>4) != packet.CONNECT || looksLikeTLS(b)) {
		c.notConnect(first)
		return 0
	}
	if err := packet.CheckFrame(c.version, first, rem); err != nil {
		c.protocolError(err)
		return 0
	}
	if limit := c.maxIn; limit > 0 && uint32(size) > limit {
		// Before it is buffered whole [U5-3.2.2.3.6-2].
		c.fail(hub.End{Code: mqtt.PacketTooLarge, Reason: logging.ReasonOversizePacket})
		return 0
	}
	if len(b) < size {
		return 0
	}
	c.env.Shard.Count.PacketsReceived++
	c.last = packet.Type(first >> 4)
	lease := c.give(b, size)
	c.packet(first, b[n:size], hub.Frame{B: b[:size], Owned: lease != nil, Lease: lease})
	if lease != nil {
		c.given(b, lease)
	}
	if c.state >= stClosing || c.held {
		return 0
	}
	return size
}

// looksLikeTLS tells a TLS record with a handshake from a CONNECT, whose type
// shares its first four bits: no CONNECT has a length of three.
func looksLikeTLS(b []byte) bool {
	return len(b) >= 3 && b[0] == tlsHandshake && b[1] == 3 && b[2] <= 4
}

const tlsHandshake = 0x16

func (c *Conn) notConnect(first byte) {
	log := c.env.Shard.Hub.Log
	if first == tlsHandshake {
		log.LooksLikeTLS(c.Address())
	} else {
		log.ProtocolErrorf(c.Address(), "First packet not CONNECT (%02X)", first)
	}
	// No packet before CONNACK [MQTT-3.1.0-1] [MQTT-3.14.0-1].
	c.fail(hub.End{Reason: logging.ReasonProtocolError})
}

// protocolError ends the connection for what the codec found.
func (c *Conn) protocolError(err error) {
	c.fail(*c.codecEnd(err))
}

// codecEnd translates what the codec found, and logs it.
func (c *Conn) codecEnd(err error) *hub.End {
	var pe *packet.Error
	if !errors.As(err, &pe) {
		return &hub.End{Code: mqtt.MalformedPacket, Reason: logging.ReasonMalformed, Text: err.Error()}
	}
	c.env.Shard.Hub.Log.ProtocolErrorf(c.name(), "%s", pe.Error())
	return &hub.End{Code: pe.Code, Reason: reasonOf(pe.Code), Text: pe.Msg}
}

func reasonOf(code mqtt.ReasonCode) logging.Reason {
	switch code {
	case mqtt.MalformedPacket, mqtt.TopicNameInvalid, mqtt.TopicFilterInvalid:
		return logging.ReasonMalformed
	case mqtt.PacketTooLarge:
		return logging.ReasonOversizePacket
	case mqtt.TopicAliasInvalid:
		return logging.ReasonTopicAlias
	default: // the others need nothing
	}
	return logging.ReasonProtocolError
}

// name is the client id, or the address before one is known.
func (c *Conn) name() string {
	if c.client != nil {
		return c.client.ID
	}
	return c.Address()
}

// Kick implements hub.Link.
func (c *Conn) Kick(e hub.End) { c.fail(e) }

// fail ends the connection from this side: MQTT 5 is told why once CONNACK is
// out; then the socket is closed.
func (c *Conn) fail(e hub.End) {
	if c.state >= stClosing {
		return
	}
	open := c.state == stOpen
	c.dropGate()
	if open && c.version == mqtt.V5 && e.Code != mqtt.Success {
		c.sendDisconnect(e)
	}
	c.detach(e.Reason, e.Text, session.Ending{})
	c.closeSoon()
}

// closeSoon writes what is left, then closes.
func (c *Conn) closeSoon() {
	if c.layered {
		c.encode()
		if b := c.ext.layer.Close(nil, wsproto.CloseNormal); len(b) > 0 {
			c.queueRaw(b)
		}
	}
	c.state = stClosing
	c.dropInput()
	c.arm(c.env.Shard.Now() + lingerTime)
	c.mark()
}

// detach leaves the session and tells the log, once; detail says more than the
// reason does.
func (c *Conn) detach(why logging.Reason, detail string, e session.Ending) {
	if c.client == nil {
		if c.state != stConnect || why != logging.ReasonClosedByClient {
			c.logEnd(why, detail)
		}
		return
	}
	c.logEnd(why, detail)
	cl := c.client
	c.client = nil
	c.env.Shard.Detached(cl, c, e)
}

// logEnd counts the end of the connection and writes the log line.
func (c *Conn) logEnd(why logging.Reason, detail string) {
	sh := c.env.Shard
	d := logging.Disconnect{ID: c.name(), Addr: c.Address(), Why: why, Phase: c.phase(), Detail: detail}
	sh.Count.Ends[d.Cause()]++
	if !sh.Hub.Log.ConnectionsEnabled() {
		return
	}
	if c.client != nil {
		d.User = c.client.S.UserName()
	}
	if c.last != 0 {
		d.LastPacket = c.last.String()
	}
	sh.Hub.Log.Disconnected(&d)
}

// phase says how far the connection has come.
func (c *Conn) phase() string {
	switch {
	case c.client != nil:
		return logging.PhaseOpen
	case c.last != 0:
		return logging.PhaseLogin
	}
	return logging.PhaseConnect
}

// shut closes the socket.
func (c *Conn) shut() {
	if c.state == stClosed {
		return
	}
	c.state = stClosed
	c.settle()
	c.gate = nil
	c.drop()
	c.forget()
	c.listener.Count(-1)
	c.sock.Close()
}

// park stops reading until the connection may go on.
func (c *Conn) park() {
	if !c.paused {
		c.paused = true
		c.sock.Pause()
	}
}

// unpark goes on with what has been read meanwhile.
func (c *Conn) unpark() {
	if !c.paused || c.poked || c.held || c.moving {
		return
	}
	c.paused = false
	c.sock.Resume()
	if c.hasInput() {
		c.feed(nil)
	}
}
