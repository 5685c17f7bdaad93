package packet

import (
	"testing"

	"github.com/midgemq/midge/mqtt"
)

// covers: E140
func TestUnsuback(t *testing.T) {
	checkGood(t, []goodCase{
		{only3, "b0 02 012c", &Unsuback{PacketID: 300}, false},
		{only5, "b0 05 0001 00 00 11", &Unsuback{PacketID: 1, Codes: []byte{0, 0x11}}, false},
		{only5, "b0 0a 0001 06 1f 0003 'why' 87", &Unsuback{PacketID: 1, Props: unhex(t, "1f 0003 'why'"), Codes: []byte{0x87}}, false},
	})
	// 3.x has no codes, whatever the caller gives.
	p := &Unsuback{PacketID: 1, Codes: []byte{0x11}, Props: unhex(t, "1f 0000")}
	for _, v := range only3 {
		if got := p.Append(nil, v); len(got) != 4 || p.Size(v) != 4 {
			t.Errorf("%v: %x, size %d", v, got, p.Size(v))
		}
	}
	checkBad(t, []badCase{
		{all, "b0 01 00", mqtt.MalformedPacket},
		{all, "b0 02 0000", mqtt.ProtocolError},
		{only3, "b0 03 0001 00", mqtt.MalformedPacket},
		{only5, "b0 02 0001", mqtt.MalformedPacket},
		{only5, "b0 03 0001 00", mqtt.MalformedPacket}, // no codes
		{not31, "b2 04 0001 00 00", mqtt.MalformedPacket},
	})
}

func FuzzUnsuback(f *testing.F) {
	fuzzPacket(f, UNSUBACK, "b0 02 012c", "b0 05 0001 00 00 11", "b0 0a 0001 06 1f 0003 'why' 87")
}
