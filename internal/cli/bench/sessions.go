package bench

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// runPersistent has sessions collect messages while their clients are away.
func runPersistent(r *run) error {
	o := r.o
	topic := func(i int) string { return fmt.Sprintf("%s/session/%d", o.topic, i) }
	away, err := r.sessions("sessions", func(c *wire, i int) error { return c.subscribe(topic(i), o.qos, o.conn.Timeout, nil) })
	if err != nil {
		return err
	}
	for _, c := range away {
		c.goodbye()
	}
	r.wires = nil
	// One connection publishes for all sessions in turn; fan 0, for nobody is there to count.
	list, err := r.connectAll("publishers", 1, 0, func(int) (*wire, error) { return dial(r.ctx, &o.conn, session{id: o.id("pub", 0)}) })
	if err != nil {
		return err
	}
	r.waitStart()
	begin := time.Now()
	for i := range o.clients {
		p := newPublisher(r, list[0], i, topic(i))
		r.publishers = append(r.publishers, p)
	}
	if err := r.fill(list[0]); err != nil {
		return err
	}
	r.extra["store_seconds"] = time.Since(begin).Seconds()
	r.extra["stored_per_s"] = float64(o.clients*o.messages) / r.extra["store_seconds"]
	return r.comeBack(topic)
}

// sessions opens persistent sessions, which begin anew, and hands each connection to use.
func (r *run) sessions(what string, use func(c *wire, i int) error) ([]*wire, error) {
	return r.connectAll(what, r.o.clients, 0, func(i int) (*wire, error) {
		if err := r.forget(i); err != nil {
			return nil, err
		}
		c, err := dial(r.ctx, &r.o.conn, session{id: r.o.id("sub", i), persistent: true})
		if err != nil {
			return nil, err
		}
		return c, use(c, i)
	})
}

// forget ends the session that an earlier run may have left.
func (r *run) forget(i int) error {
	c, err := dial(r.ctx, &r.o.conn, session{id: r.o.id("sub", i)})
	if err != nil {
		return err
	}
	c.goodbye()
	return nil
}

// fill publishes each publisher's messages on the one connection, window by window, and waits for the acknowledgements. The first
// publisher keeps the packet identifiers, which belong to the connection.
func (r *run) fill(c *wire) error {
	r.progress.start("stored", int64(r.o.clients*r.o.messages))
	defer r.progress.stop()
	carrier := r.publishers[0]
	var out []byte
	for seq := range r.o.messages {
		now := time.Now().UnixNano()
		for _, p := range r.publishers {
			if len(carrier.free) == 0 || len(out) > maxBatch {
				if err := c.write(out); err != nil {
					return err
				}
				out = out[:0]
			}
			for len(carrier.free) == 0 {
				if err := r.takeAck(c, carrier); err != nil {
					return err
				}
			}
			at := len(out)
			out = append(out, p.frame...)
			binary.BigEndian.PutUint16(out[at+p.idAt:], carrier.free[len(carrier.free)-1])
			carrier.free = carrier.free[:len(carrier.free)-1]
			stamp{run: r.id, publisher: p.index, seq: uint64(seq), sent: now}.put(out[at+p.dataAt:])
			p.sent.Add(1)
		}
		r.published.Add(uint64(len(r.publishers)))
		r.progress.step(int64((seq+1)*r.o.clients), rateless)
	}
	if err := c.write(out); err != nil {
		return err
	}
	for !carrier.idle() {
		if err := r.takeAck(c, carrier); err != nil {
			return err
		}
	}
	c.nc.SetReadDeadline(time.Time{})
	return nil
}

func (r *run) takeAck(c *wire, p *publisher) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	c.nc.SetReadDeadline(time.Now().Add(r.o.conn.Timeout))
	first, body, err := c.next()
	if err != nil {
		return fmt.Errorf("wait for acknowledgement: %w", err)
	}
	p.ack(packet.Type(first>>4), body)
	return p.send(0, time.Time{})
}

