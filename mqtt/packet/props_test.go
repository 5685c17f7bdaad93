package packet

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/midgemq/midge/mqtt"
)

// oneProp is one legal encoding of each property.
var oneProp = map[PropID]string{
	PropPayloadFormat:                 "01 01",
	PropMessageExpiry:                 "02 00000e10",
	PropContentType:                   "03 0004 'text'",
	PropResponseTopic:                 "08 0003 'r/1'",
	PropCorrelationData:               "09 0002 00ff",
	PropSubscriptionID:                "0b ffffff7f",
	PropSessionExpiry:                 "11 ffffffff",
	PropAssignedClientID:              "12 0002 'id'",
	PropServerKeepAlive:               "13 003c",
	PropAuthMethod:                    "15 0001 'm'",
	PropAuthData:                      "16 0001 00",
	PropRequestProblemInfo:            "17 00",
	PropWillDelay:                     "18 0000000a",
	PropRequestResponseInfo:           "19 01",
	PropResponseInfo:                  "1a 0001 'i'",
	PropServerReference:               "1c 0001 's'",
	PropReasonString:                  "1f 0003 'why'",
	PropReceiveMaximum:                "21 0014",
	PropTopicAliasMaximum:             "22 000a",
	PropTopicAlias:                    "23 0001",
	PropMaximumQoS:                    "24 01",
	PropRetainAvailable:               "25 00",
	PropUser:                          "26 0001 'k' 0001 'v'",
	PropMaximumPacketSize:             "27 00000400",
	PropWildcardSubscriptionAvailable: "28 00",
	PropSubscriptionIDAvailable:       "29 01",
	PropSharedSubscriptionAvailable:   "2a 00",
}

// allowedIn is the table of the standard, section 2.2.2.2, by packet.
var allowedIn = map[Type]string{
	CONNECT: "11 15 16 17 19 21 22 26 27", WILL: "01 02 03 08 09 18 26",
	CONNACK: "11 12 13 15 16 1a 1c 1f 21 22 24 25 26 27 28 29 2a", PUBLISH: "01 02 03 08 09 0b 23 26",
	PUBACK: "1f 26", PUBREC: "1f 26", PUBREL: "1f 26", PUBCOMP: "1f 26", SUBSCRIBE: "0b 26", SUBACK: "1f 26", UNSUBSCRIBE: "26",
	UNSUBACK: "1f 26", DISCONNECT: "11 1c 1f 26", AUTH: "15 16 1f 26", PINGREQ: "", PINGRESP: "",
}

// withProps puts an encoded list into a whole body of 5.0 of that type.
func withProps(t Type, p []byte) (first byte, body []byte) {
	list := append(AppendVarint(nil, uint32(len(p))), p...)
	first = t.FirstByte()
	switch t {
	case CONNECT:
		return first, slices.Concat([]byte("\x00\x04MQTT\x05\x02\x00\x00"), list, []byte{0, 0})
	case WILL:
		return CONNECT.FirstByte(), slices.Concat([]byte("\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x00"), list, []byte("\x00\x01w\x00\x00"))
	case CONNACK:
		return first, slices.Concat([]byte{0, 0}, list)
	case PUBLISH:
		return first, slices.Concat([]byte("\x00\x01t"), list)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return first, slices.Concat([]byte{0, 1, 0}, list)
	case SUBSCRIBE:
		return first, slices.Concat([]byte{0, 1}, list, []byte("\x00\x01t\x00"))
	case UNSUBSCRIBE:
		return first, slices.Concat([]byte{0, 1}, list, []byte("\x00\x01t"))
	case SUBACK, UNSUBACK:
		return first, slices.Concat([]byte{0, 1}, list, []byte{0})
	default: // DISCONNECT, AUTH
		return first, slices.Concat([]byte{0}, list)
	}
}

// decodeProps decodes a list inside that packet and gives it back.
func decodeProps(t testing.TB, typ Type, p []byte) (Props, error) {
	t.Helper()
	first, body := withProps(typ, p)
	got, err := checkDecode(t, mqtt.V5, first, body)
	if err != nil {
		return nil, err
	}
	if typ == WILL {
		return got.(*Connect).WillProps, nil
	}
	return reflect.ValueOf(got).Elem().FieldByName("Props").Interface().(Props), nil
}

