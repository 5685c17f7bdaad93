package mini

import (
	"strings"
	"testing"
)

func FuzzArguments(f *testing.F) {
	f.Add("-h a -p 1 -t t -m x -q 2 -i id -V mqttv5")
	f.Add("-L mqtt://u:p@h:1/t/#")
	f.Add("--will-topic w --will-payload p --will-qos 1 --repeat-delay 0.5")
	f.Fuzz(func(t *testing.T, line string) {
		t.Setenv("XDG_CONFIG_HOME", "/nonexistent")
		words := strings.Fields(line)
		for _, w := range words {
			if w == "-o" {
				return // would read files
			}
		}
		for _, tool := range []int{inPub, inSub} {
			o, err := parse(tool, words)
			if err != nil {
				if !strings.HasPrefix(err.Error(), "Error: ") {
					t.Fatalf("%q: %v", line, err)
				}
				continue
			}
			if o.qos > 2 || o.port < 0 || o.port > 65535 || (!o.help && !o.showVersion && len(o.topics) == 0) {
				t.Fatalf("%q accepted as %+v", line, o)
			}
		}
	})
}
