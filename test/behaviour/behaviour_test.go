// Package behaviour runs the behaviour scripts of test/scripts against every
// target: the engine in process, the whole broker over TCP, and a foreign broker.
package behaviour

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/midgemq/midge/internal/testkit/script"
	"github.com/midgemq/midge/internal/testkit/target"
)

var (
	targetFlag = flag.String("target", "", "comma-separated targets to run: sim, tcp, ws, tls, each also behind moving-, mosquitto; empty for all of midge's own")
	waitFlag   = flag.Duration("wait", 0, "how long an expected packet may take")
)

const scriptsDir = "../scripts"

// load parses every script file; a file that does not parse fails the test.
func load(t *testing.T) []*script.Script {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(scriptsDir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in %s: %v", scriptsDir, err)
	}
	var all []*script.Script
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		list, err := script.Parse(filepath.Base(f), string(data))
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		all = append(all, list...)
	}
	return all
}

// TestScriptsParse checks every script's text without running it.
func TestScriptsParse(t *testing.T) {
	for _, s := range load(t) {
		if s.About == "" {
			t.Errorf("%s:%d: %s: about: is missing", s.File, s.Line, s.Name)
		}
	}
}

// scriptOptions are what a script is run with on a target.
func scriptOptions(t *testing.T, name string) script.Options {
	o := script.Options{Dir: t.TempDir(), Wait: *waitFlag, Foreign: name == "mosquitto"}
	if o.Wait == 0 {
		o.Wait = 5 * time.Minute // only what never comes is waited for that long
	}
	return o
}

// movingFiles are run also while connections move over WebSocket and TLS: what
// those two keep between one packet and the next, in both directions.
var movingFiles = []string{"publish", "qos2", "takeover", "will"}

// TestMovingTransports runs them, each in the newest version that it names.
func TestMovingTransports(t *testing.T) {
	if *targetFlag != "" {
		return
	}
	n := 0
	for _, s := range load(t) {
		file := strings.TrimSuffix(s.File, ".txt")
		if !slices.Contains(movingFiles, file) || !s.Has("tcp") {
			continue
		}
		for _, name := range []string{"moving-ws", "moving-tls"} {
			v := s.Versions[len(s.Versions)-1]
			n++
			t.Run(fmt.Sprintf("%s/%s/v%d/%s", file, s.Name, v, name), func(t *testing.T) {
				t.Parallel()
				if err := s.Run(v, factories[name], scriptOptions(t, name)); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
	if n < 20 {
		t.Fatalf("only %d scripts", n)
	}
}

// TestScripts runs every script that names a wanted target, once for each of its
// protocol versions, as file/section/version/target. Asked for by the flag,
// WebSocket and TLS run everything that tcp does: the transport makes no
// difference.
func TestScripts(t *testing.T) {
	wanted := targetNames(t)
	for _, s := range load(t) {
		file := strings.TrimSuffix(s.File, ".txt")
		for _, name := range wanted {
			base := strings.TrimPrefix(name, "moving-")
			if !s.Has(base) && !((base == "ws" || base == "tls") && *targetFlag != "" && s.Has("tcp")) {
				continue
			}
			if base != name && base != "sim" && acrossPublishers[s.File+" "+s.Name] {
				continue
			}
			for _, v := range s.Versions {
				t.Run(fmt.Sprintf("%s/%s/v%d/%s", file, s.Name, v, name), func(t *testing.T) {
					t.Parallel()
					o := scriptOptions(t, name)
					run := func(t *testing.T) {
						if err := s.Run(v, factories[name], o); err != nil {
							t.Fatal(err)
						}
					}
					if base == "sim" {
						synctest.Test(t, run)
						return
					}
					run(t)
				})
			}
		}
	}
}

// acrossPublishers are scripts that expect the order of messages of different
// publishers, which holds only while they are on one loop.
var acrossPublishers = map[string]bool{"resend.txt order-per-publisher": true}

func targetNames(t *testing.T) []string {
	t.Helper()
	if *targetFlag == "" {
		var own []string
		for name := range factories {
			if name != "mosquitto" && (name == "moving-sim" || !strings.HasPrefix(name, "moving-")) {
				own = append(own, name)
			}
		}
		slices.Sort(own)
		return own
	}
	names := strings.Split(*targetFlag, ",")
	for _, n := range names {
		if factories[n] == nil {
			t.Fatalf("-target=%s: unknown target", n)
		}
	}
	return names
}

// factories start a fresh broker of each kind.
var factories = map[string]target.Factory{
	"sim":        newSim,
	"tcp":        newTCP,
	"ws":         newWebSocket,
	"tls":        newTLS,
	"moving-sim": newMoving,
	"moving-tcp": moving(newTCP),
	"moving-ws":  moving(newWebSocket),
	"moving-tls": moving(newTLS),
	"mosquitto":  target.Mosquitto,
}
