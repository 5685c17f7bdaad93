package packet

import (
	"bytes"
	"testing"

	"github.com/midgemq/midge/mqtt"
)

// covers: 5:U5-3.4.2-1 E180
func TestAck(t *testing.T) {
	for typ, first := range map[Type]string{PUBACK: "40", PUBREC: "50", PUBREL: "62", PUBCOMP: "70"} {
		checkGood(t, []goodCase{
			{all, first + "02 abcd", &Ack{Type: typ, PacketID: 0xabcd}, false},
			{only5, first + "03 0007 92", &Ack{Type: typ, PacketID: 7, Code: mqtt.PacketIDNotFound}, false},
			{only5, first + "03 0007 00", &Ack{Type: typ, PacketID: 7}, true},
			{only5, first + "04 0007 00 00", &Ack{Type: typ, PacketID: 7}, true},
			{only5, first + "04 0007 92 00", &Ack{Type: typ, PacketID: 7, Code: 0x92}, true},
			{
				only5, first + "0a 0001 80 06 1f 0003 'why'",
				&Ack{Type: typ, PacketID: 1, Code: mqtt.UnspecifiedError, Props: unhex(t, "1f 0003 'why'")}, false,
			},
			{only5, first + "09 0001 00 05 26 0000 0000", &Ack{Type: typ, PacketID: 1, Props: unhex(t, "26 0000 0000")}, false},
		})
		checkBad(t, []badCase{
			{all, first + "00", mqtt.MalformedPacket},
			{all, first + "01 00", mqtt.MalformedPacket},
			{all, first + "02 0000", mqtt.ProtocolError},
			{only3, first + "03 0001 00", mqtt.MalformedPacket},
			{only3, first + "04 0001 00 00", mqtt.MalformedPacket},
			{only5, first + "05 0001 00 00 00", mqtt.MalformedPacket},
			{only5, first + "04 0001 00 01", mqtt.MalformedPacket},
			{only5, first + "07 0001 00 03 23 0001", mqtt.MalformedPacket},
			{only5, first + "0c 0001 00 08 1f 0001 'a' 1f 0001 'b'", mqtt.ProtocolError},
		})
	}
}

// covers: 5:3.6.1-1 3:3.6.1-1
func TestPubrelFlags(t *testing.T) {
	checkBad(t, []badCase{
		{not31, "60 02 0001", mqtt.MalformedPacket},
		{not31, "63 02 0001", mqtt.MalformedPacket},
		{not31, "6a 02 0001", mqtt.MalformedPacket},
		{not31, "42 02 0001", mqtt.MalformedPacket},
	})
}

func TestAppendAck(t *testing.T) {
	for _, v := range versions {
		for _, typ := range []Type{PUBACK, PUBREC, PUBREL, PUBCOMP} {
			for _, c := range []mqtt.ReasonCode{0, 0x10, 0x92} {
				p := &Ack{Type: typ, PacketID: 0x1234, Code: c}
				if got, want := AppendAck([]byte("x"), typ, v, 0x1234, c), p.Append([]byte("x"), v); !bytes.Equal(got, want) {
					t.Errorf("%v %v %v: %x, want %x", v, typ, c, got, want)
				}
			}
		}
	}
}

func TestAckDoesNotAllocate(t *testing.T) {
	body := unhex(t, "0001 80 06 1f 0003 'why'")
	dst := make([]byte, 0, 64)
	var p Ack
	if n := testing.AllocsPerRun(200, func() {
		if err := p.Decode(mqtt.V5, 0x40, body); err != nil {
			t.Error(err)
		}
		dst = p.Append(dst[:0], mqtt.V5)
		dst = AppendAck(dst, PUBREC, mqtt.V5, 1, 0x10)
		if err := p.Decode(mqtt.V311, 0x40, body); err == nil {
			t.Error("accepted")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzPuback(f *testing.F) {
	fuzzPacket(f, PUBACK, "40 02 0001", "40 03 0001 10", "40 04 0001 80 00", "40 0a 0001 80 06 1f 0003 'why'")
}

func FuzzPubrec(f *testing.F) {
	fuzzPacket(f, PUBREC, "50 02 0001", "50 03 0001 97", "50 09 0001 00 05 26 0000 0000")
}

func FuzzPubrel(f *testing.F) {
	fuzzPacket(f, PUBREL, "62 02 0001", "6a 02 0001", "62 03 0001 92", "62 04 0001 00 00")
}

func FuzzPubcomp(f *testing.F) {
	fuzzPacket(f, PUBCOMP, "70 02 ffff", "70 03 0001 92", "70 0a 0001 92 06 1f 0003 'why'")
}

func BenchmarkAck(b *testing.B) {
	body := []byte{0, 1}
	dst := make([]byte, 0, 16)
	b.ReportAllocs()
	var p Ack
	for b.Loop() {
		if err := p.Decode(mqtt.V5, 0x40, body); err != nil {
			b.Fatal(err)
		}
		dst = AppendAck(dst[:0], PUBACK, mqtt.V5, p.PacketID, 0)
	}
}
