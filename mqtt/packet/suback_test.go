package packet

import (
	"testing"

	"github.com/midgemq/midge/mqtt"
)

func TestSuback(t *testing.T) {
	checkGood(t, []goodCase{
		{only3, "90 03 0001 00", &Suback{PacketID: 1, Codes: []byte{0}}, false},
		{only311, "90 05 0007 02 00 80", &Suback{PacketID: 7, Codes: []byte{2, 0, 0x80}}, false},
		{only31, "90 02 0001", &Suback{PacketID: 1}, false}, // the answer to an empty SUBSCRIBE
		{only5, "90 05 ffff 00 01 a2", &Suback{PacketID: 65535, Codes: []byte{1, 0xa2}}, false},
		{only5, "90 0a 0001 06 1f 0003 'why' 87", &Suback{PacketID: 1, Props: unhex(t, "1f 0003 'why'"), Codes: []byte{0x87}}, false},
	})
	checkBad(t, []badCase{
		{all, "90 00", mqtt.MalformedPacket},
		{only311, "90 02 0001", mqtt.MalformedPacket},
		{only5, "90 03 0001 00", mqtt.MalformedPacket}, // no codes
		{all, "90 04 0000 00 00", mqtt.ProtocolError},
		{not31, "92 04 0001 00 00", mqtt.MalformedPacket},
		{only5, "90 07 0001 03 23 0001 00", mqtt.MalformedPacket},
	})
}

func FuzzSuback(f *testing.F) {
	fuzzPacket(f, SUBACK, "90 03 0001 00", "90 05 0007 02 00 80", "90 02 0001", "90 0a 0001 06 1f 0003 'why' 87")
}
