package conn

import (
	"strings"

	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/session"
	"github.com/midgemq/midge/internal/wsproto"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// gate holds packets that may leave only after a commit, and whatever must not
// overtake them.
type gate struct {
	buf   []byte
	marks []mark
	// suback is the ticket of the last SUBACK held: retained messages wait behind
	// it, as clients expect them to.
	suback uint64
}

type mark struct {
	ticket uint64
	end    int
	acks   int // PUBACKs among them
	count  int
}

func (c *Conn) mark() {
	if !c.dirty {
		c.dirty = true
		c.sock.Dirty()
	}
}

// Frame implements hub.Link.
func (c *Conn) Frame(f *hub.Frame) session.Drop {
	if why := c.full(); why != session.DropNone {
		return why
	}
	p := c.use()
	if !c.layered && (len(f.B) >= byReference || c.blocked && len(f.B) >= shareBlocked) {
		f.Own()
		p.closeSegment()
		p.segs = append(p.segs, segment{b: f.B, lease: f.Lease.Hold()})
	} else {
		if p.out == nil {
			p.out = c.env.get()
		}
		p.out = append(p.out, f.B...)
	}
	c.sent(len(f.B))
	n := &c.env.Shard.Count
	n.PublishSent++
	n.PublishBytesSent += uint64(f.Payload)
	return session.DropNone
}

// full reports whether QoS 0 has to be dropped: the socket does not take what
// waits, and that is at its limit.
func (c *Conn) full() session.Drop {
	if !c.blocked || c.buf == nil {
		return session.DropNone
	}
	cfg := c.env.Shard.Hub.Cfg()
	switch {
	case cfg.MaxOutput > 0 && c.buf.waiting >= cfg.MaxOutput:
		return session.DropOutputBytes
	case cfg.MaxOutputPackets > 0 && int(c.buf.packets) >= cfg.MaxOutputPackets:
		return session.DropOutputCount
	}
	return session.DropNone
}

// sent accounts for n bytes of one packet that were added to the output.
func (c *Conn) sent(n int) {
	p := c.buf
	p.waiting += n
	p.packets++
	c.env.Shard.Count.PacketsSent++
	switch {
	case !c.blocked && p.waiting >= flushAt:
		c.Flush()
	default:
		c.mark()
	}
	// Acknowledgements are never dropped; a peer that asks for more than it reads
	// is not read from.
	if limit := c.env.Shard.Hub.Cfg().MaxOutput; c.blocked && limit > 0 && c.waiting() > 2*limit && !c.paused {
		c.poked = true
		c.park()
	}
}

// closeSegment makes the open end a segment of its own.
func (p *buffers) closeSegment() {
	if len(p.out) > 0 {
		p.segs = append(p.segs, segment{b: p.out})
		p.out = nil
	}
}

// queueRaw adds bytes below all layers, behind what is waiting. b is kept.
func (c *Conn) queueRaw(b []byte) {
	p := c.use()
	c.encode()
	p.closeSegment()
	p.segs = append(p.segs, segment{b: b})
	p.waiting += len(b)
	c.mark()
}

// encode passes waiting application bytes through the layer. With a layer, out
// holds application bytes until then and segs what is ready for the socket.
func (c *Conn) encode() {
	p := c.buf
	if !c.layered || p == nil || len(p.out) == 0 || !c.ext.layer.Open() {
		return
	}
	app := p.out
	raw := c.ext.layer.Outbound(c.env.get(), app)
	p.waiting += len(raw) - len(app)
	c.env.put(app)
	p.out = nil
	if len(raw) > 0 {
		p.segs = append(p.segs, segment{b: raw})
	}
}

// Flush writes what waits. The loop calls it once per batch for each dirty
// connection, and Writable when a blocked one takes more.
func (c *Conn) Flush() {
	c.dirty = false
	if c.state == stClosed {
		return
	}
	if c.layered && c.ext.layer.Open() && c.state < stClosing {
		c.encode()
	}
	if c.waiting() > 0 && !c.blocked {
		c.write()
	}
	if c.waiting() == 0 {
		c.drained()
	}
}

// Writable tells that the socket takes bytes again.
func (c *Conn) Writable() {
	c.blocked = false
	c.Flush()
}

// Blocked reports whether the socket took less than it was given.
func (c *Conn) Blocked() bool { return c.blocked }

func (c *Conn) write() {
	e, p := c.env, c.buf
	var bufs [][]byte
	if len(p.segs) == 0 {
		e.one[0] = p.out
		bufs = e.one[:]
	} else {
		e.vec = e.vec[:0]
		for i := range p.segs {
			e.vec = append(e.vec, p.segs[i].b)
		}
		if len(p.out) > 0 {
			e.vec = append(e.vec, p.out)
		}
		bufs = e.vec
	}
	n, err := c.sock.Write(bufs)
	if err != nil {
		// Not here: this may be in the middle of routing a message, and the end of a
		// connection publishes its will.
		c.blocked = true
		c.post(func() { c.EOF(err) })
		return
	}
	e.Shard.Count.BytesSent += uint64(n)
	if n == p.waiting {
		for i := range p.segs {
			p.segs[i].drop()
		}
		p.segs = p.segs[:0]
		if cap(p.segs) > 64 {
			p.segs = nil
		}
		if p.out != nil {
			e.put(p.out)
			p.out = nil
		}
		p.waiting, p.packets = 0, 0
		c.count()
		c.release()
		return
	}
	c.blocked = true
	p.packets = int32(int64(p.packets) * int64(p.waiting-n) / int64(p.waiting))
	p.waiting -= n
	p.advance(n)
	c.count()
}

// count brings the counts of what waits up to date. It is asked only after a
// write, so they are of what sockets did not take.
func (c *Conn) count() {
	p := c.buf
	if p.waiting == p.countedBytes {
		return
	}
	n := &c.env.Shard.Count
	n.OutBytes += int64(p.waiting - p.countedBytes)
	n.OutPackets += int64(p.packets - p.countedPackets)
	p.countedBytes, p.countedPackets = p.waiting, p.packets
}

// advance drops the first n bytes of what waits.
func (p *buffers) advance(n int) {
	k := 0
	for k < len(p.segs) && n >= len(p.segs[k].b) {
		n -= len(p.segs[k].b)
		p.segs[k].drop()
		k++
	}
	if k > 0 {
		left := copy(p.segs, p.segs[k:])
		clear(p.segs[left:])
		p.segs = p.segs[:left]
	}
	if n == 0 {
		return
	}
	if len(p.segs) > 0 {
		p.segs[0].b = p.segs[0].b[n:]
		return
	}
	p.out = p.out[:copy(p.out, p.out[n:])]
}

// drained follows a write that left nothing.
func (c *Conn) drained() {
	switch c.state {
	case stClosing:
		// The peer may still be sending; closing now could make the kernel throw
		// away the last packet with a reset. So only our side is closed, and the
		// rest when the peer has closed or the time is up.
		c.state = stLinger
		c.sock.CloseWrite()
		return
	case stClosed, stLinger:
		return
	case stConnect:
		if c.layered {
			if a, ok := c.ext.layer.(wsproto.Async); ok {
				a.Drained()
			}
		}
		return
	default: // the others need nothing
	}
	if c.poked {
		c.poked = false
		c.unpark()
	}
	if c.client != nil && c.client.Bulk() {
		c.env.Shard.Drained(c.client)
	}
}

// Room implements hub.Link.
func (c *Conn) Room() bool {
	return c.waiting() < roomBelow && c.state == stOpen && (c.gate == nil || c.gate.suback == 0)
}

// Send implements hub.Link.
func (c *Conn) Send(s *session.Send, gated uint64) (held bool) {
	if c.state >= stClosing {
		return false
	}
	exempt := s.Type == packet.PINGRESP || s.Type == packet.PUBLISH && s.QoS == 0
	if exempt && s.Type == packet.PUBLISH {
		if why := c.full(); why != session.DropNone {
			c.env.Shard.Overflow(c.client, why)
			return false
		}
	}
	hold := !exempt && (gated != 0 || c.gate != nil)
	var dst []byte
	switch {
	case hold && c.gate == nil:
		c.gate = new(gate)
		fallthrough
	case hold:
		dst = c.gate.buf
	default:
		p := c.use()
		if p.out == nil {
			p.out = c.env.get()
		}
		dst = p.out
	}
	before := len(dst)
	dst = c.append(dst, s)
	n := len(dst) - before
	if hold {
		c.gate.hold(dst, gated, s.Type)
		return true
	}
	c.buf.out = dst
	if n > 0 {
		c.sent(n)
	}
	return false
}

func (g *gate) hold(buf []byte, ticket uint64, t packet.Type) {
	g.buf = buf
	k := len(g.marks)
	if k == 0 || (ticket != 0 && g.marks[k-1].ticket != ticket) {
		g.marks = append(g.marks, mark{ticket: ticket})
		k++
	}
	m := &g.marks[k-1]
	m.end = len(buf)
	m.count++
	switch t {
	case packet.PUBACK:
		m.acks++
	case packet.SUBACK:
		g.suback = m.ticket
	default: // only these two are waited for
	}
}

// Release implements hub.Link.
func (c *Conn) Release(ticket uint64) {
	g := c.gate
	if g == nil || c.state >= stClosing {
		return
	}
	if g.suback <= ticket {
		g.suback = 0
	}
	end, acks, count, k := 0, 0, 0, 0
	for k < len(g.marks) && g.marks[k].ticket <= ticket {
		end = g.marks[k].end
		acks += g.marks[k].acks
		count += g.marks[k].count
		k++
	}
	if k == 0 {
		return
	}
	p := c.use()
	if p.out == nil {
		p.out = c.env.get()
	}
	p.out = append(p.out, g.buf[:end]...)
	p.waiting += end
	p.packets += int32(count)
	c.env.Shard.Count.PacketsSent += uint64(count)
	c.mark()
	if c.client != nil {
		for range acks {
			c.client.S.Acked()
		}
	}
	if k == len(g.marks) {
		c.gate = nil
		return
	}
	g.buf = g.buf[:copy(g.buf, g.buf[end:])]
	g.marks = g.marks[:copy(g.marks, g.marks[k:])]
	for i := range g.marks {
		g.marks[i].end -= end
	}
}

// dropGate forgets what was not acknowledged yet; the peer will ask again.
func (c *Conn) dropGate() { c.gate = nil }

// append encodes one packet.
func (c *Conn) append(dst []byte, s *session.Send) []byte {
	sh := c.env.Shard
	switch s.Type {
	case packet.PUBLISH:
		sh.Count.PublishSent++
		sh.Count.PublishBytesSent += uint64(len(s.Msg.Payload))
		sh.DebugSend(c.client, s)
		alias, known := c.alias(s, c.gate != nil && s.QoS > 0)
		if point := c.listener.MountPoint; point != "" {
			inner := hub.Unmount(s.Msg, point)
			return hub.AppendPublish(dst, &inner, s, c.version, alias, known, sh.Now())
		}
		return hub.AppendPublish(dst, s.Msg, s, c.version, alias, known, sh.Now())
	case packet.PINGRESP:
		sh.DebugSend(c.client, s)
		return append(dst, byte(packet.PINGRESP)<<4, 0)
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		sh.DebugSend(c.client, s)
		if s.Reason == "" || c.version != mqtt.V5 {
			return packet.AppendAck(dst, s.Type, c.version, s.PacketID, s.Code)
		}
		p := packet.Ack{Type: s.Type, PacketID: s.PacketID, Code: s.Code, Props: c.reason(s.Reason, true)}
		if !c.fits(p.Size(c.version)) {
			p.Props = nil
		}
		return p.Append(dst, c.version)
	case packet.SUBACK, packet.UNSUBACK:
		sh.DebugSend(c.client, s)
		return c.appendCodes(dst, s)
	case packet.CONNACK:
		return c.appendConnack(dst, s)
	case packet.AUTH:
		p := packet.Auth{Code: s.Code, Props: s.Props}
		return p.Append(dst, c.version)
	default: // the others need nothing
	}
	return dst
}

func (c *Conn) appendCodes(dst []byte, s *session.Send) []byte {
	props := c.reason(s.Reason, true)
	for {
		var p interface {
			Size(mqtt.Version) int
			Append([]byte, mqtt.Version) []byte
		} = &packet.Suback{PacketID: s.PacketID, Props: props, Codes: s.Codes}
		if s.Type == packet.UNSUBACK {
			p = &packet.Unsuback{PacketID: s.PacketID, Props: props, Codes: s.Codes}
		}
		if c.fits(p.Size(c.version)) {
			return p.Append(dst, c.version)
		}
		if props == nil {
			// The answer itself is larger than the client takes: it can never know,
			// so the connection ends [MQTT-3.1.2-24].
			c.client.Later(c, hub.End{Code: mqtt.PacketTooLarge, Reason: "oversize packet"})
			return dst
		}
		props = nil
	}
}

// reason encodes a reason string, where the client wants one. Only CONNACK and
// DISCONNECT carry it against its wish [MQTT-3.1.2-29].
func (c *Conn) reason(text string, asked bool) packet.Props {
	if text == "" || c.version != mqtt.V5 || (asked && c.ext != nil && c.ext.noProblem) {
		return nil
	}
	return packet.AppendString(nil, packet.PropReasonString, text)
}

// fits reports whether a packet of n bytes is within the client's Maximum Packet
// Size [MQTT-3.1.2-24].
func (c *Conn) fits(n int) bool {
	return c.ext == nil || c.ext.maxPacket == 0 || uint32(n) <= c.ext.maxPacket
}

func (c *Conn) sendDisconnect(e hub.End) {
	var props packet.Props
	if e.ServerReference != "" {
		props = packet.AppendString(props, packet.PropServerReference, e.ServerReference)
	}
	p := packet.Disconnect{Code: e.Code, Props: props}
	if e.Text != "" {
		p.Props = packet.AppendString(append(packet.Props(nil), props...), packet.PropReasonString, e.Text)
	}
	if !c.fits(p.Size(c.version)) {
		p.Props = props
	}
	if !c.fits(p.Size(c.version)) {
		p.Props = nil
	}
	if c.env.Shard.Debug() {
		c.env.Shard.Hub.Log.Debug("Sending DISCONNECT to %s (rc%d)", c.name(), e.Code)
	}
	if !c.fits(p.Size(c.version)) {
		return
	}
	c.appendOut(p.Append(c.env.enc[:0], c.version))
}

func (c *Conn) appendOut(b []byte) {
	c.env.enc = b
	p := c.use()
	if p.out == nil {
		p.out = c.env.get()
	}
	p.out = append(p.out, b...)
	p.waiting += len(b)
	p.packets++
	c.env.Shard.Count.PacketsSent++
	c.mark()
}

// alias picks the topic alias for a PUBLISH: the first topics get one, which is
// never given to another [MQTT-3.1.2-26]. It counts as known from here on, since
// the packet that defines it is in the stream now. One that is held for a commit
// defines none: QoS 0 overtakes it and would use the alias before its definition.
func (c *Conn) alias(s *session.Send, held bool) (alias uint16, known bool) {
	x := c.ext
	if x == nil || x.maxOut == 0 {
		return 0, false
	}
	if a, ok := x.aliasOut[s.Msg.Topic]; ok {
		return a, true
	}
	if held || len(x.aliasOut) >= int(x.maxOut) {
		return 0, false
	}
	if x.maxPacket != 0 {
		// The definition is three bytes longer than the packet without it.
		if n := session.PublishSize(s.Msg, c.version, s.QoS, s.SubID, c.env.Shard.Now()) + 4; uint32(n) > x.maxPacket {
			return 0, false
		}
	}
	if x.aliasOut == nil {
		x.aliasOut = make(map[string]uint16, 4)
	}
	a := uint16(len(x.aliasOut) + 1)
	x.aliasOut[strings.Clone(s.Msg.Topic)] = a
	return a, false
}