// comeBack reconnects all sessions at once and takes what was kept for them.
func (r *run) comeBack(topic func(int) string) error {
	r.begin = r.snapshot()
	r.measuring.Store(true)
	begin := time.Now()
	back, err := r.connectAll("return", r.o.clients, 0, func(i int) (*wire, error) {
		return dial(r.ctx, &r.o.conn, session{id: r.o.id("sub", i), persistent: true})
	})
	if err != nil {
		return err
	}
	for i, c := range back {
		if !c.present {
			r.note("the broker had forgotten session %d", i)
		}
		s := newReceiver(r, c, i)
		s.expects = func(pub int) bool { return pub == i }
		r.receivers = append(r.receivers, s)
	}
	for _, p := range r.publishers {
		p.fan = 1
	}
	r.readers.Add(len(r.receivers))
	for _, s := range r.receivers {
		go s.read(r.finishing.Load)
	}
	r.drain()
	r.extra["fetch_seconds"] = time.Since(begin).Seconds()
	r.end = r.snapshot()
	r.measuring.Store(false)
	r.finish()
	return r.sweep(r.o.clients)
}

// sweep removes the sessions of a run.
func (r *run) sweep(n int) error {
	r.wires = nil
	list, err := r.connectAll("cleaning up", n, 0, func(i int) (*wire, error) {
		return dial(r.ctx, &r.o.conn, session{id: r.o.id("sub", i)})
	})
	for _, c := range list {
		if c != nil {
			c.goodbye()
		}
	}
	return err
}

// runSoak is p2p with persistent sessions, some of which reconnect each second.
func runSoak(r *run) error {
	o := r.o
	topic := func(i int) string { return fmt.Sprintf("%s/soak/%d", o.topic, i) }
	if err := r.publishersOn(o.clients, 1, topic); err != nil {
		return err
	}
	list, err := r.sessions("subscribers", func(c *wire, i int) error { return c.subscribe(topic(i), o.qos, o.conn.Timeout, nil) })
	if err != nil {
		return err
	}
	for i, c := range list {
		s := newReceiver(r, c, i)
		s.expects = func(pub int) bool { return pub == i }
		r.receivers = append(r.receivers, s)
	}
	r.waitStart()
	r.readers.Add(len(r.publishers) + len(r.receivers))
	turns := make([]*turn, len(r.receivers))
	for i, s := range r.receivers {
		turns[i] = &turn{s: s, again: make(chan struct{}, 1)}
		go turns[i].run()
	}
	r.startPublishers()
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() { defer close(done); r.churn(turns, stop) }()
	r.measure()
	close(stop)
	<-done
	r.finish()
	return r.sweep(o.clients)
}

// churn has some subscribers reconnect each second.
func (r *run) churn(turns []*turn, stop chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	next := 0
	for {
		select {
		case <-stop:
			return
		case <-r.ctx.Done():
			return
		case <-tick.C:
		}
		for range min(r.o.churn, len(turns)) {
			turns[next%len(turns)].reconnect()
			next++
		}
	}
}

// turn is a subscriber whose connection is replaced from time to time.
type turn struct {
	s       *receiver
	leaving atomic.Bool
	again   chan struct{}
}

// reconnect ends the connection; its reader then makes a new one.
func (t *turn) reconnect() {
	t.leaving.Store(true)
	t.s.run.mu.Lock()
	c := t.s.c
	t.s.run.mu.Unlock()
	c.nc.Close()
}

func (t *turn) run() {
	r := t.s.run
	for {
		r.readers.Add(1)
		t.s.read(func() bool { return t.leaving.Load() || r.finishing.Load() })
		if !t.leaving.Load() || r.finishing.Load() {
			r.readers.Done()
			return
		}
		t.s.acks = nil
		c, err := dial(r.ctx, &r.o.conn, session{id: r.o.id("sub", t.s.index), persistent: true})
		if err != nil {
			r.lostConnection(err)
			r.readers.Done()
			return
		}
		if !c.present {
			r.note("the broker had forgotten session %d", t.s.index)
		}
		r.mu.Lock()
		t.s.c = c
		r.wires = append(r.wires, c)
		r.mu.Unlock()
		r.extraAdd("reconnects", 1)
		t.leaving.Store(false)
	}
}

func (r *run) extraAdd(name string, v float64) {
	r.mu.Lock()
	r.extra[name] += v
	r.mu.Unlock()
}