// needed is what a list must have beside id to be legal.
func needed(t Type, id PropID) string {
	if t == AUTH && id != PropAuthMethod || id == PropAuthData && t != AUTH {
		return oneProp[PropAuthMethod]
	}
	return ""
}

func hasType(list Type) bool { return list != PINGREQ && list != PINGRESP }

func code(err error) mqtt.ReasonCode {
	var e *Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code
}

// covers: 5:U5-2.2.2-1 E158
func TestPropsAllowed(t *testing.T) {
	for typ := CONNECT; typ <= WILL; typ++ {
		allowed := unhex(t, allowedIn[typ])
		for id := range PropID(0x80) {
			want := bytes.IndexByte(allowed, byte(id)) >= 0
			if got := PropAllowed(typ, id); got != want {
				t.Errorf("%v in %v: PropAllowed %v, want %v", id, typ, got, want)
			}
			if !hasType(typ) {
				continue
			}
			list := []byte{byte(id), 0, 0, 0, 0}
			if s, known := oneProp[id]; known {
				list = unhex(t, s+needed(typ, id))
			}
			p, err := decodeProps(t, typ, list)
			if want && (err != nil || !bytes.Equal(p, list)) {
				t.Errorf("%v in %v: %x, %v", id, typ, p, err)
			}
			if !want && code(err) != mqtt.MalformedPacket {
				t.Errorf("%v in %v: %v, want Malformed Packet", id, typ, err)
			}
		}
	}
	if PropAllowed(WILL+1, PropUser) {
		t.Error("a type that does not exist allows a property")
	}
}

// covers: E157 5:U5-3.3.2.3.3-1 5:U5-3.3.2.3.4-1
func TestPropsTwice(t *testing.T) {
	for id, s := range oneProp {
		for typ := CONNECT; typ <= WILL; typ++ {
			if !PropAllowed(typ, id) {
				continue
			}
			list := unhex(t, s+s+needed(typ, id))
			_, err := decodeProps(t, typ, list)
			if id == PropUser || id == PropSubscriptionID && typ == PUBLISH {
				if err != nil {
					t.Errorf("%v twice in %v: %v", id, typ, err)
				}
			} else if code(err) != mqtt.ProtocolError {
				t.Errorf("%v twice in %v: %v, want Protocol Error", id, typ, err)
			}
		}
	}
}

// covers: E159 E136 5:U5-3.1.2.11.7-1
func TestPropsRange(t *testing.T) {
	for _, c := range []struct {
		typ   Type
		bytes string
		code  mqtt.ReasonCode
	}{
		{PUBLISH, "01 00", 0},
		{PUBLISH, "01 02", mqtt.ProtocolError},
		{WILL, "01 02", mqtt.ProtocolError},
		{PUBLISH, "02 00000000", 0},
		{PUBLISH, "02 ffffffff", 0},
		{PUBLISH, "03 0000", 0},
		{PUBLISH, "09 0000", 0},
		{PUBLISH, "0b 00", mqtt.ProtocolError},
		{SUBSCRIBE, "0b 00", mqtt.ProtocolError},
		{SUBSCRIBE, "0b 01", 0},
		{SUBSCRIBE, "0b ff ff ff 7f", 0},
		{SUBSCRIBE, "0b ff ff ff ff 01", mqtt.MalformedPacket},
		{SUBSCRIBE, "0b 81 00", mqtt.MalformedPacket},
		{PUBLISH, "0b 80 80 00", mqtt.MalformedPacket},
		{CONNECT, "11 00000000", 0},
		{CONNACK, "13 0000", 0},
		{CONNECT, "17 01", 0},
		{CONNECT, "17 02", mqtt.ProtocolError},
		{WILL, "18 00000000", 0},
		{CONNECT, "19 00", 0},
		{CONNECT, "19 02", mqtt.ProtocolError},
		{CONNECT, "21 0000", mqtt.ProtocolError},
		{CONNECT, "21 ffff", 0},
		{CONNACK, "21 0000", mqtt.ProtocolError},
		{CONNECT, "22 0000", 0},
		{PUBLISH, "23 0000", mqtt.TopicAliasInvalid},
		{PUBLISH, "23 ffff", 0},
		{CONNACK, "24 00", 0},
		{CONNACK, "24 02", mqtt.ProtocolError},
		{CONNACK, "25 02", mqtt.ProtocolError},
		{CONNECT, "27 00000000", mqtt.ProtocolError},
		{CONNECT, "27 00000001", 0},
		{CONNACK, "27 00000000", mqtt.ProtocolError},
		{CONNACK, "28 02", mqtt.ProtocolError},
		{CONNACK, "29 02", mqtt.ProtocolError},
		{CONNACK, "2a ff", mqtt.ProtocolError},
		{PUBLISH, "26 0000 0000", 0},
	} {
		if _, err := decodeProps(t, c.typ, unhex(t, c.bytes)); code(err) != c.code || (err == nil) != (c.code == 0) {
			t.Errorf("%s in %v: %v, want 0x%02X", c.bytes, c.typ, err, byte(c.code))
		}
	}
}

