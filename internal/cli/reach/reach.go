// Package reach is how midge's measuring and diagnosing tools get to a broker: one table of connection flags, and the way
// there taken in steps that are timed and fail apart (name, TCP, TLS, WebSocket, CONNECT).
//
// It starts no goroutine beyond a call and keeps no state. Its functions may be called from any goroutine; a connection it
// returns may be read by one goroutine while another one writes.
package reach

import (
	"context"
	"io"
)

// Env is what a tool gets from the command line.
type Env struct {
	Context        context.Context // ends with SIGINT and SIGTERM
	Program        string          // as messages name it, "midge ping"
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Version        string
}

// Step is a part of the way to a broker.
type Step string

// The steps, in their order.
const (
	Name      Step = "dns"
	TCP       Step = "tcp"
	TLS       Step = "tls"
	WebSocket Step = "websocket"
	Connect   Step = "connect"
)

// StepError says at which step the way ended. Address is where it led by then.
type StepError struct {
	Step    Step
	Address string
	Err     error
}

// Error names the step and the cause.
func (e *StepError) Error() string {
	if e.Address == "" {
		return string(e.Step) + ": " + e.Err.Error()
	}
	return string(e.Step) + " " + e.Address + ": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *StepError) Unwrap() error { return e.Err }
