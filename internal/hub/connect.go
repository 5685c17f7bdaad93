package hub

import (
	"slices"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/session"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// Admission is what a CONNECT asked for and what the broker grants. It owns
// everything it points to, so it may wait for an authenticator and move between
// loops.
type Admission struct {
	auth.Request
	Conn     session.Connection
	Listener *Listener
	// AuthMethod and AuthData are those of CONNECT; FinalData goes into CONNACK.
	AuthMethod string
	AuthData   []byte
	FinalData  []byte
	Exchange   auth.Exchange
	// KeepAlive is the one in force, AskedKeepAlive the client's, in seconds.
	KeepAlive, AskedKeepAlive uint16
	// AliasOut is how many topic aliases the broker may set.
	AliasOut uint16
	// MaxPacket is the longest packet that the client may send, in bytes, and is
	// told with MQTT 5; 0: no limit.
	MaxPacket  uint32
	CleanStart bool
	Assigned   bool
	// Problem is Request Problem Information, true when absent.
	Problem      bool
	ResponseInfo bool
	Bridge       bool
	// Proof is what the authenticator wants to see again; Vouched: the user name is
	// that of a certificate. Under is what the login was judged by.
	Proof   any
	Vouched bool
	Under   *auth.Security
}

// Negotiate checks a CONNECT against limits and configuration. A refusal has a
// Code of 0x80 or above; Code Success with Reason set means to close without an
// answer, because the client could not read one.
func (sh *Shard) Negotiate(l *Listener, p *packet.Connect, from interface{ Address() string }) (*Admission, *End) {
	cfg := sh.Hub.Cfg()
	v5 := p.Version == mqtt.V5
	switch {
	case p.Version == mqtt.V31 && l.Refuse31, p.Version == mqtt.V311 && l.Refuse311, v5 && l.Refuse5, p.Bridge:
		return nil, refuse(mqtt.UnsupportedProtocolVersion, logging.ReasonProtocolError, "protocol version not accepted")
	}
	a := sh.newAdmission()
	a.Listener, a.CleanStart, a.Problem, a.Bridge = l, p.CleanStart, true, p.Bridge
	a.KeepAlive, a.AskedKeepAlive = p.KeepAlive, p.KeepAlive
	a.MaxPacket = cfg.MaxPacket
	a.ID = string(p.ClientID)
	a.Under = sh.Hub.Security(l)
	a.Version, a.AllowAnonymous = p.Version, a.Under.AllowAnonymous
	if a.Under.Asks() {
		a.Address = from.Address()
	}
	a.Conn.Version = p.Version
	if p.HasUserName {
		a.HasUserName, a.UserName = true, string(p.UserName)
	}
	if p.HasPassword {
		a.HasPassword, a.Password = true, append([]byte(nil), p.Password...)
	}
	a.Conn.UserName = a.UserName
	if e := sh.checkClientID(a, p); e != nil {
		return nil, e
	}
	if e := sh.checkIDRules(a); e != nil {
		return nil, e
	}
	if v5 {
		a.readProps(p.Props, l)
	} else if !p.CleanStart {
		a.Conn.Expiry, a.Conn.Asked = session.NeverExpires, session.NeverExpires
	}
	if cfg.MaxKeepAlive > 0 && (p.KeepAlive == 0 || p.KeepAlive > cfg.MaxKeepAlive) {
		if !v5 {
			// MQTT 3 cannot be told another value, so it is refused [E030].
			return nil, refuse(mqtt.ClientIDNotValid, logging.ReasonClientIDNotValid, "keep alive above max_keepalive")
		}
		a.KeepAlive = cfg.MaxKeepAlive
	}
	if e := sh.checkWill(a, p, l); e != nil {
		return nil, e
	}
	if e := sh.checkRoom(a); e != nil {
		return nil, e
	}
	if a.Conn.Expiry > 0 && !sh.Hub.immediate && sh.Hub.Failing() != nil && sh.Hub.Find(a.ID) == nil {
		return nil, refuse(mqtt.ServerUnavailable, logging.ReasonServerUnavailable, "sessions cannot be stored at present")
	}
	return a, nil
}

func (sh *Shard) newAdmission() *Admission {
	if a := sh.admission; a != nil {
		sh.admission = nil
		return a
	}
	return new(Admission)
}

// Recycle takes back an Admission that has been used up, for the next CONNECT: a
// storm of them would otherwise leave as much garbage as sessions. Only one that
// no back end was asked about may be given back, because a back end may keep the
// Request.
func (sh *Shard) Recycle(a *Admission) {
	if a.Under.Asks() || a.Exchange != nil {
		return
	}
	*a = Admission{}
	sh.admission = a
}

func refuse(code mqtt.ReasonCode, why logging.Reason, text string) *End {
	return &End{Code: code, Reason: why, Text: text}
}

func (sh *Shard) checkClientID(a *Admission, p *packet.Connect) *End {
	if len(p.ClientID) > 0 {
		return nil
	}
	switch {
	case p.Version == mqtt.V31:
		return refuse(mqtt.ClientIDNotValid, logging.ReasonClientIDNotValid, "client identifier is empty")
	case p.Version == mqtt.V311 && !p.CleanStart:
		return refuse(mqtt.ClientIDNotValid, logging.ReasonClientIDNotValid, "client identifier is empty without clean session")
	case a.Under.RefuseEmptyID && p.Version == mqtt.V5:
		return refuse(mqtt.UnspecifiedError, logging.ReasonClientIDNotValid, "client identifier is empty")
	case a.Under.RefuseEmptyID:
		return refuse(mqtt.ClientIDNotValid, logging.ReasonClientIDNotValid, "client identifier is empty")
	}
	for {
		a.ID = a.Under.AutoIDPrefix + sh.Hub.Cfg().AssignedID()
		if sh.Hub.Find(a.ID) == nil {
			break // [MQTT-3.2.2-16]
		}
	}
	a.Assigned = true
	return nil
}

// readProps takes the CONNECT properties of MQTT 5; their ranges are checked.
func (a *Admission) readProps(p packet.Props, l *Listener) {
	for {
		id, n, val, _, rest := p.Next()
		if id == 0 {
			return
		}
		p = rest
		switch id {
		case packet.PropSessionExpiry:
			a.Conn.Expiry, a.Conn.Asked = n, n
		case packet.PropReceiveMaximum:
			a.Conn.ReceiveMaximum = uint16(n)
		case packet.PropMaximumPacketSize:
			a.Conn.MaximumPacketSize = n
		case packet.PropTopicAliasMaximum:
			a.AliasOut = min(uint16(n), l.MaxTopicAliasBroker)
		case packet.PropRequestProblemInfo:
			a.Problem = n != 0
		case packet.PropRequestResponseInfo:
			a.ResponseInfo = n != 0
		case packet.PropAuthMethod:
			a.AuthMethod = string(val)
		case packet.PropAuthData:
			a.AuthData = append([]byte{}, val...)
		default: // the others need nothing
		}
	}
}

func (sh *Shard) checkWill(a *Admission, p *packet.Connect, l *Listener) *End {
	if !p.WillFlag {
		return nil
	}
	cfg := sh.Hub.Cfg()
	switch {
	case p.WillQoS > l.MaxQoS:
		return refuse(mqtt.QoSNotSupported, logging.ReasonDisallowedFeature, "will QoS not supported")
	case p.WillRetain && !cfg.RetainAvailable:
		return refuse(mqtt.RetainNotSupported, logging.ReasonDisallowedFeature, "retained messages are not available")
	case cfg.MessageSizeLimit > 0 && len(p.WillPayload) > cfg.MessageSizeLimit:
		return refuse(mqtt.PacketTooLarge, logging.ReasonOversizePayload, "will payload above message_size_limit")
	}
	w := &record.Will{}
	var props []byte
	for ps := p.WillProps; ; {
		id, n, _, _, rest := ps.Next()
		if id == 0 {
			break
		}
		switch id {
		case packet.PropWillDelay:
			w.Delay = n
		case packet.PropMessageExpiry:
			w.Expiry, w.HasExpiry = n, true
		default:
			props = append(props, ps[:len(ps)-len(rest)]...)
		}
		ps = rest
	}
	topic := p.WillTopic
	if l.MountPoint != "" {
		if topic = append([]byte(l.MountPoint), topic...); len(topic) > mqtt.MaxString {
			return refuse(mqtt.TopicNameInvalid, logging.ReasonProtocolError, "will topic is too long behind the mount point")
		}
	}
	w.Msg = record.NewMessage(topic, p.WillPayload, props)
	w.Msg.QoS, w.Msg.Retain, w.Msg.Publisher = p.WillQoS, p.WillRetain, a.ID
	a.Conn.Will = w
	return nil
}

// Admit completes a CONNECT whose client may connect: on the loop that owns the
// session, or after a move to it.
func (sh *Shard) Admit(l Link, a *Admission) {
	c := sh.Hub.claim(a.ID, sh)
	if home := c.shard.Load(); home != sh {
		l.Move(home.self, a) // to itself when the client is on its way here
		return
	}
	sh.Count.Connected++
	// Whoever is in the table has a session, but for one just made by claim.
	present := c.gen > 0 || c.S.Persistent()
	if c.link != nil && sh.takeOver(c) {
		present = false
	}
	if present && a.CleanStart {
		sh.endSession(c)
		present = false
	}
	if !present {
		c.S = session.New(&sh.Hub.Cfg().Rules, sh.Hub.nextKey(), a.ID)
	}
	c.gen++
	c.level, c.ownLevel = sh.Hub.Cfg().Level, a.Listener.Level != nil
	if c.ownLevel {
		c.level = *a.Listener.Level
	}
	c.v5 = a.Version == mqtt.V5
	c.link, c.keep, c.maxQoS = l, a.AskedKeepAlive, a.Listener.MaxQoS
	c.warned, c.clean, c.since = false, a.CleanStart, sh.now
	c.mount = a.Listener.MountPoint
	c.fast = (a.Version != mqtt.V5 || (a.AliasOut == 0 && a.Conn.MaximumPacketSize == 0)) && c.mount == ""
	if a.Conn.MaximumPacketSize > 0 {
		a.Conn.MaximumPacketSize += uint32(len(c.mount)) // judged with the whole topic, sent without the mount point
	}
	sh.admitRights(c, l, a)
	live := uint32(liveOnline)
	if a.Version == mqtt.V5 {
		live |= liveV5
	}
	c.live.Store(live)
	fx := sh.getFX()
	c.S.Attach(&a.Conn, fx)
	if sh.Hub.Cfg().Rules.QueueQoS0 && c.S.Persistent() {
		c.fast = false // QoS 0 must not overtake what waits
	}
	if c.S.Persistent() && c.stored.Load() == 0 && !sh.Hub.immediate {
		sh.open.fresh = append(sh.open.fresh, c)
	}
	sh.debugWill(a)
	fx.Sends = append(fx.Sends, session.Send{Type: packet.CONNACK, Present: present && a.Version != mqtt.V31, Props: sh.connackProps(a)})
	l.Accept(c, a)
	sh.apply(c, fx)
	fx.Reset()
	if present {
		sh.reviewSubscriptions(c)
		sh.guard(c, fx)
		c.S.Resume(sh.now, fx)
		sh.apply(c, fx)
	}
	sh.putFX(fx)
	sh.pumpCursors(c)
}

// ConnackSize is the size of the CONNACK that lets the client in, in bytes.
func (sh *Shard) ConnackSize(a *Admission) int {
	p := packet.Connack{Props: sh.connackProps(a)}
	return p.Size(a.Version)
}

// connackProps are the MQTT 5 properties of a successful CONNACK, in
// Mosquitto's order: only those that say something.
func (sh *Shard) connackProps(a *Admission) []byte {
	if a.Version != mqtt.V5 {
		return nil
	}
	cfg := sh.Hub.Cfg()
	var p []byte
	if a.Listener.MaxTopicAlias > 0 {
		p = packet.AppendUint(p, packet.PropTopicAliasMaximum, uint32(a.Listener.MaxTopicAlias))
	}
	if a.KeepAlive != a.AskedKeepAlive {
		p = packet.AppendUint(p, packet.PropServerKeepAlive, uint32(a.KeepAlive))
	}
	if a.Assigned {
		p = packet.AppendString(p, packet.PropAssignedClientID, a.ID)
	}
	if a.AuthMethod != "" {
		p = packet.AppendString(p, packet.PropAuthMethod, a.AuthMethod)
		if a.FinalData != nil {
			p = packet.AppendBytes(p, packet.PropAuthData, a.FinalData)
		}
	}
	if limit := cfg.Rules.MaxExpiry; limit > 0 && a.Conn.Expiry > limit {
		p = packet.AppendUint(p, packet.PropSessionExpiry, limit) // [U5-3.2.2.3.2-2]
	}
	if a.ResponseInfo && cfg.ResponseInfo != "" {
		p = packet.AppendString(p, packet.PropResponseInfo, cfg.ResponseInfo)
	}
	for _, f := range [...]struct {
		off bool
		id  packet.PropID
	}{
		{!cfg.RetainAvailable, packet.PropRetainAvailable},
		{cfg.NoWildcards, packet.PropWildcardSubscriptionAvailable},
		{cfg.NoSubscriptionIDs, packet.PropSubscriptionIDAvailable},
		{cfg.NoShared, packet.PropSharedSubscriptionAvailable},
	} {
		if f.off {
			p = packet.AppendUint(p, f.id, 0)
		}
	}
	if a.Listener.MaxQoS < mqtt.ExactlyOnce {
		p = packet.AppendUint(p, packet.PropMaximumQoS, uint32(a.Listener.MaxQoS))
	}
	if a.MaxPacket > 0 {
		p = packet.AppendUint(p, packet.PropMaximumPacketSize, a.MaxPacket)
	}
	if n := cfg.Rules.MaxInflight; n > 0 && n < 65535 {
		p = packet.AppendUint(p, packet.PropReceiveMaximum, uint32(n))
	}
	return p
}

// takeOver ends the connection that a new one replaces [MQTT-3.1.4-3]. It does
// not wait for the old socket. It reports whether the session ended with it.
func (sh *Shard) takeOver(c *Client) (ended bool) {
	old := c.link
	c.link = nil
	old.Kick(End{Code: mqtt.SessionTakenOver, Reason: logging.ReasonTakenOver})
	if ended = sh.offline(c, session.Ending{TakenOver: true}); ended {
		sh.endSession(c)
	}
	return ended
}

// Detached tells that the connection l of c has ended. Ends that come late, when
// another connection has the session, are ignored.
func (sh *Shard) Detached(c *Client, l Link, e session.Ending) {
	if c.link != l {
		return
	}
	c.link = nil
	if sh.offline(c, e) {
		sh.end(c)
		return
	}
	sh.schedule(c)
}

// offline takes the connection from the session and reports whether the session
// ends with it.
func (sh *Shard) offline(c *Client, e session.Ending) (ended bool) {
	c.live.Store(c.live.Load() &^ liveOnline)
	c.forgetVerdicts()
	c.settle = c.last
	c.fast = false
	sh.Count.Connected--
	fx := sh.getFX()
	ended = c.S.Detach(e, sh.now, fx)
	sh.apply(c, fx)
	sh.putFX(fx)
	return ended
}

// end ends the session and takes the client out of the table.
func (sh *Shard) end(c *Client) {
	sh.endSession(c)
	c.ended = true
	sh.Hub.forget(c)
}

// endSession ends the session that the client has; another may follow.
func (sh *Shard) endSession(c *Client) {
	c.cursors, c.resting = nil, nil
	delete(sh.dropping, c)
	c.S.Subscriptions(func(s *record.Subscription) bool {
		sh.Hub.leave(c, s.Filter)
		return true
	})
	key, handing := c.S.Key(), c.S.Handing()
	from, _ := c.S.QueueFrom()
	c.stored.Store(0)
	sh.open.fresh = slices.DeleteFunc(sh.open.fresh, func(f *Client) bool { return f == c })
	fx := sh.getFX()
	c.S.End(fx)
	if n := len(fx.Ops); handing && n > 0 {
		// Its own end waits until what it shares has been handed on.
		end := fx.Ops[n-1]
		fx.Ops = fx.Ops[:n-1]
		sh.drainFrom(c, key, from, end)
	}
	sh.apply(c, fx)
	sh.putFX(fx)
	c.settle = 0
}

// publishWill publishes a will; its lifetime starts now [U5-3.1.3.2.4-1]. The
// right to publish is asked for at this moment.
func (sh *Shard) publishWill(c *Client, w *record.Will) {
	m := *w.Msg
	if !sh.mayPublishWill(c, m.Topic) {
		return
	}
	m.PublisherUser = c.S.UserName()
	if w.HasExpiry {
		m.Expires = sh.now + max(record.Instant(w.Expiry)*record.Second, 1)
	}
	sh.Publish(&m)
}

// Publish routes a message that the broker itself publishes: wills, $SYS, the
// API. m is owned by the hub from now on.
func (sh *Shard) Publish(m *record.Message) (matched int) {
	m.Seq, m.At = sh.Hub.nextSeq(), sh.now
	if m.Retain {
		switch {
		case !sh.Hub.Cfg().RetainAvailable:
			m.Retain = false
		case sh.roomToRetain(m):
			sh.retain(m)
		default:
			sh.Count.Drops[session.DropMemory]++
			sh.Count.PublishDropped++
		}
	}
	sh.frames.reset()
	return sh.route(m)
}
