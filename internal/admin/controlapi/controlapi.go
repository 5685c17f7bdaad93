// Package controlapi answers the control API over MQTT: JSON commands that
// clients with the right to do so publish to $CONTROL/NAME/v1, answered on the
// same topic with /response behind it.
//
// It knows the envelope and the errors that all endpoints share; what a command
// does stands in the table of its endpoint. Handle may be called from any
// goroutine and does no I/O of its own.
package controlapi

import (
	"encoding/json"
	"strings"
)

// Prefix begins every topic of the API.
const Prefix = "$CONTROL/"

// Suffix is what a response's topic has behind the request's.
const Suffix = "/response"

// Caller is who sent a request.
type Caller struct{ ID, UserName string }

// Command carries out one command; args is its whole JSON object. The error's
// text is told to the caller.
type Command func(from Caller, args json.RawMessage) (data any, err error)

// Endpoint is a table of commands by name.
type Endpoint map[string]Command

// API is the table of endpoints by topic, such as $CONTROL/broker/v1.
type API map[string]Endpoint

type request struct {
	Commands json.RawMessage `json:"commands"`
}

type response struct {
	Command     string          `json:"command"`
	Error       string          `json:"error,omitempty"`
	Correlation json.RawMessage `json:"correlationData,omitempty"`
	Data        any             `json:"data,omitempty"`
}

// Handle answers one request. A topic that ends in Suffix is nobody's request
// and has no answer, nil.
func (a API) Handle(from Caller, topic string, payload []byte) []byte {
	if strings.HasSuffix(topic, Suffix) {
		return nil
	}
	endpoint, ok := a[topic]
	if !ok {
		return []byte(`{"error":"endpoint not available"}`)
	}
	answers := struct {
		Responses []response `json:"responses"`
	}{endpoint.all(from, payload)}
	b, err := json.Marshal(answers)
	if err != nil {
		return []byte(`{"responses":[{"command":"Unknown command","error":"Internal error"}]}`)
	}
	return b
}

// all carries out a request's commands in order. A failing one stops neither
// those before nor after it; one that is not a command at all ends the list.
func (e Endpoint) all(from Caller, payload []byte) []response {
	if !json.Valid(payload) {
		return []response{{Command: "Unknown command", Error: "Payload not valid JSON"}}
	}
	var r request
	var list []json.RawMessage
	if json.Unmarshal(payload, &r) != nil || r.Commands == nil || json.Unmarshal(r.Commands, &list) != nil || list == nil {
		return []response{{Command: "Unknown command", Error: "Invalid/missing commands"}}
	}
	out := make([]response, 0, len(list))
	for _, raw := range list {
		answer, goOn := e.one(from, raw)
		out = append(out, answer)
		if !goOn {
			break
		}
	}
	return out
}

func (e Endpoint) one(from Caller, raw json.RawMessage) (r response, goOn bool) {
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil || object == nil {
		return response{Command: "Unknown command", Error: "Command not an object"}, false
	}
	if json.Unmarshal(object["command"], &r.Command) != nil || r.Command == "" {
		return response{Command: "Unknown command", Error: "Missing command"}, false
	}
	if data, ok := object["correlationData"]; ok {
		var text string
		if json.Unmarshal(data, &text) != nil {
			r.Error = "Invalid correlationData data type."
			return r, false
		}
		r.Correlation = data
	}
	run := e.find(r.Command)
	if run == nil {
		r.Error = "Unknown command"
		return r, true
	}
	data, err := run(from, raw)
	if err != nil {
		r.Error = err.Error()
		return r, true
	}
	r.Data = data
	return r, true
}

// find takes names in any letter case.
func (e Endpoint) find(name string) Command {
	for n, c := range e {
		if strings.EqualFold(n, name) {
			return c
		}
	}
	return nil
}
