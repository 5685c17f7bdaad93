package sqliteimport

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store/memstore"
	"github.com/midgemq/midge/internal/store/mosqdb"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// schema is that of the plug-in, version 1.1.
const schema = `
CREATE TABLE base_msgs (store_id INT64 PRIMARY KEY, expiry_time INT64, topic STRING NOT NULL, payload BLOB, source_id STRING,
	source_username STRING, payloadlen INTEGER, source_mid INTEGER, source_port INTEGER, qos INTEGER, retain INTEGER, properties STRING);
CREATE TABLE retains (topic STRING PRIMARY KEY, store_id INT64);
CREATE TABLE clients (client_id TEXT PRIMARY KEY, username TEXT, connection_time INT64, will_delay_time INT64,
	session_expiry_time INT64, listener_port INT, max_packet_size INT, max_qos INT, retain_available INT,
	session_expiry_interval INT, will_delay_interval INT);
CREATE TABLE subscriptions (client_id TEXT NOT NULL, topic TEXT NOT NULL, subscription_options INTEGER,
	subscription_identifier INTEGER, PRIMARY KEY (client_id, topic));
CREATE TABLE client_msgs (client_id TEXT NOT NULL, cmsg_id INT64, store_id INT64, dup INTEGER, direction INTEGER, mid INTEGER,
	qos INTEGER, retain INTEGER, state INTEGER, subscription_identifier INTEGER);
CREATE TABLE wills (client_id TEXT PRIMARY KEY, payload BLOB, topic STRING NOT NULL, payloadlen INTEGER, qos INTEGER,
	retain INTEGER, properties STRING);
CREATE TABLE version_info (component TEXT NOT NULL, major INTEGER NOT NULL, minor INTEGER NOT NULL, patch INTEGER NOT NULL);
INSERT INTO version_info VALUES ('database_schema', 1, 1, 0);
`

const content = `
INSERT INTO clients VALUES ('five', 'bob', 0, 0, 1700000100, 1883, 0, 2, 1, 3600, 9), ('three', NULL, 0, 0, 0, 1883, 0, 2, 1, 4294967295, 0),
	('signed', NULL, 0, 0, 0, 1883, 0, 2, 1, -1, 0);
INSERT INTO subscriptions VALUES ('five', 'a/#', 0x0E, 42), ('three', '42', 1, 0), ('three', 'bad#', 1, 0);
INSERT INTO base_msgs VALUES
	(20, 0, 'a/2', X'00FF', 'src', 'user', 2, 5, 1883, 2, 0,
	 '[{"identifier":"content-type","value":"t"},{"identifier":"correlation-data","value":"AB01"},{"identifier":"user-property","name":"k","value":"v"},{"identifier":"payload-format-indicator","value":1},{"identifier":"response-topic","value":"re"},{"identifier":"message-expiry-interval"}]'),
	(10, 1700000060, '42', X'31', NULL, NULL, 1, 0, 0, 1, 1, NULL),
	(30, 0, 'a/#', X'31', NULL, NULL, 1, 0, 0, 1, 1, NULL),
	(40, 0, 'b', NULL, NULL, NULL, 0, 0, 0, 1, 0, 'no json');
INSERT INTO retains VALUES ('42', 10);
INSERT INTO client_msgs VALUES ('five', 1, 20, 1, 1, 7, 2, 0, 9, 42), ('five', 2, 10, 0, 1, 8, 1, 1, 11, 0), ('three', 1, 20, 0, 0, 3, 2, 0, 7, 0),
	('three', 2, 20, 0, 1, 3, 7, 0, 7, 0);
INSERT INTO wills VALUES ('five', X'6279', 'w', 2, 1, 1, '[{"identifier":"session-expiry-interval","value":3}]');
`

