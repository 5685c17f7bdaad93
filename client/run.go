package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"time"

	"github.com/midgemq/midge/client/internal/dial"
	"github.com/midgemq/midge/mqtt"
)

// run keeps the client connected until it ends. It is the one goroutine that dials, attaches and detaches.
func (c *Client) run(giveUp bool) {
	defer close(c.done)
	r := &runner{c: c, giveUp: giveUp, pause: c.opts.Backoff.Min}
	err := r.loop()
	if cause := context.Cause(c.ctx); cause != nil {
		err = cause
	}
	c.finish(err)
}

// runner is the state of run.
type runner struct {
	c         *Client
	giveUp    bool // the first refusal ends the client: somebody waits in Connect
	pause     time.Duration
	order     []int // servers of this round not yet tried
	redirect  *dial.Server
	redirects int
	refused   bool // a server of this round gave an answer that trying again will not change soon
	fresh     bool // the session of 3.x has been begun anew
}

// steady is how long a connection must have lasted for the pauses to begin small again: a server that accepts and closes at once is
// no better than one that does not answer.
const steady = 5 * time.Second

// loop connects, waits for the end of the connection, and begins again. It returns why the client ends.
func (r *runner) loop() error {
	c := r.c
	for c.ctx.Err() == nil {
		conn, err := r.dial()
		if err != nil {
			if end := r.failed(err); end != nil {
				return end
			}
			continue
		}
		began := time.Now()
		l := c.attach(conn)
		r.giveUp = false
		r.serve(l, conn)
		err = c.detach(l)
		r.refused = false
		if time.Since(began) > max(r.pause, steady) {
			r.pause, r.redirects = c.opts.Backoff.Min, 0
		}
		if end := r.lost(err); end != nil {
			return end
		}
	}
	return ErrClosed
}

// dial tries the next server.
func (r *runner) dial() (*Conn, error) {
	c := r.c
	srv := r.next()
	c.mu.Lock()
	a := attempt{version: c.version, clientID: c.clientID, cleanStart: !c.persistent}
	if a.version != mqtt.V5 && a.clientID == "" {
		a.clientID = randomID()
		c.clientID = a.clientID
	}
	resume := c.opts.Resume || c.persistent && (c.everOnline || c.store != nil)
	c.mu.Unlock()
	if a.version != mqtt.V5 {
		a.cleanStart = c.opts.SessionExpiry == 0 && !c.opts.Resume
		if !a.cleanStart && !resume && !r.fresh {
			// 3.x cannot ask for a new session that lasts: one connection ends the old one, the next begins.
			clean := a
			clean.cleanStart = true
			conn, err := connect(c.ctx, srv, &c.opts, clean)
			if err != nil {
				return nil, err
			}
			conn.Disconnect(mqtt.NormalDisconnection, nil) //nolint:errcheck // it is over either way
			r.fresh = true
		}
	}
	return connect(c.ctx, srv, &c.opts, a)
}

// next chooses the server: one referred to, or the next of the round.
func (r *runner) next() dial.Server {
	if s := r.redirect; s != nil {
		r.redirect = nil
		return *s
	}
	if len(r.order) == 0 {
		r.order = r.round()
	}
	i := r.order[0]
	r.order = r.order[1:]
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	return r.c.servers[i]
}

// round is the order in which the servers are tried: as given, or drawn by weight.
func (r *runner) round() []int {
	order := make([]int, len(r.c.servers))
	for i := range order {
		order[i] = i
	}
	w := r.c.opts.Weights
	if w == nil {
		return order
	}
	for i := range order {
		sum := 0
		for _, k := range order[i:] {
			sum += w[k]
		}
		n := mathrand.IntN(sum)
		for j := i; ; j++ {
			if n -= w[order[j]]; n < 0 {
				order[i], order[j] = order[j], order[i]
				break
			}
		}
	}
	return order
}

// serve waits for the end of the connection, looking for the preferred server meanwhile, and says goodbye when the client closes.
func (r *runner) serve(l *link, conn *Conn) {
	c := r.c
	var probe <-chan time.Time
	if c.opts.FailBack > 0 && c.opts.Weights == nil && conn.server.URL != c.servers[0].URL {
		t := time.NewTicker(c.opts.FailBack)
		defer t.Stop()
		probe = t.C
	}
	for {
		select {
		case <-l.dead:
			return
		case <-probe:
			if c.reachable() {
				r.order = nil
				c.mu.Lock()
				l.disconnect(&goodbye{})
				c.mu.Unlock()
				probe = nil
			}
		case <-c.ctx.Done():
			c.mu.Lock()
			g := c.bye
			if g == nil {
				g = &goodbye{}
			}
			l.disconnect(g)
			c.mu.Unlock()
			<-l.dead
			return
		}
	}
}

