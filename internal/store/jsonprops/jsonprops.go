// Package jsonprops reads the properties of a message as Mosquitto's persist-sqlite
// plug-in writes them: a JSON list. It stands apart from package sqliteimport so
// that what reads foreign text can be tried out without linking SQLite. Encode
// keeps no state; any goroutine may call it.
package jsonprops

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// property is one element of the list that the plug-in writes as JSON.
type property struct {
	Identifier string          `json:"identifier"`
	Name       string          `json:"name"`
	Value      json.RawMessage `json:"value"`
}

// Encode gives the properties as they stand in a packet. One that cannot be is
// left out and named to problem.
func Encode(text string, problem func(error)) []byte {
	if text == "" {
		return nil
	}
	var list []property
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		problem(fmt.Errorf("properties: %w", err))
		return nil
	}
	var b []byte
	for i := range list {
		next, err := appendProperty(b, &list[i])
		if err != nil {
			problem(fmt.Errorf("property %q: %w", list[i].Identifier, err))
			continue
		}
		b = next
	}
	return b
}

func appendProperty(b []byte, p *property) ([]byte, error) {
	switch p.Identifier {
	case "payload-format-indicator":
		n, err := number(p.Value, 1)
		return packet.AppendUint(b, packet.PropPayloadFormat, n), err
	case "message-expiry-interval":
		if len(p.Value) == 0 {
			// The plug-in names it and leaves its value out. That of a message is in a
			// column of its own; that of a will is not stored.
			return b, nil
		}
		n, err := number(p.Value, 1<<32-1)
		return packet.AppendUint(b, packet.PropMessageExpiry, n), err
	case "content-type":
		s, err := text(p.Value)
		return packet.AppendString(b, packet.PropContentType, s), err
	case "response-topic":
		s, err := text(p.Value)
		return packet.AppendString(b, packet.PropResponseTopic, s), err
	case "correlation-data":
		s, err := text(p.Value)
		if err != nil {
			return b, err
		}
		v, err := hex.DecodeString(s)
		if err != nil || len(v) > mqtt.MaxString {
			return b, fmt.Errorf("%d digits are no binary data", len(s))
		}
		return packet.AppendBytes(b, packet.PropCorrelationData, v), nil
	case "user-property":
		s, err := text(p.Value)
		if err != nil {
			return b, err
		}
		if len(p.Name) > mqtt.MaxString {
			return b, fmt.Errorf("a name of %d bytes, at most %d", len(p.Name), mqtt.MaxString)
		}
		return packet.AppendPair(b, p.Name, s), nil
	default:
		return b, errors.New("not one of a message")
	}
}

func number(v json.RawMessage, most uint32) (uint32, error) {
	var n uint32
	if err := json.Unmarshal(v, &n); err != nil {
		return 0, err
	}
	if n > most {
		return 0, fmt.Errorf("%d is above %d", n, most)
	}
	return n, nil
}

func text(v json.RawMessage) (string, error) {
	var s string
	if err := json.Unmarshal(v, &s); err != nil {
		return "", err
	}
	if len(s) > mqtt.MaxString {
		return "", fmt.Errorf("%d bytes, at most %d", len(s), mqtt.MaxString)
	}
	return s, nil
}
