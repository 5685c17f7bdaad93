package packet

import (
	"testing"

	"github.com/midgemq/midge/mqtt"
)

// covers: 3:U311-3.2.2-1 31:U31-06
func TestConnack(t *testing.T) {
	checkGood(t, []goodCase{
		{only3, "20 02 00 00", &Connack{}, false},
		{only3, "20 02 00 05", &Connack{Code: 5}, false},
		{only311, "20 02 01 00", &Connack{SessionPresent: true}, false},
		{only31, "20 02 01 00", &Connack{}, true}, // a reserved byte there
		{only31, "20 02 ff 00", &Connack{}, true},
		{only5, "20 03 00 00 00", &Connack{}, false},
		{only5, "20 03 01 00 00", &Connack{SessionPresent: true}, false},
		{only5, "20 03 00 87 00", &Connack{Code: byte(mqtt.NotAuthorized)}, false},
		{
			only5, "20 10 00 00 0d 12 0002 'id' 13 003c 24 01 22 000a",
			&Connack{Props: unhex(t, "12 0002 'id' 13 003c 24 01 22 000a")}, false,
		},
	})
	// A 3.1 connection is never told about a session.
	if got := (&Connack{SessionPresent: true}).Append(nil, mqtt.V31); got[2] != 0 {
		t.Errorf("3.1: %x", got)
	}
	checkBad(t, []badCase{
		{all, "20 00", mqtt.MalformedPacket},
		{all, "20 01 00", mqtt.MalformedPacket},
		{only3, "20 03 00 00 00", mqtt.MalformedPacket},
		{not31, "20 02 02 00", mqtt.MalformedPacket},
		{only5, "20 03 80 00 00", mqtt.MalformedPacket},
		{only5, "20 02 00 00", mqtt.MalformedPacket}, // no property length
		{only5, "20 04 00 00 00 00", mqtt.MalformedPacket},
	})
}

// covers: 5:U5-3.2.2.3.4-1 5:U5-3.2.2.3.5-1 5:U5-3.2.2.3.3-1
func TestConnackCapabilities(t *testing.T) {
	checkBad(t, []badCase{
		{only5, "20 05 00 00 02 24 02", mqtt.ProtocolError},
		{only5, "20 07 00 00 04 24 01 24 01", mqtt.ProtocolError},
		{only5, "20 05 00 00 02 25 02", mqtt.ProtocolError},
		{only5, "20 07 00 00 04 25 01 25 01", mqtt.ProtocolError},
		{only5, "20 06 00 00 03 21 0000", mqtt.ProtocolError},
		{only5, "20 09 00 00 06 21 0001 21 0001", mqtt.ProtocolError},
	})
}

// covers: 5:U5-3.2.2.3.6-1 5:U5-3.2.2.3.9-1 5:U5-3.2.2.3.17-1
func TestConnackOthers(t *testing.T) {
	checkBad(t, []badCase{
		{only5, "20 08 00 00 05 27 00000000", mqtt.ProtocolError},
		{only5, "20 0b 00 00 08 1f 0001 'a' 1f 0001 'b'", mqtt.ProtocolError},
		{only5, "20 0b 00 00 08 15 0001 'a' 15 0001 'b'", mqtt.ProtocolError},
		{only5, "20 0f 00 00 0c 15 0001 'a' 16 0001 'b' 16 0001 'b'", mqtt.ProtocolError},
		{only5, "20 07 00 00 04 16 0001 'b'", mqtt.ProtocolError}, // data without method
	})
}

// A server that does not know 5.0 answers in the old form; the client must understand it.
func TestConnackFromOldServer(t *testing.T) {
	var p Connack
	if err := p.Decode(mqtt.V5, 0x20, []byte{0, mqtt.V3BadProtocolLevel}); err != nil || mqtt.ReasonCode(p.Code) != mqtt.UnsupportedProtocolVersion {
		t.Errorf("%+v, %v", p, err)
	}
}

func FuzzConnack(f *testing.F) {
	fuzzPacket(f, CONNACK, "20 02 00 00", "20 02 01 00", "20 02 00 01", "20 03 01 00 00", "20 10 00 00 0d 12 0002 'id' 13 003c 24 01 22 000a")
}
