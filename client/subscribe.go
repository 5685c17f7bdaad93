package client

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/midgemq/midge/internal/flow"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// Subscription declares that messages are wanted. It is state of the Client: made again whenever the server has lost it, until
// Unsubscribe.
type Subscription struct {
	// Filter is a topic filter, also a shared one ("$share/group/filter").
	Filter string
	// QoS is the highest QoS of deliveries.
	QoS mqtt.QoS
	// Handler gets the messages, on one of the client's goroutines. It may take its time and use the client.
	Handler func(*Message)
	// ManualAck leaves acknowledgement to Message.Ack, as Options.ManualAck does for all.
	ManualAck bool

	// The options of 5.0; a server of 3.x cannot be asked for them.
	NoLocal           bool // not what this client published itself; not with a shared filter
	RetainAsPublished bool
	RetainHandling    byte   // 0: send retained messages, 1: only if the subscription is new, 2: do not
	ID                uint32 // subscription identifier; see Options.SubscriptionIDs
	User              []mqtt.UserProperty
}

// request is a SUBSCRIBE or UNSUBSCRIBE; it stays true across connections. Guarded by Client.mu.
type request struct {
	unsubscribe bool
	entries     []wanted // of SUBSCRIBE
	filters     []string // of UNSUBSCRIBE
	user        []mqtt.UserProperty
	again       bool // a renewal, or declared before Start: nobody waits
	sent        bool
	done        chan struct{}
	err         error
	finished    bool
}

// wanted is one filter of a SUBSCRIBE: a declaration of the program, or without a claim the renewal of the whole entry.
type wanted struct {
	f     *filterEntry
	claim *claim
}

func (w wanted) sub() *Subscription {
	if w.claim != nil {
		return &w.claim.sub
	}
	return &w.f.sub
}

func (r *request) op() string {
	if r.unsubscribe {
		return "unsubscribe"
	}
	return "subscribe"
}

func (r *request) finish(err error) {
	if !r.finished {
		r.finished, r.err = true, err
		close(r.done)
	}
}

// Subscribe declares subscriptions and waits until the server has granted them. Refused ones are withdrawn and make the error: for
// each an *Error with its Filter and Code, joined; an earlier subscription to the same filter then stands as it was.
//
// Before Start or Connect it declares and returns at once: the handlers are there for the first message of a resumed session. The
// first connection asks for all that was declared, whether the server has the session or not, for nobody knows what an earlier run
// declared; RetainHandling 1 spares the retained messages that it had. A refusal goes to Options.OnError.
//
// Messages may reach a handler before Subscribe returns [U5-3.8.4-1]. When the
// context ends first, what was not sent is withdrawn; what was sent stays declared.
func (c *Client) Subscribe(ctx context.Context, subs ...Subscription) error {
	receivers := make([]*receiver, len(subs))
	for i := range subs {
		if subs[i].Handler == nil {
			return notSent("subscribe", fmt.Errorf("filter %q: no handler", subs[i].Filter))
		}
		receivers[i] = &receiver{handler: subs[i].Handler, manual: subs[i].ManualAck || c.opts.ManualAck}
	}
	return c.subscribe(ctx, subs, receivers)
}

// Handle is Subscribe for one filter with the options that most want; it may be called before Connect too.
func (c *Client) Handle(ctx context.Context, filter string, qos mqtt.QoS, handler func(*Message)) error {
	return c.Subscribe(ctx, Subscription{Filter: filter, QoS: qos, Handler: handler})
}

