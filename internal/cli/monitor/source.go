package monitor

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
)

// maxInbox bounds what waits for the next frame; a screen that cannot keep up loses messages and says so.
const maxInbox = 200_000

// source is the connection to the broker. The client's goroutines put messages in, one other goroutine takes them out.
type source struct {
	client *client.Client

	mu     sync.Mutex
	inbox  []message
	spare  []message
	full   uint64 // messages that found no room
	wake   chan struct{}
	status string
	up     bool

	declared bool       // of the client's goroutine for events
	refused  chan error // no subscription was granted
}

// dial prepares the client; it connects in the background and for as long as it takes.
func dial(o *options) (*source, error) {
	s := &source{wake: make(chan struct{}, 1), refused: make(chan error, 1), status: "connecting to " + o.conn.URL()}
	c, err := o.conn.Client()
	if err != nil {
		return nil, err
	}
	c.Handlers, c.MaxBacklog = 1, maxInbox
	c.StopOnTakeover = true
	c.OnConnect = func(i client.ConnectInfo) { s.connected(i, o) }
	c.OnDisconnect = func(err error) { s.say(false, "connection lost: "+text(err)) }
	c.OnError = func(err error) { s.say(false, text(err)) }
	if s.client, err = client.New(c); err != nil {
		return nil, err
	}
	return s, nil
}

// text is an error as it may stand on a screen: brokers put words of their own into it.
func text(err error) string {
	if err == nil {
		return ""
	}
	return escaped([]byte(err.Error()), 200)
}

func (s *source) say(up bool, status string) {
	s.mu.Lock()
	s.up, s.status = up, status
	s.mu.Unlock()
	s.rouse()
}

func (s *source) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// connected subscribes on the first connection; the client does it again on later ones. It runs on the client's goroutine for
// events. Retain as published, which only 5.0 knows, has brokers mark messages that are retained while this program watches.
func (s *source) connected(i client.ConnectInfo, o *options) {
	s.say(true, o.conn.URL())
	if s.declared {
		return
	}
	s.declared = true
	var subs []client.Subscription
	for _, f := range o.topics {
		subs = append(subs, client.Subscription{Filter: f, QoS: o.qos, Handler: s.put, RetainAsPublished: i.Version == mqtt.V5})
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.conn.Timeout)
	defer cancel()
	if err := s.client.Subscribe(ctx, subs...); err != nil {
		s.say(false, text(err))
		for _, sub := range subs {
			if _, granted := s.client.Granted(sub.Filter); granted {
				return
			}
		}
		s.refused <- err
	}
}

func (s *source) put(m *client.Message) {
	s.mu.Lock()
	if len(s.inbox) >= maxInbox {
		s.full++
	} else {
		s.inbox = append(s.inbox, message{m.Topic, m.Payload, m.QoS, m.Retain})
	}
	s.mu.Unlock()
	s.rouse()
}

// get takes out what has come. The slice is valid until the next call.
func (s *source) get() (list []message, up bool, status string, full uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.spare)
	list, s.inbox, s.spare = s.inbox, s.spare[:0], s.inbox
	return list, s.up, s.status, s.full
}

// publish sends what the user typed.
func (s *source) publish(topic string, payload []byte, retain bool, o *options) error {
	ctx, cancel := context.WithTimeout(context.Background(), min(o.conn.Timeout, 5*time.Second))
	defer cancel()
	return s.client.Publish(ctx, mqtt.Message{Topic: topic, Payload: bytes.Clone(payload), QoS: mqtt.AtLeastOnce, Retain: retain})
}
