package hub

import (
	"strings"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/mqtt"
)

// root is the listener as it was opened: what a reload replaces is found there.
func (l *Listener) root() *Listener {
	if l.from != nil {
		return l.from
	}
	return l
}

// Secure puts in force what the listener asks of its clients, of those that are
// connected, too; tell each shard to Review afterwards. Any goroutine.
func (l *Listener) Secure(s *auth.Security) { l.root().security.Store(s) }

// Security returns what the listener asks of its clients. Any goroutine.
func (h *Hub) Security(l *Listener) *auth.Security {
	r := l.root()
	if s := r.security.Load(); s != nil {
		return s
	}
	// A hub without a broker around it.
	r.security.CompareAndSwap(nil, &auth.Security{Policy: h.Cfg().Policy, AllowAnonymous: r.AllowAnonymous})
	return r.security.Load()
}

// SecureOrphans says what holds for sessions whose listener is not known, after
// a restart, until their client is back. Any goroutine.
func (h *Hub) SecureOrphans(s *auth.Security) { h.orphans.Store(s) }

func (h *Hub) orphanSecurity() *auth.Security {
	if s := h.orphans.Load(); s != nil {
		return s
	}
	h.orphans.CompareAndSwap(nil, &auth.Security{Policy: h.Cfg().Policy})
	return h.orphans.Load()
}

// maxVerdicts bounds the verdicts that are kept for one client; beyond it the
// authorizer is asked each time, until renew answers later the table is emptied,
// as clients move on to other topics.
const (
	maxVerdicts = 64
	renew       = 4096
)

// rights are what a client may do, for the time of one connection and after it.
type rights struct {
	// immutable
	who      auth.Client
	listener *Listener
	proof    any
	vouched  bool // the user name came from a certificate

	// owned by the loop of the session; verdicts hold under one Security and
	// generation
	under    *auth.Security
	steady   auth.Steady
	gen      uint64
	verdicts map[string]verdict
	past     int // answers since the table was full
}

type verdict uint8

const (
	knownRead verdict = 1 << iota
	knownWrite
	mayRead
	mayWrite
)

// may answers from the table, or asks. On the loop of the session.
func (r *rights) may(h *Hub, a auth.Action, topic string) bool {
	s := h.Security(r.listener)
	if s.Authorizer == nil {
		return true
	}
	if s != r.under {
		r.under = s
		r.steady, _ = s.Authorizer.(auth.Steady)
		r.verdicts = nil
	}
	if r.steady == nil || a == auth.Subscribe {
		return !s.Authorizer.Authorize(&r.who, a, topic).IsError()
	}
	if g := r.steady.Generation(); g != r.gen {
		r.gen, r.verdicts = g, nil
	}
	known, yes := knownRead, mayRead
	if a == auth.Publish {
		known, yes = knownWrite, mayWrite
	}
	v, had := r.verdicts[topic]
	if v&known != 0 {
		return v&yes != 0
	}
	ok := !s.Authorizer.Authorize(&r.who, a, topic).IsError()
	if !had && len(r.verdicts) >= maxVerdicts {
		if r.past++; r.past < renew {
			return ok
		}
		r.verdicts, r.past = nil, 0
	}
	if v |= known; ok {
		v |= yes
	}
	if r.verdicts == nil {
		r.verdicts = make(map[string]verdict)
	}
	r.verdicts[strings.Clone(topic)] = v // topic may point into the read buffer
	return ok
}

// mayAnywhere asks without the table, from any loop.
func (r *rights) mayAnywhere(h *Hub, a auth.Action, topic string) bool {
	s := h.Security(r.listener)
	return s.Authorizer == nil || !s.Authorizer.Authorize(&r.who, a, topic).IsError()
}

