package client

import (
	"fmt"
	"time"

	"github.com/midgemq/midge/client/outbox"
	"github.com/midgemq/midge/internal/flow"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// gate is what may happen once a change is in the store.
type gate struct {
	kind gateKind
	link *link
	out  *outgoing
	id   uint16
}

type gateKind uint8

const (
	gateNone    gateKind = iota
	gateSaved            // the message may be sent
	gateSend             // PUBLISH
	gatePubrel           // PUBREL
	gatePubrec           // PUBREC
	gatePubcomp          // PUBCOMP
)

// persister collects changes and commits them in batches: what is added while one commit runs shares the next. Its goroutine lives
// while there is work. All fields are guarded by Client.mu; Commit runs without it.
type persister struct {
	c       *Client
	changes []outbox.Change
	gates   []gate
	busy    bool
	idle    chan struct{}
}

func (p *persister) init(c *Client) { p.c = c }

// add queues a change and what waits for it. mu is held and there is a store.
func (p *persister) add(ch outbox.Change, g gate) {
	p.changes = append(p.changes, ch)
	if g.kind != gateNone {
		p.gates = append(p.gates, g)
	}
	if !p.busy {
		p.busy = true
		p.idle = make(chan struct{})
		go p.run()
	}
}

func (p *persister) run() {
	c := p.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(p.changes) > 0 {
		changes, gates := p.changes, p.gates
		p.changes, p.gates = nil, nil
		c.mu.Unlock()
		err := c.store.Commit(changes)
		c.mu.Lock()
		if err != nil {
			p.changes, p.gates = nil, nil
			c.cancel(fmt.Errorf("store: %w", err))
			break
		}
		for i := range gates {
			c.open(&gates[i])
		}
		c.pump()
	}
	p.busy = false
	close(p.idle)
}

// wait returns when nothing is left to commit.
func (p *persister) wait() {
	for {
		p.c.mu.Lock()
		busy, idle := p.busy, p.idle
		p.c.mu.Unlock()
		if !busy {
			return
		}
		<-idle
	}
}

// open does what a commit has allowed. What was meant for a connection that is gone is dropped: the next one sends it again. mu is
// held.
func (c *Client) open(g *gate) {
	if g.out != nil {
		g.out.durable = true
		g.out.setDurable()
	}
	l := g.link
	if l == nil || l != c.link || l.closing {
		return
	}
	switch g.kind {
	case gateSend:
		l.transmit(g.out, g.id)
	case gatePubrel:
		l.ack(packet.PUBREL, g.id, mqtt.Success)
	case gatePubrec:
		l.ack(packet.PUBREC, g.id, mqtt.Success)
	case gatePubcomp:
		l.ack(packet.PUBCOMP, g.id, mqtt.Success)
	default: // nothing to send
	}
}

// restore takes over what an earlier run left in the store.
func (c *Client) restore(s outbox.State) {
	same := s.ClientID != "" && (c.opts.ClientID == "" || c.opts.ClientID == s.ClientID)
	if same {
		c.clientID = s.ClientID
	}
	resume := s.Session && same && c.opts.SessionExpiry > 0
	c.persistent = c.persistent || resume
	if resume {
		for _, id := range s.Received {
			c.received.Accept(id)
		}
	} else if s.Session {
		c.persist.add(outbox.Change{Kind: outbox.ClearSession}, gate{})
	}
	for i := range s.Messages {
		m := &s.Messages[i]
		o := restored(m)
		c.seq = max(c.seq, m.Seq)
		c.queued++
		c.queuedLen += o.size()
		switch {
		case m.ID == 0 || !resume && !m.Released && c.mayRequeue(o):
			if m.ID != 0 {
				c.persist.add(outbox.Change{Kind: outbox.AssignID, Seq: m.Seq}, gate{})
			}
			c.backlog.push(o)
		case !resume && (!m.Released || c.opts.AfterSessionLoss != RequeueAll):
			o.sent = true
			c.end(o, 0, nil, unknown("publish", ErrSessionLost))
			c.report(unknown("publish", fmt.Errorf("stored message %d to %q: %w", m.Seq, m.Topic, ErrSessionLost)))
		case !resume:
			c.persist.add(outbox.Change{Kind: outbox.AssignID, Seq: m.Seq}, gate{})
			c.backlog.push(o)
		default:
			st := awaiting(o.qos)
			if m.Released {
				st = flow.AwaitPubcomp
			}
			o.sent = true
			if !c.sender.Restore(m.ID, st, exchange{out: o}) {
				o.sent = false
				c.backlog.push(o) // two messages with one identifier: the store was mended by hand
			}
		}
	}
}

// mayRequeue tells whether a message that was sent in a session now lost is sent again as a new one.
func (c *Client) mayRequeue(o *outgoing) bool {
	switch c.opts.AfterSessionLoss {
	case RequeueAll:
		return true
	case FailAll:
		return false
	default:
		return o.qos == mqtt.AtLeastOnce
	}
}

// restored makes a message of what the store has. Its expiry interval begins anew.
func restored(m *outbox.Message) *outgoing {
	o := &outgoing{
		topic: m.Topic, payload: m.Payload, props: m.Properties, seq: m.Seq, qos: m.QoS, retain: m.Retain, durable: true,
	}
	o.setDurable()
	if left, ok := m.Properties.Uint(packet.PropMessageExpiry); ok {
		o.props = packet.AppendExcept(nil, m.Properties, packet.SetOf(packet.PropMessageExpiry))
		o.expires = time.Now().Add(time.Duration(left) * time.Second)
	}
	return o
}
