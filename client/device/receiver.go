package device

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
)

// Receiver is a part of the program that takes messages. Its methods are called one at a time, on a goroutine of the
// receiver's own: they need no lock against each other, may take their time and may use the device. A receiver that stands
// still delays nobody else; its messages of QoS 1 and 2 wait at the server, those of QoS 0 in memory up to
// client.Options.MaxBacklog for each filter, beyond which they are dropped and counted by client.Client.Dropped.
//
// A receiver is known by its identity, so its type must be comparable: a pointer, usually.
type Receiver interface {
	// Connected is called after each connection, and at once for a receiver that is attached while there is one. Messages
	// that the server sends right after a reconnection may come before it.
	Connected(client.ConnectInfo)
	// Disconnected is called after the end of each connection.
	Disconnected(error)
	// Received is called for each message of the receiver's filters. Its return acknowledges the message.
	Received(*Message)
}

// Funcs is a Receiver made of functions; nil ones are not called. Use a pointer to it.
type Funcs struct {
	OnConnect    func(client.ConnectInfo)
	OnDisconnect func(error)
	OnMessage    func(*Message)
}

// Connected calls OnConnect.
func (f *Funcs) Connected(info client.ConnectInfo) {
	if f.OnConnect != nil {
		f.OnConnect(info)
	}
}

// Disconnected calls OnDisconnect.
func (f *Funcs) Disconnected(err error) {
	if f.OnDisconnect != nil {
		f.OnDisconnect(err)
	}
}

// Received calls OnMessage.
func (f *Funcs) Received(m *Message) {
	if f.OnMessage != nil {
		f.OnMessage(m)
	}
}

// Message is a message from below the device's prefix.
type Message struct {
	*client.Message
	// Name is the topic without the prefix.
	Name string
}

// Decode stores the payload, one JSON value, in what v points to, by the rules of encoding/json.
func (m *Message) Decode(v any) error {
	if err := json.Unmarshal(m.Payload, v); err != nil {
		return fmt.Errorf("decode message on %q: %w", m.Topic, err)
	}
	return nil
}

// attached is a receiver and what is on its way to it.
type attached struct {
	r    Receiver
	turn chan struct{} // held by the one call that changes filters

	mu sync.Mutex
	// Guarded by mu; no code of the caller runs under it.
	queue   []func()
	running bool
	gone    bool

	filters map[string]*pump // guarded by Device.mu
}

// pump is the goroutine that brings the messages of one filter.
type pump struct{ stop context.CancelFunc }

// add queues a call. The queue holds one message for each filter, as pumps wait, and connections that came and went.
func (a *attached) add(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue = append(a.queue, f)
	if !a.running {
		a.running = true
		go a.run()
	}
}

// run makes the queued calls; it lives while there are any.
func (a *attached) run() {
	for {
		a.mu.Lock()
		if len(a.queue) == 0 || a.gone {
			a.running, a.queue = false, nil
			a.mu.Unlock()
			return
		}
		f := a.queue[0]
		a.queue = a.queue[1:]
		a.mu.Unlock()
		f()
	}
}

// Attach adds a receiver that is told of connections; Subscribe gives it messages and attaches it too. A receiver that is
// attached already is left as it is.
func (d *Device) Attach(r Receiver) error {
	_, err := d.attach(r)
	return err
}