// admitRights notes who the client is. Without anybody to ask nothing is kept; a
// reload that brings somebody makes it up, see Review. A login that was judged
// by what a reload has replaced meanwhile is judged again once it is complete.
func (sh *Shard) admitRights(c *Client, l Link, a *Admission) {
	c.listener, c.hasUser = a.Listener.root(), a.HasUserName
	s := sh.Hub.Security(c.listener)
	var r *rights
	if s.Authorizer != nil || s.Authenticator != nil || a.Vouched {
		r = &rights{who: a.Client, listener: c.listener, proof: a.Proof, vouched: a.Vouched}
		if r.who.Address == "" { // there was nobody to ask when it came
			r.who.Address, _ = l.Describe()
		}
	}
	c.rights.Store(r)
	if a.Under != nil && a.Under != s {
		c.Post(func(sh *Shard) {
			if c.link == l {
				sh.stands(c, s, r)
			}
		})
	}
}

// forgetVerdicts gives the table of a client that is gone back.
func (c *Client) forgetVerdicts() {
	if r := c.rights.Load(); r != nil {
		r.under, r.steady, r.verdicts = nil, nil, nil
	}
}

// may asks whether the client may do something with a topic now; a right that was
// removed stops at once. On its loop: of a client of another one the right to read
// is asked there, before the message is delivered. What a session from before a
// restart may read is asked when its client is back.
func (sh *Shard) may(c *Client, a auth.Action, topic string) bool {
	r := c.rights.Load()
	return r == nil || r.may(sh.Hub, a, topic)
}

// able reports whether a member of a shared group can be given the message that
// is being routed. Any loop's member.
func (sh *Shard) able(c *Client) bool {
	if !online(c) {
		return false
	}
	r := c.rights.Load()
	switch {
	case r == nil:
		return true
	case c.shard.Load() == sh:
		return r.may(sh.Hub, auth.Receive, sh.routed.Topic)
	}
	return r.mayAnywhere(sh.Hub, auth.Receive, sh.routed.Topic)
}

// mayPublishWill asks for the right to publish a will, at the moment when that is
// due.
func (sh *Shard) mayPublishWill(c *Client, topic string) bool {
	if r := c.rights.Load(); r != nil {
		return r.may(sh.Hub, auth.Publish, topic)
	}
	if c.listener != nil {
		return true
	}
	az := sh.Hub.orphanSecurity().Authorizer
	return az == nil || !az.Authorize(c.orphan(), auth.Publish, topic).IsError()
}

// orphan is what is known of a client that was not here since the start.
func (c *Client) orphan() *auth.Client {
	user := c.S.UserName()
	return &auth.Client{ID: c.ID, UserName: user, HasUserName: user != "", Version: c.S.Version()}
}

// sourceMay is check_retain_source for one message: whether who published it may
// still do so. It is true where the option is off or the broker published it.
func (sh *Shard) sourceMay(m *record.Message) bool {
	if !m.Retain || m.Publisher == "" || !sh.Hub.Cfg().CheckRetainSource {
		return true
	}
	who := auth.Client{ID: m.Publisher, UserName: m.PublisherUser, HasUserName: m.PublisherUser != ""}
	s := sh.Hub.orphanSecurity()
	if p := sh.Hub.Find(m.Publisher); p != nil {
		if r := p.rights.Load(); r != nil && r.who.UserName == m.PublisherUser {
			s = sh.Hub.Security(r.listener)
		}
	}
	return s.Authorizer == nil || !s.Authorizer.Authorize(&who, auth.Publish, m.Topic).IsError()
}

// MayWill asks whether the client may publish its will; a will that could never
// be published is refused at CONNECT.
func (sh *Shard) MayWill(a *Admission) bool {
	w := a.Conn.Will
	if w == nil {
		return true
	}
	if w.Msg.Topic[0] == '$' && !writable(w.Msg.Topic) {
		return false
	}
	az := sh.Hub.Security(a.Listener).Authorizer
	return az == nil || !az.Authorize(&a.Client, auth.Publish, w.Msg.Topic).IsError()
}

// checkIDRules are the listener's rules on client ids that hold before anybody
// is asked.
func (sh *Shard) checkIDRules(a *Admission) *End {
	if !sh.Hub.Security(a.Listener).IDAllowed(a.ID) {
		return refuse(mqtt.NotAuthorized, logging.ReasonNotAuthorised, "client identifier has not the prefix that is asked for")
	}
	return nil
}