// covers: 5:3.3.2-14 5:3.3.2-13 E166
func TestPropsResponseTopic(t *testing.T) {
	for _, typ := range []Type{PUBLISH, WILL} {
		for s, want := range map[string]mqtt.ReasonCode{
			"08 0001 'r'": 0, "08 0001 '/'": 0,
			"08 0003 'r/+'": mqtt.ProtocolError, "08 0003 'r/#'": mqtt.ProtocolError, "08 0002 'r#'": mqtt.ProtocolError,
			"08 0000":      mqtt.ProtocolError,
			"08 0002 c0af": mqtt.MalformedPacket, "08 0003 'a' 00 'b'": mqtt.MalformedPacket,
		} {
			if _, err := decodeProps(t, typ, unhex(t, s)); code(err) != want || (err == nil) != (want == 0) {
				t.Errorf("%s in %v: %v, want 0x%02X", s, typ, err, byte(want))
			}
		}
		deep := AppendBytes(nil, PropResponseTopic, bytes.Repeat([]byte("/"), mqtt.MaxTopicSlashes+1))
		if _, err := decodeProps(t, typ, deep); code(err) != mqtt.TopicNameInvalid {
			t.Errorf("Response Topic of 202 levels in %v: %v", typ, err)
		}
	}
}

// covers: 5:1.5.4-1 5:1.5.4-2 E006
func TestPropsText(t *testing.T) {
	for id := range oneProp {
		if k := propTable[id].kind; k != kindText && k != kindBinary {
			continue
		}
		for typ := CONNECT; typ <= WILL; typ++ {
			if !PropAllowed(typ, id) {
				continue
			}
			for _, bad := range []string{"\x00", "a\x00b", "\xed\xa0\x80", "\xc0\xaf", "\xf5\x80\x80\x80", "cut \xe2\x82", "\x7f", "\ufffe"} {
				_, err := decodeProps(t, typ, append(AppendString(nil, id, bad), unhex(t, needed(typ, id))...))
				if propTable[id].kind == kindBinary {
					if err != nil {
						t.Errorf("%v %q in %v: %v", id, bad, typ, err)
					}
				} else if code(err) != mqtt.MalformedPacket {
					t.Errorf("%v %q in %v: %v, want Malformed Packet", id, bad, typ, err)
				}
			}
		}
	}
}

// covers: 5:1.5.7-1
func TestPropsPairText(t *testing.T) {
	for typ := CONNECT; typ <= WILL; typ++ {
		if !hasType(typ) {
			continue
		}
		need := unhex(t, needed(typ, PropUser))
		for _, bad := range []string{"\x00", "\xff", "\xed\xa0\x80", "x\x01"} {
			for _, pair := range [][2]string{{bad, "v"}, {"k", bad}} {
				if _, err := decodeProps(t, typ, append(AppendPair(nil, pair[0], pair[1]), need...)); code(err) != mqtt.MalformedPacket {
					t.Errorf("%q in %v: %v, want Malformed Packet", pair, typ, err)
				}
			}
		}
		if _, err := decodeProps(t, typ, append(AppendPair(nil, "\ufeffk", "€"), need...)); err != nil {
			t.Errorf("%v: %v", typ, err)
		}
	}
}

