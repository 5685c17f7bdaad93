// Package admin lets tools ask and steer a running broker: one table of
// commands, and the control socket as the door to it.
//
// It never touches a session or a connection itself: the broker answers through
// the interface Broker. It never listens on the network; whoever may open the
// socket, which is mode 0600, may do everything. The commands may be called
// from any goroutine; docs/control-socket.md describes the protocol.
package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// Broker is what the commands need from a running broker. Its methods may be
// called from any goroutine, wait at most until ctx ends, and return values
// that the caller may keep.
type Broker interface {
	Status(ctx context.Context) (Status, error)

	// Clients lists every session, connected or not, in any order.
	Clients(ctx context.Context) ([]Client, error)

	// Disconnect closes the connection of a client, with a DISCONNECT that
	// carries code for MQTT 5 and, with UseAnotherServer and ServerMoved, the
	// server reference if there is one. The error is ErrNoClient when no client
	// of that id is connected.
	Disconnect(ctx context.Context, clientID string, code mqtt.ReasonCode, serverReference string) error
}

// ErrNoClient says that no client with the id is connected.
var ErrNoClient = errors.New("no such client is connected")

// Status is the broker as a whole.
type Status struct {
	Version   string           `json:"version"`
	PID       int              `json:"pid"`
	Started   time.Time        `json:"started"`
	Uptime    int64            `json:"uptime"` // seconds
	Loops     int              `json:"loops"`
	Listeners []Listener       `json:"listeners"`
	Metrics   map[string]int64 `json:"metrics"` // by the names of package metrics
	Drops     map[string]int64 `json:"drops"`   // dropped messages by cause, since the start
	Ends      map[string]int64 `json:"ends"`    // ended connections by cause, since the start; docs/disconnects.md
}

// Listener is one open listener.
type Listener struct {
	Address     string `json:"address"` // as bound, with the port
	Protocol    string `json:"protocol"`
	Connections int64  `json:"connections"`
}

// Client is one session.
type Client struct {
	ID        string `json:"id"`
	Connected bool   `json:"connected"`

	// The fields about the connection are those of the last one when the
	// client is away.
	Address   string    `json:"address,omitempty"` // A:P of the peer
	User      string    `json:"user,omitempty"`
	Version   int       `json:"version"`    // protocol level 3, 4 or 5
	KeepAlive int       `json:"keep_alive"` // seconds
	Clean     bool      `json:"clean"`      // clean session or clean start
	Since     time.Time `json:"since,omitzero"`

	// Expiry is the session expiry in seconds, 4294967295 for never.
	Expiry uint32 `json:"session_expiry"`

	Subscriptions int   `json:"subscriptions"`
	InflightIn    int   `json:"inflight_in"`
	InflightOut   int   `json:"inflight_out"`
	Queued        int   `json:"queued"`
	QueuedBytes   int64 `json:"queued_bytes"`
	OldestAge     int64 `json:"oldest_age"`   // seconds that the first message has waited; 0: none waits
	OutputBytes   int64 `json:"output_bytes"` // waiting for the socket

	Drops map[string]int64 `json:"drops,omitempty"` // dropped messages by cause
}

// Code classifies an error for programs.
type Code string

// The codes of errors.
const (
	CodeBadRequest Code = "bad_request"     // not a request, or arguments that do not fit
	CodeUnknown    Code = "unknown_command" // no such command
	CodeNotFound   Code = "not_found"       // what the command names does not exist
	CodeBusy       Code = "busy"            // too many connections
	CodeTimeout    Code = "timeout"         // the broker did not answer in time
	CodeInternal   Code = "internal"        // anything else
)

// Error is a refused command.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

func badRequest(format string, args ...any) *Error {
	return &Error{CodeBadRequest, fmt.Sprintf(format, args...)}
}

// Commands is the table of commands. Each door calls Do.
type Commands struct {
	broker Broker
	table  map[string]command
}

// command runs with arguments that are a JSON object or absent.
type command func(ctx context.Context, args json.RawMessage) (any, error)

