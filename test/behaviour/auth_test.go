package behaviour

import (
	"context"
	"sync"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/testkit/rawmqtt"
	"github.com/midgemq/midge/internal/testkit/target"
	"github.com/midgemq/midge/mqtt"
)

// testAuth carries out a script's test_auth rules. Rules may be added while the
// broker runs.
type testAuth struct {
	mu    sync.RWMutex
	rules target.Auth
}

// policy composes what the rules need; without any rule the broker's own
// anonymous policy stays untouched.
func (a *testAuth) policy() broker.Policy {
	var p broker.Policy
	r := &a.rules
	if len(r.Users) > 0 || len(r.Refuse) > 0 {
		p.Authenticator = a
	}
	if r.Anonymous || len(r.DenyPublish)+len(r.DenyRead)+len(r.DenySubscribe) > 0 {
		p.Authorizer = a
	}
	for name, m := range r.Methods {
		p.Methods = append(p.Methods, &testMethod{name: name, rules: m})
	}
	return p
}

// allowAnonymous is the listener's option that goes with the rules.
func (a *testAuth) allowAnonymous() bool { return len(a.rules.Users) == 0 || a.rules.Anonymous }

func (a *testAuth) add(words []string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rules.Add(words)
}

// Authenticate implements auth.Authenticator.
func (a *testAuth) Authenticate(_ context.Context, r *auth.Request) auth.Decision {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return auth.Decision{
		Code:            mqtt.ReasonCode(a.rules.CheckUser(r.ID, r.UserName, string(r.Password), r.HasUserName)),
		ServerReference: a.rules.References[r.ID],
	}
}

// Authorize implements auth.Authorizer.
func (a *testAuth) Authorize(_ *auth.Client, act auth.Action, topic string) mqtt.ReasonCode {
	a.mu.RLock()
	defer a.mu.RUnlock()
	denied := false
	switch act {
	case auth.Publish:
		denied = matchesAny(a.rules.DenyPublish, topic)
	case auth.Receive:
		denied = matchesAny(a.rules.DenyRead, topic)
	case auth.Subscribe:
		for _, f := range a.rules.DenySubscribe {
			denied = denied || f == topic
		}
	}
	if denied {
		return mqtt.NotAuthorized
	}
	return mqtt.Success
}

func matchesAny(filters []string, topic string) bool {
	for _, f := range filters {
		if rawmqtt.Match(f, topic) {
			return true
		}
	}
	return false
}

// testMethod is one made-up enhanced authentication method.
type testMethod struct {
	name  string
	rules target.Method
}

// Name implements auth.Method.
func (m *testMethod) Name() string { return m.name }

// Begin implements auth.Method.
func (m *testMethod) Begin(*auth.Request) auth.Exchange { return &testExchange{m: m} }

type testExchange struct {
	m    *testMethod
	step int
}

// Next implements auth.Exchange: the first data must be the method's start, each
// further one the answer to the challenge before it.
func (x *testExchange) Next(_ context.Context, data []byte) (out []byte, more bool, d auth.Decision) {
	r := x.m.rules
	want := r.Start
	if x.step > 0 {
		want = r.Answers[x.step-1]
	}
	if string(data) != want {
		return nil, false, auth.Decision{Code: mqtt.NotAuthorized}
	}
	if x.step < len(r.Challenges) {
		x.step++
		return []byte(r.Challenges[x.step-1]), true, auth.Decision{}
	}
	if r.Final != "" {
		out = []byte(r.Final)
	}
	return out, false, auth.Decision{}
}
