package script

import (
	"errors"
	"fmt"
	"io"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
	"github.com/midgemq/midge/internal/testkit/target"
)

// clientStmt runs "NAME verb …": the verbs that open a connection make a new
// one under that name, all others act on the one that is there.
func (r *runner) clientStmt(words []word, after []*stmt) error {
	if len(words) < 2 {
		return fmt.Errorf("a client's name and a verb are wanted")
	}
	name, err := r.expand(words[0].value)
	if err != nil {
		return err
	}
	verb, args := words[1].value, words[2:]
	if verb == "connect" || verb == "open" {
		c, err := r.open(name, args)
		if err != nil {
			return err
		}
		if verb == "open" {
			return nil
		}
		return r.sendAndSettle(c, verb, args, after)
	}
	c := r.clients[name]
	if c == nil {
		return fmt.Errorf("no client %q", name)
	}
	switch verb {
	case "again": // a further CONNECT on the same connection
		return r.sendAndSettle(c, "connect", append([]word{{value: "nowait"}}, args...), after)
	case "drop":
		return r.drop(c)
	case "cut":
		c.gone = true
		r.log("%s cut", c.name)
		return c.pipe.Close()
	case "halfclose":
		r.log("%s halfclose", c.name)
		return c.pipe.CloseWrite()
	case "stall", "unstall":
		r.log("%s %s", c.name, verb)
		if p, ok := c.pipe.(target.Staller); ok {
			p.Stall(verb == "stall")
		}
		return nil
	case "chunk":
		if len(args) != 1 {
			return fmt.Errorf("chunk wants a number of bytes")
		}
		n, err := r.number(args[0], 1<<20)
		c.chunk = int(n)
		return err
	}
	return r.sendAndSettle(c, verb, args, after)
}

// open makes a connection under name. A name whose connection is still open
// must not be taken over by accident.
func (r *runner) open(name string, args []word) (*client, error) {
	old := r.clients[name]
	if old != nil && !old.gone {
		return nil, fmt.Errorf("client %s is still connected: drop or disconnect it first", name)
	}
	v := r.version
	for _, w := range args {
		if w.name == "v" && r.holds(w.cond) {
			n, err := r.number(w, 255)
			if err != nil {
				return nil, err
			}
			v = byte(n)
		}
	}
	pipe, err := r.tgt.Open()
	if err != nil {
		return nil, fmt.Errorf("open a connection for %s: %w", name, err)
	}
	c := &client{name: name, v: v, pipe: pipe, checker: rawmqtt.NewChecker(v), log: r.log, forgiving: r.o.Foreign}
	if old == nil {
		r.order = append(r.order, c)
	}
	for i := range r.order {
		if r.order[i] == old {
			r.order[i] = c
		}
	}
	r.clients[name] = c
	return c, nil
}

// sendAndSettle sends one packet and awaits its usual answer, unless the
// expectations that follow speak of it.
func (r *runner) sendAndSettle(c *client, verb string, args []word, after []*stmt) error {
	s, err := r.buildSend(verb, args, c.v)
	if err != nil {
		return err
	}
	if err := c.send(s); err != nil {
		return err
	}
	if s.nowait || s.pkt == nil || c.batching || r.spokenOf(c, s.pkt.Type, after) {
		return nil
	}
	return r.settle(c, s.pkt)
}

// answers lists the packet types that answer a packet, first the usual one.
var answers = map[byte][]byte{
	rawmqtt.CONNECT: {rawmqtt.CONNACK, rawmqtt.AUTH}, rawmqtt.PUBLISH: {rawmqtt.PUBACK, rawmqtt.PUBREC},
	rawmqtt.PUBREC: {rawmqtt.PUBREL}, rawmqtt.PUBREL: {rawmqtt.PUBCOMP}, rawmqtt.SUBSCRIBE: {rawmqtt.SUBACK},
	rawmqtt.UNSUBSCRIBE: {rawmqtt.UNSUBACK}, rawmqtt.PINGREQ: {rawmqtt.PINGRESP}, rawmqtt.DISCONNECT: {wantClose},
}

// spokenOf tells whether the expectations directly following a send mention its
// answer or the end of the connection for this client.
func (r *runner) spokenOf(c *client, sent byte, after []*stmt) bool {
	for _, st := range after {
		if !r.holds(st.cond) {
			continue
		}
		if st.words[0].is("unordered") {
			if r.spokenOf(c, sent, st.block) {
				return true
			}
			continue
		}
		if len(st.words) < 3 || !st.words[1].is("<-") {
			return false
		}
		if !r.names(st.words[0], c.name) {
			continue
		}
		chain, err := r.buildExpect(st.words[2:], c.v)
		if err != nil {
			return true // the expectation itself will report it
		}
		for _, alts := range chain {
			for _, m := range alts {
				if speaks(m.typ, sent) {
					return true
				}
			}
		}
	}
	return false
}

func speaks(expected, sent byte) bool {
	switch expected {
	case wantClose, wantError, wantRefused, wantBytes, rawmqtt.DISCONNECT:
		return true
	}
	for _, t := range answers[sent] {
		if t == expected {
			return true
		}
	}
	return false
}

// settle awaits the usual, successful answer to p; other packets stay queued.
func (r *runner) settle(c *client, p *rawmqtt.Packet) error {
	if p.Type == rawmqtt.DISCONNECT {
		return r.awaitClose(c, true)
	}
	list := answers[p.Type]
	if len(list) == 0 || p.Type == rawmqtt.PUBLISH && p.QoS() == 0 || p.Type == rawmqtt.PUBREC && p.Reason >= 0x80 {
		return nil
	}
	want := list[0]
	if p.Type == rawmqtt.PUBLISH && p.QoS() == 2 {
		want = rawmqtt.PUBREC
	}
	got, err := r.await(c, want, p.ID)
	if err != nil {
		return err
	}
	if err := usual(p, got, c.v); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	if want == rawmqtt.PUBREC {
		rel := &rawmqtt.Packet{Type: rawmqtt.PUBREL, Flags: 2, ID: p.ID}
		if err := c.send(&sending{pkt: rel}); err != nil {
			return err
		}
		return r.settle(c, rel)
	}
	return nil
}

