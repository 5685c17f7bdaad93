package pubsub

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/midgemq/midge/mqtt/packet"
)

func FuzzArguments(f *testing.F) {
	f.Add("-h a -p 1 -t t -m x -q 2 -i id -V mqttv5 -D publish user-property a b")
	f.Add("-L mqtt://u:p@h:1/t/# --proxy socks5h://u:%25@[::1]:9")
	f.Add("--will-topic w --will-payload p --will-qos 1 --repeat-delay 0.5 -x 0x10")
	f.Fuzz(func(t *testing.T, line string) {
		t.Setenv("XDG_CONFIG_HOME", "/nonexistent")
		words := strings.Fields(line)
		for _, w := range words {
			if strings.HasPrefix(w, "-o") || strings.HasPrefix(w, "--options-file") {
				return // would read files
			}
		}
		for _, tool := range []int{inPub, inSub, inRR} {
			o, err := parse(&Env{Midge: len(line)%2 == 0}, tool, words)
			if err != nil {
				if text := err.Error(); !strings.HasPrefix(text, "Error") && text != "--help" && text != "--version" {
					t.Fatalf("%q: %v", line, err)
				}
				continue
			}
			if o.qos > 2 || o.port < 1 || o.port > 65535 || len(o.topics)+len(o.unsubscribe) == 0 {
				t.Fatalf("%q accepted as %+v", line, o)
			}
		}
	})
}

// FuzzFormat looks that no format makes the printer fail, and that %j is always JSON.
func FuzzFormat(f *testing.F) {
	f.Add("%-20.3:x|%5.1f|@Y@@%j%%\\n", []byte("payload\x00\xff"))
	f.Add("%010p%.2t%I%U@N@%@", []byte(`{"a":[1,2e9,{}]}`))
	f.Add("%J%d%f%P", []byte("12345678"))
	f.Fuzz(func(t *testing.T, format string, payload []byte) {
		var out, complaints bytes.Buffer
		e := &Env{Stdout: &out, Stderr: &complaints, Now: func() time.Time { return time.Unix(1, 2).UTC() }}
		m := &packet.Publish{Topic: []byte("t"), Payload: payload, QoS: 1, PacketID: 7}
		m.Props = packet.AppendPair(packet.AppendString(nil, packet.PropContentType, "c"), "k", "v")
		if pieces, err := parseFormat(format); err == nil {
			if err := newPrinter(e, &options{format: pieces}).print(m); err != nil {
				t.Fatal(err)
			}
		} else if !strings.HasPrefix(err.Error(), "Error: ") {
			t.Fatal(err)
		}
		for _, pretty := range []bool{false, true} {
			out.Reset()
			if err := newPrinter(e, &options{format: []piece{{spec: specJSON}}, pretty: pretty}).print(m); err != nil {
				t.Fatal(err)
			}
			if !json.Valid(out.Bytes()) {
				t.Fatalf("not JSON: %q", out.String())
			}
		}
	})
}
