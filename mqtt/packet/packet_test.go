package packet

import (
	"errors"
	"testing"

	"github.com/midgemq/midge/mqtt"
)

// A legal packet of every type and version comes back as it went out.
func TestRoundTripRandom(t *testing.T) {
	for seed := range uint64(500) {
		g := newGen(seed)
		for typ := CONNECT; typ <= AUTH; typ++ {
			for _, v := range versions {
				p := g.packet(typ, v)
				if p == nil {
					continue
				}
				frame := p.Append(nil, v)
				if len(frame) != p.Size(v) {
					t.Fatalf("seed %d: %v %v: size %d, written %d", seed, v, typ, p.Size(v), len(frame))
				}
				first, body := split(t, frame)
				got, err := checkDecode(t, v, first, body)
				if err != nil {
					t.Fatalf("seed %d: %v %v: %x: %v", seed, v, typ, frame, err)
				}
				if !same(got, p) {
					t.Fatalf("seed %d: %v %v\n had %+v\n got %+v", seed, v, typ, p, got)
				}
			}
		}
	}
}

// covers: 5:2.1.3-1 3:2.2.2-1
func TestReservedFlagsSent(t *testing.T) {
	for typ := CONNECT; typ <= AUTH; typ++ {
		for _, v := range versions {
			p := newGen(uint64(typ)).packet(typ, v)
			if p == nil || typ == PUBLISH {
				continue
			}
			want := byte(0)
			if typ == PUBREL || typ == SUBSCRIBE || typ == UNSUBSCRIBE {
				want = 2
			}
			if first := p.Append(nil, v)[0]; first>>4 != byte(typ) || first&0x0f != want {
				t.Errorf("%v %v begins with %02x, want low half %x", v, typ, first, want)
			}
		}
	}
}

// covers: 5:2.1.3-1 3:2.2.2-2 E005
func TestReservedFlagsReceived(t *testing.T) {
	for typ := CONNECT; typ <= AUTH; typ++ {
		if typ == PUBLISH {
			continue
		}
		for _, v := range not31 {
			p := newGen(uint64(typ)).packet(typ, v)
			if p == nil {
				continue
			}
			first, body := split(t, p.Append(nil, v))
			for flags := range byte(16) {
				_, err := Decode(v, first&0xf0|flags, body)
				if want := flags == first&0x0f; (err == nil) != want {
					t.Errorf("%v %v with flags %x: %v", v, typ, flags, err)
				}
				var e *Error
				if err != nil && (!errors.As(err, &e) || e.Code != mqtt.MalformedPacket) {
					t.Errorf("%v %v with flags %x: %v", v, typ, flags, err)
				}
				if typ != CONNECT && len(body) < mqtt.MaxAckPacket/2 && (CheckFrame(v, first&0xf0|flags, len(body)) == nil) != (err == nil) {
					t.Errorf("%v %v with flags %x: the header alone is judged otherwise", v, typ, flags)
				}
			}
		}
	}
}

// covers: 31:U31-09 31:U31-10
func TestReservedFlagsV31(t *testing.T) {
	for typ := CONNECT; typ < AUTH; typ++ {
		if typ == PUBLISH {
			continue
		}
		first, body := split(t, newGen(uint64(typ)).packet(typ, mqtt.V31).Append(nil, mqtt.V31))
		for flags := range byte(16) {
			if _, err := Decode(mqtt.V31, first&0xf0|flags, body); err != nil {
				t.Errorf("%v with flags %x: %v", typ, flags, err)
			}
		}
	}
}

// covers: 3:U311-2.2.1-1 5:U5-2.1.2-1 E011
func TestTypesThatDoNotExist(t *testing.T) {
	for _, v := range versions {
		if p, err := Decode(v, 0x00, nil); err == nil {
			t.Errorf("%v: type 0 is %+v", v, p)
		}
		if err := CheckFrame(v, 0x00, 0); err == nil {
			t.Errorf("%v: type 0 passes", v)
		}
	}
	body := unhex(t, "18 05 15 0002 'ab'")
	for _, v := range only3 {
		if p, err := Decode(v, 0xF0, body); err == nil {
			t.Errorf("%v: type 15 is %+v", v, p)
		}
		if err := CheckFrame(v, 0xF0, len(body)); err == nil {
			t.Errorf("%v: type 15 passes", v)
		}
	}
	if _, err := Decode(mqtt.V5, 0xF0, body); err != nil {
		t.Errorf("5.0: AUTH: %v", err)
	}
}