// reachable reports whether the first server takes connections.
func (c *Client) reachable() bool {
	ctx, cancel := context.WithTimeout(c.ctx, c.opts.ConnectTimeout)
	defer cancel()
	nc, err := dial.Open(ctx, c.servers[0], c.opts.dial(c.opts.Version))
	if err != nil {
		return false
	}
	nc.Close()
	return true
}

// failed decides what follows a failed attempt: another server, another version, a pause. An error ends the client.
func (r *runner) failed(err error) error {
	c := r.c
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	c.mu.Lock()
	c.attempt = err
	c.mu.Unlock()
	code, refused := ReasonOf(err)
	if refused {
		if r.referred(err, code) {
			return nil
		}
		if code == mqtt.UnsupportedProtocolVersion && c.opts.Version == 0 && c.opts.Auth == nil && r.older() {
			return nil
		}
	}
	c.report(err)
	r.refused = r.refused || refused && lasting(code)
	if len(r.order) > 0 || r.redirect != nil {
		return nil // the next server of the round is tried at once
	}
	hopeless := r.refused
	r.refused = false
	switch {
	case r.giveUp && (hopeless && refused || c.opts.NoReconnect):
		return err
	case hopeless:
		r.wait(c.opts.Backoff.Max)
	default:
		r.wait(r.pause)
		r.pause = min(2*r.pause, c.opts.Backoff.Max)
	}
	return nil
}

// older falls back to the version before, on the same server.
func (r *runner) older() bool {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.version == mqtt.V31 {
		return false
	}
	c.version--
	r.order = nil
	return true
}

// lasting reports whether a refusal will not mend itself soon: trying again at once would only be a nuisance (E198).
func lasting(code mqtt.ReasonCode) bool {
	switch code {
	case mqtt.NotAuthorized, mqtt.Banned, mqtt.BadUserNameOrPassword, mqtt.ClientIDNotValid, mqtt.UnsupportedProtocolVersion,
		mqtt.BadAuthenticationMethod, mqtt.SessionTakenOver, mqtt.ConnectionRateExceeded, mqtt.MalformedPacket,
		mqtt.ProtocolError, mqtt.TopicNameInvalid, mqtt.PacketTooLarge, mqtt.PayloadFormatInvalid, mqtt.RetainNotSupported,
		mqtt.QoSNotSupported, mqtt.AdministrativeAction:
		return true
	default: // the server is busy, moves, or has a bad day
	}
	return false
}

// lost decides what follows the end of a connection. An error ends the client.
func (r *runner) lost(err error) error {
	c := r.c
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	code, told := ReasonOf(err)
	switch {
	case c.opts.NoReconnect:
		return fmt.Errorf("connection lost: %w", err)
	case told && code == mqtt.SessionTakenOver && c.opts.StopOnTakeover:
		return err
	case told && r.referred(err, code):
		return nil
	case told && lasting(code):
		r.wait(c.opts.Backoff.Max)
	case errors.Is(err, ErrClosed):
		// Left for the preferred server.
	default:
		r.order = nil
		r.wait(r.pause)
		r.pause = min(2*r.pause, c.opts.Backoff.Max)
	}
	return nil
}

// referred follows a Server Reference: 0x9C for this time, 0x9D for good.
func (r *runner) referred(err error, code mqtt.ReasonCode) bool {
	c := r.c
	if code != mqtt.UseAnotherServer && code != mqtt.ServerMoved {
		return false
	}
	var props *mqtt.Properties
	if e, ok := errors.AsType[*Error](err); ok && e.Properties != nil {
		props = e.Properties
	} else if e, ok := errors.AsType[*DisconnectError](err); ok {
		props = e.Properties
	}
	if props == nil || props.ServerReference == "" {
		return false
	}
	if r.redirects++; r.redirects > maxRedirects {
		r.redirects = 0
		c.report(fmt.Errorf("connect: more than %d redirections in a row, the last to %q", maxRedirects, props.ServerReference))
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	to, perr := c.servers[0].Refer(props.ServerReference)
	if perr != nil {
		c.report(fmt.Errorf("connect: %w", perr))
		return false
	}
	if code == mqtt.ServerMoved {
		c.servers[0] = to
	}
	r.redirect = &to
	return true
}

// wait pauses for a random time between half of d and all of it.
func (r *runner) wait(d time.Duration) {
	if d > 1 {
		d = d/2 + time.Duration(mathrand.Int64N(int64(d-d/2)))
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.c.ctx.Done():
	}
}

// randomID makes a client identifier that every server of 3.x takes: 23 letters and digits [MQTT-3.1.3-5].
func randomID() string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	b := []byte("midge")
	for len(b) < mqtt.MaxClientIDV31 {
		n, _ := rand.Int(rand.Reader, big.NewInt(int64(len(letters))))
		b = append(b, letters[n.Int64()])
	}
	return string(b)
}
