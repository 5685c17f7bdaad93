package arch

import (
	"strings"
	"testing"
	"testing/fstest"
)

// fixture loads a small module whose files are given as path, text pairs.
func fixture(t *testing.T, files ...string) *Tree {
	t.Helper()
	fs := fstest.MapFS{"go.mod": {Data: []byte("module " + Module + "\n\nrequire example.org/lib v1.2.3\n")}}
	for i := 0; i < len(files); i += 2 {
		fs[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	tree, err := Load(fs)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// expect wants exactly one problem, in the file and with the words given; want == "" wants none.
func expect(t *testing.T, got []Problem, path, want string) {
	t.Helper()
	if want == "" {
		if len(got) != 0 {
			t.Fatalf("got %v, want no problem", got)
		}
		return
	}
	if len(got) != 1 {
		t.Fatalf("got %d problems %v, want one with %q", len(got), got, want)
	}
	if got[0].Path != path || !strings.Contains(got[0].String(), want) {
		t.Fatalf("got %q, want %s: …%s…", got[0], path, want)
	}
}

var testLayers = [][]Rule{
	{{Path: "test/...", Testing: true}},
	{{Path: "kit/...", Testing: true}},
	{{Path: "top/...", External: []string{"example.org/lib"}}},
	{{Path: "lib", Only: []string{"base"}, UsedBy: []string{"top/..."}}},
	{{Path: "mid"}, {Path: "mid2"}},
	{{Path: "pure", Pure: true}},
	{{Path: "base", Pure: true}},
	{{Path: "low"}},
}

func imports(pkg, path string) string {
	return "package " + pkg + "\n\nimport _ \"" + path + "\"\n"
}

func TestCheckImportsCanFail(t *testing.T) {
	own := Module + "/"
	tests := []struct{ name, file, src, want string }{
		{"downwards", "top/a.go", imports("top", own+"mid"), ""},
		{"within a family", "top/x/a.go", imports("x", own+"top/y"), ""},
		{"upwards", "mid/a.go", imports("mid", own+"top"), "does not stand below"},
		{"sideways", "mid/a.go", imports("mid", own+"mid2"), "does not stand below"},
		{"unlisted package", "new/a.go", "package new\n", "stands in no line"},
		{"unlisted import", "mid/a.go", imports("mid", own+"gone"), "stands in no line"},
		{"granted library", "top/a.go", imports("top", "example.org/lib/sub"), ""},
		{"library not granted", "mid/a.go", imports("mid", "example.org/lib"), "does not grant to mid"},
		{"library with the same beginning", "top/a.go", imports("top", "example.org/library"), "does not grant"},
		{"library in a test", "mid/a_test.go", imports("mid", "example.org/lib"), "does not grant"},
		{"granted library in a test", "mid/a_test.go", imports("mid", "pgregory.net/rapid"), ""},
		{"closed list", "lib/a.go", imports("lib", own+"low"), "may import only base"},
		{"within a closed list", "lib/a.go", imports("lib", own+"base"), ""},
		{"user not listed", "kit/a.go", imports("kit", own+"lib"), "which only top/... may import"},
		{"user listed", "top/a.go", imports("top", own+"lib"), ""},
		{"upwards in a test", "mid/a_test.go", imports("mid", own+"top"), ""},
		{"product imports test kit", "top/a.go", imports("top", own+"kit/net"), "serves tests only"},
		{"tests import test kit", "test/a.go", imports("test", own+"kit/net"), ""},
		{"testing outside tests", "mid/a.go", imports("mid", "testing"), "imports testing"},
		{"testing in a test kit", "kit/a.go", imports("kit", "testing"), ""},
		{"cgo", "mid/a.go", imports("mid", "C"), "without cgo"},
		{"dot import", "mid/a.go", "package mid\n\nimport . \"fmt\"\n", "dot import"},
		{"pure imports net", "pure/a.go", imports("pure", "net"), "pure package imports net"},
		{"pure imports net/netip", "pure/a.go", imports("pure", "net/netip"), "pure package imports net/netip"},
		{"pure imports os", "pure/a.go", imports("pure", "os"), "pure package imports os"},
		{"pure imports slog", "pure/a.go", imports("pure", "log/slog"), "pure package imports log/slog"},
		{"pure imports randomness", "pure/a.go", imports("pure", "math/rand/v2"), "pure package imports math/rand/v2"},
		{"pure imports pure", "pure/a.go", imports("pure", own+"base"), ""},
		{"pure imports impure", "pure/a.go", imports("pure", own+"low"), "not pure"},
		{"pure test imports net", "pure/a_test.go", imports("pure", "net"), ""},
		{"pure starts a goroutine", "pure/a.go", "package pure\n\nfunc f() { go f() }\n", "starts a goroutine"},
		{"pure reads the clock", "pure/a.go", "package pure\n\nimport \"time\"\n\nvar t = time.Now()\n", "time.Now"},
		{"pure reads a renamed clock", "pure/a.go", "package pure\n\nimport x \"time\"\n\nvar t = x.Now\n", "time.Now"},
		{"pure uses a duration", "pure/a.go", "package pure\n\nimport \"time\"\n\nconst d = time.Second\n", ""},
		{"build constraints do not hide", "mid/a_plan9.go", imports("mid", own+"top"), "does not stand below"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := tt.file
			if strings.HasPrefix(tt.want, "stands in no line") && strings.HasPrefix(path, "new/") {
				path = "new"
			}
			expect(t, CheckImports(fixture(t, tt.file, tt.src), testLayers), path, tt.want)
		})
	}
}

func TestExactPathWinsOverFamily(t *testing.T) {
	layers := [][]Rule{{{Path: "a/b", Testing: true}}, {{Path: "a/..."}}}
	rule, line := find(layers, "a/b")
	if line != 0 || !rule.Testing {
		t.Fatalf("a/b fell to line %d", line)
	}
	if _, line = find(layers, "a/c"); line != 1 {
		t.Fatalf("a/c fell to line %d", line)
	}
	if rule, _ = find(layers, "ab"); rule != nil {
		t.Fatalf("ab was taken for a member of %s", rule.Path)
	}
}

func TestCheckSizesCanFail(t *testing.T) {
	lim := Limits{File: 8, Func: 3, Interface: 2, Package: 12}
	filler := []string{"z/z.go", "package z\n" + strings.Repeat("\n", 7)}
	tests := []struct{ name, file, src, path, want string }{
		{"small", "a/a.go", "package a\n\nfunc f() {\n}\n", "", ""},
		{"long file", "a/a.go", "package a\n" + strings.Repeat("// x\n", 8), "a/a.go", "file has 9 lines"},
		{"long test file", "a/a_test.go", "package a\n" + strings.Repeat("// x\n", 8), "a/a_test.go", "file has 9 lines"},
		{"long function", "a/a.go", "package a\n\nfunc f() {\n\n\n}\n", "a/a.go", "function f has 4 lines"},
		{"long method", "a/a.go", "package a\n\nfunc (t *T[X]) f() {\n\n\n}\n", "a/a.go", "function T.f has 4 lines"},
		{"long function in a test", "a/a_test.go", "package a\n\nfunc f() {\n\n\n}\n", "", ""},
		{"wide interface", "a/a.go", "package a\n\ntype I interface{ A(); B(); J }\n", "a/a.go", "interface I has 3 methods"},
		{"constraint", "a/a.go", "package a\n\ntype I interface{ ~int | ~uint | ~string; A(); B() }\n", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := fixture(t, append(filler, tt.file, tt.src)...)
			expect(t, CheckSizes(tree, lim, nil), tt.path, tt.want)
		})
	}
	nine := "package a\n" + strings.Repeat("\n", 6)
	t.Run("large package", func(t *testing.T) {
		tree := fixture(t, append(filler, "a/a.go", nine, "a/b.go", nine)...)
		expect(t, CheckSizes(tree, lim, nil), "a", "package has 14 lines, the cap is 12")
		expect(t, CheckSizes(tree, lim, map[string]string{"package:a": "reason"}), "", "")
	})
	t.Run("needless excuse", func(t *testing.T) {
		tree := fixture(t, filler...)
		expect(t, CheckSizes(tree, lim, map[string]string{"file:a/a.go": "gone"}), "internal/arch/size.go", "not needed")
	})
}

func TestCheckPackageCommentsCanFail(t *testing.T) {
	long := strings.Repeat("word ", minCommentWords)
	tests := []struct{ name, file, src, want string }{
		{"good", "a/a.go", "// Package a is for " + long + "goroutine.\npackage a\n", ""},
		{"none", "a/a.go", "package a\n", "no comment"},
		{"detached", "a/a.go", "// Package a is for " + long + "goroutine.\n\npackage a\n", "no comment"},
		{"other opening", "a/a.go", "// Here is " + long + "goroutine.\npackage a\n", "does not open with"},
		{"name as a beginning", "a/a.go", "// Package ab is " + long + "goroutine.\npackage a\n", "does not open with"},
		{"short", "a/a.go", "// Package a is a goroutine.\npackage a\n", "fewer than"},
		{"no goroutine", "a/a.go", "// Package a is for " + long + "\npackage a\n", "which goroutine or loop"},
		{"loop", "a/a.go", "// Package a is for " + long + "one loop.\npackage a\n", ""},
		{"no goroutine in a test", "test/a/a.go", "// Package a is for " + long + "\npackage a\n", ""},
		{"main", "a/a.go", "// Command a is for " + long + "\npackage main\n", ""},
		{"main by name", "a/a.go", "// A prints " + long + "\npackage main\n", ""},
		{"main by another name", "a/a.go", "// An a prints " + long + "\npackage main\n", "does not open with"},
		{"tests only", "a/a_test.go", "package a\n", ""},
		{"comment in a test file only", "a/b.go", "package a\n", "no comment"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			expect(t, CheckPackageComments(fixture(t, tt.file, tt.src)), "a", tt.want)
		})
	}
}