// Cutting a packet anywhere, or putting a byte behind it, never passes for another packet, PUBLISH's payload and lists of codes or
// filters apart.
// covers: E003 E004
func TestCutAndPadded(t *testing.T) {
	for seed := range uint64(40) {
		g := newGen(seed)
		for typ := CONNECT; typ <= AUTH; typ++ {
			for _, v := range versions {
				p := g.packet(typ, v)
				if p == nil {
					continue
				}
				first, body := split(t, p.Append(nil, v))
				if len(body) > 2000 {
					continue
				}
				for n := range body {
					_, err := checkDecode(t, v, first, body[:n])
					if err == nil && !shorterForm(p, v, n) {
						t.Fatalf("seed %d: %v %v cut from %d to %d bytes is accepted: %x", seed, v, typ, len(body), n, body)
					}
				}
				if typ == PUBLISH || typ == SUBACK || typ == UNSUBACK && v == mqtt.V5 {
					continue
				}
				if shortAck := len(body) < 4 && v == mqtt.V5; !shortAck {
					for _, extra := range []byte{0, 1, 0x26, 0xff} {
						padded := append(append([]byte{}, body...), extra)
						if _, err := checkDecode(t, v, first, padded); err == nil {
							t.Fatalf("seed %d: %v %v with %02x behind it is accepted: %x", seed, v, typ, extra, body)
						}
					}
				}
			}
		}
	}
}

// shorterForm reports whether a packet cut to n body bytes is another legal packet.
func shorterForm(p Packet, v mqtt.Version, n int) bool {
	switch p := p.(type) {
	case *Publish:
		return n >= len(p.Topic)+2 // a shorter payload
	case *Connect:
		return v == mqtt.V31 && (p.HasUserName || p.HasPassword) // missing credentials are tolerated
	case *Ack:
		return v == mqtt.V5 && (n == 2 || n == 3)
	case *Disconnect:
		return v == mqtt.V5 && n <= 1
	case *Suback:
		return len(p.Codes) > 1 || v == mqtt.V31
	case *Unsuback:
		return len(p.Codes) > 1
	case *Subscribe:
		return p.Len() > 1 || v == mqtt.V31 && n == 2
	case *Unsubscribe:
		return p.Len() > 1 || v == mqtt.V31 && n == 2
	case *Connack:
		return v == mqtt.V5 && n == 2 && p.Code == mqtt.V3BadProtocolLevel
	}
	return false
}

// covers: E001 3:U311-3.12.1-1
func TestCheckFrame(t *testing.T) {
	for _, c := range []struct {
		v         mqtt.Version
		first     byte
		remaining int
		code      mqtt.ReasonCode // 0: passes
	}{
		{0, 0x10, 12, 0},
		{0, 0x14, 12, 0}, // a 3.1 client may set flags; the body tells
		{0, 0x10, 6, mqtt.MalformedPacket},
		{0, 0x10, mqtt.MaxConnectPacket - 4, 0},
		{0, 0x10, mqtt.MaxConnectPacket, mqtt.PacketTooLarge},
		{0, 0x10, mqtt.MaxVarint, mqtt.PacketTooLarge},
		{mqtt.V5, 0x30, 3, 0},
		{mqtt.V5, 0x30, 2, mqtt.MalformedPacket},
		{mqtt.V311, 0x30, mqtt.MaxVarint, 0},
		{mqtt.V311, 0x32, 3, mqtt.MalformedPacket},
		{mqtt.V311, 0x36, 9, mqtt.MalformedPacket},
		{mqtt.V311, 0x38, 9, mqtt.MalformedPacket},
		{mqtt.V311, 0x40, 2, 0},
		{mqtt.V311, 0x40, 3, mqtt.MalformedPacket},
		{mqtt.V311, 0x40, 1, mqtt.MalformedPacket},
		{mqtt.V5, 0x40, 9997, 0},
		{mqtt.V5, 0x40, 9998, mqtt.PacketTooLarge},
		{mqtt.V5, 0x62, 1, mqtt.MalformedPacket},
		{mqtt.V5, 0x82, 2, mqtt.MalformedPacket},
		{mqtt.V5, 0x82, 100000, mqtt.PacketTooLarge},
		{mqtt.V5, 0xA2, 100000, mqtt.PacketTooLarge},
		{mqtt.V311, 0x82, 100000, 0},
		{mqtt.V31, 0x8A, 2, 0},
		{mqtt.V311, 0xC0, 1, mqtt.MalformedPacket},
		{mqtt.V5, 0xC0, 1, mqtt.MalformedPacket},
		{mqtt.V31, 0xD0, 1, mqtt.MalformedPacket},
		{mqtt.V311, 0xE0, 1, mqtt.MalformedPacket},
		{mqtt.V5, 0xE0, 1, 0},
		{mqtt.V5, 0xE0, 10000, mqtt.PacketTooLarge},
		{mqtt.V5, 0xF0, 100000, mqtt.PacketTooLarge},
		{mqtt.V5, 0xF0, 0, 0}, // the body tells: a Protocol Error
		{mqtt.V5, 0x20, 3, 0},
		{mqtt.V311, 0x20, 3, mqtt.MalformedPacket},
		{mqtt.V311, 0xB0, 3, mqtt.MalformedPacket},
		{mqtt.V5, 0x90, mqtt.MaxVarint, 0},
	} {
		err := CheckFrame(c.v, c.first, c.remaining)
		var e *Error
		if errors.As(err, &e) != (c.code != 0) || e != nil && e.Code != c.code {
			t.Errorf("%v %02x of %d bytes: %v, want 0x%02X", c.v, c.first, c.remaining, err, byte(c.code))
		}
	}
}

