package conn

import (
	"errors"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/wsproto"
	"github.com/midgemq/midge/mqtt"
)

// start prepares the layer of a connection that has just been accepted.
func (c *Conn) start() {
	if a, ok := c.ext.layer.(wsproto.Async); ok {
		sh := c.env.Shard
		// From any goroutine, and maybe late.
		a.Notify(func() { sh.Post(func() { c.at(sh, c.wake) }) })
	}
	if b := c.ext.layer.Start(nil); len(b) > 0 {
		c.queueRaw(b)
	}
}

// wake lets a layer say what it has done elsewhere.
func (c *Conn) wake() {
	if c.state >= stClosing || !c.layered {
		return
	}
	c.throughLayer(nil)
	if c.state == stConnect {
		c.unpark()
	}
}

// throughLayer takes bytes through the layer.
func (c *Conn) throughLayer(b []byte) {
	app, raw, err := c.ext.layer.Inbound(b[:0], b, nil)
	if len(raw) > 0 {
		c.queueRaw(raw)
	}
	if c.state == stConnect {
		if p, ok := c.ext.layer.(wsproto.Preface); ok && err == nil {
			c.afterPreface(p, app)
			return
		}
		if a, ok := c.ext.layer.(wsproto.Async); ok && err == nil && a.Full() {
			c.park()
		}
	}
	if len(app) > 0 {
		c.feed(app)
	}
	if err != nil && c.state < stClosing {
		c.layerEnd(err)
	}
}

// afterPreface goes on with what stands above a preface that is complete.
func (c *Conn) afterPreface(p wsproto.Preface, rest []byte) {
	next, addr, done := p.After()
	if !done {
		return
	}
	if addr != "" {
		c.from(Origin{Text: addr})
	}
	if peer := wsproto.PeerOf(c.ext.layer); peer != nil {
		c.extra().peer = peer
		c.env.Shard.Hub.Log.NegotiatedBefore(c.Address(), peer.TLSVersion, peer.Cipher)
	}
	c.ext.layer, c.layered = next, next != nil
	if next != nil {
		c.start()
	}
	switch {
	case len(rest) == 0:
	case next == nil:
		c.feed(rest)
	default:
		c.throughLayer(rest)
	}
}

// layerEnd ends the connection for what its layer found.
func (c *Conn) layerEnd(err error) {
	var hs *wsproto.HandshakeError
	var ce *wsproto.CloseError
	var served *wsproto.ErrServed
	log := c.env.Shard.Hub.Log
	e := hub.End{Reason: logging.ReasonProtocolError, Text: err.Error()}
	switch {
	case errors.As(err, &served):
		e = hub.End{Reason: logging.ReasonClosedByClient}
	case errors.As(err, &hs) && hs.Line != "":
		log.Notice("%s", hs.Line)
		if hs.Quiet {
			e.Reason = logging.ReasonClosedByClient
		}
	case errors.As(err, &hs) && hs.Quiet:
		e.Reason = logging.ReasonClosedByClient
	case errors.As(err, &hs) && hs.TLS:
		log.LooksLikeTLS(c.Address())
	case errors.As(err, &hs) && hs.Status == 403:
		e.Reason = logging.ReasonOrigin
	case errors.As(err, &hs):
		log.ProtocolErrorf(c.Address(), "%s", hs.Reason)
	case errors.As(err, &ce) && ce.Remote:
		e.Reason = logging.ReasonClosedByClient
	}
	c.fail(e)
}

// drop ends what a layer does elsewhere.
func (c *Conn) drop() {
	if !c.layered {
		return
	}
	if a, ok := c.ext.layer.(wsproto.Async); ok {
		a.Drop()
	}
}

// peer is what is known about the peer from below MQTT, nil for nothing.
func (c *Conn) peer() *wsproto.Peer {
	if c.layered {
		if p := wsproto.PeerOf(c.ext.layer); p != nil {
			return p
		}
	}
	if c.ext != nil {
		return c.ext.peer
	}
	return nil
}

// identify gives a client the name in its certificate, where the listener wants
// that: what CONNECT says of user name and password is then nobody's business
// (use_identity_as_username, use_subject_as_username). taken is false when the
// listener does not want it.
func (c *Conn) identify(a *hub.Admission) (d auth.Decision, taken bool) {
	p := c.peer()
	if p != nil {
		a.TLS = &auth.TLS{Version: p.TLSVersion, Cipher: p.Cipher, Verified: p.Certificate, CommonName: p.CommonName, Subject: p.Subject}
	}
	l := c.listener
	if !l.IdentityAsUser && !l.SubjectAsUser {
		return auth.Decision{}, false
	}
	a.HasUserName, a.UserName, a.Conn.UserName = false, "", ""
	a.HasPassword, a.Password = false, nil
	name := ""
	if p != nil && p.Certificate {
		name = p.Subject
		if l.IdentityAsUser {
			name = p.CommonName
		}
	}
	if name == "" {
		return auth.Decision{Code: mqtt.BadUserNameOrPassword, Reason: "the certificate names no user"}, true
	}
	return auth.Decision{UserName: name}, true
}

// negotiated writes the line about the encryption of a client.
func (c *Conn) negotiated(id string) {
	if p := c.peer(); p != nil && p.TLSVersion != "" && (c.ext == nil || c.ext.peer == nil) {
		c.env.Shard.Hub.Log.Negotiated(id, p.TLSVersion, p.Cipher)
	}
}
