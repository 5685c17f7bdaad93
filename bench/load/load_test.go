//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/testkit/pki"
	"github.com/midgemq/midge/internal/testkit/target"
)

func TestTrack(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []uint32
		want []verdict
	}{
		{"in order", []uint32{0, 1, 2}, []verdict{inOrder, inOrder, inOrder}},
		{"lost", []uint32{0, 2, 3}, []verdict{inOrder, gap, inOrder}},
		{"late", []uint32{0, 2, 1, 3}, []verdict{inOrder, gap, gap, inOrder}},
		{"doubled", []uint32{0, 1, 1, 2}, []verdict{inOrder, inOrder, doubled, inOrder}},
		{"late and doubled", []uint32{0, 2, 1, 1}, []verdict{inOrder, gap, gap, doubled}},
		{"far ahead", []uint32{0, 5000, 4999, 5000, 0}, []verdict{inOrder, gap, gap, doubled, doubled}},
		{"doubled across the window", []uint32{0, trackWindow - 1, trackWindow, 1}, []verdict{inOrder, gap, inOrder, gap}},
	} {
		var k track
		var got []verdict
		for _, s := range tt.in {
			got = append(got, k.add(s))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestHistogramIsWithinAStep(t *testing.T) {
	var h hist
	for i := range 10000 {
		h.add(int64(i) * 1000)
	}
	for _, p := range []float64{0, 0.5, 0.99, 1} {
		want := p * 9999
		if got := h.q(p); got > want+1 || got < want*(1-1.0/32)-1 || math.IsNaN(got) {
			t.Errorf("quantile %v is %v, want about %v", p, got, want)
		}
	}
}

func TestReceivedProps(t *testing.T) {
	full := publishProps(0)
	for _, tt := range []struct {
		name  string
		props []byte
		alias uint16
		good  bool
	}{
		{"as published", full, 0, true},
		{"with an alias", publishProps(7), 7, true},
		{"nothing", nil, 0, false},
		{"without the user property", full[:len(full)-len(userProperty)], 0, false},
		{"no time left", append([]byte{2, 0, 0, 0, 0}, full[5:]...), 0, false},
		{"another property beside", append([]byte{1, 1}, full...), 0, false},
		{"cut short", full[:3], 0, false},
	} {
		if alias, good := receivedProps(tt.props); alias != tt.alias || good != tt.good {
			t.Errorf("%s: %d %t, want %d %t", tt.name, alias, good, tt.alias, tt.good)
		}
	}
}

func TestServerAliases(t *testing.T) {
	for _, tt := range []struct {
		props []byte
		want  uint16
	}{
		{nil, 0},
		{[]byte{0x22, 0, 10}, 10},
		{append(putStr([]byte{0x12}, "client"), 0x21, 0, 5, 0x22, 1, 0), 256},
		{append(putStr(putStr([]byte{0x26}, "a"), "b"), 0x22, 0, 3), 3},
		{[]byte{0x7e, 0x22, 0, 3}, 0},
		{[]byte{0x12, 0, 9, 'x'}, 0},
	} {
		if got := serverAliases(tt.props); got != tt.want {
			t.Errorf("% x: %d, want %d", tt.props, got, tt.want)
		}
	}
}

// TestMain lets the test program be the second process of a storm.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args, "-beside") {
		main()
		return
	}
	os.Exit(m.Run())
}

// serve runs midge in this process with a few more lines of configuration.
func serve(t *testing.T, lines string) string {
	t.Helper()
	port, err := target.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "m.conf")
	conf := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_output_bytes 100000000\n%s", port, lines)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Args{Files: []string{file}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(broker.Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// small makes a scenario small enough for a test.
func small(addr, scenario string) []string {
	return []string{
		"-addr", addr, "-scenario", scenario, "-pid", fmt.Sprint(os.Getpid()), "-label", "test", "-dur", "100ms", "-warm", "10ms",
		"-pairs", "3", "-fan-pubs", "5", "-fan-subs", "4", "-clients", "10", "-idle", "20", "-retained", "1000", "-members", "3",
		"-durable-pubs", "6", "-durable-subs", "2", "-sensors", "90", "-rate", "300",
	}
}

func result(t *testing.T, args []string) map[string]any {
	t.Helper()
	var out bytes.Buffer
	if err := program(args, &out); err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(out.Bytes(), &m); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	return m
}

// faults are the counters that a right broker leaves at zero.
var faults = []string{"lost", "gaps", "dups", "closed", "unacked"}

func TestScenarios(t *testing.T) {
	ca, err := pki.New(t.TempDir(), "ca")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Server("server")
	if err != nil {
		t.Fatal(err)
	}
	secure := "certfile " + leaf.CertFile + "\nkeyfile " + leaf.KeyFile + "\n"
	lines := map[string]string{"tls": secure, "storm-tls": secure, "ws": "protocol websockets\n"}
	figure := map[string]string{"idle": "rss_bytes_per_conn", "storm": "connect_s", "storm-tls": "connect_s", "large": "cpu_us_per_mb", "wild": "sub_rss_bytes", "v5-alias": "alias_in"}
	for _, name := range slices.Sorted(maps.Keys(scenarios)) {
		t.Run(name, func(t *testing.T) {
			m := result(t, small(serve(t, lines[name]), name))
			for _, f := range faults {
				if n, ok := m[f].(float64); ok && n != 0 {
					t.Errorf("%s: %v", f, n)
				}
			}
			want, ok := figure[name]
			if !ok {
				want = "p99_us"
			}
			if _, ok := m[want].(float64); !ok {
				t.Errorf("no figure %s in %v", want, m)
			}
			if n, ok := m["beside"].(float64); ok && n == 0 || ok != (name == "storm" || name == "storm-tls") {
				t.Errorf("beside the storm: %v messages", m["beside"])
			}
			if figure[name] == "" && m["delivered"].(float64) == 0 {
				t.Error("nothing was delivered")
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for _, args := range [][]string{
		{"-scenario", "none"},
		{"-addr", "192.0.2.1:1883"},
		{"-addr", "nowhere"},
		{"-addr", "127.0.0.1:1"},
		{"-wrong"},
	} {
		var out bytes.Buffer
		if err := program(args, &out); err == nil || out.Len() != 0 {
			t.Errorf("%v: no error, output %q", args, out.String())
		}
	}
}
