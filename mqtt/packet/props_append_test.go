package packet

import (
	"bytes"
	"testing"
)

func TestAppendProps(t *testing.T) {
	for id, s := range oneProp {
		want := unhex(t, s)
		_, num, val, val2, _ := Props(want).Next()
		var got []byte
		switch propTable[id].kind {
		case kindText, kindBinary:
			got = AppendBytes(nil, id, val)
			if other := AppendString(nil, id, string(val)); !bytes.Equal(other, got) {
				t.Errorf("%v: AppendString %x, AppendBytes %x", id, other, got)
			}
		case kindPair:
			got = AppendPair(nil, string(val), string(val2))
		default:
			got = AppendUint(nil, id, num)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%v is written %x, want %x", id, got, want)
		}
	}
}

func TestAppendExcept(t *testing.T) {
	a, b, c, d := "26 0001 'a' 0001 '1' ", "23 0007 ", "0b 05 ", "02 00000e10 "
	connection := SetOf(PropTopicAlias, PropSubscriptionID)
	for _, x := range []struct {
		list string
		drop PropSet
		want string
	}{
		{"", connection, ""},
		{a + d, connection, a + d},
		{b, connection, ""},
		{b + a + c + c + d + b, connection, a + d},
		{a + b + d, connection, a + d},
		{a + a + a, SetOf(PropUser), ""},
		{a + b + c + d, 0, a + b + c + d},
		{c + c, SetOf(PropTopicAlias), c + c},
	} {
		if got := AppendExcept([]byte{0xEE}, unhex(t, x.list), x.drop); !bytes.Equal(got[1:], unhex(t, x.want)) || got[0] != 0xEE {
			t.Errorf("%q without %b is %x, want %q", x.list, x.drop, got[1:], x.want)
		}
	}
}
