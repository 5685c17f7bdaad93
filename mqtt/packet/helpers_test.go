package packet

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/midgemq/midge/mqtt"
)

var versions = []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5}

// unhex reads bytes as "10 0c" with a quoted word for text: "30 05 0001 't' 'ab'".
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var out []byte
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			out = append(out, part...)
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		if err != nil {
			t.Fatalf("test bytes %q: %v", s, err)
		}
		out = append(out, b...)
	}
	return out
}

// split reads one whole packet.
func split(t testing.TB, frame []byte) (first byte, body []byte) {
	t.Helper()
	first, remaining, n, err := ParseHeader(frame, true)
	if err != nil || n == 0 || len(frame) != n+remaining {
		t.Fatalf("packet %x: header of %d bytes, remaining length %d of %d, %v", frame, n, remaining, len(frame)-n, err)
	}
	return first, frame[n:]
}

// goodCase is a packet that decodes to want and, unless alias is set, is what want encodes to.
type goodCase struct {
	versions []mqtt.Version
	bytes    string
	want     Packet
	other    bool // a legal form that the encoder does not choose
}

func checkGood(t *testing.T, cases []goodCase) {
	t.Helper()
	for _, c := range cases {
		for _, v := range c.versions {
			frame := unhex(t, c.bytes)
			first, body := split(t, frame)
			if err := CheckFrame(v, first, len(body)); err != nil {
				t.Errorf("%v %s: header refused: %v", v, c.bytes, err)
			}
			got, err := Decode(v, first, body)
			if err != nil {
				t.Errorf("%v %s: %v", v, c.bytes, err)
				continue
			}
			if !same(got, c.want) {
				t.Errorf("%v %s:\n got %+v\nwant %+v", v, c.bytes, got, c.want)
			}
			if c.other {
				continue
			}
			if out := c.want.Append([]byte("x"), v); !bytes.Equal(out[1:], frame) || out[0] != 'x' {
				t.Errorf("%v %+v is written as\n%x, want\n%x", v, c.want, out[1:], frame)
			}
			if n := c.want.Size(v); n != len(frame) {
				t.Errorf("%v %+v: size %d, want %d", v, c.want, n, len(frame))
			}
		}
	}
}

// badCase is a packet that is refused with code.
type badCase struct {
	versions []mqtt.Version
	bytes    string
	code     mqtt.ReasonCode
}

func checkBad(t *testing.T, cases []badCase) {
	t.Helper()
	for _, c := range cases {
		for _, v := range c.versions {
			first, body := split(t, unhex(t, c.bytes))
			p, err := Decode(v, first, body)
			var e *Error
			switch {
			case err == nil:
				t.Errorf("%v %s: accepted as %+v", v, c.bytes, p)
			case !errors.As(err, &e):
				t.Errorf("%v %s: %T is no *Error", v, c.bytes, err)
			case e.Code != c.code:
				t.Errorf("%v %s: %v is 0x%02X, want 0x%02X", v, c.bytes, e, byte(e.Code), byte(c.code))
			case e.Type != Type(first>>4) && !(e.Type == WILL && first>>4 == byte(CONNECT)):
				t.Errorf("%v %s: %v names another packet", v, c.bytes, e)
			}
			// What is refused before the body is read must be refused for a reason the body has, too.
			if err := CheckFrame(v, first, len(body)); err != nil {
				if errors.As(err, &e); e.Code != c.code {
					t.Errorf("%v %s: header: %v is 0x%02X, want 0x%02X", v, c.bytes, e, byte(e.Code), byte(c.code))
				}
			}
		}
	}
}

var (
	only31  = []mqtt.Version{mqtt.V31}
	only311 = []mqtt.Version{mqtt.V311}
	only5   = []mqtt.Version{mqtt.V5}
	only3   = []mqtt.Version{mqtt.V31, mqtt.V311}
	not31   = []mqtt.Version{mqtt.V311, mqtt.V5}
	all     = versions
)

// same compares packets; an empty slice equals an absent one, and what Decode notes for itself does not count.
func same(a, b Packet) bool { return reflect.DeepEqual(plain(a), plain(b)) }

func plain(p Packet) Packet {
	v := reflect.New(reflect.TypeOf(p).Elem()).Elem()
	v.Set(reflect.ValueOf(p).Elem())
	out := v.Addr().Interface().(Packet)
	switch p := out.(type) {
	case *Connect:
		p.replyIn = 0
	case *Publish:
		p.PropSet = 0
	case *Subscribe:
		if len(p.payload) == 0 {
			p.payload = nil
		}
	case *Unsubscribe:
		if len(p.payload) == 0 {
			p.payload = nil
		}
	}
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Slice && f.CanSet() && f.Len() == 0 {
			f.SetZero()
		}
	}
	return out
}

