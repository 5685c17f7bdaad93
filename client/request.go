package client

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"

	"github.com/midgemq/midge/mqtt"
)

// replies matches responses with requests. Guarded by Client.mu.
type replies struct {
	topic   string // of the responses; empty until the first request of the session
	waiting map[uint64]chan reply
	next    uint64
	salt    [4]byte
}

type reply struct {
	m   *Message
	err error
}

// Request publishes a message with a response topic and correlation data and waits for the response (5.0, section 4.10). Requests
// may overlap; each gets its own response. The response topic begins with the server's Response Information where it gives one
// (ask for it with Options.Properties.RequestResponseInfo), else with "midge/reply/" and the client identifier.
func (c *Client) Request(ctx context.Context, topic string, payload []byte) (*Message, error) {
	return c.RequestMessage(ctx, mqtt.Message{Topic: topic, Payload: payload, QoS: mqtt.AtLeastOnce})
}

// RequestMessage is Request with the choice of QoS and properties. Response topic and correlation data are the client's affair.
func (c *Client) RequestMessage(ctx context.Context, m mqtt.Message) (*Message, error) {
	if err := c.WaitConnected(ctx); err != nil {
		return nil, err
	}
	topic, err := c.replyTopic(ctx)
	if err != nil {
		return nil, err
	}
	ch := make(chan reply, 1)
	c.mu.Lock()
	c.replies.next++
	n := c.replies.next
	c.replies.waiting[n] = ch
	salt := c.replies.salt
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.replies.waiting, n)
		c.mu.Unlock()
	}()
	var props mqtt.Properties
	if m.Properties != nil {
		props = *m.Properties
	}
	props.ResponseTopic = topic
	// The salt keeps a response to an earlier run of the same client from passing for one of this run.
	props.CorrelationData = binary.BigEndian.AppendUint64(append([]byte(nil), salt[:]...), n)
	m.Properties = &props
	p, err := c.PublishAsync(ctx, m)
	if err != nil {
		return nil, err
	}
	published := p.Done()
	for {
		select {
		case r := <-ch:
			return r.m, r.err
		case <-published:
			if err := p.Err(); err != nil {
				return nil, err
			}
			if code, _ := p.Reason(); code == mqtt.NoMatchingSubscribers {
				return nil, &Error{Op: "request", Outcome: Refused, Code: code, Err: errors.New("nobody takes requests on that topic")}
			}
			published = nil
		case <-ctx.Done():
			return nil, ended(ctx, "request", Unknown)
		}
	}
}

// replyTopic returns the topic of the responses, subscribed.
func (c *Client) replyTopic(ctx context.Context) (string, error) {
	c.mu.Lock()
	l := c.link
	if l != nil && l.conn.v != mqtt.V5 {
		c.mu.Unlock()
		return "", notSent("request", fmt.Errorf("request and response in %v: %w", l.conn.v, ErrNotSupported))
	}
	topic := c.replies.topic
	if topic == "" {
		var b [8]byte
		rand.Read(b[:])              //nolint:errcheck // documented never to fail
		rand.Read(c.replies.salt[:]) //nolint:errcheck // likewise
		prefix := "midge/reply/" + c.clientID + "/"
		if l != nil && l.conn.info.Properties != nil && l.conn.info.Properties.ResponseInfo != "" {
			prefix = l.conn.info.Properties.ResponseInfo
			if prefix[len(prefix)-1] != '/' {
				prefix += "/"
			}
		}
		topic = prefix + hex.EncodeToString(b[:])
		if err := mqtt.CheckTopicName(topic); err != nil {
			topic = "midge/reply/" + hex.EncodeToString(b[:]) // the client identifier has a wildcard
		}
		c.replies.topic = topic
		c.replies.waiting = map[uint64]chan reply{}
	}
	f := c.subs.filters[topic]
	ready := f != nil && f.confirmed
	c.mu.Unlock()
	if ready {
		return topic, nil
	}
	err := c.Subscribe(ctx, Subscription{Filter: topic, QoS: mqtt.AtLeastOnce, Handler: c.response})
	return topic, err
}

// response hands a response to the request that waits for it; others are late and dropped.
func (c *Client) response(m *Message) {
	if m.Properties == nil || len(m.Properties.CorrelationData) != 12 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d := m.Properties.CorrelationData
	ch := c.replies.waiting[binary.BigEndian.Uint64(d[4:])]
	if ch == nil || [4]byte(d) != c.replies.salt {
		return
	}
	select {
	case ch <- reply{m: m}:
	default: // a second response
	}
}

// begin is here for a new connection: requests whose response may have been lost with the session end.
func (r *replies) begin(c *Client) {
	if c.link.conn.info.SessionPresent || len(r.waiting) == 0 {
		return
	}
	r.fail(ErrSessionLost)
}

func (r *replies) fail(err error) {
	for n, ch := range maps.All(r.waiting) {
		select {
		case ch <- reply{err: unknown("request", err)}:
		default:
		}
		delete(r.waiting, n)
	}
}

// Respond answers a request: it publishes the payload to the message's response topic with its correlation data, and with QoS 1.
func (m *Message) Respond(ctx context.Context, payload []byte) error {
	if m.Properties == nil || m.Properties.ResponseTopic == "" {
		return notSent("publish", errors.New("respond: the message has no response topic"))
	}
	return m.c.Publish(ctx, mqtt.Message{
		Topic: m.Properties.ResponseTopic, Payload: payload, QoS: mqtt.AtLeastOnce,
		Properties: &mqtt.Properties{CorrelationData: m.Properties.CorrelationData},
	})
}