// NewCommands returns the commands over b.
func NewCommands(b Broker) *Commands {
	c := &Commands{broker: b}
	c.table = map[string]command{
		"status":     c.status,
		"clients":    c.clients,
		"disconnect": c.disconnect,
		"acl test":   c.aclTest,
		"sessions":   c.sessions,

		"store backup": c.backup,
	}
	return c
}

// Add adds a command that somebody else carries out: the process, not the
// broker. Before the commands are served.
func (c *Commands) Add(name string, run func(ctx context.Context, args json.RawMessage) (any, error)) {
	c.table[name] = run
}

// NoArguments refuses arguments where a command takes none.
func NoArguments(args json.RawMessage) error { return arguments(args, new(struct{})) }

// Do runs the command called name. An error it returns is an *Error.
func (c *Commands) Do(ctx context.Context, name string, args json.RawMessage) (any, error) {
	run := c.table[name]
	if run == nil {
		return nil, &Error{CodeUnknown, fmt.Sprintf("unknown command %q", name)}
	}
	result, err := run(ctx, args)
	if err == nil {
		return result, nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return nil, e
	}
	switch {
	case errors.Is(err, ErrNoClient):
		return nil, &Error{CodeNotFound, err.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		return nil, &Error{CodeTimeout, "the broker did not answer in time"}
	}
	return nil, &Error{CodeInternal, err.Error()}
}

// arguments decodes args into v. A member that v does not know is an error, so
// that a misspelt one is never taken for absent.
func arguments(args json.RawMessage, v any) error {
	if len(args) == 0 {
		args = json.RawMessage("{}")
	}
	d := json.NewDecoder(bytes.NewReader(args))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return badRequest("args: %v", err)
	}
	return nil
}

func (c *Commands) status(ctx context.Context, args json.RawMessage) (any, error) {
	if err := arguments(args, new(struct{})); err != nil {
		return nil, err
	}
	return c.broker.Status(ctx)
}

// clients answers with {"clients":[…]}; the argument id restricts the list to
// one client.
func (c *Commands) clients(ctx context.Context, args json.RawMessage) (any, error) {
	var a struct {
		ID *string `json:"id"`
	}
	if err := arguments(args, &a); err != nil {
		return nil, err
	}
	all, err := c.broker.Clients(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Client, 0, len(all))
	for _, client := range all {
		if a.ID == nil || client.ID == *a.ID {
			list = append(list, client)
		}
	}
	return ClientList{list}, nil
}

// ClientList is the result of the command clients.
type ClientList struct {
	Clients []Client `json:"clients"`
}

func (c *Commands) disconnect(ctx context.Context, args json.RawMessage) (any, error) {
	a := struct {
		Client    *string `json:"client"`
		Code      int     `json:"code"`
		Reference string  `json:"server_reference"`
	}{Code: int(mqtt.AdministrativeAction)}
	if err := arguments(args, &a); err != nil {
		return nil, err
	}
	if a.Client == nil || *a.Client == "" {
		return nil, badRequest("args: client is missing")
	}
	if a.Code < 0 || a.Code > 255 || !packet.CodeAllowed(packet.DISCONNECT, true, mqtt.ReasonCode(a.Code)) {
		return nil, badRequest("args: code %d is no reason that a server gives in DISCONNECT", a.Code)
	}
	code := mqtt.ReasonCode(a.Code)
	switch {
	case a.Reference == "":
	case code != mqtt.UseAnotherServer && code != mqtt.ServerMoved:
		// [U5-3.2.2.3.16-1]
		return nil, badRequest("args: server_reference goes with the codes %d and %d only", mqtt.UseAnotherServer, mqtt.ServerMoved)
	case len(a.Reference) > mqtt.MaxString || !mqtt.ValidUTF8([]byte(a.Reference)):
		return nil, badRequest("args: server_reference is no MQTT text")
	}
	return struct{}{}, c.broker.Disconnect(ctx, *a.Client, code, a.Reference)
}
