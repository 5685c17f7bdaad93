package mqtt

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

// covers: 5:4.7.0-1 5:4.7.3-1 5:4.7.3-2
func TestCheckTopicName(t *testing.T) {
	for s, want := range map[string]error{
		"a": nil, "/": nil, "//": nil, "a/b/c": nil, "a ": nil, "$SYS/x": nil, "é/€": nil, "\ufeff/t": nil, "abcdefgh": nil, "abcdefghi/jk": nil,
		"":                              ErrTopicEmpty,
		"+":                             ErrTopicWildcard,
		"a/#":                           ErrTopicWildcard,
		"a#b":                           ErrTopicWildcard,
		"abcdefgh+":                     ErrTopicWildcard,
		"abcdefg#ijklmnop":              ErrTopicWildcard,
		"é+":                            ErrTopicWildcard,
		"a\x00b":                        ErrTopicUTF8,
		"+\x00":                         ErrTopicUTF8,
		"\xed\xa0\x80":                  ErrTopicUTF8,
		"longer than 8\x01":             ErrTopicUTF8,
		"\xff+":                         ErrTopicUTF8,
		strings.Repeat("/", 201):        ErrTopicLevels,
		"é" + strings.Repeat("/x", 201): ErrTopicLevels,
		strings.Repeat("a", 65536):      ErrTopicTooLong,
	} {
		if got := CheckTopicName(s); !errors.Is(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%.30q (%d bytes) = %v, want %v", s, len(s), got, want)
		}
	}
}

// covers: 5:4.7.3-3 3:4.7.3-3
func TestTopicLengthLimit(t *testing.T) {
	longest := strings.Repeat("x", 65535)
	if err := CheckTopicName(longest); err != nil {
		t.Errorf("topic of 65535 bytes: %v", err)
	}
	if err := CheckFilter(longest); err != nil {
		t.Errorf("filter of 65535 bytes: %v", err)
	}
	if err := CheckTopicName(longest + "x"); !errors.Is(err, ErrTopicTooLong) {
		t.Errorf("topic of 65536 bytes: %v", err)
	}
	if err := CheckFilter(longest + "x"); !errors.Is(err, ErrTopicTooLong) {
		t.Errorf("filter of 65536 bytes: %v", err)
	}
	if !Match(longest, longest) {
		t.Error("a topic of 65535 bytes does not match itself")
	}
}

// The slash limit counts exactly, whatever the position of the slashes in the words of eight.
func TestTopicSlashLimit(t *testing.T) {
	for n := range 12 {
		level := strings.Repeat("x", n) + "/"
		at := strings.Repeat(level, MaxTopicSlashes) + "end"
		if err := CheckTopicName(at); err != nil {
			t.Errorf("topic with 200 slashes after %d letters: %v", n, err)
		}
		if err := CheckFilter(at); err != nil {
			t.Errorf("filter with 200 slashes after %d letters: %v", n, err)
		}
		if err := CheckTopicName(level + at); !errors.Is(err, ErrTopicLevels) {
			t.Errorf("topic with 201 slashes after %d letters: %v", n, err)
		}
		if err := CheckFilter(level + at); !errors.Is(err, ErrTopicLevels) {
			t.Errorf("filter with 201 slashes after %d letters: %v", n, err)
		}
	}
}

// covers: 5:4.7.1-1 5:4.7.1-2 3:4.7.1-3
func TestCheckFilter(t *testing.T) {
	for s, want := range map[string]error{
		"#": nil, "+": nil, "a/#": nil, "+/+/#": nil, "a/+/c": nil, "+/+": nil, "/": nil, "/+": nil, "a": nil, "/#": nil, "$share/g/+/#": nil,
		"":             ErrTopicEmpty,
		"a#":           ErrFilterWildcard,
		"##":           ErrFilterWildcard,
		"a/#/b":        ErrFilterHash,
		"#/a":          ErrFilterHash,
		"#/":           ErrFilterHash,
		"a+":           ErrFilterWildcard,
		"+a/b":         ErrFilterWildcard,
		"a/b+":         ErrFilterWildcard,
		"+#":           ErrFilterWildcard,
		"a\x00/#":      ErrTopicUTF8,
		"\xed\xa0\x80": ErrTopicUTF8,
	} {
		if got := CheckFilter(s); !errors.Is(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%q = %v, want %v", s, got, want)
		}
		if got := CheckFilterBytes([]byte(s)); !errors.Is(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%q as bytes = %v, want %v", s, got, want)
		}
	}
}

