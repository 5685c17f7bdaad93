package packet

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/midgemq/midge/mqtt"
)

// sub builds a SUBSCRIBE from "filter", options pairs.
func sub(id uint16, props Props, filters ...SubFilter) *Subscribe {
	p := &Subscribe{PacketID: id, Props: props}
	for _, f := range filters {
		p.AddFilter(string(f.Filter), f.Options)
	}
	return p
}

func filter(s string, o SubOptions) SubFilter { return SubFilter{[]byte(s), o} }

func TestSubscribe(t *testing.T) {
	checkGood(t, []goodCase{
		{only3, "82 06 0001 0001 't' 01", sub(1, nil, filter("t", 1)), false},
		{only3, "82 0c abcd 0003 'a/#' 00 0001 '+' 02", sub(0xabcd, nil, filter("a/#", 0), filter("+", 2)), false},
		{only5, "82 07 0001 00 0001 't' 2e", sub(1, nil, filter("t", 0x2e)), false},
		{only5, "82 09 0001 02 0b 05 0001 't' 00", sub(1, unhex(t, "0b 05"), filter("t", 0)), false},
		{only31, "8a 06 0001 0001 't' 01", sub(1, nil, filter("t", 1)), true}, // DUP [U31-09]
	})
}

func TestSubscribeFilters(t *testing.T) {
	p := sub(7, nil, filter("a/#", 0x2d), filter("$share/g/t", 1), filter("é", 2))
	first, body := split(t, p.Append(nil, mqtt.V5))
	got, err := checkDecode(t, mqtt.V5, first, body)
	if err != nil {
		t.Fatal(err)
	}
	s := got.(*Subscribe)
	var seen []string
	var f SubFilter
	for it := s.Filters(); it.Next(&f); {
		seen = append(seen, string(f.Filter)+" "+string(rune('0'+f.Options.QoS())))
	}
	if !slices.Equal(seen, []string{"a/# 1", "$share/g/t 1", "é 2"}) || s.Len() != 3 {
		t.Errorf("%d filters, walk saw %q", s.Len(), seen)
	}
	if it := (&Subscribe{}).Filters(); it.Next(&f) {
		t.Error("an empty packet has a filter")
	}
}

func TestSubOptions(t *testing.T) {
	for q := mqtt.QoS(0); q <= 2; q++ {
		for rh := range byte(3) {
			for i := range 4 {
				noLocal, rap := i&1 != 0, i&2 != 0
				o := MakeSubOptions(q, noLocal, rap, rh)
				if o.QoS() != q || o.RetainHandling() != rh || o.NoLocal() != noLocal || o.RetainAsPublished() != rap || checkOptions(mqtt.V5, o) != nil {
					t.Errorf("%02x is QoS %v, no local %v, retain as published %v, retain handling %d", byte(o), o.QoS(), o.NoLocal(),
						o.RetainAsPublished(), o.RetainHandling())
				}
			}
		}
	}
	if o := MakeSubOptions(1, true, true, 2); o != 0x2d {
		t.Errorf("written %02x, want 2d", byte(o))
	}
}

// covers: 3:3.8.3-4 5:U5-3.8.3.1-1 E131
func TestSubscribeOptions(t *testing.T) {
	for o := range 256 {
		body := append(unhex(t, "0001 0001 't'"), byte(o))
		for _, v := range only3 {
			if _, err := checkDecode(t, v, 0x82, body); (err == nil) != (o <= 2) {
				t.Errorf("%v: options %02x: %v", v, o, err)
			}
		}
		want := mqtt.ReasonCode(0)
		switch {
		case o&0xc0 != 0:
			want = mqtt.MalformedPacket
		case o&3 == 3, o&0x30 == 0x30:
			want = mqtt.ProtocolError
		}
		if _, err := checkDecode(t, mqtt.V5, 0x82, append(unhex(t, "0001 00 0001 't'"), byte(o))); code(err) != want || (err == nil) != (want == 0) {
			t.Errorf("5.0: options %02x: %v, want 0x%02X", o, err, byte(want))
		}
	}
}

// covers: 3:3.8.3-3 5:3.8.3-2 31:U31-25
func TestSubscribeEmpty(t *testing.T) {
	checkBad(t, []badCase{
		{only5, "82 03 0001 00", mqtt.ProtocolError},
		{only311, "82 02 0001", mqtt.ProtocolError},
	})
	checkGood(t, []goodCase{{only31, "82 02 0001", sub(1, nil), false}}) // answered by an empty SUBACK
}

