package packet

import (
	"errors"
	"testing"

	"github.com/midgemq/midge/mqtt"
)

// covers: 5:3.4.2-1 5:3.6.2-1 5:3.15.2-1
func TestCodeAllowed(t *testing.T) {
	// Columns of the standard's tables: which codes each side may send.
	client := map[Type]string{
		PUBACK: "00 80 83 87 90 91 97 99", PUBREC: "00 80 83 87 90 91 97 99", PUBREL: "00 92", PUBCOMP: "00 92",
		DISCONNECT: "00 04 80 81 82 83 8c 90 93 94 95 96 97 98 99 9b", AUTH: "18 19",
	}
	server := map[Type]string{
		CONNACK: "00 80 81 82 83 84 85 86 87 88 89 8a 8c 90 95 97 99 9a 9b 9c 9d 9f",
		PUBACK:  "00 10 80 83 87 90 91 97 99", PUBREC: "00 10 80 83 87 90 91 97 99", PUBREL: "00 92", PUBCOMP: "00 92",
		SUBACK: "00 01 02 80 83 87 8f 91 97 9e a1 a2", UNSUBACK: "00 11 80 83 87 8f 91",
		DISCONNECT: "00 80 81 82 83 87 89 8b 8c 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f a0 a1 a2", AUTH: "00 18",
	}
	for typ := Type(0); typ < typeCount+2; typ++ {
		for side, table := range map[bool]map[Type]string{false: client, true: server} {
			var want [256]bool
			for _, c := range unhex(t, table[typ]) {
				want[c] = true
			}
			for c := range want {
				if got := CodeAllowed(typ, side, mqtt.ReasonCode(c)); got != want[c] {
					t.Errorf("%v 0x%02X from server %v: %v, want %v", typ, c, side, got, want[c])
				}
			}
		}
	}
}

// covers: 3:3.9.3-2 31:U31-07 E130
func TestCodeAllowedV3(t *testing.T) {
	for c := range 256 {
		code := byte(c)
		for _, v := range only3 {
			if got, want := CodeAllowedV3(v, CONNACK, code), c <= 5; got != want {
				t.Errorf("%v CONNACK %d: %v", v, c, got)
			}
			if got, want := CodeAllowedV3(v, SUBACK, code), c <= 2 || c == 0x80 && v == mqtt.V311; got != want {
				t.Errorf("%v SUBACK 0x%02X: %v", v, c, got)
			}
			if CodeAllowedV3(v, PUBACK, code) {
				t.Errorf("%v PUBACK has a code", v)
			}
		}
	}
}

// covers: E138 E183
func TestCheckRole(t *testing.T) {
	for _, c := range []struct {
		typ        Type
		fromServer bool
		id         PropID
		ok         bool
	}{
		{PUBLISH, false, PropSubscriptionID, false},
		{PUBLISH, true, PropSubscriptionID, true},
		{PUBLISH, false, PropUser, true},
		{SUBSCRIBE, false, PropSubscriptionID, true},
		{DISCONNECT, false, PropServerReference, false},
		{DISCONNECT, true, PropServerReference, true},
		{DISCONNECT, true, PropSessionExpiry, false},
		{DISCONNECT, false, PropSessionExpiry, true},
		{CONNACK, true, PropSessionExpiry, true},
	} {
		err := CheckRole(c.typ, c.fromServer, SetOf(c.id, PropUser))
		var e *Error
		if (err == nil) != c.ok || err != nil && (!errors.As(err, &e) || e.Code != mqtt.ProtocolError || e.Prop != c.id) {
			t.Errorf("%v with %v from server %v: %v", c.typ, c.id, c.fromServer, err)
		}
	}
}
