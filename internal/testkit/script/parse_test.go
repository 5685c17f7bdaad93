package script

import (
	"encoding/hex"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	list, err := Parse("f.txt", `# comment
versions: 4 5

-- one --
about: first
covers: 3:3.1.2-24 5:U5-4.1-1 E110
config: max_inflight_messages 10
config: test_auth user bob "p w"
client s connect id=s ; s subscribe a/# qos=1
# a comment
[v5] s <- CONNACK
-- two --
about: second
versions: 3
targets: sim tcp mosquitto
watch: on
epilogue: off
client s connect v=5
`)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 {
		t.Fatalf("%d sections", len(list))
	}
	one, two := list[0], list[1]
	if one.Name != "one" || one.Line != 4 || one.About != "first" || len(one.Covers) != 3 || len(one.Config) != 2 {
		t.Errorf("one: %+v", one)
	}
	if string(one.Versions) != "\x04\x05" || !one.Has("sim") || one.Has("mosquitto") || one.Watch || !one.Epilogue {
		t.Errorf("one: defaults %+v", one)
	}
	if len(one.body) != 3 || one.body[2].cond != "v5" || one.body[1].line != 9 {
		t.Errorf("one: body %+v", one.body)
	}
	if string(two.Versions) != "\x03" || !two.Has("mosquitto") || !two.Watch || two.Epilogue || len(two.Config) != 0 {
		t.Errorf("two: %+v", two)
	}
	cfg, err := one.brokerConfig("")
	if err != nil || cfg.Auth.Users["bob"] != "p w" || len(cfg.Lines) != 1 {
		t.Errorf("config %+v, %v", cfg, err)
	}
}

func TestParseRefuses(t *testing.T) {
	const head = "-- x --\nversions: 4 5\n"
	tests := []struct{ name, text, want string }{
		{"no section", "client s connect\n", "line 1: statement before"},
		{"bad section", "-- a b --\n", "line 1: a section starts"},
		{"twice", "-- a --\nclient s connect\n-- a --\nclient s connect\n", "line 3: section a exists twice"},
		{"empty", "-- a --\n", "no statement"},
		{"header", "-- a --\nfoo: bar\nclient s connect\n", `unknown header "foo"`},
		{"tag", "-- a --\ncovers: 3.1.1\nclient s connect\n", "is no tag"},
		{"too many tags", "-- a --\ncovers: E001 E002 E003 E004\nclient s connect\n", "4 tags"},
		{"tag of another version", "-- a --\nversions: 5\ncovers: 3:3.1.1-1\nclient s connect\n", "needs version 4"},
		{"version", "-- a --\nversions: 6\nclient s connect\n", `"6" is not`},
		{"target", "-- a --\ntargets: moon\nclient s connect\n", `"moon" is not`},
		{"quote", head + "client s connect id=\"a\n", "line 3: quote not closed"},
		{"brace", head + "repeat 3 { client s connect\n", "never closed"},
		{"stray brace", head + "client s connect\n}\n", "line 4: } without {"},
		{"unknown client", head + "s publish t\n", `line 3: no client "s"`},
		{"unknown verb", head + "client s connect\ns dance\n", `unknown verb "dance"`},
		{"unknown packet", head + "client s connect\ns <- PUBACKS\n", `unknown packet "PUBACKS"`},
		{"unknown word", head + "client s connect colour=red\n", "colour=red does not belong into connect"},
		{"property on 3.x", head + "client s connect receive-maximum=5\n", "write [v5]receive-maximum=5"},
		{"payload missing", head + "client s connect\ns <- PUBLISH t\n", "wants a topic and a payload"},
		{"optional last", head + "client s connect\ns <- CONNACK?\n", "needs something behind it"},
		{"alternative close", head + "client s connect\ns <- CLOSE | CONNACK\n", "only packets can be alternatives"},
		{"number", head + "client s connect keepalive=70000\n", "up to 65535"},
		{"ack without id", head + "client s connect\ns puback\n", "puback wants id="},
		{"option first", head + "client s connect\ns subscribe qos=1 a\n", "before any filter"},
		{"raw", head + "client s connect\ns raw 3\n", "hexadecimal bytes"},
		{"raw bracket", head + "client s connect\ns raw rl( 30\n", "never closed"},
		{"block", head + "client s connect { s pingreq }\n", "takes no block"},
		{"for", head + "for x { client s connect }\n", "too few words"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("f.txt", tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "f.txt: ") {
				t.Fatalf("got %v, want …%s…", err, tt.want)
			}
		})
	}
}

