//go:build foreign

package tools

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/cli/bench"
	"github.com/midgemq/midge/internal/cli/ping"
)

// brokers are those every tool must do with.
var brokers = map[string]func(*testing.T, string) int{"midge": midge, "mosquitto": mosquitto}

const everybody = "listener PORT 127.0.0.1\nallow_anonymous true"

func TestPing(t *testing.T) {
	for name, start := range brokers {
		t.Run(name, func(t *testing.T) {
			port := fmt.Sprint(start(t, everybody))
			for _, version := range []string{"31", "311", "5"} {
				status, out, errs := run(t, ping.Run, "-b", "127.0.0.1", "-p", port, "-t", "some/topic", "-c", "3", "-d", "0.01", "-s", "100", "-V", version)
				if status != ping.ExitOK || !strings.Contains(out, "3 probes, 3 answered, 0.0 % lost") || errs != "" {
					t.Errorf("MQTT %s: status %d\n%s%s", version, status, out, errs)
				}
			}
			status, out, _ := run(t, ping.Run, "mqtt://127.0.0.1:"+port, "--qos", "0,1,2", "--stats", "--json", "-c", "4", "-V", "311", "-t", "abc", "-s", "32")
			var last struct {
				Summary struct {
					Sent, Answered int
					Stats          []struct {
						QoS        int
						ToBroker   struct{ Out, In struct{ Packets, Bytes int } } `json:"to_broker"`
						FromBroker struct{ Out, In struct{ Packets, Bytes int } } `json:"from_broker"`
					}
					KeepAlive struct {
						Seconds float64
						Idle    float64 `json:"idle_bytes_per_hour"`
					} `json:"keep_alive"`
				}
			}
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || status != ping.ExitOK {
				t.Fatalf("status %d, %v\n%s", status, err, out)
			}
			s := last.Summary
			if s.Sent != 12 || s.Answered != 12 || len(s.Stats) != 3 || s.KeepAlive.Idle != 240 || s.KeepAlive.Seconds != 60 {
				t.Fatalf("summary %+v", s)
			}
			// A PUBLISH: 2 bytes of header, 2 + 3 of topic, 2 of identifier from QoS 1 on, 32 of payload.
			for q, want := range [][4]int{{39, 0, 39, 0}, {41, 4, 41, 4}, {41 + 4, 8, 41 + 4, 8}} {
				x := s.Stats[q]
				got := [4]int{x.ToBroker.Out.Bytes / 4, x.ToBroker.In.Bytes / 4, x.FromBroker.In.Bytes / 4, x.FromBroker.Out.Bytes / 4}
				if got != want {
					t.Errorf("QoS %d: bytes %v, want %v", q, got, want)
				}
			}
		})
	}
	status, _, errs := run(t, ping.Run, "-b", "127.0.0.1", "-p", fmt.Sprint(freePort(t)), "-c", "2", "-d", "0")
	if status != ping.ExitNoConnection || strings.Count(errs, "lost") != 2 {
		t.Errorf("without a broker: status %d\n%s", status, errs)
	}
	port := mosquitto(t, "listener PORT 127.0.0.1\nallow_anonymous true\nmessage_size_limit 50")
	if status, out, _ := run(t, ping.Run, "-b", "127.0.0.1", "-p", fmt.Sprint(port), "-c", "1", "-s", "100", "--timeout", "0.3"); status != ping.ExitLoss {
		t.Errorf("with a broker that drops probes: status %d\n%s", status, out)
	}
}

// TestBench runs each scenario for a moment and lets it find no fault.
func TestBench(t *testing.T) {
	for name, start := range brokers {
		t.Run(name, func(t *testing.T) {
			url := fmt.Sprintf("mqtt://127.0.0.1:%d", start(t, everybody+"\nmax_queued_messages 0\nmax_inflight_messages 100"))
			for _, args := range []string{
				"p2p -c 5", "p2p -c 5 -q 1", "p2p -c 5 -q 2 -V 5", "fan-in -c 10", "fan-out --subscribers 10 -q 1", "pub -c 3", "pub -c 3 -q 1",
				"conn -c 20 -d 0.1", "retained -n 500 --subscribers 2", "persistent -c 5 -n 20", "soak -c 5 -d 1.5 -r 200", "p2p -c 2 -r 100",
			} {
				words := append(strings.Fields("-d 0.3 --warmup 0.1 --json --label x"), strings.Fields(args)...)
				status, out, errs := run(t, bench.Run, append(words, url)...)
				var r struct {
					Published, Delivered, Lost uint64
					OutOfOrder                 uint64 `json:"out_of_order"`
					Duplicates                 uint64
					Extra                      map[string]float64
					Latency                    *struct{ Count int64 }
				}
				if err := json.Unmarshal([]byte(out), &r); err != nil || status != bench.ExitOK || errs != "" {
					t.Errorf("%s: status %d, %v\n%s%s", args, status, err, out, errs)
					continue
				}
				if r.Lost+r.OutOfOrder+r.Duplicates != 0 {
					t.Errorf("%s: %s", args, out)
				}
				switch f := strings.Fields(args)[0]; f {
				case "conn":
					if r.Extra["connections"] != 20 {
						t.Errorf("%s: %s", args, out)
					}
				case "pub":
					if r.Published == 0 {
						t.Errorf("%s: %s", args, out)
					}
				default:
					want := r.Published
					if f == "fan-out" {
						want *= 10
					} else if f == "retained" {
						want *= 2
					}
					if r.Delivered != want || r.Published == 0 || r.Latency == nil || r.Latency.Count == 0 {
						t.Errorf("%s: %s", args, out)
					}
				}
			}
		})
	}
}

// TestBenchFindsLoss lets a broker drop messages.
func TestBenchFindsLoss(t *testing.T) {
	url := fmt.Sprintf("mqtt://127.0.0.1:%d", mosquitto(t, everybody+"\nmax_queued_messages 10"))
	status, out, _ := run(t, bench.Run, "persistent", "-c", "3", "-n", "100", url)
	if status != bench.ExitFaults || strings.Contains(out, "lost 0,") {
		t.Errorf("status %d\n%s", status, out)
	}
	if status, _, _ := run(t, bench.Run, "persistent", "-c", "3", "-n", "100", "--allow-loss", url); status != bench.ExitOK {
		t.Errorf("status %d with --allow-loss", status)
	}
}

// TestBenchMerge joins the results of two parts.
func TestBenchMerge(t *testing.T) {
	url := fmt.Sprintf("mqtt://127.0.0.1:%d", midge(t, everybody))
	var files []string
	for _, part := range []string{"1/2", "2/2"} {
		file := filepath.Join(t.TempDir(), "r.json")
		status, out, errs := run(t, bench.Run, "p2p", "-c", "2", "-n", "50", "-d", "5", "--warmup", "0", "--part", part, "-o", file, url)
		if status != bench.ExitOK {
			t.Fatalf("part %s: status %d\n%s%s", part, status, out, errs)
		}
		files = append(files, file)
	}
	status, out, errs := run(t, bench.Run, "merge", files[0], files[1], "--csv")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if status != bench.ExitOK || len(lines) != 2 || !strings.Contains(lines[1], ",p2p,4,4,0,64,") || !strings.Contains(lines[1], ",200,200,") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	write(t, files[0], "{}")
	if status, _, errs := run(t, bench.Run, "merge", files[0]); status != bench.ExitFaults || !strings.Contains(errs, files[0]) {
		t.Errorf("merging nonsense: status %d, %s", status, errs)
	}
	if _, err := os.Stat(files[1]); err != nil {
		t.Error(err)
	}
}
