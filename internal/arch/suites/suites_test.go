package main

import (
	"slices"
	"testing"
	"testing/fstest"

	"github.com/midgemq/midge/internal/arch"
)

const module = "github.com/midgemq/midge/"

// TestAll: race and plain are all packages with tests, each once.
func TestAll(t *testing.T) {
	t.Chdir("../../..")
	race, err := suite("race")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := suite("plain")
	if err != nil {
		t.Fatal(err)
	}
	all, err := list()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for path, p := range all {
		if p.tested() {
			want = append(want, path)
		}
	}
	got := append(slices.Clone(race), plain...)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("race and plain have %d packages\n%q\nwith tests are %d\n%q", len(got), got, len(want), want)
	}
	for _, p := range []string{"mqtt/packet", "internal/router"} {
		if !slices.Contains(plain, module+p) {
			t.Errorf("%s is not in plain: %q", p, plain)
		}
	}
	for _, p := range []string{"internal/loop", "internal/hub", "internal/store/pebblestore", "broker"} {
		if slices.Contains(plain, module+p) {
			t.Errorf("%s is not under the race detector", p)
		}
	}
	other, err := suite("portable")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"internal/loop", "internal/transport", "broker", "test/behaviour", "test/hostile", "client/device"} {
		if !slices.Contains(other, module+p) {
			t.Errorf("%s is not in portable: %q", p, other)
		}
	}
	if slices.Contains(other, module+"mqtt") {
		t.Errorf("mqtt is in portable")
	}
	if _, err := suite("none"); err == nil {
		t.Error("no error for an unknown part")
	}
}

func TestConcurrent(t *testing.T) {
	for src, want := range map[string]bool{
		"package p\nfunc f() {}\n":         false,
		"package p\nfunc f() { go f() }\n": true,
		"package p\nimport \"testing\"\nfunc TestX(t *testing.T) { t.Parallel() }\n":            true,
		"package p\nimport \"testing\"\nfunc BenchmarkX(b *testing.B) { b.RunParallel(nil) }\n": true,
	} {
		tree, err := arch.Load(fstest.MapFS{"p/p_test.go": {Data: []byte(src)}})
		if err != nil {
			t.Fatal(err)
		}
		if got := concurrent(tree.Package("p")); got != want {
			t.Errorf("%q: %t", src, got)
		}
	}
}
