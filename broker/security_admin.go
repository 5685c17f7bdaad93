package broker

import (
	"context"
	"fmt"

	"github.com/midgemq/midge/internal/admin"
	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/logging"
)

// TestACL implements admin.ACLTester.
func (f *adminFace) TestACL(_ context.Context, q admin.ACLQuery) (admin.ACLAnswer, error) {
	b := (*Broker)(f)
	return b.guards.test(b.Config(), q)
}

// TestACL says what a client may do under a configuration that no broker runs.
func TestACL(c *config.Config, log *logging.Logger, q admin.ACLQuery) (admin.ACLAnswer, error) {
	g := newGuards(&Broker{opts: Options{Config: c}, cfg: c, log: log})
	table, err := g.build(c)
	if err != nil {
		return admin.ACLAnswer{}, err
	}
	g.table = table
	return g.test(c, q)
}

func (g *guards) test(c *config.Config, q admin.ACLQuery) (admin.ACLAnswer, error) {
	l, err := g.listenerFor(c, q)
	if err != nil {
		return admin.ACLAnswer{}, err
	}
	who := &auth.Client{ID: q.Client}
	if q.User != nil {
		who.UserName, who.HasUserName = *q.User, true
	}
	e := explain(g.of(l), who, actions[q.Action], l.MountPoint+q.Topic)
	return admin.ACLAnswer{Allowed: e.Allowed, Listener: l.Name(), File: e.File, Line: e.Line, Rule: e.Rule, Why: e.Why}, nil
}

var actions = map[string]auth.Action{"read": auth.Receive, "write": auth.Publish, "subscribe": auth.Subscribe}

// listenerFor finds the listener that a query is about.
func (g *guards) listenerFor(c *config.Config, q admin.ACLQuery) (*config.Listener, error) {
	name := q.Listener
	if name == "" && g.b.hub != nil {
		name = g.listenerOf(q.Client)
	}
	for _, l := range c.Listeners {
		if name == "" || l.Name() == name {
			return l, nil
		}
	}
	return nil, &admin.Error{Code: admin.CodeNotFound, Message: fmt.Sprintf("there is no listener %q", name)}
}

// listenerOf is the name of the listener a client came by, "" when that is not
// known.
func (g *guards) listenerOf(id string) string {
	at := g.b.hub.ListenerOf(id)
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, list := range g.at {
		for _, l := range list {
			if l == at {
				return name
			}
		}
	}
	return ""
}

// explain decides as the hub does, and says why.
func explain(s *auth.Security, c *auth.Client, a auth.Action, topic string) auth.Explanation {
	if a == auth.Publish && topic[0] == '$' && !hub.Writable(topic) {
		return auth.Explanation{Why: "the topic is reserved to the broker"}
	}
	if s.Authorizer == nil {
		return auth.Explanation{Allowed: true, Why: "no acl_file is in force"}
	}
	if x, ok := s.Authorizer.(auth.Explainer); ok {
		return x.Explain(c, a, topic)
	}
	return auth.Explanation{Allowed: !s.Authorizer.Authorize(c, a, topic).IsError(), Why: "decided by the program around the broker"}
}

// Explain implements auth.Explainer.
func (b both) Explain(c *auth.Client, a auth.Action, topic string) auth.Explanation {
	if b.library.Authorize(c, a, topic).IsError() {
		return auth.Explanation{Why: "denied by the program around the broker"}
	}
	return b.file.Explain(c, a, topic)
}