// Rename is use_username_as_clientid: the session goes by the user name. A
// non-nil End refuses a client without one.
func (sh *Shard) Rename(a *Admission) *End {
	if !sh.Hub.Security(a.Listener).UserNameAsID {
		return nil
	}
	if a.UserName == "" {
		return refuse(mqtt.NotAuthorized, logging.ReasonNotAuthorised, "a user name is needed, as it becomes the client identifier")
	}
	a.ID = a.UserName
	if w := a.Conn.Will; w != nil {
		w.Msg.Publisher = a.ID
	}
	return nil
}

// Review looks at every client of this shard after the rules have changed: who
// may not be connected any more is disconnected, subscriptions that are not
// permitted rest until they are. What is delivered, queued, retained or a will is
// judged when its turn comes. On the shard's loop.
func (sh *Shard) Review() (ended int) {
	sh.rounds++
	for _, c := range sh.clients() {
		if sh.review(c) {
			ended++
		}
	}
	return ended
}

// review looks at one client; ended: it is disconnected.
func (sh *Shard) review(c *Client) (ended bool) {
	if c.listener == nil {
		return false
	}
	s := sh.Hub.Security(c.listener)
	r := c.rights.Load()
	if r == nil && (s.Authorizer != nil || s.Authenticator != nil) {
		r = &rights{who: *c.orphan(), listener: c.listener}
		r.who.HasUserName = c.hasUser
		if c.link != nil {
			r.who.Address, _ = c.link.Describe()
		}
		c.rights.Store(r)
	}
	if c.link != nil && !sh.stands(c, s, r) {
		return true
	}
	sh.reviewSubscriptions(c)
	return false
}

// stands keeps a client connected or ends the connection.
func (sh *Shard) stands(c *Client, s *auth.Security, r *rights) bool {
	who, vouched := auth.Client{ID: c.ID, UserName: c.S.UserName(), HasUserName: c.hasUser, Version: c.S.Version()}, false
	var proof any
	if r != nil {
		who, proof, vouched = r.who, r.proof, r.vouched
	}
	ok, why := s.Stands(&who, proof, vouched)
	if !ok {
		sh.Hub.Log.Notice("Client %s may not be connected any more: %s.", c.ID, why)
		c.link.Kick(End{Code: mqtt.NotAuthorized, Reason: logging.ReasonNotAuthorised, Text: "the rules have changed"})
	}
	return ok
}

// reviewSubscriptions takes the subscriptions that the client may not hold out
// of the tree and puts back those that it may hold again. The session keeps all.
func (sh *Shard) reviewSubscriptions(c *Client) {
	if c.rights.Load() == nil {
		return
	}
	c.S.Subscriptions(func(s *record.Subscription) bool {
		_, inner, shared, _ := mqtt.ParseShared(s.Filter)
		if !shared {
			inner = s.Filter
		}
		_, rests := c.resting[s.Filter]
		switch ok := sh.may(c, auth.Subscribe, inner); {
		case !ok && !rests:
			if c.resting == nil {
				c.resting = make(map[string]struct{})
			}
			c.resting[s.Filter] = struct{}{}
			sh.Hub.leave(c, s.Filter)
			sh.stopCursors(c, inner)
			sh.Hub.Log.Notice("Client %s may not subscribe to %s any more.", c.ID, s.Filter)
		case ok && rests:
			delete(c.resting, s.Filter)
			sh.Hub.enter(c, s)
		}
		return true
	})
}

// Writable reports whether clients may publish to a topic at all, whatever their
// rights.
func Writable(topic string) bool { return topic == "" || topic[0] != '$' || writable(topic) }

// ListenerOf returns the listener that a client came by last, nil when that is
// not known. Any goroutine.
func (h *Hub) ListenerOf(id string) *Listener {
	c := h.Find(id)
	if c == nil {
		return nil
	}
	if r := c.rights.Load(); r != nil {
		return r.listener
	}
	return nil
}
