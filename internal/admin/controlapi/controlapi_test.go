package controlapi

import (
	"encoding/json"
	"errors"
	"testing"
)

func table() API {
	return API{Prefix + "broker/v1": {
		"list": func(Caller, json.RawMessage) (any, error) { return []int{1, 2}, nil },
		"who":  func(from Caller, _ json.RawMessage) (any, error) { return from.ID + "/" + from.UserName, nil },
		"fail": func(Caller, json.RawMessage) (any, error) { return nil, errors.New("it failed") },
		"echo": func(_ Caller, args json.RawMessage) (any, error) {
			var a struct{ Text string }
			err := json.Unmarshal(args, &a)
			return a.Text, err
		},
	}}
}

func TestHandle(t *testing.T) {
	for _, c := range []struct{ topic, request, want string }{
		{"broker/v1", `{"commands":[{"command":"list"}]}`, `{"responses":[{"command":"list","data":[1,2]}]}`},
		{"broker/v1", `{"commands":[{"command":"LIST","correlationData":"x"}]}`, `{"responses":[{"command":"LIST","correlationData":"x","data":[1,2]}]}`},
		{"broker/v1", `{"commands":[{"command":"fail"},{"command":"who"}]}`, `{"responses":[{"command":"fail","error":"it failed"},{"command":"who","data":"c/u"}]}`},
		{"broker/v1", `{"commands":[{"command":"echo","text":"hi"}]}`, `{"responses":[{"command":"echo","data":"hi"}]}`},
		{"broker/v1", `{"commands":[{"command":"none"},{"command":"list"}]}`, `{"responses":[{"command":"none","error":"Unknown command"},{"command":"list","data":[1,2]}]}`},
		{"broker/v1", `{"commands":[]}`, `{"responses":[]}`},
		{"broker/v1", `{`, `{"responses":[{"command":"Unknown command","error":"Payload not valid JSON"}]}`},
		{"broker/v1", ``, `{"responses":[{"command":"Unknown command","error":"Payload not valid JSON"}]}`},
		{"broker/v1", `[]`, `{"responses":[{"command":"Unknown command","error":"Invalid/missing commands"}]}`},
		{"broker/v1", `{}`, `{"responses":[{"command":"Unknown command","error":"Invalid/missing commands"}]}`},
		{"broker/v1", `{"commands":null}`, `{"responses":[{"command":"Unknown command","error":"Invalid/missing commands"}]}`},
		{"broker/v1", `{"commands":{"command":"list"}}`, `{"responses":[{"command":"Unknown command","error":"Invalid/missing commands"}]}`},
		{"broker/v1", `{"commands":[7,{"command":"list"}]}`, `{"responses":[{"command":"Unknown command","error":"Command not an object"}]}`},
		{"broker/v1", `{"commands":[{"command":7},{"command":"list"}]}`, `{"responses":[{"command":"Unknown command","error":"Missing command"}]}`},
		{"broker/v1", `{"commands":[{"command":"list","correlationData":7},{"command":"list"}]}`, `{"responses":[{"command":"list","error":"Invalid correlationData data type."}]}`},
		{"other/v1", `{"commands":[]}`, `{"error":"endpoint not available"}`},
		{"broker/v1/response", `{"responses":[]}`, ``},
	} {
		if got := string(table().Handle(Caller{"c", "u"}, Prefix+c.topic, []byte(c.request))); got != c.want {
			t.Errorf("%s %s:\n got %s\nwant %s", c.topic, c.request, got, c.want)
		}
	}
}

func FuzzHandle(f *testing.F) {
	f.Add([]byte(`{"commands":[{"command":"echo","text":"hi","correlationData":"1"}]}`))
	f.Add([]byte(`{"commands":[1]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := table().Handle(Caller{}, Prefix+"broker/v1", b)
		var answer struct{ Responses []map[string]any }
		if err := json.Unmarshal(got, &answer); err != nil || answer.Responses == nil {
			t.Fatalf("%q is answered %q: %v", b, got, err)
		}
	})
}