// checkInside fails when a slice of the packet can reach bytes outside body.
func checkInside(t testing.TB, p Packet, body []byte) {
	t.Helper()
	low := uintptr(unsafe.Pointer(unsafe.SliceData(body)))
	high := low + uintptr(len(body))
	v := reflect.ValueOf(p).Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		if f.Kind() != reflect.Slice || f.IsNil() || f.Cap() == 0 {
			continue
		}
		if at := f.Pointer(); at < low || at+uintptr(f.Cap()) > high {
			t.Fatalf("%v.%s reaches outside the body: [%d, %d) of %d bytes", p.Kind(), v.Type().Field(i).Name,
				int(at)-int(low), int(at)-int(low)+f.Cap(), len(body))
		}
	}
}

// checkDecode is the property every fuzz target holds: decoding does not panic, leaves the bytes alone, points only into the body,
// and what it accepts survives writing and reading again; and what is written is stable and never longer than what was read.
func checkDecode(t testing.TB, v mqtt.Version, first byte, given []byte) (Packet, error) {
	t.Helper()
	buf := make([]byte, len(given)+16)
	n := copy(buf[8:], given)
	for i := range 8 {
		buf[i], buf[8+n+i] = 0xA5, 0xA5
	}
	body := buf[8 : 8+n]
	p, err := Decode(v, first, body)
	if err != nil {
		var e *Error
		if !errors.As(err, &e) || !e.Code.IsError() || e.Msg == "" {
			t.Fatalf("%v %02x %x: error %#v", v, first, given, err)
		}
		return nil, err
	}
	checkInside(t, p, body)
	if c, ok := p.(*Connect); ok {
		v = c.Version
	}
	frame := p.Append(nil, v)
	if len(frame) != p.Size(v) {
		t.Fatalf("%v %02x %x: size %d, written %d", v, first, given, p.Size(v), len(frame))
	}
	if len(frame) > frameSize(len(given)) && !(p.Kind() == CONNACK && v == mqtt.V5) {
		t.Fatalf("%v %02x %x: written longer: %x", v, first, given, frame)
	}
	first2, body2 := split(t, frame)
	if first2 != first && v != mqtt.V31 {
		t.Fatalf("%v: first byte %02x was written as %02x", v, first, first2)
	}
	again, err := Decode(v, first2, body2)
	if err != nil {
		t.Fatalf("%v %02x %x: accepted as %+v, written as %x and then refused: %v", v, first, given, p, frame, err)
	}
	if !same(p, again) {
		t.Fatalf("%v %02x %x: round trip\n had %+v\n got %+v", v, first, given, p, again)
	}
	if twice := again.Append(nil, v); !bytes.Equal(frame, twice) {
		t.Fatalf("%v %02x %x: written as %x, then as %x", v, first, given, frame, twice)
	}
	if !bytes.Equal(body, given) || buf[7] != 0xA5 || buf[8+n] != 0xA5 {
		t.Fatalf("%v %02x %x: decoding or writing changed the input", v, first, given)
	}
	return p, nil
}

// fuzzPacket is the fuzz target of one packet type; seeds are whole packets as for unhex.
func fuzzPacket(f *testing.F, t Type, seeds ...string) {
	for _, s := range seeds {
		first, body := split(f, unhex(f, s))
		for i := range versions {
			f.Add(byte(i), first, body)
		}
	}
	f.Fuzz(func(tt *testing.T, version, flags byte, body []byte) {
		v := versions[int(version)%len(versions)]
		first := byte(t)<<4 | flags&0x0f
		p, err := checkDecode(tt, v, first, body)
		if err != nil {
			return
		}
		if p.Kind() != t {
			tt.Fatalf("%v came out as %v", t, p.Kind())
		}
		if c, ok := p.(*Connect); ok {
			v = c.Version
		}
		// A header that CheckFrame refuses, size limits apart, must not belong to a packet that decodes.
		if err := CheckFrame(v, first, len(body)); err != nil && code(err) != mqtt.PacketTooLarge {
			tt.Fatalf("%v %02x %x decodes, but: %v", v, first, body, err)
		}
	})
}

// random packets for round trips

type gen struct{ *rand.Rand }

func newGen(seed uint64) gen { return gen{rand.New(rand.NewPCG(seed, 7))} }

func (g gen) coin() bool { return g.IntN(2) == 0 }

func (g gen) id() uint16 { return uint16(1 + g.IntN(65535)) }

// length is mostly short, sometimes around the boundaries of lengths.
func (g gen) length() int {
	switch g.IntN(12) {
	case 0:
		return 0
	case 1:
		return 120 + g.IntN(20)
	case 2:
		return 16380 + g.IntN(10)
	}
	return g.IntN(24)
}

func (g gen) text(least int) []byte {
	n := max(least, g.length())
	b := make([]byte, 0, n+4)
	for len(b) < n {
		b = append(b, []string{"a", "Z", "/", " ", "é", "€", "\ufeff", "𝄞", "~"}[g.IntN(9)]...)
	}
	return b
}

func (g gen) topic() []byte {
	b := bytes.ReplaceAll(g.text(1), []byte("/"), []byte("t"))
	for range g.IntN(5) {
		b = append(append(b, '/'), bytes.ReplaceAll(g.text(0), []byte("/"), nil)...)
	}
	return b
}

