package main

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"testing/fstest"
	"time"
)

func TestFind(t *testing.T) {
	src := "package x\n\nfunc FuzzB(f *testing.F) {}\n\nfunc FuzzA(f *testing.F) {}\n\nfunc Fuzzy(f *testing.F) {}\n"
	got, err := find(fstest.MapFS{
		"b/x_test.go":          {Data: []byte(src)},
		"a/x_test.go":          {Data: []byte(src)},
		"a/x.go":               {Data: []byte(src)},
		"a/testdata/x_test.go": {Data: []byte(src)},
	})
	want := []Target{{"a", "FuzzA"}, {"a", "FuzzB"}, {"b", "FuzzA"}, {"b", "FuzzB"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v %v, want %v", got, err, want)
	}
}

func TestRunWantsTargets(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := new(plan).run(); err == nil {
		t.Fatal("a tree without targets passed")
	}
}

// TestRun: targets that pass, fail and do not compile, two at a time.
func TestRun(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module x\n\ngo 1.21\n")
	write("good/x_test.go", "package x\n\nimport \"testing\"\n\nfunc FuzzGood(f *testing.F) { f.Fuzz(func(t *testing.T, b []byte) {}) }\n")
	write("good/far_test.go", "//go:build !fuzz\n\npackage x\n\nimport _ \"not/there\"\n")
	write("bad/x_test.go", "package x\n\nimport \"testing\"\n\nfunc FuzzBad(f *testing.F) { f.Add(byte(1)); f.Fuzz(func(t *testing.T, b byte) { t.Fail() }) }\n")
	write("broken/x_test.go", "package x\n\nimport \"testing\"\n\nfunc FuzzBroken(f *testing.F) { none() }\n")
	p := &plan{each: time.Second, jobs: 2, workers: 1}
	err := p.run()
	if err == nil || err.Error() != "failed: bad.FuzzBad, broken.FuzzBroken" {
		t.Errorf("%v", err)
	}
	p.only = "good"
	if err := p.run(); err != nil {
		t.Error(err)
	}
}
