package main

import "testing"

func TestRender(t *testing.T) {
	got := render(map[string]bool{"b.org/x v1.0.0": false, "a.org/y v0.2.0": true})
	want := head + "a.org/y v0.2.0\nb.org/x v1.0.0 indirect\n"
	if got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestCollectNamesTheBuildThatFails(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := collect(map[string]bool{}, "linux", ""); err == nil {
		t.Fatal("a directory without the program gave a list")
	}
}