func (g gen) data() []byte {
	b := make([]byte, g.length())
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

func (g gen) num(id PropID) uint32 {
	info := &propTable[id]
	switch {
	case info.rule == ruleBool:
		return g.Uint32N(2)
	case info.kind == kindUint16:
		return 1 + g.Uint32N(65535)
	case info.kind == kindVarint:
		return 1 + g.Uint32N(mqtt.MaxVarint)
	}
	return 1 + g.Uint32N(1<<32-1)
}

func (g gen) prop(dst []byte, id PropID) []byte {
	switch propTable[id].kind {
	case kindText:
		if propTable[id].rule == ruleTopic {
			return AppendBytes(dst, id, g.topic())
		}
		return AppendBytes(dst, id, g.text(0))
	case kindBinary:
		return AppendBytes(dst, id, g.data())
	case kindPair:
		return AppendPair(dst, string(g.text(0)), string(g.text(0)))
	default:
		return AppendUint(dst, id, g.num(id))
	}
}

// props makes a legal list for t in any order, with must in it.
func (g gen) props(t Type, must ...PropID) Props {
	var ids []PropID
	for id := range PropID(propIDEnd) {
		if !PropAllowed(t, id) || id == PropAuthData && len(must) == 0 {
			continue
		}
		if SetOf(must...).Has(id) || g.IntN(3) == 0 {
			ids = append(ids, id)
			if propTable[id].many>>t&1 != 0 && g.coin() {
				ids = append(ids, id)
			}
		}
	}
	g.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	var p Props
	for _, id := range ids {
		p = g.prop(p, id)
	}
	return p
}

// packet makes a legal packet of type t for v; nil where the version has none.
func (g gen) packet(t Type, v mqtt.Version) Packet {
	props := func(must ...PropID) Props {
		if v != mqtt.V5 || len(must) == 0 && g.coin() {
			return nil
		}
		return g.props(t, must...)
	}
	code := mqtt.ReasonCode(0)
	if v == mqtt.V5 {
		code = mqtt.ReasonCode(g.Uint32())
	}
	codes := bytes.Repeat([]byte{byte(g.IntN(3))}, 1+g.IntN(5))
	switch t {
	case CONNECT:
		return g.connect(v)
	case CONNACK:
		return &Connack{SessionPresent: v != mqtt.V31 && g.coin(), Code: byte(code), Props: props(PropAuthMethod)}
	case PUBLISH:
		p := &Publish{Retain: g.coin(), QoS: mqtt.QoS(g.IntN(3)), Topic: g.topic(), Props: props(), Payload: g.data()}
		if p.QoS != 0 {
			p.PacketID, p.Dup = g.id(), g.coin()
		}
		return p
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return &Ack{Type: t, PacketID: g.id(), Code: code, Props: props()}
	case SUBSCRIBE:
		p := &Subscribe{PacketID: g.id(), Props: props()}
		for range 1 + g.IntN(4) {
			o := MakeSubOptions(mqtt.QoS(g.IntN(3)), false, false, 0)
			if v == mqtt.V5 {
				o = MakeSubOptions(o.QoS(), g.coin(), g.coin(), byte(g.IntN(3)))
			}
			p.AddFilter(string(g.text(1)), o)
		}
		return p
	case SUBACK:
		return &Suback{PacketID: g.id(), Props: props(), Codes: codes}
	case UNSUBSCRIBE:
		p := &Unsubscribe{PacketID: g.id(), Props: props()}
		for range 1 + g.IntN(4) {
			p.AddFilter(string(g.text(1)))
		}
		return p
	case UNSUBACK:
		if v != mqtt.V5 {
			codes = nil
		}
		return &Unsuback{PacketID: g.id(), Props: props(), Codes: codes}
	case PINGREQ:
		return &Pingreq{}
	case PINGRESP:
		return &Pingresp{}
	case DISCONNECT:
		return &Disconnect{Code: code, Props: props()}
	case AUTH:
		if v == mqtt.V5 {
			return &Auth{Code: code, Props: props(PropAuthMethod)}
		}
	default:
	}
	return nil
}

func (g gen) connect(v mqtt.Version) Packet {
	p := &Connect{
		Version: v, Bridge: v != mqtt.V5 && g.IntN(5) == 0, CleanStart: g.coin(), KeepAlive: uint16(g.Uint32()), ClientID: g.text(0),
	}
	if v == mqtt.V5 && g.coin() {
		p.Props = g.props(CONNECT, PropAuthMethod)
	}
	if g.coin() {
		p.WillFlag, p.WillQoS, p.WillRetain = true, mqtt.QoS(g.IntN(3)), g.coin()
		p.WillTopic, p.WillPayload = g.topic(), g.data()
		if v == mqtt.V5 {
			p.WillProps = g.props(WILL)
		}
	}
	if p.HasUserName = g.coin(); p.HasUserName {
		p.UserName = g.text(0)
	}
	if p.HasPassword = g.coin() && (p.HasUserName || v == mqtt.V5); p.HasPassword {
		p.Password = g.data()
	}
	return p
}
