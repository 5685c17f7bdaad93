package conn

import (
	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/session"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// record15 is one and a half keep alives.
func record15(sec uint16) record.Instant { return record.Instant(sec) * 3 * record.Second / 2 }

// beginExchange starts the enhanced authentication that CONNECT asks for
// [MQTT-4.12.0-1].
func (c *Conn) beginExchange(a *hub.Admission) {
	m := c.env.Shard.Hub.Security(c.listener).Method(a.AuthMethod)
	if m == nil {
		c.refuse(&hub.End{Code: mqtt.BadAuthenticationMethod, Reason: logging.ReasonBadAuthMethod, Text: "authentication method not supported"}, mqtt.V5)
		return
	}
	a.Exchange = m.Begin(&a.Request)
	c.extra().admission = a
	c.next(a.AuthData)
}

// next gives the exchange the client's data; the exchange may block, so it runs
// elsewhere and the input waits.
func (c *Conn) next(data []byte) {
	x := c.ext
	a := x.admission
	x.asked = false
	if c.state != stOpen {
		c.state = stAuth
		c.park()
	}
	c.env.Shard.Exchange(a, data, func(out []byte, more bool, d auth.Decision) {
		switch {
		case c.state >= stClosing:
		case more:
			x.asked = true
			c.sendAuth(mqtt.ContinueAuthentication, a.AuthMethod, out)
			if c.state == stAuth {
				c.state = stExchange
				c.unpark()
			}
		case c.state == stOpen:
			c.reauthenticated(a, out, d)
		default:
			a.FinalData = out
			c.decided(a, d)
		}
	})
}

// reauthenticated ends a re-authentication: AUTH 0x00, or DISCONNECT
// [MQTT-4.12.1-2]. The session goes on untouched.
func (c *Conn) reauthenticated(a *hub.Admission, out []byte, d auth.Decision) {
	c.ext.reauth = false
	if d.Code.IsError() {
		c.fail(hub.End{Code: mqtt.NotAuthorized, Reason: authReason(d.Code), Text: d.Reason})
		return
	}
	c.sendAuth(mqtt.Success, a.AuthMethod, out)
}

func (c *Conn) sendAuth(code mqtt.ReasonCode, method string, data []byte) {
	props := packet.AppendString(nil, packet.PropAuthMethod, method)
	if data != nil {
		props = packet.AppendBytes(props, packet.PropAuthData, data)
	}
	p := packet.Auth{Code: code, Props: props}
	switch e := (hub.End{Code: mqtt.PacketTooLarge, Reason: logging.ReasonOversizePacket, Text: "AUTH is above the client's maximum packet size"}); {
	case c.fits(p.Size(mqtt.V5)):
		c.Send(&session.Send{Type: packet.AUTH, Code: code, Props: props}, 0)
	case c.state == stOpen: // the exchange cannot go on [MQTT-3.1.2-24]
		c.fail(e)
	default:
		e.Code = mqtt.ImplementationSpecific
		c.refuse(&e, mqtt.V5)
	}
}

// authPacket takes an AUTH of the client.
func (c *Conn) authPacket(first byte, body []byte) (*hub.End, error) {
	var p packet.Auth
	if err := p.Decode(c.version, first, body); err != nil {
		return nil, err
	}
	x := c.ext
	method, _ := p.Props.Bytes(packet.PropAuthMethod)
	if x == nil || x.method == "" || string(method) != x.method {
		// Without the method of CONNECT, or with another [MQTT-4.12.0-5]
		// [MQTT-4.12.0-7].
		return &hub.End{Code: mqtt.ProtocolError, Reason: logging.ReasonProtocolError, Text: "authentication method differs from CONNECT"}, nil
	}
	want := mqtt.ContinueAuthentication
	if c.state == stOpen && !x.reauth {
		want = mqtt.Reauthenticate
	}
	if p.Code != want {
		return wrongCode(packet.AUTH), nil
	}
	if want == mqtt.ContinueAuthentication && !x.asked {
		// An exchange takes one step at a time: a back end must never see two.
		return &hub.End{Code: mqtt.ProtocolError, Reason: logging.ReasonProtocolError, Text: "AUTH answers no question"}, nil
	}
	data, _ := p.Props.Bytes(packet.PropAuthData)
	data = append([]byte(nil), data...)
	if c.state == stOpen && !x.reauth {
		x.reauth = true
		a := *x.admission
		a.Exchange = c.env.Shard.Hub.Security(c.listener).Method(x.method).Begin(&a.Request)
		x.admission = &a
	}
	c.next(data)
	return nil, nil
}
