package conn

import (
	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/session"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// packet works on one whole packet. body and raw belong to the read buffer, but
// for one that was given away.
func (c *Conn) packet(first byte, body []byte, raw hub.Frame) {
	t := packet.Type(first >> 4)
	if c.state != stOpen {
		c.beforeOpen(t, first, body)
		return
	}
	sh := c.env.Shard
	var err error
	var end *hub.End
	switch t {
	case packet.PUBLISH:
		end, err = c.publish(first, body, raw)
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		p := packet.Ack{Type: t}
		if err = p.Decode(c.version, first, body); err == nil {
			if c.version == mqtt.V5 && !packet.CodeAllowed(t, false, p.Code) {
				end = wrongCode(t)
				break
			}
			sh.DebugAck(c.client, &p)
			end = sh.Ack(c.client, &p)
		}
	case packet.SUBSCRIBE:
		var p packet.Subscribe
		if err = p.Decode(c.version, first, body); err == nil {
			sh.DebugReceived(c.client, t)
			end = sh.ClientSubscribe(c.client, &p)
		}
	case packet.UNSUBSCRIBE:
		var p packet.Unsubscribe
		if err = p.Decode(c.version, first, body); err == nil {
			sh.DebugReceived(c.client, t)
			sh.ClientUnsubscribe(c.client, &p)
		}
	case packet.PINGREQ:
		var p packet.Pingreq
		if err = p.Decode(c.version, first, body); err == nil {
			sh.DebugReceived(c.client, t)
			sh.Ping(c.client)
		}
	case packet.DISCONNECT:
		end, err = c.disconnect(first, body)
	case packet.AUTH:
		end, err = c.authPacket(first, body)
	case packet.CONNECT:
		sh.Hub.Log.SecondConnect(c.Address())
		end = &hub.End{Code: mqtt.ProtocolError, Reason: logging.ReasonProtocolError, Text: "second CONNECT"} // [MQTT-3.1.0-2]
	default:
		end = &hub.End{Code: mqtt.ProtocolError, Reason: logging.ReasonProtocolError, Text: t.String() + " from a client"}
	}
	switch {
	case err != nil:
		c.protocolError(err)
	case end == hub.Wait || end == hub.WaitOrEnd:
		c.stall(end)
	case end != nil:
		c.fail(*end)
	}
}

func wrongCode(t packet.Type) *hub.End {
	return &hub.End{Code: mqtt.ProtocolError, Reason: logging.ReasonProtocolError, Text: "reason code not allowed in " + t.String()}
}

// beforeOpen works on packets before CONNACK.
func (c *Conn) beforeOpen(t packet.Type, first byte, body []byte) {
	switch {
	case c.state == stConnect:
		c.connect(first, body)
	case t == packet.AUTH:
		end, err := c.authPacket(first, body)
		if err != nil {
			end = c.codecEnd(err)
		}
		if end != nil {
			c.refuse(end, mqtt.V5)
		}
	case t == packet.DISCONNECT:
		c.fail(hub.End{Reason: logging.ReasonNone})
	default:
		// Only AUTH and DISCONNECT during the exchange [MQTT-3.1.2-30].
		c.refuse(&hub.End{Code: mqtt.ProtocolError, Reason: logging.ReasonProtocolError}, mqtt.V5)
	}
}

// publish resolves the alias and passes the message on.
func (c *Conn) publish(first byte, body []byte, raw hub.Frame) (*hub.End, error) {
	var p packet.Publish
	if err := p.Decode(c.version, first, body); err != nil {
		return nil, err
	}
	topic := p.Topic
	if p.PropSet != 0 {
		if err := packet.CheckRole(packet.PUBLISH, false, p.PropSet); err != nil {
			return nil, err
		}
		if p.PropSet.Has(packet.PropTopicAlias) {
			t, end := c.resolve(&p)
			if end != nil {
				return end, nil
			}
			topic = t
		}
	}
	if c.overlong {
		raw.B = nil // what 3.x lets pass must not reach a 5.0 subscriber [E002]
	}
	end := c.env.Shard.ClientPublish(c.client, &p, topic, raw, c.listener)
	if end != hub.Wait && end != hub.WaitOrEnd {
		c.calm()
	}
	return end, nil
}

// resolve applies the topic alias of a PUBLISH. The mapping is made by the
// packet itself, whatever becomes of the message [E107].
func (c *Conn) resolve(p *packet.Publish) ([]byte, *hub.End) {
	a, _ := p.Props.Uint(packet.PropTopicAlias)
	limit := uint32(c.listener.MaxTopicAlias)
	if a == 0 || a > limit {
		return nil, &hub.End{Code: mqtt.TopicAliasInvalid, Reason: logging.ReasonTopicAlias, Text: "topic alias out of range"}
	}
	x := c.extra()
	if len(p.Topic) > 0 {
		if x.aliasIn == nil {
			x.aliasIn = make([]string, limit)
		}
		if x.aliasIn[a-1] != string(p.Topic) {
			x.aliasIn[a-1] = string(p.Topic)
		}
		return p.Topic, nil
	}
	if x.aliasIn == nil || x.aliasIn[a-1] == "" {
		return nil, &hub.End{Code: mqtt.ProtocolError, Reason: logging.ReasonProtocolError, Text: "topic alias is not set"}
	}
	return []byte(x.aliasIn[a-1]), nil
}

func (c *Conn) extra() *ext {
	if c.ext == nil {
		c.ext = new(ext)
	}
	return c.ext
}

// disconnect takes a DISCONNECT of the client.
func (c *Conn) disconnect(first byte, body []byte) (*hub.End, error) {
	var p packet.Disconnect
	if err := p.Decode(c.version, first, body); err != nil {
		return nil, err
	}
	c.env.Shard.DebugReceived(c.client, packet.DISCONNECT)
	var ending session.Ending
	if c.version == mqtt.V5 {
		if err := packet.CheckRole(packet.DISCONNECT, false, p.Props.Set()); err != nil {
			return nil, err
		}
		if !packet.CodeAllowed(packet.DISCONNECT, false, p.Code) {
			return wrongCode(packet.DISCONNECT), nil
		}
		if n, ok := p.Props.Uint(packet.PropSessionExpiry); ok {
			if !c.client.S.MayChangeExpiry(n) {
				return &hub.End{Code: mqtt.ProtocolError, Reason: logging.ReasonProtocolError, Text: "session expiry was 0"}, nil
			}
			ending.HasExpiry, ending.Expiry = true, n
		}
	}
	// Any other reason leaves the will to be published [U5-3.14.2-3].
	ending.Normal = p.Code == mqtt.Success
	c.detach(logging.ReasonNone, "", ending)
	c.closeSoon()
	return nil, nil
}

// connect takes the CONNECT.
func (c *Conn) connect(first byte, body []byte) {
	var p packet.Connect
	sh := c.env.Shard
	sh.Count.Connects++
	if err := p.Decode(first, body); err != nil {
		c.refuse(c.codecEnd(err), p.ReplyVersion())
		return
	}
	c.version = p.Version
	if c.overlong && p.Version == mqtt.V5 {
		c.refuse(&hub.End{Code: mqtt.MalformedPacket, Reason: logging.ReasonMalformed, Text: "Remaining Length is not in its shortest form"}, mqtt.V5)
		return
	}
	a, end := sh.Negotiate(c.listener, &p, c)
	if end != nil {
		c.refuse(end, p.ReplyVersion())
		return
	}
	if p.Version == mqtt.V5 {
		c.limits(a)
	}
	if d, taken := c.identify(a); taken {
		a.Vouched = !d.Code.IsError()
		if d.Code.IsError() || a.AuthMethod == "" {
			c.decided(a, d)
			return
		}
		// An exchange that CONNECT begins has to be held besides [MQTT-4.12.0-1].
		a.HasUserName, a.UserName, a.Conn.UserName = true, d.UserName, d.UserName
	}
	if a.AuthMethod != "" {
		c.beginExchange(a)
		return
	}
	d, ok := a.Under.Immediate(&a.Request)
	if ok {
		c.decided(a, d)
		if c.state == stOpen { // not on its way to another loop
			sh.Recycle(a)
		}
		return
	}
	c.state = stAuth
	c.park()
	sh.Authenticate(a, func(d auth.Decision) { c.decided(a, d) })
}

// limits takes what CONNECT says about packets to this client; it holds for
// CONNACK already.
func (c *Conn) limits(a *hub.Admission) {
	if a.Conn.MaximumPacketSize != 0 || !a.Problem || a.AliasOut > 0 || a.AuthMethod != "" {
		x := c.extra()
		x.maxPacket, x.noProblem, x.maxOut = a.Conn.MaximumPacketSize, !a.Problem, a.AliasOut
		x.method = a.AuthMethod
		x.admission = a
	}
}

// decided goes on when it is known whether the client may connect.
func (c *Conn) decided(a *hub.Admission, d auth.Decision) {
	if c.state >= stClosing {
		return
	}
	if d.Code.IsError() {
		c.refuse(&hub.End{Code: d.Code, Reason: authReason(d.Code), Text: d.Reason, ServerReference: hub.ReferenceFor(d.Code, d.ServerReference)}, a.Version)
		return
	}
	if d.UserName != "" {
		a.HasUserName, a.UserName, a.Conn.UserName = true, d.UserName, d.UserName
	}
	a.Proof = d.Proof
	if end := c.env.Shard.Rename(a); end != nil {
		c.refuse(end, a.Version)
		return
	}
	if !c.env.Shard.MayWill(a) {
		c.refuse(&hub.End{Code: mqtt.NotAuthorized, Reason: logging.ReasonNotAuthorised, Text: "not permitted to publish the will"}, a.Version)
		return
	}
	if a.Conn.MaximumPacketSize != 0 && !c.fits(c.env.Shard.ConnackSize(a)) {
		// Before the session is touched: a client that cannot be told that it was
		// let in is not let in [MQTT-3.1.2-24].
		c.refuse(&hub.End{Code: mqtt.ImplementationSpecific, Reason: logging.ReasonOversizePacket, Text: "CONNACK is above the client's maximum packet size"}, a.Version)
		return
	}
	c.admit(a)
}

func authReason(code mqtt.ReasonCode) logging.Reason {
	switch code {
	case mqtt.BadUserNameOrPassword:
		return logging.ReasonBadUserNamePassword
	case mqtt.Banned:
		return logging.ReasonBanned
	case mqtt.BadAuthenticationMethod:
		return logging.ReasonBadAuthMethod
	case mqtt.ServerUnavailable:
		return logging.ReasonServerUnavailable
	case mqtt.ServerBusy:
		return logging.ReasonServerBusy
	default: // the others need nothing
	}
	return logging.ReasonNotAuthorised
}

// Accept implements hub.Link: the client is admitted, CONNACK is the next packet.
func (c *Conn) Accept(cl *hub.Client, a *hub.Admission) {
	c.client = cl
	c.state = stOpen
	c.keep, c.maxIn = a.KeepAlive, a.MaxPacket
	if c.ext != nil && a.AuthMethod == "" {
		c.ext.admission = nil
	}
	c.settle()
	if c.keep > 0 {
		c.arm(c.env.Shard.Now() + record15(c.keep))
	}
	if log := c.env.Shard.Hub.Log; log.ConnectionsEnabled() {
		var user *string
		if a.HasUserName {
			user = &a.UserName
		}
		log.Connected(c.Address(), a.ID, int(a.Version), a.CleanStart, a.AskedKeepAlive, user)
	}
	if c.layered {
		c.negotiated(a.ID)
	}
}

// admit enters the session; what was read meanwhile is worked on once CONNACK is
// out [E018].
func (c *Conn) admit(a *hub.Admission) {
	c.state = stAuth
	c.env.Shard.Admit(c, a)
	if c.state == stOpen {
		c.unpark()
	}
}

// Move implements hub.Link.
func (c *Conn) Move(to *hub.Shard, a *hub.Admission) {
	c.park()
	if to == c.env.Shard {
		to.Await(a.ID, func() {
			if c.state == stAuth {
				c.admit(a)
			}
		})
		return
	}
	if c.dirty {
		c.Flush()
	}
	c.settle()
	c.sock.Move(to, func(e *Env) {
		c.timerAt = 0
		c.arm(e.Shard.Now() + e.Shard.Hub.Cfg().ConnectTimeout)
		c.admit(a)
	})
}

// refuse answers a CONNECT with a CONNACK where the client can read one, and
// closes [MQTT-3.2.2-7].
func (c *Conn) refuse(e *hub.End, v mqtt.Version) {
	if c.state >= stClosing {
		return
	}
	c.version = v
	switch {
	case v == mqtt.V5 && e.Code != mqtt.Success:
		p := packet.Connack{Code: byte(e.Code)}
		if !packet.CodeAllowed(packet.CONNACK, true, e.Code) {
			p.Code = byte(mqtt.ProtocolError)
		}
		var ref packet.Props
		if e.ServerReference != "" {
			ref = packet.AppendString(nil, packet.PropServerReference, e.ServerReference)
		}
		p.Props = append(append(packet.Props(nil), ref...), c.reason(e.Text, false)...)
		if !c.fits(p.Size(v)) {
			p.Props = ref
		}
		if !c.fits(p.Size(v)) {
			p.Props = nil
		}
		if c.fits(p.Size(v)) {
			c.debugConnack(0, p.Code)
			c.appendOut(p.Append(c.env.enc[:0], v))
		}
	case e.Code != mqtt.Success && (v == mqtt.V31 || v == mqtt.V311):
		if code, ok := mqtt.ConnackCodeV3(e.Code); ok {
			c.debugConnack(0, code)
			p := packet.Connack{Code: code}
			c.appendOut(p.Append(c.env.enc[:0], v))
		}
	}
	c.logEnd(e.Reason, e.Text)
	c.closeSoon()
}

func (c *Conn) debugConnack(ack int, code byte) {
	if c.env.Shard.Debug() {
		c.env.Shard.Hub.Log.Debug("Sending CONNACK to %s (%d, %d)", c.name(), ack, code)
	}
}

// appendConnack encodes the CONNACK of success, which is known to fit.
func (c *Conn) appendConnack(dst []byte, s *session.Send) []byte {
	p := packet.Connack{SessionPresent: s.Present, Code: byte(s.Code), Props: s.Props}
	ack := 0
	if s.Present {
		ack = 1
	}
	c.debugConnack(ack, p.Code)
	return p.Append(dst, c.version)
}
