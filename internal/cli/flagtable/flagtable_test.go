package flagtable

import (
	"bytes"
	"errors"
	"os/exec"
	"reflect"
	"strings"
	"testing"
)

// tool has one of everything.
var tool = Command{
	Name: "acl test", Program: "mosquitto_x", Summary: "try the rules", Synopsis: []string{"-h HOST FILE", "--version"},
	Text:     []string{".first paragraph with a back\\slash and a-dash", "second"},
	Operands: []Operand{{Name: "FILE", Help: "rules", Offer: Files}},
	Flags: []Flag{
		{Names: []string{"-h", "--host"}, Arg: "HOST", Help: "the broker", Group: "Connection", Offer: Hosts},
		{Names: []string{"-q"}, Midge: []string{"--qos"}, Arg: "QOS", Help: "quality of service", Group: "Connection", Values: []string{"0", "1", "2"}},
		{Names: []string{"-D", "--property"}, Arg: "COMMAND NAME VALUE", Help: "a property", Group: "Messages", Values: []string{"connect", "will"}, Repeats: true, More: pairs},
		{Midge: []string{"--json"}, Help: "print it's JSON", Group: "Messages"},
		{Names: []string{"--psk"}, Arg: "KEY", Group: "Messages", Refused: "no pre-shared keys"},
	},
	Statuses: []Note{{"0", "done"}}, Examples: []Note{{"midge acl test f", "tries"}},
}

// pairs wants one word more behind "user".
func pairs(v []string) int {
	if v[1] == "user" {
		return 1
	}
	return 0
}

var other = Command{Name: "pub", Summary: "publish", Flags: []Flag{{Names: []string{"-n"}, Help: "nothing"}}}