func (c *Client) subscribe(ctx context.Context, subs []Subscription, receivers []*receiver) error {
	if len(subs) == 0 {
		return notSent("subscribe", errors.New("no filter [MQTT-3.8.3-2]"))
	}
	inner := make([]string, len(subs))
	for i := range subs {
		var err error
		if inner[i], err = checkSubscription(&subs[i]); err != nil {
			return notSent("subscribe", fmt.Errorf("filter %q: %w", subs[i].Filter[:min(len(subs[i].Filter), 100)], err))
		}
	}
	c.mu.Lock()
	if c.err != nil || c.bye != nil {
		err := c.err
		c.mu.Unlock()
		return closedWith("subscribe", err)
	}
	if l := c.link; l != nil {
		for i := range subs {
			if err := l.checkFilter(&subs[i], inner[i]); err != nil {
				c.mu.Unlock()
				return notSent("subscribe", fmt.Errorf("filter %q: %w", subs[i].Filter, err))
			}
		}
	}
	// One packet has one identifier and one set of user properties.
	var requests []*request
	for i := range subs {
		c.assignID(&subs[i])
		f := c.subs.add(subs[i], inner[i], receivers[i])
		last := len(requests) - 1
		if last < 0 || requests[last].entries[0].sub().ID != f.sub().ID || !slices.Equal(requests[last].user, subs[i].User) {
			requests = append(requests, &request{user: subs[i].User, again: !c.started, done: make(chan struct{})})
			last++
		}
		requests[last].entries = append(requests[last].entries, f)
	}
	for _, r := range requests {
		c.issue(r)
	}
	early := !c.started
	c.mu.Unlock()
	if early {
		return nil
	}
	var errs []error
	for _, r := range requests {
		errs = append(errs, c.await(ctx, r))
	}
	return errors.Join(errs...)
}

func checkSubscription(s *Subscription) (inner string, err error) {
	if err := mqtt.CheckFilter(s.Filter); err != nil {
		return "", err
	}
	_, inner, shared, err := mqtt.ParseShared(s.Filter)
	switch {
	case err != nil:
		return "", err
	case !s.QoS.Valid():
		return "", fmt.Errorf("QoS %d is not 0, 1 or 2", s.QoS)
	case s.RetainHandling > 2:
		return "", fmt.Errorf("retain handling %d is not 0, 1 or 2", s.RetainHandling)
	case shared && s.NoLocal:
		return "", errors.New("no local is not for shared subscriptions [MQTT-3.8.3-4]")
	case s.ID > mqtt.MaxSubscriptionID:
		return "", fmt.Errorf("subscription identifier %d is above 268435455", s.ID)
	}
	return inner, packet.CheckProperties(packet.SUBSCRIBE, &mqtt.Properties{User: s.User})
}

// checkFilter judges a subscription by what the server announced (E196).
func (l *link) checkFilter(s *Subscription, inner string) error {
	lim := &l.conn.limits
	switch {
	case !lim.shared && inner != s.Filter:
		return fmt.Errorf("shared subscriptions: %w", ErrNotSupported)
	case !lim.wildcard && containsWildcard(inner):
		return fmt.Errorf("wildcards: %w", ErrNotSupported)
	case s.ID != 0 && !lim.subIDs:
		return fmt.Errorf("subscription identifiers: %w", ErrNotSupported)
	case l.conn.v != mqtt.V5 && (s.NoLocal || s.RetainAsPublished || s.RetainHandling != 0):
		return fmt.Errorf("subscription options: %w", ErrNotSupported)
	}
	return nil
}

func containsWildcard(filter string) bool {
	return slices.ContainsFunc([]byte(filter), func(b byte) bool { return b == '+' || b == '#' })
}

func (c *Client) assignID(s *Subscription) {
	if s.ID != 0 || !c.opts.SubscriptionIDs || c.link != nil && !c.link.conn.limits.subIDs {
		return
	}
	if f := c.subs.filters[s.Filter]; f != nil && f.sub.ID != 0 {
		s.ID = f.sub.ID
		return
	}
	c.subs.nextID++
	s.ID = c.subs.nextID
}

// issue sends a request, or keeps it until there is a connection. mu is held.
func (c *Client) issue(r *request) {
	l := c.link
	if l == nil || l.closing || l.stopped {
		c.requests = append(c.requests, r)
		return
	}
	if err := c.sendRequest(l, r); err != nil {
		err = notSent(r.op(), err)
		c.takeBack(r, err)
		r.finish(err)
	}
}

// takeBack undoes the declarations of a request that cannot be made. mu is held.
func (c *Client) takeBack(r *request, err error) {
	for _, w := range r.entries {
		c.refuse(r, w, err)
	}
	if r.again {
		c.report(err)
	}
}

// refuse undoes one declaration. An earlier one that the server does not have in this session yet is made now. mu is held.
func (c *Client) refuse(r *request, w wanted, err error) {
	if r.again {
		c.endStream(w, err)
	}
	f := c.subs.refuse(w)
	if f != nil && !f.confirmed && c.link != nil && f.claims[len(f.claims)-1].granted {
		c.renew(c.link, []*filterEntry{f})
	}
}

