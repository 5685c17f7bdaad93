// Package auth is the contract between the broker and what decides who may
// connect, publish, subscribe and receive. Back ends live in folders of their
// own; every check fails closed.
//
// Authenticate may block and is called off the event loops; Authorize must not:
// it answers from memory and may be called from any loop.
package auth

import (
	"context"

	"github.com/midgemq/midge/mqtt"
)

// Client is who asks. Immutable once the client is connected.
type Client struct {
	ID       string
	UserName string
	// Address is the peer's address and port, IPv6 without brackets.
	Address string
	Version mqtt.Version
	// HasUserName tells an empty user name from none.
	HasUserName bool
	// TLS says how the connection is encrypted, nil when it is not.
	TLS *TLS
}

// TLS is what the encryption of a connection says about its client, whether the
// broker has it from the handshake or from the PROXY header of a proxy.
type TLS struct {
	Version string // "TLSv1.3"; empty when a proxy said nothing about it
	Cipher  string // as OpenSSL names it
	// Verified says that the client showed a certificate and that it was
	// verified; CommonName and Subject (RFC 2253) are its names.
	Verified            bool
	CommonName, Subject string
}

// Request is a CONNECT to decide on.
type Request struct {
	Client
	Password []byte
	// HasPassword tells an empty password from none.
	HasPassword bool
	// AllowAnonymous is the listener's allow_anonymous.
	AllowAnonymous bool
}

// Decision is the answer to a CONNECT or to the end of an exchange.
type Decision struct {
	Code mqtt.ReasonCode
	// Reason is told to an MQTT 5 client and logged; it names no secret.
	Reason string
	// UserName replaces the client's, when not empty.
	UserName string
	// ServerReference says where an MQTT 5 client is to go instead; used with
	// UseAnotherServer and ServerMoved alone [U5-3.2.2.3.16-1].
	ServerReference string
	// Outcome tells a Chain whether this is an answer at all; elsewhere only
	// Decided is known.
	Outcome Outcome
	// Proof is what the back end wants to see again when it is asked whether the
	// login still stands, see Standing; it holds no secret.
	Proof any
}

// Authenticator decides on user name and password.
type Authenticator interface {
	Authenticate(ctx context.Context, r *Request) Decision
}

// Action is what a client wants to do with a topic.
type Action uint8

// Actions.
const (
	Publish   Action = iota + 1 // write to a topic, wills included
	Subscribe                   // hold a subscription to a filter
	Receive                     // be given a message of a topic
)

// Authorizer decides on topics. Success permits.
type Authorizer interface {
	Authorize(c *Client, a Action, topic string) mqtt.ReasonCode
}

// Method is one enhanced authentication method of MQTT 5.
type Method interface {
	// Name is the Authentication Method.
	Name() string
	// Begin starts an exchange, for CONNECT or for re-authentication.
	Begin(r *Request) Exchange
}

// Exchange is one authentication under way.
type Exchange interface {
	// Next takes the client's data. With more true, out goes to the client in an
	// AUTH 0x18 and the exchange goes on [MQTT-4.12.0-2]; otherwise d decides and
	// out is the final Authentication Data. It may block.
	Next(ctx context.Context, data []byte) (out []byte, more bool, d Decision)
}

// Policy is the composition that a broker uses. The zero value lets anonymous
// clients in where the listener allows it, refuses everybody else nothing:
// without an Authenticator a user name is accepted only where anonymous clients
// are, because nothing can vouch for it.
type Policy struct {
	Authenticator Authenticator
	Authorizer    Authorizer
	Methods       []Method
}

// Asks reports whether there is a back end that may be asked about a client at
// all.
func (p *Policy) Asks() bool {
	return p.Authenticator != nil || p.Authorizer != nil || len(p.Methods) > 0
}

// Immediate decides without an Authenticator; ok false: one must be asked.
func (p *Policy) Immediate(r *Request) (d Decision, ok bool) {
	if !r.HasUserName && !r.HasPassword && r.AllowAnonymous {
		return Decision{}, true
	}
	if p.Authenticator != nil {
		if !r.HasUserName && !r.AllowAnonymous && !r.HasPassword {
			return Decision{Code: mqtt.NotAuthorized, Reason: "anonymous access is not allowed"}, true
		}
		return Decision{}, false
	}
	if r.AllowAnonymous {
		return Decision{}, true
	}
	return Decision{Code: mqtt.NotAuthorized, Reason: "anonymous access is not allowed"}, true
}

// Method returns the method with this name, nil for none.
func (p *Policy) Method(name string) Method {
	for _, m := range p.Methods {
		if m.Name() == name {
			return m
		}
	}
	return nil
}