func TestCheckWordsCanFail(t *testing.T) {
	words := []string{"LATER", "some day"}
	tests := []struct{ name, file, text, want string }{
		{"clean", "a.md", "later\n", ""},
		{"upper case as it stands", "a.md", "x\nLATER\n", "2: forbidden"},
		{"any case", "a/run", "Some Day\n", "1: forbidden"},
		{"in a script", "test/scripts/a.txt", "some day\n", "1: forbidden"},
		{"in another module", "other/x.go", "// LATER\npackage x\n", "1: forbidden"},
		{"not a text", "a.bin", "LATER\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := fixture(t, tt.file, tt.text, "other/go.mod", "module other\n")
			expect(t, CheckWords(tree, words), tt.file, tt.want)
		})
	}
	for _, w := range Forbidden {
		expect(t, CheckWords(fixture(t, "a.md", "x "+w+" y"), Forbidden), "a.md", "forbidden")
	}
}

func TestCheckTestsCanFail(t *testing.T) {
	head := "package a\n\nimport (\n\t\"testing\"\n\t\"time\"\n)\n\nfunc TestX(t *testing.T) {\n"
	tests := []struct{ name, body, want string }{
		{"plain", "t.Log(time.Second)", ""},
		{"skip", "t.Skip(\"x\")", "skips a test"},
		{"skipf", "t.Skipf(\"x\")", "skips a test"},
		{"skip now", "c.SkipNow()", "skips a test"},
		{"other skip", "reader.Skip(4)", ""},
		{"short", "if testing.Short() {\n}", "short mode"},
		{"sleep", "time.Sleep(1)", "sleeps outside"},
		{"sleep after a loop", "for range 3 {\n}\ntime.Sleep(1)", "sleeps outside"},
		{"sleep in a waiting loop", "for !done() {\n\ttime.Sleep(1)\n}", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := fixture(t, "a/a_test.go", head+tt.body+"\n}\n")
			expect(t, CheckTests(tree), "a/a_test.go", tt.want)
		})
	}
}

