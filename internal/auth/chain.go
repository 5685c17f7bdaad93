package auth

import (
	"context"

	"github.com/midgemq/midge/mqtt"
)

// Outcome is how a back end of a Chain answers.
type Outcome uint8

// The outcomes.
const (
	// Decided: Code says how, and nobody else is asked.
	Decided Outcome = iota
	// Ignored: the back end has nothing to say about such a client.
	Ignored
	// Deferred: the back end leaves the decision to others; if nobody decides the
	// answer is no.
	Deferred
)

// Standing is what an Authenticator implements whose logins can lose their
// ground while the client is connected.
type Standing interface {
	// Stands reports whether a client that was let in with this proof would still
	// be; it answers from memory. anonymous is the listener's present
	// allow_anonymous. why is for the log.
	Stands(c *Client, proof any, anonymous bool) (ok bool, why string)
}

// Backend is one link of a Chain. The name tells links apart, also from one
// configuration to the next.
type Backend struct {
	Name string
	Authenticator
}

// Chain asks back ends in order; the first that decides has decided. When nobody
// had anything to say, who may connect without a user name may connect with one,
// too, as nothing can vouch for either; when somebody deferred, only who brought
// none.
type Chain []Backend

type chainProof struct {
	name  string
	proof any
}

// Authenticate implements Authenticator.
func (c Chain) Authenticate(ctx context.Context, r *Request) Decision {
	deferred := false
	for i := range c {
		switch d := c[i].Authenticate(ctx, r); d.Outcome {
		case Ignored:
		case Deferred:
			deferred = true
		default:
			if !d.Code.IsError() {
				d.Proof = chainProof{c[i].Name, d.Proof}
			}
			return d
		}
	}
	switch {
	case r.AllowAnonymous && (!deferred || !r.HasUserName):
		return Decision{}
	case deferred:
		return Decision{Code: mqtt.NotAuthorized, Reason: "not authorised"}
	}
	return Decision{Code: mqtt.NotAuthorized, Reason: noAnonymous}
}

const noAnonymous = "anonymous access is not allowed"

// Stands implements Standing. A client that brought a user name while nobody
// asked for it falls as soon as somebody does: its password was not kept.
func (c Chain) Stands(who *Client, proof any, anonymous bool) (ok bool, why string) {
	if !who.HasUserName {
		if _, decided := proof.(chainProof); !decided {
			return anonymous, noAnonymous
		}
	}
	p, ok := proof.(chainProof)
	if ok {
		for i := range c {
			if c[i].Name != p.name {
				continue
			}
			if s, has := c[i].Authenticator.(Standing); has {
				return s.Stands(who, p.proof, anonymous)
			}
			return true, ""
		}
	}
	if len(c) == 0 {
		return anonymous, noAnonymous
	}
	return false, "no back end vouches for the user name any more"
}