// runRetained sets retained messages, has each subscriber fetch them, and removes them.
func runRetained(r *run) error {
	o := r.o
	list, err := r.connectAll("publishers", 1, 0, func(int) (*wire, error) { return dial(r.ctx, &o.conn, session{id: o.id("pub", 0)}) })
	if err != nil {
		return err
	}
	r.waitStart()
	c := list[0]
	r.begin = r.snapshot()
	begin := time.Now()
	if err := r.setRetained(c, o.size); err != nil {
		return err
	}
	r.extra["set_seconds"] = time.Since(begin).Seconds()
	r.extra["set_per_s"] = float64(o.messages) / r.extra["set_seconds"]
	mid := readProcess(o.pid)
	if mid.ok {
		r.extra["broker_set_cpu_us_per_msg"] = float64((mid.cpu - r.begin.broker.cpu).Microseconds()) / float64(o.messages)
	}
	r.published.Store(uint64(o.messages))
	r.begin = r.snapshot()
	begin = time.Now()
	r.progress.start("fetched", int64(o.subs))
	for i := range o.subs {
		if err := r.fetchRetained(i); err != nil {
			return err
		}
		r.progress.step(int64(i+1), rateless)
	}
	r.progress.stop()
	r.end = r.snapshot()
	r.extra["fetch_seconds"] = time.Since(begin).Seconds()
	err = r.setRetained(c, 0)
	r.finish()
	return err
}

// setRetained publishes on all topics; 0 bytes remove the message. QoS 1 says when the broker has it all.
func (r *run) setRetained(c *wire, size int) error {
	window, out := min(1000, c.maxInflight), 0
	payload := make([]byte, size)
	var b []byte
	for i := range r.o.messages {
		if size > 0 {
			stamp{run: r.id, publisher: uint32(i), sent: time.Now().UnixNano()}.put(payload)
		}
		id := uint16(i%window + 1)
		topic := fmt.Sprintf("%s/ret/%d/%d", r.o.topic, i/1000, i%1000)
		b = packet.AppendPublishHeader(b, packet.PublishFirst(mqtt.AtLeastOnce, false, true), c.version, topic, id, size, nil)
		b = append(b, payload...)
		out++
		if out < window && i < r.o.messages-1 {
			continue
		}
		if err := c.write(b); err != nil {
			return err
		}
		b = b[:0]
		c.nc.SetReadDeadline(time.Now().Add(r.o.conn.Timeout))
		for ; out > 0; out-- {
			first, body, err := c.next()
			if err != nil {
				return fmt.Errorf("set retained messages: %w", err)
			}
			if packet.Type(first>>4) != packet.PUBACK || len(body) > 2 && body[2] >= 0x80 {
				return fmt.Errorf("set retained messages: %v in place of PUBACK, or a refusal", packet.Type(first>>4))
			}
		}
	}
	return nil
}

// fetchRetained subscribes once and takes every topic's message.
func (r *run) fetchRetained(i int) error {
	c, err := dial(r.ctx, &r.o.conn, session{id: r.o.id("sub", i)})
	if err != nil {
		return err
	}
	defer c.goodbye()
	s := newReceiver(r, c, i)
	r.receivers = append(r.receivers, s)
	begin := time.Now()
	seen := make(map[uint32]bool, r.o.messages)
	take := func(first byte, body []byte) {
		if packet.Type(first>>4) != packet.PUBLISH {
			s.take(first, body, 0)
			return
		}
		m, ok := c.publish(first, body)
		st, stamped := readStamp(m.payload)
		if !ok || !stamped || st.run != r.id || !m.retain || int(st.publisher) >= r.o.messages {
			r.foreign.Add(1)
			return
		}
		if m.qos == mqtt.AtLeastOnce {
			s.acks = packet.AppendAck(s.acks, packet.PUBACK, c.version, m.id, 0)
		} else if m.qos == mqtt.ExactlyOnce {
			s.acks = packet.AppendAck(s.acks, packet.PUBREC, c.version, m.id, 0)
		}
		if seen[st.publisher] {
			r.extraAdd("twice", 1)
			return
		}
		seen[st.publisher] = true
		r.delivered.Add(1)
	}
	if err := c.subscribe(r.o.topic+"/ret/#", r.o.qos, r.o.conn.Timeout, take); err != nil {
		return err
	}
	for len(seen) < r.o.messages {
		if !c.buffered() && len(s.acks) > 0 {
			if err := s.flush(); err != nil {
				return err
			}
		}
		c.nc.SetReadDeadline(time.Now().Add(min(r.o.conn.Timeout, 5*time.Second)))
		first, body, err := c.next()
		if err != nil {
			r.note("subscriber %d got %d of %d retained messages", i, len(seen), r.o.messages)
			break
		}
		take(first, body)
	}
	s.rec.add([]int64{time.Since(begin).Microseconds()}, true)
	r.extraAdd("missing", float64(r.o.messages-len(seen)))
	return nil
}
