package jsonprops

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/midgemq/midge/internal/store/mosqdb"
	"github.com/midgemq/midge/mqtt/packet"
)

func TestEncode(t *testing.T) {
	for text, want := range map[string][]byte{
		``:   nil,
		`[]`: nil,
		`[{"identifier":"payload-format-indicator","value":1},{"identifier":"user-property","name":"k","value":"v"}]`: packet.AppendPair(packet.AppendUint(nil, packet.PropPayloadFormat, 1), "k", "v"),
		`[{"identifier":"correlation-data","value":"AB01"}]`:                                                          packet.AppendBytes(nil, packet.PropCorrelationData, []byte{0xab, 1}),
	} {
		if got := Encode(text, func(err error) { t.Errorf("%s: %v", text, err) }); !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want %x", text, got, want)
		}
	}
	for text, want := range map[string]string{
		`{`: "properties: unexpected end of JSON input",
		`[{"identifier":"session-expiry-interval","value":1}]`:  `property "session-expiry-interval": not one of a message`,
		`[{"identifier":"payload-format-indicator","value":2}]`: `property "payload-format-indicator": 2 is above 1`,
		`[{"identifier":"correlation-data","value":"A"}]`:       `property "correlation-data": 1 digits are no binary data`,
	} {
		said := ""
		if got := Encode(text, func(err error) { said += err.Error() }); len(got) > 0 || said != want {
			t.Errorf("%s: %x, %q, want %q", text, got, said, want)
		}
	}
}

func FuzzEncode(f *testing.F) {
	f.Add(`[{"identifier":"content-type","value":"t"},{"identifier":"correlation-data","value":"AB01"}]`)
	f.Add(`[{"identifier":"user-property","name":"k","value":"v"},{"identifier":"payload-format-indicator","value":1}]`)
	f.Fuzz(func(t *testing.T, s string) {
		problems := 0
		b := Encode(s, func(error) { problems++ })
		if err := mosqdb.CheckProperties(b); err == nil && len(b) > 0 {
			packet.Props(b).Parse()
		}
		if s != "" && !json.Valid([]byte(s)) && problems == 0 {
			t.Fatalf("nobody was told that this is no JSON: %q", s)
		}
	})
}
