package conformance

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/loop"
)

// wallClock are the uses of package time that may depend on the wall clock, or
// that take the monotonic reading off a time. Timers do neither.
var wallClock = map[string]bool{
	"Now": true, "Since": true, "Until": true, "Unix": true, "UnixMilli": true, "UnixNano": true,
	"UTC": true, "Local": true, "In": true, "Round": true, "Truncate": true, "Date": true,
}

// allowedTime are the uses that no keep alive, expiry or delay depends on: the
// clock's own, whose start has a monotonic reading that time.Since goes by, and
// the pace of a log line about missing sockets.
var allowedTime = map[string]bool{"loop.NewClock Now": true, "loop.Now Since": true, "loop.accept Now": true, "loop.acceptAll Now": true}

// A jump of the wall clock can end no connection, because nothing that times
// connections, sessions or messages can see it: from the loop downwards time is
// a record.Instant, read in one place from the monotonic clock.
//
// covers: E067
func TestWallClockIsNotRead(t *testing.T) {
	for _, pkg := range []string{"record", "flow", "session", "hub", "conn", "loop", "store/memstore"} {
		files, err := filepath.Glob(filepath.Join("../../internal", pkg, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files of %s: %v", pkg, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			for where, use := range timeUses(t, name) {
				if !allowedTime[filepath.Base(pkg)+"."+use] {
					t.Errorf("%s: %s", where, use)
				}
			}
		}
	}
	clock := loop.NewClock()
	first := clock.Now()
	began := time.Now()
	clock.Advance(time.Hour)
	if d := time.Duration(clock.Now() - first); d < time.Hour || d > time.Hour+time.Since(began)+time.Second {
		t.Errorf("an hour later the clock has moved by %v", d)
	}
}

// timeUses finds "function selector" for everything in wallClock, by position.
func timeUses(t *testing.T, name string) map[string]string {
	t.Helper()
	src, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	uses := map[string]string{}
	for _, d := range f.Decls {
		owner := "-"
		if fn, ok := d.(*ast.FuncDecl); ok {
			owner = fn.Name.Name
		}
		ast.Inspect(d, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || !wallClock[sel.Sel.Name] {
				return true
			}
			x, isIdent := sel.X.(*ast.Ident)
			// Now is a method of the clock and of shards too.
			if isIdent && x.Name == "time" || sel.Sel.Name != "Now" {
				uses[fset.Position(sel.Pos()).String()] = owner + " " + sel.Sel.Name
			}
			return true
		})
	}
	return uses
}