func (d *Device) attach(r Receiver) (*attached, error) {
	if r == nil || !reflect.ValueOf(r).Comparable() {
		return nil, fmt.Errorf("receiver of type %T: must be comparable, such as a pointer", r)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.receivers[r]
	if a == nil {
		a = &attached{r: r, turn: make(chan struct{}, 1), filters: map[string]*pump{}}
		d.receivers[r] = a
		if info := d.info; d.online {
			a.add(func() { r.Connected(info) })
		}
	}
	return a, nil
}

// Detach removes a receiver and its subscriptions. A call that is under way ends by itself; there will be no further one. It
// does not wait for the server.
func (d *Device) Detach(r Receiver) {
	if r == nil || !reflect.ValueOf(r).Comparable() {
		return // never attached
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.receivers[r]
	if a == nil {
		return
	}
	delete(d.receivers, r)
	for _, p := range a.filters {
		p.stop()
	}
	a.filters = nil
	a.mu.Lock()
	a.gone = true
	a.mu.Unlock()
}

// Subscribe gives a receiver the messages whose topics, without the prefix, match one of the filters, and waits until the
// server has granted them. The status is no such message, though "#" matches its topic. qos is the highest QoS of deliveries. Filters the receiver has already are left as they are.
// Several receivers may have the same filter; a new one makes the server send its retained messages again, to all of them.
//
// A server that has lost the session and then refuses to renew a subscription ends it; client.Options.OnError is told.
//
// On error none of the filters that are new in this call remains. The error is that of client.Client.Stream: it finds the
// reason of a refusal with client.ReasonOf.
func (d *Device) Subscribe(ctx context.Context, r Receiver, qos mqtt.QoS, filters ...string) error {
	for _, f := range filters {
		if err := checkFilter(f); err != nil {
			return &client.Error{Op: "subscribe", Outcome: client.NotSent, Filter: f, Err: fmt.Errorf("filter %q: %w", f, err)}
		}
	}
	a, err := d.attach(r)
	if err != nil {
		return err
	}
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return &client.Error{Op: "subscribe", Outcome: client.NotSent, Err: context.Cause(ctx)}
	}
	var made []string
	for _, f := range filters {
		d.mu.Lock()
		_, known := a.filters[f]
		d.mu.Unlock()
		if known {
			continue
		}
		s, err := d.c.Stream(ctx, client.Subscription{Filter: d.Topic(f), QoS: qos})
		if err == nil {
			err = d.read(a, f, s)
		}
		if err != nil {
			d.Unsubscribe(r, made...)
			return err
		}
		made = append(made, f)
	}
	return nil
}

func checkFilter(f string) error {
	if _, _, shared, err := mqtt.ParseShared(f); shared || err != nil {
		return errors.New("shared subscriptions are not for a prefix of one's own; use Device.Client")
	}
	return mqtt.CheckFilter(f)
}

// read gives the messages of a stream to a receiver, in their order, until Unsubscribe, Detach or Close. The next message is
// asked for, which acknowledges the one before, when the receiver is done with that.
func (d *Device) read(a *attached, filter string, s *client.Stream) error {
	ctx, stop := context.WithCancel(d.ctx)
	p := &pump{stop}
	d.mu.Lock()
	if d.receivers[a.r] != a {
		d.mu.Unlock()
		stop()
		s.Close()
		return &client.Error{Op: "subscribe", Outcome: client.NotSent, Filter: filter, Err: errors.New("receiver was detached")}
	}
	a.filters[filter] = p
	d.mu.Unlock()
	go func() {
		defer stop()
		defer s.Close()
		defer func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if a.filters[filter] == p { // the server took the subscription back: Subscribe may try again
				delete(a.filters, filter)
			}
		}()
		for m := range s.All(ctx) {
			name, below := strings.CutPrefix(m.Topic, d.ID()+"/")
			if !below {
				continue // "#" matches the parent level too [MQTT-4.7.1-2]: the status
			}
			done := make(chan struct{})
			a.add(func() {
				defer close(done)
				a.r.Received(&Message{Message: m, Name: name})
			})
			select {
			case <-done:
			case <-ctx.Done():
				return
			}
		}
	}()
	return nil
}

// Unsubscribe takes filters away from a receiver, which stays attached. Those it does not have are none of its business. The
// server is told when no other receiver has the filter; the call does not wait for its answer. A message that is being
// delivered may still reach the receiver.
func (d *Device) Unsubscribe(r Receiver, filters ...string) {
	if r == nil || !reflect.ValueOf(r).Comparable() {
		return // never attached
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.receivers[r]
	if a == nil {
		return
	}
	for _, f := range filters {
		if p := a.filters[f]; p != nil {
			p.stop()
			delete(a.filters, f)
		}
	}
}
