package packet

import (
	"slices"
	"testing"

	"github.com/midgemq/midge/mqtt"
)

func unsub(id uint16, props Props, filters ...string) *Unsubscribe {
	p := &Unsubscribe{PacketID: id, Props: props}
	for _, f := range filters {
		p.AddFilter(f)
	}
	return p
}

func TestUnsubscribe(t *testing.T) {
	checkGood(t, []goodCase{
		{only3, "a2 05 0001 0001 't'", unsub(1, nil, "t"), false},
		{only3, "a2 0a 012c 0003 'a/#' 0001 '+'", unsub(300, nil, "a/#", "+"), false},
		{only5, "a2 06 0001 00 0001 't'", unsub(1, nil, "t"), false},
		{only5, "a2 0d 0001 07 26 0001 'k' 0001 'v' 0001 't'", unsub(1, unhex(t, "26 0001 'k' 0001 'v'"), "t"), false},
		{only31, "aa 05 0001 0001 't'", unsub(1, nil, "t"), true}, // DUP [U31-09]
	})
}

func TestUnsubscribeFilters(t *testing.T) {
	p := unsub(7, nil, "a/#", "$share/g/t", "é")
	first, body := split(t, p.Append(nil, mqtt.V5))
	got, err := checkDecode(t, mqtt.V5, first, body)
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	f := SubFilter{Options: 3}
	for it := got.(*Unsubscribe).Filters(); it.Next(&f); {
		seen = append(seen, string(f.Filter))
		if f.Options != 0 {
			t.Errorf("%q has options %02x", f.Filter, byte(f.Options))
		}
	}
	if !slices.Equal(seen, []string{"a/#", "$share/g/t", "é"}) || got.(*Unsubscribe).Len() != 3 {
		t.Errorf("walk saw %q", seen)
	}
}

// covers: 5:3.10.1-1 3:3.10.1-1
func TestUnsubscribeFlags(t *testing.T) {
	checkBad(t, []badCase{
		{only311, "a0 05 0001 0001 't'", mqtt.MalformedPacket},
		{only5, "a0 06 0001 00 0001 't'", mqtt.MalformedPacket},
		{not31, "aa 06 0001 00 0001 't'", mqtt.MalformedPacket},
	})
}

// covers: 5:3.10.3-1 3:3.10.3-1
func TestUnsubscribeText(t *testing.T) {
	checkBad(t, []badCase{
		{only3, "a2 05 0001 0001 ff", mqtt.MalformedPacket},
		{only5, "a2 06 0001 00 0001 ff", mqtt.MalformedPacket},
		{only3, "a2 04 0001 0000", mqtt.MalformedPacket},
		{only5, "a2 05 0001 00 0000", mqtt.MalformedPacket},
		{only3, "a2 06 0001 0001 't' 00", mqtt.MalformedPacket},           // second filter cut short
		{only5, "a2 0a 0001 00 0001 't' 0005 'ab'", mqtt.MalformedPacket}, // the same
		{only5, "a2 08 0001 02 0b 05 0001 't'", mqtt.MalformedPacket},     // a property of SUBSCRIBE
	})
}

// covers: 5:3.10.3-2 3:3.10.3-2 3:2.3.1-1
func TestUnsubscribeEmpty(t *testing.T) {
	checkBad(t, []badCase{
		{only311, "a2 02 0001", mqtt.ProtocolError},
		{only5, "a2 03 0001 00", mqtt.ProtocolError},
		{only3, "a2 05 0000 0001 't'", mqtt.ProtocolError},
		{only5, "a2 06 0000 00 0001 't'", mqtt.ProtocolError},
	})
	checkGood(t, []goodCase{{only31, "a2 02 0001", unsub(1, nil), false}})
}

func FuzzUnsubscribe(f *testing.F) {
	fuzzPacket(f, UNSUBSCRIBE, "a2 05 0001 0001 't'", "a2 0a 012c 0003 'a/#' 0001 '+'", "a2 06 0001 00 0001 't'", "aa 02 0001")
}
