package auth

import (
	"context"
	"testing"

	"github.com/midgemq/midge/mqtt"
)

// fixed gives one answer.
type fixed Decision

func (f fixed) Authenticate(context.Context, *Request) Decision { return Decision(f) }

func (f fixed) Stands(_ *Client, proof any, _ bool) (bool, string) { return proof == f.Proof, "" }

// The table of decisions: who has decided, and what holds when nobody has.
func TestChain(t *testing.T) {
	yes, no := fixed{Proof: 1}, fixed{Code: mqtt.NotAuthorized}
	ignore, later := fixed{Outcome: Ignored}, fixed{Outcome: Deferred}
	for i, c := range []struct {
		links           []fixed
		user, anonymous bool
		ok              bool
	}{
		{nil, false, true, true},
		{nil, true, true, true},
		{nil, true, false, false},
		{[]fixed{ignore}, true, true, true},
		{[]fixed{ignore}, true, false, false},
		{[]fixed{ignore, later}, true, true, false},
		{[]fixed{ignore, later}, false, true, true},
		{[]fixed{later}, false, false, false},
		{[]fixed{later, yes}, true, false, true},
		{[]fixed{ignore, no, yes}, true, true, false},
		{[]fixed{yes, no}, false, false, true},
	} {
		var chain Chain
		for _, l := range c.links {
			chain = append(chain, Backend{"x", l})
		}
		d := chain.Authenticate(context.Background(), &Request{Client: Client{HasUserName: c.user}, AllowAnonymous: c.anonymous})
		if d.Code.IsError() == c.ok || !c.ok && d.Reason == "" && c.links[len(c.links)-1] != yes {
			t.Errorf("%d: %+v", i, d)
		}
	}
}

// Which logins stand when the rules have changed.
func TestStands(t *testing.T) {
	file := func(proof any) Chain { return Chain{{"file", fixed{Proof: proof}}} }
	ask := func(c Chain, user bool) any {
		return c.Authenticate(context.Background(), &Request{Client: Client{HasUserName: user}, AllowAnonymous: true}).Proof
	}
	byFile, byNobody := ask(file(7), true), ask(nil, true)
	for i, c := range []struct {
		user      bool
		proof     any
		now       Authenticator
		anonymous bool
		ok        bool
	}{
		{true, byFile, file(7), false, true},
		{true, byFile, file(8), true, false},
		{true, byFile, Chain{{"other", fixed{Proof: 7}}}, true, false},
		{true, byFile, Chain{}, true, true},
		{true, byFile, Chain{}, false, false},
		{true, byFile, nil, false, false},
		{true, byNobody, file(7), true, false},
		{true, byNobody, nil, true, true},
		{false, nil, file(7), true, true},
		{false, nil, file(7), false, false},
		{false, nil, nil, false, false},
	} {
		s := &Security{AllowAnonymous: c.anonymous}
		s.Authenticator = c.now
		if ok, why := s.Stands(&Client{ID: "c", HasUserName: c.user}, c.proof, false); ok != c.ok {
			t.Errorf("%d: %v %q", i, ok, why)
		}
	}
	s := &Security{IDPrefix: "dev-"}
	if ok, _ := s.Stands(&Client{ID: "c"}, nil, true); ok {
		t.Error("another prefix stands")
	}
	if ok, _ := s.Stands(&Client{ID: "dev-1"}, nil, true); !ok {
		t.Error("a certificate does not stand")
	}
}
