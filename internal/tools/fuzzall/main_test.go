package main

import (
	"reflect"
	"testing"
	"testing/fstest"
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
	if err := run(0, "", ""); err == nil {
		t.Fatal("a tree without targets passed")
	}
}
