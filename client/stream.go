package client

import (
	"context"
	"iter"
	"sync"

	"github.com/midgemq/midge/mqtt"
)

// Stream is a subscription that is read in place of having a handler. Asking for the next message acknowledges the one before
// (unless its Subscription has ManualAck), so that a message is acknowledged when the program is done with it. What is not read
// waits in memory, QoS 0 up to Options.MaxBacklog messages, above that it is dropped and counted; QoS 1 and 2 are bounded by the
// server's window. One goroutine at a time may read; any may close.
type Stream struct {
	c      *Client
	filter *filterEntry
	r      *receiver

	mu sync.Mutex
	// Guarded by mu.
	last   *Message // given to the reader, not acknowledged yet
	queue  ring[*Message]
	signal chan struct{} // closed when something comes; nil while nobody waits
	ended  bool
	err    error
}

// Stream subscribes and returns the stream of its messages. Sub.Handler is not used. Close it when done. Before Connect it declares
// the subscription and returns at once, as Subscribe does; if the server then refuses, Next returns that. Close withdraws the
// subscription: in a session that is to go on collecting messages, close the client and not the stream.
func (c *Client) Stream(ctx context.Context, sub Subscription) (*Stream, error) {
	s := &Stream{c: c}
	s.r = &receiver{stream: s, manual: sub.ManualAck || c.opts.ManualAck}
	if err := c.subscribe(ctx, []Subscription{sub}, []*receiver{s.r}); err != nil {
		s.end(err)
		return nil, err
	}
	c.mu.Lock()
	s.filter = c.subs.filters[sub.Filter]
	c.mu.Unlock()
	return s, nil
}

// put adds a message; it never blocks. Nobody reads what comes after the end: it is acknowledged at once, for an acknowledgement
// that never comes would keep back all behind it.
func (s *Stream) put(m *Message) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		m.Ack() //nolint:errcheck // a message not acknowledged in time comes again
		return
	}
	defer s.mu.Unlock()
	if m.QoS == mqtt.AtMostOnce && s.queue.len() >= s.c.opts.MaxBacklog {
		s.c.dropped.Add(1)
		return
	}
	s.queue.push(m)
	if s.signal != nil {
		close(s.signal)
		s.signal = nil
	}
}

func (s *Stream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended, s.err = true, err
	if s.signal != nil {
		close(s.signal)
		s.signal = nil
	}
}

// Next waits for a message. It returns an error when the context or the client has ended, when the subscription was refused in
// the meantime, or ErrClosed after Close.
func (s *Stream) Next(ctx context.Context) (*Message, error) {
	s.ackLast()
	for {
		s.mu.Lock()
		if s.queue.len() > 0 {
			m := s.queue.pop()
			if !s.r.manual {
				s.last = m
			}
			s.mu.Unlock()
			return m, nil
		}
		if s.ended {
			err := s.err
			s.mu.Unlock()
			if err == nil {
				err = ErrClosed
			}
			return nil, err
		}
		if s.signal == nil {
			s.signal = make(chan struct{})
		}
		signal := s.signal
		s.mu.Unlock()
		select {
		case <-signal:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (s *Stream) ackLast() {
	s.mu.Lock()
	m := s.last
	s.last = nil
	s.mu.Unlock()
	if m != nil {
		m.Ack() //nolint:errcheck // a message not acknowledged in time comes again
	}
}

// All returns the messages as an iterator, until the context or the stream ends. Leaving the loop does not close the stream.
func (s *Stream) All(ctx context.Context) iter.Seq[*Message] {
	return func(yield func(*Message) bool) {
		for {
			m, err := s.Next(ctx)
			if err != nil {
				return
			}
			if !yield(m) {
				s.ackLast()
				return
			}
		}
	}
}

// Close withdraws the subscription, if nobody else has one to the same filter, and acknowledges what was not read. It does not wait
// for the server, and may be called from any goroutine: a Next that waits returns ErrClosed, and so does the one after a message
// that was being read.
func (s *Stream) Close() {
	s.end(nil)
	s.mu.Lock()
	var unread []*Message
	if s.last != nil {
		unread = append(unread, s.last)
		s.last = nil
	}
	for s.queue.len() > 0 {
		unread = append(unread, s.queue.pop())
	}
	s.mu.Unlock()
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	f := s.filter
	if f != nil && c.err == nil && c.bye == nil && c.subs.filters[f.sub.Filter] == f && c.subs.drop(f, s.r) {
		c.subs.remove(f)
		c.issue(&request{unsubscribe: true, filters: []string{f.sub.Filter}, done: make(chan struct{})})
	}
	for _, m := range unread {
		if m.QoS > mqtt.AtMostOnce {
			m.settleLocked(mqtt.Success) //nolint:errcheck // nobody reads them any more
		}
	}
}

// Messages subscribes with QoS 1 and yields the messages until the context ends, the loop is left or the client ends:
//
//	for msg := range c.Messages(ctx, "sensors/#") { … }
//
// A refused subscription yields nothing and is reported to Options.OnError; use Stream to have it as an error.
func (c *Client) Messages(ctx context.Context, filter string) iter.Seq[*Message] {
	return func(yield func(*Message) bool) {
		s, err := c.Stream(ctx, Subscription{Filter: filter, QoS: mqtt.AtLeastOnce})
		if err != nil {
			c.report(err)
			return
		}
		defer s.Close()
		for m := range s.All(ctx) {
			if !yield(m) {
				return
			}
		}
	}
}

// Channel subscribes and returns the messages on a channel, which is closed when the context or the client ends. A message is
// acknowledged when the channel has taken it; with ManualAck by Message.Ack. It may be called before Connect, as Stream.
func (c *Client) Channel(ctx context.Context, sub Subscription) (<-chan *Message, error) {
	s, err := c.Stream(ctx, sub)
	if err != nil {
		return nil, err
	}
	ch := make(chan *Message)
	go func() {
		defer close(ch) // this goroutine alone sends
		defer s.Close()
		for m := range s.All(ctx) {
			select {
			case ch <- m:
			case <-ctx.Done():
				return // Close acknowledges it with the others that nobody took
			}
		}
	}()
	return ch, nil
}
