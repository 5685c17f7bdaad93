package client

import (
	"context"
	"sync"

	"github.com/midgemq/midge/mqtt"
)

// Publication is what becomes of one published message. It stays true across reconnections: it is done when the server's PUBACK or
// PUBCOMP has come (QoS 0: when the message is written to the network), or when it is certain that none will. Messages of QoS 0
// that travel in one write share a Publication. All methods may be called from any goroutine.
type Publication struct {
	mu       sync.Mutex
	done     chan struct{} // made by the first Done
	saved    chan struct{} // made by the first Saved
	finished bool
	durable  bool
	reason   mqtt.ReasonCode
	props    *mqtt.Properties
	err      error
}

// closedChan serves all Done calls that come after the end.
var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Done returns a channel that is closed when the outcome is known.
func (p *Publication) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finished {
		return closedChan
	}
	if p.done == nil {
		p.done = make(chan struct{})
	}
	return p.done
}

// Err returns nil before Done and after success, and else why the message was not delivered: an *Error.
func (p *Publication) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Reason returns the reason code of PUBACK, or of PUBREC or PUBCOMP, and the properties that came with it. NoMatchingSubscribers is
// a success.
func (p *Publication) Reason() (mqtt.ReasonCode, *mqtt.Properties) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reason, p.props
}

// Wait waits for the outcome. When the context ends first the error has the outcome Unknown; the message stays under way.
func (p *Publication) Wait(ctx context.Context) error {
	select {
	case <-p.Done():
		return p.Err()
	case <-ctx.Done():
		return ended(ctx, "publish", Unknown)
	}
}

// Saved waits until the message is in the Store as durably as that promises, from where a later run sends it if this one cannot.
// It returns at once when the message is done; without a Store only then.
func (p *Publication) Saved(ctx context.Context) error {
	p.mu.Lock()
	if p.durable || p.finished {
		defer p.mu.Unlock()
		return p.err
	}
	if p.saved == nil {
		p.saved = make(chan struct{})
	}
	saved := p.saved
	p.mu.Unlock()
	select {
	case <-saved:
		return p.Err()
	case <-ctx.Done():
		return ended(ctx, "publish", Unknown)
	}
}

// complete ends the publication; the first call counts.
func (p *Publication) complete(reason mqtt.ReasonCode, props *mqtt.Properties, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finished {
		return
	}
	p.finished, p.reason, p.props, p.err = true, reason, props, err
	if p.done != nil {
		close(p.done)
	}
	if p.saved != nil && !p.durable {
		close(p.saved)
	}
}

func (p *Publication) setDurable() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.durable && !p.finished && p.saved != nil {
		close(p.saved)
	}
	p.durable = true
}