// covers: 5:U5-2.2.2-2 5:U5-2.2.2-1
func TestPropsCutShort(t *testing.T) {
	for id, s := range oneProp {
		whole := unhex(t, s)
		for typ := CONNECT; typ <= WILL; typ++ {
			if !PropAllowed(typ, id) {
				continue
			}
			need := unhex(t, needed(typ, id))
			for n := 1; n < len(whole); n++ {
				if _, err := decodeProps(t, typ, append(need[:len(need):len(need)], whole[:n]...)); code(err) != mqtt.MalformedPacket {
					t.Errorf("%v in %v cut to %d bytes: %v, want Malformed Packet", id, typ, n, err)
				}
			}
		}
	}
}

// covers: 5:U5-2.2.2-2 E012
func TestPropsLength(t *testing.T) {
	checkBad(t, []badCase{
		{only5, "40 05 0001 00 02 00", mqtt.MalformedPacket},                    // one too long
		{only5, "40 0b 0001 00 08 26 0001 'k' 0001 'v'", mqtt.MalformedPacket},  // longer than the packet
		{only5, "40 0b 0001 00 06 26 0001 'k' 0001 'v'", mqtt.MalformedPacket},  // one too short
		{only5, "40 0b 0001 00 07 26 0001 'k' 0002 'v'", mqtt.MalformedPacket},  // ends inside a property
		{only5, "40 05 0001 00 80 00", mqtt.MalformedPacket},                    // not the shortest form
		{only5, "40 08 0001 00 ff ff ff ff 7f", mqtt.MalformedPacket},           // five bytes
		{only5, "40 04 0001 00 80", mqtt.MalformedPacket},                       // cut inside the length
		{only5, "30 03 0001 't'", mqtt.MalformedPacket},                         // missing
		{only5, "20 02 00 00", mqtt.MalformedPacket},                            // missing
		{only5, "82 06 0001 0001 't' 00", mqtt.MalformedPacket},                 // missing: the filter's length is read as one
		{only5, "30 0b 0001 't' 0a 26 0001 'k' 0001 'v'", mqtt.MalformedPacket}, // runs into the end
	})
	for _, n := range []int{126, 127, 128, 129, 16383, 16384, 60000} {
		list := AppendString(AppendPair(nil, "k", "v"), PropReasonString, string(bytes.Repeat([]byte("x"), n-7-3)))
		if len(list) != n {
			t.Fatalf("list of %d bytes, want %d", len(list), n)
		}
		p, err := decodeProps(t, SUBACK, list)
		if err != nil || !bytes.Equal(p, list) {
			t.Errorf("list of %d bytes: %d, %v", n, len(p), err)
		}
	}
}

// covers: 5:2.2.2-1
func TestPropsEmpty(t *testing.T) {
	checkGood(t, []goodCase{
		{only5, "20 03 00 00 00", &Connack{}, false},
		{only5, "30 05 0001 't' 00 'x'", &Publish{Topic: []byte("t"), Payload: []byte("x")}, false},
		{only5, "90 04 0001 00 01", &Suback{PacketID: 1, Codes: []byte{1}}, false},
		{only5, "b0 04 0001 00 11", &Unsuback{PacketID: 1, Codes: []byte{0x11}}, false},
	})
}

// covers: 5:U5-2.2.2-3 5:U5-3.1.2.11.8-1 E161
func TestPropsAnyOrder(t *testing.T) {
	for typ := CONNECT; typ <= WILL; typ++ {
		if !hasType(typ) {
			continue
		}
		var parts []string
		for _, id := range unhex(t, allowedIn[typ]) {
			parts = append(parts, oneProp[PropID(id)])
		}
		var want *mqtt.Properties
		g := newGen(uint64(typ))
		for range 50 {
			g.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
			var list []byte
			for _, s := range parts {
				list = append(list, unhex(t, s)...)
			}
			for range 100 { // equal user properties, as many as one likes
				list = AppendPair(list, "k", "v")
			}
			p, err := decodeProps(t, typ, list)
			if err != nil {
				t.Fatalf("%v %x: %v", typ, list, err)
			}
			got := p.Parse()
			if len(got.User) != 101 {
				t.Fatalf("%v: %d user properties, want 101", typ, len(got.User))
			}
			if want == nil {
				want = got
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%v %x: %+v, want %+v", typ, list, got, want)
			}
		}
	}
}

