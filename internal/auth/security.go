package auth

import "strings"

// Security is everything that a listener asks of its clients. Immutable: a
// reload puts another one in its place.
type Security struct {
	Policy
	// AllowAnonymous lets in clients without a user name.
	AllowAnonymous bool
	// RefuseEmptyID is allow_zero_length_clientid false.
	RefuseEmptyID bool
	// IDPrefix is clientid_prefixes: how a client id must begin, "" for any way.
	IDPrefix string
	// AutoIDPrefix stands before client ids that the broker makes.
	AutoIDPrefix string
	// UserNameAsID is use_username_as_clientid.
	UserNameAsID bool
}

// IDAllowed reports whether the client id has the prefix that is asked for.
func (s *Security) IDAllowed(id string) bool { return strings.HasPrefix(id, s.IDPrefix) }

// Steady is what an Authorizer implements whose verdicts can be kept: they hold
// as long as Generation gives the same number. Any goroutine; it must be cheap.
type Steady interface{ Generation() uint64 }

// Stands reports whether a client that is connected may stay under s: the
// re-check after a reload. vouched says that its user name came from the
// listener, from a certificate.
func (s *Security) Stands(c *Client, proof any, vouched bool) (ok bool, why string) {
	switch {
	case !s.IDAllowed(c.ID):
		return false, "the client id has not the prefix that is asked for"
	case vouched:
		return true, ""
	case s.Authenticator == nil:
		return s.AllowAnonymous, noAnonymous
	}
	if st, has := s.Authenticator.(Standing); has {
		return st.Stands(c, proof, s.AllowAnonymous)
	}
	return c.HasUserName || s.AllowAnonymous, noAnonymous
}

// Explanation is a verdict and the rule it stands on.
type Explanation struct {
	Allowed bool
	// File, Line and Rule name the rule that decided; Line 0: none did, and Why
	// says what stands in its place.
	File string
	Line int
	Rule string
	Why  string
}

// Explainer is what an Authorizer implements that can say why.
type Explainer interface {
	Explain(c *Client, a Action, topic string) Explanation
}
