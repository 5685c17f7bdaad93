package storecmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/store/mosqdb"
	"github.com/midgemq/midge/mqtt"
)

func run(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = Run(&Env{Program: "midge store", Stdout: &out, Stderr: &errs, Directory: filepath.Join(t.TempDir(), "midge.store")}, args)
	return status, out.String(), errs.String()
}

func TestImportExport(t *testing.T) {
	base := t.TempDir()
	file, dir := filepath.Join(base, "mosquitto.db"), filepath.Join(base, "store")
	var b bytes.Buffer
	err := mosqdb.Write(&b, &mosqdb.DB{
		Messages:       []mosqdb.Message{{ID: 1, Topic: "t", QoS: 1, Payload: []byte("x")}},
		Clients:        []mosqdb.Client{{ID: "c", ExpiryInterval: mqtt.NeverExpires}},
		ClientMessages: []mosqdb.ClientMessage{{ClientID: "c", MessageID: 1, MID: 1, QoS: 1, State: mosqdb.StateQueued, Direction: mosqdb.Out}},
		Subscriptions:  []mosqdb.Subscription{{ClientID: "c", Filter: "t", QoS: 1}},
		Retained:       []uint64{1},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	status, out, errs := run(t, "import", file, "--to", dir)
	want := "Importing " + file + ".\nRestored 1 base messages\nRestored 1 retained messages\nRestored 1 clients\nRestored 1 subscriptions\nRestored 1 client messages\n"
	if status != 0 || out != want || errs != "" {
		t.Fatalf("%d %q %q", status, out, errs)
	}
	if status, _, errs := run(t, "import", file, "--to="+dir); status != 1 || !strings.Contains(errs, "the store is not empty; with --replace") {
		t.Errorf("again: %d %q", status, errs)
	}
	if status, out, _ := run(t, "import", "--replace", "--to", dir, file); status != 0 || !strings.Contains(out, "Replaced 1 sessions\n") {
		t.Errorf("replace: %d %q", status, out)
	}
	back := filepath.Join(base, "back.db")
	status, out, errs = run(t, "export", "--from", dir, back)
	if want := "Exported 1 clients, 1 subscriptions, 1 client messages, 1 retained messages (2 base messages)\n"; status != 0 || out != want {
		t.Errorf("export: %d %q %q", status, out, errs)
	}
	if status, _, errs := run(t, "import", filepath.Join(base, "none")); status != 1 || !strings.Contains(errs, "no such file") {
		t.Errorf("no file: %d %q", status, errs)
	}
	if status, _, errs := run(t, "import", filepath.Join(dir, "LOCK"), "--to", filepath.Join(base, "x")); status != 1 || !strings.Contains(errs, "file is empty") {
		t.Errorf("no database: %d %q", status, errs)
	}
}

func TestTestData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if status, out, errs := run(t, "gen-testdata", dir); status != 0 || out != "" || errs != "" {
		t.Fatalf("%d %q %q", status, out, errs)
	}
	if status, out, errs := run(t, "verify-data", dir); status != 0 || out != dir+" holds what it should.\n" || errs != "" {
		t.Errorf("%d %q %q", status, out, errs)
	}
	if status, _, errs := run(t, "verify-data", t.TempDir()); status != 1 || !strings.Contains(errs, "verify: line 1 is") {
		t.Errorf("%d %q", status, errs)
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args   []string
		status int
		text   string
	}{
		{nil, 2, "import"},
		{[]string{"--help"}, 0, "take over what Mosquitto has stored"},
		{[]string{"nothing"}, 2, `unknown command "nothing"`},
		{[]string{"import"}, 2, "0 operands"},
		{[]string{"import", "a", "b"}, 2, "2 operands"},
		{[]string{"import", "--wrong", "a"}, 2, "--wrong"},
		{[]string{"import", "--help"}, 0, "--replace"},
	} {
		status, out, errs := run(t, c.args...)
		if status != c.status || !strings.Contains(out+errs, c.text) {
			t.Errorf("%q: %d %q %q", c.args, status, out, errs)
		}
		if (status == 0) != (errs == "") {
			t.Errorf("%q: status %d with %q on stderr", c.args, status, errs)
		}
	}
}