// endStream tells the readers of a refused subscription, who do not wait for the answer any more. mu is held.
func (c *Client) endStream(w wanted, err error) {
	switch {
	case w.claim == nil:
		c.endStreams(w.f, err)
	case w.claim.r.stream != nil:
		w.claim.r.stream.end(err)
	}
}

// sendRequest appends the packet of a request. Identifiers come from the one pool that PUBLISH uses too (E197). mu is held.
func (c *Client) sendRequest(l *link, r *request) error {
	id, ok := c.sender.Start(flow.Reserved, exchange{req: r})
	if !ok {
		return errors.New("all 65,535 packet identifiers are in use")
	}
	v5 := l.conn.v == mqtt.V5
	props := packet.AppendProperties(nil, packet.SUBSCRIBE, &mqtt.Properties{User: r.user})
	var p packet.Packet
	if r.unsubscribe {
		u := &packet.Unsubscribe{PacketID: id, Props: props}
		for _, f := range r.filters {
			u.AddFilter(f)
		}
		p = u
	} else {
		s := &packet.Subscribe{PacketID: id, Props: props}
		if n := r.entries[0].sub().ID; n != 0 && l.conn.limits.subIDs {
			s.Props = packet.AppendUint(s.Props, packet.PropSubscriptionID, n)
		}
		for _, w := range r.entries {
			sub := w.sub()
			o := packet.MakeSubOptions(sub.QoS, false, false, 0)
			if v5 {
				o = packet.MakeSubOptions(sub.QoS, sub.NoLocal, sub.RetainAsPublished, sub.RetainHandling)
			}
			s.AddFilter(sub.Filter, o)
		}
		p = s
	}
	if err := l.appendPacket(p); err != nil {
		c.sender.Release(id)
		return err
	}
	r.sent = true
	return nil
}

// await waits for the answer to a request.
func (c *Client) await(ctx context.Context, r *request) error {
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.finished {
		return r.err
	}
	if i := slices.Index(c.requests, r); i >= 0 && !r.sent {
		c.requests = slices.Delete(c.requests, i, i+1)
		for _, w := range r.entries {
			c.subs.refuse(w)
		}
		return ended(ctx, r.op(), NotSent)
	}
	return ended(ctx, r.op(), Unknown)
}

// suback takes a SUBACK. mu is held.
func (c *Client) suback(id uint16, codes []byte, props packet.Props) error {
	x, result := c.sender.Release(id)
	if result == flow.Unknown {
		return nil // asked for on an earlier connection
	}
	r := x.req
	if result != flow.Finished || r == nil || r.unsubscribe {
		return violation(mqtt.ProtocolError, "SUBACK for packet identifier %d, which is not that of a SUBSCRIBE", id)
	}
	if len(codes) != len(r.entries) {
		err := violation(mqtt.ProtocolError, "SUBACK with %d reason codes for %d filters [MQTT-3.9.3-1]", len(codes), len(r.entries))
		r.finish(unknown(r.op(), err))
		return err
	}
	var errs []error
	for i, w := range r.entries {
		code := mqtt.ReasonCode(codes[i])
		if !code.IsError() {
			w.f.granted = code
			c.subs.grant(w)
			continue
		}
		err := &Error{Op: r.op(), Outcome: Refused, Code: code, Filter: w.sub().Filter, Properties: props.Parse()}
		errs = append(errs, err)
		c.refuse(r, w, err)
	}
	err := errors.Join(errs...)
	if r.again && err != nil {
		c.report(err)
	}
	r.finish(err)
	return nil
}

// endStreams tells the readers of a subscription that there will be no more. mu is held.
func (c *Client) endStreams(f *filterEntry, err error) {
	for _, r := range f.receivers {
		if r.stream != nil {
			r.stream.end(err)
		}
	}
}

// Granted returns what the server said to a subscription: the QoS it granted, as a reason code.
func (c *Client) Granted(filter string) (mqtt.ReasonCode, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.subs.filters[filter]
	if f == nil || !f.confirmed {
		return 0, false
	}
	return f.granted, true
}