func TestErrorText(t *testing.T) {
	_, err := Decode(mqtt.V5, 0x30, unhex(t, "0003 'a/+' 00"))
	if got, want := err.Error(), "PUBLISH: topic name has a wildcard [5:3.3.2-2 3:3.3.2-2]"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	_, err = Decode(mqtt.V5, 0x30, unhex(t, "0001 'a' 04 01 00 01 00"))
	if got, want := err.Error(), "PUBLISH: property Payload Format Indicator: given twice [5:U5-2.2.2-1]"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Every error that can be raised says which packet, why, and has a code of failure.
func TestErrorTable(t *testing.T) {
	for f := range errs {
		for typ := range errs[f] {
			if e := &errs[f][typ]; e.Msg == "" || !e.Code.IsError() || e.Type != Type(typ) {
				t.Errorf("fault %d of %v: %+v", f, Type(typ), e)
			}
		}
	}
	for f := range propErrs {
		for dense := range propErrs[f] {
			if e := &propErrs[f][dense][PUBLISH]; e.Msg == "" || !e.Code.IsError() || int(propTable[e.Prop].dense) != dense {
				t.Errorf("property fault %d of number %d: %+v", f, dense, e)
			}
		}
	}
}

func TestTypeNames(t *testing.T) {
	for typ, want := range map[Type]string{1: "CONNECT", 3: "PUBLISH", 9: "SUBACK", 15: "AUTH", WILL: "will", 0: "reserved packet", 17: "packet type 17"} {
		if got := typ.String(); got != want {
			t.Errorf("type %d = %q, want %q", byte(typ), got, want)
		}
	}
}

// FuzzStream splits a stream of bytes into packets as a connection does and decodes each in its version.
func FuzzStream(f *testing.F) {
	g := newGen(1)
	for i, v := range versions {
		var stream []byte
		for typ := CONNECT; typ <= AUTH; typ++ {
			if p := g.packet(typ, v); p != nil && p.Size(v) < 500 {
				stream = p.Append(stream, v)
			}
		}
		f.Add(byte(i), stream)
		f.Add(byte(i), append([]byte{0x10, 0xff, 0xff, 0xff, 0xff, 0x01}, stream...))
	}
	f.Fuzz(func(t *testing.T, version byte, stream []byte) {
		v := versions[int(version)%len(versions)]
		for rest := stream; len(rest) > 0; {
			first, remaining, n, err := ParseHeader(rest, v == mqtt.V5)
			if err != nil {
				return
			}
			if n == 0 {
				if len(rest) >= mqtt.MaxFixedHeader {
					t.Fatalf("%x: no verdict on a whole header", rest[:5])
				}
				return
			}
			if first != rest[0] || n < 2 || n > mqtt.MaxFixedHeader || remaining < 0 || remaining > mqtt.MaxVarint {
				t.Fatalf("%x: header %02x, %d bytes, remaining length %d", rest[:n], first, n, remaining)
			}
			if v == mqtt.V5 && n != 1+VarintSize(uint32(remaining)) {
				t.Fatalf("%x: length not in its shortest form", rest[:n])
			}
			if err := CheckFrame(v, first, remaining); err != nil {
				return
			}
			if len(rest) < n+remaining {
				return
			}
			if _, err := checkDecode(t, v, first, rest[n:n+remaining]); err != nil {
				return
			}
			rest = rest[n+remaining:]
		}
	})
}
