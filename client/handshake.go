package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/midgemq/midge/client/internal/dial"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// attempt is what changes from one CONNECT to the next.
type attempt struct {
	version    mqtt.Version
	clientID   string
	cleanStart bool
}

// connect dials a server and makes a connection of it.
func connect(ctx context.Context, s dial.Server, o *Options, a attempt) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	nc, err := dial.Open(ctx, s, o.dial(a.version))
	if err != nil {
		return nil, notSent("connect", err)
	}
	return handshake(ctx, nc, s, o, a)
}

// handshake sends CONNECT, goes through the enhanced authentication and takes the CONNACK. On error the stream is closed.
func handshake(ctx context.Context, nc net.Conn, s dial.Server, o *Options, a attempt) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	c := &Conn{nc: nc, v: a.version, server: s, maxIn: mqtt.MaxPacket, buf: make([]byte, smallBuffer)}
	c.limits.maxPacket = mqtt.MaxPacket
	if c.v == mqtt.V5 {
		if o.MaximumPacketSize != 0 {
			c.maxIn = min(int(o.MaximumPacketSize), c.maxIn)
		}
		c.aliases = make([]string, o.TopicAliases+1)
		c.noProblem = o.Properties != nil && o.Properties.RequestProblemInfo != nil && !*o.Properties.RequestProblemInfo
	}
	stop := dial.Interrupt(ctx, nc)
	err := c.handshake(ctx, o, a)
	if !stop() && err == nil {
		err = unknown("connect", context.Cause(ctx))
	}
	if err == nil {
		return c, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = ErrNoConnack
		} else {
			err = context.Cause(ctx)
		}
	}
	c.nc.SetDeadline(closeDeadline())
	c.fail(err)
	if _, ok := errors.AsType[*Error](err); !ok {
		err = unknown("connect", fmt.Errorf("%s: %w", s.URL, err))
	}
	return nil, err
}

func (c *Conn) handshake(ctx context.Context, o *Options, a attempt) error {
	p, err := connectPacket(ctx, o, a)
	if err != nil {
		return notSent("connect", err)
	}
	var exchange AuthExchange
	if o.Auth != nil && c.v == mqtt.V5 {
		exchange = o.Auth.Begin(ctx)
		data, err := exchange.Start()
		if err != nil {
			return notSent("connect", fmt.Errorf("authenticate by %s: %w", o.Auth.Name(), err))
		}
		p.Props = packet.AppendString(p.Props, packet.PropAuthMethod, o.Auth.Name())
		if data != nil {
			p.Props = packet.AppendBytes(p.Props, packet.PropAuthData, data)
		}
	}
	if _, err := c.nc.Write(p.Append(nil, c.v)); err != nil {
		return unknown("connect", err)
	}
	for {
		first, body, err := c.next()
		if err != nil {
			return err
		}
		switch t := packet.Type(first >> 4); {
		case t == packet.CONNACK:
			return c.accept(first, body, o, a, exchange)
		case t == packet.AUTH && exchange != nil:
			if err := c.answer(first, body, o.Auth.Name(), exchange); err != nil {
				return err
			}
		default:
			return violation(mqtt.ProtocolError, "%v before CONNACK [5:3.2.0-1 3:3.2.0-1]", t)
		}
	}
}

// connectPacket builds CONNECT. An empty client identifier of 3.1.1 goes with CleanSession 1 [MQTT-3.1.3-7].
func connectPacket(ctx context.Context, o *Options, a attempt) (*packet.Connect, error) {
	user, password := o.UserName, o.Password
	if o.Credentials != nil {
		var err error
		if user, password, err = o.Credentials(ctx); err != nil {
			return nil, fmt.Errorf("credentials: %w", err)
		}
		if err := checkText(user); err != nil {
			return nil, fmt.Errorf("credentials: user name: %w", err)
		}
		if len(password) > mqtt.MaxString {
			return nil, errors.New("credentials: password longer than 65535 bytes")
		}
	}
	if password != nil && user == "" && a.version != mqtt.V5 {
		return nil, fmt.Errorf("%v has no password without user name [3:3.1.2-22]", a.version)
	}
	p := &packet.Connect{
		Version: a.version, CleanStart: a.cleanStart || a.clientID == "" && a.version != mqtt.V5, ClientID: []byte(a.clientID),
		HasUserName: user != "", UserName: []byte(user), HasPassword: password != nil, Password: password,
	}
	if o.KeepAlive > 0 {
		p.KeepAlive = uint16(seconds(o.KeepAlive))
	}
	if w := o.Will; w != nil {
		p.WillFlag, p.WillQoS, p.WillRetain = true, w.QoS, w.Retain
		p.WillTopic, p.WillPayload = []byte(w.Topic), w.Payload
		p.WillProps = packet.AppendProperties(nil, packet.WILL, w.Properties)
	}
	if a.version == mqtt.V5 {
		var props mqtt.Properties
		if o.Properties != nil {
			props = *o.Properties
		}
		if s := seconds(o.SessionExpiry); s > 0 {
			props.SessionExpiry = &s
		}
		props.ReceiveMaximum = o.ReceiveMaximum
		props.MaximumPacketSize = o.MaximumPacketSize
		props.TopicAliasMaximum = uint16(o.TopicAliases)
		props.AuthMethod, props.AuthData = "", nil
		p.Props = packet.AppendProperties(nil, packet.CONNECT, &props)
	}
	return p, nil
}

