package dbdump

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/store/mosqdb"
	"github.com/midgemq/midge/mqtt/packet"
)

func file(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mosquitto.db")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func sample(t testing.TB) []byte {
	t.Helper()
	props := packet.AppendUint(nil, packet.PropPayloadFormat, 1)
	props = packet.AppendString(props, packet.PropContentType, "text/\"x\"")
	props = packet.AppendString(props, packet.PropResponseTopic, "re")
	props = packet.AppendBytes(props, packet.PropCorrelationData, []byte{0xAB, 0x01})
	props = packet.AppendPair(props, "k", "v")
	var b bytes.Buffer
	err := mosqdb.Write(&b, &mosqdb.DB{
		Config: mosqdb.Config{LastID: 2, Shutdown: true},
		Messages: []mosqdb.Message{
			{ID: 1, Topic: "a/b", Payload: []byte("hello"), Properties: props, SourceID: "src", SourceUserName: "u", SourceMID: 3, SourcePort: 1883, QoS: 1, Retain: true},
			{ID: 2, Topic: "bin", Payload: []byte{0xFF, 0}, Expiry: 1700000000, QoS: 2},
			{ID: 3, Topic: "long", Payload: bytes.Repeat([]byte("x"), 256)},
			{ID: 4, Topic: "none"},
		},
		Clients: []mosqdb.Client{
			{ID: "c1", UserName: "bob", ExpiryInterval: 4294967295, LastMID: 7, ListenerPort: 1883},
			{ID: "c2", ExpiryTime: 1700000000, ExpiryInterval: 60},
		},
		ClientMessages: []mosqdb.ClientMessage{
			{ClientID: "c1", MessageID: 1, SubscriptionID: 5, MID: 7, QoS: 1, State: mosqdb.StateQueued, Direction: mosqdb.Out, RetainDup: 0x11},
			{ClientID: "c1", MessageID: 2, MID: 9, QoS: 2, State: mosqdb.StateWaitForPubrel},
		},
		Subscriptions: []mosqdb.Subscription{{ClientID: "c1", Filter: "a/#", ID: 5, QoS: 2, Options: 0x0C}},
		Retained:      []uint64{1},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func run(t testing.TB, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = Run(&Env{Program: "mosquitto_db_dump", Stdout: &out, Stderr: &errs}, args)
	return status, out.String(), errs.String()
}

func TestPlain(t *testing.T) {
	status, out, errs := run(t, file(t, sample(t)))
	want := `Mosquitto DB dump
CRC: 0
DB version: 6
DB_CHUNK_CFG:
	Length: 16
	Shutdown: 1
	DB ID size: 8
	Last DB ID: 2
DB_CHUNK_BASE_MSG:
	Length: 75
	Store ID: 1
	Source Port: 1883
	Source MID: 3
	Topic: a/b
	QoS: 1
	Retain: 1
	Payload Length: 5
	Expiry Time: 0
	Payload: hello
	Properties:
		Payload format indicator: 1
		Content type: text/"x"
		Response topic: re
		Correlation data: AB01
		User property: k , v
DB_CHUNK_BASE_MSG:
	Length: 37
	Store ID: 2
	Source Port: 0
	Source MID: 0
	Topic: bin
	QoS: 2
	Retain: 0
	Payload Length: 2
	Expiry Time: 1700000000
DB_CHUNK_BASE_MSG:
	Length: 292
	Store ID: 3
	Source Port: 0
	Source MID: 0
	Topic: long
	QoS: 0
	Retain: 0
	Payload Length: 256
	Expiry Time: 0
DB_CHUNK_BASE_MSG:
	Length: 36
	Store ID: 4
	Source Port: 0
	Source MID: 0
	Topic: none
	QoS: 0
	Retain: 0
	Payload Length: 0
	Expiry Time: 0
DB_CHUNK_CLIENT:
	Length: 29
	Client ID: c1
	Username: bob
	Listener port: 1883
	Last MID: 7
	Session expiry time: 0
	Session expiry interval: 4294967295
DB_CHUNK_CLIENT_MSG:
	Length: 21
	Client ID: c1
	Store ID: 1
	MID: 7
	QoS: 1
	Retain: 1
	Direction: 1
	State: 11
	Dup: 1
	Subscription identifier: 5
DB_CHUNK_CLIENT_MSG:
	Length: 18
	Client ID: c1
	Store ID: 2
	MID: 9
	QoS: 2
	Retain: 0
	Direction: 0
	State: 7
	Dup: 0
DB_CHUNK_CLIENT:
	Length: 26
	Client ID: c2
	Last MID: 0
	Session expiry time: 1700000000
	Session expiry interval: 60
DB_CHUNK_SUB:
	Length: 17
	Client ID: c1
	Topic: a/#
	QoS: 2
	Subscription ID: 5
	Options: 0x0C
DB_CHUNK_RETAIN:
	Length: 8
	Store ID: 1
`
	if status != 0 || errs != "" || out != want {
		t.Errorf("status %d, stderr %q, got\n%s", status, errs, out)
	}
}

func TestStats(t *testing.T) {
	// flag: db_dump --stats
	status, out, errs := run(t, "--stats", file(t, sample(t)))
	want := `DB_CHUNK_CFG:        1
DB_CHUNK_BASE_MSG:   4
DB_CHUNK_CLIENT_MSG: 2
DB_CHUNK_RETAIN:     1
DB_CHUNK_SUB:        1
DB_CHUNK_CLIENT:     2
`
	if status != 0 || errs != "" || out != want {
		t.Errorf("status %d, stderr %q, got\n%s", status, errs, out)
	}
	// flag: db_dump --client-stats
	status, out, errs = run(t, "--client-stats", file(t, sample(t)))
	want = "SC: 1 SS: 17 MC: 2 MS: 151   c1\nSC: 0 SS: 0 MC: 0 MS: 0   c2\n"
	if status != 0 || errs != "" || out != want {
		t.Errorf("status %d, stderr %q, got\n%s", status, errs, out)
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	err := mosqdb.Write(&b, &mosqdb.DB{
		Messages: []mosqdb.Message{
			{ID: 18446744073709551615, Topic: "a\"b\\", Payload: []byte("hello"), SourceID: "s", SourceUserName: "u", Properties: packet.AppendPair(packet.AppendUint(nil, packet.PropPayloadFormat, 1), "k", "v")},
			{ID: 2, Topic: "b"},
		},
		Clients:        []mosqdb.Client{{ID: "c", ExpiryTime: 9, ExpiryInterval: 4294967295}},
		ClientMessages: []mosqdb.ClientMessage{{ClientID: "c", MessageID: 2, SubscriptionID: 5, MID: 7, QoS: 1, State: mosqdb.StateQueued, Direction: mosqdb.Out, RetainDup: 0x11}},
		Subscriptions:  []mosqdb.Subscription{{ClientID: "c", Filter: "#", ID: 5, QoS: 2, Options: 4}},
	})
	if err != nil {
		t.Fatal(err)
	}
	// flag: db_dump --json
	status, out, errs := run(t, "--json", file(t, b.Bytes()))
	want := `{
	"base-messages":	[{
			"storeid":	18446744073709551615,
			"expiry-time":	0,
			"source-mid":	0,
			"source-port":	0,
			"qos":	0,
			"retain":	0,
			"topic":	"a\"b\\",
			"clientid":	"s",
			"username":	"u",
			"payload":	"aGVsbG8=",
			"properties":	[{
					"identifier":	"payload-format-indicator",
					"value":	1
				}, {
					"identifier":	"user-property",
					"name":	"k",
					"value":	"v"
				}]
		}, {
			"storeid":	2,
			"expiry-time":	0,
			"source-mid":	0,
			"source-port":	0,
			"qos":	0,
			"retain":	0,
			"topic":	"b"
		}],
	"clients":	[{
			"clientid":	"c",
			"session-expiry-time":	9,
			"session-expiry-interval":	4294967295,
			"last-mid":	0,
			"listener-port":	0
		}],
	"client-messages":	[{
			"clientid":	"c",
			"storeid":	2,
			"mid":	7,
			"qos":	1,
			"state":	11,
			"retain-dup":	17,
			"direction":	1,
			"subscription-identifier":	5
		}],
	"retained-messages":	[],
	"subscriptions":	[{
			"clientid":	"c",
			"topic":	"#",
			"qos":	2,
			"options":	4,
			"identifier":	5
		}]
}
`
	if status != 0 || errs != "" || out != want {
		t.Errorf("status %d, stderr %q, got\n%s", status, errs, out)
	}
	if !json.Valid([]byte(out)) {
		t.Error("no JSON")
	}
	if _, out, _ := run(t, "--json", file(t, sample(t))); !json.Valid([]byte(out)) {
		t.Errorf("no JSON: %s", out)
	}
}

func TestJSONText(t *testing.T) {
	var a array
	o := a.object(1)
	o.text("k", "\b\f\n\r\t\x01é\x7f")
	o.end()
	if got, want := a.b.String(), "{\n\t\"k\":\t\"\\b\\f\\n\\r\\t\\u0001é\x7f\"\n}"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestErrors(t *testing.T) {
	good := sample(t)
	damaged := bytes.Replace(good, []byte("a/#"), []byte("#/a"), 1)
	newer := bytes.Clone(good)
	newer[22] = 9
	for _, c := range []struct {
		name   string
		args   []string
		status int
		stderr string
	}{
		{"no argument", nil, 1, "Usage: mosquitto_db_dump [--stats | --client-stats | --json] <mosquitto db filename>\n"},
		{"unknown flag", []string{"--x", "y"}, 1, "Usage: "},
		{"too many", []string{"--stats", "y", "z"}, 1, "Usage: "},
		{"not there", []string{"/no/such/file"}, 0, "Error: Unable to open /no/such/file\n"},
		{"no database", []string{file(t, []byte("SQLite format 3\x00 and something behind it"))}, 1, "Error: Unrecognised file format.\n"},
		{"empty", []string{"--stats", file(t, nil)}, 1, "Error: Unrecognised file format.\n"},
		{"newer", []string{file(t, newer)}, 1, "Error: unsupported version 9 (versions 2 to 6 are read).\n"},
		{"damaged", []string{"--stats", file(t, damaged)}, 1, "Error: Corrupt persistent database.\nError: chunk 10 (DB_CHUNK_SUB) at offset "},
		{"cut", []string{"--json", file(t, good[:len(good)-1])}, 1, "Error: Corrupt persistent database.\n"},
		{"directory", []string{t.TempDir()}, 1, "Error: read header: "},
	} {
		status, out, errs := run(t, c.args...)
		if status != c.status || !strings.HasPrefix(errs, c.stderr) {
			t.Errorf("%s: status %d, stderr %q", c.name, status, errs)
		}
		if len(c.args) > 1 && out != "" {
			t.Errorf("%s: printed %q", c.name, out)
		}
	}
	if status, out, errs := run(t, "--help"); status != 1 || !strings.HasPrefix(out, "Usage: ") || errs != "" {
		t.Errorf("help: %d %q %q", status, out, errs)
	}
}

func TestUnknownChunk(t *testing.T) {
	b := append(bytes.Clone(sample(t)), 0, 0, 0, 99, 0, 0, 0, 3, 'x', 'y', 'z')
	at := len(b) - 3
	status, out, errs := run(t, "--stats", file(t, b))
	if want := "Warning: Unsupported chunk \"99\" of length 3 in persistent database file at position " + itoa(at) + ". Ignoring.\n"; status != 0 || errs != want {
		t.Errorf("status %d, stderr %q, want %q", status, errs, want)
	}
	if !strings.Contains(out, "DB_CHUNK_CLIENT:     2\n") {
		t.Errorf("printed %q", out)
	}
}

func itoa(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}