func build(t testing.TB, statements ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mosquitto.sqlite3")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestRead(t *testing.T) {
	path := build(t, schema, content)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	scratch := t.TempDir()
	db, err := Read(t.Context(), path, scratch)
	if err != nil {
		t.Fatal(err)
	}
	props := packet.AppendString(nil, packet.PropContentType, "t")
	props = packet.AppendBytes(props, packet.PropCorrelationData, []byte{0xAB, 1})
	props = packet.AppendPair(props, "k", "v")
	props = packet.AppendUint(props, packet.PropPayloadFormat, 1)
	props = packet.AppendString(props, packet.PropResponseTopic, "re")
	want := &mosqdb.DB{
		Messages: []mosqdb.Message{
			{ID: 10, Expiry: 1700000060, Topic: "42", Payload: []byte("1"), QoS: 1, Retain: true},
			{ID: 20, Topic: "a/2", Payload: []byte{0, 0xFF}, Properties: props, SourceID: "src", SourceUserName: "user", SourceMID: 5, SourcePort: 1883, QoS: 2},
			{ID: 40, Topic: "b", QoS: 1},
		},
		Clients: []mosqdb.Client{
			{ID: "five", UserName: "bob", ExpiryTime: 1700000100, ExpiryInterval: 3600, ListenerPort: 1883},
			{ID: "three", ExpiryInterval: mqtt.NeverExpires, ListenerPort: 1883},
			{ID: "signed", ExpiryInterval: mqtt.NeverExpires, ListenerPort: 1883},
		},
		ClientMessages: []mosqdb.ClientMessage{
			{ClientID: "five", MessageID: 20, SubscriptionID: 42, MID: 7, QoS: 2, State: mosqdb.StateWaitForPubcomp, Direction: mosqdb.Out, RetainDup: 0x01},
			{ClientID: "five", MessageID: 10, MID: 8, QoS: 1, State: mosqdb.StateQueued, Direction: mosqdb.Out, RetainDup: 0x10},
			{ClientID: "three", MessageID: 20, MID: 3, QoS: 2, State: mosqdb.StateWaitForPubrel},
		},
		Retained: []uint64{10},
		Subscriptions: []mosqdb.Subscription{
			{ClientID: "five", Filter: "a/#", ID: 42, QoS: 2, Options: 0x0C},
			{ClientID: "three", Filter: "42", QoS: 1},
		},
		Wills: []mosqdb.Will{{ClientID: "five", Topic: "w", Payload: []byte("by"), Delay: 9, QoS: 1, Retain: true}},
	}
	problems := db.Problems
	db.Problems = nil
	if !reflect.DeepEqual(db, want) {
		t.Errorf("got\n%+v\nwant\n%+v", db, want)
	}
	for i, start := range []string{
		`message 40: properties: `, `client "five": will: property "session-expiry-interval": not one of a message`,
		`message 30: topic "a/#": `, `client "three": message 20: QoS 7`, `client "three": subscription: filter "bad#": `,
	} {
		if i >= len(problems) || !strings.HasPrefix(problems[i], start) {
			t.Errorf("problem %d of %q, want %q", i, problems, start)
		}
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the original was changed: %v", err)
	}
	for _, dir := range []string{scratch, filepath.Dir(path)} {
		if files, err := os.ReadDir(dir); err != nil || len(files) > 1 {
			t.Errorf("left behind in %s: %v %v", dir, files, err)
		}
	}
	st := memstore.New()
	rep, err := mosqdb.Import(t.Context(), db, st, mosqdb.ImportOptions{Now: record.Second, Wall: time.Unix(1700000000, 0)})
	if err != nil || rep.Clients != 3 || rep.ClientMessages != 3 || rep.Retained != 1 || rep.Wills != 1 || rep.Subscriptions != 2 || rep.Skipped != 0 {
		t.Errorf("%+v %v", rep, err)
	}
}

// TestLog: what a crash left in the write-ahead log counts.
func TestLog(t *testing.T) {
	path := build(t, "PRAGMA journal_mode=WAL;", schema)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("PRAGMA wal_autocheckpoint=0;" + content); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path + "-wal"); err != nil || fi.Size() == 0 {
		t.Fatalf("no log: %v", err)
	}
	got, err := Read(t.Context(), path, t.TempDir())
	if err != nil || len(got.Clients) != 3 || len(got.Messages) != 3 {
		t.Errorf("%d clients, %d messages, %v", len(got.Clients), len(got.Messages), err)
	}
}

// TestOldSchema: 1.0 has neither wills nor, at first, a version.
func TestOldSchema(t *testing.T) {
	path := build(t, schema, "DROP TABLE wills", "DROP TABLE version_info", "INSERT INTO clients (client_id) VALUES ('c')")
	db, err := Read(t.Context(), path, t.TempDir())
	if err != nil || len(db.Clients) != 1 || len(db.Problems) != 0 {
		t.Errorf("%+v %v", db, err)
	}
	path = build(t, schema, "DELETE FROM version_info")
	if _, err := Read(t.Context(), path, t.TempDir()); err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("a text of some length, no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, append([]byte(magic), bytes.Repeat([]byte("x"), 5000)...), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		want error
	}{
		{filepath.Join(dir, "none"), os.ErrNotExist},
		{text, ErrFormat},
		{broken, ErrFormat},
		{build(t, "CREATE TABLE clients (x)"), ErrFormat},
		{build(t, schema, "UPDATE version_info SET minor=2"), ErrVersion},
		{build(t, schema, "UPDATE version_info SET major=2, minor=0"), ErrVersion},
	} {
		if db, err := Read(t.Context(), c.path, dir); !errors.Is(err, c.want) || db == nil {
			t.Errorf("%s: %v, want %v", c.path, err, c.want)
		}
	}
}

// TestDamaged: a database with a broken page gives what the other pages hold.
func TestDamaged(t *testing.T) {
	var rows []string
	for i := range 3000 {
		rows = append(rows, fmt.Sprintf("(%d, 0, 'topic/%d', X'31', '', '', 1, 0, 0, 1, 0, NULL)", i+1, i))
	}
	path := build(t, "PRAGMA page_size=4096", schema, "INSERT INTO clients (client_id) VALUES ('c')", "INSERT INTO base_msgs VALUES "+strings.Join(rows, ","))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("topic/1500")) / 4096 * 4096
	copy(b[at:], bytes.Repeat([]byte{0xEE}, 4096))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := Read(t.Context(), path, t.TempDir())
	if err == nil || len(db.Clients) != 1 || len(db.Messages) == 0 || len(db.Messages) >= 3000 {
		t.Errorf("%d clients, %d messages, %v", len(db.Clients), len(db.Messages), err)
	}
}