// covers: 5:4.8.2-1 5:4.8.2-2 E145
func TestParseShared(t *testing.T) {
	for _, c := range []struct {
		filter, group, inner string
		shared               bool
		err                  error
	}{
		{"$share/g/t", "g", "t", true, nil},
		{"$share/g//t", "g", "/t", true, nil},
		{"$share/g/+/#", "g", "+/#", true, nil},
		{"$share/g é/a", "g é", "a", true, nil},
		{"a/b", "", "a/b", false, nil},
		{"$shared/g/t", "", "$shared/g/t", false, nil},
		{"$Share/g/t", "", "$Share/g/t", false, nil},
		{"/$share/g/t", "", "/$share/g/t", false, nil},
		{"$share", "", "", true, ErrShareGroup},
		{"$share/", "", "", true, ErrShareGroup},
		{"$share//t", "", "", true, ErrShareGroup},
		{"$share/+/t", "", "", true, ErrShareGroup},
		{"$share/g#/t", "", "", true, ErrShareGroup},
		{"$share/#", "", "", true, ErrShareGroup},
		{"$share/g", "", "", true, ErrShareFilter},
		{"$share/g/", "", "", true, ErrShareFilter},
	} {
		group, inner, shared, err := ParseShared(c.filter)
		if group != c.group || inner != c.inner || shared != c.shared || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%q = %q %q %v %v, want %q %q %v %v", c.filter, group, inner, shared, err, c.group, c.inner, c.shared, c.err)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		filter string
		yes    []string
		no     []string
	}{
		{"a", []string{"a"}, []string{"A", "a/", "/a", "b", "aa", ""}},
		{"a/#", []string{"a", "a/", "a/b", "a/b/c"}, []string{"b", "ab", "A/b", "/a"}},
		{"a/+", []string{"a/", "a/b"}, []string{"a", "a/b/c", "a//"}},
		{"+/+", []string{"a/", "/f", "a/b", "/"}, []string{"a", "a/b/c", "$SYS/x"}},
		{"/+", []string{"/f", "/"}, []string{"f", "a/f"}},
		{"+", []string{"a"}, []string{"a/", "/f", "$a"}},
		{"#", []string{"a", "/", "a/b", "//"}, []string{"$SYS", "$SYS/x", "$"}},
		{"a/+/#", []string{"a/b", "a/b/c", "a/"}, []string{"a"}},
		{"+/#", []string{"a", "/"}, []string{"$SYS/x"}},
		{"$SYS/#", []string{"$SYS", "$SYS/x"}, []string{"SYS/x"}},
		{"$SYS/+", []string{"$SYS/x"}, []string{"$SYS"}},
		{"a/$x/+", []string{"a/$x/y"}, nil},
		{"a/+/c", []string{"a/$b/c", "a//c"}, []string{"a/c"}},
		{"\ufeff/t", []string{"\ufeff/t"}, []string{"/t"}},
		{"é", []string{"é"}, []string{"e\u0301"}},
		{"a//b", []string{"a//b"}, []string{"a/b"}},
	} {
		for _, topic := range c.yes {
			if !Match(c.filter, topic) {
				t.Errorf("%q does not match %q", c.filter, topic)
			}
		}
		for _, topic := range c.no {
			if Match(c.filter, topic) {
				t.Errorf("%q matches %q", c.filter, topic)
			}
		}
	}
}

// plainMatch says the rules with split levels.
func plainMatch(filter, topic string) bool {
	f, n := strings.Split(filter, "/"), strings.Split(topic, "/")
	if topic[0] == '$' && (f[0] == "+" || f[0] == "#") {
		return false
	}
	if f[len(f)-1] == "#" {
		f = f[:len(f)-1]
		if len(n) < len(f) {
			return false
		}
		n = n[:len(f)]
	}
	if len(f) != len(n) {
		return false
	}
	for i := range f {
		if f[i] != "+" && f[i] != n[i] {
			return false
		}
	}
	return true
}

func TestMatchRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(words ...string) string { return words[r.IntN(len(words))] }
	matched := 0
	for range 200000 {
		var f, n []string
		for range 1 + r.IntN(4) {
			f = append(f, pick("a", "b", "+", "", "$x"))
		}
		if r.IntN(3) == 0 {
			f = append(f, "#")
		}
		for range 1 + r.IntN(5) {
			n = append(n, pick("a", "b", "", "$x"))
		}
		filter, topic := strings.Join(f, "/"), strings.Join(n, "/")
		if filter == "" || topic == "" {
			continue
		}
		if CheckFilter(filter) != nil || CheckTopicName(topic) != nil {
			t.Fatalf("generated %q, %q", filter, topic)
		}
		got, want := Match(filter, topic), plainMatch(filter, topic)
		if got != want {
			t.Fatalf("Match(%q, %q) = %v, want %v", filter, topic, got, want)
		}
		if got {
			matched++
		}
	}
	if matched < 1000 {
		t.Fatalf("only %d pairs matched: the generator proves little", matched)
	}
}

// plainCheckTopic says the order of the checks in the plainest way.
func plainCheckTopic(s string) error {
	switch {
	case s == "":
		return ErrTopicEmpty
	case len(s) > MaxString:
		return ErrTopicTooLong
	case !plainValid([]byte(s)):
		return ErrTopicUTF8
	case strings.ContainsAny(s, "+#"):
		return ErrTopicWildcard
	case strings.Count(s, "/") > MaxTopicSlashes:
		return ErrTopicLevels
	}
	return nil
}

func FuzzTopicName(f *testing.F) {
	for _, s := range append(append([]string{"a/b", "sensors/12/temperature", "a/+", strings.Repeat("/", 201)}, badText...), goodText...) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, want := CheckTopicName(s), plainCheckTopic(s)
		if !errors.Is(got, want) || (got == nil) != (want == nil) {
			t.Fatalf("%q: %v, want %v", s, got, want)
		}
	})
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"a/+/#", "$share/g/t", "$share//t", "#", "a#", "+/\xff"} {
		f.Add(s, "a/b")
	}
	f.Fuzz(func(t *testing.T, filter, topic string) {
		group, inner, shared, err := ParseShared(filter)
		if shared && err == nil && SharePrefix+group+"/"+inner != filter {
			t.Fatalf("%q falls apart into %q and %q", filter, group, inner)
		}
		if CheckFilter(filter) == nil && CheckTopicName(topic) == nil {
			if got, want := Match(filter, topic), plainMatch(filter, topic); got != want {
				t.Fatalf("Match(%q, %q) = %v, want %v", filter, topic, got, want)
			}
		}
		if CheckTopicName(filter) == nil && !Match(filter, filter) {
			t.Fatalf("%q does not match itself", filter)
		}
	})
}

func TestChecksDoNotAllocate(t *testing.T) {
	topic, filter, bad := []byte("sensors/building 7/room 12/temperature"), "sensors/+/room 12/#", []byte("a/+/b\x00")
	if n := testing.AllocsPerRun(100, func() {
		if CheckTopicNameBytes(topic) != nil || CheckFilter(filter) != nil || CheckTopicNameBytes(bad) == nil {
			t.Error("wrong verdict")
		}
		if !Match(filter, "sensors/1/room 12/x") {
			t.Error("no match")
		}
		if _, _, _, err := ParseShared("$share/g/a/b"); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCheckTopicName(b *testing.B) {
	for _, s := range []string{"t/12", "sensors/building 7/room 12/temperature", "höhe/stockwerk 7/raum 12/temperatur"} {
		b.Run(s, func(b *testing.B) {
			topic := []byte(s)
			b.ReportAllocs()
			for b.Loop() {
				if err := CheckTopicNameBytes(topic); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMatch(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if !Match("sensors/+/room 12/#", "sensors/building 7/room 12/temperature") {
			b.Fatal("no match")
		}
	}
}
