package script

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
	"github.com/midgemq/midge/internal/testkit/target"
)

// names tells whether the left side of "<-" names that client: a name, or
// several joined by '|' of which any may receive.
func (r *runner) names(w word, name string) bool {
	s, err := r.expand(w.value)
	return err == nil && slices.Contains(strings.Split(s, "|"), name)
}

// expectStmt runs "NAME <- …".
func (r *runner) expectStmt(left word, words []word) error {
	s, err := r.expand(left.value)
	if err != nil {
		return err
	}
	names := strings.Split(s, "|")
	var list []*client
	for _, n := range names {
		c := r.clients[n]
		if c == nil {
			return fmt.Errorf("no client %q", n)
		}
		list = append(list, c)
	}
	chain, err := r.buildExpect(words, list[0].v)
	if err != nil {
		return err
	}
	c := list[0]
	if len(list) > 1 {
		if c, err = r.firstToHear(list); err != nil {
			return err
		}
		r.vars["who"] = c.name
	}
	return r.meet(c, chain)
}

// firstToHear waits until one of several clients has a packet. The others are
// polled in turn, each for a moment, until the deadline.
func (r *runner) firstToHear(list []*client) (*client, error) {
	deadline := time.Now().Add(r.o.Wait)
	for {
		for _, c := range list {
			if len(c.queue) > 0 {
				return c, nil
			}
			err := c.read(time.Millisecond)
			if err == nil && len(c.queue) > 0 {
				return c, nil
			}
			if err != nil && !errors.Is(err, target.ErrQuiet) && !errors.Is(err, io.EOF) {
				return nil, err
			}
		}
		if r.tgt.Synchronous() || time.Now().After(deadline) {
			return nil, fmt.Errorf("none of the clients received anything")
		}
	}
}

// meet runs a chain of expectations on one client.
func (r *runner) meet(c *client, chain []step) error {
	chain = r.resolve(c, chain)
	for _, alts := range chain {
		if err := r.meetStep(c, alts); err != nil {
			return err
		}
	}
	return nil
}

// resolve replaces ERROR and REFUSED by what the connection's version knows.
func (r *runner) resolve(c *client, chain []step) []step {
	var out []step
	for i, alts := range chain {
		m := alts[0]
		if m.typ == rawmqtt.DISCONNECT && r.o.Foreign && i+1 < len(chain) && chain[i+1][0].typ == wantClose {
			m.optional = true
		}
		if m.typ != wantError && m.typ != wantRefused {
			out = append(out, alts)
			continue
		}
		reason, ok := m.fields["reason"]
		if !ok {
			reason = word{value: "0x80..0xFF"}
		}
		p := &matcher{typ: rawmqtt.DISCONNECT, src: m.src, absent: map[byte]bool{}, fields: map[string]word{"reason": reason}}
		closing := &matcher{typ: wantClose, src: m.src}
		switch {
		case m.typ == wantRefused:
			p.typ = rawmqtt.CONNACK
			if c.v != rawmqtt.V5 {
				code, bare := refusalV3(reason.value)
				p.fields["reason"] = word{value: code}
				if bare {
					p = nil
				}
			}
		case c.v != rawmqtt.V5:
			p = nil
		case !c.online:
			// Before the CONNACK only a CONNACK may say why, and need not.
			p.typ, p.optional = rawmqtt.CONNACK, true
		default:
			p.optional = r.o.Foreign
		}
		if p != nil {
			out = append(out, step{p})
		}
		out = append(out, step{closing})
	}
	return out
}

// refusalV3 maps MQTT 5.0 reason codes to the return code of a 3.x CONNACK;
// bare means that none fits and the connection is closed without one.
func refusalV3(reasons string) (code string, bare bool) {
	table := map[string]string{
		"0x84": "1", "0x85": "2", "0x88": "3", "0x89": "3", "0x97": "3", "0x9C": "3", "0x9D": "3", "0x9F": "3",
		"0x86": "4", "0x87": "5", "0x8A": "5", "0x8C": "5",
	}
	var codes []string
	for _, r := range strings.Split(reasons, "|") {
		if c, ok := table[r]; ok && !slices.Contains(codes, c) {
			codes = append(codes, c)
		}
	}
	return strings.Join(codes, "|"), len(codes) == 0
}

