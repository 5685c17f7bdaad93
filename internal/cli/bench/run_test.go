//go:build !fuzz

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/cli/reach"
	"github.com/midgemq/midge/internal/config"
)

// serve runs midge and returns its URL.
func serve(t *testing.T) string {
	t.Helper()
	c := config.Default()
	l := *c.Listeners[0]
	l.Port, l.Address, l.AllowAnonymous = 0, "127.0.0.1", true
	c.Listeners = []*config.Listener{&l}
	b, err := broker.New(broker.Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return "mqtt://" + b.Addresses()[0]
}

// TestRun sends a fixed number of messages and finds all of them, in the results and in their sum.
func TestRun(t *testing.T) {
	url := serve(t)
	var files []string
	for part := range 2 {
		file := filepath.Join(t.TempDir(), "r.json")
		files = append(files, file)
		var out, errs bytes.Buffer
		status := Run(&reach.Env{Context: context.Background(), Program: "midge bench", Stdout: &out, Stderr: &errs}, []string{
			"p2p", "-c", "3", "-n", "200", "-q", "1", "-d", "20", "--warmup", "0", "--json", "-o", file, "--part", fmt.Sprintf("%d/2", part+1), url,
		})
		var r result
		if err := json.Unmarshal(out.Bytes(), &r); err != nil || status != ExitOK || errs.Len() > 0 {
			t.Fatalf("status %d, %v\n%s%s", status, err, out.String(), errs.String())
		}
		if r.Published != 600 || r.Delivered != 600 || r.Lost+r.Duplicates+r.OutOfOrder != 0 || r.Connect.Count != 6 || r.Latency == nil {
			t.Errorf("%+v", r)
		}
	}
	res, err := mergeFiles(files)
	if err != nil {
		t.Fatal(err)
	}
	if res.Published != 1200 || res.Parts != 2 || res.Publishers != 6 || res.Connect.Count != 12 {
		t.Errorf("%+v", res)
	}
	var text, table bytes.Buffer
	if err := res.text(&text); err != nil || !strings.Contains(text.String(), "1200 in all") {
		t.Errorf("%v\n%s", err, text.String())
	}
	if err := res.csv(&table); err != nil || strings.Count(table.String(), "\n") != 2 {
		t.Errorf("%v\n%s", err, table.String())
	}
	if err := os.WriteFile(files[0], []byte(strings.Replace(string(res.encode()), `"qos":1`, `"qos":2`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := mergeFiles(files); err == nil {
		t.Error("results of different QoS were added up")
	}
}

func TestRunFails(t *testing.T) {
	var out, errs bytes.Buffer
	status := Run(&reach.Env{Context: context.Background(), Program: "midge bench", Stdout: &out, Stderr: &errs}, []string{"p2p", "-c", "1", "127.0.0.1:1"})
	if status != ExitFaults || !strings.Contains(errs.String(), "127.0.0.1:1") {
		t.Errorf("status %d, %q", status, errs.String())
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if status := Run(&reach.Env{Context: ctx, Program: "midge bench", Stdout: &out, Stderr: &errs}, []string{"p2p", "-c", "1", serve(t)}); status != ExitFaults {
		t.Errorf("interrupted: status %d", status)
	}
}
