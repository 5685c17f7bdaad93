package rawmqtt

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEncode(t *testing.T) {
	user, pw := "u", "p"
	tests := []struct {
		name string
		v    byte
		p    Packet
		want string
	}{
		{"connect 3.1", V31, Packet{Type: CONNECT, Connect: &Connect{Name: "MQIsdp", Level: 3, Clean: true, KeepAlive: 60, ClientID: "a"}}, "10 0F 0006 4D5149736470 03 02 003C 0001 61"},
		{"connect full", V5, Packet{
			Type: CONNECT, Props: Props{{ID: 0x11, Num: 7}},
			Connect: &Connect{
				Name: "MQTT", Level: 5, ClientID: "a", User: &user, Password: &pw,
				Will: &Will{Topic: "w", Payload: "x", QoS: 2, Retain: true, Props: Props{{ID: 0x18, Num: 1}}},
			},
		}, "10 25 0004 4D515454 05 F4 0000 05 11 00000007 0001 61 05 18 00000001 0001 77 0001 78 0001 75 0001 70"},
		{"publish", V5, Packet{Type: PUBLISH, Flags: 0xB, Topic: "t", ID: 7, Payload: []byte("x"), Props: Props{{ID: 0x23, Num: 1}}}, "3B 0A 0001 74 0007 03 23 0001 78"},
		{"publish 3.1.1", V311, Packet{Type: PUBLISH, Topic: "t", Payload: []byte("x")}, "30 04 0001 74 78"},
		{"puback short", V5, Packet{Type: PUBACK, ID: 7}, "40 02 0007"},
		{"puback reason", V5, Packet{Type: PUBACK, ID: 7, Reason: 0x80}, "40 03 0007 80"},
		{"puback full", V5, Packet{Type: PUBACK, ID: 7, Form: FormFull}, "40 04 0007 00 00"},
		{"puback 3.1.1", V311, Packet{Type: PUBACK, ID: 7, Reason: 0x10}, "40 02 0007"},
		{"subscribe", V5, Packet{Type: SUBSCRIBE, Flags: 2, ID: 1, Filters: []Filter{{"a", 1}, {"b", 0x2E}}, Props: Props{{ID: 0x0B, Num: 200}}}, "82 0E 0001 03 0B C801 0001 61 01 0001 62 2E"},
		{"unsubscribe", V311, Packet{Type: UNSUBSCRIBE, Flags: 2, ID: 1, Filters: []Filter{{"a", 1}}}, "A2 05 0001 0001 61"},
		{"disconnect", V5, Packet{Type: DISCONNECT}, "E0 00"},
		{"disconnect reason", V5, Packet{Type: DISCONNECT, Reason: 4}, "E0 01 04"},
		{"auth", V5, Packet{Type: AUTH, Reason: 0x18, Props: Props{{ID: 0x15, Str: "m"}, {ID: 0x26, Str: "a", Str2: "b"}}}, "F0 0D 18 0B 15 0001 6D 26 0001 61 0001 62"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.p.Encode(tt.v)
			if !bytes.Equal(got, unhex(t, tt.want)) {
				t.Fatalf("got % X, want %s", got, tt.want)
			}
			if _, err := Decode(tt.v, got, false); err != nil {
				t.Fatalf("own packet refused: %v", err)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	tests := []struct {
		name       string
		v          byte
		fromServer bool
		raw, want  string
	}{
		{"reserved type", V5, true, "00 00", "reserved"},
		{"flags", V5, true, "41 02 0001", "flags"},
		{"pubrel flags", V5, true, "60 02 0001", "flags"},
		{"pingresp flags", V311, true, "D1 00", "flags"},
		{"length not shortest", V5, true, "D0 80 00", "shortest"},
		{"qos 3", V5, true, "36 06 0001 74 0001 00", "QoS 3"},
		{"dup at qos 0", V311, true, "38 03 0001 74", "DUP"},
		{"id 0", V311, true, "32 05 0001 74 0000", "identifier 0"},
		{"ack id 0", V5, true, "40 02 0000", "identifier 0"},
		{"trailing", V311, true, "40 03 0001 00", "left over"},
		{"cut", V311, true, "20 01 00", "wanted"},
		{"topic utf-8", V311, true, "30 03 0001 FF", "UTF-8"},
		{"topic nul", V311, true, "30 04 0002 6100", "U+0000"},
		{"surrogate", V311, true, "30 05 0003 EDA080", "UTF-8"},
		{"wildcard", V311, true, "30 03 0001 2B", "wildcard"},
		{"empty topic", V5, true, "30 03 0000 00", "empty topic"},
		{"connack flags", V311, true, "20 02 02 00", "acknowledge flags"},
		{"connack session 3.1", V31, true, "20 02 01 00", "session present"},
		{"connack refused with session", V311, true, "20 02 01 05", "session present"},
		{"connack code", V311, true, "20 02 00 06", "reason"},
		{"connack reason", V5, true, "20 03 00 92 00", "reason"},
		{"server disconnect 3.1.1", V311, true, "E0 00", "wrong side"},
		{"server disconnect 04", V5, true, "E0 01 04", "reason"},
		{"client disconnect 8B", V5, false, "E0 01 8B", "reason"},
		{"server connect", V5, true, "10 00", "wrong side"},
		{"client suback", V5, false, "90 03 0001 00", "wrong side"},
		{"auth 3.1.1", V311, true, "F0 00", "before"},
		{"auth 19", V5, true, "F0 02 19 00", "reason"},
		{"suback code", V5, true, "90 04 0001 00 03", "reason"},
		{"suback 80 in 3.1", V31, true, "90 03 0001 80", "reason"},
		{"suback 87 in 3.1.1", V311, true, "90 03 0001 87", "reason"},
		{"suback empty", V311, true, "90 02 0001", "no reason code"},
		{"unsuback with codes", V311, true, "B0 03 0001 00", "left over"},
		{"unknown property", V5, true, "20 05 00 00 02 04 00", "unknown property"},
		{"property elsewhere", V5, true, "20 05 00 00 02 01 00", "does not belong"},
		{"property twice", V5, true, "20 07 00 00 04 25 00 25 00", "twice"},
		{"maximum qos 2", V5, true, "20 05 00 00 02 24 02", "out of range"},
		{"receive maximum 0", V5, true, "20 06 00 00 03 21 0000", "out of range"},
		{"expiry in server disconnect", V5, true, "E0 07 00 05 11 00000001", "does not belong"},
		{"reference in client disconnect", V5, false, "E0 06 00 04 1C 0001 61", "does not belong"},
		{"identifier from a client", V5, false, "30 06 0001 74 02 0B 01", "does not belong"},
		{"identifier 0", V5, true, "30 06 0001 74 02 0B 00", "out of range"},
		{"property cut", V5, true, "20 04 00 00 01 25", "wanted"},
		{"property length beyond", V5, true, "20 03 00 00 05", "wanted"},
		{"property length long form", V5, true, "20 04 00 00 80 00", "shortest"},
		{"response topic wildcard", V5, true, "30 08 0001 74 04 08 0001 23", "out of range"},
		{"reserved connect flag", V311, false, "10 0D 0004 4D515454 04 03 0000 0001 61", "reserved connect flag"},
		{"will qos without will", V311, false, "10 0D 0004 4D515454 04 0A 0000 0001 61", "will bits"},
		{"password alone", V311, false, "10 10 0004 4D515454 04 42 0000 0001 61 0001 70", "without user name"},
		{"subscribe without filter", V311, false, "82 02 0001", "no filter"},
		{"two packets", V311, true, "D0 00 D0 00", "behind the packet"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Decode(tt.v, unhex(t, tt.raw), tt.fromServer)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want …%s…", err, tt.want)
			}
		})
	}
}

func TestSplit(t *testing.T) {
	whole := unhex(t, "30 03 0001 74 D0 00")
	for n := range whole {
		pkt, rest, err := Split(whole[:n])
		if n < 5 && !errors.Is(err, ErrShort) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if n >= 5 && (err != nil || len(pkt) != 5 || len(rest) != n-5) {
			t.Fatalf("%d bytes: % X, % X, %v", n, pkt, rest, err)
		}
	}
	if _, _, err := Split(unhex(t, "30 80 80 80 80")); err == nil || errors.Is(err, ErrShort) {
		t.Fatalf("a fifth length byte was awaited: %v", err)
	}
}

// TestCheckerRefuses runs conversations that end with something no server may do.
func TestCheckerRefuses(t *testing.T) {
	connect := func(v byte, c Connect, ps ...Prop) *Packet {
		c.Level = v
		return &Packet{Type: CONNECT, Connect: &c, Props: ps}
	}
	plain := connect(V5, Connect{ClientID: "a", Clean: true})
	const ok = "20 03 00 00 00"
	tests := []struct {
		name string
		v    byte
		sent []*Packet
		recv []string
		want string // "" when the last packet is fine
	}{
		{"early", V5, []*Packet{plain}, []string{"D0 00"}, "before CONNACK"},
		{"twice", V5, []*Packet{plain}, []string{ok, ok}, "second CONNACK"},
		{"after refusal", V5, []*Packet{plain}, []string{"20 03 00 87 00", "D0 00"}, "refusing"},
		{"after disconnect", V5, []*Packet{plain}, []string{ok, "E0 01 8E", "D0 00"}, "after DISCONNECT"},
		{"clean with session", V5, []*Packet{plain}, []string{"20 03 01 00 00"}, "clean start"},
		{"assigned to a given id", V5, []*Packet{plain}, []string{"20 07 00 00 04 12 0001 62"}, "3.2.2-16"},
		{"not assigned", V5, []*Packet{connect(V5, Connect{Clean: true})}, []string{ok}, "3.2.2-16"},
		{"response information", V5, []*Packet{plain}, []string{"20 07 00 00 04 1A 0001 62"}, "3.1.2-28"},
		{"method missing", V5, []*Packet{connect(V5, Connect{ClientID: "a"}, Prop{ID: 0x15, Str: "m"})}, []string{ok}, "4.12.0-5"},
		{"auth unasked", V5, []*Packet{plain}, []string{ok, "F0 06 18 04 15 0001 6D"}, "no method"},
		{"packet size", V5, []*Packet{connect(V5, Connect{ClientID: "a"}, Prop{ID: 0x27, Num: 6})}, []string{ok, "30 05 0001 74 00 78"}, "3.1.2-24"},
		{"problem information", V5, []*Packet{connect(V5, Connect{ClientID: "a"}, Prop{ID: 0x17}), {Type: SUBSCRIBE, ID: 1}}, []string{ok, "90 08 0001 04 1F 0001 61 00"}, "3.1.2-29"},
		{"problem information on PUBLISH", V5, []*Packet{connect(V5, Connect{ClientID: "a"}, Prop{ID: 0x17})}, []string{ok, "30 0B 0001 74 07 26 0001 61 0001 62"}, ""},
		{"alias above maximum", V5, []*Packet{plain}, []string{ok, "30 07 0001 74 03 23 0001"}, "3.1.2-26"},
		{"alias unknown", V5, []*Packet{connect(V5, Connect{ClientID: "a"}, Prop{ID: 0x22, Num: 5})}, []string{ok, "30 06 0000 03 23 0001"}, "never set"},
		{"alias known", V5, []*Packet{connect(V5, Connect{ClientID: "a"}, Prop{ID: 0x22, Num: 5})}, []string{ok, "30 07 0001 74 03 23 0001", "30 06 0000 03 23 0001"}, ""},
		{"id in flight", V311, []*Packet{plain}, []string{"20 02 00 00", "32 05 0001 74 0001", "32 05 0001 75 0001"}, "2.2.1-4"},
		{"dup without session", V5, []*Packet{plain}, []string{ok, "3A 06 0001 74 0001 00"}, "3.3.1-1"},
		{"receive maximum", V5, []*Packet{connect(V5, Connect{ClientID: "a"}, Prop{ID: 0x21, Num: 1})}, []string{ok, "32 06 0001 74 0001 00", "32 06 0001 74 0002 00"}, "3.3.4-9"},
		{"stray puback", V5, []*Packet{plain}, []string{ok, "40 02 0001"}, "answers no PUBLISH"},
		{"stray suback", V5, []*Packet{plain}, []string{ok, "90 04 0001 00 00"}, "answers no SUBSCRIBE"},
		{"stray pubrel", V5, []*Packet{plain}, []string{ok, "62 02 0001"}, "without a PUBREC"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := NewChecker(tt.v)
			for _, p := range tt.sent {
				c.Sent(p)
			}
			for i, raw := range tt.recv {
				_, err := c.Received(unhex(t, raw))
				if i < len(tt.recv)-1 {
					if err != nil {
						t.Fatalf("packet %d: %v", i, err)
					}
					continue
				}
				if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
					t.Fatalf("got %v, want …%s…", err, tt.want)
				}
			}
		})
	}
}

