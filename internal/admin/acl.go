package admin

import (
	"context"
	"encoding/json"
)

// ACLQuery asks what a client may do.
type ACLQuery struct {
	// User is nil for a client without user name.
	User   *string `json:"user"`
	Client string  `json:"client"`
	Action string  `json:"action"` // read, write or subscribe
	Topic  string  `json:"topic"`
	// Listener is where the client connects, as in the line `listener` of the
	// configuration; empty: where it is connected, or the first one.
	Listener string `json:"listener,omitempty"`
}

// ACLAnswer is the verdict and what it stands on.
type ACLAnswer struct {
	Allowed  bool   `json:"allowed"`
	Listener string `json:"listener,omitempty"`
	// File, Line and Rule name the rule that decided; Line 0: none did, see Why.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Rule string `json:"rule,omitempty"`
	Why  string `json:"why,omitempty"`
}

// ACLTester is what a Broker implements that can say what a client may do.
type ACLTester interface {
	// TestACL does not ask the client: it need not be connected.
	TestACL(ctx context.Context, q ACLQuery) (ACLAnswer, error)
}

func (c *Commands) aclTest(ctx context.Context, args json.RawMessage) (any, error) {
	var q ACLQuery
	if err := arguments(args, &q); err != nil {
		return nil, err
	}
	switch {
	case q.Client == "":
		return nil, badRequest("args: client is missing")
	case q.Topic == "":
		return nil, badRequest("args: topic is missing")
	case q.Action != "read" && q.Action != "write" && q.Action != "subscribe":
		return nil, badRequest("args: action %q is none of read, write, subscribe", q.Action)
	}
	t, ok := c.broker.(ACLTester)
	if !ok {
		return nil, &Error{CodeInternal, "this broker cannot say"}
	}
	return t.TestACL(ctx, q)
}