func parsed(t *testing.T, midge bool, args string) (got []string, err error) {
	t.Helper()
	operands, err := tool.Parse(strings.Fields(args), midge, func(f *Flag, values []string) error {
		if f.Key() == "-q" && values[0] == "9" {
			return errors.New("out of range")
		}
		got = append(got, f.Key()+"="+strings.Join(values, ","))
		return nil
	})
	return append(got, operands...), err
}

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		midge bool
		args  string
		want  string
		err   string
	}{
		{false, "-h a --host -b f", "-h=a -h=-b f", ""},
		{true, "--host=a --qos=1 -q 2 --json", "-h=a -q=1 -q=2 --json=", ""},
		{true, "--property=connect a b -- -h", "-D=connect,a,b -h", ""},
		{true, "- x", "- x", ""},
		{true, "-D a user k v w", "-D=a,user,k,v w", ""},
		{true, "-D a user k", "", "-D needs COMMAND NAME VALUE"},
		{false, "--host=a", "", "unknown flag --host=a"},
		{false, "--json", "", "unknown flag --json"},
		{false, "-q1", "", "unknown flag -q1"},
		{false, "-h", "", "-h needs HOST"},
		{false, "-D connect x", "", "-D needs COMMAND NAME VALUE"},
		{true, "--json=1", "", "--json takes no value"},
		{true, "--psk 1", "", "--psk is refused: no pre-shared keys"},
		{true, "-q 9", "", "out of range"},
	} {
		got, err := parsed(t, tc.midge, tc.args)
		if tc.err != "" {
			if err == nil || err.Error() != tc.err {
				t.Errorf("%q: error %v, want %s", tc.args, err, tc.err)
			}
			continue
		}
		if err != nil || strings.Join(got, " ") != tc.want {
			t.Errorf("%q: %q, %v; want %q", tc.args, got, err, tc.want)
		}
	}
	if _, err := other.Parse([]string{"word"}, true, nil); !reflect.DeepEqual(err, &UnknownError{"word"}) {
		t.Errorf("word where none belongs: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("-h\x00a\x00--qos=1\x00-D\x00a\x00b\x00c")
	f.Fuzz(func(t *testing.T, s string) {
		words := 0
		operands, err := tool.Parse(strings.Split(s, "\x00"), true, func(g *Flag, values []string) error {
			if len(values) != g.Count() && g.More == nil {
				t.Fatalf("%s got %d words", g.Key(), len(values))
			}
			words += 1 + len(values)
			return nil
		})
		if given := strings.Count(s, "\x00") + 1; err == nil && words+len(operands) > given+strings.Count(s, "=") {
			t.Fatalf("%d words of %d", words+len(operands), given)
		}
	})
}

func TestHelp(t *testing.T) {
	var b bytes.Buffer
	tool.Help(&b)
	want := `Usage: midge acl test -h HOST FILE
       midge acl test --version

Try the rules.

.first paragraph with a back\slash and a-dash

second

Arguments:
  FILE                        rules

Connection:
  -h, --host HOST             the broker
  -q, --qos QOS               quality of service (0, 1, 2)

Messages:
  -D, --property COMMAND NAME VALUE
                              a property (connect, will) (may be repeated)
  --json                      print it's JSON
  --psk KEY                   refused: no pre-shared keys

Exit status:
  0                           done

Examples:
  midge acl test f
      tries
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestMan(t *testing.T) {
	var b bytes.Buffer
	tool.Man(&b, "1.2-3")
	for _, want := range []string{
		".TH \"MIDGE-ACL-TEST\" 1 \"\" \"midge 1.2-3\"", "midge-acl-test, mosquitto_x \\- try the rules", "\\&.first paragraph with a back\\eslash and a\\-dash",
		"\\fB\\-q\\fR, [\\fB\\-\\-qos\\fR] \\fIQOS\\fR", ".SH EXIT STATUS", ".SH EXAMPLES",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	b.Reset()
	Index(&b, "1", []Command{tool, other})
	if !strings.Contains(b.String(), ".BR midge\\-acl\\-test (1)\nTry the rules; also called mosquitto_x.") {
		t.Errorf("index:\n%s", b.String())
	}
}

// complete asks bash what it would offer behind the words; the last one is being typed.
func complete(t *testing.T, words ...string) string {
	t.Helper()
	var b bytes.Buffer
	if err := Completion(&b, "bash", []Command{tool, other}); err != nil {
		t.Fatal(err)
	}
	script := b.String() + "\nCOMP_WORDS=(" + shellWords(words) + ")\nCOMP_CWORD=$((${#COMP_WORDS[@]}-1))\n_midge\nprintf '%s ' \"${COMPREPLY[@]}\"\n"
	cmd := exec.Command("bash", "-c", script)
	cmd.Dir = t.TempDir()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("bash: %v\n%s", err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

func TestBashCompletion(t *testing.T) {
	for _, tc := range []struct {
		words []string
		want  string
	}{
		{[]string{"midge", ""}, "acl pub"},
		{[]string{"/usr/bin/midge", "a"}, "acl"},
		{[]string{"midge", "acl", ""}, "test"},
		{[]string{"midge", "acl", "test", "-"}, "-h --host -q --qos -D --property --json"},
		{[]string{"midge", "acl", "test", "-q", ""}, "0 1 2"},
		{[]string{"midge", "acl", "test", "-D", ""}, "connect will"},
		{[]string{"midge", "acl", "test", "-D", "will", ""}, ""},
		{[]string{"midge", "acl", "test", "-D", "will", "a", "b", "--h"}, "--host"},
		{[]string{"mosquitto_x", "-"}, "-h --host -q -D --property"},
		{[]string{"midge", "pub", ""}, "-n"},
	} {
		if got := complete(t, tc.words...); got != tc.want {
			t.Errorf("%q: offered %q, want %q", tc.words, got, tc.want)
		}
	}
}

func TestOtherShells(t *testing.T) {
	for shell, wants := range map[string][]string{
		"zsh": {"#compdef midge mosquitto_x\n", `'--json:print it'\''s JSON'`, "compdef _midge midge mosquitto_x"},
		"fish": {
			"complete -c midge -n '__midge_next acl' -f -a test -d 'try the rules'\n",
			"complete -c midge -n '__midge_at acl test' -s q -l qos -r -f -a '0 1 2' -d 'quality of service'\n",
			"complete -c mosquitto_x -s q -r -f -a '0 1 2' -d 'quality of service'\n", "complete -c mosquitto_x -F\n",
		},
	} {
		var b bytes.Buffer
		if err := Completion(&b, shell, []Command{tool, other}); err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s: no %q in\n%s", shell, want, b.String())
			}
		}
	}
	if err := Completion(&bytes.Buffer{}, "csh", nil); err == nil {
		t.Error("csh: no error")
	}
}