func TestCheckerQuota(t *testing.T) {
	c := NewChecker(V5)
	c.Sent(&Packet{Type: CONNECT, Connect: &Connect{Level: 5, ClientID: "a"}, Props: Props{{ID: 0x21, Num: 1}}})
	recv := func(raw string) {
		t.Helper()
		if _, err := c.Received(unhex(t, raw)); err != nil {
			t.Fatal(err)
		}
	}
	recv("20 03 00 00 00")
	recv("32 06 0001 74 0001 00")
	c.Sent(&Packet{Type: PUBACK, ID: 1})
	recv("34 06 0001 74 0001 00")
	c.Sent(&Packet{Type: PUBREC, ID: 1})
	recv("62 02 0001")
	c.Sent(&Packet{Type: PUBCOMP, ID: 1})
	recv("34 06 0001 74 0001 00")
	c.Sent(&Packet{Type: PUBREC, ID: 1, Reason: 0x80})
	recv("32 06 0001 74 0002 00")
}

func TestMatch(t *testing.T) {
	tests := []struct {
		filter, topic string
		want          bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a", "a/b", false},
		{"a/#", "a", true},
		{"a/#", "a/b/c", true},
		{"a/#", "ab", false},
		{"a/+", "a", false},
		{"a/+", "a/", true},
		{"a/+/#", "a/b", true},
		{"a/+/#", "a", false},
		{"+", "a", true},
		{"+", "/a", false},
		{"+/+", "/a", true},
		{"/+", "/a", true},
		{"#", "a/b", true},
		{"#", "$SYS/a", false},
		{"+/a", "$SYS/a", false},
		{"$SYS/#", "$SYS/a", true},
		{"$SYS/+", "$SYS/a", true},
		{"a/#", "a/$b", true},
		{"a//b", "a//b", true},
		{"a/+/b", "a//b", true},
		{"a//b", "a/b", false},
		{"+/b/#", "a/b/c", true},
		{"A", "a", false},
	}
	for _, tt := range tests {
		if got := Match(tt.filter, tt.topic); got != tt.want {
			t.Errorf("Match(%q, %q) = %v", tt.filter, tt.topic, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(byte(5), true, []byte("\x30\x0a\x00\x01\x74\x03\x23\x00\x01\x78\x78\x78"))
	f.Add(byte(4), false, []byte("\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a"))
	f.Fuzz(func(t *testing.T, v byte, fromServer bool, raw []byte) {
		v = 3 + v%3
		p, err := Decode(v, raw, fromServer)
		if err != nil {
			return
		}
		if p.String() == "" {
			t.Fatal("no description")
		}
		again, err := Decode(v, raw, fromServer)
		if err != nil || again.String() != p.String() {
			t.Fatalf("a second look differs: %v", err)
		}
	})
}