// covers: 5:3.8.3-1 3:3.8.3-1 5:4.7.3-1
func TestSubscribeFilterText(t *testing.T) {
	for _, f := range []string{"0000", "0003 eda080", "0001 ff", "0003 'a' 00 'b'", "0002 'a' 01"} {
		for prefix, v := range map[string][]mqtt.Version{"0001": only3, "0001 00": only5} {
			body := unhex(t, prefix+f+"00")
			for _, v := range v {
				if _, err := checkDecode(t, v, 0x82, body); code(err) != mqtt.MalformedPacket {
					t.Errorf("%v %s: %v", v, f, err)
				}
			}
		}
	}
}

func TestSubscribeBad(t *testing.T) {
	checkBad(t, []badCase{
		{only3, "82 06 0000 0001 't' 00", mqtt.ProtocolError},
		{only5, "82 07 0000 00 0001 't' 00", mqtt.ProtocolError},
		{only3, "82 05 0001 0001 't'", mqtt.MalformedPacket},          // no options
		{only3, "82 06 0001 0005 't' 00", mqtt.MalformedPacket},       // filter longer than the packet
		{only3, "82 07 0001 0001 't' 00 00", mqtt.MalformedPacket},    // half a second filter
		{only5, "82 08 0001 00 0001 't' 00 00", mqtt.MalformedPacket}, // the same
		{only5, "82 0b 0001 04 0b 05 0b 06 0001 't' 00", mqtt.ProtocolError},
		{not31, "80 06 0001 0001 't' 00", mqtt.MalformedPacket},
		{not31, "83 06 0001 0001 't' 00", mqtt.MalformedPacket},
	})
}

// Wildcards and shared groups are left to the session, which may refuse one filter and grant another.
func TestSubscribeLeavesFiltersToTheSession(t *testing.T) {
	for _, f := range []string{"a#", "#/a", "a+", "$share//t", strings.Repeat("/", 201)} {
		p := sub(1, nil, filter(f, 1))
		first, body := split(t, p.Append(nil, mqtt.V5))
		got, err := checkDecode(t, mqtt.V5, first, body)
		if err != nil || !same(got, p) {
			t.Errorf("%.20q: %v", f, err)
		}
	}
}

// Adding to a decoded packet must not write into the buffer it came from.
func TestSubscribeAddAfterDecode(t *testing.T) {
	buf := append(unhex(t, "0001 0001 't' 01"), 0xA5, 0xA5, 0xA5, 0xA5, 0xA5)
	var p Subscribe
	if err := p.Decode(mqtt.V311, 0x82, buf[:6]); err != nil {
		t.Fatal(err)
	}
	p.AddFilter("x", 0)
	if !bytes.Equal(buf[6:], []byte{0xA5, 0xA5, 0xA5, 0xA5, 0xA5}) || p.Len() != 2 {
		t.Errorf("buffer %x, %d filters", buf, p.Len())
	}
}

func TestSubscribeDoesNotAllocate(t *testing.T) {
	body := unhex(t, "0001 02 0b 05 0003 'a/#' 01 000a '$share/g/t' 2a")
	dst := make([]byte, 0, 64)
	var p Subscribe
	var u Unsubscribe
	if n := testing.AllocsPerRun(200, func() {
		if err := p.Decode(mqtt.V5, 0x82, body); err != nil {
			t.Error(err)
		}
		var f SubFilter
		n := 0
		for it := p.Filters(); it.Next(&f); {
			n += len(f.Filter)
		}
		if n != 13 {
			t.Errorf("%d bytes of filters", n)
		}
		dst = p.Append(dst[:0], mqtt.V5)
		if err := u.Decode(mqtt.V5, 0xA2, body[:2]); err == nil {
			t.Error("accepted")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzSubscribe(f *testing.F) {
	fuzzPacket(f, SUBSCRIBE, "82 06 0001 0001 't' 01", "82 0c abcd 0003 'a/#' 00 0001 '+' 02", "82 09 0001 02 0b 05 0001 't' 2e",
		"8a 02 0001", "82 03 0001 00")
}