func TestCheckNamesCanFail(t *testing.T) {
	src := "package a\n\nfunc F() {}\n\ntype T struct{ Field int }\n\nfunc (*T) M() {}\n\ntype I interface{ Do() }\n\nconst C = 1\n"
	tests := []struct {
		name, text string
		min        int
		want       string
	}{
		{"all forms", "`a.F` `a.F()` `a.T` `a.T.M` `a.(*T).M` `a.(*T).M()` `a.I.Do` `a.C` `a.T.Field`", 9, ""},
		{"files", "see `go.mod`, `mosquitto.conf`", 0, ""},
		{"gone function", "`a.G`", 1, "names `a.G`"},
		{"gone method", "`a.(*T).N`", 1, "names `a.(*T).N`"},
		{"gone package", "`b.F`", 1, "names `b.F`"},
		{"too few", "`a.F`", 2, "at least 2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := fixture(t, "a/a.go", src, "doc.md", tt.text)
			expect(t, CheckNames(tree, "doc.md", tt.min), "doc.md", tt.want)
		})
	}
	expect(t, CheckNames(fixture(t), "doc.md", 0), "doc.md", "read")
}

func TestCheckDependenciesCanFail(t *testing.T) {
	main := imports("main", Module+"/a")
	lib := imports("a", "example.org/lib/x")
	list := "# heading\nexample.org/lib v1.2.3\nexample.org/far v0.1.0 indirect\n"
	tests := []struct{ name, main, lib, list, path, want string }{
		{"same", main, lib, list, "", ""},
		{"missing in the list", main, lib, "", "list", "lacks example.org/lib v1.2.3"},
		{"other version", main, lib, "example.org/lib v1.2.0\n", "list", "lacks example.org/lib v1.2.3"},
		{"no longer imported", main, "package a\n", list, "list", "does not import"},
		{"not required", main, imports("a", "example.com/other"), "", "a/a.go", "go.mod does not require"},
		{"bad line", main, "package a\n", "example.org/lib\n", "list", "is not: path version"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := fixture(t, "cmd/m/m.go", tt.main, "a/a.go", tt.lib, "list", tt.list)
			expect(t, CheckDependencies(tree, "cmd/m", "list"), tt.path, tt.want)
		})
	}
}

func TestLoadRefusesBrokenSource(t *testing.T) {
	_, err := Load(fstest.MapFS{"a/a.go": {Data: []byte("package a\nfunc {")}})
	if err == nil || !strings.Contains(err.Error(), "a/a.go") {
		t.Fatalf("got %v, want an error that names the file", err)
	}
}

func TestLoadLeavesOtherModulesAndTestdataAlone(t *testing.T) {
	tree := fixture(t,
		"other/go.mod", "module other\n", "other/x.go", "package x\n", "other/deep/y.go", "package y\n",
		"a/testdata/z.go", "not Go at all", "a/a.go", "package a\n")
	if len(tree.Packages) != 1 || tree.Packages[0].Dir != "a" {
		t.Fatalf("got packages %v, want only a", tree.Packages)
	}
}