func TestPropsAccess(t *testing.T) {
	p := Props(unhex(t, "26 0001 'a' 0001 '1' 0b 05 01 01 0b 8001 09 0002 00ff 26 0001 'b' 0000 02 00000e10 23 0007"))
	for id, want := range map[PropID]uint32{PropPayloadFormat: 1, PropSubscriptionID: 5, PropMessageExpiry: 3600, PropTopicAlias: 7} {
		if got, ok := p.Uint(id); got != want || !ok || !p.Has(id) {
			t.Errorf("%v = %d %v, want %d", id, got, ok, want)
		}
	}
	if b, ok := p.Bytes(PropCorrelationData); !ok || !bytes.Equal(b, []byte{0, 0xff}) {
		t.Errorf("Correlation Data = %x %v", b, ok)
	}
	if b, ok := p.Bytes(PropUser); !ok || string(b) != "a" {
		t.Errorf("first user property = %q %v", b, ok)
	}
	for _, id := range []PropID{PropContentType, PropSessionExpiry, 0, 0xff} {
		if _, ok := p.Uint(id); ok || p.Has(id) {
			t.Errorf("%v is there as a number", id)
		}
		if _, ok := p.Bytes(id); ok {
			t.Errorf("%v is there as text", id)
		}
	}
	want := SetOf(PropUser, PropSubscriptionID, PropPayloadFormat, PropCorrelationData, PropMessageExpiry, PropTopicAlias)
	if got := p.Set(); got != want || !got.Has(PropUser) || got.Has(PropContentType) || got.Has(0xff) {
		t.Errorf("set = %b, want %b", got, want)
	}
	var seen []string
	for id, num, val, val2, rest := p.Next(); id != 0; id, num, val, val2, rest = rest.Next() {
		if id == PropUser {
			seen = append(seen, string(val)+"="+string(val2))
		}
		if id == PropSubscriptionID {
			seen = append(seen, string(rune('0'+num%10)))
		}
	}
	if !slices.Equal(seen, []string{"a=1", "5", "8", "b="}) {
		t.Errorf("walk saw %q", seen)
	}
}

// On bytes that no decoder judged the accessors stop early and never read outside.
func FuzzProps(f *testing.F) {
	for _, s := range oneProp {
		f.Add(byte(PUBLISH), unhex(f, s))
	}
	f.Add(byte(AUTH), unhex(f, "26 ffff 26 0001"))
	f.Fuzz(func(t *testing.T, typ byte, b []byte) {
		p := Props(b)
		set, sum := p.Set(), 0
		for id, _, _, _, rest := p.Next(); id != 0; id, _, _, _, rest = rest.Next() {
			if !set.Has(id) || !Props(b).Has(id) {
				t.Fatalf("%x: %v is walked over, but not found", b, id)
			}
			if size := p.first(); size != len(p)-len(rest) {
				t.Fatalf("%x: first is %d bytes, Next took %d", p, size, len(p)-len(rest))
			}
			sum += len(p) - len(rest)
			p = rest
		}
		if p.first() != 0 && len(p) > 0 {
			t.Fatalf("%x: Next stops at %x, first does not", b, p)
		}
		if out := AppendExcept(nil, b, 0); !bytes.Equal(out, b[:sum]) {
			t.Fatalf("%x: copied as %x", b, out)
		}
		got, err := checkProps(b, Type(typ%typeCount))
		if err == nil && (sum != len(b) || got != set) {
			t.Fatalf("%x: accepted, but only %d bytes are walked over; sets %b and %b", b, sum, got, set)
		}
		if m := Props(b).Parse(); err == nil && m != nil {
			if e := CheckProperties(Type(typ%typeCount), m); e != nil {
				t.Fatalf("%x: accepted, then refused in its friendly form: %v", b, e)
			}
		}
	})
}