func (r *runner) meetStep(c *client, alts step) error {
	first := alts[0]
	switch first.typ {
	case wantClose:
		if c.gone {
			return fmt.Errorf("%s: the close was seen before", c.name)
		}
		return r.awaitClose(c, false)
	case wantNothing:
		return r.nothing(c)
	}
	if c.gone {
		return fmt.Errorf("%s is closed", c.name)
	}
	if len(c.queue) == 0 {
		if err := r.readSome(c); err != nil {
			if first.optional && (errors.Is(err, io.EOF) || errors.Is(err, target.ErrQuiet)) {
				return nil
			}
			return r.missing(c, err, first.src)
		}
	}
	p := c.queue[0]
	var why []string
	for _, m := range alts {
		err := m.match(r.env, p, c.v)
		if err == nil {
			c.queue = c.queue[1:]
			return r.finish(c, m, p)
		}
		why = append(why, fmt.Sprintf("%s: %v", m.src, err))
	}
	if first.optional && p.Type != first.typ {
		return nil
	}
	return fmt.Errorf("%s: %s came, expected %s", c.name, p, strings.Join(why, " | "))
}

// readSome reads until a packet is queued: a fence's PINGRESP is none.
func (r *runner) readSome(c *client) error {
	deadline := time.Now().Add(r.o.Wait)
	for len(c.queue) == 0 {
		if err := c.read(time.Until(deadline)); err != nil {
			return err
		}
	}
	return nil
}

// finish does what the client owes after a delivery marked "ack".
func (r *runner) finish(c *client, m *matcher, p *rawmqtt.Packet) error {
	if !m.ack || p.QoS() == 0 {
		return nil
	}
	if p.QoS() == 1 {
		return c.send(&sending{pkt: &rawmqtt.Packet{Type: rawmqtt.PUBACK, ID: p.ID}})
	}
	rec := &rawmqtt.Packet{Type: rawmqtt.PUBREC, ID: p.ID}
	if err := c.send(&sending{pkt: rec}); err != nil {
		return err
	}
	if _, err := r.await(c, rawmqtt.PUBREL, p.ID); err != nil {
		return err
	}
	return c.send(&sending{pkt: &rawmqtt.Packet{Type: rawmqtt.PUBCOMP, ID: p.ID}})
}

// pending is one expectation of an unordered group.
type pending struct {
	c *client
	m *matcher
}

// unordered meets the expectations of a block in any order: each packet of a
// client is given to the first expectation of that client that it fits.
func (r *runner) unordered(body []*stmt) error {
	open, err := r.collect(body)
	if err != nil {
		return err
	}
	for len(open) > 0 {
		c := open[0].c
		if len(c.queue) == 0 {
			if err := r.readSome(c); err != nil {
				return r.missing(c, err, open[0].m.src)
			}
		}
		p := c.queue[0]
		var why []string
		hit := -1
		for i, q := range open {
			if q.c != c {
				continue
			}
			err := q.m.match(r.env, p, c.v)
			if err == nil {
				hit = i
				break
			}
			why = append(why, fmt.Sprintf("%s: %v", q.m.src, err))
		}
		if hit < 0 {
			return fmt.Errorf("%s: %s came, expected one of: %s", c.name, p, strings.Join(why, " | "))
		}
		c.queue = c.queue[1:]
		m := open[hit].m
		open = slices.Delete(open, hit, hit+1)
		if err := r.finish(c, m, p); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) collect(body []*stmt) (open []pending, err error) {
	for _, st := range body {
		if !r.holds(st.cond) {
			continue
		}
		r.line = st.line
		if st.words[0].is("repeat") && len(st.words) == 2 {
			n, err := r.number(st.words[1], maxLoop)
			if err != nil {
				return nil, err
			}
			for range n {
				more, err := r.collect(st.block)
				if err != nil {
					return nil, err
				}
				open = append(open, more...)
			}
			continue
		}
		if len(st.words) < 3 || !st.words[1].is("<-") {
			return nil, fmt.Errorf("unordered holds expectations only")
		}
		c, err := r.client(st.words[0])
		if err != nil {
			return nil, err
		}
		chain, err := r.buildExpect(st.words[2:], c.v)
		if err != nil {
			return nil, err
		}
		if len(chain) != 1 || len(chain[0]) != 1 || chain[0][0].typ >= wantClose && chain[0][0].typ != wantBytes {
			return nil, fmt.Errorf("unordered holds single packets only")
		}
		open = append(open, pending{c, chain[0][0]})
	}
	return open, nil
}
