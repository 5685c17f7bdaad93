package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/midgemq/midge/mqtt"
)

// Outcome answers the caller's first question about a failed operation: may the server have it?
type Outcome uint8

// Outcomes of an operation that returned an error.
const (
	// NotSent: no byte of it reached the network; doing it again cannot do it twice.
	NotSent Outcome = iota + 1
	// Unknown: it was sent, or may have been, and no answer came; doing it again may do it twice.
	Unknown
	// Refused: the server answered with a reason code of 0x80 or above.
	Refused
)

// String names the outcome in words.
func (o Outcome) String() string {
	switch o {
	case NotSent:
		return "not sent"
	case Unknown:
		return "sent, outcome unknown"
	case Refused:
		return "refused"
	}
	return "no outcome"
}

// Error is the error of every operation of this package that involves the server.
type Error struct {
	Op      string // "connect", "publish", "subscribe", "unsubscribe", "request", "authenticate"
	Outcome Outcome
	// Code is the server's reason code when Outcome is Refused. 3.x return codes are translated to the reason code of 5.0 that
	// means the same.
	Code mqtt.ReasonCode
	// Filter is the topic filter that was refused, of a SUBSCRIBE or UNSUBSCRIBE.
	Filter string
	// Properties are those of the refusing packet, nil when there were none.
	Properties *mqtt.Properties
	Err        error
}

// Error reads as "publish: refused: Not authorized: no rights on that topic".
func (e *Error) Error() string {
	s := e.Op
	if e.Filter != "" {
		s += fmt.Sprintf(" %q", e.Filter)
	}
	s += ": " + e.Outcome.String()
	if e.Outcome == Refused {
		s += ": " + e.Code.String()
		if e.Properties != nil && e.Properties.ReasonString != "" {
			s += ": " + e.Properties.ReasonString
		}
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// DisconnectError says that the server ended the connection with a DISCONNECT packet of 5.0.
type DisconnectError struct {
	Code       mqtt.ReasonCode
	Properties *mqtt.Properties
}

// Error names the reason and the server's words.
func (e *DisconnectError) Error() string {
	s := "server disconnected: " + e.Code.String()
	if e.Properties != nil && e.Properties.ReasonString != "" {
		s += ": " + e.Properties.ReasonString
	}
	return s
}

// Causes on which a caller may decide; they are found with errors.Is.
var (
	// ErrClosed: Close was called, or the client gave up for good.
	ErrClosed = errors.New("client is closed")
	// ErrNotConnected: there is no connection and the message is not to be kept until there is one.
	ErrNotConnected = errors.New("not connected")
	// ErrQueueFull: the queue of unsent and unacknowledged messages is at its limit.
	ErrQueueFull = errors.New("queue is full")
	// ErrDropped: the message made room for a younger one, as Options.WhenFull says.
	ErrDropped = errors.New("dropped from the full queue")
	// ErrExpired: the message's expiry interval passed before it could be sent.
	ErrExpired = errors.New("message expired before it was sent")
	// ErrSessionLost: the server no longer knows the session in which the message was under way.
	ErrSessionLost = errors.New("server lost the session")
	// ErrPacketTooLarge: the packet is above the server's maximum packet size.
	ErrPacketTooLarge = errors.New("packet is larger than the server accepts")
	// ErrNotSupported: the server announced that it lacks the feature, or the protocol version has no form for it.
	ErrNotSupported = errors.New("not supported by the server or the protocol version")
	// ErrNoPSK: pre-shared keys were asked for; crypto/tls has none, so neither has this library.
	ErrNoPSK = errors.New("TLS with pre-shared keys is not possible: crypto/tls has no PSK cipher suites")
	// ErrKeepAlive: the server answered nothing within the ping timeout.
	ErrKeepAlive = errors.New("server did not answer the ping")
	// ErrNoConnack: the server did not answer CONNECT in time [U311-3.2.0-1].
	ErrNoConnack = errors.New("server did not answer CONNECT in time")
	// ErrSessionUnknown: the server claims a session of which this client has no state [MQTT-3.2.2-4].
	ErrSessionUnknown = errors.New("server has a session that this client did not ask to resume")
)

// SafeToRetry reports whether the operation can be repeated without any chance of having it done twice: true only if it was not
// sent. A refusal is an answer; whether trying again makes sense depends on its code.
func SafeToRetry(err error) bool { return OutcomeOf(err) == NotSent }

// OutcomeOf returns the outcome an error reports, 0 for nil and for errors that know none.
func OutcomeOf(err error) Outcome {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Outcome
	}
	return 0
}

// ReasonOf returns the server's reason code in an error: that of a refusal, or of a DISCONNECT that ended the connection.
func ReasonOf(err error) (code mqtt.ReasonCode, ok bool) {
	if e, ok := errors.AsType[*Error](err); ok && e.Outcome == Refused {
		return e.Code, true
	}
	if e, ok := errors.AsType[*DisconnectError](err); ok {
		return e.Code, true
	}
	return 0, false
}

func notSent(op string, err error) error { return &Error{Op: op, Outcome: NotSent, Err: err} }
func unknown(op string, err error) error { return &Error{Op: op, Outcome: Unknown, Err: err} }

// ended turns a context's end into the error of the operation that waited.
func ended(ctx context.Context, op string, o Outcome) error {
	return &Error{Op: op, Outcome: o, Err: context.Cause(ctx)}
}