func TestRawBytes(t *testing.T) {
	e := &env{version: 5, target: "tcp", vars: map[string]string{"i": "7"}}
	tests := []struct{ src, want string }{
		{"30 0a FF", "300aff"},
		{"300aff", "300aff"},
		{`"ab" str:"ab"`, "616200026162"},
		{"u16:500 u32:7 var:321", "01f400000007c102"},
		{"rl( 01 02 )", "020102"},
		{"l16( 01 02 )", "00020102"},
		{"ff*3", "ffffff"},
		{`"ab"*2`, "61626162"},
		{"( 01 02 )*2 03", "0102010203"},
		{"10 rl( str:\"MQTT\" ( 00 )*200 )", "10ce0100044d515454" + strings.Repeat("00", 200)},
		{"u16:$i", "0007"},
		{`"$i"`, "37"},
		{"[v5]01 [v4]02", "01"},
		{"rl( rl( 01 ) )", "020101"},
	}
	for _, tt := range tests {
		words, err := lex(tt.src, 1)
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.rawBytes(words[:len(words)-1])
		if err != nil || hex.EncodeToString(got) != tt.want {
			t.Errorf("%s: got %x, %v, want %s", tt.src, got, err, tt.want)
		}
	}
}

func TestConditions(t *testing.T) {
	e := &env{version: 5, target: "tcp"}
	for cond, want := range map[string]bool{
		"": true, "v5": true, "v3,v4": false, "v4,v5": true, "!v5": false, "!v4": true, "tcp": true, "sim": false, "v5,tcp": true,
		"v5,sim": false, "v4,tcp": false, "!mosquitto": true, "v5,!tcp": false,
	} {
		if got := e.holds(cond); got != want {
			t.Errorf("[%s] holds %v, want %v", cond, got, want)
		}
	}
}

func TestText(t *testing.T) {
	e := &env{version: 4, target: "tcp", vars: map[string]string{"a": "x"}}
	for src, want := range map[string]string{
		"ab*3": "ababab", `"ab*3"`: "ab*3", "$a": "x", "${a}y": "xy", "$$a": "$a", "$SYS/x": "$SYS/x", "$share/g/f": "$share/g/f", "$v": "4",
		`"a\x00"`: "a\x00", "payload=3B": "012", "topic=3B": "3B",
	} {
		words, err := lex(src, 1)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := e.text(words[0]); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", src, got, err, want)
		}
	}
	words, _ := lex("$unknown", 1)
	if _, err := e.text(words[0]); err == nil {
		t.Error("an unset variable passed")
	}
}

func TestNumberFits(t *testing.T) {
	tests := []struct {
		want string
		got  uint64
		ok   bool
	}{
		{"5", 5, true},
		{"0x82", 0x82, true},
		{"0x81|0x82", 0x82, true},
		{"0x81|0x82", 0x83, false},
		{"3..5", 4, true},
		{"3..5", 6, false},
		{"!4", 4, false},
		{"!4", 5, true},
		{"", 0, false},
		{"x", 0, false},
	}
	for _, tt := range tests {
		if got := numberFits(tt.want, tt.got); got != tt.ok {
			t.Errorf("%s with %d: %v", tt.want, tt.got, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("-- a --\nabout: x\nversions: 5\nclient s connect id=s ; s publish t \"x\" qos=1\nfor f in a b { s <- PUBLISH $f * | CONNACK }\n")
	f.Add("-- a --\nclient s open\ns raw rl( str:\"a\" ff*3 ( 01 )*2 )\nrepeat 3 i { unordered { s <- BYTES 00 } }\n")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "*") && len(text) > 500 {
			return
		}
		list, err := Parse("f", text)
		if err == nil && text != "" && len(list) == 0 && strings.Contains(text, "\n-- a --\n") {
			t.Fatal("a section got lost")
		}
	})
}