// usual judges an answer that the script takes for granted.
func usual(p, got *rawmqtt.Packet, v byte) error {
	if got.Reason >= 0x80 || v != rawmqtt.V5 && got.Reason != 0 {
		return fmt.Errorf("refused: %s", got)
	}
	if p.Type == rawmqtt.SUBSCRIBE {
		if len(got.Codes) != len(p.Filters) {
			return fmt.Errorf("%d codes for %d filters", len(got.Codes), len(p.Filters))
		}
		for i, f := range p.Filters {
			if got.Codes[i] != f.Options&3 {
				return fmt.Errorf("%s: filter %q was not granted QoS %d", got, f.Filter, f.Options&3)
			}
		}
	}
	for _, code := range got.Codes {
		if code >= 0x80 {
			return fmt.Errorf("refused: %s", got)
		}
	}
	return nil
}

// await reads until a packet of that type and identifier is there (0 for none).
func (r *runner) await(c *client, typ byte, id uint16) (*rawmqtt.Packet, error) {
	p, err := c.take(r.o.Wait, func(q *rawmqtt.Packet) bool { return q.Type == typ && (id == 0 || q.ID == id) })
	return p, r.missing(c, err, rawmqtt.TypeName(typ))
}

// missing words the error of a read that brought nothing.
func (r *runner) missing(c *client, err error, what string) error {
	switch {
	case errors.Is(err, target.ErrQuiet):
		return fmt.Errorf("%s: %s was awaited, nothing came%s", c.name, what, queued(c))
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%s: %s was awaited, the broker closed%s", c.name, what, queued(c))
	}
	return err
}

func queued(c *client) string {
	if len(c.queue) == 0 {
		return ""
	}
	return fmt.Sprintf(" (unread: %s and %d more)", c.queue[0], len(c.queue)-1)
}

// awaitClose reads to the end of the connection. Packets are thrown away when
// the client itself has ended it, otherwise they are one too many.
func (r *runner) awaitClose(c *client, discard bool) error {
	for {
		if len(c.queue) > 0 && !discard {
			return fmt.Errorf("%s: a close was awaited, %s came", c.name, c.queue[0])
		}
		c.queue = nil
		err := c.read(r.o.Wait)
		switch {
		case errors.Is(err, io.EOF):
			if len(c.queue) > 0 && !discard {
				continue
			}
			c.gone = true
			return c.pipe.Close()
		case errors.Is(err, target.ErrQuiet):
			return fmt.Errorf("%s: the broker does not close", c.name)
		case err != nil:
			return err
		}
	}
}

// drop ends the connection without DISCONNECT and waits until the broker has
// noticed, so that what follows in the script happens after it.
func (r *runner) drop(c *client) error {
	if c.gone {
		return fmt.Errorf("%s is closed already", c.name)
	}
	r.log("%s drop", c.name)
	if err := c.pipe.CloseWrite(); err != nil {
		return err
	}
	return r.awaitClose(c, true)
}

// sendBatch writes everything in the block in one go.
func (r *runner) sendBatch(w word, body []*stmt) error {
	c, err := r.client(w)
	if err != nil {
		return err
	}
	c.batching = true
	err = r.block(body)
	c.batching = false
	b := c.batch
	c.batch = nil
	if err != nil {
		return err
	}
	r.log("%s batch of %d bytes", c.name, len(b))
	return c.write(b)
}

// fenceDirty makes sure that the broker has dealt with everything that was sent
// on connections other than skip.
func (r *runner) fenceDirty(skip *client) error {
	if r.tgt.Synchronous() {
		return nil
	}
	for _, c := range r.order {
		if c == skip || !c.dirty || c.gone {
			continue
		}
		c.dirty = false
		if !c.pingable() {
			if err := r.strangerPing(); err != nil {
				return err
			}
			continue
		}
		if err := c.ping(r.o.Wait); err != nil && !errors.Is(err, io.EOF) {
			return r.missing(c, err, "PINGRESP")
		}
	}
	return nil
}

// nothing proves that c has nothing to read and is still open: two PINGREQ are
// answered and nothing else comes. The first answer shows that the broker has
// seen everything before it, the second that what this set off was sent too.
func (r *runner) nothing(c *client) error {
	if c.gone {
		return fmt.Errorf("%s is closed", c.name)
	}
	if err := r.fenceDirty(c); err != nil {
		return err
	}
	c.dirty = false
	err := r.quiet(c)
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%s: nothing was awaited, the broker closed%s", c.name, queued(c))
	case errors.Is(err, target.ErrQuiet):
		return fmt.Errorf("%s: the broker does not answer PINGREQ", c.name)
	case err != nil:
		return err
	case len(c.queue) > 0:
		return fmt.Errorf("%s: nothing was awaited, %s came", c.name, c.queue[0])
	}
	return nil
}

func (r *runner) quiet(c *client) error {
	if r.tgt.Synchronous() || !c.pingable() {
		if err := r.strangerPing(); err != nil {
			return err
		}
		if err := c.read(0); !errors.Is(err, target.ErrQuiet) {
			return err
		}
		return nil
	}
	if err := c.ping(r.o.Wait); err != nil {
		return err
	}
	return c.ping(r.o.Wait)
}
