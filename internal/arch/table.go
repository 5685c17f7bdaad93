package arch

import "strings"

// Rule says what one package, or one family of packages, may import.
type Rule struct {
	// Path is a directory relative to the module root. With the suffix "/..." it also covers every directory below,
	// and those packages may import each other (Go itself forbids cycles).
	Path string
	// Pure packages work on values only: no net, os, log, clock, randomness or go statement, and only pure imports.
	Pure bool
	// Only, when not nil, lists the sole packages of this module that may be imported; a family covers its members.
	Only []string
	// External lists import paths outside the standard library and this module; a prefix ends at a slash.
	External []string
	// UsedBy, when not nil, lists the sole packages whose non-test files may import this one.
	UsedBy []string
	// Testing marks packages that serve tests: they may import "testing", and nothing of the product may import them.
	Testing bool
}

// Layers is the import table, top to bottom. A package may import only what stands in a line below its own; packages of
// one line do not know each other. A package that no line names is an error. A new package gets its line here, in the
// same change that adds it.
var Layers = [][]Rule{
	// Tools of the house and tests: nobody imports them.
	{
		{Path: "internal/arch/...", Testing: true},
		{Path: "internal/tools/...", Testing: true},
		{Path: "test/durable", Testing: true, External: []string{"github.com/cockroachdb/pebble/v2/vfs"}},
		{Path: "test/...", Testing: true, External: []string{"golang.org/x/sys"}},
		{Path: "bench/...", Testing: true, External: []string{"golang.org/x/sys"}},
		{Path: "examples/..."},
	},
	{{Path: "internal/testkit/...", Testing: true, External: []string{"golang.org/x/sys", "go.uber.org/goleak"}}},

	{{Path: "cmd/midge"}},
	{{Path: "internal/cli/...", External: []string{
		"github.com/alecthomas/kong", "golang.org/x/sys", "golang.org/x/term",
		"github.com/HdrHistogram/hdrhistogram-go", "github.com/schollz/progressbar/v3", // bench, ping
		"charm.land/bubbletea/v2", "charm.land/lipgloss/v2", // monitor
		"github.com/coreos/go-systemd/v22/daemon", // serve
	}}},
	{{Path: "broker"}},
	{{Path: "internal/admin/..."}},
	{{Path: "internal/bridge"}, {Path: "internal/cluster/..."}},

	// The client library stands on the words, the codec, the handshakes and the WebSocket code, on nothing of the broker.
	{{
		Path: "client/...", Only: []string{"mqtt", "mqtt/packet", "internal/flow", "internal/wsproto"},
		UsedBy: []string{"internal/cli/...", "internal/bridge", "internal/testkit/...", "test/...", "bench/...", "examples/..."},
	}},

	// The data path. A loop accepts through transport, which knows nothing of loops.
	{{Path: "internal/loop", External: []string{"golang.org/x/sys"}}},
	{{Path: "internal/transport/...", External: []string{"golang.org/x/sys"}}},
	{{Path: "internal/conn"}},
	{{Path: "internal/hub"}},
	{{Path: "internal/auth/authtest", Testing: true}},
	{{Path: "internal/auth/..."}},
	{{Path: "internal/session", Pure: true}},
	{{Path: "internal/router", Pure: true}},
	{{Path: "internal/flow", Pure: true}},
	{{Path: "internal/store/storetest", Testing: true}},
	{{Path: "internal/store/migrate"}, {Path: "internal/store/exemplar"}},
	{
		{Path: "internal/store/salvage", External: []string{"github.com/cockroachdb/pebble/v2"}},
		{Path: "internal/store/sqliteimport", External: []string{"modernc.org/sqlite"}},
	},
	{
		{Path: "internal/store/pebblestore", External: []string{"github.com/cockroachdb/pebble/v2"}},
		{Path: "internal/store/..."},
	},
	{{Path: "internal/store", Pure: true}}, // the contract; engines stand above it
	{{Path: "internal/record", Pure: true}},

	// Under everything.
	{{Path: "internal/workers", External: []string{"golang.org/x/sys"}}}, // threads for slow work, and how many processors they may take
	{{Path: "internal/password", External: []string{"golang.org/x/crypto/argon2"}}},
	{{Path: "internal/safefile", External: []string{"golang.org/x/sys"}}},
	{{Path: "internal/webfiles"}}, // files behind a WebSocket listener
	// A layer as wsproto has them, for listeners and for bridges, and what configures it.
	{{Path: "internal/tlslayer"}, {Path: "internal/tlsconf", External: []string{"github.com/fsnotify/fsnotify"}}},
	{{Path: "internal/wsproto", External: []string{"github.com/gobwas/ws"}}},
	{{Path: "internal/config"}},
	{{Path: "internal/logging"}, {Path: "internal/metrics"}},
	{{Path: "mqtt/packet", Pure: true}},
	{{Path: "mqtt", Pure: true}},
}

// TestExternal lists what _test.go files may import from outside beside the imports of their own package.
var TestExternal = []string{
	"github.com/google/go-cmp", "pgregory.net/rapid", "go.uber.org/goleak", "github.com/rogpeppe/go-internal",
	"github.com/coder/websocket", "github.com/gobwas/ws",
}

// impureStd lists standard packages that a pure package must not import; a prefix ends at a slash.
var impureStd = []string{
	"net", "os", "log", "syscall", "plugin", "runtime", "testing", "database", "math/rand", "crypto/rand", "io/ioutil",
}

// clockNames are the functions of package time that read a clock or wait. A pure package gets its time as an argument.
var clockNames = map[string]bool{
	"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "AfterFunc": true,
	"Tick": true, "NewTimer": true, "NewTicker": true,
}

// covers reports whether a pattern (a directory, or a directory and "/...") covers a directory.
func covers(pattern, dir string) bool {
	family, ok := strings.CutSuffix(pattern, "/...")
	if !ok {
		return pattern == dir
	}
	return dir == family || strings.HasPrefix(dir, family+"/")
}

func coversAny(patterns []string, dir string) bool {
	for _, p := range patterns {
		if covers(p, dir) {
			return true
		}
	}
	return false
}

// underPath reports whether an import path is one of the prefixes or below it.
func underPath(prefixes []string, p string) bool {
	for _, x := range prefixes {
		if p == x || strings.HasPrefix(p, x+"/") {
			return true
		}
	}
	return false
}

// find returns the rule of a directory and its line in the table. An exact path wins over a family, a longer family
// over a shorter one.
func find(layers [][]Rule, dir string) (rule *Rule, line int) {
	best := -1
	for i := range layers {
		for j := range layers[i] {
			r := &layers[i][j]
			if !covers(r.Path, dir) {
				continue
			}
			weight := len(strings.TrimSuffix(r.Path, "/..."))
			if !strings.HasSuffix(r.Path, "/...") {
				weight += len(dir) + 1
			}
			if weight > best {
				best, rule, line = weight, r, i
			}
		}
	}
	return rule, line
}

// RuleFor returns the rule of Layers for a directory, nil when none names it.
func RuleFor(dir string) *Rule {
	rule, _ := find(Layers, dir)
	return rule
}