// Unsubscribe withdraws subscriptions and waits for the server's UNSUBACK. Handlers get no more messages from now on; a message
// that matches no subscription any more is acknowledged all the same.
func (c *Client) Unsubscribe(ctx context.Context, filters ...string) error {
	if len(filters) == 0 {
		return notSent("unsubscribe", errors.New("no filter [MQTT-3.10.3-2]"))
	}
	for _, f := range filters {
		if err := mqtt.CheckFilter(f); err != nil {
			return notSent("unsubscribe", fmt.Errorf("filter %q: %w", f[:min(len(f), 100)], err))
		}
	}
	c.mu.Lock()
	if c.err != nil || c.bye != nil {
		err := c.err
		c.mu.Unlock()
		return closedWith("unsubscribe", err)
	}
	for _, name := range filters {
		if f := c.subs.filters[name]; f != nil {
			c.subs.remove(f)
			c.endStreams(f, nil)
		}
	}
	r := &request{unsubscribe: true, filters: filters, done: make(chan struct{})}
	c.issue(r)
	c.mu.Unlock()
	return c.await(ctx, r)
}

// unsuback takes an UNSUBACK. mu is held.
func (c *Client) unsuback(id uint16, codes []byte, props packet.Props, v mqtt.Version) error {
	x, result := c.sender.Release(id)
	if result == flow.Unknown {
		return nil
	}
	r := x.req
	if result != flow.Finished || r == nil || !r.unsubscribe {
		return violation(mqtt.ProtocolError, "UNSUBACK for packet identifier %d, which is not that of an UNSUBSCRIBE", id)
	}
	if v == mqtt.V5 && len(codes) != len(r.filters) {
		err := violation(mqtt.ProtocolError, "UNSUBACK with %d reason codes for %d filters [MQTT-3.11.3-1]", len(codes), len(r.filters))
		r.finish(unknown(r.op(), err))
		return err
	}
	var errs []error
	for i, b := range codes {
		if code := mqtt.ReasonCode(b); code.IsError() {
			errs = append(errs, &Error{Op: r.op(), Outcome: Refused, Code: code, Filter: r.filters[i], Properties: props.Parse()})
		}
	}
	r.finish(errors.Join(errs...))
	return nil
}

// maxRenewal is how many filters one packet renews; a server's limits are met by halves.
const maxRenewal = 500

// resubscribe makes the declared subscriptions again on a new connection, if the server has lost them, and sends the requests that
// wait. mu is held.
func (c *Client) resubscribe(l *link, known bool) {
	waiting := c.requests
	c.requests = nil
	asked := map[*filterEntry]bool{}
	for _, r := range waiting {
		for _, w := range r.entries {
			asked[w.f] = true
		}
	}
	if !known {
		var list []*filterEntry
		for _, f := range c.subs.order {
			if f.confirmed = false; !asked[f] {
				list = append(list, f)
			}
		}
		c.renew(l, list)
	}
	for _, r := range waiting {
		if r.unsubscribe && !known {
			r.finish(nil) // a session that is gone has no subscriptions
			continue
		}
		r.entries = slices.DeleteFunc(r.entries, func(w wanted) bool { return c.subs.filters[w.sub().Filter] != w.f })
		if !r.unsubscribe && len(r.entries) == 0 {
			r.finish(nil)
			continue
		}
		c.issue(r)
	}
}

// renew sends SUBSCRIBE for filters, in packets of filters with one identifier.
func (c *Client) renew(l *link, list []*filterEntry) {
	for len(list) > 0 {
		n := 1
		for n < len(list) && n < maxRenewal && list[n].sub.ID == list[0].sub.ID && slices.Equal(list[n].sub.User, list[0].sub.User) {
			n++
		}
		c.renewPart(l, list[:n])
		list = list[n:]
	}
}

func (c *Client) renewPart(l *link, list []*filterEntry) {
	for _, f := range list {
		if err := l.checkFilter(&f.sub, f.inner); err != nil && len(list) == 1 {
			c.report(notSent("subscribe", fmt.Errorf("filter %q: %w", f.sub.Filter, err)))
			return
		} else if err != nil {
			c.renewPart(l, list[:len(list)/2])
			c.renewPart(l, list[len(list)/2:])
			return
		}
	}
	entries := make([]wanted, len(list))
	for i, f := range list {
		entries[i].f = f
	}
	r := &request{entries: entries, user: list[0].sub.User, again: true, done: make(chan struct{})}
	err := c.sendRequest(l, r)
	if err == nil {
		return
	}
	if errors.Is(err, ErrPacketTooLarge) && len(list) > 1 {
		c.renewPart(l, list[:len(list)/2])
		c.renewPart(l, list[len(list)/2:])
		return
	}
	c.report(notSent("subscribe", err))
}
