package aclfile

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/mqtt"
)

func parse(t testing.TB, content string) *List {
	t.Helper()
	l, _, err := Parse("acl", []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func client(user, id string) *auth.Client {
	return &auth.Client{ID: id, UserName: user, HasUserName: user != ""}
}

const example = `# an example
topic read public/#
topic readwrite anon

user alice
topic write a/#
topic read b
topic deny a/secret/+
topic x/y z
topic read with blanks/#
topic readwrite #
topic deny-write c/#
topic deny-read d
topic deny-subscribe secret/#

user bob smith
topic read
topic $SYS/#

pattern read home/%u/in
pattern write home/%u/+/%c
pattern deny home/mallory/#
user alice
topic read $SYS/broker/uptime
`

func TestRules(t *testing.T) {
	l := parse(t, strings.Replace(example, "topic x/y z\n", "", 1))
	r, w, s := auth.Receive, auth.Publish, auth.Subscribe
	for _, c := range []struct {
		user, id string
		a        auth.Action
		topic    string
		ok       bool
		line     int // of the rule that decided, 0: none
	}{
		{"", "c", r, "public/x", true, 2},
		{"", "c", r, "public", true, 2},
		{"", "c", w, "public/x", false, 0},
		{"", "c", w, "anon", true, 3},
		{"", "c", r, "other", false, 0},
		{"", "c", r, "home//in", false, 0}, // no user name: no %u
		{"alice", "c", w, "a/x", true, 6},
		{"alice", "c", r, "a/x", true, 10}, // write does not read
		{"alice", "c", w, "a/secret/x", false, 8},
		{"alice", "c", r, "a/secret/x", false, 8},
		{"alice", "c", w, "a/secret/x/y", true, 6},
		{"alice", "c", r, "b", true, 7},
		{"alice", "c", w, "c/1", false, 11},
		{"alice", "c", r, "c/1", true, 10},
		{"alice", "c", r, "d", false, 12},
		{"alice", "c", w, "d", true, 10},
		{"alice", "c", r, "public/x", true, 10},
		{"alice", "c", r, "$SYS/broker/load", false, 0}, // # leaves $ out
		{"alice", "c", r, "$SYS/broker/uptime", true, 23},
		{"alice", "c", r, "with blanks/x", true, 9},
		{"bob smith", "c", r, "read", true, 16},
		{"bob smith", "c", w, "read", true, 16},
		{"bob smith", "c", w, "$SYS/x", true, 17},
		{"bob smith", "dev", r, "home/bob smith/in", true, 19},
		{"bob smith", "dev", w, "home/bob smith/kitchen/dev", true, 20},
		{"bob smith", "dev", w, "home/bob smith/kitchen/other", false, 0},
		{"bob smith", "dev", w, "home/bob/kitchen/dev", false, 0},
		{"mallory", "dev", r, "home/mallory/in", false, 21},
		{"carol", "dev", r, "home/carol/in", true, 19}, // patterns are for everybody
		{"carol", "dev", r, "public/x", false, 0},
		{"+", "dev", r, "home/+/in", false, 0},
		{"bob smith", "a/b", w, "home/bob smith/k/a/b", false, 0},
		{"alice", "c", s, "#", false, 13},
		{"alice", "c", s, "secret", false, 13},
		{"alice", "c", s, "secret/x", false, 13},
		{"alice", "c", s, "+/x", false, 13},
		{"alice", "c", s, "+", false, 13},
		{"alice", "c", s, "secrets/#", true, 0},
		{"alice", "c", s, "$SYS/#", true, 0},
		{"carol", "c", s, "#", true, 0},
		{"", "", r, "public/x", false, 0},
		{"", "c", r, "", false, 0},
	} {
		e := l.Explain(client(c.user, c.id), c.a, c.topic)
		if e.Allowed != c.ok || e.Line != c.line || (e.Line == 0) != (e.Why != "") {
			t.Errorf("%q %q %d %q: %+v", c.user, c.id, c.a, c.topic, e)
		}
		if got := l.Authorize(client(c.user, c.id), c.a, c.topic); got.IsError() == c.ok {
			t.Errorf("%q %q %d %q: %v", c.user, c.id, c.a, c.topic, got)
		}
		if e.Line > 0 && !strings.Contains(example, e.Rule+"\n") {
			t.Errorf("rule %q", e.Rule)
		}
	}
}

// Names that a pattern would put in where they could match more than themselves
// are refused, with the line that people look for.
func TestDangerousNames(t *testing.T) {
	l := parse(t, "topic read open\npattern readwrite x/%u/%c\nuser a+\ntopic own\n")
	var notes []string
	l.Notice = func(f string, args ...any) { notes = append(notes, fmt.Sprintf(f, args...)) }
	for _, c := range []*auth.Client{client("a+", "c"), client("", "c#"), client("a/b", "c"), client("a", "c/d")} {
		if !l.Authorize(c, auth.Receive, "x/y/z").IsError() {
			t.Errorf("%+v permitted", c)
		}
	}
	want := []string{`ACL denying access to client with dangerous username "a+"`, `ACL denying access to client with dangerous client id "c#"`}
	if fmt.Sprint(notes) != fmt.Sprint(want) {
		t.Errorf("%q", notes)
	}
	if l.Authorize(client("a+", "c"), auth.Publish, "own").IsError() {
		t.Error("the rules of the user himself do not count any more")
	}
	l.DenySlash, notes = true, nil
	l.Authorize(client("a", "c/d"), auth.Receive, "x/y/z")
	if len(notes) != 1 {
		t.Errorf("%q", notes)
	}
	d := parse(t, "pattern deny-subscribe x/%u\n")
	if !d.Authorize(client("#", "c"), auth.Subscribe, "y").IsError() || !d.Authorize(client("u", "c"), auth.Subscribe, "x/+").IsError() {
		t.Error("deny-subscribe with a variable")
	}
	if d.Authorize(client("u", "c"), auth.Subscribe, "x/v").IsError() {
		t.Error("deny-subscribe of another user")
	}
}

func TestErrors(t *testing.T) {
	for line, want := range map[string]string{
		"topic":                   "Error: Empty topic in ACL file (f, line 2): the line names no topic.",
		"pattern   ":              "Error: Empty topic in ACL file (f, line 2): the line names no topic.",
		"user":                    "Error: Missing username in ACL file (f, line 2): a user line needs a name.",
		"topic rw a/b":            `Error: Invalid topic access type in ACL file (f, line 2): "rw" is none of read, write, readwrite, deny, deny-read, deny-write, deny-subscribe.`,
		"topic x/y z":             `Error: Invalid topic access type in ACL file (f, line 2): "x/y" is none of read, write, readwrite, deny, deny-read, deny-write, deny-subscribe.`,
		"topic read a/#/b":        `Error: Invalid ACL topic in ACL file (f, line 2): "a/#/b":`,
		"pattern a+/%u":           `Error: Invalid ACL topic in ACL file (f, line 2): "a+/%u":`,
		"topic read a\x00b":       `Error: Invalid ACL topic in ACL file (f, line 2):`,
		"topics a":                `Error: Invalid line in ACL file (f, line 2): "topics" is neither user, topic nor pattern.`,
		"\ttopic a":               `Error: Invalid line in ACL file (f, line 2):`,
		"\xef\xbb\xbftopic a":     `Error: Invalid line in ACL file (f, line 2):`,
		"topic\tread a":           `Error: Invalid line in ACL file (f, line 2):`,
		" # indented":             `Error: Invalid line in ACL file (f, line 2):`,
		strings.Repeat("/", 201):  `Error: Invalid line in ACL file (f, line 2):`,
		"topic " + slashes(201):   `Error: Invalid ACL topic in ACL file (f, line 2):`,
		"topic " + slashes(200):   "",
		"  topic   read   a/b  ":  "",
		"topic read":              "",
		"topic deny-subscribe":    "",
		"user  a b  ":             "",
		"\r":                      "",
		"topic read \t x \t":      "",
		"pattern readwrite %u/%c": "",
	} {
		_, _, err := Parse("f", []byte("# first\n"+line+"\n"))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want && (want == "" || !strings.HasPrefix(got, want)) {
			t.Errorf("%.40q: %s", line, got)
		}
	}
}

func slashes(n int) string { return strings.Repeat("/", n) }

func TestLoad(t *testing.T) {
	p := filepath.Join(t.TempDir(), "acl")
	_, _, err := Load(p)
	if want := "Error: Unable to open ACL file (" + p + "): no such file or directory."; err == nil || err.Error() != want || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(p, []byte("# nothing\nuser alice\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, warnings, err := Load(p)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) == 0 || !strings.Contains(warnings[len(warnings)-1], "has no rules in it, so everything is denied to everybody.") {
		t.Errorf("%q", warnings)
	}
	for _, u := range []string{"", "alice"} {
		if !l.Authorize(client(u, "c"), auth.Publish, "t").IsError() || !l.Authorize(client(u, "c"), auth.Receive, "t").IsError() {
			t.Errorf("an empty file lets %q", u)
		}
	}
	_, warnings, _ = Parse("f", []byte("pattern read a/b\n"))
	if len(warnings) != 1 || warnings[0] != "Warning: ACL pattern 'a/b' does not contain '%c' or '%u' (f, line 1)." {
		t.Errorf("%q", warnings)
	}
}

var words = []string{"a", "b", "", "$x"}

func randomTopic(r *rand.Rand, extra ...string) string {
	var s []string
	for range 1 + r.IntN(4) {
		w := append(append([]string(nil), words...), extra...)
		s = append(s, w[r.IntN(len(w))])
	}
	return strings.Join(s, "/")
}

func randomFilter(r *rand.Rand) string {
	f := randomTopic(r, "+")
	if r.IntN(3) == 0 {
		f += "/#"
	}
	return f
}

// Covers agrees with the reference matcher, and overlaps with trying every topic.
func TestMatchingAgrees(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	c := client("u", "c")
	for range 20000 {
		f, topic := randomFilter(r), randomTopic(r)
		if mqtt.CheckFilter(f) != nil || mqtt.CheckTopicName(topic) != nil {
			continue
		}
		l := parse(t, "user u\ntopic read "+f+"\ntopic deny-subscribe "+f+"\n")
		rule := &l.users["u"].allows[0]
		if got, want := rule.covers(c, topic), mqtt.Match(f, topic) && (f[0] == '$') == (topic[0] == '$'); got != want {
			t.Fatalf("%q covers %q: %v", f, topic, got)
		}
		g := randomFilter(r)
		if mqtt.CheckFilter(g) != nil {
			continue
		}
		got := rule.overlaps(c, g)
		if mqtt.Match(f, topic) && mqtt.Match(g, topic) && (f[0] == '$') == (topic[0] == '$') && (g[0] == '$') == (topic[0] == '$') && !got {
			t.Fatalf("%q and %q both match %q", f, g, topic)
		}
		if got && (f[0] == '$') == (g[0] == '$') && !meet(f, g) {
			t.Fatalf("%q and %q do not meet", f, g)
		}
	}
}

// meet looks for a topic that both filters match, by putting together the levels
// that either names.
func meet(f, g string) bool {
	a, b := strings.Split(strings.TrimSuffix(f, "/#"), "/"), strings.Split(strings.TrimSuffix(g, "/#"), "/")
	n := max(len(a), len(b))
	s := make([]string, 0, n)
	for i := range n {
		w := "q"
		if i < len(a) && a[i] != "+" {
			w = a[i]
		}
		if i < len(b) && b[i] != "+" {
			w = b[i]
		}
		s = append(s, w)
	}
	topic := strings.Join(s, "/")
	// A filter such as /# stands above the empty topic, which nobody can publish
	// to; that it overlaps + does no harm.
	return topic == "" || mqtt.Match(f, topic) && mqtt.Match(g, topic)
}

func TestAuthorizeDoesNotAllocate(t *testing.T) {
	l := parse(t, strings.Replace(example, "topic x/y z\n", "", 1))
	c := client("bob smith", "dev")
	if n := testing.AllocsPerRun(100, func() {
		l.Authorize(c, auth.Publish, "home/bob smith/kitchen/dev")
		l.Authorize(c, auth.Receive, "nothing/of/the/kind")
		l.Authorize(c, auth.Subscribe, "a/+/#")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAuthorize(b *testing.B) {
	for _, n := range []int{5, 1000} {
		var s strings.Builder
		s.WriteString("user u\n")
		for i := range n {
			fmt.Fprintf(&s, "topic read site%d/line/+/temp\n", i)
		}
		s.WriteString("pattern readwrite dev/%c/#\n")
		l := parse(b, s.String())
		c := client("u", "c")
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if l.Authorize(c, auth.Receive, "site3/line/7/temp").IsError() {
					b.Fatal("denied")
				}
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(example), "u", "c", "a/b")
	f.Add([]byte("pattern deny-subscribe %u/#\ntopic read +/#\n"), "u", "c", "u/#")
	f.Fuzz(func(t *testing.T, b []byte, user, id, topic string) {
		l, _, err := Parse("f", b)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "Error: ") {
				t.Fatal(err)
			}
			return
		}
		for _, a := range []auth.Action{auth.Publish, auth.Receive, auth.Subscribe} {
			c := client(user, id)
			e := l.Explain(c, a, topic)
			if e.Allowed == l.Authorize(c, a, topic).IsError() {
				t.Fatal("Explain and Authorize differ")
			}
			if e.Allowed && a != auth.Subscribe && e.Line == 0 {
				t.Fatal("permitted by no rule")
			}
		}
	})
}