// answer takes an AUTH of the server and sends the response [MQTT-4.12.0-3].
func (c *Conn) answer(first byte, body []byte, method string, exchange AuthExchange) error {
	var p packet.Auth
	if err := p.Decode(c.v, first, body); err != nil {
		return decodeError(err)
	}
	if p.Code != mqtt.ContinueAuthentication {
		return violation(mqtt.ProtocolError, "AUTH with %v before CONNACK", p.Code)
	}
	response, err := authResponse(p.Props, method, exchange)
	if err != nil {
		return err
	}
	_, err = c.nc.Write(response.Append(nil, c.v))
	return err
}

// authResponse makes the AUTH 0x18 that answers a challenge. All packets of an exchange name its method [MQTT-4.12.0-5].
func authResponse(challenge packet.Props, method string, exchange AuthExchange) (*packet.Auth, error) {
	if m, _ := challenge.Bytes(packet.PropAuthMethod); string(m) != method {
		return nil, violation(mqtt.ProtocolError, "AUTH of method %q in an exchange by %q [5:4.12.0-5]", m, method)
	}
	data, _ := challenge.Bytes(packet.PropAuthData)
	response, err := exchange.Respond(append([]byte(nil), data...))
	if err != nil {
		return nil, &ProtocolError{Code: mqtt.UnspecifiedError, Err: fmt.Errorf("authenticate by %s: %w", method, err)}
	}
	props := packet.AppendString(nil, packet.PropAuthMethod, method)
	if response != nil {
		props = packet.AppendBytes(props, packet.PropAuthData, response)
	}
	return &packet.Auth{Code: mqtt.ContinueAuthentication, Props: props}, nil
}

// accept takes the CONNACK.
func (c *Conn) accept(first byte, body []byte, o *Options, a attempt, exchange AuthExchange) error {
	var p packet.Connack
	if err := p.Decode(c.v, first, body); err != nil {
		return decodeError(err)
	}
	code := mqtt.ReasonCode(p.Code)
	if c.v != mqtt.V5 {
		code = mqtt.ConnackReasonV3(p.Code)
	}
	props := p.Props.Parse()
	if code.IsError() {
		return &Error{Op: "connect", Outcome: Refused, Code: code, Properties: props}
	}
	if code != mqtt.Success {
		return violation(mqtt.ProtocolError, "CONNACK with %v", code)
	}
	if exchange != nil {
		if m, _ := p.Props.Bytes(packet.PropAuthMethod); string(m) != o.Auth.Name() {
			return violation(mqtt.ProtocolError, "CONNACK by method %q, CONNECT by %q [5:4.12.0-5]", m, o.Auth.Name())
		}
		var data []byte
		if d, ok := p.Props.Bytes(packet.PropAuthData); ok {
			data = append([]byte{}, d...)
		}
		if err := exchange.Finish(data); err != nil {
			return &ProtocolError{Code: mqtt.UnspecifiedError, Err: fmt.Errorf("authenticate by %s: %w", o.Auth.Name(), err)}
		}
	} else if p.Props.Has(packet.PropAuthMethod) {
		return violation(mqtt.ProtocolError, "CONNACK names an authentication method, CONNECT had none")
	}
	if p.SessionPresent && a.cleanStart {
		return &ProtocolError{Code: mqtt.ProtocolError, Err: ErrSessionUnknown}
	}
	c.learn(props, o, a, p.SessionPresent)
	return nil
}

// learn notes what the CONNACK said.
func (c *Conn) learn(p *mqtt.Properties, o *Options, a attempt, present bool) {
	c.info = ConnectInfo{
		Server: c.server.URL, Version: c.v, ClientID: a.clientID, SessionPresent: present,
		KeepAlive: max(o.KeepAlive, 0), Properties: p,
	}
	c.limits = limits{
		receiveMaximum: mqtt.MaxReceiveMaximum, maxQoS: mqtt.ExactlyOnce, retain: true, maxPacket: mqtt.MaxPacket, wildcard: true,
		subIDs: c.v == mqtt.V5, shared: true, sessionExpiry: seconds(o.SessionExpiry),
	}
	if p == nil {
		return
	}
	l := &c.limits
	if p.ReceiveMaximum != 0 {
		l.receiveMaximum = int(p.ReceiveMaximum)
	}
	if p.MaximumQoS != nil {
		l.maxQoS = mqtt.QoS(*p.MaximumQoS)
	}
	if p.MaximumPacketSize != 0 {
		l.maxPacket = min(int(p.MaximumPacketSize), l.maxPacket)
	}
	if p.SessionExpiry != nil {
		l.sessionExpiry = *p.SessionExpiry
	}
	for _, f := range []struct {
		to   *bool
		from *bool
	}{
		{&l.retain, p.RetainAvailable},
		{&l.wildcard, p.WildcardAvailable},
		{&l.subIDs, p.SubscriptionIDAvailable},
		{&l.shared, p.SharedAvailable},
	} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	l.aliases = min(int(p.TopicAliasMaximum), o.TopicAliases)
	if p.AssignedClientID != "" {
		c.info.ClientID = p.AssignedClientID
	}
	if p.ServerKeepAlive != nil {
		c.info.KeepAlive = time.Duration(*p.ServerKeepAlive) * time.Second
	}
}
